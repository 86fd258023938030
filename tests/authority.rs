//! Keys that shall not count any more, and a CA that makes way for another, with real executables.

mod common;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::device::{BOOTSTRAP, CONFIG, Device, KEY};
use common::script::python;
use common::site::{Cloudcore, Said, Site};
use common::{Folder, LIMIT, figures};
use kubeedge::protocol::control::{EdgeState, EdgeStatus};
use serde_json::Value;

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
    let said = lost.run(&["certs", "renew"]).ends(77);
    assert!(said.err.contains("403"), "{}", said.err);
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

/// `cloudcore ca status` as JSON.
fn ca(cloud: &Cloudcore) -> Value {
    cloud
        .run(&["cloudcore", "ca", "status", "--json"])
        .ends(0)
        .json()
}

#[test]
fn whoever_asks_after_the_ca_in_json_is_answered_in_json() {
    let site = Site::new();
    for words in [["--output", "json"].as_slice(), &["-o=json"], &["--json"]] {
        for command in ["status", "rotate"] {
            let said = site
                .run(&[&["cloudcore", "ca", command], words].concat())
                .ends(69);
            let told = said.json();
            assert_eq!(told["exitCode"], 69, "{told}");
            assert_eq!(
                told["error"],
                said.fault(&format!("cloudcore ca {command}"))
            );
        }
    }
    let said = site
        .run(&["cloudcore", "ca", "status", "--output", "yaml"])
        .ends(64);
    assert!(said.err.contains("text and json"), "{}", said.err);
    let cloud = Cloudcore::start(&[]);
    let said = cloud
        .run(&["cloudcore", "ca", "status", "--output", "json"])
        .ends(0);
    assert_eq!(said.json(), ca(&cloud));
}

