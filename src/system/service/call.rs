//! Calls of an init system's programs, with a bound on each.

use std::env;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::error::ServiceError;
use super::report::Touch;
use crate::system::root::Root;

/// A program to call with words that come first; `None` below a root prefix, where the init
/// system of the machine has nothing to do.
#[derive(Clone)]
pub(super) struct Program {
    path: PathBuf,
    first: Vec<String>,
    /// As it is told to people.
    shown: String,
}

/// How a call ended.
pub(super) struct Ended {
    pub code: Option<i32>,
    pub out: String,
}

impl Program {
    /// With `variable` set, that program is called, root prefix or not.
    pub fn find(root: &Root, name: &str, variable: &str) -> Option<Program> {
        let given = env::var_os(variable).filter(|path| !path.is_empty());
        let default = || root.prefix().is_none().then(|| name.into());
        given
            .or_else(default)
            .map(|path| Program::at(path.as_ref(), name))
    }

    pub fn at(path: &Path, shown: &str) -> Program {
        Program {
            path: path.to_owned(),
            first: Vec::new(),
            shown: shown.to_owned(),
        }
    }

    /// `sh` with a script, and what it is for.
    pub fn script(words: &[&Path]) -> Program {
        let first = words.iter().map(|path| path.display().to_string());
        let first: Vec<String> = first.collect();
        Program {
            path: "/bin/sh".into(),
            shown: first.last().cloned().unwrap_or_default(),
            first,
        }
    }

    pub fn with(mut self, first: &[&str]) -> Program {
        self.first
            .extend(first.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Fails unless it ends with 0.
    pub fn run(&self, arguments: &[&str]) -> Result<Touch, ServiceError> {
        self.output(arguments)
            .map(|_| Touch::Ran(self.described(arguments)))
    }

    /// What it printed; fails unless it ends with 0.
    pub fn output(&self, arguments: &[&str]) -> Result<String, ServiceError> {
        let (ended, complaint) = self.call(arguments)?;
        if ended.code == Some(0) {
            return Ok(ended.out);
        }
        // Some init systems complain on stdout.
        let mut lines = complaint.lines().chain(ended.out.lines()).map(str::trim);
        let said = lines.find(|line| !line.is_empty()).unwrap_or_default();
        Err(ServiceError::Command {
            command: self.described(arguments),
            said: said.trim_end_matches('.').to_owned(),
        })
    }

    /// However it ends.
    pub fn ask(&self, arguments: &[&str]) -> Result<Ended, ServiceError> {
        self.call(arguments).map(|(ended, _)| ended)
    }

    fn call(&self, arguments: &[&str]) -> Result<(Ended, String), ServiceError> {
        let spawn = |source| ServiceError::Spawn {
            program: self.path.clone(),
            source,
        };
        let mut child = Command::new(&self.path)
            .args(&self.first)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(spawn)?;
        match wait(&mut child, PATIENCE).map_err(spawn)? {
            Some(status) => {
                let ended = Ended {
                    code: status.code(),
                    out: said(child.stdout.take()),
                };
                Ok((ended, said(child.stderr.take())))
            }
            None => Err(ServiceError::CommandTimedOut {
                command: self.described(arguments),
            }),
        }
    }

    fn described(&self, arguments: &[&str]) -> String {
        format!("{} {}", self.shown, arguments.join(" "))
    }
}

/// None when it took too long; then it has been killed.
fn wait(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            let _ = child.kill();
            child.wait()?;
            return Ok(None);
        }
        sleep(POLL);
    }
}

/// What fits into a pipe is all that we want to know. Its other end may live on in a daemon.
fn said(pipe: Option<impl Read + AsFd>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe
        && fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).is_ok()
    {
        let _ = pipe.take(MAX_SAID).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Bytes.
const MAX_SAID: u64 = 16 * 1024;
/// Longer than the services' own limits for start and stop.
const PATIENCE: Duration = Duration::from_secs(100);
const POLL: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let short = Duration::from_millis(20);
        assert!(wait(&mut child, short).unwrap().is_none());
        assert!(child.try_wait().unwrap().is_some());
    }

    #[test]
    fn a_daemon_that_keeps_the_pipe_holds_nobody_up() {
        let shell = Program::at("/bin/sh".as_ref(), "sh");
        let said = shell.output(&["-c", "sleep 1000 & echo $!"]).unwrap();
        let pid = said.trim().parse().expect("its number");
        let daemon = crate::system::processes::Process::get(pid).expect("it runs");
        crate::system::processes::terminate(&daemon, Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn what_went_wrong_is_told() {
        let shell = Program::at("/bin/sh".as_ref(), "sh").with(&["-c"]);
        let told = |script| shell.run(&[script]).unwrap_err().to_string();
        assert!(
            told("echo; echo No such thing. >&2; exit 1")
                .contains("exit 1 failed: No such thing: ")
        );
        assert!(told("echo on stdout; exit 1").contains("failed: on stdout: "));
        assert!(told("exit 1").contains("run it by hand"));
        assert_eq!(shell.ask(&["echo x; exit 3"]).unwrap().code, Some(3));
        let nothing = Program::at("/nowhere/x".as_ref(), "x").run(&[]);
        assert!(nothing.unwrap_err().to_string().contains("/nowhere/x"));
    }
}
