//! A cloud as KubeEdge's behaves, in Python, that serves, provokes and judges the edge.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use serde_json::Value;

use super::{Folder, LIMIT};

/// The running process; ended when dropped.
pub struct Cloud {
    pub host: String,
    pub https: u16,
    pub hub: u16,
    folder: Folder,
    child: Child,
    orders: ChildStdin,
    lines: Receiver<Value>,
    unread: VecDeque<Value>,
}

impl Cloud {
    pub fn start(options: &[&str]) -> Cloud {
        let folder = Folder::new();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/cloud.py");
        let python = python();
        let mut child = Command::new(&python)
            .arg(script)
            .arg("--dir")
            .arg(folder.path())
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| {
                panic!(
                    "{}: {e}: run tests/setup.sh, or set KUBEEDGE_PEERS_PYTHON",
                    python.display()
                )
            });
        let orders = child.stdin.take().expect("it was piped");
        let output = child.stdout.take().expect("it was piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        let mut cloud = Cloud {
            host: String::new(),
            https: 0,
            hub: 0,
            folder,
            child,
            orders,
            lines,
            unread: VecDeque::new(),
        };
        let ready = cloud.event("ready");
        cloud.host = ready["host"].as_str().expect("an address").to_owned();
        cloud.https = port(&ready, "https");
        cloud.hub = port(&ready, "hub");
        cloud
    }

    /// `[::1]` or `127.0.0.1`, as it stands before a port.
    pub fn dialled(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        }
    }

    /// The folder with the CA (`ca.pem`, `ca.key`).
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn token(&self) -> String {
        let path = self.path().join("token");
        std::fs::read_to_string(path).expect("the token can be read")
    }

    /// Gives an order and waits until it was carried out.
    pub fn order(&mut self, order: &str) {
        let line = format!("{order}\n");
        let written = self.orders.write_all(line.as_bytes());
        written.expect("the cloud listens to orders");
        match order {
            "up" => self.event("ready"),
            _ => self.event("did"),
        };
    }

    /// The next event of this kind; others stay unread, in order.
    pub fn event(&mut self, kind: &str) -> Value {
        self.event_where(kind, |_| true)
    }

    /// The next event of this kind that fits; others stay unread, in order.
    pub fn event_where(&mut self, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + LIMIT;
        let mut seen = 0;
        loop {
            while let Some(event) = self.unread.get(seen) {
                if event["event"] == kind && fits(event) {
                    return self.unread.remove(seen).expect("it was just seen");
                }
                seen += 1;
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(event) => self.unread.push_back(event),
                Err(RecvTimeoutError::Timeout) => {
                    panic!(
                        "no {kind:?} from the cloud within {LIMIT:?}: {:?}",
                        self.unread
                    )
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the cloud ended before {kind:?}: {:?}", self.unread)
                }
            }
        }
    }

    /// What happened so far of this kind and was not read.
    pub fn unread(&mut self, kind: &str) -> Vec<Value> {
        self.unread.extend(self.lines.try_iter());
        let of_kind = self.unread.iter().filter(|event| event["event"] == kind);
        of_kind.cloned().collect()
    }

    /// Ends the cloud; its judgement of the edge must be clean.
    pub fn satisfied(mut self) {
        self.order_last("stop");
        let verdict = self.event("verdict");
        let violations = &verdict["violations"];
        let details = self.unread("violation");
        assert_eq!(*violations, Value::Array(vec![]), "{details:?}");
        let status = self.child.wait().expect("the cloud ends");
        assert_eq!(status.code(), Some(0));
    }

    fn order_last(&mut self, order: &str) {
        let line = format!("{order}\n");
        let written = self.orders.write_all(line.as_bytes());
        written.expect("the cloud listens to orders");
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let rest: Vec<Value> = self.lines.try_iter().collect();
            eprintln!("cloud, unread: {:?} {rest:?}", self.unread);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Python that has what the peers need, as tests/setup.sh leaves it.
pub fn python() -> PathBuf {
    if let Some(python) = std::env::var_os("KUBEEDGE_PEERS_PYTHON") {
        return python.into();
    }
    let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let caches = caches.unwrap_or_else(|| home().join(".cache"));
    caches.join("kubeedge-peers/bin/python3")
}

fn port(ready: &Value, key: &str) -> u16 {
    let port = ready[key].as_u64().expect("a port");
    u16::try_from(port).expect("a port")
}
