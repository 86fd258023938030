//! Where edgecore's lines go: to the system's log where there is one and nobody reads stderr.

mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Child, Command, Stdio};

use common::cloud::Cloud;
use common::device::{CONFIG, Device};
use common::{KUBEEDGE, LIMIT};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn syslogd(device: &Device) -> UnixDatagram {
    let path = device.path("/dev/log");
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let _ = fs::remove_file(&path);
    let reader = UnixDatagram::bind(&path).expect("a socket");
    reader.set_read_timeout(Some(LIMIT)).expect("a patience");
    reader
}

/// The first line with this in it.
fn heard(reader: &UnixDatagram, part: &str) -> String {
    let mut line = [0; 8192];
    loop {
        let length = reader
            .recv(&mut line)
            .unwrap_or_else(|e| panic!("no {part:?}: {e}"));
        let line = String::from_utf8_lossy(&line[..length]);
        if line.contains(part) {
            return line.into_owned();
        }
    }
}

#[test]
fn syslogd_comes_goes_and_comes_again() {
    let cloud = Cloud::start(&[]);
    let mut device = Device::new("logs");
    device.environment = vec![("KUBEEDGE_LOG_TO", "syslog".to_owned())];
    device.configure(&cloud, &cloud.token());
    let edge = device.start();
    let status = edge.connected();
    // Without one, stderr has it.
    assert!(edge.log().contains("connected to"), "{}", edge.log());
    let mut heartbeat = 20;
    let mut again = || {
        heartbeat += 1;
        let yaml = device.read(CONFIG);
        let yaml = yaml.replace("    enable: true\n", "    enable: true\n    #\n");
        let yaml = yaml.replacen("#\n", &format!("heartbeat: {heartbeat}\n"), 1);
        let lines = yaml.lines().filter(|line| {
            !line.trim().starts_with("heartbeat") || line.ends_with(&heartbeat.to_string())
        });
        let yaml: String = lines.map(|line| format!("{line}\n")).collect();
        device.write(CONFIG, &yaml, 0o644);
        edge.signal(Signal::SIGHUP);
    };
    for _ in 0..2 {
        let reader = syslogd(&device);
        let before = edge.log();
        again();
        let line = heard(&reader, "connecting anew");
        let hub = status.hub_pid.expect("a hub");
        assert!(
            line.starts_with(&format!("<30>edgecore[{hub}]: daemon: ")),
            "{line}"
        );
        heard(&reader, "connected to");
        assert_eq!(edge.log(), before, "the same line twice");
        drop(reader);
    }
    again();
    common::wait_until("a line on stderr", || {
        edge.log().matches("connected to").count() > 1
    });
    edge.stop();
}

#[test]
fn a_file_that_was_asked_for_is_used() {
    let cloud = Cloud::start(&[]);
    let device = Device::new("asked");
    device.configure(&cloud, &cloud.token());
    let reader = syslogd(&device);
    let edge = device.start();
    edge.connected();
    assert!(edge.log().contains("connected to"), "{}", edge.log());
    edge.stop();
    reader.set_nonblocking(true).expect("it can");
    assert!(reader.recv(&mut [0; 100]).is_err(), "the same line twice");
}

#[test]
fn what_nobody_reads_goes_to_the_systems_log() {
    let device = Device::new("unread");
    let reader = syslogd(&device);
    let mut command = Command::new(KUBEEDGE);
    command
        .arg("edgecore")
        .env("KUBEEDGE_ROOT", device.path("/"))
        .env_remove("JOURNAL_STREAM")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(
            File::options()
                .write(true)
                .open("/dev/null")
                .expect("it is there"),
        );
    let status = command.status().expect("the executable starts");
    assert_eq!(status.code(), Some(78));
    let line = heard(&reader, "join the device");
    assert!(line.starts_with("<27>edgecore["), "{line}");
}

#[test]
fn a_program_that_reads_stderr_gets_the_lines() {
    let device = Device::new("read");
    let reader = syslogd(&device);
    let mut command = Command::new(KUBEEDGE);
    command
        .arg("edgecore")
        .env("KUBEEDGE_ROOT", device.path("/"));
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    assert!(String::from_utf8_lossy(&output.stderr).contains("join the device"));
    reader.set_nonblocking(true).expect("it can");
    assert!(reader.recv(&mut [0; 100]).is_err(), "the same line twice");
}

