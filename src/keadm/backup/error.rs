//! Why there is no backup, or none that can be restored.

use std::fmt;
use std::path::PathBuf;

use crate::keadm::change::ChangeError;
use crate::keadm::device::DeviceError;
use crate::keadm::hooks::HookError;
use crate::system::exit;
use crate::system::files::FileError;
use crate::trial::TrialError;

#[derive(Debug)]
pub enum BackupError {
    Change(ChangeError),
    Device(DeviceError),
    File(FileError),
    Hook(HookError),
    Trial(TrialError),
    /// There is none in this folder.
    None(PathBuf),
    Manifest {
        path: PathBuf,
        why: String,
    },
    /// A file is not as it was kept.
    Damaged(PathBuf),
    /// Its program would not end a trial here, or does not start.
    Unfit {
        path: PathBuf,
        why: String,
    },
    /// The device has another identity than the backup.
    HasIdentity(PathBuf),
    /// An edgecore that runs would not take an identity that is put there.
    Runs(u32),
}

impl BackupError {
    pub fn code(&self) -> u8 {
        match self {
            BackupError::Change(error) => error.code(),
            BackupError::Device(_) => exit::CONFIG,
            BackupError::File(error) if error.is_denied() => exit::DENIED,
            _ => exit::FAILURE,
        }
    }
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackupError::Change(error) => error.fmt(f),
            BackupError::Device(error) => error.fmt(f),
            BackupError::File(error) => error.fmt(f),
            BackupError::Hook(error) => error.fmt(f),
            BackupError::Trial(error) => error.fmt(f),
            BackupError::None(path) => write!(
                f,
                "there is no backup in {}: `kubeedge backup edge --list` shows those that there are, and \
                 `kubeedge backup edge` makes one",
                path.display()
            ),
            BackupError::Manifest { path, why } => write!(
                f,
                "{} can't be understood ({why}): take another backup",
                path.display()
            ),
            BackupError::Damaged(path) => write!(
                f,
                "{} is not as it was kept: take another backup",
                path.display()
            ),
            BackupError::Unfit { path, why } => write!(
                f,
                "{} is not put in place: {why} (`kubeedge backup edge --list` shows the backups that there are)",
                path.display()
            ),
            BackupError::HasIdentity(path) => write!(
                f,
                "{} is there, and not as in the backup: --keep-identity is for a device without an identity, so \
                 leave it out (or copy the backup to another place, `kubeedge reset edge`, and give the copy \
                 as --from)",
                path.display()
            ),
            BackupError::Runs(pid) => write!(
                f,
                "edgecore runs (process {pid}) without this identity: end it first (`kubeedge service stop`), \
                 since no trial takes an identity back"
            ),
        }
    }
}

impl std::error::Error for BackupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BackupError::Change(error) => Some(error),
            BackupError::Device(error) => Some(error),
            BackupError::File(error) => Some(error),
            BackupError::Hook(error) => Some(error),
            BackupError::Trial(error) => Some(error),
            _ => None,
        }
    }
}

macro_rules! from {
    ($($variant:ident($error:ty)),* $(,)?) => {$(
        impl From<$error> for BackupError {
            fn from(error: $error) -> BackupError {
                BackupError::$variant(error)
            }
        }
    )*};
}

from!(
    Change(ChangeError),
    Device(DeviceError),
    File(FileError),
    Hook(HookError),
    Trial(TrialError),
);
