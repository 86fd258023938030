//! The cloud side on a cluster: replicas that start together, commands, and a cluster that fails.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::cluster::Cluster;
use common::device::Device;
use common::site::{Cloudcore, Said, Site};
use common::{Folder, KUBEEDGE, LIMIT, figures, wait_until};
use kubeedge::authority::tokens::TokenKey;
use kubeedge::kubernetes::kubeconfig::{Choice, find};
use kubeedge::kubernetes::plain::Plain;
use kubeedge::kubernetes::request::{Patch, Request};
use kubeedge::kubernetes::resource::{NAMESPACES, SECRETS};
use kubeedge::pki::certificate::Certificate;
use kubeedge::pki::key::PrivateKey;
use kubeedge::system::clock::Clock;
use kubeedge::system::host::Host;
use kubeedge::system::root::Root;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

fn text(path: PathBuf) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

/// The CA that a running cloudcore goes by.
fn ca(cloud: &Cloudcore) -> String {
    let said = cloud.run(&["cloudcore", "ca", "status", "--json"]).ends(0);
    said.json()["ca"].as_str().expect("a hash").to_owned()
}

/// All started at the same moment.
fn start_together(count: usize, options: &[&str]) -> Vec<Cloudcore> {
    let (start, options) = (&Barrier::new(count), &options);
    thread::scope(|scope| {
        let one = |_| {
            scope.spawn(move || {
                start.wait();
                Cloudcore::start(options)
            })
        };
        let running: Vec<_> = (0..count).map(one).collect();
        running
            .into_iter()
            .map(|it| it.join().expect("it serves"))
            .collect()
    })
}

/// A machine without a cloud, from which the cluster is worked on.
fn keadm(site: &Site, config: &str, words: &[&str]) -> Said {
    site.run(&[words, &["--kube-config", config]].concat())
}

/// Somebody else's way to the cluster.
fn api(cluster: &Cluster) -> Plain {
    let choice = Choice {
        kube_config: Some(cluster.kubeconfig()),
        context: None,
    };
    let access = find(&choice, &Host::real(Root::default()), &|_| None);
    Plain::new(access.expect("a kubeconfig"), &Clock::system())
}

fn data(object: &Value, key: &str) -> Vec<u8> {
    let text = object["data"][key].as_str().expect("data");
    STANDARD.decode(text).expect("base64")
}

/// What is asked of the address for metrics: the status and the body.
fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// A cloudcore that may have nothing to serve yet.
struct Waiting {
    child: Child,
    folder: Folder,
}

impl Waiting {
    fn start(config: &str) -> Waiting {
        let folder = Folder::new();
        let ports = text(folder.path().join("ports"));
        let log = fs::File::create(folder.path().join("log")).expect("a log");
        let words = [
            "cloudcore",
            "--listen",
            "127.0.0.1",
            "--https-port",
            "0",
            "--hub-port",
            "0",
        ];
        let child = Command::new(KUBEEDGE)
            .args(words)
            .args([
                "--metrics-port",
                "0",
                "--kube-config",
                config,
                "--ports-file",
                &ports,
            ])
            .env("KUBEEDGE_ROOT", folder.path())
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stderr(log)
            .spawn();
        Waiting {
            child: child.expect("it starts"),
            folder,
        }
    }

    fn port(&self) -> Option<u16> {
        let ports = fs::read(self.folder.path().join("ports")).ok()?;
        let ports: Value = serde_json::from_slice(&ports).ok()?;
        Some(ports["metrics"].as_u64()? as u16)
    }

