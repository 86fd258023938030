//! Devices in order that ask and never read the answers: each has its bound, and so have all of them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use kubeedge::protocol::message::Message;
use serde_json::{Value, json};

use crate::At;
use crate::common::LIMIT;
use crate::common::figures::tried;
use crate::common::sign::now;
use crate::peer::{Client, Sees, config, dial_narrow};
use crate::requests::{announced, node, own, tunnel, tunnel_over};
use crate::support::{Cloud, until};

#[test]
fn deaf_devices_have_a_bound_together_and_who_reads_is_served() {
    let mut cloud = Cloud::start("", None);
    let site = At::new(&cloud);
    let mut honest = tunnel(&site);
    say(&mut honest, &own_node(&site, "insert", 10));
    assert_eq!(honest.sees_on_tunnel(), Sees::Tunnel);
    let before = cloud.memory();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let held = Mutex::new(Vec::new());
    let (mut grown, mut most, mut answers) = (0, 0, 0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::Relaxed) < DEAF {
                    let at = At::new(&cloud);
                    let stream = dial_narrow(at.from, cloud.hub).unwrap();
                    let mut client = tunnel_over(&at, stream, config(Some(&own(&at))));
                    say(&mut client, &own_node(&at, "insert", LARGE));
                    for _ in 0..QUESTIONS {
                        say(&mut client, &own_node(&at, "query", 0));
                    }
                    held.lock().unwrap().push(client);
                }
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        let end = Instant::now() + LIMIT;
        while done.load(Ordering::Relaxed) < 4 || cloud.metric(CROWDED) == 0 {
            assert!(Instant::now() < end, "nobody is ended: {most} bytes wait");
            say(&mut honest, &own_node(&site, "query", 0));
            assert_eq!(honest.sees_on_tunnel(), Sees::Tunnel);
            answers += 1;
            grown = cloud.memory().saturating_sub(before).max(grown);
            most = cloud.metric("kubeedge_outbox_bytes").max(most);
        }
    });
    assert!(most <= ROOM, "{most} bytes wait");
    assert!(most > ROOM / 2, "only {most} bytes wait: nothing is tried");
    let bound = usize::try_from(ROOM).unwrap() + DEAF * PER_DEAF + SENDING;
    assert!(grown <= bound, "{grown} bytes, and {bound} are allowed");
    let line = "what waits for all nodes is too much, and most of it waits for this one";
    until("the log says so", || cloud.log().contains(line));
    // It had its session all the time.
    assert_eq!(honest.sees_on_tunnel(), Sees::Tunnel);
    let of_site = format!("of node {} ", node(&site));
    let lines = cloud.log();
    let mut lines = lines.lines().filter(|line| line.contains(&of_site));
    assert!(!lines.any(|line| line.contains("has ended")));
    assert!(answers > 0);
    drop(held);
    cloud.is_well();
    tried(
        "hostile-cloud-deaf",
        "MB that cloudcore grows by under devices that ask for 4 MB each and read nothing",
        format!("{:.0} under {DEAF} devices", grown as f64 / 1e6),
    );
}

/// What a device says of its Node, or asks; `large`: bytes of an annotation.
fn own_node(at: &At, operation: &str, large: usize) -> String {
    let name = node(at);
    let content = match large {
        0 => Value::Null,
        _ => json!({"metadata": {"name": name, "annotations": {"large": "x".repeat(large)}}}),
    };
    Message::of_edged(now(), operation, &format!("null/node/{name}"), &content).to_json()
}

fn say(client: &mut Client, text: &str) {
    let head = announced(0x81, text.len() as u64);
    client.send(&[&head, text.as_bytes()].concat());
}

/// Devices, and what each asks for: just below what one may let wait.
const DEAF: usize = 100;
const LARGE: usize = 200_000;
const QUESTIONS: usize = 19;

const CROWDED: &str = "kubeedge_sessions_ended_total{reason=\"crowded\"}";
/// What may wait for all of them (docs/security.md), and what each may have beside that: its share, its Node, its
/// tunnel with what is on its way.
const ROOM: u64 = 64 << 20;
const PER_DEAF: usize = 1 << 20;
/// Of large messages on their way, of which there are up to three copies.
const SENDING: usize = 3 * (32 << 20);
