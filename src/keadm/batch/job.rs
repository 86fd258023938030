//! One device at work: a chain of ssh's, each begun when the one before it has ended well.

use std::fs::File;
use std::io::{self, PipeReader, Read, Write, pipe};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::argv::{self, Way};
use super::packages::Packages;
use super::plan::Node;
use super::report::{Outcome, State};
use super::template;

pub struct Job<'a> {
    node: &'a Node,
    way: &'a Way,
    packages: &'a Packages,
    began: Instant,
    until: Instant,
    step: Step,
    child: Child,
    /// What the child says on stdout and stderr; none once it has ended that.
    pipe: Option<PipeReader>,
    /// What this step has said.
    said: Vec<u8>,
    /// What all steps have said, as far as it is kept.
    log: Vec<u8>,
    /// Of its own, on the device.
    folder: String,
    /// Why it has failed, while it is cleared away.
    failed: Option<String>,
}

enum Step {
    Prepare,
    /// These are still to be sent, the last one first.
    Send(Vec<(String, PathBuf)>),
    Run,
    Clear,
}

impl<'a> Job<'a> {
    pub fn begin(
        node: &'a Node,
        way: &'a Way,
        packages: &'a Packages,
        patience: Duration,
    ) -> io::Result<Job<'a>> {
        let (child, pipe) = start(way, node, argv::PREPARE, Stdio::null())?;
        let now = Instant::now();
        Ok(Job {
            node,
            way,
            packages,
            began: now,
            until: now + patience,
            step: Step::Prepare,
            child,
            pipe: Some(pipe),
            said: Vec::new(),
            log: Vec::new(),
            folder: String::new(),
            failed: None,
        })
    }

    /// What to wait for; none when only the child's end is awaited.
    pub fn pipe(&self) -> Option<&PipeReader> {
        self.pipe.as_ref()
    }

    pub fn until(&self) -> Instant {
        self.until
    }

    /// Takes what there is to read.
    pub fn read(&mut self) {
        let mut piece = [0; 8192];
        let Some(pipe) = &mut self.pipe else {
            return;
        };
        match pipe.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(length @ 1..) => {
                self.said.extend_from_slice(&piece[..length]);
                let surplus = self.said.len().saturating_sub(MAX_SAID);
                self.said.drain(..surplus);
            }
            _ => self.pipe = None,
        }
    }

    /// Goes on when the step has ended; the outcome when all has.
    pub fn advance(&mut self) -> io::Result<Option<Outcome>> {
        if Instant::now() >= self.until {
            let _ = self.child.kill();
            let _ = self.child.wait();
            let late = "it has taken too long: --timeout gives it more".to_owned();
            let reason = self.failed.take().unwrap_or(late);
            return Ok(Some(self.outcome(Some(reason))));
        }
        if self.pipe.is_some() {
            return Ok(None);
        }
        let Some(status) = self.child.try_wait()? else {
            return Ok(None);
        };
        let said = std::mem::take(&mut self.said);
        let reason = (!status.success()).then(|| self.reason(status, &said));
        self.keep(&said);
        match (&mut self.step, reason) {
            (Step::Clear, _) => {
                let reason = self.failed.take();
                return Ok(Some(self.outcome(reason)));
            }
            (Step::Run, reason) => return Ok(Some(self.outcome(reason))),
            (Step::Prepare, Some(reason)) => return Ok(Some(self.outcome(Some(reason)))),
            (Step::Send(_), Some(reason)) => self.clear(reason)?,
            (Step::Prepare, None) => self.prepared(&said)?,
            (Step::Send(_), None) => self.send()?,
        }
        Ok(None)
    }

    /// What it has said, without the token.
    pub fn log(&self) -> &[u8] {
        &self.log
    }

    fn prepared(&mut self, said: &[u8]) -> io::Result<()> {
        let Some((folder, machine, is_little)) = argv::prepared(said) else {
            let shown = String::from_utf8_lossy(said);
            self.failed = Some(format!(
                "it does not say which machine it is, but {:?}: its shell must print nothing by itself",
                shown.chars().take(80).collect::<String>()
            ));
            self.step = Step::Clear;
            return Ok(());
        };
        self.folder = folder;
        match self.packages.choose(&machine, is_little) {
            Ok(executable) => {
                let name = |path: &PathBuf| path.file_name()?.to_str().map(str::to_owned);
                let files = self.node.files.iter();
                let mut files: Vec<_> = files
                    .filter_map(|path| Some((name(path)?, path.clone())))
                    .collect();
                files.push(("keadm".to_owned(), executable));
                self.step = Step::Send(files);
                self.send()
            }
            Err(reason) => self.clear(reason),
        }
    }

    /// Sends the next file, or runs the command.
    fn send(&mut self) -> io::Result<()> {
        let next = match &mut self.step {
            Step::Send(files) => files.pop(),
            _ => None,
        };
        let Some((name, path)) = next else {
            self.step = Step::Run;
            let stdin = self.stdin()?;
            return self.start(&argv::run(&self.folder, self.node), stdin);
        };
        match File::open(&path) {
            Ok(file) => self.start(&argv::receive(&self.folder, &name), file.into()),
            Err(error) => self.clear(format!("{} can't be read: {error}", path.display())),
        }
    }

    /// A token, or the answer to the question of a reset.
    fn stdin(&self) -> io::Result<Stdio> {
        let text = match (&self.node.token, template::command(&self.node.words)) {
            (Some(token), _) => token.expose(),
            (None, Some(word)) if word == "reset" => "y\n",
            _ => return Ok(Stdio::null()),
        };
        if text.len() > MAX_STDIN {
            return Err(io::Error::other("the token is too long"));
        }
        // All of it fits into what a pipe holds: nothing waits here.
        let (reader, mut writer) = pipe()?;
        writer.write_all(text.as_bytes())?;
        Ok(reader.into())
    }

    /// Takes away what it has left there.
    fn clear(&mut self, reason: String) -> io::Result<()> {
        self.failed = Some(reason);
        self.step = Step::Clear;
        self.start(&argv::clear(&self.folder), Stdio::null())
    }

    fn start(&mut self, command: &str, stdin: Stdio) -> io::Result<()> {
        let (child, pipe) = start(self.way, self.node, command, stdin)?;
        self.child = child;
        self.pipe = Some(pipe);
        Ok(())
    }

    fn keep(&mut self, said: &[u8]) {
        if matches!(self.step, Step::Prepare) {
            return;
        }
        let text = String::from_utf8_lossy(said);
        let text = match &self.node.token {
            Some(token) => text.replace(token.expose(), "(token)"),
            None => text.into_owned(),
        };
        self.log.extend_from_slice(text.as_bytes());
    }

    /// Why a step has failed, in one line, with what helps.
    fn reason(&self, status: ExitStatus, said: &[u8]) -> String {
        let text = String::from_utf8_lossy(said);
        let text = match &self.node.token {
            Some(token) => text.replace(token.expose(), "(token)"),
            None => text.into_owned(),
        };
        let mut lines = text.lines().map(str::trim);
        let last = lines.rfind(|line| !line.is_empty()).unwrap_or("");
        let plain = |c: char| if c.is_control() { '?' } else { c };
        let last: String = last.chars().map(plain).take(MAX_REASON).collect();
        let remedy = REMEDIES.iter().find(|(sign, _)| text.contains(sign));
        match (status.code(), remedy, &self.step) {
            (Some(255), Some((_, remedy)), _) => format!("ssh: {last}: {remedy}"),
            (Some(255), None, _) => format!("ssh: {last}"),
            (Some(code), _, Step::Run) => format!("keadm ended with {code}: {last}"),
            (Some(127), _, _) => format!("a command is missing there: {last}"),
            (Some(_), _, _) => format!("/tmp can't be written to there: {last}"),
            (None, _, _) => "ssh was ended by a signal".to_owned(),
        }
    }

    fn outcome(&self, reason: Option<String>) -> Outcome {
        let state = match reason {
            None => State::Done,
            Some(_) => State::Failed,
        };
        Outcome::of(self.node, state, reason, self.began.elapsed().as_secs())
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        // One that has ended is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(way: &Way, node: &Node, command: &str, stdin: Stdio) -> io::Result<(Child, PipeReader)> {
    let (reader, writer) = pipe()?;
    let child = Command::new("ssh")
        .args(way.ssh(node, command))
        .stdin(stdin)
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()?;
    Ok((child, reader))
}

/// What ssh says, and what to do about it.
const REMEDIES: &[(&str, &str)] = &[
    (
        "IDENTIFICATION HAS CHANGED",
        "it is another device, or was set up anew: ssh-keygen -R takes its old key out of known_hosts",
    ),
    (
        "Host key verification failed",
        "its key is not known: compare it and put it into known_hosts, or give --accept-new-host-keys",
    ),
    (
        "Permission denied",
        "it does not know this key: bring it there by ssh-copy-id, or load it into the agent by ssh-add",
    ),
    ("bad permissions", "others can read the key: chmod 600 it"),
];

/// Bytes of what a step says.
const MAX_SAID: usize = 256 << 10;
const MAX_STDIN: usize = 4096;
/// Characters.
const MAX_REASON: usize = 300;
