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
    /// In any order; they become the index when all are there.
    entries: Vec<(ObjectPath, Entry)>,
    /// What a person should know, in the order in which it was met; not more than a few.
    pub remarks: Vec<String>,
}

/// Reads one object after the other and keeps none. What can't be read, or can't be set aside, stays where it is
/// and is left out; only a shortage, which says nothing of the disk, ends the search.
pub fn all(files: &Files, top: &Path) -> Result<Found, FileError> {
    let mut found = Found::default();
    for kind in STORED {
        let folder = top.join(kind.as_str());
        for namespace in found.names(files, &folder)? {
            let folder = folder.join(&namespace);
            // Nobody else writes here, so what is begun will never be finished.
            if let Err(error) = files.sweep(&folder) {
                found.remark(error.to_string());
            }
            for name in found.names(files, &folder)? {
                let path = folder.join(&name);
                found.one(files, top, (*kind, &namespace, &name), path)?;
            }
        }
    }
    found.index.entries = std::mem::take(&mut found.entries).into_iter().collect();
    Ok(found)
}

impl Found {
    fn one(
        &mut self,
        files: &Files,
        top: &Path,
        (kind, namespace, name): (Kind, &str, &str),
        path: PathBuf,
    ) -> Result<(), FileError> {
        let text = match files.read_opt(&path, MAX_OBJECT) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(()),
            Err(error) => return self.unread(path, error),
        };
        if let Some((path, entry)) = entry(kind, namespace, name, &text) {
            self.entries.push((path, entry));
            return Ok(());
        }
        match set_aside(files, top, &path, &text) {
            Ok(()) => {
                self.damaged += 1;
                Ok(())
            }
            Err(error) => self.unread(path, error),
        }
    }

    fn names(&mut self, files: &Files, folder: &Path) -> Result<Vec<String>, FileError> {
        match names(files, folder) {
            Ok(names) => Ok(names),
            Err(error) => {
                self.unread(folder.to_owned(), error)?;
                Ok(Vec::new())
            }
        }
    }

    /// What it holds is as good as lost, until the cloud sends it again.
    fn unread(&mut self, path: PathBuf, error: FileError) -> Result<(), FileError> {
        if error.is_shortage() {
            return Err(error);
        }
        self.damaged += 1;
        self.remark(format!(
            "{} is left as it is, and the cloud has to send again what it held: {error}",
            path.display()
        ));
        self.index.unread.insert(path);
        Ok(())
    }

    fn remark(&mut self, sentence: String) {
        if self.remarks.len() < MAX_REMARKS {
            self.remarks.push(sentence);
        }
    }
}

/// The object of a file's text.
pub fn object(text: Vec<u8>) -> Option<Object> {
    let raw = RawValue::from_string(String::from_utf8(text).ok()?).ok()?;
    Object::read(raw).ok()
}

fn entry(kind: Kind, namespace: &str, file: &str, text: &[u8]) -> Option<(ObjectPath, Entry)> {
    let object = object(text.to_owned())?;
    let path = place::object(kind, namespace, file, &object.meta().name)?;
    let entry = Entry::of(kind, &object);
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
/// A disk that is gone has something to say of every file.
const MAX_REMARKS: usize = 16;
