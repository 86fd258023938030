//! Why nothing of what the cloud has told can be shown from the device's storage.

use std::fmt;
use std::path::PathBuf;

use crate::keadm::ctl::client;
use crate::protocol::selector::BadSelector;
use crate::system::exit;
use crate::system::files::FileError;

#[derive(Debug)]
pub enum Fault {
    /// As where edgecore is asked.
    Ask(client::Fault),
    File(FileError),
    /// Nothing that the cloud has sent is here.
    NoStore(PathBuf),
    /// The selector can't be read.
    Selector(BadSelector),
    /// An object of a type that is not here, or can't be read.
    Missing(&'static str, String),
    Damaged(PathBuf),
}

impl Fault {
    pub fn code(&self) -> u8 {
        match self {
            Fault::Ask(fault) => fault.code(),
            Fault::Selector(_) => exit::USAGE,
            Fault::NoStore(_) => exit::UNAVAILABLE,
            Fault::File(error) if error.is_denied() => exit::DENIED,
            Fault::File(_) | Fault::Missing(..) | Fault::Damaged(_) => exit::FAILURE,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Ask(fault) => fault.fmt(f),
            Fault::File(error) => error.fmt(f),
            Fault::NoStore(path) => write!(
                f,
                "there is no {}: no edgecore has kept here what a cloud says; see `kubeedge status`",
                path.display()
            ),
            Fault::Selector(error) => error.fmt(f),
            Fault::Missing(what, name) => write!(
                f,
                "there is no {what} {name:?} here: `kubeedge debug get {what} -A` shows those that there are"
            ),
            Fault::Damaged(path) => write!(
                f,
                "{} is damaged: restart edgecore, it has the cloud send it again",
                path.display()
            ),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Fault::Ask(fault) => Some(fault),
            Fault::File(error) => Some(error),
            _ => None,
        }
    }
}
