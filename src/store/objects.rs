//! Objects on disk: an append-only file of checked lines, where many changes share one fsync.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::warn;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use smol::channel::{Sender, bounded};

use super::journal::{CHECKSUM, checksum, keep_damaged};
use super::{ObjectChange, StoreError, StoredObject};
use crate::system::blocking::{self, Kind};
use crate::system::files::{Appender, Files, Lock};
use crate::system::sorted::SortedMap;

/// What is kept of objects; clones are the same.
#[derive(Clone)]
pub struct ObjectLog(Arc<Shared>);

struct Shared {
    known: Mutex<Known>,
    queue: Mutex<Vec<Waiting>>,
    /// Held by the one who writes. Waiting for it takes no thread.
    writing: Arc<smol::lock::Mutex<()>>,
    file: Mutex<LogFile>,
    _lock: Arc<Lock>,
}

/// What the file says, and what is about to be written to it.
#[derive(Default)]
struct Known {
    objects: BTreeMap<Arc<str>, Arc<str>>,
    /// Of the lines of these objects.
    bytes: usize,
    /// Versions up to this one are given to somebody.
    versions: u64,
}

struct Waiting {
    lines: Vec<u8>,
    answer: Sender<Result<(), StoreError>>,
}

struct LogFile {
    files: Files,
    path: PathBuf,
    appender: Appender,
    bytes: usize,
    /// A write has failed, and what of it is on the disk is unknown: only a new file is good.
    doubtful: bool,
}

impl ObjectLog {
    /// Reads what is there; blocks. A line that a power cut tore is cut off; damaged lines are left
    /// out, and a copy of the file is kept.
    pub fn open(files: &Files, path: &Path, lock: &Arc<Lock>) -> Result<ObjectLog, StoreError> {
        let bytes = files.read_opt(path, MAX_FILE)?.unwrap_or_default();
        let found = parse(&bytes);
        let mut file = LogFile {
            files: files.clone(),
            path: path.to_path_buf(),
            appender: files.appender(path, MODE)?,
            bytes: found.whole,
            doubtful: false,
        };
        if !found.damaged.is_empty() {
            keep_damaged(files, path, &bytes, &found.damaged)?;
            file.rewrite(&found.known)?;
        } else if found.whole < bytes.len() {
            let lost = bytes.len() - found.whole;
            warn!(
                "{}: the last {lost} bytes were torn and are cut off",
                path.display()
            );
            file.appender.truncate(found.whole as u64)?;
        }
        Ok(ObjectLog(Arc::new(Shared {
            known: Mutex::new(found.known),
            queue: Mutex::default(),
            writing: Arc::default(),
            file: Mutex::new(file),
            _lock: lock.clone(),
        })))
    }

    pub fn all(&self) -> Vec<StoredObject> {
        let known = held(&self.0.known);
        let object = |(key, text): (&Arc<str>, &Arc<str>)| StoredObject {
            key: key.clone(),
            text: text.clone(),
        };
        known.objects.iter().map(object).collect()
    }

    /// The changes count in the order of these calls; the answer comes when they are on disk. What is
    /// refused at once is not made; after a later error they may be made all the same.
    pub fn write(
        &self,
        changes: Vec<ObjectChange>,
    ) -> Result<impl Future<Output = Result<(), StoreError>> + Send + use<>, StoreError> {
        let answered = self.enqueue(|known| known.take(changes))?;
        Ok(flushed(self.0.clone(), answered))
    }

