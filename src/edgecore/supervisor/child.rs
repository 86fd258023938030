//! The hub as a child process: how it is started, what it says, how it is ended.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::system::root::Root;
use crate::system::{lifeline, log, processes};

/// The first argument of a hub.
pub const HUB: &str = "hub";

/// What a hub is started from: this very file, also when another one has its name by now.
pub struct Program {
    pub file: PathBuf,
    pub arguments: Vec<String>,
    pub root: Root,
}

impl Program {
    pub fn find(root: &Root, arguments: &[String]) -> Program {
        let itself = Path::new("/proc/self/exe");
        let file = match itself.exists() {
            true => itself.to_owned(),
            false => processes::own_executable().unwrap_or_default(),
        };
        let arguments = [HUB.to_owned()]
            .into_iter()
            .chain(arguments.iter().cloned());
        Program {
            file,
            arguments: arguments.collect(),
            root: root.clone(),
        }
    }
}

/// The child, and the connection that it has as its standard input.
pub struct Hub {
    child: Child,
    pub line: Line,
}

impl Hub {
    pub fn start(program: &Program) -> io::Result<Hub> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(&program.file);
        command
            .arg0("edgecore")
            .args(&program.arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)));
        // These are between us and who started us.
        for name in [
            "NOTIFY_SOCKET",
            "WATCHDOG_USEC",
            "WATCHDOG_PID",
            lifeline::VARIABLE,
        ] {
            command.env_remove(name);
        }
        program.root.hand_on(&mut command);
        // Both are one service.
        let (name, value) = log::decision();
        command.env(name, value);
        // Such as how the hub before it ended.
        if let Some((name, value)) = log::passed_on() {
            command.env(name, value);
        }
        Ok(Hub {
            child: command.spawn()?,
            line: Line {
                stream: ours,
                begun: Vec::new(),
            },
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        // It has not been waited for, so the number is still its own.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Kills what is left of it; one that is ending already keeps its exit code.
    pub fn end(&mut self) -> ExitStatus {
        let _ = self.child.kill();
        self.child.wait().unwrap_or_default()
    }
}

/// What the hub says, line by line.
pub struct Line {
    pub stream: UnixStream,
    begun: Vec<u8>,
}

impl Line {
    /// Best effort: a hub that does not read has a deadline of its own.
    pub fn say(&mut self, line: &str) {
        let _ = self.stream.write_all(format!("{line}\n").as_bytes());
    }

    /// The lines that have come to their end; none when the other side is gone.
    pub fn read(&mut self) -> Option<Vec<String>> {
        let mut chunk = [0; 512];
        let length = match self.stream.read(&mut chunk) {
            Ok(0) => return None,
            Ok(length) => length,
            Err(error) => {
                use io::ErrorKind::{Interrupted, WouldBlock};
                return matches!(error.kind(), Interrupted | WouldBlock).then(Vec::new);
            }
        };
        let mut lines = Vec::new();
        for byte in chunk.iter().take(length) {
            match byte {
                b'\n' => {
                    lines.push(String::from_utf8_lossy(&self.begun).into_owned());
                    self.begun.clear();
                }
                _ if self.begun.len() < MAX_LINE => self.begun.push(*byte),
                _ => {}
            }
        }
        Some(lines)
    }
}

/// Bytes; what is longer is cut.
const MAX_LINE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_bounded() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut line = Line {
            stream: ours,
            begun: Vec::new(),
        };
        assert_eq!(line.read(), Some(vec![]));
        theirs.write_all(b"READY=1\nSTA").unwrap();
        assert_eq!(line.read(), Some(vec!["READY=1".to_owned()]));
        theirs.write_all(b"TUS=x\n\n").unwrap();
        assert_eq!(
            line.read(),
            Some(vec!["STATUS=x".to_owned(), String::new()])
        );
        for _ in 0..40 {
            theirs.write_all(&[b'x'; 100]).unwrap();
        }
        theirs.write_all(b"\n").unwrap();
        drop(theirs);
        let mut found = Vec::new();
        while let Some(lines) = line.read() {
            found.extend(lines);
        }
        assert_eq!(found, ["x".repeat(MAX_LINE)]);
    }
}
