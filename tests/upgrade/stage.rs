//! A device that runs version 0.1.0 and has its session with a cloud of ours.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::builds::{Manner, build};
use crate::common::device::{Device, Edge};
use crate::common::put;
use crate::common::site::{Cloudcore, Said};

pub const PROGRAM: &str = "/usr/local/bin/kubeedge";
pub const MARKER: &str = "/etc/kubeedge/upgrade/trial.json";
pub const REPORT: &str = "/etc/kubeedge/upgrade_report.json";
pub const OLD: &str = "127.0.0.11";
pub const NEW: &str = "127.0.0.22";

pub fn old() -> PathBuf {
    build("0.1.0", Manner::Works(OLD))
}

pub fn new() -> PathBuf {
    build("0.2.0", Manner::Works(NEW))
}

/// A device with the executable and its links, configured for the cloud.
pub fn device(cloud: &Cloudcore, node: &str) -> Device {
    let mut device = Device::new(node);
    install(&device, &old());
    device.program = Some(device.path(PROGRAM));
    device.configure_for(cloud, &cloud.token());
    device
}

pub fn install(device: &Device, program: &Path) {
    let path = device.path(PROGRAM);
    put(&path, fs::read(program).expect("a build"), 0o755);
    for name in ["edgecore", "keadm", "cloudcore"] {
        let link = path.with_file_name(name);
        if !link.is_symlink() {
            std::os::unix::fs::symlink("kubeedge", link).expect("a link");
        }
    }
}

pub fn is_installed(device: &Device, program: &Path) -> bool {
    fs::read(device.path(PROGRAM)).ok() == fs::read(program).ok()
}

/// `upgrade edge --force --from`, with more words.
pub fn upgrade(device: &Device, program: &Path, more: &[&str]) -> Said {
    let from = program.to_str().expect("UTF-8");
    let words = ["upgrade", "edge", "--force", "--from", from];
    device.run(&[&words, more].concat())
}

pub fn report(device: &Device) -> Value {
    serde_json::from_str(&device.read(REPORT)).expect("JSON")
}

/// Nothing of a change is left but its report.
pub fn is_tidy(device: &Device) {
    assert!(!device.path(MARKER).exists());
    for folder in ["/usr/local/bin", "/etc/kubeedge/config"] {
        let entries = fs::read_dir(device.path(folder))
            .expect("a folder")
            .flatten();
        let names = entries.map(|entry| entry.file_name().into_string().expect("UTF-8"));
        let left: Vec<String> = names.filter(|name| name.starts_with('.')).collect();
        assert!(left.is_empty(), "{left:?} is left in {folder}");
    }
}

/// The address that the supervisor gives its hub, which differs from build to build.
pub fn address(edge: &Edge<'_>) -> String {
    let line = fs::read_to_string(format!("/proc/{}/cmdline", edge.pid())).expect("it runs");
    let mut words = line.split('\0').skip_while(|word| *word != "--node-ip");
    words.nth(1).unwrap_or_default().to_owned()
}

/// The address that the cloud has of the node.
pub fn address_at(cloud: &Cloudcore, node: &str) -> String {
    let said = cloud.run(&["cloudcore", "ctl", "get", "node", node, "-o", "json"]);
    // There may be none yet.
    let object: Value = serde_json::from_str(&said.out).unwrap_or_default();
    let addresses = object["status"]["addresses"].as_array().cloned();
    let addresses = addresses.unwrap_or_default();
    let found = addresses.iter().find(|it| it["type"] == "InternalIP");
    found.map_or_else(String::new, |it| {
        it["address"].as_str().unwrap_or_default().to_owned()
    })
}

/// Somebody who signs as minisign does.
pub struct Seal(ring::signature::Ed25519KeyPair);

impl Seal {
    pub fn new() -> Seal {
        let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[9; 32]);
        Seal(pair.expect("a seed"))
    }

    pub fn public(&self) -> String {
        let key = ring::signature::KeyPair::public_key(&self.0);
        format!(
            "untrusted comment: minisign public key\n{}\n",
            encoded(&[b"Ed", b"kubeedge", key.as_ref()])
        )
    }

    pub fn sign(&self, file: &[u8]) -> String {
        let hash = kubeedge::pki::blake2b::of_all(file).expect("bytes");
        let (comment, signature) = ("file:kubeedge", self.0.sign(&hash));
        let both = [signature.as_ref(), comment.as_bytes()].concat();
        format!(
            "untrusted comment: by the makers\n{}\ntrusted comment: {comment}\n{}\n",
            encoded(&[b"ED", b"kubeedge", signature.as_ref()]),
            encoded(&[self.0.sign(&both).as_ref()])
        )
    }
}

fn encoded(parts: &[&[u8]]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(parts.concat())
}
