//! Half-open connections: peers whose packets are dropped on the way, as when a cable is pulled. In a network
//! namespace of this test's own, by nftables.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::At;
use crate::common::figures::tried;
use crate::peer::{Client, PING, Sees, config, dial, frame};
use crate::requests::{self, HALF_HELLO, join, own, upgrade};
use crate::support::{Cloud, until};

/// Runs the test below where it has a network of its own.
#[test]
fn peers_that_vanish_are_noticed() {
    run("half_open::inside_a_namespace");
}

/// The same with edges whose line dies one way or both; `KUBEEDGE_LONG=1` takes the settings by default.
#[test]
fn edges_whose_line_dies_are_ended_in_time() {
    run("half_open::lost_inside_a_namespace");
}

fn run(test: &str) {
    let program = std::env::current_exe().unwrap();
    let ran = Command::new("unshare")
        .args([
            "--net",
            "sh",
            "-c",
            "ip link set lo up && exec \"$@\"",
            "sh",
        ])
        .arg(program)
        .args(["--ignored", "--exact", test, "--nocapture"])
        .output()
        .expect("unshare starts: run tests/setup.sh");
    let said =
        String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.success() && said.contains("1 passed"),
        "this test needs root (for a network namespace), ip and nft (tests/setup.sh):\n{said}"
    );
    print!("{said}");
}

#[test]
#[ignore = "it cuts its own network: the test above runs it in a namespace"]
fn inside_a_namespace() {
    let mut cloud = Cloud::start("modules: {cloudHub: {keepaliveInterval: 2}}", None);
    assert_eq!(join(&At::new(&cloud), "honest"), Sees::Status(200));
    // The peers' addresses, whose packets will be lost in both directions.
    let lost = |last| Ipv4Addr::new(127, 66, 0, last);
    let at = |last| At {
        cloud: &cloud,
        from: lost(last),
    };
    let silent = dial(lost(1), cloud.https).unwrap();
    let mut half = dial(lost(2), cloud.hub).unwrap();
    half.write_all(HALF_HELLO).unwrap();
    let mut asked = Client::dial(lost(3), cloud.https, config(None)).unwrap();
    let edge = requests::tunnel(&at(4));
    let mut late = Client::dial(lost(5), cloud.hub, config(Some(&own(&at(5))))).unwrap();
    until("the tunnel is up", || {
        cloud.metric("kubeedge_sessions") == 1
    });
    let connections = cloud.metric("kubeedge_connections");
    assert_eq!(connections, 5);

    nft("add table ip lost");
    nft("add chain ip lost in { type filter hook input priority 0; }");
    nft("add rule ip lost in ip saddr 127.66.0.0/16 drop");
    nft("add rule ip lost in ip daddr 127.66.0.0/16 drop");
    // What they send now never arrives.
    asked.send(&requests::get("/ca.crt", ""));
    late.send(&upgrade("lost", &[]));

    for (metric, line) in [
        (
            "kubeedge_sessions_ended_total{reason=\"silent\"}",
            "nothing came from it for 2 s",
        ),
        (
            "kubeedge_connections_failed_total{reason=\"tls-slow\"}",
            "127.66.0.1 is closed",
        ),
        (
            "kubeedge_connections_failed_total{reason=\"head-slow\"}",
            "127.66.0.3 is closed",
        ),
        (
            "kubeedge_tunnels_refused_total{reason=\"timeout\"}",
            "no tunnel from 127.66.0.2",
        ),
    ] {
        until(metric, || cloud.metric(metric) > 0);
        until(line, || cloud.log().contains(line));
    }
    until("all are closed", || {
        cloud.metric("kubeedge_connections") == 0
    });
    assert_eq!(join(&At::new(&cloud), "honest"), Sees::Status(200));
    // Nobody who vanished was told anything.
    for stream in [&silent, &half] {
        assert!(hears_nothing(stream));
    }
    drop((asked, edge, late));
    cloud.is_well();
    tried(
        "hostile-cloud-half-open",
        "connections whose peer vanished at some stage, all noticed",
        connections,
    );
}

/// TCP itself is told to look after connections that come in (`network::tune`, whose own test shows for how long):
/// the kernel shows a timer of keepalive for each.
#[test]
fn connections_to_a_tunnel_have_a_deadline_of_tcp() {
    let mut cloud = Cloud::start("modules: {cloudHub: {singlePort: 0}}", None);
    for port in [cloud.hub, cloud.single.unwrap()] {
        let at = At::new(&cloud);
        let stream = dial(at.from, port).unwrap();
        let local = stream.local_addr().unwrap().port();
        let tunnel = requests::tunnel_over(&at, stream, config(Some(&own(&at))));
        until("nothing is under way and TCP looks after it", || {
            timer(port, local) == "02"
        });
        drop(tunnel);
    }
    cloud.is_well();
}

