//! The system's own log, by its socket: never waited for, found again when its reader was started anew.

use std::env;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use nix::unistd::{getppid, isatty};

/// A connection to `/dev/log`, or none for the moment.
pub struct Syslog {
    path: PathBuf,
    /// Begins each line, with our number behind it.
    name: &'static str,
    socket: Option<UnixDatagram>,
    /// Lines that its full buffer did not take.
    lost: u64,
}

impl Syslog {
    pub fn new(path: PathBuf, name: &'static str) -> Syslog {
        Syslog {
            path,
            name,
            socket: None,
            lost: 0,
        }
    }

    /// Hands a line over; false when nobody is there to take it. What is too much for the reader is
    /// counted, and told when it reads again.
    pub fn say(&mut self, priority: u8, text: &str) -> bool {
        if self.lost > 0 {
            let lost = format!(
                "{} lines before this one were lost: the log was full",
                self.lost
            );
            match self.send(WARNING, &lost) {
                Ok(()) => self.lost = 0,
                Err(error) if is_full(&error) => {}
                Err(_) => return false,
            }
        }
        match self.send(priority, text) {
            Err(error) if is_full(&error) => self.lost += 1,
            sent => return sent.is_ok(),
        }
        true
    }

    fn send(&mut self, priority: u8, text: &str) -> io::Result<()> {
        let line = format!(
            "<{}>{}[{}]: {text}",
            DAEMON | priority,
            self.name,
            std::process::id()
        );
        // Its reader may be another one than the last time.
        for _ in 0..2 {
            let socket = match self.socket.take() {
                Some(socket) => socket,
                None => connect(&self.path)?,
            };
            match socket.send(line.as_bytes()) {
                Ok(_) => {
                    self.socket = Some(socket);
                    return Ok(());
                }
                Err(error) if is_full(&error) => {
                    self.socket = Some(socket);
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        Err(io::ErrorKind::NotConnected.into())
    }
}

/// Without a time: what reads it knows that better than a device without a clock.
fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

fn is_full(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EAGAIN | Errno::ENOBUFS))
}

/// Whether lines go to the system's log, where there is one: not when stderr leads to somebody who reads
/// it, be it a person, a program or a file that was asked for.
pub fn is_wanted() -> bool {
    match env::var(VARIABLE).as_deref() {
        Ok(STDERR) => return false,
        Ok(SYSLOG) => return true,
        _ => {}
    }
    let Ok(found) = std::fs::metadata("/proc/self/fd/2") else {
        // Closed: there is no other place.
        return true;
    };
    let kind = found.file_type();
    let of_init = getppid().as_raw() == 1;
    if kind.is_file() {
        false
    } else if kind.is_fifo() || kind.is_socket() {
        // procd's leads to the same log, but without levels.
        of_init
    } else {
        // BusyBox gives what it starts the console, on which nobody may look.
        of_init || !isatty(io::stderr()).unwrap_or(false)
    }
}

/// What a process that we start has to be told, so that both say it in the same place.
pub fn decision(is_syslog: bool) -> (&'static str, &'static str) {
    (VARIABLE, if is_syslog { SYSLOG } else { STDERR })
}

/// `JOURNAL_STREAM` names device and inode: a process may have inherited it, and log elsewhere.
pub fn is_journal() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else {
        return false;
    };
    let Ok(metadata) = std::fs::metadata("/proc/self/fd/2") else {
        return false;
    };
    stream == format!("{}:{}", metadata.dev(), metadata.ino())
}

/// Where lines go: `syslog` or `stderr`.
pub const VARIABLE: &str = "KUBEEDGE_LOG_TO";
const STDERR: &str = "stderr";
const SYSLOG: &str = "syslog";
pub const SOCKET: &str = "/dev/log";
/// The facility, shifted as syslog(3) has it.
const DAEMON: u8 = 3 << 3;
const WARNING: u8 = 4;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::system::scratch::Scratch;

    fn heard(reader: &UnixDatagram) -> String {
        let mut line = [0; 8192];
        reader
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let length = reader.recv(&mut line).unwrap();
        String::from_utf8(line[..length].to_vec()).unwrap()
    }

    #[test]
    fn lines_find_a_reader_that_was_started_anew() {
        let folder = Scratch::new();
        let path = folder.path().join("log");
        let mut syslog = Syslog::new(path.clone(), "edgecore");
        assert!(!syslog.say(6, "nobody is there"));
        for text in ["first", "second"] {
            let reader = UnixDatagram::bind(&path).unwrap();
            assert!(syslog.say(6, text));
            let line = format!("<30>edgecore[{}]: {text}", std::process::id());
            assert_eq!(heard(&reader), line);
            drop(reader);
            // Its name stays for a moment, and nobody is behind it.
            assert!(!syslog.say(6, "nobody is there"));
            std::fs::remove_file(&path).unwrap();
            assert!(!syslog.say(6, "nobody is there"));
        }
    }

    #[test]
    fn a_full_log_is_not_waited_for() {
        let folder = Scratch::new();
        let path = folder.path().join("log");
        let reader = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::new(path, "edgecore");
        let mut said = 0;
        while syslog.lost < 10 {
            assert!(syslog.say(3, &"x".repeat(4096)));
            said += 1;
            assert!(said < 1_000_000, "it takes everything");
        }
        let (taken, wanted) = (
            said - syslog.lost,
            format!("<27>edgecore[{}]: x", std::process::id()),
        );
        for _ in 0..taken {
            assert!(heard(&reader).starts_with(&wanted));
        }
        assert!(syslog.say(6, "again"));
        assert!(heard(&reader).contains("10 lines before this one were lost"));
        assert!(heard(&reader).ends_with(": again"));
    }
}
