//! What a start finds on the disk: the index of all objects; what is damaged is set aside.

use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::door::STORED;
use super::index::{Entry, Index};
use super::place;
use crate::protocol::object::Object;
use crate::protocol::resource::{Kind, ObjectPath};
use crate::system::files::{FileError, Files};

/// All that could be read, and how much could not.
#[derive(Default)]
pub struct Found {
    pub index: Index,
    pub damaged: usize,
}

/// Reads one object after the other and keeps none.
pub fn all(files: &Files, top: &Path) -> Result<Found, FileError> {
    let mut found = Found::default();
    for kind in STORED {
        let folder = top.join(kind.as_str());
        for namespace in names(files, &folder)? {
            let folder = folder.join(&namespace);
            // Nobody else writes here, so what is begun will never be finished.
            files.sweep(&folder)?;
            for name in names(files, &folder)? {
                let path = folder.join(&name);
                let Some(text) = files.read_opt(&path, MAX_OBJECT)? else {
                    continue;
                };
                match entry(*kind, &namespace, &name, &text) {
                    Some((path, entry)) => _ = found.index.entries.insert(path, entry),
                    None => {
                        found.damaged += 1;
                        set_aside(files, top, &path, &text)?;
                    }
                }
            }
        }
    }
    Ok(found)
}

/// The object of a file's text.
pub fn object(text: Vec<u8>) -> Option<Object> {
    let raw = RawValue::from_string(String::from_utf8(text).ok()?).ok()?;
    Object::read(raw).ok()
}

fn entry(kind: Kind, namespace: &str, file: &str, text: &[u8]) -> Option<(ObjectPath, Entry)> {
    let object = object(text.to_owned())?;
    let path = place::object(kind, namespace, file, &object.meta().name)?;
    let entry = Entry::of(object.meta(), object.text());
    Some((path, entry))
}

/// The cloud sends it again some time; until then, and for whoever wants to know why, it lies apart.
fn set_aside(files: &Files, top: &Path, path: &Path, text: &[u8]) -> Result<(), FileError> {
    let folder = top.join(DAMAGED);
    files.make_dir(&folder, 0o700)?;
    let inner = path.strip_prefix(top).unwrap_or(path);
    let name = inner.display().to_string().replace('/', ".");
    let copy = folder.join(name);
    let room = names(files, &folder)?.len() < MAX_DAMAGED;
    if room {
        files.replace(&copy, text, 0o600)?;
    }
    files.remove(path)?;
    let kept: PathBuf = if room { copy } else { folder };
    log::warn!(
        "{} is damaged and was set aside in {}: the cloud has to send it again; look at dmesg for a \
         storage that fails",
        path.display(),
        kept.display()
    );
    Ok(())
}

fn names(files: &Files, folder: &Path) -> Result<Vec<String>, FileError> {
    // A stray file is none of ours.
    match folder.is_dir() {
        true => files.list(folder, MAX_NAMES),
        false => Ok(Vec::new()),
    }
}

/// Bytes; clouds send no more in a message.
pub const MAX_OBJECT: usize = 32 << 20;
const MAX_NAMES: usize = 100_000;
const DAMAGED: &str = "damaged";
const MAX_DAMAGED: usize = 16;
