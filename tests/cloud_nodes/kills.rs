//! cloudcore, cut off in the middle of each thing that it does: nothing that it said is lost, nothing is in
//! effect twice, and no version is given out again.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::common::site::Cloudcore;
use crate::common::{KUBEEDGE, LIMIT};
use crate::support::{Peer, apply, config, ctl};

/// What is going on when the cloud is killed.
const STEPS: [&str; 6] = ["register", "patch", "lease", "apply", "delete", "unacked"];

/// How far it gets, in microseconds from the order on.
const MOMENTS: [u64; 5] = [0, 1_000, 3_000, 8_000, 20_000];

const APP: &str = "default/configmap/app";

struct Scene {
    cloud: Cloudcore,
    peer: Peer,
    ledger: Ledger,
    /// Events of the peer that are in the ledger.
    booked: usize,
    /// The value that `app` has for certain; none: it is not there.
    app: Option<u64>,
    value: u64,
}

/// Every version that was ever seen, and what it was given to.
#[derive(Default)]
struct Ledger {
    given: BTreeMap<u64, String>,
    contents: BTreeMap<u64, Value>,
    leases: u64,
}

impl Ledger {
    fn add(&mut self, version: &Value, what: String) -> u64 {
        let version = version.as_str().expect("a version");
        let version = version.parse().expect("a number");
        let before = self.given.entry(version).or_insert_with(|| what.clone());
        assert_eq!(*before, what, "version {version} was given twice");
        version
    }

    fn event(&mut self, event: &Value) {
        match event["event"].as_str() {
            Some("renewed") => {
                // Each renewal has one of its own, and a higher one than all before.
                self.leases += 1;
                let highest = self.highest();
                let what = format!("lease {}", self.leases);
                let version = self.add(&event["version"], what);
                assert!(version > highest, "{version} after {highest}");
            }
            Some("registered") => {
                let what = format!("null/node/edge-1 {}", event["uid"]);
                self.add(&event["version"], what);
            }
            Some("push") => {
                let what = format!("{} {}", event["resource"].as_str().unwrap(), event["uid"]);
                let version = self.add(&event["version"], what);
                if event["op"] != "delete" {
                    let content = event["content"].clone();
                    let before = self.contents.entry(version).or_insert(content.clone());
                    assert_eq!(*before, content, "version {version} means two things");
                }
            }
            _ => {}
        }
    }

    fn highest(&self) -> u64 {
        self.given
            .last_key_value()
            .map_or(0, |(version, _)| *version)
    }
}

impl Scene {
    fn new() -> Scene {
        let cloud = Cloudcore::start(&[]);
        let mut peer = Peer::start(&cloud, "edge-1", &[]);
        peer.online();
        peer.tell("register");
        Scene {
            cloud,
            peer,
            ledger: Ledger::default(),
            booked: 0,
            app: None,
            value: 0,
        }
    }

    fn next_value(&mut self) -> String {
        self.value += 1;
        config("app", &self.value.to_string())
    }

