//! Join, tunnel and renewal on systems that have little: an old kernel, an empty root, 32 MB, late randomness.
//!
//! `KUBEEDGE_OLD_BIN` names another executable than cargo's, such as a static one of dist/.
//! `KUBEEDGE_LONG=1` waits as long for randomness as the slowest devices do.

#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]

mod common;
#[path = "common/old.rs"]
mod old;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::site::Cloudcore;
use common::{Folder, LIMIT, figures, put, wait_until};
use kubeedge::protocol::control::{
    self, EDGE_SOCKET, EDGE_STATUS_SOCKET, EdgeOp, EdgeState, EdgeStatus, Reply, Request,
};
use kubeedge::system::{exit, processes};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::Pid;
use old::{Launch, executable, launch, libraries};

/// What `launch` starts instead of the executable: this test, which then becomes it.
#[test]
fn launcher() {
    old::become_it();
}

/// A device below a folder, which is its root by name only, or really.
struct Device {
    folder: Folder,
    launch: Launch,
    is_root: bool,
}

impl Device {
    /// With `KUBEEDGE_ROOT`, on this system as it is.
    fn prefixed(filter: Option<Errno>) -> Device {
        Device {
            folder: Folder::new(),
            launch: Launch {
                filter,
                ..Launch::default()
            },
            is_root: false,
        }
    }