/// The kind of the timer that the kernel has for a connection, seen from its port `local`.
fn timer(local: u16, remote: u16) -> String {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ends = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = |field: &str| u16::from_str_radix(field.rsplit_once(':')?.1, 16).ok();
        let is_it = port(fields.get(1)?) == Some(local) && port(fields.get(2)?) == Some(remote);
        is_it.then(|| fields[5][..2].to_owned())
    };
    table.lines().find_map(ends).unwrap_or_default()
}

/// What is promised of the settings by default, whichever end of a line looks.
const PROMISED: Duration = Duration::from_secs(45);
/// Of hurried ones: six seconds by what was agreed, and what a busy machine needs.
const HURRIED: Duration = Duration::from_secs(11);

#[test]
#[ignore = "it cuts its own network: the test above runs it in a namespace"]
fn lost_inside_a_namespace() {
    let long = std::env::var_os("KUBEEDGE_LONG").is_some();
    let (yaml, terms, limit) = match long {
        true => ("", "keepalive=30, lease", PROMISED),
        false => (
            "modules: {cloudHub: {keepaliveInterval: 2}}",
            "keepalive=4, lease",
            HURRIED,
        ),
    };
    let mut cloud = Cloud::start(yaml, None);
    // What is lost on the line of the peers in 127.66.N.0/24.
    let losses = [
        (1, &["saddr"][..], "what goes to the hub"),
        (2, &["daddr"], "what comes from it"),
        (3, &["saddr", "daddr"], "both"),
    ];
    let mut edges = Vec::new();
    for (net, _, loss) in losses {
        // KubeEdge's edge, and one with which terms are agreed.
        for (last, headers) in [(1, &[][..]), (2, &[("Kubeedge-Terms", terms)])] {
            let at = At {
                cloud: &cloud,
                from: Ipv4Addr::new(127, 66, net, last),
            };
            let node = requests::node(&at);
            let mut edge = Client::dial(at.from, cloud.hub, config(Some(&own(&at)))).unwrap();
            edge.send(&upgrade(&node, headers));
            assert_eq!(edge.sees(), Sees::Status(101));
            edges.push((edge, node, format!("{loss}, {} terms", headers.len())));
        }
    }
    let open = edges.len() as u64;
    until("all are up", || cloud.metric("kubeedge_sessions") == open);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // They live on, and say so: what ends them is the line alone.
        let mut waits = Vec::new();
        for (mut edge, node, what) in edges {
            waits.push((node, what));
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    edge.send(&frame(PING, b"here"));
                    thread::sleep(Duration::from_millis(500));
                }
            });
        }
        // As long as the line is good nothing is ended.
        thread::sleep(limit / 4);
        assert_eq!(cloud.metric("kubeedge_sessions"), open, "{}", cloud.log());
        nft("add table ip lost");
        nft("add chain ip lost in { type filter hook input priority 0; }");
        let since = Instant::now();
        for (net, ends, _) in losses {
            for end in ends {
                nft(&format!(
                    "add rule ip lost in ip {end} 127.66.{net}.0/24 drop"
                ));
            }
        }
        while !waits.is_empty() {
            let log = cloud.log();
            let took = since.elapsed();
            waits.retain(|(node, what)| {
                let ended = |line: &str| line.contains(node.as_str()) && line.contains(" ended");
                let is_over = log.lines().any(ended);
                if is_over {
                    println!("{what}: ended after {took:?}");
                }
                !is_over
            });
            if took >= limit {
                over.store(true, Ordering::Relaxed);
                panic!("not within {limit:?}: {waits:?}\n{log}");
            }
            thread::sleep(Duration::from_millis(50));
        }
        over.store(true, Ordering::Relaxed);
    });
    until("no session is left", || {
        cloud.metric("kubeedge_sessions") == 0
    });
    cloud.is_well();
    let how = match long {
        true => "by the settings by default",
        false => "by a keepaliveInterval of 2 s, or 4 s agreed",
    };
    let what = format!(
        "edges whose line died one way or both, each session ended at the hub within {} s, {how}",
        limit.as_secs()
    );
    tried("hostile-cloud-lost-edges", &what, open);
}

fn nft(rule: &str) {
    let done = Command::new("nft")
        .arg(rule)
        .output()
        .expect("nft starts: run tests/setup.sh");
    assert!(
        done.status.success(),
        "{rule}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

fn hears_nothing(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let read = stream.read(&mut [0]);
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}
