//! A lock that one process at a time can hold, and that names its holder.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Seek};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::error::FileError;
use super::layer::Disk;
use crate::system::processes;

/// Held until dropped. The file stays: removing it would let two processes hold "the" lock.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

pub(super) fn take(disk: &Disk, path: &Path) -> Result<Lock, FileError> {
    let mut file = disk
        .open_or_create(path)
        .map_err(FileError::at("lock", path))?;
    let until = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&mut file);
                // Whoever was killed while it started a process has left the lock to that one, for
                // as long as it takes to become another program.
                let is_gone = holder.is_none_or(|pid| !processes::alive(pid));
                if !is_gone || Instant::now() >= until {
                    let path = path.to_owned();
                    return Err(FileError::Locked { path, holder });
                }
                sleep(POLL);
            }
            Err(TryLockError::Error(error)) => return Err(FileError::at("lock", path)(error)),
        }
    }
    let note = format!("{}\n", std::process::id());
    // The number is for messages only, so it is not synced, and a full disk does no harm.
    let _ = disk
        .truncate(&file, path, 0)
        .and_then(|()| disk.write(&mut file, path, note.as_bytes()));
    Ok(Lock { _file: file })
}

/// Whether somebody holds it; makes no file, and never waits.
pub(super) fn is_held(disk: &Disk, path: &Path) -> Result<bool, FileError> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(FileError::at("lock", path)(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(FileError::at("lock", path)(error)),
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(MAX_NOTE).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Bytes: a process number and a line feed, with room to spare.
const MAX_NOTE: u64 = 32;
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(5);
