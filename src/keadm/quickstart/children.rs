//! The processes of a tour: started with their output in a file, and ended with patience.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use smol::Timer;

use crate::system::{lifeline, root};

/// A process of ours; killed when dropped while it runs.
pub struct Child {
    process: process::Child,
    log: PathBuf,
}

/// What to start.
pub struct Plan<'a> {
    pub executable: &'a Path,
    /// The root prefix it works below.
    pub root: &'a Path,
    /// The socket by which it notices that we are gone.
    pub lifeline: &'a Path,
    pub log: PathBuf,
    pub arguments: Vec<String>,
}

impl Child {
    pub fn start(plan: Plan<'_>) -> io::Result<Child> {
        let mut options = OpenOptions::new();
        let log = options
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&plan.log)?;
        let mut command = Command::new(plan.executable);
        command
            .args(&plan.arguments)
            .env(root::VARIABLE, plan.root)
            .env(lifeline::VARIABLE, plan.lifeline)
            .env_remove("NOTIFY_SOCKET")
            .env_remove("JOURNAL_STREAM")
            // Ctrl-C is for us: we tell the others, and in the right order.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(Child {
            process: command.spawn()?,
            log: plan.log,
        })
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// Waits for its end; none when it takes longer.
    pub async fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + patience;
        loop {
            match self.ended() {
                None if Instant::now() < end => drop(Timer::after(POLL).await),
                outcome => return outcome,
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.pid()) {
            // It fails when the process has ended, which is what signals here are for.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Kills it; it is gone when this returns.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// What it wrote, or the end of it; without empty lines.
    pub fn said(&self) -> Vec<String> {
        end_of(&self.log).unwrap_or_default()
    }

    /// The last thing that it wrote, for the sentence about its failure.
    pub fn last_words(&self) -> String {
        self.said()
            .pop()
            .unwrap_or_else(|| "it said nothing".to_owned())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.kill();
        }
    }
}

fn end_of(path: &Path) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_SAID)))?;
    let mut end = Vec::new();
    file.take(MAX_SAID).read_to_end(&mut end)?;
    let text = String::from_utf8_lossy(&end);
    let lines = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty());
    Ok(lines.map(str::to_owned).collect())
}

const POLL: Duration = Duration::from_millis(5);
/// Bytes.
const MAX_SAID: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::processes::Process;
    use crate::system::scratch::Scratch;

    fn start(folder: &Scratch, script: &str) -> Child {
        Child::start(Plan {
            executable: Path::new("/bin/sh"),
            root: folder.path(),
            lifeline: Path::new("/nowhere"),
            log: folder.path().join("log"),
            arguments: vec!["-c".to_owned(), script.to_owned()],
        })
        .unwrap()
    }

    #[test]
    fn its_end_and_its_last_words_are_known() {
        let folder = Scratch::new();
        let mut child = start(&folder, "echo first; echo $KUBEEDGE_ROOT >&2; echo; exit 7");
        let status = smol::block_on(child.wait(Duration::from_secs(60))).unwrap();
        assert_eq!(status.code(), Some(7));
        let root = folder.path().display().to_string();
        assert_eq!(child.said(), ["first", &root]);
        assert_eq!(child.last_words(), root);
    }

    #[test]
    fn it_does_not_outlive_us() {
        let folder = Scratch::new();
        let child = start(&folder, "while :; do sleep 0.1; done");
        let process = Process::get(child.pid()).unwrap();
        drop(child);
        assert!(!process.is_alive());
    }
}
