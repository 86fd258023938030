//! Why a device did not join, with the exit code of each reason.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::ConfigError;
use crate::keadm::device::DeviceError;
use crate::keadm::hooks::HookError;
use crate::keadm::lock::LockError;
use crate::pki::PkiError;
use crate::protocol::enrollment::EnrollError;
use crate::protocol::token::TokenError;
use crate::system::cause;
use crate::system::clock::Timestamp;
use crate::system::exit;
use crate::system::files::FileError;
use crate::system::names::{Endpoint, NodeName};
use crate::system::network::NetError;
use crate::system::pattern::NodePattern;
use crate::system::processes::ProcessError;
use crate::system::service::ServiceError;

#[derive(Debug)]
pub enum JoinError {
    /// The value of a flag can't be what it is.
    Flag {
        flag: &'static str,
        fault: String,
    },
    /// What a device without a person is asked can't be done; a sentence.
    FirstBoot(String),
    /// Flags that contradict each other.
    Contradiction(&'static str),
    /// Something that KubeEdge offers and this program does not.
    NotOffered(&'static str),
    /// The token is no token; its text is not told.
    Token(TokenError),
    TokenFile(FileError),
    Stdin(io::Error),
    NoToken,
    /// The system has none for so long.
    NoRandomness(Duration),
    Expired {
        at: Timestamp,
        now: Timestamp,
    },
    /// The token says itself that it is for other nodes.
    Bound {
        pattern: NodePattern,
        node: NodeName,
    },
    Lock(LockError),
    File(FileError),
    Config(ConfigError),
    Device(DeviceError),
    /// The configuration asks for what can't be.
    Useless {
        path: PathBuf,
        what: &'static str,
    },
    /// The device belongs to another cloud, or goes by another name.
    Belongs {
        now: String,
        wanted: String,
    },
    /// A program that is not ours has the name edgecore.
    Foreign {
        path: PathBuf,
    },
    /// An edgecore of somebody else runs.
    Stranger(u32),
    /// A folder that must be written to can't be.
    ReadOnly {
        path: PathBuf,
        source: io::Error,
    },
    Space {
        path: PathBuf,
        needed: u64,
        free: u64,
    },
    Unreachable {
        what: &'static str,
        endpoint: Endpoint,
        source: NetError,
    },
    Hub {
        endpoint: Endpoint,
        cause: String,
    },
    Api(EnrollError),
    NameTaken {
        node: NodeName,
        endpoint: Endpoint,
    },
    Pki(PkiError),
    Executable(io::Error),
    Service(ServiceError),
    Hook(HookError),
    /// edgecore says that waiting is of no use.
    Refused(String),
    /// edgecore ended soon after its start.
    Ended {
        log: String,
    },
    TimedOut {
        after: Duration,
        stage: String,
        last: Option<String>,
        log: String,
    },
}

impl JoinError {
    /// What the command exits with.
    pub fn code(&self) -> u8 {
        match self {
            JoinError::Flag { .. }
            | JoinError::FirstBoot(_)
            | JoinError::Contradiction(_)
            | JoinError::NoToken
            | JoinError::Stdin(_)
            | JoinError::Token(_) => exit::USAGE,
            JoinError::NotOffered(_)
            | JoinError::Config(_)
            | JoinError::Useless { .. }
            | JoinError::Belongs { .. }
            | JoinError::Foreign { .. }
            | JoinError::Stranger(_) => exit::CONFIG,
            JoinError::Device(error) => match error {
                DeviceError::File(error) => of_file(error),
                _ => exit::CONFIG,
            },
            JoinError::File(error) | JoinError::TokenFile(error) => of_file(error),
            JoinError::ReadOnly { .. }
            | JoinError::Bound { .. }
            | JoinError::Expired { .. }
            | JoinError::Hub { .. }
            | JoinError::NameTaken { .. }
            | JoinError::Refused(_) => exit::DENIED,
            JoinError::Api(error) => match error {
                _ if self.wait().is_some() => exit::TRY_AGAIN,
                EnrollError::Tls { .. }
                | EnrollError::Foreign { .. }
                | EnrollError::Time { .. }
                | EnrollError::CaMismatch { .. }
                | EnrollError::Denied { .. }
                | EnrollError::NameTaken { .. } => exit::DENIED,
                _ => exit::UNAVAILABLE,
            },
            JoinError::Unreachable { .. } => exit::UNAVAILABLE,
            JoinError::Lock(LockError::File(error))
            | JoinError::Service(ServiceError::File(error)) => of_file(error),
            JoinError::Service(ServiceError::Process(ProcessError::Denied(_))) => exit::DENIED,
            JoinError::Lock(LockError::Busy(_))
            | JoinError::NoRandomness(_)
            | JoinError::TimedOut { .. } => exit::TRY_AGAIN,
            JoinError::Ended { .. }
            | JoinError::Executable(_)
            | JoinError::Hook(_)
            | JoinError::Pki(_)
            | JoinError::Service(_)
            | JoinError::Space { .. } => exit::FAILURE,
        }
    }
}

fn of_file(error: &FileError) -> u8 {
    match error.is_denied() {
        true => exit::DENIED,
        false => exit::FAILURE,
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Flag { flag, fault } => write!(f, "{flag}: {fault}"),
            JoinError::FirstBoot(sentence) => f.write_str(sentence),
            JoinError::Contradiction(sentence) | JoinError::NotOffered(sentence) => {
                f.write_str(sentence)
            }
            JoinError::Token(error) => error.fmt(f),
            JoinError::TokenFile(error) => error.fmt(f),
            JoinError::Stdin(error) => {
                write!(
                    f,
                    "the token can't be read from stdin: {}",
                    cause::of(error)
                )
            }
            JoinError::NoToken => f.write_str(
                "a token is needed: `kubeedge gettoken` on the cloud machine prints one, give it \
                 with --token-file FILE or --token - (stdin)",
            ),
            JoinError::NoRandomness(after) => write!(
                f,
                "the system has had no randomness for {} s, and keys need it: wait until it has \
                 gathered some, as it does with time and use, and join again",
                seconds(*after)
            ),
            JoinError::Expired { at, now } => write!(
                f,
                "the token ended at {at} and the clock here says {now}: get a fresh one with \
                 `kubeedge gettoken`, or set the clock if it is wrong"
            ),
            JoinError::Bound { pattern, node } => {
                let whom = match pattern.exact() {
                    Some(_) => "the node",
                    None => "nodes matching",
                };
                write!(
                    f,
                    "the token is for {whom} {pattern}, not {node}: give another \
                     --edgenode-name, or get a token for {node}"
                )
            }
            JoinError::Lock(error) => error.fmt(f),
            JoinError::File(error) => error.fmt(f),
            JoinError::Config(error) => error.fmt(f),
            JoinError::Device(DeviceError::Name(error)) => write!(
                f,
                "the host's name can't be the node's ({error}): give another with --edgenode-name"
            ),
            JoinError::Device(error) => error.fmt(f),
            JoinError::Useless { path, what } => write!(f, "{}: {what}", path.display()),
            JoinError::Belongs { now, wanted } => write!(
                f,
                "this device is {now}, not {wanted}: `kubeedge reset edge` first, or --force"
            ),
            JoinError::Foreign { path } => write!(
                f,
                "{} is another program: move it away, or replace it with --force",
                path.display()
            ),
            JoinError::Stranger(pid) => write!(
                f,
                "process {pid} is an edgecore that was not started by this program: stop it first"
            ),
            JoinError::ReadOnly { path, source } => write!(
                f,
                "{} can't be written to ({}): run it as root, or make that place writable",
                path.display(),
                cause::of(source)
            ),
            JoinError::Space { path, needed, free } => write!(
                f,
                "{} has {} KiB left and {} KiB are needed: free some space",
                path.display(),
                free / 1024,
                needed.div_ceil(1024)
            ),
            JoinError::Unreachable {
                what,
                endpoint,
                source,
            } => {
                write!(f, "no way to {what} at {endpoint}: {source:#}")
            }
            JoinError::Hub { endpoint, cause } => {
                write!(f, "no secure connection to the hub at {endpoint}: {cause}")
            }
            JoinError::Api(error) => error.fmt(f),
            JoinError::NameTaken { node, endpoint } => write!(
                f,
                "another device is called {node} at {endpoint}: give this one another name with \
                 --edgenode-name, or, when it takes the place of that device, use --force, or free the \
                 name on the cloud with `keadm certs revoke {node}`"
            ),
            JoinError::Pki(error) => error.fmt(f),
            JoinError::Executable(error) => write!(
                f,
                "can't find out which file this program is ({}): start it by its whole path",
                cause::of(error)
            ),
            JoinError::Service(error) => error.fmt(f),
            JoinError::Hook(error) => error.fmt(f),
            JoinError::Refused(message) => f.write_str(message),
            JoinError::Ended { log } => {
                write!(f, "edgecore ended right after its start: {log} says why")
            }
            JoinError::TimedOut {
                after,
                stage,
                last,
                log,
            } => {
                let seconds = seconds(*after);
                write!(f, "no session within {seconds} s: edgecore {stage}")?;
                if let Some(last) = last {
                    write!(f, " ({last})")?;
                }
                write!(f, "; it goes on trying: see `kubeedge status`, or {log}")
            }
        }
    }
}

/// To a tenth.
fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 10.0).round() / 10.0
}

