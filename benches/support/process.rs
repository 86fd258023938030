//! A process that was started here, and what /proc tells about it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Ended when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Standard error goes to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Process {
        let file = fs::OpenOptions::new().create(true).append(true).open(log);
        let file = file.expect("the log can be written");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn();
        Process {
            child: child.expect("the executable starts"),
            log: log.to_owned(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails with the log when the process has ended by itself.
    pub fn must_run(&mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            panic!("it ended by itself ({status}):\n{log}");
        }
    }

    /// SIGTERM, and waits.
    pub fn stop(&mut self) {
        terminate(self.pid());
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

pub fn terminate(pid: u32) {
    let _ = kill(Pid::from_raw(pid as i32), Signal::SIGTERM);
}

/// Time on a processor, in the program and in the kernel for it, of all threads there ever were.
pub fn cpu(pid: u32) -> Duration {
    let stat = read(pid, "stat");
    // The second field, the name in brackets, may hold blanks; the 14th and 15th are what we want.
    let (_, fields) = stat.rsplit_once(')').expect("the name ends");
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|it| it.parse::<u64>());
    let ticks: u64 = ticks.map(|it| it.expect("ticks are numbers")).sum();
    Duration::from_millis(ticks * 10) // USER_HZ is 100 on every Linux.
}

/// As `cpu`, to the nanosecond, but only of the threads that there are now.
pub fn precise_cpu(pid: u32) -> Duration {
    let spent = threads(pid).into_iter().map(|thread| {
        let stat = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
        stat.split_whitespace()
            .next()
            .and_then(|it| it.parse().ok())
            .unwrap_or(0)
    });
    Duration::from_nanos(spent.sum())
}

/// How often threads have gone to sleep, and so woken up again.
pub fn sleeps(pid: u32) -> u64 {
    let count = |thread: &PathBuf| {
        let status = fs::read_to_string(thread.join("status")).unwrap_or_default();
        field(&status, "voluntary_ctxt_switches:")
    };
    threads(pid).iter().map(count).sum()
}

/// What is resident, and what the process alone is to blame for; in kB.
#[derive(Clone, Copy)]
pub struct Memory {
    pub rss: u64,
    pub pss: u64,
    pub anonymous: u64,
}

pub fn memory(pid: u32) -> Memory {
    let rollup = read(pid, "smaps_rollup");
    Memory {
        rss: field(&rollup, "Rss:"),
        pss: field(&rollup, "Pss:"),
        anonymous: field(&rollup, "Anonymous:"),
    }
}

pub fn threads(pid: u32) -> Vec<PathBuf> {
    list(pid, "task")
}

pub fn open_files(pid: u32) -> usize {
    list(pid, "fd").len()
}

fn list(pid: u32, folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/{folder}")).expect("the process runs");
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

fn read(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).expect("the process runs")
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("{name} is missing"))
}
