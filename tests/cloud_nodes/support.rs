//! A node in Python that is told what to do, and an operator.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use serde_json::Value;

use crate::common::script::python;
use crate::common::site::{Cloudcore, Said};
use crate::common::{Folder, LIMIT};

/// A node, driven line by line.
pub struct Peer {
    child: Child,
    lines: Receiver<Value>,
    /// What has happened so far.
    pub seen: Vec<Value>,
    _folder: Folder,
}

impl Peer {
    pub fn start(cloud: &Cloudcore, node: &str, options: &[&str]) -> Peer {
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
    pub fn tell(&mut self, command: &str) -> Vec<Value> {
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

    /// Only gives a command.
    pub fn order(&mut self, command: &str) {
        let input = self.child.stdin.as_mut().expect("a pipe");
        writeln!(input, "{command}").expect("the peer reads");
    }

    /// Waits for something to happen, from now on.
    pub fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
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

    /// Waits until one of these has happened, if it has not yet since `from`.
    pub fn since(&mut self, from: usize, events: &[&str]) -> Value {
        self.since_that(from, |event| {
            events.iter().any(|word| event["event"] == *word)
        })
    }

    pub fn since_that(&mut self, from: usize, fits: impl Fn(&Value) -> bool) -> Value {
        match self.seen[from..].iter().find(|event| fits(event)) {
            Some(found) => found.clone(),
            None => self.until(fits),
        }
    }

    /// Waits until this was pushed, if it was not yet since `from`.
    pub fn pushed(&mut self, from: usize, operation: &str, resource: &str) -> Value {
        self.since_that(from, |event| {
            event["event"] == "push" && event["op"] == operation && event["resource"] == resource
        })
    }

    pub fn online(&mut self) {
        assert_eq!(
            self.tell("connect").last().expect("an event")["event"],
            "did"
        );
    }

    /// The content of the answer.
    pub fn ask(&mut self, question: &str) -> Value {
        let events = self.tell(&format!("ask {question}"));
        let answer = events.into_iter().find(|event| event["event"] == "answer");
        answer.expect("an answer")
    }

    pub fn version(&mut self, command: &str, event: &str) -> u64 {
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

pub fn ctl(cloud: &Cloudcore, words: &[&str]) -> Said {
    cloud.run(&[&["cloudcore", "ctl"], words].concat())
}

pub fn config(name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  key: \"{value}\"\n"
    )
}

pub fn apply(cloud: &Cloudcore, yaml: &str, to: &[&str]) -> String {
    let file = cloud.keep("objects.yaml", yaml);
    ctl(cloud, &[&["apply", "-f", &file], to].concat())
        .ends(0)
        .out
}

pub fn node(cloud: &Cloudcore, name: &str) -> Value {
    let nodes = ctl(cloud, &["nodes", "-o", "json"]).ends(0).json();
    let mut nodes = nodes["nodes"].as_array().expect("a list").iter();
    nodes
        .find(|it| it["node"] == name)
        .cloned()
        .unwrap_or_default()
}