/// edgecore as systemd starts it: stderr is a socket of the journal, and `JOURNAL_STREAM` says which.
struct Unit {
    child: Child,
    journal: BufReader<UnixStream>,
    lines: Vec<String>,
}

impl Unit {
    fn start(device: &Device, stream: impl Fn(u64, u64) -> String) -> Unit {
        let (journal, stderr) = UnixStream::pair().expect("a socket");
        journal.set_read_timeout(Some(LIMIT)).expect("a patience");
        let found = fs::metadata(format!("/proc/self/fd/{}", stderr.as_raw_fd()));
        let found = found.expect("it is open");
        let mut command = Command::new(KUBEEDGE);
        command
            .arg("edgecore")
            .env("KUBEEDGE_ROOT", device.path("/"))
            .env("JOURNAL_STREAM", stream(found.dev(), found.ino()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(OwnedFd::from(stderr));
        Unit {
            child: command.spawn().expect("the executable starts"),
            journal: BufReader::new(journal),
            lines: Vec::new(),
        }
    }

    /// Reads up to a line with this in it, or to the end.
    fn read(&mut self, part: &str) {
        let mut line = String::new();
        while self.journal.read_line(&mut line).expect("a line") > 0 {
            self.lines.push(line.trim_end().to_owned());
            if line.contains(part) {
                return;
            }
            line.clear();
        }
        assert!(part == END, "no {part:?}: {:#?}", self.lines);
    }

    fn stop(self) -> Vec<String> {
        let pid = i32::try_from(self.child.id()).expect("a process number");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
        self.ends()
    }

    fn ends(mut self) -> Vec<String> {
        self.read(END);
        self.child.wait().expect("it ends");
        std::mem::take(&mut self.lines)
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_journal_has_each_line_once_with_its_level() {
    let cloud = Cloud::start(&[]);
    let device = Device::new("journal");
    let syslog = syslogd(&device);
    let own = |device: u64, inode: u64| format!("{device}:{inode}");
    // What only a person can mend is an error.
    let lines = Unit::start(&device, own).ends();
    let found = |lines: &[String], part: &str| -> Vec<String> {
        let found = lines.iter().filter(|line| line.contains(part));
        found.cloned().collect()
    };
    let [error] = &found(&lines, "join the device")[..] else {
        panic!("{lines:#?}");
    };
    assert!(error.starts_with("<3>"), "{error}");

    device.configure(&cloud, &cloud.token());
    let mut unit = Unit::start(&device, own);
    unit.read("connected to");
    device.write(CONFIG, "modules: [", 0o640);
    let pid = i32::try_from(unit.child.id()).expect("a process number");
    kill(Pid::from_raw(pid), Signal::SIGHUP).expect("it runs");
    unit.read("edgecore.yaml");
    let lines = unit.stop();
    // Of the supervisor and of its hub; the journal knows the time itself.
    for line in &lines {
        let level = ["<3>", "<4>", "<6>"]
            .iter()
            .find(|it| line.starts_with(**it));
        let text = level.map_or("", |level| &line[level.len()..]);
        assert!(text.starts_with(|c: char| c.is_ascii_lowercase()), "{line}");
    }
    let [connected] = &found(&lines, "connected to")[..] else {
        panic!("{lines:#?}");
    };
    assert!(connected.starts_with("<6>"), "{connected}");
    assert!(
        found(&lines, "edgecore.yaml")
            .iter()
            .any(|line| line.starts_with("<4>")),
        "{lines:#?}"
    );
    syslog.set_nonblocking(true).expect("it can");
    assert!(syslog.recv(&mut [0; 100]).is_err(), "the same line twice");

    // One that an ancestor had is not the journal.
    let other = |device: u64, inode: u64| format!("{device}:{}", inode + 1);
    let device = Device::new("no-journal");
    let lines = Unit::start(&device, other).ends();
    let [error] = &found(&lines, "join the device")[..] else {
        panic!("{lines:#?}");
    };
    assert!(
        error.starts_with("20") && error.contains("Z error "),
        "{error}"
    );
}

/// Of what is read, as nobody writes it.
const END: &str = "\0";