    /// The first of `count` versions that nobody was ever given.
    pub fn reserve(
        &self,
        count: u64,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send + use<> {
        let mut first = 0;
        let queued = self.enqueue(|known| {
            first = known.versions + 1;
            known.versions = known.versions.saturating_add(count);
            Ok(versions_line(known.versions))
        });
        let shared = self.0.clone();
        async move {
            match queued {
                Ok(answered) => flushed(shared, answered).await.map(|()| first),
                Err(error) => Err(error),
            }
        }
    }

    fn enqueue(
        &self,
        change: impl FnOnce(&mut Known) -> Result<Vec<u8>, StoreError>,
    ) -> Result<Answered, StoreError> {
        let (answer, answered) = bounded(1);
        let mut queue = held(&self.0.queue);
        if queue.len() >= MAX_WAITING {
            return Err(StoreError::Busy);
        }
        let lines = change(&mut held(&self.0.known))?;
        queue.push(Waiting { lines, answer });
        Ok(answered)
    }
}

type Answered = smol::channel::Receiver<Result<(), StoreError>>;

/// Writes what waits, unless another one has done so meanwhile.
async fn flushed(shared: Arc<Shared>, answered: Answered) -> Result<(), StoreError> {
    // It belongs to the work, not to who waits for it: that one may go away.
    let one_at_a_time = shared.writing.lock_arc().await;
    if let Ok(outcome) = answered.try_recv() {
        return outcome;
    }
    let work = move || {
        shared.flush();
        drop(one_at_a_time);
    };
    let done = blocking::run(Kind::Disk, DEADLINE, work).await;
    done.map_err(|_| StoreError::Busy)?;
    answered.try_recv().unwrap_or(Err(StoreError::Busy))
}

impl Shared {
    fn flush(&self) {
        let waiting = std::mem::take(&mut *held(&self.queue));
        let mut file = held(&self.file);
        let lines: Vec<u8> = waiting.iter().flat_map(|it| it.lines.clone()).collect();
        let written = if file.doubtful {
            file.rewrite(&held(&self.known))
        } else {
            file.append(&lines)
        };
        let live = held(&self.known).bytes;
        if written.is_ok() && file.bytes > 2 * live + SLACK {
            // The changes are durable already; the next ones will try again.
            if let Err(error) = file.rewrite(&held(&self.known)) {
                warn!("the file of objects could not be made shorter: {error}");
            }
        }
        if let Err(error) = &written {
            warn!("what was to be stored of objects is not: {error}");
        }
        for one in waiting {
            // The caller may have gone away.
            let _ = one.answer.try_send(written.clone());
        }
    }
}

impl LogFile {
    fn append(&mut self, lines: &[u8]) -> Result<(), StoreError> {
        if lines.is_empty() {
            return Ok(());
        }
        let written = self
            .appender
            .append(lines)
            .and_then(|()| self.appender.sync());
        self.doubtful = written.is_err();
        self.bytes += lines.len();
        Ok(written?)
    }

    /// Replaces the file by one that says only what is true now.
    fn rewrite(&mut self, known: &Known) -> Result<(), StoreError> {
        // Between the two steps the old handle would write to a file that has no name any more.
        self.doubtful = true;
        let lines = known
            .objects
            .iter()
            .map(|(key, text)| line(key, Some(text)));
        let lines = [versions_line(known.versions)].into_iter().chain(lines);
        let bytes: Vec<u8> = lines.flatten().collect();
        self.files.replace(&self.path, &bytes, MODE)?;
        self.appender = self.files.appender(&self.path, MODE)?;
        self.doubtful = false;
        self.bytes = bytes.len();
        Ok(())
    }
}

impl Known {
    /// Makes the changes here, all or none; returns their lines.
    fn take(&mut self, changes: Vec<ObjectChange>) -> Result<Vec<u8>, StoreError> {
        let (bytes, objects) = self.after(&changes);
        let (larger, more) = (bytes > self.bytes, objects > self.objects.len());
        // Deleting may note down who has to forget it: that shall be possible when all is full.
        let room = match more {
            true => MAX_LIVE - RESERVE,
            false => MAX_LIVE,
        };
        if (larger && bytes > room) || (more && objects > MAX_OBJECTS) {
            return Err(StoreError::TooManyObjects);
        }
        let mut lines = Vec::new();
        for change in changes {
            lines.extend(line(&change.key, change.text.as_deref()));
            self.put(change.key, change.text);
        }
        Ok(lines)
    }

