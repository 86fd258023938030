//! Images made by hand: layers as tar, packed in every way, with their manifests and lists.

use std::collections::BTreeMap;
use std::path::Path;

use kubeedge::registry::digest::Digest;
use kubeedge::system::crc32;
use miniz_oxide::deflate::compress_to_vec;
use ruzstd::encoding::{CompressionLevel, compress_to_vec as zstd};
use serde_json::{Value, json};

use crate::common::put;

pub const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
pub const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Everything a registry has to hold of some images.
#[derive(Default)]
pub struct Store {
    pub blobs: BTreeMap<String, Vec<u8>>,
    pub manifests: BTreeMap<String, Value>,
    /// The digest of a layer, and the one of its archive.
    archives: BTreeMap<String, String>,
}

/// How a layer is packed.
#[derive(Clone, Copy)]
pub enum Pack {
    Gzip,
    Plain,
    Zstd,
}

impl Store {
    pub fn blob(&mut self, kind: &str, content: Vec<u8>) -> Value {
        let digest = Digest::of(&content);
        let descriptor =
            json!({"mediaType": kind, "digest": digest.to_string(), "size": content.len()});
        self.blobs.insert(digest.hex(), content);
        descriptor
    }

    pub fn layer(&mut self, pack: Pack, tar: &[u8]) -> Value {
        let layer = match pack {
            Pack::Plain => self.blob("application/vnd.oci.image.layer.v1.tar", tar.to_vec()),
            Pack::Gzip => self.blob("application/vnd.oci.image.layer.v1.tar+gzip", gzip(tar)),
            Pack::Zstd => {
                let packed = zstd(tar, CompressionLevel::Fastest);
                self.blob("application/vnd.oci.image.layer.v1.tar+zstd", packed)
            }
        };
        let digest = layer["digest"].as_str().expect("a digest").to_owned();
        self.archives.insert(digest, Digest::of(tar).to_string());
        layer
    }

    /// An image, known by this tag; gives its descriptor.
    pub fn image(&mut self, tag: &str, platform: &str, layers: &[Value]) -> Value {
        let mut parts = platform.split('/');
        let mut next = || parts.next().unwrap_or_default();
        let (os, architecture, variant) = (next(), next(), next());
        let archive = |layer: &Value| self.archives.get(layer["digest"].as_str()?).cloned();
        let archives: Vec<String> = layers.iter().filter_map(archive).collect();
        let mut config = json!({
            "os": os,
            "architecture": architecture,
            "rootfs": {"type": "layers", "diff_ids": archives},
        });
        if !variant.is_empty() {
            config["variant"] = variant.into();
        }
        let config = self.blob(
            "application/vnd.oci.image.config.v1+json",
            config.to_string().into_bytes(),
        );
        let manifest =
            json!({"schemaVersion": 2, "mediaType": OCI, "config": config, "layers": layers});
        let mut descriptor = self.manifest(tag, manifest);
        descriptor["platform"] = json!({"os": os, "architecture": architecture});
        if !variant.is_empty() {
            descriptor["platform"]["variant"] = variant.into();
        }
        descriptor
    }

    pub fn index(&mut self, tag: &str, images: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": images});
        self.manifest(tag, index)
    }

    pub fn manifest(&mut self, tag: &str, manifest: Value) -> Value {
        let kind = manifest["mediaType"].as_str().unwrap_or(OCI).to_owned();
        let text = manifest.to_string().into_bytes();
        self.manifests.insert(tag.to_owned(), manifest);
        self.blob(&kind, text)
    }

    /// As tests/peers/registry.py wants it.
    pub fn write(&self, folder: &Path) {
        for (name, content) in &self.blobs {
            put(&folder.join("blobs").join(name), content, 0o644);
        }
        for (tag, manifest) in &self.manifests {
            put(
                &folder.join("manifests").join(tag),
                manifest.to_string(),
                0o644,
            );
        }
    }
}

/// An archive of plain files.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let entries: Vec<_> = files
        .iter()
        .map(|(name, content)| (*name, b'0', *content, ""))
        .collect();
    tar_of(&entries)
}

/// An archive of anything: name, kind, content, what a link leads to.
pub fn tar_of(entries: &[(&str, u8, &[u8], &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, kind, content, link) in entries {
        let mut head = [0; 512];
        head[..name.len()].copy_from_slice(name.as_bytes());
        head[100..107].copy_from_slice(b"0000755");
        head[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        head[156] = *kind;
        head[157..157 + link.len()].copy_from_slice(link.as_bytes());
        head[257..265].copy_from_slice(b"ustar\x0000");
        head[148..156].fill(b' ');
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        bytes.extend(head);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

pub fn gzip(text: &[u8]) -> Vec<u8> {
    let mut packed = vec![31, 139, 8, 0, 0, 0, 0, 0, 0, 255];
    packed.extend(compress_to_vec(text, 6));
    packed.extend(crc32::more(0, text).to_le_bytes());
    packed.extend((text.len() as u32).to_le_bytes());
    packed
}

/// Bytes that look like a program and do not pack well.
pub fn program(seed: u32, size: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(next).take(size).collect()
}
