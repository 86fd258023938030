//! A cloud as KubeEdge's behaves, in Python, that serves, provokes and judges the edge.

use std::path::Path;

use serde_json::Value;

use super::Folder;
use super::script::{Script, port};

/// The running process; ended when dropped.
pub struct Cloud {
    pub host: String,
    pub https: u16,
    pub hub: u16,
    folder: Folder,
    script: Script,
}

impl Cloud {
    pub fn start(options: &[&str]) -> Cloud {
        Cloud::start_within(&[], options)
    }

    /// Started by a command, such as `nsenter`.
    pub fn start_within(within: &[&str], options: &[&str]) -> Cloud {
        let folder = Folder::new();
        let place = folder.path().to_str().expect("UTF-8");
        let options = [&["--dir", place], options].concat();
        let mut script = Script::start(within, "cloud.py", &options);
        let ready = script.event_where("ready", |_| true);
        Cloud {
            host: ready["host"].as_str().expect("an address").to_owned(),
            https: port(&ready, "https"),
            hub: port(&ready, "hub"),
            folder,
            script,
        }
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
        self.script.say(order);
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
        self.script.event_where(kind, fits)
    }

    /// What happened so far of this kind and was not read.
    pub fn unread(&mut self, kind: &str) -> Vec<Value> {
        self.script.unread(kind)
    }

    /// Ends the cloud; its judgement of the edge must be clean.
    pub fn satisfied(mut self) {
        self.script.say("stop");
        let verdict = self.event("verdict");
        let violations = &verdict["violations"];
        let details = self.unread("violation");
        assert_eq!(*violations, Value::Array(vec![]), "{details:?}");
        assert_eq!(self.script.ended().code(), Some(0));
    }
}
