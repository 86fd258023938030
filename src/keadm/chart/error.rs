//! Why there are no objects to deploy: what was given can't be understood.

use std::fmt;

use crate::pki::PkiError;
use crate::system::exit;
use crate::system::files::FileError;
use crate::system::yaml::SyntaxError;

#[derive(Debug)]
pub enum ChartError {
    /// A `--set` item; what is wrong with it.
    Set {
        item: String,
        why: String,
    },
    /// A flag besides `--set`.
    Flag {
        flag: &'static str,
        why: String,
    },
    /// A value is not what its key holds.
    Value {
        key: String,
        why: String,
    },
    File(FileError),
    Syntax(SyntaxError),
    /// A file of values that holds something else than a mapping.
    NoMapping {
        file: String,
    },
    /// What is embedded in this executable can't be read.
    Damaged(String),
    Pki(PkiError),
}

impl ChartError {
    pub fn code(&self) -> u8 {
        match self {
            ChartError::Set { .. } | ChartError::Flag { .. } => exit::USAGE,
            ChartError::File(error) if error.is_denied() => exit::DENIED,
            ChartError::Value { .. }
            | ChartError::File(_)
            | ChartError::Syntax(_)
            | ChartError::NoMapping { .. } => exit::CONFIG,
            ChartError::Damaged(_) | ChartError::Pki(_) => exit::FAILURE,
        }
    }
}

impl fmt::Display for ChartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChartError::Set { item, why } => write!(f, "--set {item}: {why}"),
            ChartError::Flag { flag, why } => write!(f, "{flag}: {why}"),
            ChartError::Value { key, why } => write!(f, "{key}: {why}"),
            ChartError::File(error) => error.fmt(f),
            ChartError::Syntax(error) => error.fmt(f),
            ChartError::NoMapping { file } => write!(
                f,
                "{file}: it holds no mapping: write the values as `key: value` lines"
            ),
            ChartError::Damaged(what) => {
                write!(f, "this executable is damaged ({what}): install it anew")
            }
            ChartError::Pki(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ChartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ChartError::File(error) => Some(error),
            ChartError::Syntax(error) => Some(error),
            ChartError::Pki(error) => Some(error),
            _ => None,
        }
    }
}

impl From<FileError> for ChartError {
    fn from(error: FileError) -> ChartError {
        ChartError::File(error)
    }
}

impl From<SyntaxError> for ChartError {
    fn from(error: SyntaxError) -> ChartError {
        ChartError::Syntax(error)
    }
}

impl From<PkiError> for ChartError {
    fn from(error: PkiError) -> ChartError {
        ChartError::Pki(error)
    }
}
