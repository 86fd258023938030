//! Backups: listed, pruned, and restored where nothing is left of the device.

use std::fs;

use crate::common::device::{CERTIFICATE, CONFIG, Device, KEY};
use crate::common::mode;
use crate::common::site::Cloudcore;
use crate::stage::{PROGRAM, device, install, is_installed, new, old, report};

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
    // What was changed since is not restored.
    let mut key = fs::read_dir(folder).expect("a folder").flatten();
    let name = |entry: &fs::DirEntry| {
        entry
            .file_name()
            .to_string_lossy()
            .starts_with("server.key")
    };
    let key = key.find(name).expect("the key");
    fs::write(key.path(), "nonsense").expect("a damage");
    let said = fresh.run(&words).ends(1);
    assert!(said.err.contains("not as it was kept"), "{}", said.err);
}