/// Waits until as many devices are behind as this.
fn until_behind(cloud: &Cloudcore, count: u64) {
    let until = Instant::now() + LIMIT;
    loop {
        let report = ca(cloud);
        if report["behind_count"] == count {
            return;
        }
        assert!(Instant::now() < until, "{report}\n{}", cloud.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn step(cloud: &Cloudcore, step: &str) -> Said {
    cloud.run(&["cloudcore", "ca", "rotate", step])
}

/// The CAs in the unit of a device, as many certificates as are behind its own.
fn cas(device: &Device) -> usize {
    device.read(KEY).matches("BEGIN CERTIFICATE").count() - 1
}

#[test]
fn a_ca_is_replaced_while_devices_go_on() {
    let mut cloud = Cloudcore::start(LONG);
    let (online, offline) = (device(&cloud, "online"), device(&cloud, "offline"));
    let edge = online.start();
    edge.connected();
    offline.start().connected();
    let early = cloud.token();
    let before = ca(&cloud);
    let said = cloud
        .run(&["cloudcore", "ca", "rotate", "--dry-run"])
        .ends(0);
    assert!(
        said.out.starts_with("prepare would be done"),
        "{}",
        said.out
    );
    assert_eq!(ca(&cloud), before);
    let said = step(&cloud, "switch").ends(64);
    assert!(
        said.err.contains("before switch comes prepare"),
        "{}",
        said.err
    );

    step(&cloud, "prepare").ends(0);
    let again = step(&cloud, "prepare").ends(0);
    assert!(
        again.out.starts_with("prepare was done before"),
        "{}",
        again.out
    );
    let prepared = ca(&cloud);
    assert_eq!(
        (&prepared["phase"], &prepared["ca"]),
        (&"prepared".into(), &before["ca"])
    );
    let knows = |node: &str| {
        let report = ca(&cloud);
        let behind = report["behind"].as_array().unwrap().clone();
        behind
            .iter()
            .any(|it| it["node"] == node && it["trusts"] == true)
    };
    let until = Instant::now() + LIMIT;
    while !knows("online") {
        assert!(Instant::now() < until, "{}\n{}", ca(&cloud), edge.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(cas(&online), 2);

    // A power cut of the cloud changes nothing.
    cloud.kill();
    cloud.start_again(LONG);
    assert_eq!(ca(&cloud)["next"], prepared["next"]);
    edge.connected();

    step(&cloud, "switch").ends(0);
    until_behind(&cloud, 1);
    let next = prepared["next"].as_str().unwrap();
    let by_next = |status: &EdgeStatus| {
        let certificate = status.certificate.as_ref();
        status.state == EdgeState::Connected && certificate.is_some_and(|it| it.ca_hash == next)
    };
    edge.until("a certificate of the next CA", by_next);
    let said = cloud.run(&["cloudcore", "ca", "rotate", "finish"]);
    assert_eq!(said.code, 64, "{}{}", said.out, said.err);

    // One that was off all the time follows when it comes back; a token from before still works,
    // and what joins by it follows at once.
    let back = offline.start();
    back.connected();
    let late = Device::new("late");
    late.configure_for(&cloud, &early);
    let late_edge = late.start();
    late_edge.connected();
    until_behind(&cloud, 0);

    step(&cloud, "announce").ends(0);
    let new = Device::new("new");
    new.configure_for(&cloud, &cloud.token());
    let new_edge = new.start();
    new_edge.connected();
    assert_eq!(cas(&new), 1);
    // Our devices get the CA that their token pins, whatever is announced.
    let last = Device::new("last");
    last.configure_for(&cloud, &early);
    let last_edge = last.start();
    last_edge.connected();
    until_behind(&cloud, 0);

    step(&cloud, "finish").ends(0);
    let after = ca(&cloud);
    assert_eq!(
        (&after["ca"], &after["next"], &after["phase"]),
        (&prepared["next"], &Value::Null, &Value::Null)
    );
    let again = step(&cloud, "finish").ends(0);
    assert!(
        again.out.starts_with("No rotation is under way"),
        "{}",
        again.out
    );
    let devices = [&online, &offline, &late, &new, &last];
    let until = Instant::now() + LIMIT;
    while devices.iter().any(|device| cas(device) != 1) {
        assert!(Instant::now() < until, "{}", edge.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    for edge in [&edge, &back, &late_edge, &new_edge, &last_edge] {
        edge.until("a certificate of the next CA", by_next);
        assert_eq!(edge.order("renew").error, None);
    }
    cloud.kill();
    cloud.start_again(LONG);
    for edge in [&edge, &back, &late_edge, &new_edge, &last_edge] {
        edge.connected();
    }
    assert!(cloud.run(&["certs", "check"]).code == 0);
    figures::tried(
        "authority-rotation",
        "devices that followed a rotation of the CA without joining again",
        devices.len(),
    );
}

/// As people join: with what is looked at before, by a token of the moment and by one from before it all.
#[test]
fn a_join_does_in_every_phase_of_a_rotation() {
    let cloud = Cloudcore::start(LONG);
    let hub = format!("127.0.0.1:{}", cloud.hub);
    let early = cloud.keep("early", &cloud.token());
    let before = ca(&cloud)["ca"].clone();
    let mut sites = Vec::new();
    for phase in ["prepare", "switch", "announce", "finish"] {
        if ["announce", "finish"].contains(&phase) {
            until_behind(&cloud, 0);
        }
        step(&cloud, phase).ends(0);
        let fresh = cloud.token_file();
        for (token, name) in [(&fresh, "fresh"), (&early, "early")] {
            let (site, node) = (Site::new(), format!("{phase}-{name}"));
            let said = site.join(&hub, cloud.https, token, &node, &["--init", "none"]);
            // At the end nobody vouches any more for the CA that it names.
            if (phase, name) == ("finish", "early") {
                let fault = said.ends(77).fault("kubeedge join");
                assert!(fault.contains("CA"), "{fault}");
                assert!(!site.has(CONFIG));
                continue;
            }
            said.ends(0);
            site.connected();
            // The same words again: the device is of this cloud, whatever CA the token names.
            let again = site.join(&hub, cloud.https, token, &node, &["--init", "none"]);
            assert!(again.ends(0).out.contains("already"), "{node}");
            sites.push(site);
        }
    }
    let after = ca(&cloud)["ca"].clone();
    assert_ne!(after, before);
    let until = Instant::now() + LIMIT;
    let is_by_new = |site: &Site| {
        let facts = site.status().and_then(|status| status.certificate);
        facts.is_some_and(|it| after == it.ca_hash.as_str())
    };
    while !sites.iter().all(is_by_new) {
        assert!(Instant::now() < until, "{}", cloud.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    for site in &sites {
        site.run(&["certs", "renew"]).ends(0);
    }
    figures::tried(
        "authority-joins",
        "joins in every phase of a rotation of the CA, each followed by a renewal at its end",
        sites.len(),
    );
}

/// A peer in Python that behaves as KubeEdge's edge does, with what it has below its folder.
fn peer(cloud: &Cloudcore, folder: &Path, words: &[&str]) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/edge.py");
    let address = |port: u16| format!("127.0.0.1:{port}");
    let mut command = Command::new(python());
    command.arg(script).args(words).args(["--node", "peer"]);
    command.args(["--https", &address(cloud.https)]);
    command
        .args(["--hub", &address(cloud.hub), "--dir"])
        .arg(folder);
    command.arg("--token-file").arg(folder.join("token"));
    let ended = command.stdin(Stdio::null()).output();
    ended.expect("the peer starts: run tests/setup.sh first")
}

#[track_caller]
fn peer_does(cloud: &Cloudcore, folder: &Path, words: &[&str]) {
    let ended = peer(cloud, folder, words);
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{words:?}: {said}\n{}", cloud.log());
}

/// KubeEdge's edge knows the old CA alone: it goes on by the cross certificate, and is waited for.
#[test]
fn a_device_that_cannot_follow_goes_on_and_is_waited_for() {
    let cloud = Cloudcore::start(LONG);
    let (folder, again) = (Folder::new(), Folder::new());
    let tunnel = &["tunnel", "--hold", "0.2"];
    common::put(&folder.path().join("token"), cloud.token(), 0o600);
    peer_does(&cloud, folder.path(), &["join"]);
    step(&cloud, "prepare").ends(0);
    peer_does(&cloud, folder.path(), tunnel);
    step(&cloud, "switch").ends(0);
    peer_does(&cloud, folder.path(), tunnel);
    peer_does(&cloud, folder.path(), &["rotate", "--other-issuer"]);
    peer_does(&cloud, folder.path(), tunnel);
    step(&cloud, "announce").ends(0);
    peer_does(&cloud, folder.path(), tunnel);
    assert_eq!(cloud.run(&["certs", "check"]).code, 0);

    let refused = step(&cloud, "finish").ends(75);
    assert!(
        refused.err.contains("1 device did not follow yet (peer)"),
        "{}",
        refused.err
    );
    assert_eq!(ca(&cloud)["phase"], "announced");
    common::put(&again.path().join("token"), cloud.token(), 0o600);
    peer_does(&cloud, again.path(), &["join"]);
    peer_does(&cloud, again.path(), tunnel);
    step(&cloud, "finish").ends(0);
    peer_does(&cloud, again.path(), tunnel);
    assert!(!peer(&cloud, folder.path(), tunnel).status.success());
}

/// cloudcore was set up anew at the same address: the device says which CA it met, and stays what it
/// is; with the old CA back it connects, and with a token of the new one it moves.
#[test]
fn a_ca_that_changed_by_accident_changes_nothing_on_the_device() {
    let mut cloud = Cloudcore::start(LONG);
    let device = device(&cloud, "stays");
    let edge = device.start();
    edge.connected();
    let (key, old) = (
        device.read(KEY),
        ca(&cloud)["ca"].as_str().unwrap().to_owned(),
    );
    cloud.stop();
    let (files, aside) = (cloud.path("/etc/kubeedge/cloudcore"), cloud.path("/aside"));
    std::fs::rename(&files, &aside).unwrap();
    cloud.start_again(LONG);
    let new = ca(&cloud)["ca"].as_str().unwrap().to_owned();
    edge.order("reload");
    let status = edge.complains(&new);
    let problem = status.last_error.unwrap();
    assert!(
        problem.message.contains(&old) && !problem.retryable,
        "{problem:?}"
    );
    assert_eq!(device.read(KEY), key);

    cloud.stop();
    let other = cloud.path("/other");
    std::fs::rename(&files, &other).unwrap();
    std::fs::rename(&aside, &files).unwrap();
    cloud.start_again(LONG);
    edge.order("reload");
    edge.connected();
    assert_eq!(device.read(KEY), key);

    cloud.stop();
    std::fs::rename(&files, &aside).unwrap();
    std::fs::rename(&other, &files).unwrap();
    cloud.start_again(LONG);
    edge.order("reload");
    edge.complains(&new);
    device.write(BOOTSTRAP, &cloud.token(), 0o600);
    edge.order("reload");
    edge.connected();
    assert_ne!(device.read(KEY), key);
    figures::tried(
        "authority-accident",
        "clouds set up anew that a device met, said so, and stayed what it was until a person decided",
        2,
    );
}

/// Waits until the cloud knows of this node that it trusts the next CA.
fn until_it_trusts(cloud: &Cloudcore, node: &str) {
    common::wait_until("the word that it trusts the next CA", || {
        let report = ca(cloud);
        let behind = report["behind"].as_array().expect("a list");
        behind
            .iter()
            .any(|it| it["node"] == node && it["trusts"] == true)
    });
}

/// A device that may not renew trusts the next CA and is cut off by the end of the old one all the same:
/// the operator is told of it, and `--force` does to it and to one that was off what it says.
#[test]
fn who_has_not_followed_is_cut_off_by_force_and_comes_back_with_a_token() {
    let cloud = Cloudcore::start(LONG);
    let offline = device(&cloud, "offline");
    offline.start().connected();
    let [keeps, asked] = ["keeps", "asked"].map(|node| {
        let mut device = Device::new(node);
        device.hub_keys = vec!["rotateCertificates: false".to_owned()];
        device.configure_for(&cloud, &cloud.token());
        device
    });
    let (kept, renewing) = (keeps.start(), asked.start());
    kept.connected();
    renewing.connected();
    step(&cloud, "prepare").ends(0);
    for node in ["keeps", "asked"] {
        until_it_trusts(&cloud, node);
    }
    let status = || cloud.run(&["cloudcore", "ca", "status"]).ends(0).out;
    // Until the next CA signs, nobody can have followed.
    assert!(!status().contains("rotateCertificates"), "{}", status());
    step(&cloud, "switch").ends(0);
    assert!(
        status().contains("is renewing at this moment, or has rotateCertificates: false"),
        "{}",
        status()
    );
    assert_eq!(renewing.order("renew").error, None);
    until_behind(&cloud, 2);
    assert_eq!(cas(&keeps), 2);

    step(&cloud, "announce").ends(0);
    let refused = step(&cloud, "finish").ends(75);
    assert!(
        refused
            .err
            .contains("2 devices did not follow yet (keeps, offline)"),
        "{}",
        refused.err
    );
    let force = |more: &[&str]| {
        let words = ["cloudcore", "ca", "rotate", "finish", "--force"];
        cloud.run(&[&words[..], more].concat()).ends(0).out
    };
    let said = force(&["--dry-run"]);
    assert!(said.contains("that cuts off 2 devices"), "{said}");
    assert_eq!(ca(&cloud)["phase"], "announced");
    kept.connected();
    let said = force(&[]);
    assert!(said.starts_with("finish is done"), "{said}");
    assert_eq!(ca(&cloud)["phase"], Value::Null);

    // Its session was ended, and no other follows.
    kept.until("the refusal", |status| {
        status.state == EdgeState::NeedsToken
    });
    let back = offline.start();
    back.complains("has the CA");
    for (device, edge) in [(&keeps, &kept), (&offline, &back)] {
        device.write(BOOTSTRAP, &cloud.token(), 0o600);
        edge.connected();
        common::wait_until("the CA that is left", || cas(device) == 1);
    }
    renewing.connected();
}

/// While there are two CAs, a token of either is one of the device's own cloud, which goes on as it is.
#[test]
fn a_join_with_a_token_of_either_ca_finds_the_device_joined() {
    let cloud = Cloudcore::start(LONG);
    let early = cloud.token_file();
    let sites = [("follows", "true"), ("stays", "false")].map(|(node, rotates)| {
        let site = Site::new();
        let rotates = format!("modules.edgeHub.rotateCertificates={rotates}");
        join(&site, &cloud, node, &early, &["--set", &rotates]).ends(0);
        (site, node)
    });
    step(&cloud, "prepare").ends(0);
    for (_, node) in &sites {
        until_it_trusts(&cloud, node);
    }
    step(&cloud, "switch").ends(0);
    until_behind(&cloud, 1);
    step(&cloud, "announce").ends(0);
    let late = cloud.keep("late", &cloud.token());
    for (site, node) in &sites {
        let key = site.read(KEY);
        for token in [&early, &late] {
            let said = join(site, &cloud, node, token, &["-o", "json"])
                .ends(0)
                .json();
            assert_eq!(said["alreadyConnected"], true, "{node} {said}");
        }
        // The same when edgecore has to be started first; the token that was not needed goes.
        let pid = site.edgecore().expect("it runs");
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs");
        common::wait_until("its end", || site.edgecore().is_none());
        for token in [&early, &late] {
            join(site, &cloud, node, token, &[]).ends(0);
            common::wait_until("the end of the token", || !site.has(BOOTSTRAP));
            let pid = site.edgecore().expect("it runs");
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs");
            common::wait_until("its end", || site.edgecore().is_none());
        }
        assert_eq!(site.read(KEY), key, "{node} kept its identity");
    }
}

fn join(site: &Site, cloud: &Cloudcore, node: &str, token: &str, more: &[&str]) -> Said {
    let hub = format!("127.0.0.1:{}", cloud.hub);
    site.join(&hub, cloud.https, token, node, more)
}
