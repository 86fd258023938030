//! Tokens as an operator limits, lists and deletes them, against devices that really join.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use kubeedge::authority::tokens::TokenKey;
use kubeedge::pki::certificate::{Certificate, Subject};
use kubeedge::pki::csr;
use kubeedge::pki::key::PrivateKey;
use kubeedge::protocol::enrollment::{CertificateApi, EnrollError};
use kubeedge::protocol::token::JoinToken;
use kubeedge::system::clock::{Clock, Timestamp};
use kubeedge::system::names::{Endpoint, Host, NodeName};
use kubeedge::system::way::Way;
use serde_json::Value;

use common::site::{Cloudcore, Said, Site};
use common::{KUBEEDGE, LIMIT, figures};

/// A device that joins under a name, with a token from a file.
fn join(site: &Site, cloud: &Cloudcore, certport: u16, node: &str, token_file: &str) -> Said {
    site.run(&[
        "join",
        "--init=none",
        "--timeout=120s",
        &format!("--cloudcore-ipport=127.0.0.1:{}", cloud.hub),
        &format!("--certport={certport}"),
        &format!("--edgenode-name={node}"),
        &format!("--token-file={token_file}"),
    ])
}

fn listed(cloud: &Cloudcore) -> Vec<Value> {
    let list = cloud.run(&["token", "list", "--output", "json"]).ends(0);
    let tokens = list.json()["tokens"].as_array().cloned();
    tokens.expect("a list")
}

/// The only token there is.
fn the_token(cloud: &Cloudcore) -> Value {
    let [token] = listed(cloud).try_into().expect("one token");
    token
}

#[test]
fn a_token_from_its_making_to_its_end() {
    let cloud = Cloudcore::start(&[]);
    let none = cloud.run(&["token", "list"]).ends(0);
    assert_eq!(none.out, "no token is good at the moment\n");
    let made = cloud.run(&[
        "token",
        "create",
        "--ttl=1h",
        "--node-name=rack1-*",
        "--uses=2",
        "--description=rack 1",
    ]);
    let made = made.ends(0);
    let token: JoinToken = made.out.parse().expect("the token alone");
    let known = the_token(&cloud);
    let id = known["id"].as_str().expect("an id").to_owned();
    let expires: Timestamp = known["expires"].as_str().expect("an end").parse().unwrap();
    assert_eq!(token.expires(), Some(expires));
    assert_eq!(
        made.err,
        format!("Token {id} is good until {expires}, for nodes matching rack1-*, for 2 devices.\n")
    );
    assert_eq!((&known["uses"], &known["used"]), (&2.into(), &0.into()));
    let file = cloud.keep("rack", &made.out);

    // One that it is not for: told before anything is asked.
    let other = Site::new();
    let refused = join(&other, &cloud, 1, "db-7", &file).ends(77);
    let said = refused.fault("kubeedge join");
    assert!(
        said.contains("the token is for nodes matching rack1-*, not db-7"),
        "{said}"
    );
    let device = Site::new();
    join(&device, &cloud, cloud.https, "rack1-a", &file).ends(0);
    device.connected();
    let known = the_token(&cloud);
    assert_eq!((&known["uses"], &known["used"]), (&2.into(), &1.into()));
    assert_eq!(known["usedBy"][0]["node"], "rack1-a");
    let row = cloud.run(&["token", "list"]).ends(0).out;
    assert!(
        row.contains(&format!("{id}  {expires}  rack1-*  1 of 2  rack 1\n")),
        "{row}"
    );
    assert!(
        cloud.log().contains(&format!(", by token {id}, ")),
        "{}",
        cloud.log()
    );

    let deleted = cloud.run(&["token", "delete", &id]).ends(0);
    assert_eq!(deleted.out, format!("token {id} opens nothing any more\n"));
    let late = Site::new();
    let refused = join(&late, &cloud, cloud.https, "rack1-b", &file).ends(77);
    let said = refused.fault("kubeedge join");
    assert!(
        said.contains(&format!("the token {id} was deleted")),
        "{said}"
    );
    let problem = late.status().and_then(|status| status.last_error);
    assert!(said.contains(&problem.expect("the state tells it too").message));
    device.connected();
    let again = cloud.run(&["token", "delete", &id]).ends(1);
    assert!(again.fault("kubeedge token delete").contains(&id));
}