    /// In a root that holds the executable and three devices. Only root can enter it.
    fn bare(filter: Option<Errno>) -> Device {
        assert!(
            processes::is_root(),
            "this test needs root, for another root"
        );
        let folder = Folder::new();
        let top = folder.path();
        for file in libraries().into_iter().chain([executable()]) {
            let place = match file == executable() {
                true => top.join("kubeedge"),
                false => top.join(file.strip_prefix("/").expect("a full path")),
            };
            fs::create_dir_all(place.parent().expect("a folder")).expect("a folder is made");
            fs::copy(&file, &place).expect("the file is copied");
        }
        fs::create_dir(top.join("dev")).expect("a folder is made");
        let mode = Mode::from_bits_truncate(0o666);
        for (name, minor) in [("null", 3), ("urandom", 9), ("random", 8)] {
            let (path, number) = (top.join("dev").join(name), makedev(1, minor));
            let made = mknod(&path, SFlag::S_IFCHR, mode, number);
            assert_eq!(made, Ok(()), "this test needs the right to make {name}");
        }
        let launch = Launch {
            filter,
            root: Some(top.to_owned()),
            ..Launch::default()
        };
        Device {
            folder,
            launch,
            is_root: true,
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    fn run(&self, words: &[&str]) -> (i32, String) {
        let mut command = launch(&self.launch, words);
        match self.is_root {
            true => command.env_remove("KUBEEDGE_ROOT"),
            false => command.env("KUBEEDGE_ROOT", self.folder.path()),
        };
        let output = command.output().expect("the executable starts");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.code().unwrap_or(-1), said)
    }

    fn succeeds(&self, words: &[&str]) -> String {
        let (code, said) = self.run(words);
        let log = fs::read_to_string(self.path("/var/log/kubeedge/edgecore.log"));
        assert_eq!(code, 0, "{words:?}: {said}\n{}", log.unwrap_or_default());
        said
    }

    /// Joins, and returns what edgecore says of itself.
    fn joins(&self, cloud: &Cloudcore, node: &str) -> EdgeStatus {
        self.join(cloud, node);
        let status = self.status().expect("edgecore answers");
        assert_eq!(status.state, EdgeState::Connected, "{status:?}");
        status
    }

    /// Joins, and returns what was said.
    fn join(&self, cloud: &Cloudcore, node: &str) -> String {
        let words = self.words(cloud, node);
        self.succeeds(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// What a join is told.
    fn words(&self, cloud: &Cloudcore, node: &str) -> Vec<String> {
        let (hub, api) = (format!("127.0.0.1:{}", cloud.hub), cloud.https.to_string());
        let token = fs::read(cloud.token_file()).expect("a token");
        put(&self.path("/token"), token, 0o600);
        let token = match self.is_root {
            true => "/token".to_owned(),
            false => self.path("/token").display().to_string(),
        };
        let mut words = vec!["join", "-e", &hub, "-s", &api, "--token-file", &token];
        words.extend(["--init", "none"]);
        if !node.is_empty() {
            words.extend(["-i", node]);
        }
        words.into_iter().map(str::to_owned).collect()
    }

    /// Takes away all randomness, until `feed` gives some.
    fn starve(&self) -> PathBuf {
        let path = self.path("/dev/random");
        let _ = fs::remove_file(&path);
        let mode = Mode::from_bits_truncate(0o666);
        nix::unistd::mkfifo(&path, mode).expect("root may");
        path
    }

    fn status(&self) -> Option<EdgeStatus> {
        control::call(
            &self.path(EDGE_STATUS_SOCKET),
            &Request::new(EdgeOp::Status),
            LIMIT,
        )
        .ok()
    }

    /// Renews the certificate; returns when the tunnel stands on the new one.
    fn renews(&self) {
        let serial = |status: &EdgeStatus| status.session.as_ref().map(|it| it.serial.clone());
        let before = serial(&self.status().expect("edgecore answers"));
        let reply: Reply =
            control::call(&self.path(EDGE_SOCKET), &Request::new(EdgeOp::Renew), LIMIT)
                .expect("edgecore answers");
        assert_eq!(reply.error, None);
        self.until("the tunnel with the new certificate", |status| {
            serial(status).is_some() && serial(status) != before
        });
    }

    fn until(&self, what: &str, fits: impl Fn(&EdgeStatus) -> bool) -> EdgeStatus {
        let (end, mut last) = (Instant::now() + LIMIT, None);
        while Instant::now() < end {
            last = self.status();
            if let Some(status) = last.as_ref().filter(|status| fits(status)) {
                return status.clone();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{what} did not come: {last:?}");
    }

    fn edgecore(&self) -> Option<u32> {
        let note = fs::read_to_string(self.path("/run/kubeedge/edgecore.lock")).ok()?;
        let pid = note.trim().parse().ok()?;
        // The number may be another's by now.
        processes::Process::get(pid)?.is("edgecore").then_some(pid)
    }
}

impl Device {
    /// As at a power cut.
    fn stop(&self) {
        let hub = self.status().map(|status| status.hub_pid);
        let Some(pid) = self.edgecore() else { return };
        let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        let all = hub.flatten().into_iter().chain([pid]);
        for pid in all {
            wait_until("the end of edgecore", || !processes::alive(pid));
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(pid) = self.edgecore() {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
    }
}

#[test]
fn on_a_kernel_that_knows_no_call_newer_than_linux_3_10() {
    let mut tried = 0;
    for answer in [Errno::ENOSYS, Errno::EPERM] {
        let launch = Launch {
            filter: Some(answer),
            ..Launch::default()
        };
        let cloud = Cloudcore::start_as(|words| old::launch(&launch, words));
        let device = Device::prefixed(Some(answer));
        let status = device.joins(&cloud, "old-kernel");
        for new in ["landlock", "seccomp"] {
            let has = status.sandbox.iter().any(|it| it.starts_with(new));
            assert!(!has, "{new} is newer: {:?}", status.sandbox);
        }
        device.renews();
        let said = device.succeeds(&["status"]);
        assert!(said.contains("connected"), "{said}");
        device.succeeds(&["certs", "check"]);
        device.succeeds(&["reset", "edge", "--force"]);
        tried += 5;
    }
    figures::tried(
        "old-systems-kernel",
        "commands under a filter that answers ENOSYS, then EPERM, to calls newer than Linux 3.10",
        tried,
    );
}

#[test]
fn in_an_empty_root_with_32_mb() {
    let mut tried = 0;
    for answer in [Errno::ENOSYS, Errno::EPERM] {
        let mut device = Device::bare(Some(answer));
        let limit = old::limit_memory(SMALL);
        device.launch.memory.clone_from(&limit.group);
        device.launch.data = Some(SMALL);
        let cloud = Cloudcore::start(&[]);
        // No name is given, and neither a machine-id nor a serial number can be had.
        let status = device.joins(&cloud, "");
        device.renews();
        let said = device.succeeds(&["status"]);
        assert!(said.contains("connected"), "{said}");
        device.succeeds(&["certs", "check"]);
        assert!(!device.path("/proc").exists() && !device.path("/sys").exists());
        assert_guesses_nothing(&cloud, &status.node);
        if let Some(most) = limit.most() {
            eprintln!("at most {} kB of memory were used", most / 1024);
        }
        tried += 4;
    }
    figures::tried(
        "old-systems-bare-root",
        "commands in a root without /proc, /sys, machine-id and name service, within 32 MB",
        tried,
    );
}

/// What can't be found out in an empty root the cloud is told as such, or not at all.
fn assert_guesses_nothing(cloud: &Cloudcore, node: &str) {
    let words = ["cloudcore", "ctl", "get", "node", node, "-o", "json"];
    let node = cloud.run(&words).ends(0).json();
    let status = &node["status"];
    for fact in ["machineID", "systemUUID", "bootID", "osImage"] {
        assert_eq!(status["nodeInfo"][fact], "unknown", "{fact}: {node}");
    }
    for amount in ["cpu", "memory"] {
        for of in ["capacity", "allocatable"] {
            assert!(status[of].is_object(), "{node}");
            assert_eq!(status[of].get(amount), None, "{of} {amount}: {node}");
        }
    }
    let conditions = status["conditions"].as_array().expect("a list");
    for pressure in ["MemoryPressure", "PIDPressure"] {
        let one = conditions.iter().find(|it| it["type"] == pressure);
        assert_eq!(one.expect("a condition")["status"], "Unknown", "{node}");
    }
}

/// Every system has this limit, and everybody may lower it.
#[test]
fn with_32_mb_of_data_for_each_process() {
    let mut device = Device::prefixed(None);
    device.launch.data = Some(SMALL);
    let cloud = Cloudcore::start(&[]);
    let status = device.joins(&cloud, "small");
    device.renews();
    device.succeeds(&["status"]);
    device.succeeds(&["certs", "check"]);
    let hub = status.hub_pid.unwrap_or(status.pid);
    for pid in [status.pid, hub] {
        let (allowed, most) = old::data(pid);
        assert_eq!(allowed, SMALL, "the limit is not in force");
        assert!(most < SMALL, "{most} bytes of memory");
        eprintln!("process {pid} has had at most {} kB", most / 1024);
    }
    device.succeeds(&["reset", "edge", "--force"]);
    figures::tried(
        "old-systems-memory",
        "commands with 32 MB of data for each process, as a limit of the process",
        5,
    );
}

#[test]
fn with_randomness_that_comes_late() {
    let device = Device::bare(Some(Errno::ENOSYS));
    let late = match std::env::var_os("KUBEEDGE_LONG") {
        Some(_) => Duration::from_secs(30),
        None => Duration::from_secs(4),
    };
    let cloud = Cloudcore::start(&[]);
    let fifo = device.starve();
    let mut impatient = device.words(&cloud, "late");
    impatient.extend(["--timeout", "1s"].map(str::to_owned));
    let impatient: Vec<&str> = impatient.iter().map(String::as_str).collect();
    let (code, said) = device.run(&impatient);
    assert_eq!(code, i32::from(exit::TRY_AGAIN), "{said}");
    assert!(said.contains("no randomness for 1 s"), "{said}");
    let begun = Instant::now();
    let feeder = std::thread::spawn(move || {
        std::thread::sleep(late);
        feed(&fifo)
    });
    let said = device.join(&cloud, "late");
    assert!(begun.elapsed() >= late, "it did not wait for randomness");
    assert!(said.contains("no randomness yet"), "{said}");
    let status = device.status().expect("edgecore answers");
    assert_eq!(status.state, EdgeState::Connected, "{status:?}");
    assert!(status.last_error.is_none(), "{status:?}");
    device.renews();
    drop(feeder.join().expect("the feeder ends"));

    // The next boot: edgecore says what it waits for.
    device.stop();
    let fifo = device.starve();
    let begun = Instant::now();
    let mut edgecore = launch(&device.launch, &["edgecore"]);
    edgecore.env_remove("KUBEEDGE_ROOT");
    let mut edgecore = edgecore.spawn().expect("the executable starts");
    let status = device.until("a word about randomness", |status| {
        let last = status.last_error.as_ref();
        last.is_some_and(|it| it.message.contains("no randomness yet"))
    });
    assert_eq!(status.state, EdgeState::Starting, "{status:?}");
    std::thread::sleep(late.saturating_sub(begun.elapsed()));
    let fed = feed(&fifo);
    device.until("the tunnel", |status| status.state == EdgeState::Connected);
    device.stop();
    edgecore.wait().expect("it has ended");
    drop(fed);
    figures::tried(
        "old-systems-randomness",
        "joins and boots with randomness that comes late",
        2,
    );
}

/// Lets whoever waits go on. Until what is given is dropped: what is closed would be no device.
fn feed(fifo: &Path) -> fs::File {
    let file = fs::OpenOptions::new().read(true).write(true).open(fifo);
    let mut file = file.expect("the other side is opened");
    std::io::Write::write_all(&mut file, &[7; 4096]).expect("randomness comes");
    file
}

/// Bytes: the memory of the smallest devices.
const SMALL: u64 = 32 << 20;
