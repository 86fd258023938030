//! What a node costs on the wire when nothing happens, and how soon a pulled cable shows: our own two ends, with the
//! settings by default. Bytes are counted by the kernel, on a loopback interface that nobody else uses.

use std::fs;
use std::net::UdpSocket;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::device::Device;
use crate::common::figures::tried;
use crate::common::site::Cloudcore;
use crate::namespace::{here, run};
use serde_json::Value;

#[test]
fn a_node_at_rest_costs_little() {
    run("traffic::rest_in_a_namespace");
}

#[test]
fn a_pulled_cable_shows_in_time_and_is_forgotten_when_it_is_back() {
    run("traffic::cable_in_a_namespace");
}

#[test]
#[ignore = "it counts all packets of its network: the test above runs it in a namespace"]
fn rest_in_a_namespace() {
    check_what_is_counted();
    let cloud = Cloudcore::start(&[]);
    let mut device = Device::new("edge-1");
    device.configure_for(&cloud, &cloud.token());
    let edge = device.start();
    edge.connected();
    until_ready(&cloud, true, READY);
    at_rest();
    let standard = rate(WINDOW);
    edge.stop();
    // A report comes every day. It is a part of what a node says in a session more than a device that is none.
    let with = session(&device);
    device.edged_keys = vec!["enable: false".to_owned()];
    device.configure_for(&cloud, "");
    let without = session(&device);
    let report = with.bytes - without.bytes;
    device.edged_keys.clear();

    device.hub_keys = vec!["profile: metered".to_owned()];
    device.configure_for(&cloud, "");
    let edge = device.start();
    edge.connected();
    until_ready(&cloud, true, READY);
    at_rest();
    // One sign of life is as large as the other, whatever the interval; the long form waits for it.
    let metered = match long() {
        true => rate(METERED * 2),
        false => {
            let before = Counted::now();
            sleep(Duration::from_secs(40));
            assert_eq!(
                Counted::now() - before,
                Counted::default(),
                "it is not asked for so often"
            );
            standard * STANDARD.as_secs_f64() / METERED.as_secs_f64()
        }
    };
    edge.stop();

    let month = |rate: f64| (rate * MONTH + REPORTS * report as f64) / 1e6;
    let (standard, metered) = (month(standard), month(metered));
    println!(
        "in a month: {standard:.2} MB, metered {metered:.2} MB; a report: {report} bytes of {}",
        with.bytes
    );
    assert!(standard <= 12.0, "{standard:.2} MB");
    assert!(metered <= 3.0, "{metered:.2} MB");
    let what = "MB on the wire in 30 days of a node at rest, with a report a day";
    tried("network-month", what, format!("{standard:.1}"));
    let what = "MB on the wire in 30 days of a metered node at rest, with a report a day";
    tried("network-month-metered", what, format!("{metered:.1}"));
}

#[test]
#[ignore = "it cuts its own network: the test above runs it in a namespace"]
fn cable_in_a_namespace() {
    let cloud = Cloudcore::start(&[]);
    let device = Device::new("edge-1");
    device.configure_for(&cloud, &cloud.token());
    let edge = device.start();
    until_ready(&cloud, true, READY);
    here("nft add table ip lost");
    for (chain, hook) in [("in", "input"), ("out", "output")] {
        nft(&format!(
            "add chain ip lost {chain} {{ type filter hook {hook} priority 0; policy drop; }}"
        ));
    }
    let lost = until_ready(&cloud, false, LOST);
    println!("Ready was lost {lost:?} after the cable");
    here("nft delete table ip lost");
    let back = until_ready(&cloud, true, READY);
    println!("Ready was back {back:?} after the cable");
    assert_eq!(edge.connected().last_error, None);
    edge.stop();
    tried(
        "network-cable",
        "cables pulled and put back, Ready lost within 60 s and back after",
        1,
    );
}

