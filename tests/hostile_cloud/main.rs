//! Hostile peers against a cloudcore process. What each of them must get, cause in the log, and cause in the
//! metrics stands in one table (`table.rs`); floods and shortages have tests of their own.
//!
//! `KUBEEDGE_LONG=1 cargo test --test hostile_cloud` is the long form.

#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod deaf;
mod descriptors;
mod floods;
mod half_open;
mod peer;
mod requests;
mod slow;
mod support;
mod table;

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use common::figures::tried;
use peer::Sees;
use support::{Cloud, comes, until};
use table::{CASES, Case, SLOW_CASES, SLOW_TUNNELS};

/// One peer's view: the cloud, and an address that nobody else has.
pub struct At<'a> {
    pub cloud: &'a Cloud,
    pub from: Ipv4Addr,
}

impl At<'_> {
    pub fn new(cloud: &Cloud) -> At<'_> {
        At {
            cloud,
            from: next_address(),
        }
    }
}

pub fn next_address() -> Ipv4Addr {
    let [_, a, b, c] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(127, 1 + a, b, c)
}

/// Whether the long form was asked for.
pub fn is_long() -> bool {
    std::env::var_os("KUBEEDGE_LONG").is_some()
}

#[test]
fn every_case_has_what_it_must_cause() {
    let mut cloud = Cloud::start(table::YAML, None);
    let files = cloud.open_files();
    let faults = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for case in SLOW_CASES {
            let (cloud, faults) = (&cloud, &faults);
            scope.spawn(move || {
                let fault = fault(cloud, case);
                faults.lock().unwrap().extend(fault);
            });
        }
        for case in CASES {
            let fault = fault(&cloud, case);
            faults.lock().unwrap().extend(fault);
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    cloud.is_well();
    assert_eq!(
        requests::join(&At::new(&cloud), "honest"),
        Sees::Status(200)
    );
    until("all connections are closed", || cloud.open_files() <= files);
    tried(
        "hostile-cloud-cases",
        "kinds of hostile peers, each with its answer, log line and metric",
        CASES.len() + SLOW_CASES.len() + SLOW_TUNNELS.len(),
    );
}

#[test]
fn tunnels_that_wait_for_ever_are_ended() {
    let mut cloud = Cloud::start(table::YAML_QUICK, None);
    let faults = thread::scope(|scope| {
        let cloud = &cloud;
        let run = |case| scope.spawn(move || fault(cloud, case));
        let running: Vec<_> = SLOW_TUNNELS.iter().map(run).collect();
        let ended = running.into_iter().filter_map(|case| case.join().unwrap());
        ended.collect::<Vec<String>>()
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    cloud.is_well();
}

/// What of the three a case did not cause.
fn fault(cloud: &Cloud, case: &Case) -> Option<String> {
    let Case {
        name,
        peer,
        sees,
        log,
        metric,
    } = case;
    assert!(!log.is_empty() && metric.starts_with("kubeedge_"), "{name}");
    let at = At::new(cloud);
    let before = cloud.metric(metric);
    let seen = peer(&at);
    if seen != *sees {
        return Some(format!("{name}: {seen:?} and not {sees:?}"));
    }
    if !comes(|| cloud.metric(metric) > before) {
        return Some(format!("{name}: {metric} does not rise"));
    }
    // A peer's lines have its address, or its node's name, which is made of it.
    let (address, node) = (at.from.to_string(), requests::node(&at));
    let of_peer = |line: &str| line.contains(&address) || line.contains(&node);
    let said = |line: &str| of_peer(line) && line.contains(log);
    let logged = comes(|| cloud.log().lines().any(said));
    (!logged).then(|| format!("{name}: no line of {address} with {log:?}"))
}

static NEXT: AtomicU32 = AtomicU32::new(1);
