//! Daemons as services: one small trait, and one file per init system.

mod none;
mod systemd;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use none::NoInit;
pub use systemd::Systemd;

use crate::system::files::FileError;
use crate::system::host::Host;
use crate::system::processes::ProcessError;
use crate::system::root::Root;

/// What an init system does for a daemon. All calls block; none needs the daemon to be in any
/// particular state, and what is done already is a success.
pub trait Service {
    /// `systemd` or `none`.
    fn kind(&self) -> &'static str;

    /// Writes the file by which the init system knows the daemon.
    fn install(&self) -> Result<Report, ServiceError>;

    /// Has the daemon started at boot.
    fn enable(&self) -> Result<Report, ServiceError>;

    fn start(&self) -> Result<Report, ServiceError>;

    /// Returns when the daemon is gone.
    fn stop(&self) -> Result<Report, ServiceError>;

    fn status(&self) -> Result<Status, ServiceError>;

    /// Whether the daemon is started when the machine boots.
    fn starts_at_boot(&self) -> Result<bool, ServiceError>;

    /// Undoes `enable` and `install`; a daemon that runs is not stopped.
    fn remove(&self) -> Result<Report, ServiceError>;
}

/// The service of a daemon on this machine, by the init system that was chosen or is found.
pub fn detect(host: &Host, daemon: Daemon, choice: Choice) -> Box<dyn Service> {
    match choice {
        Choice::Systemd => Box::new(Systemd::new(host, daemon)),
        Choice::Auto if Systemd::is_running(&host.root) => Box::new(Systemd::new(host, daemon)),
        Choice::Auto | Choice::None => Box::new(NoInit::new(host, daemon)),
    }
}

/// Which init system to use, as given with `--init`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    #[default]
    Auto,
    None,
    Systemd,
}

impl FromStr for Choice {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Choice, UnknownChoice> {
        match text {
            "auto" => Ok(Choice::Auto),
            "none" => Ok(Choice::None),
            "systemd" => Ok(Choice::Systemd),
            _ => Err(UnknownChoice),
        }
    }
}

/// An init system that we don't know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownChoice;

impl fmt::Display for UnknownChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such init system is known: use auto, systemd or none")
    }
}

impl std::error::Error for UnknownChoice {}

/// A daemon of ours.
#[derive(Clone, Debug)]
pub struct Daemon {
    /// Of the service and of the program.
    pub name: &'static str,
    /// The file to start when we start it ourselves, root prefix included.
    pub executable: PathBuf,
    /// For the same case.
    pub arguments: Vec<String>,
    unit: &'static str,
}

impl Daemon {
    pub fn edgecore(root: &Root) -> Daemon {
        Daemon::new(
            root,
            "edgecore",
            include_str!("../../../init-scripts/systemd/edgecore.service"),
        )
    }

    pub fn cloudcore(root: &Root) -> Daemon {
        Daemon::new(
            root,
            "cloudcore",
            include_str!("../../../init-scripts/systemd/cloudcore.service"),
        )
    }

    fn new(root: &Root, name: &'static str, unit: &'static str) -> Daemon {
        let executable = root.at(Path::new(FOLDER_OF_EXECUTABLES).join(name));
        Daemon {
            name,
            executable,
            arguments: Vec::new(),
            unit,
        }
    }
}

/// What was done, and to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub outcome: Outcome,
    pub touched: Vec<Touch>,
}

impl Report {
    /// There was nothing to do.
    pub fn nothing() -> Report {
        Report::new(Outcome::Already)
    }

    /// A process was ended outside of the init system.
    pub fn ended(pid: u32) -> Report {
        Report::new(Outcome::Done).with(Touch::Ended(pid))
    }

    fn new(outcome: Outcome) -> Report {
        Report {
            outcome,
            touched: Vec::new(),
        }
    }

    fn with(mut self, touch: Touch) -> Report {
        self.touched.push(touch);
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was nothing to do.
    Already,
    Done,
    /// This init system, or its absence, can't do it; the sentence says what that means.
    Impossible(&'static str),
}

/// One thing that was changed, for summaries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touch {
    Ended(u32),
    Ran(String),
    Removed(PathBuf),
    Started(u32),
    Wrote(PathBuf),
}

impl fmt::Display for Touch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Touch::Ended(pid) => write!(f, "ended process {pid}"),
            Touch::Ran(command) => write!(f, "ran {command}"),
            Touch::Removed(path) => write!(f, "removed {}", path.display()),
            Touch::Started(pid) => write!(f, "started process {pid}"),
            Touch::Wrote(path) => write!(f, "wrote {}", path.display()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    NotInstalled,
    /// The number is missing when the init system does not tell.
    Running(Option<u32>),
    Stopped,
}

/// Why a service could not be managed.
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
    File(FileError),
    Process(ProcessError),
    Spawn {
        program: PathBuf,
        source: io::Error,
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
            ServiceError::File(error) => error.fmt(f),
            ServiceError::Process(error) => error.fmt(f),
            ServiceError::Spawn { program, source } => {
                let cause = crate::system::cause::of(source);
                let program = program.display();
                write!(
                    f,
                    "cannot start {program}: {cause}: check that it is there and runs here"
                )
            }
        }
    }
}

impl std::error::Error for ServiceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ServiceError::File(error) => Some(error),
            ServiceError::Process(error) => Some(error),
            ServiceError::Spawn { source, .. } => Some(source),
            ServiceError::Command { .. } | ServiceError::CommandTimedOut { .. } => None,
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

const FOLDER_OF_EXECUTABLES: &str = "/usr/local/bin";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices() {
        assert_eq!("none".parse(), Ok(Choice::None));
        assert_eq!("systemd".parse(), Ok(Choice::Systemd));
        assert_eq!("auto".parse(), Ok(Choice::default()));
        assert_eq!("upstart".parse::<Choice>(), Err(UnknownChoice));
    }

    #[test]
    fn units_have_what_keeps_a_device_alive() {
        let root = Root::default();
        for daemon in [Daemon::edgecore(&root), Daemon::cloudcore(&root)] {
            let executable = format!("ExecStart={}", daemon.executable.display());
            for line in [
                executable.as_str(),
                "After=network-online.target",
                "KillMode=mixed",
                "Restart=always",
                "RestartSec=5",
                "StartLimitIntervalSec=0",
                "Type=notify",
                "Wants=network-online.target",
                "WantedBy=multi-user.target",
            ] {
                assert!(
                    daemon.unit.lines().any(|found| found == line),
                    "{}: {line}",
                    daemon.name
                );
            }
            let other = if daemon.name == "edgecore" {
                "cloudcore"
            } else {
                "edgecore"
            };
            assert!(!daemon.unit.contains(other));
        }
    }
}
