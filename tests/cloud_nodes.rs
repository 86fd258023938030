//! cloudcore as a cluster of its own: nodes that register, objects that reach them, and nothing that a
//! kill, a lost acknowledgement or a neighbour could change. The edges are peers in Python.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use common::script::python;
use common::site::{Cloudcore, Said};
use common::{Folder, LIMIT};
use serde_json::Value;

/// A node, driven line by line.
struct Peer {
    child: Child,
    lines: Receiver<Value>,
    seen: Vec<Value>,
    _folder: Folder,
}

impl Peer {
    fn start(cloud: &Cloudcore, node: &str, options: &[&str]) -> Peer {
        let folder = Folder::new();
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
        let hub = format!("127.0.0.1:{}", cloud.hub);
        let joined = Command::new(python())
            .arg(peers.join("edge.py"))
            .args([
                "join",
                "--node",
                node,
                "--https",
                &format!("127.0.0.1:{}", cloud.https),
            ])
            .args(["--token-file", &cloud.token_file(), "--dir"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("the peer starts: run tests/setup.sh first");
        assert!(joined.status.success(), "{joined:?}");
        let mut child = Command::new(python())
            .arg(peers.join("edge_node.py"))
            .args(["--node", node, "--hub", &hub, "--dir"])
            .arg(folder.path())
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the peer starts");
        let output = child.stdout.take().expect("a pipe");
        let (told, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = told.send(serde_json::from_str(&line).expect("JSON"));
            }
        });
        Peer {
            child,
            lines,
            seen: Vec::new(),
            _folder: folder,
        }
    }

    /// Gives a command and waits until it was carried out, or cut off; what happened until then.
    fn tell(&mut self, command: &str) -> Vec<Value> {
        self.order(command);
        let from = self.seen.len();
        self.until(|event| {
            let ended = ["did", "cut", "refused"]
                .iter()
                .any(|word| event["event"] == *word);
            ended && (event["command"] == command || event["event"] == "refused")
        });
        self.seen[from..].to_vec()
    }

    fn order(&mut self, command: &str) {
        let input = self.child.stdin.as_mut().expect("a pipe");
        writeln!(input, "{command}").expect("the peer reads");
    }

    /// Waits for something to happen, from now on.
    fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        let patience = Instant::now() + LIMIT;
        loop {
            let left = patience.saturating_duration_since(Instant::now());
            let Ok(event) = self.lines.recv_timeout(left) else {
                panic!("it does not happen; so far: {:#?}", self.seen);
            };
            assert_ne!(event["event"], "wrong", "{event}");
            self.seen.push(event.clone());
            if fits(&event) {
                return event;
            }
        }
    }

    /// Waits until this was pushed, if it was not yet since `from`.
    fn pushed(&mut self, from: usize, operation: &str, resource: &str) -> Value {
        let fits = |event: &Value| {
            event["event"] == "push" && event["op"] == operation && event["resource"] == resource
        };
        if let Some(found) = self.seen[from..].iter().find(|event| fits(event)) {
            return found.clone();
        }
        self.until(fits)
    }

    fn online(&mut self) {
        assert_eq!(
            self.tell("connect").last().expect("an event")["event"],
            "did"
        );
    }

    /// The content of the answer.
    fn ask(&mut self, question: &str) -> Value {
        let events = self.tell(&format!("ask {question}"));
        let answer = events.into_iter().find(|event| event["event"] == "answer");
        answer.expect("an answer")
    }

    fn version(&mut self, command: &str, event: &str) -> u64 {
        let events = self.tell(command);
        let found = events.iter().find(|it| it["event"] == event);
        let found = found.unwrap_or_else(|| panic!("no {event} in {events:?}"));
        found["version"]
            .as_str()
            .expect("a version")
            .parse()
            .expect("a number")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ctl(cloud: &Cloudcore, words: &[&str]) -> Said {
    cloud.run(&[&["cloudcore", "ctl"], words].concat())
}

fn config(name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  key: \"{value}\"\n"
    )
}

