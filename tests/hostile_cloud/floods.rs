//! Floods: of connections, and of bad tokens from one address and from everywhere. Who is in order is served.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Instant;

use crate::common::LIMIT;
use crate::common::figures::tried;
use crate::peer::{Client, Sees, config, dial, watch};
use crate::requests::{ask_hub, csr_of, enrolment, join, upgrade, with_authorization};
use crate::support::{Cloud, until};
use crate::table::CERTIFICATE_REQUIRED;
use crate::{At, is_long, next_address};

#[test]
fn bad_tokens_from_one_address_are_limited_and_good_ones_are_not() {
    let mut cloud = Cloud::start("", None);
    let at = At::new(&cloud);
    let attempts = if is_long() { 10_000 } else { 2_000 };
    let (refused, limited) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let flooded = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let request = bad_token();
                let mut client = Client::dial(at.from, cloud.https, config(None)).unwrap();
                for _ in 0..attempts / 4 {
                    client.send(&request);
                    match client.sees() {
                        Sees::Status(401) => refused.fetch_add(1, Ordering::Relaxed),
                        Sees::Later(429) => limited.fetch_add(1, Ordering::Relaxed),
                        other => panic!("{other:?}"),
                    };
                }
                flooded.store(true, Ordering::Relaxed);
            });
        }
        // A device behind the very same address.
        while !flooded.load(Ordering::Relaxed) {
            assert_eq!(join(&at, "honest"), Sees::Status(200));
        }
    });
    let (refused, limited) = (refused.into_inner(), limited.into_inner());
    assert_eq!(refused + limited, attempts);
    // A hundred, and one a second.
    assert!(
        (100..300).contains(&refused),
        "{refused} were answered in full"
    );
    let metric = "kubeedge_requests_limited_total{reason=\"source\"}";
    assert_eq!(cloud.metric(metric), limited as u64);
    let line = format!("too many failures come from {}", at.from);
    until("the log says so", || cloud.log().contains(&line));
    // Neither is anybody else limited.
    let other = At::new(&cloud);
    assert_eq!(
        crate::requests::with_authorization(&other, "Bearer a.b.c"),
        Sees::Status(401)
    );
    assert_eq!(join(&at, "honest"), Sees::Status(200));
    cloud.is_well();
    tried(
        "hostile-cloud-tokens",
        "bad tokens from one address",
        attempts,
    );
}

/// As every `join` does before it has a certificate, and a site behind one address does it often.
#[test]
fn looks_at_the_hub_are_no_failures() {
    let mut cloud = Cloud::start("", None);
    let at = At::new(&cloud);
    let looks = 150;
    for _ in 0..looks {
        let seen = ask_hub(&at, None, &upgrade("nobody", &[]));
        assert_eq!(seen, Sees::Alert(CERTIFICATE_REQUIRED));
    }
    let looked = "kubeedge_tunnels_refused_total{reason=\"looked\"}";
    until("all are counted", || cloud.metric(looked) == looks);
    let refused = with_authorization(&at, "Bearer a.b.c");
    assert_eq!(refused, Sees::Status(401));
    let refusal = |line: &&str| line.contains(&at.from.to_string());
    until("the log has the refusal", || {
        cloud.log().lines().any(|line| refusal(&line))
    });
    let log = cloud.log();
    let lines: Vec<&str> = log.lines().filter(refusal).collect();
    assert!(
        matches!(lines[..], [line] if line.contains("no certificate")),
        "{log}"
    );
    cloud.is_well();
}

