//! An edge gets its identity: with good tokens and bad ones, from good clouds and bad ones.

mod common;

use std::fs;

use common::cloud::Cloud;
use common::device::{BOOTSTRAP, CA, CERTIFICATE, CONFIG, Device, Edge, KEY};
use common::sign::Ca;
use common::{files_below, mode};
use kubeedge::pki::certificate::Certificate;
use kubeedge::pki::key::PrivateKey;
use kubeedge::protocol::control::{EDGE_STATUS_SOCKET, EdgeState};
use nix::sys::signal::Signal;

/// The three files are whole, belong together and have their modes.
fn assert_identity(device: &Device, serial: &str) {
    let key_file = device.read(KEY);
    let key = PrivateKey::from_pem(key_file.as_bytes()).expect("a key");
    let inside = Certificate::from_pem(key_file.as_bytes()).expect("the certificate behind it");
    let copy = Certificate::from_pem(device.read(CERTIFICATE).as_bytes()).expect("a copy");
    let ca = Certificate::from_pem(device.read(CA).as_bytes()).expect("a CA");
    assert_eq!(key.spki_hash(), inside.spki_hash());
    assert_eq!(inside.der(), copy.der());
    assert!(ca.is_ca());
    assert_eq!(plain(&inside.serial()), plain(serial));
    for (path, wanted) in [(KEY, 0o600), (CERTIFICATE, 0o644), (CA, 0o644)] {
        assert_eq!(mode(&device.path(path)), wanted, "{path}");
        let folder = device.path(path);
        let folder = folder.parent().expect("a folder");
        assert_eq!(mode(folder), 0o700, "{}", folder.display());
    }
}

/// No file of an identity is there, complete or half.
fn assert_no_identity(device: &Device) {
    for folder in ["/etc/kubeedge/certs", "/etc/kubeedge/ca"] {
        assert_eq!(files_below(&device.path(folder)), [], "{folder}");
    }
}

/// A serial without leading zeros.
fn plain(serial: &str) -> &str {
    serial.trim_start_matches('0')
}

fn serial(event: &serde_json::Value) -> &str {
    event["serial"].as_str().expect("a serial")
}

fn assert_keeps_token(device: &Device, token: &str) {
    assert!(device.read(CONFIG).contains(token), "the token was erased");
}

fn needs_token(edge: &Edge<'_>, part: &str) {
    let status = edge.until(&format!("a state that needs a token, with {part:?}"), |s| {
        let problem = s.last_error.as_ref();
        s.state == EdgeState::NeedsToken && problem.is_some_and(|p| p.message.contains(part))
    });
    let problem = status.last_error.expect("it was just seen");
    assert!(!problem.retryable, "{}", problem.message);
}

#[test]
fn a_token_in_the_configuration_under_umask_000() {
    let mut cloud = Cloud::start(&["--empty-dns-name"]);
    let device = Device::new("edge-1");
    let token = cloud.token();
    device.configure(&cloud, &token);
    let edge = device.start_with_umask("000");
    let status = edge.connected();
    let enrolled = cloud.event("enroll");
    assert_eq!(enrolled["how"], "token");
    assert_identity(&device, serial(&enrolled));
    let certificate = status.certificate.expect("facts of the certificate");
    assert_eq!(plain(&certificate.serial), serial(&enrolled));
    assert_eq!(status.node, "edge-1");
    assert_eq!(status.cloud, format!("{}:{}", cloud.host, cloud.hub));
    assert_eq!(status.pid, edge.pid());

    // Only the token is gone from the file, every comment and every unknown key is there.
    assert_eq!(device.read(CONFIG), device.yaml(&cloud, ""));
    assert_eq!(mode(&device.path(CONFIG)), 0o640);
    assert!(!edge.log().contains(&token), "the token is in the log");
    assert_eq!(
        mode(&device.path("/run/kubeedge/edgecore-status.sock")),
        0o666
    );
    assert_eq!(mode(&device.path("/run/kubeedge/edgecore.sock")), 0o600);

    edge.stop();
    let gone = cloud.event("disconnect");
    assert_eq!(gone["reason"], "close 1000", "it says goodbye");
    cloud.satisfied();
}

