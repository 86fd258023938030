//! How what was before is kept while something else is on trial, and how it comes back.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::packing::{pack, unpack};
use super::{Swap, TrialError, beside, digest, predecessor};
use crate::pki::hash::Sha256Hash;
use crate::system::facts;
use crate::system::host::Host;

/// What it costs, and what takes it away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keeping {
    /// Under a second name: nothing is written, and it comes back by a rename, which needs no room.
    #[default]
    Linked,
    /// Packed beside it, where flash is tight.
    Packed,
    /// In memory, where flash has no room for that either: a power cut takes it.
    InMemory,
}

impl Keeping {
    /// What fits the room that is left beside `path`, for a successor that knows all of them.
    pub fn fitting(host: &Host, path: &Path) -> Keeping {
        let Ok(size) = host.files.size(path) else {
            return Keeping::Linked;
        };
        if has_room(path, size) {
            return Keeping::Linked;
        }
        let bytes = host.files.read(path, MAX_PACKED).ok();
        let packed = bytes.and_then(|bytes| pack(&bytes));
        if packed.is_some_and(|packed| has_room(path, packed.len() as u64)) {
            return Keeping::Packed;
        }
        let folder = host.root.at(MEMORY);
        match facts::is_tmpfs(&folder) && has_room(&folder, size.saturating_add(FREE_MEMORY)) {
            true => Keeping::InMemory,
            false => Keeping::Linked,
        }
    }

    /// For the report and the operator; none for what needs no word.
    pub fn sentence(self, path: &Path) -> Option<String> {
        match self {
            Keeping::Linked => None,
            Keeping::Packed => Some(format!(
                "flash is tight: until the trial is over it is kept packed, in {}",
                packed(path).display()
            )),
            Keeping::InMemory => Some(
                "flash is tight: until the trial is over it is kept in memory, and a power cut loses it"
                    .to_owned(),
            ),
        }
    }
}

/// Keeps what is in place.
pub(super) fn keep(host: &Host, swap: &Swap) -> Result<(), TrialError> {
    let (files, path) = (&host.files, host.root.at(&swap.path));
    match swap.keeping {
        Keeping::Linked => Ok(files.keep(&path, &predecessor(&path))?),
        Keeping::Packed => {
            let packed_bytes = pack(&files.read(&path, MAX_PACKED)?);
            match packed_bytes {
                Some(bytes) => Ok(files.replace(&packed(&path), &bytes, 0o600)?),
                // This build never plans it.
                None => Err(TrialError::Lost(path)),
            }
        }
        Keeping::InMemory => {
            let copy = in_memory(host, &path);
            for folder in [RUN, MEMORY] {
                files.make_dir(&host.root.at(folder), 0o755)?;
            }
            Ok(files.copy(&path, &copy, 0o600)?)
        }
    }
}

/// Puts what was kept in its place again; false when it is gone, or is not what it was.
pub(super) fn restore(host: &Host, swap: &Swap) -> Result<bool, TrialError> {
    let (files, path) = (&host.files, host.root.at(&swap.path));
    let is_it = |file: &Path| digest(file).is_ok_and(|found| found == swap.was);
    let old = predecessor(&path);
    // Whatever was meant: it is the best of them.
    if is_it(&old) {
        files.rename(&old, &path)?;
        return Ok(true);
    }
    match swap.keeping {
        Keeping::Linked => Ok(false),
        Keeping::Packed => {
            let bytes = files.read_opt(&packed(&path), MAX_PACKED)?;
            let bytes = bytes.and_then(|bytes| unpack(&bytes, MAX_PACKED));
            let bytes = bytes.filter(|bytes| Sha256Hash::of(bytes).to_string() == swap.was);
            let Some(bytes) = bytes else {
                return Ok(false);
            };
            files.replace(&path, &bytes, swap.mode)?;
            Ok(true)
        }
        Keeping::InMemory => {
            let copy = in_memory(host, &path);
            if !is_it(&copy) {
                return Ok(false);
            }
            files.copy(&copy, &path, swap.mode)?;
            Ok(true)
        }
    }
}

/// Removes it, and what a power cut has left half written.
pub(super) fn forget(host: &Host, swap: &Swap) -> Result<(), TrialError> {
    let (files, path) = (&host.files, host.root.at(&swap.path));
    files.remove(&predecessor(&path))?;
    match swap.keeping {
        Keeping::Linked => return Ok(()),
        Keeping::Packed => files.remove(&packed(&path))?,
        Keeping::InMemory => files.remove(&in_memory(host, &path))?,
    };
    if let Some(folder) = path.parent() {
        files.sweep(folder)?;
    }
    Ok(())
}

/// Whether `path` has room for so many bytes and some more.
pub fn has_room(path: &Path, bytes: u64) -> bool {
    room(path) >= bytes
}

/// Bytes that may still be written where `path` is.
pub fn room(path: &Path) -> u64 {
    let free = facts::free_space(path).unwrap_or(u64::MAX);
    free.saturating_sub(MARGIN)
}

fn packed(path: &Path) -> PathBuf {
    beside(path, "old.gz")
}

fn in_memory(host: &Host, path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    host.root.at(MEMORY).join(format!("{name}.old"))
}

const RUN: &str = "/run/kubeedge";
/// Beside where backups are kept that flash has no room for.
const MEMORY: &str = "/run/kubeedge/upgrade";
/// Bytes that are left free.
const MARGIN: u64 = 128 * 1024;
/// Of memory, for those who work in it.
const FREE_MEMORY: u64 = 8 << 20;
/// What is larger is not packed: it is in memory for a moment.
const MAX_PACKED: usize = 16 << 20;