/// Waits until the cloud calls the node ready, or not; how long that took.
fn until_ready(cloud: &Cloudcore, ready: bool, limit: Duration) -> Duration {
    let since = Instant::now();
    loop {
        let words = ["cloudcore", "ctl", "nodes", "--output", "json"];
        let listed = cloud.run(&words).ends(0).json();
        let node = &listed["nodes"][0];
        if node["ready"] == Value::Bool(ready)
            && (!ready || node["registered"] == Value::Bool(true))
        {
            return since.elapsed();
        }
        assert!(since.elapsed() < limit, "not within {limit:?}: {listed}");
        sleep(Duration::from_millis(20));
    }
}

/// What one session more takes, from its beginning to its rest.
fn session(device: &Device) -> Counted {
    let before = Counted::now();
    let edge = device.start();
    edge.connected();
    at_rest();
    let counted = Counted::now() - before;
    edge.stop();
    counted
}

/// The loopback interface counts from the IP header on: without the Ethernet header that it pretends to have.
fn check_what_is_counted() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let before = Counted::now();
    let own = socket.local_addr().expect("an address");
    socket.send_to(&[0; 100], own).expect("it is sent");
    socket.recv(&mut [0; 100]).expect("it comes");
    let counted = Counted::now() - before;
    assert_eq!(
        counted,
        Counted {
            bytes: 128,
            packets: 1
        }
    );
}

/// What the kernel counted on the loopback interface.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counted {
    bytes: u64,
    packets: u64,
}

impl Counted {
    fn now() -> Counted {
        let table = fs::read_to_string("/proc/net/dev").expect("/proc");
        let mut lines = table
            .lines()
            .filter_map(|line| line.trim().strip_prefix("lo:"));
        let numbers = lines
            .next()
            .expect("a loopback interface")
            .split_whitespace();
        let numbers: Vec<u64> = numbers.map(|it| it.parse().expect("a number")).collect();
        Counted {
            bytes: numbers[0],
            packets: numbers[1],
        }
    }
}

impl std::ops::Sub for Counted {
    type Output = Counted;

    fn sub(self, before: Counted) -> Counted {
        Counted {
            bytes: self.bytes - before.bytes,
            packets: self.packets - before.packets,
        }
    }
}

/// Waits until nothing has come for some seconds.
fn at_rest() {
    let (mut seen, mut since) = (Counted::now(), Instant::now());
    let until = Instant::now() + READY;
    while since.elapsed() < Duration::from_secs(8) {
        assert!(Instant::now() < until, "it does not come to rest");
        sleep(Duration::from_millis(100));
        let now = Counted::now();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
}

/// Bytes a second, over at least this time: from the end of one exchange to that of another.
fn rate(window: Duration) -> f64 {
    let (first, since) = after_an_exchange();
    sleep(window);
    let (last, until) = after_an_exchange();
    let (counted, time) = (last - first, until - since);
    println!("{counted:?} in {time:?}");
    counted.bytes as f64 / time.as_secs_f64()
}

/// Waits for an exchange; its moment, and what was counted when its acknowledgement had come, too.
fn after_an_exchange() -> (Counted, Instant) {
    let before = Counted::now();
    let until = Instant::now() + METERED + READY;
    while Counted::now() == before {
        assert!(Instant::now() < until, "no sign of life");
        sleep(Duration::from_millis(20));
    }
    let seen = Instant::now();
    sleep(Duration::from_secs(1));
    (Counted::now(), seen)
}

fn nft(rule: &str) {
    let done = std::process::Command::new("nft").arg(rule).output();
    let done = done.expect("nft starts: run tests/setup.sh");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{rule}: {said}");
}

fn long() -> bool {
    std::env::var_os("KUBEEDGE_LONG").is_some()
}

/// Seconds, for 30 days.
const MONTH: f64 = 30.0 * 86_400.0;
/// In a month.
const REPORTS: f64 = 30.0;
const WINDOW: Duration = Duration::from_secs(95);
/// Between two signs of life.
const STANDARD: Duration = Duration::from_secs(30);
const METERED: Duration = Duration::from_secs(300);
const READY: Duration = Duration::from_secs(90);
/// What is promised.
const LOST: Duration = Duration::from_secs(60);
