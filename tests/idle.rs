//! An edge at rest costs next to nothing, and whatever happens leaves nothing behind.
//!
//! The short form of `cargo bench --bench edge -- idle`, with limits that a busy machine keeps.

#[path = "../benches/support/mod.rs"]
mod support;

use std::path::Path;
use std::time::Duration;

use support::cloud::Cloud;
use support::edge::Edge;
use support::{process, until};

#[test]
fn an_edge_at_rest() {
    let cloud = Cloud::start(executable());
    let mut edge = connected(&cloud);
    let pids = edge.pids();
    at_rest(edge.hub());
    let cpu = || pids.into_iter().map(process::precise_cpu).sum::<Duration>();
    let sleeps = || pids.into_iter().map(process::sleeps).sum::<u64>();
    let before = (cpu(), sleeps());
    std::thread::sleep(Duration::from_secs(10));
    let (cpu, sleeps) = (cpu() - before.0, sleeps() - before.1);
    // The supervisor has nothing to do but to wait.
    assert_eq!(process::threads(pids[0]).len(), 1);
    // Two bursts in ten seconds; in each, both threads may hand work to each other a few times.
    assert!(sleeps <= 40, "it woke up {sleeps} times in 10 s");
    assert!(
        cpu < Duration::from_millis(200),
        "it worked for {cpu:?} in 10 s"
    );
    assert_eq!(
        edge.session_after(0).0.generation,
        1,
        "the tunnel was opened anew"
    );
}

#[test]
fn twenty_reconnects_leave_nothing_behind() {
    let cloud = Cloud::start(executable());
    let mut edge = connected(&cloud);
    let pid = edge.hub();
    at_rest(pid);
    let files = process::open_files(pid);
    let mut generation = edge.session_after(0).0.generation;
    for _ in 0..20 {
        edge.renew();
        generation = edge.session_after(generation).0.generation;
    }
    at_rest(pid);
    until("end of what the old sessions held", PATIENCE, || {
        // A watcher's connection may be on its way out.
        (process::open_files(pid) <= files).then_some(())
    });
}

fn connected(cloud: &Cloud) -> Edge {
    let ports = [cloud.ports.https, cloud.ports.hub];
    let mut edge = Edge::start(executable(), "at-rest", ports, &cloud.token().0);
    edge.session_after(0);
    edge
}

/// The executor and the reactor are all that is there when no work is at hand.
fn at_rest(pid: u32) {
    until("rest: helper threads stay", PATIENCE, || {
        (process::threads(pid).len() <= 2).then_some(())
    });
}

fn executable() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_kubeedge"))
}

const PATIENCE: Duration = Duration::from_secs(30);
