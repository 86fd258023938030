//! A SIGHUP that comes while a daemon still reads its files, as init systems send it when an uplink comes up at boot.

mod common;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::thread;

use common::cloud::Cloud;
use common::device::{CONFIG, Device};
use common::site::Cloudcore;
use common::{Folder, put};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

/// Puts a pipe in the place of the file. Who opens it gets a SIGHUP, and then the content; whoever comes later finds a
/// file again.
fn startle(path: &Path, content: String) -> thread::JoinHandle<()> {
    let _ = fs::remove_file(path);
    mkfifo(path, Mode::from_bits_truncate(0o600)).expect("a pipe");
    let path = path.to_owned();
    thread::spawn(move || {
        // Opened when there is a reader, which waits for us now.
        let mut pipe = OpenOptions::new().write(true).open(&path).expect("a pipe");
        let [reader] = reading(&path)[..] else {
            panic!("{:?} read it", reading(&path));
        };
        let aside = path.with_extension("aside");
        put(&aside, &content, 0o600);
        fs::rename(&aside, &path).expect("a file in its place");
        kill(Pid::from_raw(reader), Signal::SIGHUP).expect("it is there");
        pipe.write_all(content.as_bytes()).expect("it reads");
    })
}

/// Who has the file open, besides this process.
fn reading(path: &Path) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).expect("a process number");
    let has = |pid: &i32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd"));
        let mut files = files.into_iter().flatten().flatten();
        files.any(|file| fs::read_link(file.path()).is_ok_and(|it| it == path))
    };
    let names = fs::read_dir("/proc").expect("processes").flatten();
    let all = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    all.filter(|pid| *pid != own).filter(has).collect()
}

#[test]
fn an_edgecore_that_reads_its_configuration_lives_through_it() {
    let (cloud, device) = (Cloud::start(&[]), Device::new("startled"));
    device.configure(&cloud, &cloud.token());
    let startled = startle(&device.path(CONFIG), device.read(CONFIG));
    let edge = device.start_unready();
    startled.join().expect("it was sent");
    assert_eq!(edge.connected().pid, edge.pid());
    edge.stop();
}

#[test]
fn a_cloudcore_that_reads_its_configuration_lives_through_it() {
    let folder = Folder::new();
    let config = folder.path().join("cloudcore.yaml");
    let startled = startle(&config, "modules: {cloudHub: {nodeLimit: 7}}\n".to_owned());
    let cloud = Cloudcore::start(&["--config", config.to_str().expect("UTF-8")]);
    startled.join().expect("it was sent");
    assert!(cloud.sessions().is_empty());
}
