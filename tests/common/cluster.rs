//! A Kubernetes API for black-box tests: tests/peers/kube.py, in a folder with its kubeconfigs.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::Folder;
use super::script::{Script, port, python};

/// It runs until it is dropped.
pub struct Cluster {
    script: Script,
    folder: Folder,
    pub port: u16,
}

impl Cluster {
    pub fn start() -> Cluster {
        let folder = Folder::new();
        let path = folder.path().to_str().expect("UTF-8").to_owned();
        let mut script = Script::start(&[], "kube.py", &[&path]);
        let ready = script.event_where("ready", |_| true);
        let port = port(&ready, "port");
        Cluster {
            script,
            folder,
            port,
        }
    }

    /// With a client certificate of an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.file("kubeconfig")
    }

    /// With a token in a file.
    pub fn token_kubeconfig(&self) -> PathBuf {
        self.file("token.kubeconfig")
    }

    /// One of `ca.crt`, `client.crt`, `client.key`, `token`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An order that tests/peers/kube.py describes, and what it answers.
    pub fn order(&mut self, order: &Value) -> Value {
        self.script.say(&order.to_string());
        let done = self.script.event_where("done", |_| true);
        assert!(done.get("error").is_none(), "{order}: {done}");
        done
    }

    /// Nobody listens, and every connection ends.
    pub fn stop(&mut self) {
        self.order(&json!({"do": "stop"}));
    }

    /// It is back, with all it had.
    pub fn start_again(&mut self) {
        self.order(&json!({"do": "start"}));
    }

    /// All that was asked since this was called last: method, target, who, as.
    pub fn requests(&mut self) -> Vec<Value> {
        let done = self.order(&json!({"do": "requests"}));
        done["requests"].as_array().expect("a list").clone()
    }

    /// All objects there are.
    pub fn objects(&mut self) -> Vec<Value> {
        let done = self.order(&json!({"do": "objects"}));
        done["objects"].as_array().expect("a list").clone()
    }

    /// The object of this kind and name, whatever its namespace.
    pub fn object(&mut self, kind: &str, name: &str) -> Option<Value> {
        let mut all = self.objects().into_iter();
        all.find(|it| it["kind"] == kind && it["metadata"]["name"] == name)
    }
}

/// kubectl, where this machine has one: tests/setup.sh gets it if it can.
pub fn kubectl() -> Option<PathBuf> {
    let of_peers = python().with_file_name("kubectl");
    let known = [PathBuf::from("kubectl"), of_peers];
    let found = known.into_iter().find(|path| {
        let tried = Command::new(path).args(["version", "--client"]).output();
        tried.is_ok_and(|tried| tried.status.success())
    });
    if found.is_none() {
        super::not_tried("kubectl: there is none here, and tests/setup.sh could not get one");
    }
    found
}

impl Cluster {
    /// Runs kubectl on the cluster; its discovery is kept in the cluster's own folder.
    pub fn kubectl(&self, kubectl: &PathBuf, words: &[&str]) -> Output {
        let done = Command::new(kubectl)
            .args(words)
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", self.folder.path())
            .output();
        done.expect("kubectl runs")
    }
}