#[test]
fn bounds_outlive_the_cloudcore() {
    let mut cloud = Cloudcore::start(&[]);
    let made = cloud.run(&["token", "create", "--uses=1"]).ends(0);
    let token: JoinToken = made.out.parse().unwrap();
    Client::of(&cloud, &token)
        .apply("first", &new_key())
        .unwrap();
    cloud.stop();
    // Without one its files are asked.
    let known = the_token(&cloud);
    assert_eq!(known["used"], 1);
    let more = cloud.run(&["token", "create", "--ttl=5m"]).ends(0);
    assert_eq!(listed(&cloud).len(), 2);
    cloud.start_again(&[]);
    let client = Client::of(&cloud, &token);
    let said = client.apply("second", &new_key()).unwrap_err().to_string();
    assert!(
        said.contains("401: the token is used up, it was good for one device"),
        "{said}"
    );
    let more: JoinToken = more.out.parse().unwrap();
    Client::of(&cloud, &more)
        .apply("second", &new_key())
        .unwrap();
    let id = known["id"].as_str().expect("an id").to_owned();
    cloud.stop();
    cloud.run(&["token", "delete", &id]).ends(0);
    cloud.start_again(&[]);
    assert_eq!(listed(&cloud).len(), 1);
}

/// Talks to the certificate API as a device does, without being one.
struct Client {
    api: CertificateApi,
    ca: Certificate,
    token: JoinToken,
}

impl Client {
    fn of(cloud: &Cloudcore, token: &JoinToken) -> Client {
        let host: Host = "127.0.0.1".parse().expect("an address");
        let api = CertificateApi {
            endpoint: Endpoint::new(host, cloud.https),
            way: Way::default(),
            known: Vec::new(),
            deadline: LIMIT,
            clock: Clock::system(),
        };
        let ca = api.fetch_ca(token).expect("the CA of the token");
        Client {
            api,
            ca,
            token: token.clone(),
        }
    }

    fn apply(&self, node: &str, key: &PrivateKey) -> Result<Certificate, EnrollError> {
        let node: NodeName = node.parse().expect("a name");
        let request = csr::create(key, &Subject::node(&node)).expect("a request");
        self.api
            .apply(std::slice::from_ref(&self.ca), &self.token, &node, &request)
    }
}

fn new_key() -> PrivateKey {
    PrivateKey::generate().expect("a key")
}

/// Real HTTPS, all at the same moment, each several times, under one name or under many.
#[test]
fn of_many_at_once_as_many_get_a_certificate_as_there_are_uses() {
    const DEVICES: usize = 32;
    let cloud = Cloudcore::start(&[]);
    for (uses, same_name) in [(1, false), (1, true), (5, false)] {
        let made = cloud
            .run(&["token", "create", &format!("--uses={uses}")])
            .ends(0);
        let token: JoinToken = made.out.parse().unwrap();
        let client = Client::of(&cloud, &token);
        let start = Barrier::new(DEVICES);
        let served: usize = thread::scope(|scope| {
            let device = |n: usize| {
                let (client, start) = (&client, &start);
                scope.spawn(move || {
                    let number = if same_name { 0 } else { n };
                    let (node, key) = (format!("n{uses}-{number}"), new_key());
                    start.wait();
                    // The second time stands for a device whose answer was lost.
                    let answers = [client.apply(&node, &key), client.apply(&node, &key)];
                    let served = answers.iter().filter(|answer| answer.is_ok()).count();
                    for refusal in answers.iter().filter_map(|answer| answer.as_ref().err()) {
                        let said = refusal.to_string();
                        // Of so many failures from one address some are not answered in full.
                        let expected = said.contains("used up") || said.contains("429");
                        assert!(expected, "{said}");
                    }
                    assert!(served == 0 || served == 2, "served {served} times of two");
                    usize::from(served == 2)
                })
            };
            let devices: Vec<_> = (0..DEVICES).map(device).collect();
            devices.into_iter().map(|it| it.join().unwrap()).sum()
        });
        assert_eq!(served, uses, "of {DEVICES}, same name: {same_name}");
        let known = listed(&cloud);
        let id = made.err.split(' ').nth(1).expect("an id");
        let known = known
            .iter()
            .find(|token| token["id"] == id)
            .expect("it is listed");
        assert_eq!(known["used"], uses);
    }
    let what = "enrolments at the same moment, for tokens of fewer uses";
    figures::tried("tokens-at-once", what, 3 * DEVICES);
}

