//! Half-open connections: peers whose packets are dropped on the way, as when a cable is pulled. In a network
//! namespace of this test's own, by nftables.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;

use crate::At;
use crate::common::figures::tried;
use crate::peer::{Client, Sees, config, dial};
use crate::requests::{self, HALF_HELLO, join, own, upgrade};
use crate::support::{Cloud, until};

/// Runs the test below where it has a network of its own.
#[test]
fn peers_that_vanish_are_noticed() {
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
        .args([
            "--ignored",
            "--exact",
            "half_open::inside_a_namespace",
            "--nocapture",
        ])
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
