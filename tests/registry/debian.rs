//! Debian's docker-registry as a process, and how images come into it.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::common::{not_tried, put, wait_until};
use crate::image::Store;

pub struct Registry {
    child: Child,
    pub port: u16,
}

impl Registry {
    /// On what lies in `folder`; none where the program is not installed.
    pub fn start(folder: &Path, more: &Value) -> Option<Registry> {
        let known = Command::new("docker-registry").arg("--version").output();
        if known.is_err() {
            not_tried("docker-registry: there is none here (tests/setup.sh installs it)");
            return None;
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let mut config = json!({
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": true}},
            "storage": {"filesystem": {"rootdirectory": folder.join("data")}},
            "http": {"addr": format!("127.0.0.1:{port}"), "secret": "x"},
        });
        for (key, value) in more.as_object().expect("an object") {
            match config.get_mut(key).and_then(Value::as_object_mut) {
                Some(known) => known.extend(value.as_object().expect("an object").clone()),
                None => config[key] = value.clone(),
            }
        }
        // JSON is YAML.
        let path = folder.join(format!("{port}.yml"));
        put(&path, config.to_string(), 0o644);
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let registry = Registry {
            child: child.expect("it starts"),
            port,
        };
        wait_until("docker-registry", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Some(registry)
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/v2/{path}", self.port)
    }

    pub fn push(&self, name: &str, store: &Store) {
        for (hex, content) in &store.blobs {
            let begun = ureq::post(self.url(&format!("{name}/blobs/uploads/"))).send_empty();
            let begun = begun.expect("an upload begins");
            let place = begun.headers()["location"].to_str().expect("a URL");
            let mark = if place.contains('?') { '&' } else { '?' };
            let place = format!("{place}{mark}digest=sha256:{hex}");
            let sent = ureq::put(place)
                .content_type("application/octet-stream")
                .send(&content[..]);
            assert_eq!(sent.expect("a blob").status(), 201);
        }
        // What is named in a list has to be there before it.
        let mut manifests: Vec<_> = store.manifests.iter().collect();
        manifests.sort_by_key(|(_, manifest)| manifest["manifests"].is_array());
        for (tag, manifest) in manifests {
            let sent = ureq::put(self.url(&format!("{name}/manifests/{tag}")))
                .content_type(manifest["mediaType"].as_str().expect("a kind"))
                .send(manifest.to_string());
            assert_eq!(sent.expect("a manifest").status(), 201);
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
