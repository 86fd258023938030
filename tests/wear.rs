//! Flash wear, seen from outside: a device at rest writes nothing, and an enrolment or a renewal no file it need not.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::cloud::Cloud;
use common::device::{Device, Edge};
use common::figures;
use serde_json::Value;

/// Bytes that the processes of edgecore have caused to be written to a disk, logs included.
fn written(edge: &Edge<'_>) -> u64 {
    let pids = [Some(edge.pid()), edge.status().hub_pid];
    let of = |pid: u32| {
        let io = fs::read_to_string(format!("/proc/{pid}/io")).expect("edgecore runs");
        let line = io
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes: "));
        let bytes: u64 = line.expect("what it wrote").parse().expect("a number");
        bytes
    };
    pids.into_iter().flatten().map(of).sum()
}

/// Every file and folder with what changes whenever it is written, renamed or given another mode.
fn changes(folder: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let metadata = entry.metadata().expect("an entry");
            let stamp = (metadata.ino(), metadata.ctime(), metadata.ctime_nsec());
            found.insert(entry.path(), stamp);
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found
}

/// Waits until so many reports have come back as pushed Nodes and were acknowledged.
fn reported(cloud: &mut Cloud, times: usize) {
    for _ in 0..times {
        let is_ack = |event: &Value| {
            event["resource"] == "null/node/at-rest" && event["content"] == "\"OK\""
        };
        cloud.event_where("message", is_ack);
    }
}

#[test]
fn a_connected_device_writes_nothing() {
    let mut cloud = Cloud::start(&[]);
    let mut device = Device::new("at-rest");
    device.hub_keys = vec!["heartbeat: 1".to_owned()];
    device.edged_keys = vec![
        "tailoredKubeletConfig:".to_owned(),
        "  nodeStatusUpdateFrequency: 1s".to_owned(),
        "  nodeStatusReportFrequency: 1s".to_owned(),
    ];
    device.configure(&cloud, &cloud.token());
    let edge = device.start();
    edge.connected();
    // What belongs to the beginning is over with the first of them.
    reported(&mut cloud, 2);
    let before = (written(&edge), changes(&device.path("/")));
    let reports = 3;
    let heartbeats = cloud.unread("keepalive").len() + reports;
    reported(&mut cloud, reports);
    for _ in 0..heartbeats {
        cloud.event("keepalive");
    }
    let after = (written(&edge), changes(&device.path("/")));
    assert_eq!(after.1, before.1);
    assert_eq!(after.0 - before.0, 0, "bytes were written: {}", edge.log());
    figures::tried(
        "wear-at-rest",
        "bytes written by a connected device, over three heartbeats and three reports of the node",
        0,
    );
    edge.stop();
    // What is stored says the same under an older version, and that is no reason either.
    let node = device.path("/var/lib/kubeedge/edgecore/meta/node/null/at-rest.json");
    let before = changes(&device.path("/"))[&node];
    let edge = device.start();
    reported(&mut cloud, 2);
    assert_eq!(changes(&device.path("/"))[&node], before);
    edge.stop();
    cloud.satisfied();
}
