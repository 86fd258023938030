//! Why a file could not be put on trial, or the trial not be ended.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::system::cause;
use crate::system::files::FileError;

#[derive(Debug)]
pub enum TrialError {
    File(FileError),
    Unreadable(PathBuf, io::Error),
    /// Not from the top on, or in a roundabout way.
    NotWhole(PathBuf),
    /// Not below the root prefix.
    Outside(PathBuf),
    /// What was before is not there any more, so what is there stays.
    Lost(PathBuf),
    Marker(PathBuf, String),
}

impl fmt::Display for TrialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrialError::File(error) => error.fmt(f),
            TrialError::Unreadable(path, source) => {
                write!(f, "cannot read {}: {}", path.display(), cause::of(source))
            }
            TrialError::NotWhole(path) => write!(
                f,
                "{} is not the whole path of a file: give it from / on, without `..`",
                path.display()
            ),
            TrialError::Outside(path) => write!(
                f,
                "{} is not below the root folder: leave --root away",
                path.display()
            ),
            TrialError::Lost(path) => write!(
                f,
                "what {} was before is gone, so it stays: restore a backup",
                path.display()
            ),
            TrialError::Marker(path, why) => write!(
                f,
                "{} can't be understood ({why}): remove it",
                path.display()
            ),
        }
    }
}

impl std::error::Error for TrialError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TrialError::File(error) => Some(error),
            TrialError::Unreadable(_, source) => Some(source),
            _ => None,
        }
    }
}

impl From<FileError> for TrialError {
    fn from(error: FileError) -> TrialError {
        TrialError::File(error)
    }
}