fn apply(cloud: &Cloudcore, yaml: &str, to: &[&str]) -> String {
    let file = cloud.keep("objects.yaml", yaml);
    ctl(cloud, &[&["apply", "-f", &file], to].concat())
        .ends(0)
        .out
}

fn node(cloud: &Cloudcore, name: &str) -> Value {
    let nodes = ctl(cloud, &["nodes", "-o", "json"]).ends(0).json();
    let mut nodes = nodes["nodes"].as_array().expect("a list").iter();
    nodes
        .find(|it| it["node"] == name)
        .cloned()
        .unwrap_or_default()
}

#[test]
fn a_node_registers_and_outlives_kills_of_the_cloud() {
    let mut cloud = Cloudcore::start(&[]);
    let mut peer = Peer::start(&cloud, "edge-1", &[]);
    let mut versions = Vec::new();
    let mut uids = BTreeSet::new();
    for round in 0..4 {
        peer.online();
        versions.push(peer.version("register", "registered"));
        versions.push(peer.version("lease", "renewed"));
        versions.push(peer.version("lease", "renewed"));
        let told = node(&cloud, "edge-1");
        assert_eq!(
            (&told["ready"], &told["connected"]),
            (&true.into(), &true.into())
        );
        assert_eq!(
            (&told["condition"], &told["reason"]),
            (&"True".into(), &"EdgeReady".into())
        );
        assert_eq!(told["addresses"][0], "192.0.2.7");
        assert!(told["lease_age_ms"].as_u64().expect("a lease") < 40_000);
        let object = ctl(&cloud, &["get", "node", "edge-1", "-o", "json"])
            .ends(0)
            .json();
        uids.insert(
            object["metadata"]["uid"]
                .as_str()
                .expect("a uid")
                .to_owned(),
        );
        // In the middle of a lease, of a patch, and of nothing.
        match round {
            0 => peer.order("lease"),
            1 => peer.order("register"),
            _ => {}
        }
        cloud.kill();
        peer.until(|event| event["event"] == "disconnected");
        if round < 2 {
            peer.until(|event| event["event"] == "cut" || event["event"] == "did");
        }
        cloud.start_again(&[]);
        assert_eq!(
            node(&cloud, "edge-1")["ready"],
            false,
            "nothing was heard yet"
        );
    }
    assert_eq!(uids.len(), 1, "one node: {uids:?}");
    let mut sorted = versions.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(versions, sorted, "versions grow and never repeat");
}