    /// An operator's command that may be cut off with the cloud.
    fn begin(&self, words: &[&str]) -> Child {
        let mut command = Command::new(KUBEEDGE);
        command
            .args(["cloudcore", "ctl"])
            .args(words)
            .env("KUBEEDGE_ROOT", self.cloud.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().expect("the executable starts")
    }

    fn kill(&mut self, moment: u64) {
        // This is the instant that is tried, and no waiting for something.
        std::thread::sleep(Duration::from_micros(moment));
        self.cloud.kill();
    }

    /// One step, cut off; then the cloud and the node are as before, and all that was promised is there.
    fn cut(&mut self, step: &str, moment: u64) {
        let from = self.peer.seen.len();
        let before = self.node().expect("it is registered");
        let mut sure_of_node = Some(before.clone());
        match step {
            "register" => {
                ctl(&self.cloud, &["delete", "node", "edge-1"]).ends(0);
                sure_of_node = None;
                self.peer.since(from, &["disconnected"]);
                self.peer.online();
                let from = self.peer.seen.len();
                self.peer.order("register");
                self.kill(moment);
                self.peer.since(from, &["disconnected"]);
                self.peer.since(from, &["did", "cut"]);
                let done = self.peer.seen[from..].iter();
                let mut done = done.filter(|event| event["event"] == "registered");
                if let Some(done) = done.next_back() {
                    sure_of_node = Some(done["uid"].clone());
                }
            }
            "patch" | "lease" => {
                self.peer
                    .order(if step == "patch" { "register" } else { step });
                self.kill(moment);
                self.peer.since(from, &["disconnected"]);
                self.peer.since(from, &["did", "cut"]);
            }
            "apply" => {
                let text = self.next_value();
                let file = self.cloud.keep("app.yaml", &text);
                let mut command = self.begin(&["apply", "-f", &file, "--node", "edge-1"]);
                self.kill(moment);
                let done = command.wait().expect("it ends").success();
                self.peer.since(from, &["disconnected"]);
                if done {
                    self.app = Some(self.value);
                }
            }
            "delete" => {
                if self.app.is_none() {
                    let text = self.next_value();
                    apply(&self.cloud, &text, &["--node", "edge-1"]);
                    self.peer.pushed(from, "insert", APP);
                    self.app = Some(self.value);
                }
                let mut command = self.begin(&["delete", "configmap", "app"]);
                self.kill(moment);
                let done = command.wait().expect("it ends").success();
                self.peer.since(from, &["disconnected"]);
                if done {
                    self.app = None;
                }
            }
            _ => {
                self.peer.tell("acks off");
                let text = self.next_value();
                let from = self.peer.seen.len();
                apply(&self.cloud, &text, &["--node", "edge-1"]);
                self.app = Some(self.value);
                self.peer
                    .until(|event| event["event"] == "push" && event["resource"] == APP);
                self.kill(moment);
                self.peer.since(from, &["disconnected"]);
                self.peer.tell("acks on");
            }
        }
        self.cloud.start_again(&[]);
        self.check(step, sure_of_node);
    }

    fn check(&mut self, step: &str, sure_of_node: Option<Value>) {
        let highest = self.ledger.highest();
        let node = self.node();
        if let Some(uid) = sure_of_node {
            assert_eq!(node, Some(uid), "the node that was registered is there");
        }
        // What was said to be done is done; what was not said may be either, but nothing else.
        let found = self.value_of_app();
        match (step, found, self.app) {
            ("apply", found, app) => {
                assert!(
                    found == app || found == Some(self.value),
                    "{found:?}, {app:?}"
                );
            }
            ("delete", None, _) => {}
            (_, found, app) => assert_eq!(found, app),
        }
        self.app = found;
        let from = self.peer.seen.len();
        self.peer.online();
        self.peer.tell("register");
        self.peer.tell("lease");
        let renewed = self.peer.seen[from..].iter();
        let mut renewed = renewed.filter(|event| event["event"] == "renewed");
        let version = renewed.next_back().expect("a lease")["version"].clone();
        let version: u64 = version.as_str().unwrap().parse().unwrap();
        assert!(version > highest, "{step}: {version} after {highest}");
        self.settled();
        let pushes = self.peer.seen[from..].iter();
        let pushes = pushes.filter(|event| event["event"] == "push" && event["resource"] == APP);
        let deletes = pushes
            .clone()
            .filter(|event| event["op"] == "delete")
            .count();
        let inserts = pushes.clone().count() - deletes;
        assert_eq!(inserts, usize::from(self.app.is_some()), "{step}: once");
        assert!(deletes <= 1, "{step}: {deletes} deletes");
        // It was acknowledged, so it is not said again.
        let from = self.peer.seen.len();
        self.peer.tell("drop");
        self.peer.online();
        self.settled();
        let mut again = self.peer.seen[from..].iter();
        assert!(again.all(|event| event["op"] != "delete"), "{step}");
        for event in &self.peer.seen[self.booked..] {
            self.ledger.event(event);
        }
        self.booked = self.peer.seen.len();
    }

    /// Waits until the node has what it should have, and nothing waits for it.
    fn settled(&mut self) {
        let end = std::time::Instant::now() + LIMIT;
        loop {
            self.peer.tell("ping");
            self.peer.tell("held");
            let held = self
                .peer
                .seen
                .iter()
                .rfind(|event| event["event"] == "held");
            let held = held.expect("it was asked")["objects"].clone();
            let has = held.as_object().expect("a map");
            let right = has.contains_key("null/node/edge-1")
                && has.contains_key(APP) == self.app.is_some()
                && has.len() == 1 + usize::from(self.app.is_some());
            let last = self.peer.seen.iter().rfind(|event| {
                event["event"] == "push" && event["resource"] == APP && event["op"] != "delete"
            });
            let value = last.map(|event| event["content"]["data"]["key"].clone());
            let same = self
                .app
                .is_none_or(|app| value == Some(app.to_string().into()));
            if right && same && self.cloud.metric("kubeedge_objects_gone") == 0 {
                return;
            }
            assert!(std::time::Instant::now() < end, "{held}, {:?}", self.app);
        }
    }

    /// The uid of the Node, if there is one.
    fn node(&self) -> Option<Value> {
        let said = ctl(&self.cloud, &["get", "node", "edge-1", "-o", "json"]);
        (said.code == 0).then(|| said.json()["metadata"]["uid"].clone())
    }

    fn value_of_app(&self) -> Option<u64> {
        let said = ctl(&self.cloud, &["get", "configmap", "app", "-o", "json"]);
        let value = (said.code == 0).then(|| said.json()["data"]["key"].clone());
        value.map(|it| it.as_str().unwrap().parse().unwrap())
    }
}

#[test]
fn killed_inside_each_step_it_loses_nothing_and_does_nothing_twice() {
    let mut scene = Scene::new();
    // Of each a few; of the long set many.
    let rounds = if std::env::var_os("KUBEEDGE_LONG").is_some() {
        20
    } else {
        1
    };
    for round in 0..rounds {
        for moment in MOMENTS {
            for step in STEPS {
                scene.cut(step, moment + round * 97);
            }
        }
    }
    assert!(scene.ledger.given.len() > STEPS.len() * MOMENTS.len());
    assert!(scene.ledger.leases as usize >= STEPS.len() * MOMENTS.len());
}
