//! Other processes: found in /proc, ended with patience, started in the background.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::Pid;

use crate::system::log;

/// A process as /proc shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub parent: u32,
    /// The kernel's name for it: the executable's file name, at most 15 bytes.
    pub name: String,
    pub arguments: Vec<String>,
    /// In clock ticks since boot; with `pid` it tells one process from any later one.
    started: u64,
}

impl Process {
    /// A process that lives; a zombie does not.
    pub fn get(pid: u32) -> Option<Process> {
        let dir = Path::new("/proc").join(pid.to_string());
        let stat = fs::read(dir.join("stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat);
        // The name stands in parentheses, and may itself contain some.
        let (head, tail) = stat.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        if matches!(*fields.first()?, "Z" | "X") {
            return None;
        }
        let arguments = fs::read(dir.join("cmdline")).unwrap_or_default();
        let arguments = arguments
            .split(|byte| *byte == 0)
            .filter(|part| !part.is_empty());
        Some(Process {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            name,
            arguments: arguments
                .map(|part| String::from_utf8_lossy(part).into_owned())
                .collect(),
            started: fields.get(19)?.parse().ok()?,
        })
    }

    /// Whether it runs as `program`: under that name, or as that word of a multi-call executable.
    pub fn is(&self, program: &str) -> bool {
        let file_name = |argument: &String| {
            Path::new(argument)
                .file_name()
                .is_some_and(|name| name == OsStr::new(program))
        };
        self.name == program || self.arguments.iter().take(LEADING_ARGUMENTS).any(file_name)
    }

    /// Whether this process, and not another with its number, still lives.
    pub fn is_alive(&self) -> bool {
        Process::get(self.pid).is_some_and(|now| now.started == self.started)
    }
}

/// All living processes that run as `program`, but this one.
pub fn find(program: &str) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let own = std::process::id();
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own)
        .filter_map(Process::get)
        .filter(|process| process.is(program))
        .collect()
}

/// Whether a process of that number lives.
pub fn alive(pid: u32) -> bool {
    Process::get(pid).is_some()
}

/// How a process came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    AlreadyGone,
    Killed,
    Terminated,
}

/// Asks a process to end, waits up to `grace`, and then kills it; returns when it is gone.
pub fn terminate(process: &Process, grace: Duration) -> Result<Ended, ProcessError> {
    for (signal, patience, ended) in [
        (Signal::SIGTERM, grace, Ended::Terminated),
        (Signal::SIGKILL, KILL_PATIENCE, Ended::Killed),
    ] {
        if !process.is_alive() {
            return Ok(if signal == Signal::SIGTERM {
                Ended::AlreadyGone
            } else {
                Ended::Terminated
            });
        }
        let pid = i32::try_from(process.pid).map_err(|_| ProcessError::Stuck(process.pid))?;
        match kill(Pid::from_raw(pid), signal) {
            Ok(()) => {}
            Err(Errno::ESRCH) => return Ok(ended),
            Err(Errno::EPERM) => return Err(ProcessError::Denied(process.pid)),
            Err(_) => return Err(ProcessError::Stuck(process.pid)),
        }
        let end = Instant::now() + patience;
        while process.is_alive() && Instant::now() < end {
            // There is no event for the end of a process that is not our child.
            sleep(POLL);
        }
        if !process.is_alive() {
            return Ok(ended);
        }
    }
    Err(ProcessError::Stuck(process.pid))
}

/// Why a process could not be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessError {
    Denied(u32),
    Stuck(u32),
}

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProcessError::Denied(pid) => {
                write!(f, "process {pid} belongs to another user: run it as root")
            }
            ProcessError::Stuck(pid) => {
                write!(
                    f,
                    "process {pid} does not end even when killed: restart the device"
                )
            }
        }
    }
}

impl std::error::Error for ProcessError {}

/// What to start in the background.
pub struct Background<'a> {
    pub executable: &'a Path,
    /// The name it is called by, which selects the applet.
    pub name: &'a str,
    pub arguments: &'a [String],
    pub environment: &'a [(&'a str, &'a OsStr)],
    /// Where stdout and stderr go, from an empty file on; nowhere when there is none.
    pub log: Option<&'a Path>,
}

/// Starts a process that outlives this one; returns its number.
///
/// The process itself has to call `leave_session`, for only it can. It keeps the log file within
/// bounds, see `system::log`.
pub fn spawn_detached(what: &Background<'_>) -> io::Result<u32> {
    let mut command = Command::new(what.executable);
    command
        .arg0(what.name)
        .args(what.arguments)
        .envs(what.environment.iter().copied())
        .env(DETACHED_VARIABLE, "1")
        .env_remove("NOTIFY_SOCKET")
        .env_remove("JOURNAL_STREAM")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Some(path) = what.log {
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(path)?;
        log.set_len(0)?;
        command.env(log::FILE_LIMIT_VARIABLE, MAX_LOG.to_string());
        command.stdout(log.try_clone()?).stderr(log);
    }
    Ok(command.spawn()?.id())
}

/// Leaves the terminal and the group of whoever started us in the background; does nothing when
/// we were not. For daemons, before they start any thread.
pub fn leave_session() {
    if env::var_os(DETACHED_VARIABLE).is_some() {
        // It fails only for the leader of a group, which then has what it needs.
        let _ = nix::unistd::setsid();
    }
}

