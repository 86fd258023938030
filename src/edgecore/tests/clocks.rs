//! Renewal by a clock that is wrong: it asks before it concludes, and makes no storm.

use std::time::Duration;

use smol::future::or;

use super::recorded;
use super::replay::ok;
use super::server::Server;
use super::{edge, identity, issue, run};
use crate::edgecore::edge::{Edge, pause};
use crate::edgecore::rotate;
use crate::pki::csr::Csr;
use crate::pki::key::PrivateKey;
use crate::system::clock::{Clock, http_date};
use crate::system::scratch::Scratch;

/// Renews as long as it takes for so many requests, and a little longer.
fn renew_for(edge: &Edge, server: &Server, requests: usize) -> Vec<String> {
    let met = async {
        for _ in 0..requests {
            server.news.recv().await.unwrap();
        }
        // What must not happen has this time to happen.
        pause(Duration::from_millis(2_500)).await;
    };
    run(edge, or(met, rotate::run(edge)));
    let seen = server.requests();
    seen.iter().map(|request| request.path.clone()).collect()
}

#[test]
fn a_clock_that_is_ahead_asks_once_and_renews_nothing() {
    for years in [1, 10] {
        let [authority, serving] = recorded::authority("token-ca");
        let now = serving.0.not_before().plus(Duration::from_secs(3_600));
        let (clock, hand) = Clock::manual(now);
        let body = authority.0.der().to_vec();
        let server = Server::start(&serving, &Clock::manual(now).0, move |_| {
            let head = format!("HTTP/1.1 200 OK\r\nDate: {}\r\n", http_date::show(now));
            let length = format!("Content-Length: {}\r\n\r\n", body.len());
            [head.as_bytes(), length.as_bytes(), &body].concat()
        });
        let scratch = Scratch::new();
        let edge = edge(&scratch, "edge-1", server.port, &clock);
        edge.adopt(identity(&authority, &edge.settings.node, now));
        hand.set(now.plus(years * YEAR));
        assert_eq!(renew_for(&edge, &server, 1), ["/ca.crt"]);
        assert_eq!(clock.now(), now);
        let status = edge.state.snapshot();
        assert_eq!(status.clock_shows, Some(now.plus(years * YEAR)));
        assert_eq!(status.last_error.map(|it| it.message), None);
    }
}

#[test]
fn certificates_that_are_due_at_once_cause_no_storm() {
    let [authority, serving] = recorded::authority("token-ca");
    let now = serving.0.not_before().plus(Duration::from_secs(3_600));
    let clock = Clock::manual(now).0;
    let key = PrivateKey::from_der(authority.1.sec1_der()).unwrap();
    let signer = (authority.0.clone(), key);
    // This cloud signs for a year that is nearly over, and does not say what time it is.
    let began = now.minus(YEAR - Duration::from_secs(3_600));
    let server = Server::start(&serving, &clock, move |request| {
        match Csr::parse(&request.body) {
            Ok(csr) => ok(issue(&signer, csr.spki(), csr.subject(), began).der()),
            Err(_) => ok(signer.0.der()),
        }
    });
    let scratch = Scratch::new();
    let edge = edge(&scratch, "edge-1", server.port, &clock);
    edge.adopt(identity(&authority, &edge.settings.node, began));
    let asked = renew_for(&edge, &server, 2);
    let renewals = asked.iter().filter(|path| *path == "/edge.crt").count();
    assert_eq!(renewals, 1, "{asked:?}");
}

const YEAR: Duration = Duration::from_secs(365 * 86_400);
