//! A peer in Python: takes orders a line each, and tells what happens as JSON, a line each.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use serde_json::Value;

use super::LIMIT;

/// The running process; ended when dropped.
pub struct Script {
    child: Child,
    orders: ChildStdin,
    lines: Receiver<Value>,
    unread: VecDeque<Value>,
}

impl Script {
    /// One of tests/peers. `within` are the words of a command that starts it, such as `nsenter`'s.
    pub fn start(within: &[&str], name: &str, options: &[&str]) -> Script {
        let script = format!("{}/tests/peers/{name}", env!("CARGO_MANIFEST_DIR"));
        let python = python();
        let mut words = within.iter().map(PathBuf::from).collect::<Vec<_>>();
        words.extend([python.clone(), script.into()]);
        let mut child = Command::new(&words[0])
            .args(&words[1..])
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
        Script {
            child,
            orders,
            lines,
            unread: VecDeque::new(),
        }
    }

    pub fn say(&mut self, order: &str) {
        let line = format!("{order}\n");
        let written = self.orders.write_all(line.as_bytes());
        written.expect("the peer listens to orders");
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
                        "no {kind:?} from the peer within {LIMIT:?}: {:?}",
                        self.unread
                    )
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the peer ended before {kind:?}: {:?}", self.unread)
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

    /// The same, and they are read by that.
    pub fn take(&mut self, kind: &str) -> Vec<Value> {
        let taken = self.unread(kind);
        self.unread.retain(|event| event["event"] != kind);
        taken
    }

    pub fn ended(&mut self) -> ExitStatus {
        self.child.wait().expect("the peer ends")
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let rest: Vec<Value> = self.lines.try_iter().collect();
            eprintln!("peer, unread: {:?} {rest:?}", self.unread);
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

/// A port in a JSON object.
pub fn port(ready: &Value, key: &str) -> u16 {
    let port = ready[key].as_u64().expect("a port");
    u16::try_from(port).expect("a port")
}
