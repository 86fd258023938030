//! A thousand slow peers are held, and a quick device is served as if they were not there.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::common::figures::tried;
use crate::crowd::{Crowd, Means, Slow};
use crate::peer::{Sees, config};
use crate::support::{Cloud, until};
use crate::{At, is_long, requests};

/// The hard case: the device stands behind the same address as all of them. Half of them are at the hub.
#[test]
fn a_device_is_served_beside_a_thousand_slow_peers_of_its_own_address() {
    let mut cloud = Cloud::start("", None);
    let at = At {
        cloud: &cloud,
        from: SITE,
    };
    assert_eq!(requests::join(&at, "honest"), Sees::Status(200));
    let own = requests::own(&at);
    let device = config(Some(&own));
    let headers = format!(
        "{}NodeName: {}\r\nContent-Length: 300\r\n",
        requests::authorization(&at),
        requests::node(&at)
    );
    let means = Means {
        config: config(None),
        head: requests::get("/edge.crt", &headers),
    };
    // At the hub a head comes only from who has shown a certificate.
    let known = Means {
        config: device.clone(),
        ..means.clone()
    };
    let before = cloud.memory();
    // What else runs on this machine comes and goes: one comparison of several must hold.
    let mut best: Option<(Times, Times)> = None;
    let rounds = if is_long() { 10 } else { 5 };
    for _ in 0..rounds {
        let quiet = Times::of(&at, &device);
        let kinds = [Slow::Silent, Slow::Hello, Slow::Head, Slow::Body];
        let half = SLOW / 2;
        let certificates = Crowd::new(cloud.https, half, &kinds, &means, |_| SITE);
        let tunnels = Crowd::new(cloud.hub, half, &kinds[..3], &known, |_| SITE);
        let crowds = [&certificates, &tunnels];
        let are_held = || crowds.iter().all(|it| it.held() >= half * 9 / 10);
        until("the slow peers are held", are_held);
        let busy = Times::of(&at, &device);
        // After ten seconds each is cut and comes again: times say something only while they are held.
        let were_held = are_held();
        let grown = cloud.memory().saturating_sub(before);
        assert!(grown <= SLOW * PER_CONNECTION, "{grown} bytes for {SLOW}");
        drop((certificates, tunnels));
        if !were_held {
            continue;
        }
        let is_good = busy.is_near(&quiet, Duration::ZERO);
        if best
            .as_ref()
            .is_none_or(|(best, _)| busy.sum() < best.sum())
            || is_good
        {
            best = Some((busy, quiet));
        }
        if is_good {
            break;
        }
    }
    let (busy, quiet) = best.expect("the slow peers are held to the end of a comparison");
    assert!(
        busy.is_near(&quiet, FLOOR),
        "{busy:?} with slow peers, {quiet:?} without"
    );
    cloud.is_well();
    let shown = |busy, quiet| format!("{:.1} ms, {:.1} ms", millis(busy), millis(quiet));
    tried(
        "hostile-cloud-slow",
        "slow peers held open behind the device's own address, half of them at the hub; an enrolment takes, beside \
         its quiet time; opening a tunnel likewise",
        format!(
            "{SLOW}; {}; {}",
            shown(busy.enrolment, quiet.enrolment),
            shown(busy.session, quiet.session)
        ),
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
    let means = Means {
        config: config(None),
        head: Vec::new(),
    };
    let certificates = Crowd::new(cloud.https, MOST, &kinds, &means, many);
    let tunnels = Crowd::new(cloud.hub, MOST, &[Slow::FatHello], &means, many);
    until("more than half of the places are taken", || {
        certificates.held() > PLACES / 2 && tunnels.held() > PLACES / 2
    });
    let grown = cloud.memory().saturating_sub(before);
    assert_eq!(requests::join(&device, "honest"), Sees::Status(200));
    drop((certificates, tunnels));
    let bound = 2 * PLACES * PER_CONNECTION;
    assert!(grown <= bound, "{grown} bytes, and {bound} are allowed");
    assert!(grown > bound / 4, "only {grown} bytes: nothing is tried");
    cloud.is_well();
    tried(
        "hostile-cloud-memory",
        "MB that cloudcore grows by under connections to both ports, each as costly as can be",
        format!("{:.0} under {} connections", grown as f64 / 1e6, 2 * MOST),
    );
}

/// How long a device at the site waits.
#[derive(Debug, Default)]
struct Times {
    enrolment: Duration,
    /// From the first packet to the tunnel.
    session: Duration,
}

impl Times {
    /// The medians; all must succeed.
    fn of(at: &At, device: &Arc<ClientConfig>) -> Times {
        Times {
            enrolment: median(|| assert_eq!(requests::join(at, "honest"), Sees::Status(200))),
            session: median(|| drop(requests::tunnel_with(at, device.clone()))),
        }
    }

    /// Whether neither takes more than three times as long, and a moment where that is next to nothing.
    fn is_near(&self, quiet: &Times, moment: Duration) -> bool {
        let near = |busy: Duration, quiet: Duration| {
            busy <= quiet * 3 + moment * u32::from(quiet < NEXT_TO_NOTHING)
        };
        near(self.enrolment, quiet.enrolment) && near(self.session, quiet.session)
    }

    fn sum(&self) -> Duration {
        self.enrolment + self.session
    }
}

fn median(attempt: impl Fn()) -> Duration {
    let mut times: Vec<Duration> = (0..25)
        .map(|_| {
            let started = Instant::now();
            attempt();
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
/// A shared machine may stumble by so much at any time, which counts where quiet times are below the second.
const FLOOR: Duration = Duration::from_millis(10);
const NEXT_TO_NOTHING: Duration = Duration::from_millis(5);

/// Connections that each port has places for, and as many as the test opens to each.
const PLACES: usize = 2048;
const MOST: usize = 2000;
/// Bytes of memory that a connection may cost before its request is there (docs/security.md).
const PER_CONNECTION: usize = 64 * 1024;
