//! cloudcore as an operator meets it: the executable, its files, signals, exit codes and sockets;
//! and, as its edges, peers that share no code with it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

#[test]
fn peers_of_both_generations_join_connect_and_renew() {
    let cloud = Cloud::start("peer-tour", &[]);
    cloud.token();
    thread::scope(|scope| {
        for generation in ["v1.23", "v1.13"] {
            let cloud = &cloud;
            scope.spawn(move || {
                let node = format!("tour-{}", generation.replace('.', "-"));
                let toured = cloud.edge(&node, "tour", &["--generation", generation]);
                assert!(toured.status.success(), "{generation}: {}", said(&toured));
            });
        }
    });
    assert_eq!(cloud.ask("status")["certificates_issued"], 4);
}

#[test]
fn what_a_peer_does_wrong_is_refused() {
    let cloud = Cloud::start("peer-wrong", &[]);
    cloud.token();
    for node in ["wrong-rotate", "wrong-tunnel"] {
        assert!(cloud.edge(node, "join", &[]).status.success());
    }
    let cases = [
        ("join", "csr-other-node"),
        ("join", "csr-masters"),
        ("join", "csr-no-name"),
        ("join", "csr-bad-signature"),
        ("join", "csr-pem"),
        ("join", "csr-trailing"),
        ("join", "no-nodename"),
        ("join", "other-nodename"),
        ("join", "no-body"),
        ("join", "huge-body"),
        ("join", "post"),
        ("join", "no-authorization"),
        ("join", "auth-basic"),
        ("join", "auth-whole-token"),
        ("join", "auth-bad-signature"),
        ("rotate", "rotate-other-nodename"),
        ("rotate", "rotate-no-nodename"),
        ("rotate", "rotate-csr-other-node"),
        ("rotate", "rotate-csr-bad-signature"),
        ("tunnel", "other-node-id"),
        ("tunnel", "no-node-id"),
        ("tunnel", "no-connectionuse"),
        ("tunnel", "connectionuse-str"),
        ("tunnel", "other-path"),
        ("tunnel", "no-client-cert"),
        ("tunnel", "origin"),
    ];
    let next = Mutex::new(cases.iter());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some((command, sabotage)) = next.lock().unwrap().next() else {
                        return;
                    };
                    let node = format!("wrong-{command}");
                    let ended = cloud.edge(&node, command, &["--sabotage", sabotage]);
                    assert_eq!(ended.status.code(), Some(3), "{sabotage}: {}", said(&ended));
                }
            });
        }
    });
    let status = cloud.ask("status");
    assert_eq!(status["certificates_issued"], 2, "{status}");
    assert_eq!(status["sessions"], 0);
}

