//! Why a request to join can't be understood; no sentence shows a value, which may be a secret.

use std::fmt;
use std::path::PathBuf;

use super::Source;
use crate::system::files::FileError;
use crate::system::names::NameError;

#[derive(Debug)]
pub enum FirstBootError {
    File(FileError),
    NoText(PathBuf),
    /// A line, counted from one, that is none of its kind.
    Line {
        source: Source,
        line: usize,
        fault: &'static str,
    },
    UnknownKey {
        source: Source,
        key: String,
    },
    Twice {
        source: Source,
        key: String,
    },
    Missing {
        source: Source,
        what: &'static str,
    },
    TwoTokens(Source),
    NoTokenFile {
        source: Source,
        file: PathBuf,
    },
    /// A word in braces that stands for nothing, or for something that the device has not.
    Template {
        template: String,
        fault: &'static str,
    },
    Name {
        template: String,
        name: String,
        fault: NameError,
    },
}

impl fmt::Display for FirstBootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use FirstBootError as E;
        match self {
            E::File(error) => error.fmt(f),
            E::NoText(path) => write!(f, "{} is not UTF-8: write it anew", path.display()),
            E::Line {
                source,
                line,
                fault,
            } => write!(f, "{source}, line {line}: {fault}"),
            E::UnknownKey { source, key } => write!(
                f,
                "{source}: {key} is no key of it: it takes the long flags of `keadm join` that \
                 say where and as what to join"
            ),
            E::Twice { source, key } => write!(f, "{source}: {key} is there twice: leave one"),
            E::Missing { source, what } => write!(f, "{source}: {what} is missing: add it"),
            E::TwoTokens(source) => {
                write!(
                    f,
                    "{source}: token and token-file are both there: leave one"
                )
            }
            E::NoTokenFile { source, file } => write!(
                f,
                "{source}: there is no token-file {:?}: put the token there",
                file
            ),
            E::Template { template, fault } => write!(f, "node-name {template:?}: {fault}"),
            E::Name {
                template,
                name,
                fault,
            } => write!(
                f,
                "node-name {template:?} makes {name:?} here, which can't be: {fault}"
            ),
        }
    }
}

impl std::error::Error for FirstBootError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FirstBootError::File(error) => Some(error),
            FirstBootError::Name { fault, .. } => Some(fault),
            _ => None,
        }
    }
}

impl From<FileError> for FirstBootError {
    fn from(error: FileError) -> FirstBootError {
        FirstBootError::File(error)
    }
}
