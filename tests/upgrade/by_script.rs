//! What an init script and people see of an edgecore that goes on as another executable.

use std::fs;

use kubeedge::protocol::control::{
    EDGE_STATUS_SOCKET, EdgeOp, EdgeState, EdgeStatus, Request, call,
};
use kubeedge::system::processes;

use crate::common::device::Device;
use crate::common::rcs::Rcs;
use crate::common::site::Cloudcore;
use crate::common::{LIMIT, wait_until};
use crate::stage::{device, is_installed, new, upgrade};

#[test]
fn a_script_that_started_it_finds_it_after_an_upgrade() {
    let cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "scripted");
    let script = Rcs::install(&device, &["dash"], 1 << 20);
    script.run("start").ends(0);
    wait_until("a session", || is_connected(&device));
    let pid = script.pid();
    let before = names(pid);
    let path = device.path("/usr/local/bin/edgecore");
    assert_eq!(before, ("edgecore".to_owned(), path.display().to_string()));
    upgrade(&device, &new(), &[]).ends(0);
    assert!(is_installed(&device, &new()));

    // The same process, for `ps`, `pgrep` and `pidof` too.
    assert!(processes::alive(pid), "{}", script.log());
    assert_eq!(names(pid), before);
    script.run("status").ends(0);
    let said = script.run("start").ends(0);
    assert!(said.out.contains("runs already"), "{}", said.out);
    assert_eq!(script.pid(), pid);
    script.run("reload").ends(0);
    wait_until("a session", || is_connected(&device));
    script.run("restart").ends(0);
    assert!(!processes::alive(pid), "it was left behind");
    wait_until("a session", || is_connected(&device));
    let pid = script.pid();
    script.run("stop").ends(0);
    assert!(!processes::alive(pid));
    script.run("status").ends(3);
}

fn is_connected(device: &Device) -> bool {
    let socket = device.path(EDGE_STATUS_SOCKET);
    let status: Result<EdgeStatus, _> = call(&socket, &Request::new(EdgeOp::Status), LIMIT);
    status.is_ok_and(|it| it.state == EdgeState::Connected)
}

/// The kernel's name for a process, and the first word that it was started with.
fn names(pid: u32) -> (String, String) {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).expect("it runs");
    let words = read("cmdline");
    let first = words.split('\0').next().unwrap_or_default();
    (read("comm").trim_end().to_owned(), first.to_owned())
}
