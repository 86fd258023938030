//! The life of an edge whose cloud wants neither its certificate nor its token, or gives nothing for it.

use std::time::{Duration, Instant};

use smol::future::or;

use super::recorded;
use super::server::Server;
use super::{edge, identity, run};
use crate::edgecore::edge::pause;
use crate::edgecore::life::{live, token_comes};
use crate::pki::csr::Csr;
use crate::pki::hash::Sha256Hash;
use crate::protocol::control::EdgeState;
use crate::protocol::token::JoinToken;
use crate::system::clock::Clock;
use crate::system::scratch::Scratch;

/// Its hub takes the identity only after some time, and the certificate API is always busy; the token that
/// waits is of a third cloud, and takes its turn with the identity.
#[test]
fn a_token_that_nothing_comes_of_does_not_keep_the_identity_from_the_hub() {
    let [authority, serving] = recorded::authority("token-ca");
    let clock = Clock::manual(authority.0.not_before()).0;
    let server = Server::start(&serving, &clock, |request| {
        let status = match request.path.ends_with("/events") {
            true => "403 Forbidden",
            false => "503 Service Unavailable",
        };
        format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno").into_bytes()
    });
    let scratch = Scratch::new();
    let edge = edge(&scratch, "edge-1", server.port, &clock);
    let mine = identity(&authority, &edge.settings.node, clock.now());
    mine.commit(&edge.host.files, &edge.settings.place).unwrap();
    let token = format!(
        "{}.e30.e30.{}",
        Sha256Hash::of(b"a third CA"),
        "s".repeat(43)
    );
    let files = &edge.host.files;
    files
        .replace(&edge.settings.bootstrap, token.as_bytes(), 0o600)
        .unwrap();
    // T for each time that the token was tried, and I for the identity.
    let tried = || -> String {
        let requests = server.requests();
        let letters = requests.iter().map(|it| {
            if it.path.ends_with("/events") {
                'I'
            } else {
                'T'
            }
        });
        letters.collect()
    };
    let turns = async {
        while !tried().ends_with("TII") {
            server.news.recv().await.unwrap();
        }
        // Somebody asks for it: the token has its turn at once.
        edge.hurry.raise();
        while !tried().ends_with("ITTTTI") {
            server.news.recv().await.unwrap();
        }
    };
    run(&edge, or(turns, live(&edge)));
    let tried = tried();
    assert!(tried.starts_with("TTTTII"), "{tried}");
    assert!(!tried.contains("TTTTT"), "{tried}");
    assert_eq!(edge.tokens.find().unwrap(), token.parse().ok());
}

/// Else the wait for it would be none, again and again: a hub that refuses would be asked without a pause.
#[test]
fn a_token_is_waited_for_only_while_it_would_be_taken() {
    let [authority, _] = recorded::authority("token-ca");
    let clock = Clock::manual(authority.0.not_before()).0;
    let scratch = Scratch::new();
    let edge = edge(&scratch, "edge-1", 1, &clock);
    edge.adopt(identity(&authority, &edge.settings.node, clock.now()));
    let comes = |hash: Sha256Hash, useless: bool| {
        let token = JoinToken::new(hash, &format!("e30.e30.{}", "s".repeat(43))).unwrap();
        let (files, text) = (&edge.host.files, token.secret_string());
        files
            .replace(&edge.settings.bootstrap, text.as_bytes(), 0o600)
            .unwrap();
        let came = async {
            token_comes(&edge, useless).await;
            true
        };
        let waits = async {
            pause(Duration::from_secs(1)).await;
            false
        };
        (run(&edge, or(came, waits)), token)
    };
    let (own, other) = (authority.0.hash(), Sha256Hash::of(b"a third CA"));
    assert!(!comes(own, false).0);
    assert!(comes(own, true).0);
    let (came, token) = comes(other, false);
    assert!(came);
    let later = Instant::now() + Duration::from_secs(300);
    edge.postponed.replace(Some((token, later)));
    assert!(!comes(other, true).0);
    edge.set_nothing_aside();
    assert!(comes(other, true).0);
}

