//! Several places of one cloud: any that answers will do, and the one that serves is kept.

use std::net::TcpListener;
use std::time::{Duration, Instant, UNIX_EPOCH};

use kubeedge::protocol::control::{EdgeState, EdgeStatus};

use crate::common::site::{Cloudcore, Site};
use crate::common::{LIMIT, figures, wait_until};

/// Two places of one cloud, each with a port for everything, and a token that both know.
fn two() -> ([(Cloudcore, String); 2], String) {
    let first = Cloudcore::start(&["--single-port", "0"]);
    let token = first.token_file();
    let second = Cloudcore::start_beside(&first, &["--single-port", "0"]);
    let clouds = [first, second].map(|cloud| {
        let port = cloud.single.expect("one port");
        (cloud, format!("127.0.0.1:{port}"))
    });
    (clouds, token)
}

/// Where the present session leads, once there is one that leads elsewhere than before.
fn peer(site: &Site, before: &str) -> String {
    let until = Instant::now() + LIMIT;
    loop {
        let status = site.status();
        let connected = status.filter(|status| status.state == EdgeState::Connected);
        let peer = connected.and_then(|status| Some(status.session?.peer));
        match peer {
            Some(peer) if peer != before => return peer,
            _ => assert!(Instant::now() < until, "no session elsewhere"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Renews, and waits for the session with the new certificate, which leads to the same place.
fn renewed(site: &Site, place: &str) {
    // A place that knows an older certificate takes one that began in a later second, and certificates have no less.
    let second = || UNIX_EPOCH.elapsed().expect("a time").as_secs();
    let before = second();
    wait_until("the next second", || second() > before);
    site.run(&["certs", "renew"]).ends(0);
    let serial = |status: &EdgeStatus| status.certificate.as_ref().map(|it| it.serial.clone());
    let until = Instant::now() + LIMIT;
    let session = loop {
        let status = site.status().expect("edgecore answers");
        let serial = serial(&status);
        match status.session {
            Some(session) if Some(&session.serial) == serial.as_ref() => break session,
            session => assert!(Instant::now() < until, "{session:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(session.peer, place);
}

#[test]
fn a_device_moves_when_its_place_is_gone_and_stays_when_it_is_back() {
    let ([(a, at_a), (b, at_b)], token) = two();
    let site = Site::new();
    let both = format!("{at_a},{at_b}");
    let words = ["join", "-e", &both, "--token-file", &token, "-i", "roamer"];
    site.run(&words).ends(0);
    let first = peer(&site, "");
    let (mut here, other) = if first == at_a { (a, b) } else { (b, a) };
    here.kill();
    let second = peer(&site, &first);
    let expected = if first == at_a { &at_b } else { &at_a };
    assert_eq!(second, *expected);
    let told = site.run(&["status"]).ends(0).out;
    let sentence = format!("roamer is connected to {second}.");
    assert!(told.starts_with(&sentence), "{told}");
    // The certificate API is asked where it answers as well.
    renewed(&site, &second);
    // The first one is back, and no reason to leave: neither by itself nor for a new session after a renewal.
    let port = first.rsplit(':').next().expect("a port");
    here.start_again(&["--single-port", port]);
    renewed(&site, &second);
    assert_eq!(here.sessions().len(), 0);
    // But there to go to.
    drop(other);
    assert_eq!(peer(&site, &second), first);
    renewed(&site, &first);
    drop(here);
    let status = {
        let until = Instant::now() + LIMIT;
        loop {
            let status = site.status().expect("edgecore answers");
            let problem = status
                .last_error
                .as_ref()
                .map(|problem| problem.message.clone());
            if problem.is_some_and(|it| it.contains(&at_a) && it.contains(&at_b)) {
                break status;
            }
            assert!(Instant::now() < until, "{status:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let problem = status.last_error.expect("a problem");
    assert!(
        problem
            .message
            .starts_with("none of 2 clouds gives a tunnel: "),
        "{problem:?}"
    );
    assert!(problem.retryable);
    figures::tried(
        "network-places",
        "places of a cloud lost while a device had its session there",
        3,
    );
}

#[test]
fn a_place_that_is_down_does_not_hinder_a_join() {
    let ([(_a, at), _], token) = two();
    let dead = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").to_string()
    };
    let site = Site::new();
    let both = format!("{at},{dead}");
    let words = ["join", "-e", &both, "--token-file", &token, "-i", "early"];
    let started = Instant::now();
    let said = site.run(&[&words[..], &["-o", "json"]].concat()).ends(0);
    // Less than a wait between two rounds could have been.
    assert!(started.elapsed() < LIMIT);
    let notes = said.json()["notes"].to_string();
    assert!(
        notes.contains(&format!("{dead} is of no use now")),
        "{notes}"
    );
    assert_eq!(peer(&site, ""), at);
    // One place alone is another wish, and the list goes.
    site.run(&["join", "-e", &at, "-i", "early"]).ends(0);
    assert!(
        !site
            .read("/etc/kubeedge/config/edgecore.yaml")
            .contains(&dead)
    );
}
