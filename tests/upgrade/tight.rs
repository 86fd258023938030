//! Devices whose flash has no room for one more copy: what was before comes back all the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::builds::{Manner, build};
use crate::common::KUBEEDGE;
use crate::common::device::Device;
use crate::common::site::{Cloudcore, Said};
use crate::stage::{MARKER, OLD, PROGRAM, address, device, new, old, report};

/// A device whose executables lie on a file system with so much room, in copies of an executable.
fn tight(cloud: &Cloudcore, node: &str, copies: f64) -> Device {
    let mut device = device(cloud, node);
    let copy = fs::metadata(old()).expect("a build").len() as f64;
    let size = (copies * copy) as u64 / 4096 * 4 + MARGIN;
    device.mounts = Some(format!(
        "cp -a $1/usr/local/bin $1/saved; mount -t tmpfs -o size={size}k tmpfs $1/usr/local/bin; \
         cp -a $1/saved/. $1/usr/local/bin; mkdir -p $1/run/kubeedge/upgrade; \
         mount -t tmpfs tmpfs $1/run/kubeedge/upgrade"
    ));
    device
}

/// As the edgecore of that number sees the files.
fn upgrade(device: &Device, pid: u32, program: &Path, more: &[&str]) -> Said {
    let mut command = Command::new("nsenter");
    command
        .args(["--mount", "--target", &pid.to_string(), KUBEEDGE])
        .args(["upgrade", "edge", "--force", "--disable-backup", "--from"])
        .arg(program)
        .args(more)
        .env("KUBEEDGE_ROOT", device.path("/"))
        .stdin(Stdio::null());
    Said::of(command.output())
}

fn seen_by(pid: u32, path: PathBuf) -> PathBuf {
    Path::new(&format!("/proc/{pid}/root")).join(path.strip_prefix("/").expect("absolute"))
}

#[test]
fn a_packed_executable_and_one_in_memory_come_back() {
    let cloud = Cloudcore::start(&[]);
    let deaf = build("0.2.0", Manner::Deaf);
    for (copies, part) in [
        (2.9, "it is kept packed"),
        (2.2, "it is kept in memory, and a power cut loses it"),
    ] {
        let device = tight(&cloud, "cramped", copies);
        let edge = device.start();
        edge.connected();
        let said = upgrade(&device, edge.pid(), &deaf, &["--timeout", "1"]).ends(69);
        assert!(said.err.contains(part), "{copies}: {}", said.err);
        edge.connected();
        assert_eq!(address(&edge), OLD);
        let there = seen_by(edge.pid(), device.path(PROGRAM));
        assert!(fs::read(&there).ok() == fs::read(old()).ok());
        assert_eq!(crate::common::mode(&there), 0o755);
        let report = report(&device);
        assert_eq!(report["success"], false);
        let kept = report["kept"].as_str().expect("what is kept");
        assert!(kept.contains(part), "{copies}: {kept}");
        assert!(!device.path(MARKER).exists());
        if copies < 2.5 {
            continue;
        }
        // And one that works stays, with nothing beside it.
        upgrade(&device, edge.pid(), &new(), &[]).ends(0);
        assert!(fs::read(&there).ok() == fs::read(new()).ok());
        let folder = there.parent().expect("a folder");
        assert_eq!(fs::read_dir(folder).expect("a folder").count(), 4);
        edge.stop();
    }
}

/// KiB that an upgrade leaves free.
const MARGIN: u64 = 128;
