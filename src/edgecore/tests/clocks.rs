//! Renewal by a clock that is wrong: it asks before it concludes, and makes no storm.

use std::time::Duration;

use smol::future::{or, yield_now};

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

/// Renews as long as this takes, and a little longer.
fn renew_during(edge: &Edge, server: &Server, work: impl Future<Output = ()>) -> Vec<String> {
    let met = async {
        work.await;
        // What must not happen has this time to happen.
        pause(Duration::from_millis(2_500)).await;
    };
    // It is first to do something, so that it waits for the renewal to be due when the work begins.
    run(edge, or(rotate::run(edge), met));
    let seen = server.requests();
    seen.iter().map(|request| request.path.clone()).collect()
}

#[test]
fn a_clock_that_is_ahead_asks_once_and_renews_nothing() {
    for (years, while_running) in [(1, false), (10, false), (10, true)] {
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
        let ahead = now.plus(years * YEAR);
        let step = |wall| {
            hand.set(wall);
            // Else it looks at the clock once a minute.
            edge.time_told.raise();
        };
        if !while_running {
            hand.set(ahead);
        }
        let work = async {
            if while_running {
                step(ahead);
            }
            server.news.recv().await.unwrap();
            while clock.word().is_none() {
                pause(Duration::from_millis(1)).await;
            }
            // The cloud has just said what time it is: further steps are worth no question.
            for wall in [now.minus(10 * YEAR), ahead] {
                step(wall);
                yield_now().await;
            }
        };
        assert_eq!(renew_during(&edge, &server, work), ["/ca.crt"]);
        assert_eq!(clock.now(), now);
        let status = edge.state.snapshot();
        assert_eq!(status.clock_shows, Some(ahead));
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
    let two_requests = async {
        for _ in 0..2 {
            server.news.recv().await.unwrap();
        }
    };
    let asked = renew_during(&edge, &server, two_requests);
    let renewals = asked.iter().filter(|path| *path == "/edge.crt").count();
    assert_eq!(renewals, 1, "{asked:?}");
}

const YEAR: Duration = Duration::from_secs(365 * 86_400);
