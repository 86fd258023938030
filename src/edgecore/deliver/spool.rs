//! What a folder should hold, on its way from the hub to the supervisor: a file that lasts until the next boot.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::folder::MANIFEST;
use crate::pki::hash::Sha256Hash;
use crate::system::host::Host;
use crate::system::sorted::SortedMap;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    pub by_path: SortedMap<String, File>,
    /// More may be wanted than is known now: what was delivered stays.
    pub keep_others: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct File {
    /// In base64.
    content: String,
    /// Only for its owner.
    pub secret: bool,
}

impl File {
    pub fn new(content: &[u8], secret: bool) -> File {
        let content = STANDARD.encode(content);
        File { content, secret }
    }

    pub fn content(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.content).ok()
    }

    pub fn mode(&self) -> u32 {
        if self.secret { 0o600 } else { 0o644 }
    }
}

impl Files {
    pub fn hash(&self) -> String {
        Sha256Hash::of(&self.text().unwrap_or_default()).to_string()
    }

    fn text(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&(self.keep_others, &self.by_path))
    }

    /// Whether there is nothing to write, and nothing was written in an earlier boot.
    pub fn is_empty_since(&self, host: &Host, folder: &Path) -> bool {
        self.by_path.is_empty() && !was_delivered(host, folder)
    }
}

/// Whether there are files in it, or were.
pub fn was_delivered(host: &Host, folder: &Path) -> bool {
    host.root.at(folder).join(MANIFEST).exists()
}

/// A short name for a folder.
pub fn key(folder: &Path) -> String {
    let hash = Sha256Hash::of(folder.as_os_str().as_encoded_bytes()).to_string();
    hash[..HASH].to_owned()
}

/// What is known of a folder since the last boot.
#[derive(Debug, PartialEq, Eq)]
pub enum Known {
    Nothing,
    /// A change was begun, and did not come to its end.
    Begun,
    /// All of what has this hash was done.
    Done(String),
}

pub fn known(host: &Host, folder: &Path) -> Result<Known, String> {
    let text = host.files.read_opt(&mark(host, folder), MAX_MARK);
    let text = text.map_err(|error| error.to_string())?;
    Ok(
        match text.map(|text| String::from_utf8_lossy(&text).into_owned()) {
            None => Known::Nothing,
            Some(text) if text.is_empty() => Known::Begun,
            Some(text) => Known::Done(text),
        },
    )
}

/// Remembers that this was done.
pub fn done(host: &Host, folder: &Path, hash: &str) -> Result<(), String> {
    let path = mark(host, folder);
    let marked = host.files.replace(&path, hash.as_bytes(), 0o600);
    marked.map_err(|error| error.to_string())
}

fn path(host: &Host, folder: &Path) -> PathBuf {
    host.root.at(FOLDER).join(key(folder))
}

fn mark(host: &Host, folder: &Path) -> PathBuf {
    host.root.at(FOLDER).join(format!("{}.done", key(folder)))
}

pub fn read(host: &Host, folder: &Path) -> Result<Option<Files>, String> {
    let path = path(host, folder);
    // Nothing that would make a reader wait.
    let is_file = std::fs::symlink_metadata(&path).is_ok_and(|it| it.is_file());
    if !is_file {
        return Ok(None);
    }
    let text = host.files.read_opt(&path, MAX_BYTES);
    let text = text.map_err(|error| error.to_string())?;
    let laid_down = text.and_then(|text| serde_json::from_slice(&text).ok());
    Ok(laid_down.map(|(keep_others, by_path)| Files {
        by_path,
        keep_others,
    }))
}

/// Lays it down, and remembers that a change has begun.
pub fn write(host: &Host, folder: &Path, files: &Files) -> Result<(), String> {
    let text = files.text().map_err(|error| error.to_string())?;
    if text.len() > MAX_BYTES {
        return Err("it is more than 8 MiB: deliver less".to_owned());
    }
    let made = host.files.make_dir(&host.root.at(FOLDER), 0o700);
    made.and_then(|_| host.files.replace(&path(host, folder), &text, 0o600))
        .and_then(|()| host.files.replace(&mark(host, folder), b"", 0o600))
        .map_err(|error| error.to_string())
}

const FOLDER: &str = "/run/kubeedge/edgecore/deliver";
/// Hexadecimal digits.
const HASH: usize = 32;
const MAX_BYTES: usize = 8 << 20;
const MAX_MARK: usize = 200;