#[test]
fn objects_reach_their_nodes_whatever_happens() {
    let mut cloud = Cloudcore::start(&[]);
    let said = apply(&cloud, &config("app", "1"), &["--selector", "role=router"]);
    assert_eq!(said, "configmap default/app created\n");
    let mut peer = Peer::start(&cloud, "edge-1", &["--label", "role=router"]);
    peer.online();
    peer.tell("register");
    // It joins later and gets what its label is given.
    let app = "default/configmap/app";
    let first = peer.pushed(0, "insert", app);
    assert_eq!(first["content"]["data"]["key"], "1");

    // The latest counts, in order.
    let from = peer.seen.len();
    for value in 2..6 {
        let said = apply(&cloud, &config("app", &value.to_string()), &[]);
        assert_eq!(said, "configmap default/app changed, 1 node is told\n");
    }
    peer.until(|event| event["content"]["data"]["key"] == "5");
    let versions: Vec<u64> = peer.seen[from..]
        .iter()
        .filter(|event| event["resource"] == app)
        .map(|event| event["version"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(versions.is_sorted(), "{versions:?}");
    let said = apply(&cloud, &config("app", "5"), &[]);
    assert_eq!(said, "configmap default/app unchanged\n");

    // A lost acknowledgement: the same bytes again, and others are not held up.
    peer.tell("acks lose 1");
    let from = peer.seen.len();
    apply(&cloud, &config("app", "lost"), &[]);
    let lost = peer.pushed(from, "update", app);
    apply(&cloud, &config("other", "x"), &["--node", "edge-1"]);
    peer.pushed(from, "insert", "default/configmap/other");
    let again = peer.until(|event| event["event"] == "push" && event["resource"] == app);
    assert_eq!(
        (&again["id"], &again["version"]),
        (&lost["id"], &lost["version"])
    );
    assert_eq!(
        (&lost["acked"], &again["acked"]),
        (&false.into(), &true.into())
    );

    // What vanishes while it is away, and a cloud that dies between any two of these.
    peer.tell("drop");
    ctl(&cloud, &["delete", "configmap", "other"]).ends(0);
    cloud.kill();
    cloud.start_again(&[]);
    apply(&cloud, &config("app", "6"), &[]);
    cloud.kill();
    cloud.start_again(&[]);
    let from = peer.seen.len();
    peer.online();
    peer.pushed(from, "update", "null/node/edge-1");
    assert_eq!(
        peer.pushed(from, "update", app)["content"]["data"]["key"],
        "6"
    );
    peer.pushed(from, "delete", "default/configmap/other");
    peer.tell("ping");
    assert_eq!(
        cloud.metric("kubeedge_objects_gone"),
        0,
        "it was acknowledged"
    );
    let from = peer.seen.len();
    peer.tell("drop");
    peer.online();
    peer.pushed(from, "update", app);
    peer.tell("ping");
    let again = peer.seen[from..]
        .iter()
        .any(|event| event["op"] == "delete");
    assert!(!again, "what is forgotten is forgotten");

    // Given to another one, it is taken from the first.
    let from = peer.seen.len();
    apply(&cloud, &config("app", "6"), &["--node", "edge-2"]);
    peer.pushed(from, "delete", app);
    peer.tell("held");
    let held = peer
        .seen
        .iter()
        .rfind(|event| event["event"] == "held")
        .unwrap();
    assert_eq!(
        held["objects"].as_object().unwrap().len(),
        1,
        "only the Node: {held}"
    );
}

#[test]
fn a_node_neither_sees_nor_changes_what_is_anothers() {
    let cloud = Cloudcore::start(&[]);
    let mut one = Peer::start(&cloud, "edge-1", &[]);
    let mut two = Peer::start(&cloud, "edge-2", &[]);
    for peer in [&mut one, &mut two] {
        peer.online();
        peer.tell("register");
        peer.tell("lease");
    }
    let secret = "kind: Secret\napiVersion: v1\nmetadata: {name: key}\nstringData: {word: hush}\n";
    apply(&cloud, secret, &["--node", "edge-1"]);
    one.pushed(0, "update", "default/secret/key");
    let mine = one.ask("query default/secret/key");
    assert_eq!(mine["content"]["data"]["word"], "aHVzaA==");
    assert_eq!(
        mine["version"],
        mine["content"]["metadata"]["resourceVersion"]
    );

    for (question, code) in [
        ("query kube-node-lease/lease/edge-1", 403),
        ("query default/lease/edge-2", 403),
        (
            r#"insert null/node/edge-1 {"metadata":{"name":"edge-1"}}"#,
            403,
        ),
        (r#"patch null/nodepatch/edge-1 "{}""#, 403),
        (r#"patch null/nodepatch/edge-2 "[1""#, 400),
        (r#"patch default/podpatch/none "{}""#, 404),
        (
            r#"insert default/pod/spy {"metadata":{"name":"spy","namespace":"default","annotations":{"kubernetes.io/config.mirror":"x"}},"spec":{"nodeName":"edge-2","volumes":[{"secret":{"secretName":"key"}}]}}"#,
            403,
        ),
        (
            r#"update kube-node-lease/lease/edge-2 {"metadata":{"name":"edge-2"},"spec":{}}"#,
            422,
        ),
        (
            r#"update kube-node-lease/lease/edge-2 {"metadata":{"name":"edge-2","resourceVersion":"1"},"spec":{}}"#,
            409,
        ),
        (
            r#"insert kube-node-lease/lease/edge-2 {"metadata":{"name":"edge-2","ownerReferences":[{"uid":""}]},"spec":{}}"#,
            422,
        ),
        (
            r#"insert kube-node-lease/lease/edge-2 {"metadata":{"name":"edge-2"},"spec":{}}"#,
            409,
        ),
    ] {
        let answer = two.ask(question);
        let error = &answer["content"]["Err"]["ErrStatus"];
        assert_eq!(error["code"], code, "{question}: {answer}");
        assert_eq!(error["status"], "Failure");
    }
    for question in [
        "query default/secret/key",
        "query default/secret/none",
        "query kubeedge/secret/casecret",
        "query null/node/edge-1",
        "query default/serviceaccounttoken/default",
        "query default/persistentvolumeclaim/data",
    ] {
        let answer = two.ask(question);
        assert_eq!(answer["operation"], "error", "{question}");
        assert!(answer["content"].is_string(), "{answer}");
    }
    let names = |peer: &mut Peer| {
        peer.tell("ping");
        let pushes = peer.seen.iter().filter(|event| event["event"] == "push");
        pushes
            .map(|event| event["resource"].as_str().unwrap().to_owned())
            .collect()
    };
    let pushed: BTreeSet<String> = names(&mut two);
    assert_eq!(pushed, BTreeSet::from(["null/node/edge-2".to_owned()]));
    assert!(cloud.metric("kubeedge_requests_denied_total") >= 5);
    assert!(!cloud.log().contains("hush") && !cloud.log().contains("aHVzaA"));
}

#[test]
fn a_pod_is_delivered_reported_and_ended() {
    let cloud = Cloudcore::start(&[]);
    let mut peer = Peer::start(&cloud, "edge-1", &[]);
    peer.online();
    peer.tell("register");
    let yaml = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers: [{name: web, image: web:1, \
                envFrom: [{configMapRef: {name: app}}]}]\n---\n"
        .to_owned()
        + &config("app", "1");
    apply(&cloud, &yaml, &["--node", "edge-1"]);
    let pod = peer.pushed(0, "insert", "default/pod/web");
    assert_eq!(pod["content"]["spec"]["nodeName"], "edge-1");
    let uid = pod["uid"].as_str().unwrap().to_owned();
    assert_eq!(
        peer.ask("query default/configmap/app")["content"]["data"]["key"],
        "1"
    );
    let patch = format!(r#"{{"metadata":{{"uid":"{uid}"}},"status":{{"phase":"Running"}}}}"#);
    let patch = serde_json::to_string(&patch).unwrap();
    let patched = peer.ask(&format!("patch default/podpatch/web {patch}"));
    assert_eq!(patched["content"]["Object"]["status"]["phase"], "Running");
    let from = peer.seen.len();
    ctl(&cloud, &["delete", "pod", "web"]).ends(0);
    let ending = peer.pushed(from, "update", "default/pod/web");
    assert!(ending["content"]["metadata"]["deletionTimestamp"].is_string());
    let options =
        |uid: &str| format!(r#"{{"gracePeriodSeconds":0,"preconditions":{{"uid":"{uid}"}}}}"#);
    let other = peer.ask(&format!("delete default/pod/web {}", options("other")));
    assert_eq!(other["content"], "OK");
    ctl(&cloud, &["get", "pod", "web"]).ends(0);
    let from = peer.seen.len();
    let done = peer.ask(&format!("delete default/pod/web {}", options(&uid)));
    assert_eq!(done["content"], "OK");
    assert_eq!(
        peer.pushed(from, "delete", "default/pod/web")["uid"],
        uid.as_str()
    );
    assert!(
        ctl(&cloud, &["get", "pod", "web"])
            .ends(1)
            .err
            .contains("no such object")
    );
}

#[test]
fn a_node_that_is_deleted_is_out_and_may_come_again() {
    let cloud = Cloudcore::start(&[]);
    let mut peer = Peer::start(&cloud, "edge-1", &[]);
    peer.online();
    peer.tell("register");
    let uid = |cloud: &Cloudcore| {
        let node = ctl(cloud, &["get", "node", "edge-1", "-o", "json"])
            .ends(0)
            .json();
        node["metadata"]["uid"].as_str().unwrap().to_owned()
    };
    let first = uid(&cloud);
    let said = ctl(&cloud, &["delete", "node", "edge-1"]).ends(0).out;
    assert_eq!(said, "node edge-1 deleted, and its session ended\n");
    peer.until(|event| event["event"] == "disconnected");
    assert!(
        ctl(&cloud, &["delete", "node", "edge-1"])
            .ends(1)
            .err
            .contains("not found")
    );
    peer.online();
    peer.tell("register");
    assert_ne!(uid(&cloud), first, "it is another node now");
}

#[test]
fn orders_that_make_no_sense_say_why() {
    let mut cloud = Cloudcore::start(&[]);
    for (yaml, part) in [
        (
            "kind: Deployment\napiVersion: apps/v1\nmetadata: {name: a}\n",
            "kind \"Deployment\" is none of",
        ),
        (
            "kind: ConfigMap\napiVersion: v2\nmetadata: {name: a}\n",
            "apiVersion \"v2\"",
        ),
        ("kind: ConfigMap\napiVersion: v1\n", "no metadata.name"),
        (
            "kind: ConfigMap\napiVersion: v1\nmetadata: {name: ../a}\n",
            "not the names",
        ),
        (
            "kind: Secret\napiVersion: v1\nmetadata: {name: a, namespace: kubeedge}\n",
            "the cloud's own",
        ),
        (
            "kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec: {}\n",
            "needs a node",
        ),
    ] {
        let file = cloud.keep("bad.yaml", yaml);
        let said = ctl(&cloud, &["apply", "-f", &file]).ends(1);
        assert!(said.err.contains(part), "{yaml}: {}", said.err);
    }
    let file = cloud.keep("bad.yaml", "a: 1\na: 2\n");
    assert!(
        ctl(&cloud, &["apply", "-f", &file])
            .ends(78)
            .err
            .contains("bad.yaml:2")
    );
    let good = cloud.keep("good.yaml", &config("a", "1"));
    let said = ctl(&cloud, &["apply", "-f", &good, "--selector", "x"]).ends(1);
    assert!(said.err.contains("role=router"), "{}", said.err);
    ctl(&cloud, &["apply", "-f", "/nonexistent"]).ends(78);
    ctl(&cloud, &["get", "deployment"]).ends(64);
    ctl(&cloud, &["frobnicate"]).ends(64);
    assert!(ctl(&cloud, &["--help"]).ends(0).out.contains("apply"));
    for command in ["nodes", "apply", "get", "delete"] {
        assert!(
            ctl(&cloud, &[command, "--help"])
                .ends(0)
                .out
                .contains("Example")
        );
    }
    // An object of nearly 1.5 MiB passes, a larger one does not.
    let large = |bytes: usize| {
        format!(
            r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"big"}},"data":{{"x":"{}"}}}}"#,
            "x".repeat(bytes)
        )
    };
    assert!(apply(&cloud, &large((3 << 19) - 1000), &["--node", "edge-1"]).contains("created"));
    let file = cloud.keep("large.json", &large(2 << 20));
    assert!(
        ctl(&cloud, &["apply", "-f", &file])
            .ends(1)
            .err
            .contains("1.5 MiB")
    );
    let whole = ctl(&cloud, &["get", "configmap", "big", "-o", "json"])
        .ends(0)
        .json();
    assert!(whole["data"]["x"].as_str().unwrap().len() > 1 << 19);
    cloud.stop();
    assert!(
        ctl(&cloud, &["nodes"])
            .ends(69)
            .err
            .contains("cloudcore does not run")
    );
}