/// Between the device and the cloud: cuts connections right when the cloud answers to a token.
struct Cutter {
    port: u16,
}

impl Cutter {
    fn before(https: u16, cuts: &'static AtomicUsize) -> Cutter {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(("127.0.0.1", https)).expect("the cloud");
                thread::spawn(move || pass(client, server, cuts));
            }
        });
        Cutter { port }
    }
}

/// What a client sends before and with a request for a certificate is longer than all else.
const REQUEST_FOR_CERTIFICATE: usize = 600;

fn pass(client: TcpStream, server: TcpStream, cuts: &AtomicUsize) {
    let sent = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = (&client).read(&mut buffer) {
                sent.fetch_add(length, Ordering::SeqCst);
                if (&server).write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
            let _ = server.shutdown(Shutdown::Write);
        });
        let mut buffer = [0; 4096];
        let mut held = 0;
        while let Ok(length @ 1..) = (&server).read(&mut buffer) {
            let asked = sent.load(Ordering::SeqCst) > REQUEST_FOR_CERTIFICATE;
            if asked && cuts.load(Ordering::SeqCst) > 0 {
                // Session tickets of TLS may come before the answer, which has some 500 bytes.
                held += length;
                if held > 450 {
                    cuts.fetch_sub(1, Ordering::SeqCst);
                    break;
                }
            } else if (&client).write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
}

static CUTS: AtomicUsize = AtomicUsize::new(2);

#[test]
fn a_device_whose_answer_was_lost_is_served_by_the_same_use() {
    let cloud = Cloudcore::start(&[]);
    let file = cloud.token_file_of(&["token", "create", "--uses=1"]);
    let cutter = Cutter::before(cloud.https, &CUTS);
    let device = Site::new();
    join(&device, &cloud, cutter.port, "barn", &file).ends(0);
    device.connected();
    assert_eq!(CUTS.load(Ordering::SeqCst), 0, "no answer was lost");
    let issued = cloud.log().matches("for node barn until").count();
    assert!(issued >= 2, "{}", cloud.log());
    assert_eq!(the_token(&cloud)["used"], 1);
    figures::tried(
        "tokens-lost-answers",
        "answers lost after a token of one use was used",
        2,
    );
}

#[test]
fn broken_tokens_are_named_before_anything_is_asked() {
    let cloud = Cloudcore::start(&[]);
    let good = cloud.run(&["gettoken"]).ends(0).out.trim().to_owned();
    let parts: Vec<&str> = good.split('.').collect();
    let [hash, header, claims, mac] = parts[..] else {
        panic!("four parts");
    };
    let key = ca_key(&cloud);
    let ended = key.mint(Timestamp::from_unix(Clock::system().now().unix() - 60));
    let cases = [
        (String::new(), 64, "the token is empty"),
        ("abc".to_owned(), 64, "has no dot in it"),
        (
            format!("{header}.{claims}.{mac}"),
            64,
            "has 3 parts instead of 4",
        ),
        (
            format!("{hash}.{header}.{claims}"),
            64,
            "has 3 parts instead of 4",
        ),
        (format!("{good}.x"), 64, "has 5 parts instead of 4"),
        (
            format!("{}.{header}.{claims}.{mac}", &hash[1..]),
            64,
            "64 hex digits",
        ),
        (
            format!("{}.{header}.{claims}.{mac}", hash.to_uppercase()),
            64,
            "64 hex digits",
        ),
        (format!("{hash}.{header}..{mac}"), 64, "has an empty part"),
        (
            format!("{hash}.{header}.{claims}.{mac}!"),
            64,
            "a character that no token has",
        ),
        (
            good[..good.len() - 7].to_owned(),
            64,
            "is cut off at its end",
        ),
        (
            format!("{hash}.{header}.{}.{mac}", &claims[1..]),
            64,
            "is damaged in its middle",
        ),
        (ended, 77, "the token ended at"),
    ];
    let device = Site::new();
    let count = cases.len();
    for (token, code, part) in cases {
        // Nobody listens at port 1: whoever asks there says so instead.
        let words = [
            "join",
            "--init=none",
            "-e",
            "127.0.0.1:1",
            "--certport=1",
            "--token-file=-",
        ];
        let said = device.run_with_input(&words, &token).ends(code);
        let fault = said.fault("kubeedge join");
        assert!(fault.contains(part), "{part}: {fault}");
        for piece in [header, claims, mac] {
            assert!(!fault.contains(&piece[1..20]), "{fault}");
        }
    }
    assert_eq!(device.files(), []);
    figures::tried(
        "tokens-broken",
        "broken tokens, each named by join itself",
        count,
    );
}