#[test]
fn a_token_in_the_bootstrap_file_under_umask_077() {
    let mut cloud = Cloud::start(&[]);
    let device = Device::new("edge-2.example");
    // The bootstrap file wins; both tokens are gone afterwards.
    device.configure(&cloud, "an.old.token.here");
    device.write(BOOTSTRAP, &format!("{}\n", cloud.token()), 0o600);
    let edge = device.start_with_umask("077");
    edge.connected();
    let enrolled = cloud.event("enroll");
    assert_identity(&device, serial(&enrolled));
    assert!(!device.path(BOOTSTRAP).exists());
    assert_eq!(device.read(CONFIG), device.yaml(&cloud, ""));
    edge.stop();

    // The identity serves again, without a token and without a request to the certificate port.
    let edge = device.start();
    edge.connected();
    assert_eq!(
        cloud.event_where("connect", |c| c["generation"] == 2)["serial"],
        enrolled["serial"]
    );
    assert!(cloud.unread("enroll").is_empty());
    edge.stop();
    cloud.satisfied();
}

#[test]
fn refused_tokens_are_named_and_a_good_one_is_picked_up_without_a_restart() {
    let mut cloud = Cloud::start(&[]);
    let device = Device::new("edge-1");
    let ca = Ca::of(cloud.path());
    let good = cloud.token();
    let (_, jwt) = good.split_once('.').expect("a dot");
    let other_hash = format!("{}.{jwt}", "0".repeat(64));
    let unsigned = format!("{}AAAAAAAA", &good[..good.len() - 8]);
    let faults = [
        ("abc.def", "the token has 2 parts instead of 4"),
        (other_hash.as_str(), "this token pins 0000"),
        (&ca.token(-60), "token is expired"),
        (&unsigned, "signature is invalid"),
    ];
    device.configure(&cloud, "");
    let edge = device.start();
    needs_token(&edge, "no certificate yet");
    for (round, (token, part)) in faults.into_iter().enumerate() {
        device.configure(&cloud, token);
        if round % 2 == 0 {
            edge.signal(Signal::SIGHUP);
        } else {
            assert_eq!(edge.order("reload").error, None);
        }
        needs_token(&edge, part);
        assert_no_identity(&device);
        assert_keeps_token(&device, token);
        assert!(!edge.log().contains(token), "a token is in the log");
    }
    assert!(
        edge.order("renew").error.is_some(),
        "there is nothing to renew"
    );
    assert!(cloud.unread("enroll").is_empty());

    // Nobody calls: it looks by itself.
    device.write(BOOTSTRAP, &good, 0o600);
    edge.connected();
    assert_identity(&device, serial(&cloud.event("enroll")));
    edge.stop();
    cloud.satisfied();
}

#[test]
fn an_old_cloud_says_400_and_an_empty_200() {
    let mut cloud = Cloud::start(&["--v113"]);
    let device = Device::new("edge-1");
    let token = cloud.token();
    let unsigned = format!("{token}xx");
    device.configure(&cloud, &unsigned);
    let edge = device.start();
    needs_token(&edge, "(400: ");
    assert_no_identity(&device);
    assert_keeps_token(&device, &unsigned);
    device.configure(&cloud, &token);
    edge.order("reload");
    edge.connected();
    assert_identity(&device, serial(&cloud.event("enroll")));
    edge.stop();
    cloud.satisfied();
}

/// Starts an edge at a cloud that it must not believe: nothing is written, the token is kept.
fn disbelieves(sabotage: &str, part: &str) {
    let cloud = Cloud::start(&["--sabotage", sabotage]);
    let device = Device::new("edge-1");
    let token = cloud.token();
    device.configure(&cloud, &token);
    let edge = device.start();
    let status = edge.complains(part);
    assert_ne!(status.state, EdgeState::Connected, "{sabotage}");
    assert_eq!(status.certificate, None, "{sabotage}");
    assert_no_identity(&device);
    assert_keeps_token(&device, &token);
    edge.stop();
    cloud.satisfied();
}