/// The power goes between the cloud's counting of a use and the device's disk: whoever starts then asks with
/// the same key, for which the cloud counts nothing again. A token that is not counted costs no write.
#[test]
fn a_counted_use_is_not_lost_with_the_power() {
    let [authority, serving] = recorded::authority("token-ca");
    let clock = Clock::manual(authority.0.not_before()).0;
    let ca = authority.0.der().to_vec();
    let server = Server::start(&serving, &clock, move |request| {
        if request.path == "/edge.crt" {
            return b"HTTP/1.1 503 X\r\nContent-Length: 2\r\n\r\nno".to_vec();
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", ca.len());
        [head.as_bytes(), &ca].concat()
    });
    let keys = |from: usize| -> Vec<Sha256Hash> {
        let requests = server.requests();
        let asked = requests
            .iter()
            .filter(|it| it.path == "/edge.crt")
            .skip(from);
        let key =
            |it: &super::recorded::Request| Sha256Hash::of(Csr::parse(&it.body).unwrap().spki());
        asked.map(key).collect()
    };
    let mut before = 0;
    // {} and {"uses":1}
    for (claims, is_counted) in [("e30", false), ("eyJ1c2VzIjoxfQ", true)] {
        let scratch = Scratch::new();
        for start in 1..=3 {
            let edge = edge(&scratch, "edge-1", server.port, &clock);
            let token = format!("{}.e30.{claims}.{}", authority.0.hash(), "s".repeat(43));
            let files = &edge.host.files;
            files
                .replace(&edge.settings.bootstrap, token.as_bytes(), 0o600)
                .unwrap();
            let asked = async {
                while keys(before).len() < start {
                    server.news.recv().await.unwrap();
                }
            };
            run(&edge, or(asked, live(&edge)));
            let kept = edge.settings.place.key.with_extension("key.pending");
            assert_eq!(kept.exists(), is_counted);
            assert!(!kept.exists() || files.mode(&kept).unwrap() == 0o600);
        }
        let mut keys = keys(before);
        before += keys.len();
        keys.dedup();
        assert_eq!(keys.len() == 1, is_counted, "{keys:?}");
    }
}

#[test]
fn a_refused_token_is_not_offered_again_and_again() {
    let [authority, serving] = recorded::authority("token-ca");
    let clock = Clock::manual(authority.0.not_before()).0;
    let met = authority.0.der().to_vec();
    let server = Server::start(&serving, &clock, move |request| {
        if request.path.ends_with("/events") {
            return b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_vec();
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", met.len());
        [head.as_bytes(), &met].concat()
    });
    let scratch = Scratch::new();
    let edge = edge(&scratch, "edge-1", server.port, &clock);
    let mine = identity(&authority, &edge.settings.node, clock.now());
    mine.commit(&edge.host.files, &edge.settings.place).unwrap();
    let token = JoinToken::new(
        Sha256Hash::of(b"another CA"),
        &format!("e30.e30.{}", "s".repeat(43)),
    )
    .unwrap();
    let text = token.secret_string();
    let files = &edge.host.files;
    files
        .replace(&edge.settings.bootstrap, text.as_bytes(), 0o600)
        .unwrap();

    let upgrades = || {
        let requests = server.requests();
        let upgrades = requests.iter().filter(|r| r.path.ends_with("/events"));
        (upgrades.count(), requests.len())
    };
    let met = async {
        while upgrades().0 < 4 {
            server.news.recv().await.unwrap();
        }
    };
    run(&edge, or(met, live(&edge)));
    // Once in the whole time it was asked whose cloud this is, and the device went on without.
    assert_eq!(upgrades(), (4, 5));
    assert_eq!(edge.tokens.find().unwrap(), Some(token));
    let status = edge.state.snapshot();
    assert_eq!(status.state, EdgeState::NeedsToken);
    let problem = status.last_error.unwrap();
    assert!(problem.message.contains("403"), "{}", problem.message);
}