impl JoinError {
    /// How long the cloud, which has too much to do, wants to be left alone.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            JoinError::Api(
                error @ EnrollError::Status {
                    status: 429 | 503, ..
                },
            ) => error.retry_after(),
            _ => None,
        }
    }
}

impl std::error::Error for JoinError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            JoinError::Token(error) => Some(error),
            JoinError::TokenFile(error) | JoinError::File(error) => Some(error),
            JoinError::Stdin(error) | JoinError::Executable(error) => Some(error),
            JoinError::Config(error) => Some(error),
            JoinError::Device(error) => Some(error),
            JoinError::ReadOnly { source, .. } => Some(source),
            JoinError::Unreachable { source, .. } => Some(source),
            JoinError::Api(error) => Some(error),
            JoinError::Pki(error) => Some(error),
            JoinError::Service(error) => Some(error),
            JoinError::Hook(error) => Some(error),
            JoinError::Lock(error) => Some(error),
            _ => None,
        }
    }
}

macro_rules! from {
    ($($error:ty => $variant:ident),* $(,)?) => {
        $(impl From<$error> for JoinError {
            fn from(error: $error) -> JoinError {
                JoinError::$variant(error)
            }
        })*
    };
}

from! {
    ConfigError => Config,
    DeviceError => Device,
    EnrollError => Api,
    FileError => File,
    HookError => Hook,
    LockError => Lock,
    PkiError => Pki,
    ServiceError => Service,
    TokenError => Token,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_to_a_tenth_of_a_second() {
        let told = |millis| {
            let error = JoinError::TimedOut {
                after: Duration::from_millis(millis),
                stage: "needs a token".to_owned(),
                last: None,
                log: "x".to_owned(),
            };
            error.to_string()
        };
        assert!(told(5_996).starts_with("no session within 6 s: "));
        assert!(told(2_345).starts_with("no session within 2.3 s: "));
        assert!(told(300_000).starts_with("no session within 300 s: "));
    }
}
