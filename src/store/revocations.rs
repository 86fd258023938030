//! Whose keys were revoked, and when: one small file of names and times.
//!
//! A line is a node's name, a blank and an RFC 3339 time in UTC; `#` begins a comment. What was
//! issued to the name up to that time is refused. A revocation is never taken back: a node comes
//! back with a key that a token gave it later.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Corruption, StoreError};
use crate::system::clock::Timestamp;
use crate::system::files::Files;
use crate::system::names::NodeName;
use crate::system::sorted::SortedMap;

/// The file, and what is in it.
pub struct Revocations {
    files: Files,
    path: PathBuf,
    known: Mutex<Known>,
    /// One writer at a time.
    writing: Mutex<()>,
}

/// Which nodes, and since when.
pub type Known = SortedMap<NodeName, Timestamp>;

impl Revocations {
    /// A file that is damaged is an error: nobody may come back by that.
    pub fn open(files: &Files, path: &Path) -> Result<Revocations, StoreError> {
        let bytes = files.read_opt(path, MAX_BYTES)?.unwrap_or_default();
        let known = parse(&bytes).map_err(|line| StoreError::Corrupt {
            path: path.to_path_buf(),
            what: Corruption::NoRevocation(line),
        })?;
        Ok(Revocations {
            files: files.clone(),
            path: path.to_path_buf(),
            known: Mutex::new(known),
            writing: Mutex::default(),
        })
    }

    pub fn get(&self, name: &NodeName) -> Option<Timestamp> {
        held(&self.known).get(name).copied()
    }

    pub fn all(&self) -> Vec<(NodeName, Timestamp)> {
        let known = held(&self.known);
        known.iter().map(|(name, at)| (name.clone(), *at)).collect()
    }

    /// Counts for readers when it is on disk.
    pub fn add(&self, nodes: &[(NodeName, Timestamp)]) -> Result<(), StoreError> {
        let _writing = held(&self.writing);
        let mut known = held(&self.known).clone();
        known.extend(nodes.iter().cloned());
        if known.len() > MAX_NODES {
            return Err(StoreError::Full { limit: MAX_NODES });
        }
        self.files.replace(&self.path, &text(&known), 0o600)?;
        *held(&self.known) = known;
        Ok(())
    }
}

/// The file that says so.
pub fn text(known: &Known) -> Vec<u8> {
    let mut text = String::from(HEAD);
    for (name, at) in known {
        text.push_str(&format!("{name} {at}\n"));
    }
    text.into_bytes()
}

/// Reads the file; the error is the number of a line.
pub fn parse(bytes: &[u8]) -> Result<Known, usize> {
    let mut known = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = std::str::from_utf8(line).map_err(|_| index + 1)?.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let entry = line.split_once(' ').and_then(|(name, at)| {
            let at: Timestamp = at.trim().parse().ok()?;
            // Whole seconds are written; a person may have written more.
            let whole = Timestamp::from_unix(at.unix());
            let up = i64::from(whole < at);
            Some((name.parse().ok()?, Timestamp::from_unix(at.unix() + up)))
        });
        let (name, at) = entry.ok_or(index + 1)?;
        known.push((name, at));
    }
    Ok(known.into_iter().collect())
}

/// A thread that died while it held the lock has left whole values behind.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const HEAD: &str =
    "# Nodes whose keys were revoked, and when: what was issued up to then is refused.\n";

/// So that the file fits in a ConfigMap, even with names of 60 characters.
pub const MAX_NODES: usize = 10_000;
const MAX_BYTES: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::name;
    use crate::system::scratch::Scratch;

    #[test]
    fn what_is_revoked_stays_so_and_what_is_damaged_is_no_reason_to_forget() {
        let folder = Scratch::new();
        let path = folder.path().join("revocations");
        let open = || Revocations::open(&Files::real(), &path);
        let (early, late) = (
            Timestamp::from_unix(1_795_335_000),
            Timestamp::from_unix(1_795_335_001),
        );
        let list = open().unwrap();
        list.add(&[(name("b"), early), (name("a"), early)]).unwrap();
        list.add(&[(name("b"), late)]).unwrap();
        assert_eq!(
            open().unwrap().all(),
            [(name("a"), early), (name("b"), late)]
        );
        assert_eq!(open().unwrap().get(&name("c")), None);
        let bytes = Files::real().read(&path, MAX_BYTES).unwrap();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap().lines().nth(1),
            Some("a 2026-11-22T08:10:00Z")
        );
        assert_eq!(Files::real().mode(&path).unwrap(), 0o600);
        for cut in bytes.len() - 20..bytes.len() - 1 {
            Files::real().replace(&path, &bytes[..cut], 0o600).unwrap();
            let error = open().err().unwrap().to_string();
            assert!(error.contains("line 3"), "cut at {cut}: {error}");
        }
    }

    #[test]
    fn one_more_than_can_be_remembered_is_refused() {
        let folder = Scratch::new();
        let list = Revocations::open(&Files::real(), &folder.path().join("revocations")).unwrap();
        let many: Vec<_> = (0..=MAX_NODES)
            .map(|n| (name(&format!("n{n}")), Timestamp::from_unix(1)))
            .collect();
        assert!(matches!(
            list.add(&many),
            Err(StoreError::Full { limit: 10_000 })
        ));
        assert!(list.all().is_empty());
        list.add(&many[1..]).unwrap();
        assert_eq!(list.all().len(), MAX_NODES);
    }
}
