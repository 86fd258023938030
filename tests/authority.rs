//! Keys that shall not count any more, and a CA that makes way for another, with real executables.

mod common;

use common::device::{BOOTSTRAP, CONFIG, Device, KEY};
use common::figures;
use common::site::Cloudcore;
use kubeedge::protocol::control::EdgeState;

/// Longer than a test: nothing renews by itself.
const LONG: &[&str] = &["--edge-cert-lifetime", "720h"];

fn device(cloud: &Cloudcore, node: &str) -> Device {
    let device = Device::new(node);
    device.configure_for(cloud, &cloud.token());
    device
}

#[test]
fn a_revoked_device_is_out_says_so_and_comes_back_with_a_token() {
    let mut cloud = Cloudcore::start(LONG);
    let (lost, other) = (device(&cloud, "lost"), device(&cloud, "other"));
    let (edge, bystander) = (lost.start(), other.start());
    edge.connected();
    let session = bystander.connected().session.unwrap().since;
    let key = lost.read(KEY);

    let said = cloud.run(&["certs", "revoke", "lost"]).ends(0);
    assert!(said.out.contains("its session was ended"), "{}", said.out);
    let status = edge.until("the refusal", |status| {
        status.state == EdgeState::NeedsToken
    });
    let problem = status.last_error.unwrap();
    assert!(
        problem
            .message
            .contains("keys of this node were revoked at"),
        "{problem:?}"
    );
    assert!(!problem.retryable);
    let refused = edge
        .order("renew")
        .error
        .expect("a revoked device gets no certificate");
    assert!(refused.contains("403"), "{refused}");
    // Nothing is lost of what is on the device, and the other one has noticed nothing.
    assert_eq!(lost.read(KEY), key);
    assert_eq!(bystander.connected().session.unwrap().since, session);
    assert!(cloud.log().contains("the keys of node lost are revoked"));
    let json = cloud
        .run(&["certs", "revoke", "--list", "-o", "json"])
        .ends(0)
        .json();
    assert_eq!(json["revocations"][0]["node"], "lost");
    assert_eq!(json["revocations"][0]["enrolledSince"], false);

    // A power cut changes nothing, on either side.
    drop(edge);
    cloud.kill();
    cloud.start_again(LONG);
    let edge = lost.start();
    edge.until("the refusal", |status| {
        status.state == EdgeState::NeedsToken
    });

    // The token is found without a restart.
    lost.write(BOOTSTRAP, &cloud.token(), 0o600);
    edge.connected();
    assert_ne!(lost.read(KEY), key);
    assert!(!lost.path(BOOTSTRAP).exists());
    let said = cloud.run(&["certs", "revoke", "--list"]).ends(0);
    assert!(
        said.out.contains("joined again with a token"),
        "{}",
        said.out
    );

    // The copy of the disk that a thief made before is of no use.
    let thief = Device::new("lost");
    thief.write(CONFIG, &lost.read(CONFIG), 0o640);
    thief.write(KEY, &key, 0o600);
    thief
        .start()
        .complains("another key holds the name of this node");
    edge.connected();
}

#[test]
fn without_a_cloudcore_the_files_are_worked_on() {
    let mut cloud = Cloudcore::start(LONG);
    let lost = device(&cloud, "lost");
    lost.start().connected();
    cloud.stop();
    let said = cloud
        .run(&["certs", "revoke", "lost", "unknown", "-o", "json"])
        .ends(0);
    let revoked = &said.json()["revoked"];
    assert_eq!(
        (&revoked[0]["known"], &revoked[1]["known"]),
        (&true.into(), &false.into())
    );
    let again = cloud.run(&["certs", "revoke", "lost"]).ends(0);
    assert!(again.out.contains("got no key since"), "{}", again.out);
    let listed =
        std::fs::read_to_string(cloud.path("/etc/kubeedge/cloudcore/revocations")).unwrap();
    assert_eq!(
        listed.lines().filter(|line| !line.starts_with('#')).count(),
        2
    );
    cloud.start_again(LONG);
    lost.start().complains("were revoked at");

    for (words, code) in [
        (&["certs", "revoke"][..], 64),
        (&["certs", "revoke", "--list", "lost"], 64),
        (&["certs", "revoke", "No Name"], 64),
    ] {
        cloud.run(words).ends(code);
    }
    let nowhere = common::site::Site::new();
    let said = nowhere.run(&["certs", "revoke", "lost"]).ends(69);
    assert!(
        said.fault("kubeedge certs revoke")
            .contains("no cloudcore has run")
    );
    assert_eq!(nowhere.files(), []);
}

/// A power cut between the cloud's signing and the device's disk leaves the key that the cloud has
/// replaced: with it the device connects and renews; and a token that was used up by it is kept.
#[test]
fn what_the_cloud_signed_and_the_device_never_got_locks_nobody_out() {
    let mut rounds = 0;
    let cloud = Cloudcore::start(LONG);
    let device = device(&cloud, "cut");
    let edge = device.start();
    edge.connected();
    for _ in 0..3 {
        let before = device.read(KEY);
        assert_eq!(edge.order("renew").error, None);
        let serial = edge.until("the move", |status| {
            let certificate = status.certificate.as_ref().map(|it| it.serial.clone());
            status.session.as_ref().map(|it| it.serial.clone()) == certificate
        });
        assert_ne!(device.read(KEY), before);
        drop(serial);
        rounds += 1;
    }
    drop(edge);

    // Renewed, and gone before it was on disk.
    let old = device.read(KEY);
    let copy = Device::new("cut");
    copy.write(CONFIG, &device.read(CONFIG), 0o640);
    copy.write(KEY, &old, 0o600);
    // The hub is away from it, so that the new key never shows itself.
    let yaml = copy
        .read(CONFIG)
        .replace(&format!(":{}\"", cloud.hub), ":9\"");
    copy.write(CONFIG, &yaml, 0o640);
    let away = copy.start();
    away.complains("");
    assert_eq!(away.order("renew").error, None);
    drop(away);
    let edge = device.start();
    edge.connected();
    assert_eq!(edge.order("renew").error, None);
    drop(edge);
    rounds += 1;

    // The same with a token: signed for it, lost, and the old key is refused from then on.
    let copy = Device::new("cut");
    copy.configure_for(&cloud, &cloud.token());
    copy.start().connected();
    device.write(BOOTSTRAP, &cloud.token(), 0o600);
    device.start().connected();
    rounds += 1;
    figures::tried(
        "authority-lost-answers",
        "certificates that were signed and never arrived, each followed by a session",
        rounds,
    );
}