/// What the CA's owner can make tokens with, as KubeEdge's cloudcore does.
fn ca_key(cloud: &Cloudcore) -> TokenKey {
    let pair = cloud.path("/etc/kubeedge/cloudcore/ca.key");
    let pair = std::fs::read(pair).expect("the CA is there");
    let (ca, key) = (Certificate::from_pem(&pair), PrivateKey::from_pem(&pair));
    TokenKey::new(&ca.expect("a certificate"), &key.expect("a key"))
}

#[test]
fn a_token_as_kubeedge_makes_it_is_good() {
    let cloud = Cloudcore::start(&[]);
    let end = Timestamp::from_unix(Clock::system().now().unix() + 3600);
    let file = cloud.keep("go", &ca_key(&cloud).mint(end));
    let device = Site::new();
    join(&device, &cloud, cloud.https, "from-go", &file).ends(0);
    device.connected();
    assert_eq!(listed(&cloud).len(), 0);
}

#[test]
fn the_command_that_is_printed_joins() {
    let cloud = Cloudcore::start(&[]);
    let words = [
        "token",
        "create",
        "--node-name=db-7",
        "--uses=1",
        "--print-join-command",
    ];
    let made = cloud.run(&words).ends(0);
    let command = made.out;
    let first = command.lines().next().expect("a command");
    let expected = format!(
        "kubeedge join --cloudcore-ipport 127.0.0.1:{} --certport {} --edgenode-name db-7 \
         --token-file - <<'END'",
        cloud.hub, cloud.https
    );
    assert_eq!(first, expected);
    let device = Site::new();
    let tools = device.path("/tools");
    std::fs::create_dir_all(&tools).unwrap();
    // Without an init system, so that nothing of this machine is touched.
    let wrapper = format!("#!/bin/sh\nword=$1; shift\nexec {KUBEEDGE} $word --init=none \"$@\"\n");
    device.write("/tools/kubeedge", &wrapper, 0o755);
    let mut shell = Command::new("/bin/sh");
    shell
        .env("PATH", format!("{}:/usr/bin:/bin", tools.display()))
        .env("KUBEEDGE_ROOT", device.path("/"))
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut shell = shell.spawn().expect("a shell");
    let mut input = shell.stdin.take().expect("it was piped");
    input.write_all(command.as_bytes()).expect("it reads");
    drop(input);
    Said::of(shell.wait_with_output()).ends(0);
    assert_eq!(device.connected().node, "db-7");
    let json = cloud
        .run(&["token", "create", "--print-join-command", "-o", "json"])
        .ends(0);
    let json = json.json();
    let command = json["joinCommand"].as_str().expect("a command");
    assert!(command.contains(json["token"].as_str().expect("a token")));
    assert_eq!(json["node"], Value::Null);
}

#[test]
fn flags_that_can_not_be_are_refused_in_one_sentence() {
    let cloud = Cloudcore::start(&[]);
    for (words, part) in [
        (&["token", "create", "--ttl=0"][..], "a second at least"),
        (&["token", "create", "--ttl=1000000h"], "ten years"),
        (&["token", "create", "--ttl=soon"], "--ttl"),
        (&["token", "create", "--uses=0"], "from 1 to 1000"),
        (&["token", "create", "--uses=1001"], "from 1 to 1000"),
        (&["token", "create", "--uses=many"], "--uses"),
        (&["token", "create", "--node-name=Rack*"], "--node-name"),
        (&["token", "create", "--description=a\nb"], "--description"),
        (&["token", "delete", "1"], "ten digits"),
        (&["token", "delete"], "ID is missing"),
        (&["token"], "token create"),
    ] {
        let said = cloud.run(words).ends(64);
        assert!(
            said.err.contains(part) && said.err.lines().count() == 1,
            "{}",
            said.err
        );
        assert_eq!(said.out, "");
    }
    assert_eq!(listed(&cloud).len(), 0);
}
