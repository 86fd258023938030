//! The certificate is renewed before it ends, and the tunnel moves over without a noticeable gap.

mod common;

use common::cloud::Cloud;
use common::device::{CA, CERTIFICATE, Device, Edge, KEY};
use common::sign::Ca;
use kubeedge::pki::certificate::Certificate;
use kubeedge::pki::hash::Sha256Hash;
use kubeedge::pki::key::PrivateKey;
use kubeedge::protocol::control::EdgeState;
use serde_json::Value;

/// Its name puts the renewal at 70 % of a certificate's life.
const EARLY: &str = "edge-2669";

fn joined(cloud: &mut Cloud) -> Device {
    let device = Device::new(EARLY);
    device.configure(cloud, &cloud.token());
    device
}

fn serial(event: &Value) -> &str {
    event["serial"].as_str().expect("a serial")
}

/// Key, certificate and CA in one file, and the copies of both.
fn identity_on_disk(device: &Device) -> (Sha256Hash, String) {
    let unit = device.read(KEY);
    let key = PrivateKey::from_pem(unit.as_bytes()).expect("a key");
    let certificate = Certificate::from_pem(unit.as_bytes()).expect("a certificate");
    assert_eq!(key.spki_hash(), certificate.spki_hash());
    assert_eq!(
        unit.matches("PRIVATE KEY-----\n").count(),
        2,
        "one key only"
    );
    assert_eq!(
        unit.matches("BEGIN CERTIFICATE").count(),
        2,
        "the CA behind it"
    );
    let copies = device.read(CERTIFICATE) + &device.read(CA);
    assert!(
        unit.ends_with(&copies),
        "the copies are what the unit holds"
    );
    let serial = certificate.serial().trim_start_matches('0').to_owned();
    (key.spki_hash(), serial)
}

/// Waits for the session with this certificate and returns how long there was none before it.
fn moved_over(cloud: &mut Cloud, edge: &Edge<'_>, serial: &str) -> f64 {
    let connected = cloud.event_where("connect", |event| event["serial"] == serial);
    edge.until("a session with the new certificate", |status| {
        let session = status.session.as_ref();
        session.is_some_and(|s| s.serial.trim_start_matches('0') == serial)
    });
    connected["gap"]
        .as_f64()
        .expect("seconds without a session")
}

#[test]
fn a_certificate_is_renewed_when_its_time_comes() {
    let mut cloud = Cloud::start(&["--cert-seconds", "12"]);
    let device = joined(&mut cloud);
    let edge = device.start();
    let status = edge.connected();
    let first = cloud.event("enroll");
    let (first_key, first_serial) = identity_on_disk(&device);
    assert_eq!(first_serial, serial(&first));
    let certificate = status.certificate.expect("facts of the certificate");
    let due = status.next_rotation.expect("when it is due");
    let life = certificate.not_after.since(certificate.not_before);
    let share = due.since(certificate.not_before).div_duration_f64(life);
    // The status has whole seconds, one of which is a twelfth of this certificate's life.
    assert!((0.6..=0.91).contains(&share), "{share}");

    let second = cloud.event("enroll");
    assert_eq!(second["how"], "certificate");
    let gap = moved_over(&mut cloud, &edge, serial(&second));
    assert!(gap < 1.0, "no session for {gap} s");
    let (second_key, second_serial) = identity_on_disk(&device);
    assert_eq!(second_serial, serial(&second));
    assert_ne!(first_key, second_key, "each renewal makes a new key");
    edge.stop();
    cloud.satisfied();
}

#[test]
fn renewals_on_order_leave_no_gap_at_a_cloud_that_kills_newcomers() {
    let mut cloud = Cloud::start(&["--kill-newcomer"]);
    let device = joined(&mut cloud);
    let edge = device.start();
    edge.connected();
    let mut keys = vec![identity_on_disk(&device).0];
    cloud.event("enroll");
    for _ in 0..5 {
        let reply = edge.order("renew");
        assert_eq!(reply.error, None);
        let renewed = cloud.event("enroll");
        let (key, on_disk) = identity_on_disk(&device);
        assert_eq!(on_disk, serial(&renewed));
        let said = reply.message.expect("a sentence");
        assert!(said.contains(&on_disk), "{said}");
        assert!(!keys.contains(&key));
        keys.push(key);
        let gap = moved_over(&mut cloud, &edge, serial(&renewed));
        assert!(gap < 1.0, "no session for {gap} s");
    }
    for end in cloud.unread("disconnect") {
        assert_ne!(end["reason"], "killed-newcomer", "{end}");
    }
    edge.stop();
    cloud.satisfied();
}