#[test]
fn bad_tokens_from_everywhere_are_limited_and_good_ones_are_not() {
    let mut cloud = Cloud::start("", None);
    let before = cloud.memory();
    let attempts = if is_long() { 10_000 } else { 2_600 };
    let seen = Mutex::new(Vec::new());
    let (next, is_limited) = (AtomicUsize::new(0), AtomicBool::new(false));
    let end = OnceLock::new();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let request = bad_token();
                loop {
                    // A slow machine does not come beyond what is allowed each second so: then each brings several.
                    let is_more = next.fetch_add(1, Ordering::Relaxed) >= attempts;
                    let is_late = || Instant::now() > *end.get_or_init(|| Instant::now() + LIMIT);
                    if is_more && (is_limited.load(Ordering::Relaxed) || is_late()) {
                        break;
                    }
                    let mut client =
                        Client::dial(next_address(), cloud.https, config(None)).unwrap();
                    for _ in 0..if is_more { 50 } else { 1 } {
                        client.send(&request);
                        let sees = client.sees();
                        is_limited.fetch_or(sees == Sees::Later(503), Ordering::Relaxed);
                        seen.lock().unwrap().push(sees);
                    }
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap();
    let count = |what| seen.iter().filter(|one| **one == what).count();
    let (refused, limited) = (count(Sees::Status(401)), count(Sees::Later(503)));
    assert_eq!(refused + limited, seen.len(), "{:?}", seen.last());
    assert!(refused >= 2000, "{refused} were answered in full");
    assert!(limited > 0, "all of {refused} were answered in full");
    let metric = "kubeedge_requests_limited_total{reason=\"all\"}";
    assert_eq!(cloud.metric(metric), limited as u64);
    let line = "too many failures come from everywhere";
    until("the log says so", || cloud.log().contains(line));
    assert_eq!(join(&At::new(&cloud), "honest"), Sees::Status(200));
    // 4096 addresses are known at most, in some hundred bytes each.
    let grown = cloud.memory().saturating_sub(before);
    assert!(grown < 8_000_000, "{grown} bytes");
    cloud.is_well();
    tried(
        "hostile-cloud-tokens-many",
        "bad tokens, each from an address of its own",
        attempts,
    );
}

#[test]
fn connections_beyond_the_bound_cost_the_oldest_their_place() {
    let mut cloud = Cloud::start("", None);
    let site = At::new(&cloud);
    // One address may have half of the 2048 places. Those that wait for ten seconds are gone, so on a slow
    // machine it takes more of them.
    let dialled = |from, port| (0..128).map(move |_| dial(from, port).unwrap());
    let mut held: Vec<TcpStream> = Vec::new();
    let cut = "kubeedge_connections_cut_total{reason=\"https-source\"}";
    until("the oldest are cut", || {
        held.extend(dialled(site.from, cloud.https));
        cloud.metric(cut) > 0
    });
    for _ in 0..20 {
        assert_eq!(join(&site, "honest"), Sees::Status(200));
    }
    assert_eq!(watch(&mut held[0]), Sees::Closed);
    let line = format!(
        "{} has as many connections to the certificate port",
        site.from
    );
    until("the log says so", || cloud.log().contains(&line));

    // Three addresses fill all places.
    let others = [next_address(), next_address()];
    let cut = "kubeedge_connections_cut_total{reason=\"https-total\"}";
    until("the oldest are cut", || {
        for from in [site.from, others[0], others[1]] {
            held.extend(dialled(from, cloud.https));
        }
        cloud.metric(cut) > 0
    });
    let second = others[0];
    for number in 0..20 {
        assert_eq!(
            join(&At::new(&cloud), &format!("honest-{number}")),
            Sees::Status(200)
        );
    }
    let line = "as many connections to the certificate port as there may be";
    until("the log says so", || cloud.log().contains(line));

    // The same at the hub.
    let cut = "kubeedge_connections_cut_total{reason=\"hub-source\"}";
    until("the oldest are cut", || {
        held.extend(dialled(second, cloud.hub));
        cloud.metric(cut) > 0
    });
    drop(crate::requests::tunnel(&At {
        cloud: &cloud,
        from: second,
    }));
    drop(held);
    until("all are closed", || {
        cloud.metric("kubeedge_connections") == 0
    });
    cloud.is_well();
}

#[test]
fn connections_that_come_and_go_hold_up_nobody() {
    let mut cloud = Cloud::start("", None);
    let many = if is_long() { 100_000 } else { 4_000 };
    let site = At::new(&cloud);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut from = site.from;
            for number in 1..=many {
                // An address has some 28,000 ports, and each rests for a minute.
                if number % 8000 == 0 {
                    from = next_address();
                }
                let port = if number % 2 == 0 {
                    cloud.https
                } else {
                    cloud.hub
                };
                drop(dial(from, port).unwrap());
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            assert_eq!(join(&site, "honest"), Sees::Status(200));
        }
    });
    let gone = |metrics: &std::collections::BTreeMap<String, u64>| {
        let left = "kubeedge_connections_failed_total{reason=\"left\"}";
        let lost = "kubeedge_tunnels_refused_total{reason=\"lost\"}";
        let cut = metrics
            .iter()
            .filter(|(name, _)| name.contains("connections_cut"));
        metrics[left] + metrics[lost] + cut.map(|(_, count)| count).sum::<u64>()
    };
    until("all are counted", || gone(&cloud.metrics()) >= many);
    until("all are closed", || {
        cloud.metric("kubeedge_connections") == 0
    });
    // To look whether a port is open is no failure.
    assert_eq!(
        cloud.metric("kubeedge_requests_limited_total{reason=\"source\"}"),
        0
    );
    assert!(!cloud.log().contains(&site.from.to_string()) || cloud.log().contains("by token"));
    cloud.is_well();
    tried(
        "hostile-cloud-connects",
        "connections that came and went at once",
        many,
    );
}

fn bad_token() -> Vec<u8> {
    let headers = "Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjk5OTk5OTk5OTl9.\
        AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\nNodeName: n\r\n";
    enrolment(headers, &csr_of("n"))
}
