//! Why a batch does not begin, or ends before all devices had their turn.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::system::cause;
use crate::system::exit;
use crate::system::files::FileError;
use crate::system::yaml::{SyntaxError, place};

#[derive(Debug)]
pub enum BatchError {
    File(FileError),
    Syntax(SyntaxError),
    /// What a line of the file says can't be used.
    Value {
        file: String,
        line: usize,
        message: String,
    },
    /// There is no executable to bring to the devices.
    NoPackage {
        place: PathBuf,
        message: String,
    },
    /// A file is there already.
    Exists(PathBuf),
    NoSsh,
    /// The system does not let programs be started.
    System(io::Error),
}

impl BatchError {
    pub fn code(&self) -> u8 {
        match self {
            BatchError::File(error) if error.is_denied() => exit::DENIED,
            BatchError::File(error) if error.is_not_found() => exit::CONFIG,
            BatchError::Syntax(_) | BatchError::Value { .. } | BatchError::NoPackage { .. } => {
                exit::CONFIG
            }
            BatchError::NoSsh => exit::UNAVAILABLE,
            BatchError::File(_) | BatchError::Exists(_) | BatchError::System(_) => exit::FAILURE,
        }
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BatchError::File(error) if error.is_not_found() => {
                write!(f, "{error}, or write one with `kubeedge batch gen-config`")
            }
            BatchError::File(error) => error.fmt(f),
            BatchError::Syntax(error) => error.fmt(f),
            BatchError::Value {
                file,
                line,
                message,
            } => {
                place(f, file, *line)?;
                f.write_str(message)
            }
            BatchError::NoPackage { place, message } => write!(f, "{}: {message}", place.display()),
            BatchError::Exists(path) => write!(
                f,
                "there is a {} already: --force replaces it, --file takes another name",
                path.display()
            ),
            BatchError::NoSsh => {
                f.write_str("there is no ssh here: install OpenSSH's client (openssh-client)")
            }
            BatchError::System(error) => {
                write!(f, "ssh can't be started: {}", cause::of(error))
            }
        }
    }
}

impl std::error::Error for BatchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BatchError::File(error) => Some(error),
            BatchError::Syntax(error) => Some(error),
            BatchError::System(error) => Some(error),
            _ => None,
        }
    }
}

impl From<FileError> for BatchError {
    fn from(error: FileError) -> BatchError {
        BatchError::File(error)
    }
}
