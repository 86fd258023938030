//! A thousand slow peers are held, and a quick device is served as if they were not there.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::common::figures::tried;
use crate::crowd::{Crowd, Slow};
use crate::peer::Sees;
use crate::support::Cloud;
use crate::{At, is_long, requests};

/// The hard case: the device stands behind the same address as all of them.
#[test]
fn a_device_is_served_beside_a_thousand_slow_peers_of_its_own_address() {
    let mut cloud = Cloud::start("", None);
    assert_eq!(
        requests::join(
            &At {
                cloud: &cloud,
                from: SITE
            },
            "honest"
        ),
        Sees::Status(200)
    );
    let before = cloud.memory();
    // What else runs on this machine comes and goes: one comparison of several must hold.
    let (mut quiet, mut busy) = (Duration::ZERO, Duration::MAX);
    let rounds = if is_long() { 10 } else { 5 };
    for round in 0..rounds {
        quiet = median(&cloud);
        let kinds = [Slow::Silent, Slow::Hello, Slow::Head];
        let crowd = Crowd::new(cloud.https, SLOW, &kinds, |_| SITE);
        busy = median(&cloud);
        assert!(crowd.held() + crowd.cut() >= SLOW);
        let grown = cloud.memory().saturating_sub(before);
        assert!(grown <= SLOW * PER_CONNECTION, "{grown} bytes for {SLOW}");
        drop(crowd);
        if busy <= quiet * 3 && (!is_long() || round + 1 == rounds) {
            break;
        }
    }
    assert!(
        busy <= (quiet * 3).max(FLOOR),
        "{busy:?} with slow peers, {quiet:?} without"
    );
    cloud.is_well();
    tried(
        "hostile-cloud-slow",
        "slow peers held open behind the device's own address; an enrolment takes, beside its quiet time",
        format!("{SLOW}; {:.1} ms, {:.1} ms", millis(busy), millis(quiet)),
    );
}

/// More of them than there are places, on both ports and from everywhere: the oldest is cut.
#[test]
fn memory_has_a_bound_whatever_they_send() {
    let mut cloud = Cloud::start("", None);
    let device = At::new(&cloud);
    assert_eq!(requests::join(&device, "honest"), Sees::Status(200));
    let before = cloud.memory();
    let kinds = [Slow::FatHello, Slow::FatHello, Slow::Head];
    let many = |number: usize| {
        let [.., a, b] = u16::try_from(number).unwrap().to_be_bytes();
        Ipv4Addr::new(127, 200, a, b)
    };
    let certificates = Crowd::new(cloud.https, MOST, &kinds, many);
    let tunnels = Crowd::new(cloud.hub, MOST, &[Slow::FatHello], many);
    let grown = cloud.memory().saturating_sub(before);
    assert_eq!(requests::join(&device, "honest"), Sees::Status(200));
    drop((certificates, tunnels));
    let bound = 2 * PLACES * PER_CONNECTION;
    assert!(grown <= bound, "{grown} bytes, and {bound} are allowed");
    cloud.is_well();
    tried(
        "hostile-cloud-memory",
        "MB that cloudcore grows by under connections to both ports, each as costly as can be",
        format!("{:.0} under {} connections", grown as f64 / 1e6, 2 * MOST),
    );
}

/// The median time of an enrolment from the site's address, all of which must succeed.
fn median(cloud: &Cloud) -> Duration {
    let at = At { cloud, from: SITE };
    let mut times: Vec<Duration> = (0..25)
        .map(|_| {
            let started = Instant::now();
            assert_eq!(requests::join(&at, "honest"), Sees::Status(200));
            started.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

const SITE: Ipv4Addr = Ipv4Addr::new(127, 100, 0, 1);
const SLOW: usize = 1000;
/// A shared machine may stumble by so much at any time.
const FLOOR: Duration = Duration::from_millis(60);

/// Connections that each port has places for, and as many as the test opens to each.
const PLACES: usize = 2048;
const MOST: usize = 2000;
/// Bytes of memory that a connection may cost before its request is there (docs/security.md).
const PER_CONNECTION: usize = 64 * 1024;
