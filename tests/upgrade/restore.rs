//! Backups: listed, pruned, and restored where nothing is left of the device.

use std::fs;

use crate::builds::{Manner, build};
use crate::common::device::{CERTIFICATE, CONFIG, Device, KEY};
use crate::common::site::Cloudcore;
use crate::common::{mode, put};
use crate::stage::{PROGRAM, device, install, is_installed, is_tidy, new, old, report};

#[test]
fn backups_are_listed_and_pruned() {
    let cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "careful");
    let edge = device.start();
    edge.connected();
    device.run(&["backup", "edge"]).ends(0);
    let said = report(&device);
    assert_eq!(
        (&said["event"], &said["success"]),
        (&"Backup".into(), &true.into())
    );
    assert_eq!(
        (&said["fromVersion"], &said["toVersion"]),
        (&"".into(), &"v0.1.0".into())
    );
    install(&device, &new());
    device.run(&["backup", "edge"]).ends(0);
    let versions = || -> Vec<String> {
        let listed = device
            .run(&["backup", "edge", "--list", "-o", "json"])
            .ends(0)
            .json();
        let backups = listed["backups"].as_array().cloned().expect("a list");
        backups
            .iter()
            .map(|it| it["version"].as_str().expect("a text").to_owned())
            .collect()
    };
    assert_eq!(versions(), ["v0.2.0", "v0.1.0"]);
    let said = device
        .run(&["backup", "edge", "--keep", "1", "-o", "json"])
        .ends(0);
    assert_eq!(said.json()["removed"][0], "v0.1.0");
    assert_eq!(versions(), ["v0.2.0"]);
    assert_eq!(mode(&device.path("/etc/kubeedge/backup/v0.2.0")), 0o700);
    let said = device
        .run(&["rollback", "edge", "--historical-version", "v0.1.0"])
        .ends(1);
    assert!(said.err.contains("there is no backup in"), "{}", said.err);
    edge.stop();
}

/// KubeEdge's own edgecore knows of no trial: nobody would bring back what it has replaced.
#[test]
fn a_program_that_would_end_no_trial_does_not_come_back() {
    let cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "faithful");
    let edge = device.start();
    let before = edge.connected();
    let folder = device.path("/etc/kubeedge/backup/v1.22.0");
    let config = device.read(CONFIG);
    put(
        &folder.join("edgecore.yaml"),
        format!("{config}# older\n"),
        0o644,
    );
    let refused = |program: &[u8], part: &str| {
        put(&folder.join("edgecore"), program, 0o755);
        let said = device.run(&["rollback", "edge"]).ends(1);
        assert!(said.err.contains(part), "{part}: {}", said.err);
        assert!(said.err.contains("backup edge --list"), "{}", said.err);
        assert!(is_installed(&device, &old()));
        assert_eq!(device.read(CONFIG), config);
        assert_eq!(report(&device)["success"], false);
        is_tidy(&device);
    };
    let other = fs::read(build("1.22.0", Manner::Other)).expect("a build");
    let bare = fs::read(build("0.2.0", Manner::Bare)).expect("a build");
    refused(b"#!/bin/sh\n", "no executable for this machine");
    refused(&other, "another program");
    refused(&bare, "it would not end its trial");
    let after = edge.connected();
    assert_eq!((after.hub_pid, after.pid), (before.hub_pid, before.pid));
    edge.stop();
    // At rest neither, since keadm is the same file.
    refused(&other, "another program");
}

#[test]
fn after_a_factory_reset_the_identity_is_the_same_when_asked_for() {
    let cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "reborn");
    let edge = device.start();
    edge.connected();
    device.run(&["backup", "edge"]).ends(0);
    edge.stop();
    let folder = device.path("/etc/kubeedge/backup/v0.1.0");
    let folder = folder.to_str().expect("UTF-8");
    // Another partition, with nothing on it.
    let mut fresh = Device::new("reborn");
    let words = [
        "rollback",
        "edge",
        "--from",
        folder,
        "--keep-identity",
        "--name",
        "x",
    ];
    fresh.run(&words).ends(0);
    for (path, bits) in [
        (KEY, 0o600),
        (CERTIFICATE, 0o644),
        (CONFIG, 0o640),
        (PROGRAM, 0o755),
    ] {
        assert_eq!(
            fs::read(fresh.path(path)).ok(),
            fs::read(device.path(path)).ok(),
            "{path}"
        );
        if path != CERTIFICATE {
            assert_eq!(mode(&fresh.path(path)), bits, "{path}");
        }
    }
    assert!(is_installed(&fresh, &old()));
    assert!(fresh.path("/usr/local/bin/edgecore").exists());
    fresh.program = Some(fresh.path(PROGRAM));
    let edge = fresh.start();
    edge.connected();
    edge.stop();
    // What was changed since is not restored, and nothing else of it either.
    let mut files = fs::read_dir(folder).expect("a folder").flatten();
    let name = |entry: &fs::DirEntry| {
        entry
            .file_name()
            .to_string_lossy()
            .starts_with("server.crt")
    };
    let certificate = files.find(name).expect("the certificate");
    fs::write(certificate.path(), "nonsense").expect("a damage");
    let empty = Device::new("reborn");
    let said = empty.run(&words).ends(1);
    assert!(said.err.contains("not as it was kept"), "{}", said.err);
    for path in [KEY, CERTIFICATE, CONFIG, PROGRAM] {
        assert!(!empty.path(path).exists(), "{path}");
    }
}

#[test]
fn an_identity_is_never_replaced_by_that_of_a_backup() {
    let cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "renewed");
    let edge = device.start();
    edge.connected();
    device.run(&["backup", "edge"]).ends(0);
    device.run(&["certs", "renew"]).ends(0);
    let config = device.read(CONFIG);
    device.write(CONFIG, &format!("{config}# later\n"), 0o640);
    let renewed = fs::read(device.path(KEY)).expect("the key");
    let words = ["rollback", "edge", "--keep-identity"];
    let said = device.run(&words).ends(1);
    assert!(said.err.contains("server.key is there"), "{}", said.err);
    assert_eq!(fs::read(device.path(KEY)).ok(), Some(renewed.clone()));
    // Nothing else was changed either, and without the flag all else goes back.
    assert!(device.read(CONFIG).ends_with("# later\n"));
    device.run(&["rollback", "edge"]).ends(0);
    assert_eq!(device.read(CONFIG), config);
    assert_eq!(fs::read(device.path(KEY)).ok(), Some(renewed.clone()));
    edge.connected();
    // Where it is missing below an edgecore that runs, nothing would prove it.
    device.run(&["backup", "edge"]).ends(0);
    fs::remove_file(device.path(KEY)).expect("it is there");
    let said = device.run(&words).ends(1);
    assert!(said.err.contains("edgecore runs"), "{}", said.err);
    assert!(!device.path(KEY).exists());
    edge.stop();
    // Nothing but the key is put in place, and nobody has proved it.
    let said = device.run(&[&words[..], &["-o", "json"]].concat()).ends(0);
    assert_eq!(said.json()["changed"], true);
    assert_eq!(said.json()["proven"], false);
    assert_eq!(fs::read(device.path(KEY)).ok(), Some(renewed));
}