#[test]
fn certificates_that_are_none() {
    disbelieves("cert-empty", "the answer is empty");
    disbelieves("cert-garbage", "no usable certificate");
    disbelieves("cert-pem", "no usable certificate");
}

#[test]
fn certificates_for_others() {
    disbelieves("cert-other-key", "is for another key");
    disbelieves("cert-other-node", "is for another node");
    disbelieves("cert-other-ca", "is not by this cloud's CA");
}

#[test]
fn certificates_that_are_of_no_use() {
    disbelieves("cert-no-client-auth", "is not for clients");
    disbelieves("cert-ca", "is a CA's");
    disbelieves("cert-expired", "has ended already");
}

#[test]
fn clouds_that_are_others() {
    disbelieves("ca-other", "but this token pins");
    disbelieves(
        "serving-other-ca",
        "no secure connection to the certificate API",
    );
    disbelieves("serving-no-address", "is valid for 192.0.2.1");
    disbelieves("serving-expired", "expired");
}

#[test]
fn a_cloud_that_comes_up_later_on_ipv6() {
    let mut cloud = Cloud::start(&["--bind", "::1"]);
    cloud.order("down");
    let device = Device::new("edge-1");
    let token = cloud.token();
    device.configure(&cloud, &token);
    let edge = device.start();
    let status = edge.complains(&format!("[::1]:{}", cloud.https));
    assert_eq!(status.state, EdgeState::Enrolling);
    assert!(status.last_error.expect("a problem").retryable);
    assert_keeps_token(&device, &token);
    cloud.order("up");
    let status = edge.connected();
    assert_eq!(status.cloud, format!("[::1]:{}", cloud.hub));
    assert_eq!(status.last_error, None, "what was is over");
    edge.stop();
    cloud.satisfied();
}

#[test]
fn an_identity_that_go_made_and_repaired_copies() {
    let mut cloud = Cloud::start(&[]);
    let device = Device::new("edge-1");
    device.configure(&cloud, "");
    let ca = Ca::of(cloud.path());
    let (key, certificate) = ca.node("edge-1", -60, 86_400);
    device.write(KEY, &key.to_sec1_pem(), 0o600);
    device.write(CERTIFICATE, &certificate.to_pem(), 0o600);
    device.write(CA, &ca.certificate.to_pem(), 0o600);
    let edge = device.start();
    edge.connected();
    assert_eq!(
        serial(&cloud.event("connect")),
        plain(&certificate.serial())
    );
    // Once renewed it has our form, and the copies are of no importance.
    assert_eq!(edge.order("renew").error, None);
    let renewed = cloud.event("enroll");
    assert_eq!(renewed["how"], "certificate");
    cloud.event("connect");
    edge.stop();

    device.write(CERTIFICATE, "not a certificate", 0o644);
    fs::remove_file(device.path(CA)).expect("it was there");
    let edge = device.start();
    edge.connected();
    cloud.event_where("connect", |c| c["serial"] == renewed["serial"]);
    assert_identity(&device, serial(&renewed));
    edge.stop();
    cloud.satisfied();
}