    fn becomes(&self, path: &str, status: u16, part: &str) {
        wait_until(&format!("{path} with {status} {part}"), || {
            let answer = self.port().and_then(|port| get(port, path));
            answer.is_some_and(|(code, body)| code == status && body.contains(part))
        });
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn replicas_that_start_together_on_an_empty_cluster_have_one_ca() {
    let runs = match std::env::var_os("KUBEEDGE_LONG") {
        Some(_) => 10,
        None => 2,
    };
    for count in [2, 5] {
        for run in 0..runs {
            let mut cluster = Cluster::start();
            let config = text(cluster.kubeconfig());
            let clouds = start_together(count, &["--kube-config", &config]);
            let seen: BTreeSet<String> = clouds.iter().map(ca).collect();
            assert_eq!(seen.len(), 1, "{count} replicas, run {run}: {seen:?}");
            let secret = cluster.object("Secret", "casecret").expect("the CA");
            let stored = Certificate::from_der(&data(&secret, "cadata")).expect("a certificate");
            assert_eq!(Some(&stored.hash().to_string()), seen.first());
            assert_eq!(data(&secret, "cakeydata").len(), 121);
            assert_eq!(secret["type"], "Opaque");
            wait_until("a shared token", || {
                cluster.object("Secret", "tokensecret").is_some()
            });
            let token = cluster.object("Secret", "tokensecret").expect("a token");
            let token = String::from_utf8(data(&token, "tokendata")).expect("a text");
            assert!(token.starts_with(&stored.hash().to_string()));
        }
        let (id, what) = match count {
            2 => (
                "cluster-two",
                "two cloudcores at once on an empty cluster, each time one CA",
            ),
            _ => (
                "cluster-five",
                "five cloudcores at once on an empty cluster, each time one CA",
            ),
        };
        figures::tried(id, what, runs);
    }
}

#[test]
fn commands_work_on_what_the_replicas_share() {
    let mut cluster = Cluster::start();
    let (config, site) = (text(cluster.kubeconfig()), Site::new());
    let nobody = keadm(&site, &config, &["gettoken"]).ends(69);
    assert!(nobody.err.contains("start cloudcore there"), "{nobody:?}");

    let clouds = start_together(2, &["--kube-config", &config]);
    let plain = keadm(&site, &config, &["gettoken"]).ends(0);
    let bounded = [
        "token",
        "create",
        "--uses",
        "1",
        "--description",
        "for the barn",
    ];
    let bounded = keadm(&site, &config, &bounded).ends(0);
    let listed = keadm(&site, &config, &["token", "list", "-o", "json"])
        .ends(0)
        .json();
    assert_eq!(
        listed["tokens"].as_array().map(Vec::len),
        Some(2),
        "{listed}"
    );
    // With no word of a cluster this machine is meant, which has none; gettoken looks further.
    site.run(&["token", "list"]).ends(69);
    let by_variable = site
        .command(&["gettoken"])
        .env("KUBECONFIG", &config)
        .output();
    Said::of(by_variable).ends(0);

    // Each at a replica of its own: a token with one use is good for one of them.
    let first = Device::new("first");
    first.configure_for(&clouds[0], bounded.out.trim());
    let first = first.start();
    first.connected();
    let second = Device::new("second");
    second.configure_for(&clouds[1], bounded.out.trim());
    let refused = second.start();
    refused.complains("used up");
    refused.stop();
    second.configure_for(&clouds[1], plain.out.trim());
    let second = second.start();
    second.connected();

    let revoked = keadm(&site, &config, &["certs", "revoke", "second"]).ends(0);
    assert!(revoked.out.contains("refused from now on."), "{revoked:?}");
    wait_until("the end of the session", || clouds[1].sessions().is_empty());
    let list = keadm(&site, &config, &["certs", "revoke", "--list", "-o", "json"]).ends(0);
    assert_eq!(list.json()["revocations"][0]["node"], "second");
    let id = listed["tokens"][0]["id"].as_str().expect("an id");
    keadm(&site, &config, &["token", "delete", id]).ends(0);
    let gone = keadm(&site, &config, &["token", "delete", id]).ends(1);
    assert!(gone.err.contains(id), "{gone:?}");
    assert!(
        cluster
            .object("Secret", &format!("join-token-{id}"))
            .is_none()
    );

    // What is no kubeconfig, and a Secret without its key (K44).
    let wrong = text(site.path("/nowhere"));
    let wrong = keadm(&site, &wrong, &["gettoken"]).ends(78);
    assert!(wrong.err.contains("nowhere"), "{wrong:?}");
    let change = json!({"data": {"cakeydata": null}});
    let space = Some("kubeedge");
    let change = Request::patch(&SECRETS, space, "casecret", Patch::Merge, &change);
    api(&cluster).ask(&change).expect("a change");
    let half = keadm(&site, &config, &["gettoken"]).ends(1);
    assert!(half.err.contains("its key is not"), "{half:?}");
    assert_eq!(half.out, "");
}

#[test]
fn a_token_at_one_replica_ends_the_session_of_the_first_key_at_another() {
    let cluster = Cluster::start();
    let (config, site) = (text(cluster.kubeconfig()), Site::new());
    let clouds = start_together(2, &["--kube-config", &config]);
    let token = keadm(&site, &config, &["gettoken"]).ends(0);
    let (first, second) = (Device::new("twice"), Device::new("twice"));
    first.configure_for(&clouds[1], token.out.trim());
    let first = first.start();
    first.connected();
    let generation = clouds[1].sessions()[0].generation;

    second.configure_for(&clouds[0], token.out.trim());
    let second = second.start();
    second.connected();
    wait_until("the end of the session", || clouds[1].sessions().is_empty());
    first.complains("another key holds the name");
    let ended = format!("session {generation} of node twice has ended: a token gave its name");
    wait_until("a line of the log", || clouds[1].log().contains(&ended));
    assert_eq!(clouds[0].sessions().len(), 1);
}

#[test]
fn a_cloud_of_go_is_gone_on_with() {
    let cluster = Cluster::start();
    let config = text(cluster.kubeconfig());
    let vector = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/token-ca");
        fs::read(folder.join(name)).expect(name)
    };
    let (certificate, key) = (vector("ca.der"), vector("cakey.der"));
    let api = api(&cluster);
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubeedge"}});
    api.ask(&Request::create(&NAMESPACES, None, &namespace))
        .expect("a namespace");
    let mut secret: Value = serde_json::from_slice(&vector("casecret.json")).expect("JSON");
    secret["metadata"] = json!({"name": "casecret"});
    api.ask(&Request::create(&SECRETS, Some("kubeedge"), &secret))
        .expect("a Secret");

    let clouds = start_together(2, &["--kube-config", &config]);
    let certificate = Certificate::from_der(&certificate).expect("a certificate");
    for cloud in &clouds {
        assert_eq!(ca(cloud), certificate.hash().to_string());
    }
    // As a Go cloudcore with this CA makes it, without a record.
    let key = PrivateKey::from_der(&key).expect("a key");
    let until = Clock::system().now().plus(Duration::from_secs(3600));
    let token = TokenKey::new(&certificate, &key).mint(until);
    for (number, cloud) in clouds.iter().enumerate() {
        let device = Device::new(&format!("edge-{number}"));
        device.configure_for(cloud, &token);
        device.start().connected();
    }
}

#[test]
fn without_the_cluster_it_waits_and_with_it_all_heals() {
    let mut cluster = Cluster::start();
    let (config, site) = (text(cluster.kubeconfig()), Site::new());
    cluster.stop();
    let waiting = Waiting::start(&config);
    waiting.becomes("/healthz", 200, "ok");
    waiting.becomes("/readyz", 503, "no way to the cluster");
    let away = keadm(&site, &config, &["gettoken"]).ends(75);
    assert!(away.err.contains("no way to the cluster"), "{away:?}");
    cluster.start_again();
    waiting.becomes("/readyz", 200, "ok");
    let token = keadm(&site, &config, &["gettoken"]).ends(0);

    let cloud = Cloudcore::start(&["--kube-config", &config]);
    let device = Device::new("stays");
    device.configure_for(&cloud, token.out.trim());
    let edge = device.start();
    edge.connected();
    cluster.stop();
    waiting.becomes("/readyz", 503, "cluster");
    waiting.becomes("/healthz", 200, "ok");
    // The session stays, and the device can come back: all that is known of it is known here.
    assert_eq!(cloud.sessions().len(), 1);
    edge.stop();
    let edge = device.start();
    edge.connected();
    let late = Device::new("late");
    late.configure_for(&cloud, token.out.trim());
    let late = late.start();
    late.complains("record certificates now");
    cluster.start_again();
    late.connected();
    waiting.becomes("/readyz", 200, "ok");
    drop(edge);

    // It stops when it is told, also while it waits.
    cluster.stop();
    let mut stopped = Waiting::start(&config);
    stopped.becomes("/readyz", 503, "");
    kill(Pid::from_raw(stopped.child.id() as i32), Signal::SIGTERM).expect("it runs");
    let ended = stopped.child.wait().expect("it ends");
    assert!(ended.success(), "{ended}: {}", stopped.log());
}

#[test]
fn conflicts_at_every_write_and_credentials_that_end_are_said() {
    let mut cluster = Cluster::start();
    let (config, site) = (text(cluster.token_kubeconfig()), Site::new());
    let waiting = Waiting::start(&config);
    waiting.becomes("/readyz", 200, "ok");
    cluster.order(&json!({
        "do": "fail", "status": 409, "reason": "Conflict", "times": 1_000_000,
        "methods": ["POST", "PUT", "PATCH", "DELETE"], "path": "",
    }));
    let refused = keadm(&site, &config, &["gettoken"]).ends(75);
    assert!(refused.err.contains("all the time"), "{refused:?}");
    cluster.order(&json!({"do": "heal"}));
    keadm(&site, &config, &["gettoken"]).ends(0);

    let token = fs::read_to_string(cluster.file("token")).expect("a token");
    cluster.order(&json!({"do": "token", "value": null}));
    waiting.becomes("/readyz", 503, "does not know who we are");
    let refused = keadm(&site, &config, &["token", "list"]).ends(77);
    assert!(refused.err.contains("renew the credentials"), "{refused:?}");
    let new = Waiting::start(&config);
    new.becomes("/readyz", 503, "does not know who we are");
    new.becomes("/healthz", 200, "ok");
    cluster.order(&json!({"do": "token", "value": token.trim()}));
    waiting.becomes("/readyz", 200, "ok");
    new.becomes("/readyz", 200, "ok");
}