    /// The bytes and the number of all objects, if the changes were made.
    fn after(&self, changes: &[ObjectChange]) -> (usize, usize) {
        // The last one counts of those that have the same key.
        let last: SortedMap<&str, Option<&Arc<str>>> = changes
            .iter()
            .map(|change| (&*change.key, change.text.as_ref()))
            .collect();
        let (mut bytes, mut objects) = (self.bytes, self.objects.len());
        for (key, new) in last {
            let old = self.objects.get(key);
            bytes += new.map_or(0, |text| weight(key, text));
            bytes = bytes.saturating_sub(old.map_or(0, |text| weight(key, text)));
            objects += usize::from(new.is_some());
            objects = objects.saturating_sub(usize::from(old.is_some()));
        }
        (bytes, objects)
    }

    fn put(&mut self, key: Arc<str>, text: Option<Arc<str>>) {
        let weight = |text: &Arc<str>| weight(&key, text);
        let more = text.as_ref().map_or(0, weight);
        let old = match text {
            Some(text) => self.objects.insert(key.clone(), text),
            None => self.objects.remove(&key),
        };
        self.bytes = (self.bytes + more).saturating_sub(old.as_ref().map_or(0, weight));
    }
}

fn weight(key: &str, text: &str) -> usize {
    key.len() + text.len() + OVERHEAD
}

#[derive(Deserialize, Serialize)]
struct Entry<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    text: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    versions: Option<u64>,
}

/// Without a text it says that the object is gone.
fn line(key: &str, text: Option<&str>) -> Vec<u8> {
    // JSON text has line ends between its tokens only, where a space does as well.
    let text = text.map(|text| text.replace(['\n', '\r'], " "));
    let raw = text.and_then(|text| RawValue::from_string(text).ok());
    checked(&Entry {
        key: Some(key.to_owned()),
        text: raw.as_deref(),
        versions: None,
    })
}

fn versions_line(versions: u64) -> Vec<u8> {
    checked(&Entry {
        key: None,
        text: None,
        versions: Some(versions),
    })
}

fn checked(entry: &Entry<'_>) -> Vec<u8> {
    // Strings and numbers: there is nothing in it that JSON can't hold.
    let json = serde_json::to_string(entry).unwrap_or_default();
    format!("{} {json}\n", checksum(json.as_bytes())).into_bytes()
}

struct Found {
    known: Known,
    /// Bytes up to and with the last line end.
    whole: usize,
    /// The numbers of the lines that end as they should and yet are not good.
    damaged: Vec<usize>,
}

fn parse(bytes: &[u8]) -> Found {
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    let whole = end.map_or(0, |at| at + 1);
    let mut found = Found {
        known: Known::default(),
        whole,
        damaged: Vec::new(),
    };
    let lines = end.map(|end| bytes[..end].split(|byte| *byte == b'\n'));
    for (index, line) in lines.into_iter().flatten().enumerate() {
        match parse_line(line) {
            Some(Entry {
                versions: Some(versions),
                ..
            }) => found.known.versions = found.known.versions.max(versions),
            Some(Entry {
                key: Some(key),
                text,
                ..
            }) => found
                .known
                .put(key.into(), text.map(|text| text.get().into())),
            _ => found.damaged.push(index + 1),
        }
    }
    found
}

fn parse_line(line: &[u8]) -> Option<Entry<'_>> {
    let (sum, json) = (line.get(..CHECKSUM)?, line.get(CHECKSUM + 1..)?);
    if line[CHECKSUM] != b' ' || sum != checksum(json).as_bytes() {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// A thread that died while it held the lock has left whole values behind.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const MODE: u32 = 0o600;

/// Of a line, besides key and text.
const OVERHEAD: usize = 32;

/// All objects together, and how many; what becomes smaller is taken all the same.
const MAX_LIVE: usize = 128 << 20;
const MAX_OBJECTS: usize = 200_000;

/// Of these bytes, those that are not for more objects.
const RESERVE: usize = 8 << 20;

/// Twice what is live, and the slack.
const MAX_FILE: usize = 2 * MAX_LIVE + (64 << 20);

/// Bytes of old lines that are never worth a rewrite.
const SLACK: usize = 4 << 20;

/// Changes that wait for the disk at a time; more are refused.
const MAX_WAITING: usize = 8192;

/// How long a caller waits for the disk.
const DEADLINE: Duration = Duration::from_secs(30);

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;