/// The file that this process runs, even when it has been replaced since.
pub fn own_executable() -> io::Result<PathBuf> {
    let found = match env::current_exe() {
        Ok(found) => found,
        // Without /proc, what we were called by has to do.
        Err(error) => {
            let called = env::args_os().next().map(PathBuf::from);
            let called = called
                .filter(|path| path.components().count() > 1)
                .ok_or(error)?;
            called.canonicalize()?
        }
    };
    let replaced = found
        .to_str()
        .and_then(|path| path.strip_suffix(" (deleted)"));
    match replaced {
        Some(path) if !found.exists() => Ok(PathBuf::from(path)),
        _ => Ok(found),
    }
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether a file or folder belongs to the user that this process is.
pub fn owns(path: &Path) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    fs::metadata(path).is_ok_and(|metadata| metadata.uid() == own)
}

/// Who is at the other end of a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub pid: u32,
    pub user: u32,
    pub group: u32,
}

impl Peer {
    pub fn of(socket: &impl AsFd) -> io::Result<Peer> {
        let found = getsockopt(&socket.as_fd(), sockopt::PeerCredentials)?;
        // Zero when it lives in a namespace that we can't see.
        let pid = u32::try_from(found.pid()).unwrap_or(0);
        Ok(Peer {
            pid,
            user: found.uid(),
            group: found.gid(),
        })
    }

    /// Root, or the user we run as.
    pub fn may_command_us(&self) -> bool {
        self.user == 0 || self.user == nix::unistd::geteuid().as_raw()
    }
}

/// Set for processes that were started in the background.
const DETACHED_VARIABLE: &str = "KUBEEDGE_DETACHED";
/// An interpreter (qemu-user, a loader) may stand before our name.
const LEADING_ARGUMENTS: usize = 4;
const POLL: Duration = Duration::from_millis(20);
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// Bytes.
const MAX_LOG: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scratch::Scratch;
    use std::os::unix::net::UnixStream;

    /// Starts `sh` under a name of its own; nobody else looks for it.
    fn start(name: &str, script: &str, log: Option<&Path>) -> Process {
        let arguments = ["-c".to_owned(), script.to_owned()];
        let executable = Path::new("/bin/sh");
        let environment = [("KUBEEDGE_TEST", OsStr::new("yes"))];
        let what = Background {
            executable,
            name,
            arguments: &arguments,
            environment: &environment,
            log,
        };
        Process::get(spawn_detached(&what).unwrap()).unwrap()
    }

    fn wait(condition: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !condition() {
            assert!(Instant::now() < end, "not reached in time");
            sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_process_is_found_and_ended() {
        let process = start("kubeedge-test-a", "while :; do sleep 0.1; done", None);
        wait(|| {
            find("kubeedge-test-a")
                .iter()
                .any(|found| found.pid == process.pid)
        });
        assert!(alive(process.pid));
        let found = Process::get(process.pid).unwrap();
        assert_eq!(found.parent, std::process::id());
        let grace = Duration::from_secs(60);
        assert_eq!(terminate(&found, grace), Ok(Ended::Terminated));
        assert!(!alive(process.pid));
        assert_eq!(terminate(&found, grace), Ok(Ended::AlreadyGone));
    }

    #[test]
    fn one_that_will_not_end_is_killed() {
        let dir = Scratch::new();
        let log = dir.path().join("log");
        let script = "trap '' TERM; echo deaf $KUBEEDGE_TEST; while :; do sleep 0.1; done";
        let process = start("kubeedge-test-b", script, Some(&log));
        wait(|| fs::read_to_string(&log).is_ok_and(|text| text == "deaf yes\n"));
        assert_eq!(
            terminate(&process, Duration::from_millis(50)),
            Ok(Ended::Killed)
        );
    }

    #[test]
    fn another_process_of_the_same_number_is_left_alone() {
        let mut stranger = Process::get(std::process::id()).unwrap();
        stranger.started += 1;
        assert!(!stranger.is_alive());
        assert_eq!(terminate(&stranger, Duration::ZERO), Ok(Ended::AlreadyGone));
    }

    #[test]
    fn names_of_processes() {
        let mut process = Process::get(std::process::id()).unwrap();
        process.name = "kubeedge".into();
        process.arguments = vec!["/usr/local/bin/edgecore".into(), "--config=x".into()];
        assert!(process.is("edgecore") && process.is("kubeedge") && !process.is("cloudcore"));
        process.arguments = vec![
            "/usr/bin/qemu-arm".into(),
            "kubeedge".into(),
            "cloudcore".into(),
        ];
        assert!(process.is("cloudcore"));
        assert!(find("kubeedge-no-such-program").is_empty());
    }

    #[test]
    fn our_own_file() {
        assert!(own_executable().unwrap().is_file());
    }

    #[test]
    fn peers_are_known() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!(peer.pid, std::process::id());
        assert!(peer.may_command_us());
        let stranger = Peer {
            user: 4_000_000,
            ..peer
        };
        assert!(!stranger.may_command_us());
    }
}
