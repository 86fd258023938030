//! Why a service could not be managed.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::system::files::FileError;
use crate::system::processes::ProcessError;

#[derive(Debug)]
pub enum ServiceError {
    /// A command of the init system failed; what it said.
    Command {
        command: String,
        said: String,
    },
    CommandTimedOut {
        command: String,
    },
    /// Init may not be told anything by us.
    Denied,
    File(FileError),
    /// This system has to be told by process 1, which is another.
    NotTheInit(&'static str),
    NotInstalled(&'static str),
    /// The init system knows the daemon, but did not start it in time.
    NotStarted(&'static str),
    Process(ProcessError),
    Spawn {
        program: PathBuf,
        source: io::Error,
    },
    /// A file that was never written by us, or that we can't read.
    Strange {
        path: PathBuf,
        why: &'static str,
    },
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServiceError::Command { command, said } if said.is_empty() => {
                write!(
                    f,
                    "{command} failed: run it by hand to see why, or use --init none"
                )
            }
            ServiceError::Command { command, said } => {
                write!(
                    f,
                    "{command} failed: {said}: correct that, or use --init none"
                )
            }
            ServiceError::CommandTimedOut { command } => {
                write!(
                    f,
                    "{command} did not end in time: look into the log of the init system"
                )
            }
            ServiceError::Denied => {
                f.write_str("init belongs to another user: run it as root, such as with sudo")
            }
            ServiceError::File(error) => error.fmt(f),
            ServiceError::NotTheInit(kind) => {
                write!(
                    f,
                    "process 1 is not the init of {kind}: leave --init out, or use --init none"
                )
            }
            ServiceError::NotInstalled(name) => {
                write!(
                    f,
                    "{name} is not installed: `kubeedge service install --daemon {name}`, or join"
                )
            }
            ServiceError::NotStarted(name) => {
                write!(
                    f,
                    "the init system did not start {name} in time: run {name} by hand to see why"
                )
            }
            ServiceError::Process(error) => error.fmt(f),
            ServiceError::Spawn { program, source } => {
                let cause = crate::system::cause::of(source);
                let program = program.display();
                write!(
                    f,
                    "cannot start {program}: {cause}: check that it is there and runs here"
                )
            }
            ServiceError::Strange { path, why } => write!(f, "{}: {why}", path.display()),
        }
    }
}

impl std::error::Error for ServiceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ServiceError::File(error) => Some(error),
            ServiceError::Process(error) => Some(error),
            ServiceError::Spawn { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<FileError> for ServiceError {
    fn from(error: FileError) -> ServiceError {
        ServiceError::File(error)
    }
}

impl From<ProcessError> for ServiceError {
    fn from(error: ProcessError) -> ServiceError {
        ServiceError::Process(error)
    }
}
