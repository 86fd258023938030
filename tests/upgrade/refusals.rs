//! What is not taken: nothing is changed then, and the edgecore that runs does not notice.

use std::fs;
use std::process::Command;

use ring::digest::{SHA256, digest};

use crate::builds::{Manner, build};
use crate::common::device::Device;
use crate::common::put;
use crate::common::site::Cloudcore;
use crate::stage::{device, install, is_installed, is_tidy, new, old, report, upgrade};

fn hex(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn what_is_no_executable_for_this_device_is_refused() {
    let cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "choosy");
    let edge = device.start();
    let before = edge.connected();
    let mut bytes = fs::read(new()).expect("a build");
    bytes[18] ^= 1;
    let foreign = device.path("/foreign");
    put(&foreign, &bytes, 0o755);
    let text = device.path("/text");
    put(&text, "#!/bin/sh\n", 0o755);
    let older = build("0.0.9", Manner::Works("127.0.0.9"));
    let other = build("0.2.0", Manner::Other);
    let bare = build("0.2.0", Manner::Bare);
    for (program, code, part) in [
        (&foreign, 1, "no executable for this machine"),
        (&text, 1, "no executable for this machine"),
        (&other, 1, "another program, which says \"busybox 1.2\""),
        (&bare, 1, "it would not end its trial"),
        (&device.path("/nothing"), 1, "cannot read"),
    ] {
        let said = upgrade(&device, program, &[]).ends(code);
        assert!(said.err.contains(part), "{part}: {}", said.err);
        assert_eq!(report(&device)["success"], false);
        is_tidy(&device);
    }
    // An older one is taken only by force; a question that nobody answers is a no.
    let from = older.to_str().expect("UTF-8");
    let words = ["upgrade", "edge", "--from", from, "-o", "json"];
    let said = device.run(&words).ends(1);
    assert!(said.err.contains("[y/N]"), "{}", said.err);
    let why = said.json()["error"].to_string();
    assert!(why.contains("nothing was changed: answer y"), "{why}");
    // What can't be is said before anybody is asked.
    let said = device.run(&["upgrade", "edge"]).ends(64);
    assert!(!said.err.contains("[y/N]"), "{}", said.err);
    let said = device
        .run(&["upgrade", "edge", "--upgradeID", "u", "--from", from])
        .ends(1);
    assert!(said.err.contains("older than v0.1.0"), "{}", said.err);
    let said = upgrade(&device, &new(), &["--toVersion", "v0.3.0"]).ends(1);
    assert!(
        said.err.contains("is v0.2.0 and not v0.3.0"),
        "{}",
        said.err
    );
    for (words, part) in [
        (
            &["upgrade", "edge", "--force"][..],
            "where is the new executable?",
        ),
        (
            &["upgrade", "edge", "--force", "--from", "http://a/b"],
            "only https://",
        ),
        (
            &["upgrade", "edge", "--force", "--from", "x", "--digest", "y"],
            "is no digest",
        ),
    ] {
        let said = device.run(words).ends(64);
        assert!(said.err.contains(part), "{}", said.err);
    }
    assert!(is_installed(&device, &old()));
    let after = edge.connected();
    assert_eq!((after.hub_pid, after.pid), (before.hub_pid, before.pid));
    edge.stop();
}

/// The session is the same one all the time, whatever was probed beside it.
#[test]
fn a_probe_disturbs_nothing_and_tells_what_keeps_a_device_out() {
    let mut cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "probed");
    let edge = device.start();
    let before = edge.connected().session.expect("a session");
    for _ in 0..3 {
        let said = device.run(&["edgecore", "--probe"]).ends(0);
        assert!(said.out.contains("lets this device in"), "{}", said.out);
    }
    let after = edge.connected().session.expect("a session");
    assert_eq!(after.since, before.since);
    assert_eq!(cloud.sessions().len(), 1);
    cloud.kill();
    device.run(&["edgecore", "--probe"]).ends(69);
    let said = upgrade(&device, &new(), &[]).ends(69);
    assert!(
        said.err.contains("does not reach the cloud"),
        "{}",
        said.err
    );
    assert!(is_installed(&device, &old()));
    is_tidy(&device);
    edge.stop();
    let bare = Device::new("bare");
    bare.run(&["edgecore", "--probe"]).ends(78);
}

#[test]
fn digests_and_signatures_are_checked() {
    let cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "strict");
    let bytes = fs::read(new()).expect("a build");
    let program = device.path("/release/kubeedge-test");
    put(&program, &bytes, 0o644);
    let (good, bad) = (hex(&bytes), hex(b"other"));
    let list = device.path("/release/SHA256SUMS");
    let refused = |part: &str, more: &[&str]| {
        let said = upgrade(&device, &program, more).ends(77);
        assert!(said.err.contains(part), "{part}: {}", said.err);
        assert!(is_installed(&device, &old()));
        is_tidy(&device);
    };
    refused("the digest is", &["--digest", &format!("sha256:{bad}")]);
    put(&list, format!("{bad}  kubeedge-test\n"), 0o644);
    refused("the digest is", &[]);
    put(&list, format!("{good}  kubeedge\n"), 0o644);
    refused("does not name kubeedge-test", &[]);
    put(&list, format!("{good}  kubeedge-test\n"), 0o644);
    // With a key on the device, a signature is asked for besides.
    let seal = crate::stage::Seal::new();
    put(
        &device.path("/etc/kubeedge/upgrade.pub"),
        seal.public(),
        0o644,
    );
    refused("asks for a signature", &[]);
    let signature = device.path("/release/kubeedge-test.minisig");
    put(&signature, seal.sign(b"other"), 0o644);
    refused("the file is not what was signed", &[]);
    put(&signature, "nonsense", 0o644);
    refused("no signature of minisign", &[]);
    put(&signature, seal.sign(&bytes), 0o644);
    // Nothing runs, so nobody could be asked, and the trial waits.
    upgrade(&device, &program, &["--no-probe"]).ends(0);
    assert!(is_installed(&device, &new()));
    install(&device, &old());
}

#[test]
fn one_change_at_a_time() {
    let cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "busy");
    let edge = device.start();
    edge.connected();
    device.run(&["backup", "edge"]).ends(0);
    let before = report(&device);
    let record = device.path("/etc/kubeedge/idempotency_record");
    let mut holder = Command::new("flock")
        .arg(&record)
        .args(["sh", "-c", "echo held; read line"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("flock");
    let mut line = String::new();
    let mut told = std::io::BufReader::new(holder.stdout.take().expect("a pipe"));
    std::io::BufRead::read_line(&mut told, &mut line).expect("a line");
    // The note in the file is of whoever had it last, so its number says nothing here.
    put_note(&record, holder.id());
    for words in [
        &["upgrade", "edge", "--force", "--from", "x"][..],
        &["backup", "edge"],
        &["rollback", "edge"],
        &["config-update", "--set", "modules.edgeHub.heartbeat=20"],
    ] {
        let said = device.run(words).ends(75);
        let pid = holder.id().to_string();
        assert!(said.err.contains(&pid), "{}", said.err);
        assert_eq!(report(&device), before);
    }
    drop(holder.stdin.take());
    holder.wait().expect("it ends");
    device.run(&["backup", "edge"]).ends(0);
    edge.stop();
}

fn put_note(record: &std::path::Path, pid: u32) {
    fs::write(record, format!("{pid}\n")).expect("the note");
}
