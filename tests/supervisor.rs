//! edgecore as two processes: either may be killed, and there is one service all the time.

mod common;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use common::cloud::Cloud;
use common::device::{Device, Edge};
use common::{LIMIT, figures, wait_until};
use kubeedge::protocol::control::EdgeStatus;
use kubeedge::system::processes::{self, Process};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).expect("a process number");
    kill(Pid::from_raw(pid), signal).expect("the process is there");
}

fn hub(status: &EdgeStatus) -> u32 {
    status.hub_pid.expect("there is a supervisor")
}

#[test]
fn a_killed_hub_is_replaced_and_the_service_stays() {
    let (cloud, device) = (Cloud::start(&[]), Device::new("phoenix"));
    device.configure(&cloud, &cloud.token());
    let edge = device.start();
    let mut status = edge.connected();
    assert_eq!(status.pid, edge.pid());
    let mut tried = 0;
    for signal in [Signal::SIGKILL, Signal::SIGABRT, Signal::SIGTERM] {
        let before = hub(&status);
        assert_eq!(Process::get(before).expect("it runs").parent, edge.pid());
        send(before, signal);
        status = edge.until("another hub with a session", |status| {
            status.hub_pid.is_some_and(|pid| pid != before) && status.session.is_some()
        });
        assert_eq!(status.pid, edge.pid());
        assert!(!processes::alive(before));
        tried += 1;
    }
    let log = edge.log();
    for part in ["ended by signal 9", "ended by signal 6", "exit code 0"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    edge.stop();
    wait_until("the end of the hub", || !processes::alive(hub(&status)));
    figures::tried(
        "hardening-hub-killed",
        "the working process of edgecore was killed; it came back connected",
        tried,
    );
}

#[test]
fn a_root_that_the_command_line_names_is_the_hubs_too() {
    let (cloud, mut device) = (Cloud::start(&[]), Device::new("rooted"));
    device.configure(&cloud, &cloud.token());
    let elsewhere = device.path("/elsewhere");
    let variable = elsewhere.display().to_string();
    device.environment = vec![("KUBEEDGE_ROOT", variable)];
    let root = device.path("/").display().to_string();
    let edge = device.start_with_flags(&["--root", &root]);
    let status = edge.connected();
    assert!(status.hub_pid.is_some() && !elsewhere.exists());
    edge.stop();
}

#[test]
fn nothing_is_left_of_a_killed_supervisor_and_a_new_start_works_at_once() {
    let (cloud, device) = (Cloud::start(&[]), Device::new("orphan"));
    device.configure(&cloud, &cloud.token());
    let mut edge = device.start();
    for _ in 0..3 {
        let status = edge.connected();
        send(edge.pid(), Signal::SIGKILL);
        // Waits for the process that was killed, and for nothing else.
        drop(edge);
        edge = device.start();
        wait_until("the end of the hub", || !processes::alive(hub(&status)));
        assert_ne!(hub(&edge.connected()), hub(&status));
    }
    edge.stop();
}

#[test]
fn a_stopped_supervisor_does_not_keep_the_device_from_its_work() {
    let (cloud, device) = (Cloud::start(&[]), Device::new("numb"));
    device.configure(&cloud, &cloud.token());
    let edge = device.start();
    let before = edge.connected();
    send(edge.pid(), Signal::SIGSTOP);
    let reply = edge.order("renew");
    assert!(reply.error.is_none(), "{:?}", reply.error);
    edge.until("a session with the new certificate", |status| {
        let (old, new) = (before.session.as_ref(), status.session.as_ref());
        new.map(|new| &new.serial) != old.map(|old| &old.serial) && new.is_some()
    });
    send(edge.pid(), Signal::SIGCONT);
    edge.stop();
}

#[test]
fn the_init_system_hears_of_the_hub_through_the_supervisor_alone() {
    let (cloud, device) = (Cloud::start(&[]), Device::new("heard"));
    device.configure(&cloud, &cloud.token());
    let (edge, notices) = device.start_and_listen();
    let status = edge.connected();
    let environment = fs::read(format!("/proc/{}/environ", hub(&status))).expect("it runs");
    let environment = String::from_utf8_lossy(&environment);
    for name in ["NOTIFY_SOCKET", "WATCHDOG", "KUBEEDGE_LIFELINE"] {
        assert!(!environment.contains(name), "{name}");
    }
    let heard = until_heard(&notices, "STATUS=connected");
    assert!(heard.iter().any(|it| it == "WATCHDOG=1"), "{heard:?}");
    // An end that nobody asked for is not told: the service goes on.
    send(hub(&status), Signal::SIGTERM);
    let heard = until_heard(&notices, "STATUS=connected");
    assert!(!heard.iter().any(|it| it == "STOPPING=1"), "{heard:?}");
    edge.stop();
    until_heard(&notices, "STOPPING=1");
}

fn until_heard(notices: &UnixDatagram, last: &str) -> Vec<String> {
    notices.set_read_timeout(Some(LIMIT)).expect("a patience");
    let (mut heard, mut notice) = (Vec::new(), [0; 1024]);
    loop {
        let length = notices.recv(&mut notice);
        let length = length.unwrap_or_else(|e| panic!("no {last} ({e}), but {heard:?}"));
        heard.push(String::from_utf8_lossy(&notice[..length]).into_owned());
        if heard.last().is_some_and(|it| it == last) {
            return heard;
        }
    }
}

#[test]
fn what_only_a_person_can_change_ends_the_service_with_its_code() {
    let device = Device::new("wrong");
    device.write(common::device::CONFIG, "modules: [", 0o640);
    let (code, log) = device.run_to_end();
    assert_eq!(code, 78, "{log}");
}

/// The hub has been started, and is not ready for anything yet.
fn until_hub(edge: &Edge<'_>) {
    let children = format!("/proc/{0}/task/{0}/children", edge.pid());
    wait_until("a hub", || {
        fs::read_to_string(&children).is_ok_and(|pids| !pids.is_empty())
    });
}

#[test]
fn a_stop_at_the_first_moment_is_an_orderly_end() {
    let (cloud, device) = (Cloud::start(&[]), Device::new("hasty"));
    device.configure(&cloud, &cloud.token());
    for pause in [0, 1, 3, 10, 30] {
        let edge = device.start_unready();
        until_hub(&edge);
        std::thread::sleep(Duration::from_millis(pause));
        edge.stop();
    }
    let log = device.log();
    assert!(!log.contains("signal"), "{log}");
}

#[test]
fn a_reload_at_the_first_moment_ends_nothing() {
    let (cloud, device) = (Cloud::start(&[]), Device::new("eager"));
    device.configure(&cloud, &cloud.token());
    let edge = device.start_unready();
    until_hub(&edge);
    for _ in 0..20 {
        edge.signal(Signal::SIGHUP);
        std::thread::sleep(Duration::from_millis(1));
    }
    edge.connected();
    let log = edge.log();
    assert!(!log.contains("started again"), "{log}");
    edge.stop();
}

#[test]
fn it_runs_as_one_process_when_asked() {
    let (cloud, device) = (Cloud::start(&[]), Device::new("single"));
    device.configure(&cloud, &cloud.token());
    let edge = device.start_with_flags(&["--no-supervisor"]);
    let status = edge.connected();
    assert_eq!((status.pid, status.hub_pid), (edge.pid(), None));
    edge.stop();
}

#[test]
fn a_hub_is_not_started_by_hand() {
    let mut command = std::process::Command::new(common::KUBEEDGE);
    command
        .args(["edgecore", "hub"])
        .stdin(std::process::Stdio::null());
    let output = command.output().expect("the executable starts");
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--no-supervisor"));
}
