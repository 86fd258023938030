//! Devices whose clock is wrong: they connect or say what is wrong, keep their token, and make no storm.

mod common;

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::cloud::Cloud;
use common::device::{BOOTSTRAP, CA, CERTIFICATE, CLOCK, CONFIG, Device, Edge, KEY};
use common::figures;
use common::sign::{Ca, now};
use common::site::{Cloudcore, Site};
use kubeedge::protocol::control::{EdgeState, EdgeStatus};
use kubeedge::system::clock::Timestamp;
use nix::sys::signal::Signal;
use serde_json::Value;

const YEAR: i64 = 365 * 86_400;

/// By how much a clock is off that wakes up in 1970, and how others may be.
fn faults() -> [(&'static str, i64); 4] {
    [
        ("1970", 60 - now().unix()),
        ("ten years ahead", 10 * YEAR),
        ("ten years behind", -10 * YEAR),
        ("right", 0),
    ]
}

/// As a Go cloud: the certificates of servers are valid for a year, the token for a day.
fn go_cloud() -> Cloud {
    Cloud::start(&["--serving-seconds", "31536000"])
}

fn identity(device: &Device) -> String {
    device.read(KEY)
}

/// One whose serving certificates have expired an hour ago, and began so many seconds ago, as the CA did; its
/// clock is off.
fn expired_cloud(age: &str, off: &str) -> Cloud {
    let certificates = [
        "--ca-age",
        age,
        "--serving-age",
        age,
        "--serving-seconds",
        "-3600",
    ];
    Cloud::start(&[&certificates[..], &["--date-off", off]].concat())
}

/// The status tells of a clock that is wrong, and of none that is right.
#[track_caller]
fn assert_knows_the_time(status: &EdgeStatus, off: i64, what: &str) {
    let judged = status.now.expect("edgecore's time");
    let near = Duration::from_secs(120);
    assert!(judged.is_near(now(), near), "{what}: judges by {judged}");
    let shown = status
        .clock_shows
        .map(|shown| (shown.unix() - now().unix() - off).abs() < 60);
    assert_eq!(shown, (off != 0).then_some(true), "{what}");
}

/// Waits until the cloud has told of this many requests for certificates, and makes sure that there were no more.
fn enrolled(cloud: &mut Cloud, times: usize, what: &str) {
    for _ in 0..times {
        cloud.event("enroll");
    }
    assert_eq!(cloud.unread("enroll").len(), 0, "{what}");
}

#[test]
fn whatever_the_clock_says_a_device_joins_once_and_stays_connected() {
    for (what, off) in faults() {
        let mut cloud = go_cloud();
        let device = Device::new("edge-clock");
        device.configure(&cloud, &cloud.token());
        device.set_clock(off);
        let edge = device.start();
        edge.connected();
        let status = edge.until("its time", |status| {
            status.clock_shows.is_some() == (off != 0)
        });
        assert_knows_the_time(&status, off, what);
        assert!(!device.path(BOOTSTRAP).exists());
        assert!(device.read(CONFIG).contains("token: \"\""), "{what}");
        let own = identity(&device);
        drop(edge);

        // Again, with the identity; and with a clock that is wrong in every other way now.
        for (then, off) in faults() {
            device.set_clock(off);
            let edge = device.start();
            edge.connected();
            let what = format!("{what}, then {then}");
            // A cloud like this says the time only when it is asked.
            assert_eq!(edge.order("renew").error, None, "{what}");
            let status = edge.until("its time", |status| {
                status.clock_shows.is_some() == (off != 0)
            });
            assert_knows_the_time(&status, off, &what);
            drop(edge);
        }
        assert_ne!(own, identity(&device));
        enrolled(&mut cloud, 1 + faults().len(), what);
        cloud.satisfied();
    }
    let tried = faults().len() * (1 + faults().len());
    figures::tried(
        "clocks-starts",
        "starts with a clock in 1970, ten years off, or right, each after each other, connected",
        tried,
    );
}

#[test]
fn a_clock_that_is_set_while_the_device_runs_changes_nothing() {
    let cloud = Cloudcore::start(&[]);
    let device = Device::new("edge-steps");
    device.configure_for(&cloud, &cloud.token());
    let edge = device.start();
    edge.connected();
    let mut steps = 0;
    for (what, off) in faults() {
        device.set_clock(off);
        let before = edge.status().session.expect("a session").generation;
        // A new tunnel, and a renewal on order: both judge certificates.
        assert_eq!(edge.order("renew").error, None, "{what}");
        edge.until("a session with the new certificate", |status| {
            let session = status.session.as_ref();
            session.is_some_and(|it| it.generation > before)
        });
        assert_knows_the_time(&edge.status(), off, what);
        let row = &cloud.nodes()[0];
        assert!(
            row.ready && row.condition.as_deref() == Some("True"),
            "{what}: {row:?}"
        );
        steps += 1;
    }
    // On order, and never by itself.
    assert_eq!(issued(&cloud), (1, steps));
    edge.stop();
    figures::tried(
        "clocks-steps",
        "steps of the clock by ten years and to 1970 while connected, with a renewal on order after each \
         and none besides",
        steps,
    );
}

/// A cluster goes by a lease whose time grows: it must not take the node for dead for the ten years that the clock was ahead.
#[test]
fn a_clock_that_was_years_ahead_and_is_set_right_leaves_the_node_ready() {
    let mut cloud = go_cloud();
    let mut device = Device::new("edge-ahead");
    device.edged_keys = vec![
        "tailoredKubeletConfig:".to_owned(),
        "  nodeLeaseDurationSeconds: 4".to_owned(),
        "  nodeStatusUpdateFrequency: 1s".to_owned(),
    ];
    // A cloud that has just enrolled it has told the time, and this clock would not be believed.
    device.configure(&cloud, "");
    put_identity(&device, &Ca::of(cloud.path()), -86_400, YEAR);
    let edge = device.start();
    edge.connected();
    renewed(&mut cloud, 1);
    device.set_clock(10 * YEAR);
    // One may have been on its way.
    renewed(&mut cloud, 2);
    device.set_clock(0);
    // Four are as long as a lease that does not grow is good for.
    renewed(&mut cloud, 6);
    cloud.order("show");
    let store = cloud.event("store");
    let conditions = &store["nodes"]["edge-ahead"]["status"]["conditions"];
    assert_eq!(conditions[3]["type"], "Ready");
    assert_eq!(conditions[3]["status"], "True", "{conditions}");
    let lease = &store["leases"]["edge-ahead"]["spec"];
    let time: Timestamp = lease["renewTime"]
        .as_str()
        .and_then(|it| it.parse().ok())
        .expect("a time");
    assert!(time.unix() > now().unix() + 9 * YEAR, "{lease}");
    edge.stop();
    // The times of messages were ahead as well, and that alone was wrong.
    let wrong = cloud.unread("violation");
    assert!(
        wrong.iter().all(|it| it["rule"] == "timestamp"),
        "{wrong:?}"
    );
}

/// Waits for so many renewals of the lease.
fn renewed(cloud: &mut Cloud, times: usize) {
    for _ in 0..times {
        let is_renewal = |event: &Value| event["operation"] == "update" && event["kind"] == "lease";
        cloud.event_where("asked", is_renewal);
    }
}

/// Certificates by token and by renewal.
fn issued(cloud: &Cloudcore) -> (u64, u64) {
    let by = |how| {
        cloud.metric(&format!(
            "kubeedge_certificates_issued_total{{by=\"{how}\"}}"
        ))
    };
    (by("token"), by("renewal"))
}

/// Watches an edge for some seconds, in which it does not connect: how often it tries is bounded, and so is what it asks
/// the cloud each time.
fn assert_calm(cloud: &mut Cloud, edge: &Edge<'_>) {
    const WATCHED: Duration = Duration::from_secs(6);
    let attempts = |status: &EdgeStatus| {
        let failures = status.failures.expect("this edgecore counts");
        failures.enrolments + failures.tunnels
    };
    let (before, asked_before) = (attempts(&edge.status()), cloud.unread("request").len());
    let until = Instant::now() + WATCHED;
    while Instant::now() < until {
        assert_ne!(edge.status().state, EdgeState::Connected);
        sleep(Duration::from_millis(100));
    }
    let tried = attempts(&edge.status()) - before;
    let asked = cloud.unread("request").len() - asked_before;
    println!("{tried} attempts, {asked} questions");
    // Waits drawn from 0.8 s, 1.6 s, 3.2 s, …: five on average.
    assert!((1..=16).contains(&tried), "{tried} attempts in {WATCHED:?}");
    // One of them may be on its way.
    let most = (tried + 1) * QUESTIONS;
    assert!(
        asked as u64 <= most,
        "{asked} questions in {tried} attempts"
    );
}

/// For one attempt: the time by who wants a tunnel, the same by who wants to renew, and the CA.
const QUESTIONS: u64 = 3;

#[test]
fn a_certificate_that_has_really_expired_is_refused_whatever_date_the_server_gives() {
    // Its validity ended an hour ago, and it says that it is still the time before.
    let mut cloud = expired_cloud("864000", "-7200");
    let ca = Ca::of(cloud.path());

    // A device with a good identity, and one with a good token: nothing is wrong with their clocks.
    let device = Device::new("edge-old");
    device.configure(&cloud, "");
    put_identity(&device, &ca, -5 * 86_400, YEAR);
    let edge = device.start();
    edge.complains("expired at");
    assert_calm(&mut cloud, &edge);
    edge.stop();

    let device = Device::new("edge-new");
    let text = ca.token(86_400);
    device.configure(&cloud, &text);
    let edge = device.start();
    let status = edge.complains("expired at");
    let problem = status.last_error.expect("it was just seen");
    assert!(problem.message.contains("renew it on the cloud"));
    assert!(problem.retryable);
    assert_calm(&mut cloud, &edge);
    assert_eq!(cloud.unread("enroll").len(), 0);
    assert!(device.read(CONFIG).contains(&text), "the token is kept");
    edge.stop();
    figures::tried(
        "clocks-expired-servers",
        "servers with a certificate that has expired and a date that suits it, refused",
        2,
    );
}

#[test]
fn a_cloud_whose_clock_is_behind_what_is_certain_is_told_of() {
    // The device's own certificate began two days ago; the cloud says that it is a year earlier.
    let mut cloud = expired_cloud("63072000", &(-YEAR).to_string());
    let ca = Ca::of(cloud.path());
    let device = Device::new("edge-certain");
    device.configure(&cloud, "");
    put_identity(&device, &ca, -2 * 86_400, YEAR);
    // Ahead, so that everything has expired by it, and the cloud has to be asked.
    device.set_clock(10 * YEAR);
    let edge = device.start();
    edge.complains("set the cloud's clock");
    assert_calm(&mut cloud, &edge);
    edge.stop();
}

fn put_identity(device: &Device, ca: &Ca, from: i64, until: i64) {
    let (key, certificate) = ca.node(&device.node, from, until);
    device.write(KEY, &key.to_sec1_pem(), 0o600);
    device.write(CERTIFICATE, &certificate.to_pem(), 0o644);
    device.write(CA, &ca.certificate.to_pem(), 0o644);
}

#[test]
fn without_the_cloud_a_clock_ahead_concludes_nothing() {
    let mut cloud = go_cloud();
    let device = Device::new("edge-alone");
    device.configure(&cloud, &cloud.token());
    let edge = device.start();
    edge.connected();
    edge.stop();
    cloud.order("down");
    device.set_clock(10 * YEAR);
    let edge = device.start();
    let status = edge.complains("the cloud could not be asked");
    assert_eq!(status.state, EdgeState::Connecting);
    cloud.order("up");
    edge.signal(Signal::SIGHUP);
    edge.connected();
    edge.stop();
    cloud.satisfied();
}

#[test]
fn keadm_joins_whatever_the_clock_says() {
    let cloud = Cloudcore::start(&[]);
    let address = format!("127.0.0.1:{}", cloud.hub);
    let port = cloud.https.to_string();
    let mut joins = 0;
    for (number, (what, off)) in faults().into_iter().enumerate() {
        let site = Site::new();
        site.write(CLOCK, &off.to_string(), 0o644);
        let name = format!("edge-{number}");
        let file = cloud.token_file();
        let words = [
            "join",
            "-e",
            &address,
            "-s",
            &port,
            "--token-file",
            &file,
            "-i",
            &name,
            "--init",
            "none",
        ];
        let said = site.run(&words).ends(0);
        site.connected();
        let warned = said.err.contains("the clock here says");
        assert_eq!(warned, off != 0, "{what}: {}", said.err);
        let status = site.run(&["status"]).ends(0);
        assert_eq!(
            status.out.contains("see which is wrong"),
            off != 0,
            "{what}"
        );
        let left = site.run(&["certs", "check"]).ends(0);
        assert!(!left.out.contains("expired"), "{what}: {}", left.out);
        joins += 1;
    }
    figures::tried(
        "clocks-joins",
        "`keadm join` with a clock in 1970, ten years off, or right",
        joins,
    );
}

#[test]
fn what_ended_while_the_device_was_off_comes_back_by_itself_if_the_cloud_allows() {
    let options = ["--edge-cert-lifetime", "1h", "--renew-after-expiry", "30d"];
    let cloud = Cloudcore::start(&options);
    let device = Device::new("edge-asleep");
    device.configure_for(&cloud, &cloud.token());
    let edge = device.start();
    let first = edge.connected().certificate.expect("a certificate");
    edge.stop();
    // A day later, by everybody's clock.
    cloud.set_clock(86_400);
    device.set_clock(86_400);
    let edge = device.start();
    let status = edge.connected();
    let second = status.certificate.expect("a certificate");
    assert!(second.not_before > first.not_after);
    assert_eq!(issued(&cloud), (1, 1));
    let late = "kubeedge_certificates_renewed_after_expiry_total";
    assert_eq!(cloud.metric(late), 1);
    edge.stop();
    // A device that has no clock learns from the cloud that its certificate has ended.
    cloud.set_clock(2 * 86_400);
    device.set_clock(60 - now().unix());
    let edge = device.start();
    let renewed = |status: &EdgeStatus| {
        let certificate = status.certificate.as_ref();
        status.state == EdgeState::Connected
            && certificate.is_some_and(|it| it.not_before > second.not_after)
    };
    edge.until("the third certificate", renewed);
    assert_eq!(cloud.metric(late), 2);
    edge.stop();
}

#[test]
fn what_ended_while_the_device_was_off_needs_a_token_else_and_finds_one_without_a_restart() {
    let cloud = Cloudcore::start(&["--edge-cert-lifetime", "1h"]);
    let device = Device::new("edge-tired");
    device.configure_for(&cloud, &cloud.token());
    let edge = device.start();
    edge.connected();
    edge.stop();
    cloud.set_clock(86_400);
    device.set_clock(86_400);
    let before = identity(&device);
    let edge = device.start();
    let status = edge.until("the need for a token", |status| {
        let problem = status.last_error.as_ref();
        status.state == EdgeState::NeedsToken && problem.is_some_and(|it| !it.retryable)
    });
    let problem = status.last_error.expect("it was just seen").message;
    assert!(problem.contains("token"), "{problem}");
    assert_eq!(identity(&device), before);
    let pid = edge.pid();
    device.write(BOOTSTRAP, &cloud.token(), 0o600);
    let status = edge.connected();
    let certificate = status.certificate.expect("a certificate");
    assert!(certificate.not_after > Timestamp::from_unix(now().unix() + 86_400));
    assert_eq!((edge.pid(), device.path(BOOTSTRAP).exists()), (pid, false));
    assert_eq!(issued(&cloud), (2, 0));
    edge.stop();
}
