//! What was recorded from KubeEdge, read from tests/vectors: requests, times, keys.

use std::path::{Path, PathBuf};

use crate::pki::certificate::Certificate;
use crate::pki::key::PrivateKey;
use crate::system::clock::Timestamp;

/// A file or folder of tests/vectors.
pub fn path(name: &str) -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    top.join("tests/vectors").join(name)
}

pub fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The CA of a `token-ca` folder, and the serving certificate, with their keys.
pub fn authority(folder: &str) -> [(Certificate, PrivateKey); 2] {
    ["ca", "cloudcore"].map(|name| {
        let certificate = Certificate::from_der(&bytes(&format!("{folder}/{name}.der")));
        let key = PrivateKey::from_der(&bytes(&format!("{folder}/{name}key.der")));
        (certificate.unwrap(), key.unwrap())
    })
}

/// When a connection was recorded, from its `.meta.json`.
pub fn time(name: &str) -> Timestamp {
    let meta: serde_json::Value = serde_json::from_slice(&bytes(name)).unwrap();
    Timestamp::from_micros((meta["t"].as_f64().unwrap() * 1e6) as i64)
}

/// The files of a folder whose names end so, sorted.
pub fn names(folder: &str, end: &str) -> Vec<String> {
    let entries = std::fs::read_dir(path(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names
        .filter(|name| name.ends_with(end))
        .map(|name| format!("{folder}/{name}"))
        .collect();
    names.sort();
    names
}

/// An HTTP request, taken apart.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case, sorted.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What the client showed in the handshake.
    pub client: Option<Certificate>,
}

impl Request {
    /// Reads one request; `None` until it is whole.
    pub fn parse(bytes: &[u8]) -> Option<Request> {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let mut first = lines.next()?.split(' ');
        let mut headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        headers.sort();
        let mut request = Request {
            method: first.next()?.to_owned(),
            path: first.next()?.to_owned(),
            headers,
            body: Vec::new(),
            client: None,
        };
        assert_eq!(first.next(), Some("HTTP/1.1"));
        let length = request.header("content-length").unwrap_or("0");
        let body = bytes[end..].get(..length.parse().unwrap())?;
        request.body = body.to_owned();
        Some(request)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|header| header.0 == name);
        found.map(|header| header.1.as_str())
    }
}
