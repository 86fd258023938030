//! One command at a time changes a device.

use std::fmt;

use crate::system::exit;
use crate::system::files::{FileError, Lock};
use crate::system::host::Host;

/// Held until dropped, or until the process ends.
pub fn take(host: &Host) -> Result<Lock, LockError> {
    let path = host.root.at(LOCK);
    if let Some(folder) = path.parent() {
        host.files
            .make_dir(folder, 0o755)
            .map_err(LockError::File)?;
    }
    host.files.lock(&path).map_err(|error| match error {
        FileError::Locked { holder, .. } => LockError::Busy(holder),
        error => LockError::File(error),
    })
}

#[derive(Debug)]
pub enum LockError {
    /// The process that holds it, if it is known.
    Busy(Option<u32>),
    File(FileError),
}

impl LockError {
    pub fn code(&self) -> u8 {
        match self {
            LockError::Busy(_) => exit::TRY_AGAIN,
            LockError::File(error) if error.is_denied() => exit::DENIED,
            LockError::File(_) => exit::FAILURE,
        }
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Busy(Some(pid)) => write!(
                f,
                "process {pid} joins, resets or changes this device right now: wait until it is done"
            ),
            LockError::Busy(None) => f.write_str(
                "another process joins, resets or changes this device right now: wait until it is done",
            ),
            LockError::File(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LockError::Busy(_) => None,
            LockError::File(error) => Some(error),
        }
    }
}

const LOCK: &str = "/run/kubeedge/keadm.lock";
