//! Upgrades that are carried out: to a build that works, and to those that do not.

use std::fs;

use kubeedge::system::host::Host;
use kubeedge::system::root::Root;
use kubeedge::trial::{Event, Trial, successor};
use nix::sys::signal::Signal;

use crate::builds::{Manner, build};
use crate::common::site::Cloudcore;
use crate::common::{figures, put, wait_until};
use crate::stage::{
    MARKER, NEW, OLD, PROGRAM, address, address_at, device, is_installed, is_tidy, new, old,
    report, upgrade,
};

#[test]
fn a_newer_build_takes_over_in_the_same_process() {
    let cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "risen");
    let edge = device.start();
    edge.connected();
    assert_eq!(address(&edge), OLD);
    wait_until("the node with its address", || {
        address_at(&cloud, "risen") == OLD
    });
    let said = upgrade(&device, &new(), &["-o", "json"]).ends(0);
    let done = said.json();
    assert_eq!(
        (&done["from"], &done["to"]),
        (&"v0.1.0".into(), &"v0.2.0".into())
    );
    assert_eq!(
        (&done["changed"], &done["proven"]),
        (&true.into(), &true.into())
    );
    assert!(said.err.contains("lets this device in"), "{}", said.err);
    // The process that the init system knows, which runs another executable now.
    edge.connected();
    assert_eq!(address(&edge), NEW);
    assert!(is_installed(&device, &new()));
    is_tidy(&device);
    let report = report(&device);
    assert_eq!(report["event"], "Upgrade");
    assert_eq!(report["success"], true);
    assert_eq!(
        (&report["fromVersion"], &report["toVersion"]),
        (&done["from"], &done["to"])
    );
    assert!(report.get("errorMessage").is_none());
    // What the cloud sees of it, and what there is to go back to.
    wait_until("the node with its new address", || {
        address_at(&cloud, "risen") == NEW
    });
    assert!(
        device
            .path("/etc/kubeedge/backup/v0.1.0/manifest.json")
            .exists()
    );
    let link = fs::canonicalize(device.path("/usr/local/bin/keadm")).expect("a link");
    assert_eq!(link, device.path(PROGRAM).canonicalize().expect("a file"));
    // Once more is nothing.
    let said = upgrade(&device, &new(), &["-o", "json"]).ends(0);
    assert_eq!(said.json()["changed"], false);
    // And back, which needs no force for a backup.
    device.run(&["rollback", "edge"]).ends(0);
    edge.connected();
    assert_eq!(address(&edge), OLD);
    assert!(is_installed(&device, &old()));
    is_tidy(&device);
    edge.stop();
}

#[test]
fn a_build_that_never_connects_is_taken_back_once() {
    let cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "deaf");
    let edge = device.start();
    edge.connected();
    let deaf = build("0.2.0", Manner::Deaf);
    let said = upgrade(&device, &deaf, &["--timeout", "1"]).ends(69);
    assert!(
        said.err.contains("no session with the cloud in 3 starts"),
        "{}",
        said.err
    );
    edge.connected();
    assert_eq!(address(&edge), OLD);
    assert!(is_installed(&device, &old()));
    is_tidy(&device);
    let report = report(&device);
    assert_eq!(
        (&report["event"], &report["success"]),
        (&"Upgrade".into(), &false.into())
    );
    assert_eq!(report["toVersion"], "v0.2.0");
    let why = report["errorMessage"].as_str().expect("a reason");
    assert!(why.contains("3 starts of at most 1 s"), "{why}");
    let log = edge.log();
    let count = |part: &str| log.matches(part).count();
    assert_eq!(count("without a session"), 3, "{log}");
    assert_eq!(count("what was before is brought back"), 1, "{log}");
    edge.stop();
}

#[test]
fn a_build_whose_work_ends_after_five_seconds_is_taken_back() {
    let cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "frail");
    let edge = device.start();
    edge.connected();
    let frail = build("0.2.0", Manner::Frail);
    upgrade(&device, &frail, &[]).ends(69);
    edge.connected();
    assert!(is_installed(&device, &old()));
    assert_eq!(address(&edge), OLD);
    is_tidy(&device);
    edge.stop();
}

#[test]
fn what_the_system_does_not_start_is_taken_back_at_once() {
    let cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "unstartable");
    let edge = device.start();
    let before = edge.connected();
    let target = device.path(PROGRAM);
    put(&successor(&target), "not to be executed", 0o644);
    let host = Host::real(Root::new(Some(device.path("/"))));
    let versions = ("v0.1.0", "v0.2.0");
    let trial = Trial::plan(&host, Event::Upgrade, versions, &[(&target, true)]);
    trial.and_then(|trial| trial.begin(&host)).expect("a trial");
    edge.signal(Signal::SIGHUP);
    wait_until("the end of the trial", || !device.path(MARKER).exists());
    let report = report(&device);
    assert_eq!(report["success"], false);
    let why = report["errorMessage"].as_str().expect("a reason");
    assert!(why.contains("does not start"), "{why}");
    assert!(is_installed(&device, &old()));
    let after = edge.connected();
    assert_eq!(before.pid, after.pid);
    assert_eq!(address(&edge), OLD);
    is_tidy(&device);
    edge.stop();
}

#[test]
fn without_an_edgecore_the_trial_begins_with_its_next_start() {
    let cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "asleep");
    let edge = device.start();
    edge.connected();
    edge.stop();
    // The service is there; who has stopped it knows why.
    device.write("/run/kubeedge/edgecore.pid", "0\n", 0o644);
    let said = upgrade(&device, &new(), &["-o", "json"]).ends(0);
    assert_eq!(said.json()["proven"], false);
    assert_eq!(device.read("/run/kubeedge/edgecore.pid"), "0\n");
    let edge = device.start();
    edge.connected();
    assert_eq!(address(&edge), NEW);
    wait_until("the end of the trial", || {
        !device.path(crate::stage::MARKER).exists()
    });
    assert_eq!(report(&device)["success"], true);
    is_tidy(&device);
    edge.stop();
    figures::tried(
        "upgrade-asleep",
        "upgrade of a device at rest, proved by its next start",
        1,
    );
}