#[test]
fn refused_connections_are_closed() {
    let cloud = Cloud::start("peer-closed", &[]);
    cloud.token();
    assert!(cloud.edge("closed", "join", &[]).status.success());
    let before = cloud.open_files();
    for sabotage in ["other-node-id", "no-connectionuse", "no-client-cert"] {
        let refused = cloud.edge("closed", "tunnel", &["--sabotage", sabotage]);
        assert_eq!(
            refused.status.code(),
            Some(3),
            "{sabotage}: {}",
            said(&refused)
        );
    }
    for port in [cloud.port("https"), cloud.port("hub")] {
        let mut garbage = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        garbage.set_read_timeout(Some(PATIENCE)).unwrap();
        garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut rest = Vec::new();
        garbage.read_to_end(&mut rest).unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while cloud.open_files() > before {
        assert!(
            Instant::now() < deadline,
            "{} files, {before} before",
            cloud.open_files()
        );
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn it_stops_in_time_and_frees_its_state() {
    let mut cloud = Cloud::start("stop", &[]);
    let asked = Instant::now();
    assert_eq!(cloud.stop(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert!(!cloud.socket().exists());
    // The same CA serves again.
    let hash = cloud.ca_hash.clone();
    let again = Cloud::start_in(cloud.root.clone(), &[]);
    assert_eq!(again.ca_hash, hash);
}

#[test]
fn a_second_one_says_who_is_there() {
    let cloud = Cloud::start("second", &[]);
    let second = run(&cloud.root, &["--https-port", "0", "--hub-port", "0"]);
    assert_eq!(second.status.code(), Some(75), "{}", said(&second));
    let pid = cloud.child.id().to_string();
    assert!(
        said(&second).contains(&format!("process {pid} holds")),
        "{}",
        said(&second)
    );
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let root = folder("taken");
    let flags = [
        "--allow-volatile-ca",
        "--listen",
        "127.0.0.1",
        "--hub-port",
        "0",
    ];
    let ended = run(&root, &[&flags[..], &["--https-port", &port]].concat());
    assert_eq!(ended.status.code(), Some(69), "{}", said(&ended));
    assert!(said(&ended).contains(&format!(
        "cannot listen on 127.0.0.1:{port} for certificates"
    )));
    // Metrics are not worth a refusal.
    let cloud = Cloud::start_in(root, &["--metrics-port", &port]);
    assert_eq!(cloud.ports["metrics"], Value::Null);
}

#[test]
fn faults_in_the_configuration_name_file_line_and_key() {
    let root = folder("config");
    let file = root.join("cloudcore.yaml");
    fs::write(&file, "modules:\n  cloudHub:\n    nodeLimit: many\n").unwrap();
    let ended = run(&root, &["--config", file.to_str().unwrap()]);
    assert_eq!(ended.status.code(), Some(78));
    let place = format!("{}:3: modules.cloudHub.nodeLimit:", file.display());
    assert!(said(&ended).contains(&place), "{}", said(&ended));

    let ended = run(&root, &["--config", "/nonexistent/cloudcore.yaml"]);
    assert_eq!(ended.status.code(), Some(78));
    assert!(
        said(&ended).contains("/nonexistent/cloudcore.yaml"),
        "{}",
        said(&ended)
    );

    let ended = run(&root, &["--edge-cert-lifetime", "soon"]);
    assert_eq!(ended.status.code(), Some(64), "{}", said(&ended));
}

#[test]
fn the_minimal_configuration_works_as_it_is() {
    let root = folder("minimal");
    let minimal = run(&root, &["--minconfig"]);
    assert!(minimal.status.success());
    let default = run(&root, &["--defaultconfig"]);
    assert!(default.stdout.len() > minimal.stdout.len());
    for printed in [minimal, default] {
        let file = root.join("cloudcore.yaml");
        fs::write(&file, &printed.stdout).unwrap();
        let mut cloud = Cloud::start_in(root.clone(), &["--config", file.to_str().unwrap()]);
        assert_eq!(cloud.ask("status")["v"], 1);
        assert_eq!(cloud.stop(), Some(0));
    }
}

#[test]
fn a_go_clouds_ca_is_imported() {
    let root = folder("import");
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/token-ca");
    let (cert, key) = (recorded.join("ca.pem"), recorded.join("cakey.der"));
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let import = [
        "ca",
        "import",
        "--allow-volatile-ca",
        "--cert",
        cert,
        "--key",
        key,
    ];
    let imported = run(&root, &import);
    assert!(imported.status.success(), "{}", said(&imported));
    assert!(
        run(&root, &import).status.success(),
        "the same again does no harm"
    );
    let token = fs::read_to_string(recorded.join("token.txt")).unwrap();
    let cloud = Cloud::start_in(root, &[]);
    assert_eq!(Some(cloud.ca_hash.as_str()), token.split('.').next());
    let refused = run(&cloud.root, &import);
    assert_eq!(refused.status.code(), Some(75), "{}", said(&refused));
}

#[test]
fn an_operator_talks_to_it() {
    let mut cloud = Cloud::start("operator", &[]);
    let reply = cloud.request(&json!({"v": 1, "op": "gettoken", "ttl": 60}));
    let token = reply["token"].as_str().unwrap();
    assert_eq!(token.split('.').count(), 4);
    assert_eq!(token.split('.').next(), Some(cloud.ca_hash.as_str()));
    for ttl in [json!(0), json!(u64::MAX), json!("x")] {
        let reply = cloud.request(&json!({"v": 1, "op": "gettoken", "ttl": ttl}));
        assert!(
            reply["error"].is_string() && reply["token"].is_null(),
            "{reply}"
        );
    }
    assert!(cloud.ask("dance")["error"].is_string());

    let serial = |cloud: &Cloud| cloud.ask("status")["serving"]["serial"].clone();
    let before = serial(&cloud);
    let added = run(
        &cloud.root,
        &["cert", "add-san", "cloud.example.org", "192.0.2.7"],
    );
    assert!(added.status.success(), "{}", said(&added));
    assert_ne!(serial(&cloud), before);
    let names = cloud.ask("status")["serving_names"].to_string();
    assert!(
        names.contains("cloud.example.org") && names.contains("192.0.2.7"),
        "{names}"
    );
    let before = serial(&cloud);
    for (words, code, part) in [
        (&["bad name"][..], 1, "\"bad name\""),
        (&["c.example", "a..b"], 1, "\"a..b\""),
        (&[], 64, "between one and"),
    ] {
        let refused = run(&cloud.root, &[&["cert", "add-san"], words].concat());
        assert_eq!(refused.status.code(), Some(code), "{}", said(&refused));
        assert!(said(&refused).contains(part), "{}", said(&refused));
    }
    // Nothing of an order that is refused is done.
    assert_eq!(serial(&cloud), before);
    cloud.stop();
    let alone = run(&cloud.root, &["cert", "add-san", "cloud.example.org"]);
    assert_eq!(alone.status.code(), Some(69), "{}", said(&alone));
}

/// What `openssl` and `curl` say after a shell line in the cloud's folder; the line must succeed.
fn shell(cloud: &Cloud, line: &str) -> String {
    let output = Command::new("sh")
        .args(["-euc", line])
        .current_dir(&cloud.root)
        .env("API", format!("https://127.0.0.1:{}", cloud.port("https")))
        .env("HUB", format!("127.0.0.1:{}", cloud.port("hub")))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{line}\n{said}");
    said
}

#[test]
fn an_edge_made_of_openssl_and_curl() {
    let cloud = Cloud::start("tools", &[]);
    cloud.token();
    let run = |line: &str| shell(&cloud, line);
    run("curl -sSfk $API/ca.crt -o ca.der; openssl x509 -inform der -in ca.der -out ca.pem");
    let digest = run("openssl dgst -sha256 -r ca.der; cut -d. -f1 token");
    let hashes: Vec<&str> = digest.split_whitespace().collect();
    assert_eq!(hashes[0], hashes[2], "{digest}");

    run(
        "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem \
         -subj /O=system:nodes/CN=system:node:by-hand -outform der -out csr.der",
    );
    run(
        "printf 'Authorization: Bearer %s\\nNodeName: by-hand\\n' $(cut -d. -f2- token) >headers; \
         curl -sSf --cacert ca.pem -X GET --data-binary @csr.der -H @headers $API/edge.crt -o first.der",
    );
    run(
        "curl -sSf --cacert ca.pem $API/readyz; openssl x509 -inform der -in first.der -out cert.pem",
    );
    assert!(run("openssl verify -CAfile ca.pem -purpose sslclient cert.pem").contains("OK"));

    run(
        "curl -sSf --cacert ca.pem --cert cert.pem --key key.pem -X GET --data-binary @csr.der \
         -H 'NodeName: by-hand' $API/edge.crt -o second.der",
    );
    let serials = run(
        "openssl x509 -inform der -in first.der -noout -serial -subject; \
                       openssl x509 -inform der -in second.der -noout -serial -subject",
    );
    let lines: Vec<&str> = serials.lines().collect();
    assert!(lines[0] != lines[2] && lines[1] == lines[3], "{serials}");

    // The last bytes are a masked close frame, so that the hub ends the connection.
    let upgrade = |node: &str| {
        run(&format!(
            "printf 'GET /p/by-hand/events HTTP/1.1\\r\\nHost: x\\r\\nConnection: Upgrade\\r\\n\
             Upgrade: websocket\\r\\nSec-WebSocket-Version: 13\\r\\nConnectionuse: msg\\r\\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\nNode_id: {node}\\r\\n\\r\\n\\210\\200abcd' | \
             openssl s_client -connect $HUB -CAfile ca.pem -verify_ip 127.0.0.1 -verify_return_error \
             -cert cert.pem -key key.pem -quiet 2>&1 || true"
        ))
    };
    assert!(upgrade("by-hand").contains("101 Switching Protocols"));
    assert!(upgrade("another").contains("403 Forbidden"));
    let bare = run("echo | openssl s_client -connect $HUB -CAfile ca.pem -ign_eof 2>&1 || true");
    assert!(bare.contains("certificate required"), "{bare}");
}

/// A cloudcore process below a root of its own; killed when dropped.
struct Cloud {
    child: Child,
    root: PathBuf,
    ports: Value,
    ca_hash: String,
}

impl Cloud {
    fn start(name: &str, flags: &[&str]) -> Cloud {
        Cloud::start_in(folder(name), flags)
    }

    fn start_in(root: PathBuf, flags: &[&str]) -> Cloud {
        let notify = root.join("notify");
        let _ = fs::remove_file(&notify);
        let told = UnixDatagram::bind(&notify).unwrap();
        told.set_read_timeout(Some(PATIENCE)).unwrap();
        let ports = root.join("ports.json");
        // What is said twice counts the last time, so that a test may change these.
        let has = |name: &str| flags.contains(&name);
        let mut command = command(&root);
        command
            .args([
                "--allow-volatile-ca",
                "--listen",
                "127.0.0.1",
                "--ports-file",
            ])
            .arg(&ports);
        for port in ["--https-port", "--hub-port", "--metrics-port"] {
            if !has(port) {
                command.args([port, "0"]);
            }
        }
        let log = fs::File::create(root.join("cloudcore.log")).unwrap();
        let mut child = command
            .args(flags)
            .env("NOTIFY_SOCKET", &notify)
            .stderr(log)
            .spawn()
            .expect("the executable starts");
        let mut buffer = [0; 100];
        let length = told.recv(&mut buffer).unwrap_or_else(|_| {
            let _ = child.kill();
            panic!(
                "{}",
                fs::read_to_string(root.join("cloudcore.log")).unwrap()
            );
        });
        assert_eq!(&buffer[..length], b"READY=1");
        let ports = serde_json::from_slice(&fs::read(&ports).unwrap()).unwrap();
        let mut cloud = Cloud {
            child,
            root,
            ports,
            ca_hash: String::new(),
        };
        cloud.ca_hash = cloud.ask("status")["ca_hash"].as_str().unwrap().to_owned();
        cloud
    }

    fn port(&self, name: &str) -> u16 {
        self.ports[name].as_u64().unwrap().try_into().unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.root.join("run/kubeedge/cloudcore.sock")
    }

    fn ask(&self, op: &str) -> Value {
        self.request(&json!({"v": 1, "op": op}))
    }

    fn request(&self, request: &Value) -> Value {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{request}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    /// Writes a fresh token where the peers look for it.
    fn token(&self) {
        let reply = self.ask("gettoken");
        fs::write(self.root.join("token"), reply["token"].as_str().unwrap()).unwrap();
    }

    /// Runs the peer that plays an edge.
    fn edge(&self, node: &str, command: &str, options: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/edge.py");
        let address = |port: &str| format!("127.0.0.1:{}", self.port(port));
        let mut peer = Command::new(python());
        peer.arg(script)
            .arg(command)
            .args(["--node", node, "--cloud", "ours"]);
        peer.arg("--dir").arg(self.root.join(node));
        peer.arg("--token-file").arg(self.root.join("token"));
        peer.args(["--https", &address("https"), "--hub", &address("hub")])
            .args(options);
        peer.stdin(Stdio::null())
            .output()
            .expect("the peer starts: run tests/setup.sh first")
    }

    fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .count()
    }

    fn stop(&mut self) -> Option<i32> {
        kill(
            Pid::from_raw(self.child.id().try_into().unwrap()),
            Signal::SIGTERM,
        )
        .unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubeedge"));
    command
        .arg("cloudcore")
        .env("KUBEEDGE_ROOT", root)
        .env_remove("NOTIFY_SOCKET");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Runs a command that ends by itself.
fn run(root: &Path, args: &[&str]) -> Output {
    command(root)
        .args(args)
        .stdout(Stdio::piped())
        .output()
        .expect("the executable starts")
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// A folder of this test alone, empty at its start.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cloud-{name}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// With the packages that the peers need; tests/setup.sh puts it there.
fn python() -> PathBuf {
    let given = std::env::var_os("KUBEEDGE_PEERS_PYTHON").map(PathBuf::from);
    given.unwrap_or_else(|| {
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
        let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
        cache.join("kubeedge-peers/bin/python3")
    })
}

/// Longer than anything here takes, shorter than a test run may hang.
const PATIENCE: Duration = Duration::from_secs(60);