#[test]
fn damaged_and_mismatched_keys_wait_for_a_token() {
    let mut cloud = Cloud::start(&[]);
    let device = Device::new("edge-1");
    device.configure(&cloud, "");
    let ca = Ca::of(cloud.path());
    let (key, certificate) = ca.node("edge-1", -60, 86_400);
    let (other_key, other) = ca.node("edge-2", -60, 86_400);
    let pem = key.to_sec1_pem();
    let (own, ca_pem) = (certificate.to_pem(), ca.certificate.to_pem());
    let faults = [
        (&pem[..60], own.clone(), "server.key is damaged"),
        (&pem, "rubbish".to_owned(), "server.crt is damaged"),
        (
            &other_key.to_sec1_pem(),
            own,
            "does not belong to the certificate",
        ),
        (
            &other_key.to_sec1_pem(),
            other.to_pem(),
            "is for system:node:edge-2",
        ),
    ];
    for (key, certificate, part) in &faults {
        device.write(KEY, key, 0o600);
        device.write(CERTIFICATE, certificate, 0o644);
        device.write(CA, &ca_pem, 0o644);
        let edge = device.start();
        needs_token(&edge, part);
        edge.stop();
        assert_eq!(device.read(KEY), **key, "nothing was changed");
    }
    let edge = device.start();
    needs_token(&edge, faults[3].2);
    device.configure(&cloud, &cloud.token());
    edge.order("reload");
    edge.connected();
    assert_identity(&device, serial(&cloud.event("enroll")));
    edge.stop();
    cloud.satisfied();
}

#[test]
fn a_token_of_another_cloud_moves_the_device() {
    let (old, mut new) = (Cloud::start(&[]), Cloud::start(&[]));
    let device = Device::new("edge-1");
    device.configure(&old, &old.token());
    let edge = device.start();
    edge.connected();
    // The addresses first, as when a cloud was set up anew: the edge says what is wrong.
    device.configure(&new, "");
    edge.order("reload");
    edge.complains("but this device belongs to the CA");
    device.configure(&new, &new.token());
    edge.order("reload");
    let status = edge.connected();
    assert_eq!(status.cloud, format!("127.0.0.1:{}", new.hub));
    assert_identity(&device, serial(&new.event("enroll")));
    edge.stop();
    old.satisfied();
    new.satisfied();
}

#[test]
fn a_second_edgecore_names_the_first() {
    let cloud = Cloud::start(&[]);
    let device = Device::new("edge-1");
    device.configure(&cloud, "");
    let edge = device.start();
    let (code, said) = device.run_to_end();
    assert_eq!(code, 1);
    let wanted = format!("another edgecore runs already (process {})", edge.pid());
    assert!(said.contains(&wanted), "{said}");
    edge.status();
    edge.stop();
    cloud.satisfied();
}

#[test]
fn a_configuration_that_is_none() {
    let device = Device::new("edge-1");
    let (code, said) = device.run_to_end();
    assert_eq!(code, 78);
    assert!(said.contains("keadm join"), "{said}");
    device.write(CONFIG, "modules:\n  edgeHub:\n    heartbeat: soon\n", 0o644);
    let (code, said) = device.run_to_end();
    assert_eq!(code, 78);
    assert!(
        said.contains("edgecore.yaml:3") && said.contains("heartbeat"),
        "{said}"
    );
}

#[test]
fn the_status_socket_takes_no_orders() {
    let cloud = Cloud::start(&[]);
    let device = Device::new("edge-1");
    device.configure(&cloud, "");
    let edge = device.start();
    edge.until("the need of a token", |status| {
        status.state == EdgeState::NeedsToken
    });
    for (line, part) in [
        ("{\"v\":1,\"op\":\"reload\"}\n", "edgecore.sock"),
        ("{\"v\":1,\"op\":\"renew\"}\n", "edgecore.sock"),
        ("{\"v\":7,\"op\":\"dance\",\"new\":1}\n", "unknown request"),
        ("rubbish\n", "not a request"),
        ("", "not a request"),
        ("{\"v\":9,\"op\":\"status\",\"new\":1}\n", "needs-token"),
    ] {
        let answer = edge.say(EDGE_STATUS_SOCKET, line.as_bytes());
        assert!(answer.contains(part), "{line}: {answer}");
        assert!(answer.starts_with("{\"v\":1,"), "{answer}");
    }
    assert_eq!(edge.status().state, EdgeState::NeedsToken);
    edge.stop();
    cloud.satisfied();
}