#[test]
fn a_refused_renewal_keeps_the_tunnel_and_is_tried_again() {
    let mut cloud = Cloud::start(&["--cert-seconds", "15"]);
    let device = joined(&mut cloud);
    let edge = device.start();
    edge.connected();
    cloud.event("enroll");
    cloud.order("answer 401");
    let before = identity_on_disk(&device);
    // Asked for, and refused.
    let refused = edge.order("renew").error.expect("a refusal");
    assert!(refused.contains("(401: "), "{refused}");
    // Due, and refused.
    let refused = |request: &Value| request["status"] == 401;
    cloud.event_where("request", refused);
    cloud.event_where("request", refused);
    let status = edge.complains("(401: ");
    assert_eq!(status.state, EdgeState::Connected);
    assert_eq!(status.session.expect("the old one").generation, 1);
    assert_eq!(identity_on_disk(&device), before);
    cloud.order("answer 200");
    let renewed = cloud.event("enroll");
    assert!(moved_over(&mut cloud, &edge, serial(&renewed)) < 1.0);
    assert_ne!(identity_on_disk(&device), before);
    edge.stop();
    cloud.satisfied();
}

#[test]
fn renewals_that_no_edge_may_take() {
    for (sabotage, part) in [
        ("cert-empty", "the answer is empty"),
        ("cert-other-key", "is for another key"),
        ("cert-other-node", "is for another node"),
        ("cert-other-ca", "is not by this cloud's CA"),
        ("cert-expired", "has ended already"),
    ] {
        let options = ["--sabotage", sabotage, "--sabotage-when", "rotate"];
        let mut cloud = Cloud::start(&options);
        let device = joined(&mut cloud);
        let edge = device.start();
        edge.connected();
        let before = identity_on_disk(&device);
        let refused = edge.order("renew").error.expect("a refusal");
        assert!(refused.contains(part), "{sabotage}: {refused}");
        assert_eq!(identity_on_disk(&device), before, "{sabotage}");
        let status = edge.status();
        assert_eq!(status.session.expect("the old one").generation, 1);
        edge.stop();
        cloud.satisfied();
    }
}

#[test]
fn what_ended_while_the_device_was_off_needs_a_token() {
    let mut cloud = Cloud::start(&[]);
    let device = Device::new(EARLY);
    device.configure(&cloud, "");
    let ca = Ca::of(cloud.path());
    let (key, certificate) = ca.node(EARLY, -86_400, -3600);
    device.write(KEY, &key.to_sec1_pem(), 0o600);
    device.write(CERTIFICATE, &certificate.to_pem(), 0o644);
    device.write(CA, &ca.certificate.to_pem(), 0o644);
    let edge = device.start();
    edge.until("the need for a token", |status| {
        let problem = status.last_error.as_ref();
        status.state == EdgeState::NeedsToken
            && problem.is_some_and(|p| p.message.contains("expired") && !p.retryable)
    });
    // A bad token is no way out, and no storm either.
    device.configure(&cloud, &ca.token(-60));
    edge.order("reload");
    edge.until("the refusal of an old token", |status| {
        let problem = status.last_error.as_ref();
        status.state == EdgeState::NeedsToken
            && problem.is_some_and(|p| p.message.contains("refuses the request"))
    });
    device.configure(&cloud, &cloud.token());
    edge.order("reload");
    edge.connected();
    let enrolled = cloud.event("enroll");
    assert_eq!(enrolled["how"], "token");
    assert_eq!(identity_on_disk(&device).1, serial(&enrolled));
    edge.stop();
    cloud.satisfied();
}

#[test]
fn a_device_that_shall_not_renew_does_so_only_on_order() {
    let mut cloud = Cloud::start(&[]);
    let mut device = joined(&mut cloud);
    device.hub_keys = vec!["rotateCertificates: false".to_owned()];
    device.configure(&cloud, &cloud.token());
    let edge = device.start();
    assert_eq!(edge.connected().next_rotation, None);
    assert_eq!(edge.order("renew").error, None);
    cloud.event_where("enroll", |event| event["how"] == "certificate");
    edge.stop();
    cloud.satisfied();
}
