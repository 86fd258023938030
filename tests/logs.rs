//! Where edgecore's lines go: to the system's log where there is one and nobody reads stderr.

mod common;

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use common::cloud::Cloud;
use common::device::{CONFIG, Device};
use common::{KUBEEDGE, LIMIT};
use nix::sys::signal::Signal;

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
