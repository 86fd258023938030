//! The tunnel over QUIC, as edges and operators meet it: sessions, moves, blocked networks, hostile peers.

mod client;
#[path = "../common/mod.rs"]
mod common;
#[path = "../network/namespace.rs"]
mod namespace;
mod relay;
mod uplinks;

use std::net::UdpSocket;
use std::process::Command;

use client::Files;
use common::device::{CA, CERTIFICATE, Device, KEY};
use common::script::python;
use common::site::{Cloudcore, Said, Site};
use common::{Folder, put, wait_until};
use kubeedge::protocol::control::{EdgeState, EdgeStatus, HubSession, SessionFacts};
use kubeedge::protocol::transport::Transport;
use kubeedge::tunnel::TunnelError;
use relay::Relay;

const CONFIG: &str = "modules: {cloudHub: {quic: {enable: true, address: 127.0.0.1, port: 0}}}";

fn cloud() -> (Cloudcore, u16) {
    let cloud = Cloudcore::start_with(CONFIG, &[]);
    let port = cloud.quic.expect("a port for QUIC");
    (cloud, port)
}

/// A device that tries this port first.
fn device(cloud: &Cloudcore, port: u16, more: &[&str]) -> Device {
    let mut device = Device::new("edge-1");
    device.hub_keys = vec![format!(
        "quic: {{enable: true, server: '127.0.0.1:{port}'}}"
    )];
    device.hub_keys.extend(more.iter().map(|it| it.to_string()));
    device.configure_for(cloud, &cloud.token());
    device
}

fn join(site: &Site, cloud: &Cloudcore, node: &str) -> Said {
    let hub = format!("127.0.0.1:{}", cloud.hub);
    let (api, token) = (cloud.https.to_string(), cloud.token_file());
    let port = cloud.quic.expect("a port for QUIC");
    let server = format!("modules.edgeHub.quic.server=127.0.0.1:{port}");
    let words = ["join", "-e", &hub, "-s", &api, "--token-file", &token];
    let more = ["-i", node, "--hub-protocol", "quic", "--set", &server];
    site.run(&[&words[..], &more[..]].concat()).ends(0)
}

fn session(status: &EdgeStatus) -> &SessionFacts {
    status.session.as_ref().expect("a session")
}

fn only(cloud: &Cloudcore) -> HubSession {
    let mut sessions = cloud.sessions();
    assert_eq!(sessions.len(), 1, "{}", cloud.log());
    sessions.remove(0)
}

#[test]
fn a_device_joins_renews_and_leaves_over_quic() {
    let (cloud, port) = cloud();
    let site = Site::new();
    join(&site, &cloud, "edge-1");
    let before = site.connected();
    let facts = session(&before);
    assert_eq!(facts.tunnel, Transport::Quic, "{before:?}");
    assert_eq!(facts.peer, format!("127.0.0.1:{port}"));
    assert_eq!(facts.no_quic, None);
    let at_cloud = only(&cloud);
    assert_eq!(at_cloud.tunnel, Transport::Quic);
    assert_eq!(cloud.metric("kubeedge_sessions_quic"), 1);
    let told = site.run(&["status"]).ends(0).out;
    let line = told.lines().find(|line| line.contains("tunnel"));
    assert_eq!(line.map(str::trim), Some("tunnel        QUIC"), "{told}");

    // The new certificate's tunnel is there before the old one's goes.
    site.run(&["certs", "renew"]).ends(0);
    wait_until("the renewed session", || {
        only(&cloud).serial != at_cloud.serial
    });
    let renewed = only(&cloud);
    assert_eq!(renewed.last_gap_ms, Some(0), "{renewed:?}");
    assert_eq!(renewed.tunnel, Transport::Quic);
    wait_until("the second session", || {
        session(&site.connected()).generation == 2
    });
    assert_eq!(session(&site.connected()).tunnel, Transport::Quic);
    wait_until("the end of the first session", || {
        cloud.log().contains("a newer connection took its place")
    });

    // Without `--hub-protocol`, it stays as it is.
    let hub = format!("127.0.0.1:{}", cloud.hub);
    let api = cloud.https.to_string();
    let server = format!("modules.edgeHub.quic.server=127.0.0.1:{port}");
    let again = [
        "join", "-e", &hub, "-s", &api, "-i", "edge-1", "--set", &server,
    ];
    assert!(site.run(&again).ends(0).out.contains("already"));

    site.run(&["reset", "--force"]).ends(0);
    wait_until("the farewell", || {
        cloud
            .log()
            .contains("the other side closed the tunnel (1000)")
    });
    assert_eq!(cloud.sessions(), []);
}

#[test]
fn where_udp_is_blocked_a_websocket_serves_and_that_is_said() {
    let (cloud, _) = cloud();
    // Takes everything and answers nothing, as a firewall does.
    let wall = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let port = wall.local_addr().expect("an address").port();
    let device = device(&cloud, port, &[]);
    let edge = device.start();
    let status = edge.connected();
    let facts = session(&status);
    assert_eq!(facts.tunnel, Transport::WebSocket);
    assert_eq!(facts.peer, format!("127.0.0.1:{}", cloud.hub));
    let why = facts.no_quic.as_ref().expect("a reason");
    let expected = format!(
        "no tunnel over QUIC to 127.0.0.1:{port}: an answer (is UDP blocked on the way?) took too \
         long"
    );
    assert_eq!(why, &expected);
    assert!(edge.log().contains(&expected), "{}", edge.log());
    assert!(edge.log().contains("tried again in"), "{}", edge.log());
    assert_eq!(only(&cloud).tunnel, Transport::WebSocket);
    edge.stop();
}

#[test]
fn a_proxy_has_no_way_for_quic() {
    let (cloud, port) = cloud();
    let device = device(&cloud, port, &["proxy: http://127.0.0.1:1"]);
    let edge = device.start();
    edge.complains("127.0.0.1:1");
    assert!(!cloud.log().contains("QUIC from"), "{}", cloud.log());
    edge.stop();
}

/// Once UDP goes through again, and somebody says so.
#[test]
fn a_websocket_makes_way_for_quic_without_a_gap() {
    let (cloud, port) = cloud();
    let relay = Relay::to(port);
    relay.cut();
    let device = device(&cloud, relay.port, &["bindAddress: 127.0.0.9"]);
    let edge = device.start();
    assert_eq!(session(&edge.connected()).tunnel, Transport::WebSocket);
    relay.mend();
    edge.order("reload");
    let status = edge.until("a session over QUIC", |status| {
        let session = status.session.as_ref();
        session.is_some_and(|session| session.tunnel == Transport::Quic)
    });
    assert_eq!(session(&status).no_quic, None);
    assert_eq!(only(&cloud).last_gap_ms, Some(0));
    // Connections begin where they are told to.
    assert_eq!(relay.edge().ip().to_string(), "127.0.0.9");
    edge.stop();
}

#[test]
fn a_device_that_changes_its_address_keeps_its_session() {
    let (cloud, port) = cloud();
    let relay = Relay::to(port);
    let device = device(&cloud, relay.port, &["heartbeat: 1"]);
    let edge = device.start();
    let status = edge.connected();
    assert_eq!(session(&status).tunnel, Transport::Quic, "{status:?}");
    let before = only(&cloud);
    for address in ["127.0.0.1", "127.0.0.9"] {
        let now = relay.move_to(address).to_string();
        wait_until("the new address", || only(&cloud).peer == now);
        let after = only(&cloud);
        assert_eq!(after.generation, before.generation);
        assert_eq!((after.since, after.last_gap_ms), (before.since, None));
        assert_eq!(session(&edge.status()), session(&status));
    }
    wait_until("a line on that", || {
        cloud.log().contains("node edge-1 is at")
    });
    // An order from the cloud finds it there.
    cloud.run(&["certs", "revoke", "edge-1"]).ends(0);
    edge.until("the end", |status| status.session.is_none());
    edge.stop();
}

#[test]
fn a_dead_line_is_noticed_and_the_websocket_serves() {
    let (cloud, port) = cloud();
    let relay = Relay::to(port);
    let device = device(&cloud, relay.port, &["heartbeat: 1"]);
    let edge = device.start();
    let status = edge.connected();
    assert_eq!(session(&status).tunnel, Transport::Quic);
    relay.cut();
    edge.complains("any sign of life from the hub took too long");
    let status = edge.until("another session", |status| {
        status.state == EdgeState::Connected
    });
    assert_eq!(session(&status).tunnel, Transport::WebSocket);
    assert!(session(&status).no_quic.is_some());
    edge.stop();
}

#[test]
fn a_cloud_that_stops_says_so() {
    let (mut cloud, port) = cloud();
    let device = device(&cloud, port, &[]);
    let edge = device.start();
    assert_eq!(session(&edge.connected()).tunnel, Transport::Quic);
    cloud.stop();
    assert!(cloud.log().contains("cloudcore stops"));
    let log = || edge.log();
    wait_until("the farewell", || log().contains("(1001: the cloud stops)"));
    edge.stop();
}

#[test]
fn certificates_are_judged_as_on_the_other_tunnel() {
    let ((cloud, port), (other, other_port)) = (cloud(), cloud());
    let (site, stranger) = (Site::new(), Site::new());
    join(&site, &cloud, "edge-1");
    join(&stranger, &other, "edge-1");
    let own = Files::of(&site);
    assert!(own.tunnel(port, "edge-1").is_ok());
    // Another node's name.
    match own.tunnel(port, "edge-2") {
        Err(TunnelError::Refused {
            status: 403, said, ..
        }) => {
            assert!(said.contains("not that of the node"), "{said}");
        }
        answer => panic!("{answer:?}"),
    }
    // A hub of another CA, and a certificate of another one.
    let error = own.tunnel(other_port, "edge-1").expect_err("another CA");
    assert!(
        error.to_string().contains("no secure connection"),
        "{error}"
    );
    let theirs = Files::of(&stranger);
    assert!(theirs.tunnel(port, "edge-1").is_err());
    assert!(theirs.tunnel(other_port, "edge-1").is_ok());
    // None at all.
    let nobody = Files::of(&site).without_identity();
    let error = nobody.tunnel(port, "edge-1").expect_err("no certificate");
    assert!(
        error.to_string().to_lowercase().contains("certificate"),
        "{error}"
    );
    // A key that was revoked.
    cloud.run(&["certs", "revoke", "edge-1"]).ends(0);
    match own.tunnel(port, "edge-1") {
        Err(TunnelError::Refused {
            status: 403, said, ..
        }) => {
            assert!(said.contains("revoked"), "{said}");
        }
        answer => panic!("{answer:?}"),
    }
}

/// By aioquic, which shares no code with the library here.
#[test]
fn another_implementation_gets_a_tunnel() {
    let (cloud, port) = cloud();
    let (site, folder) = (Site::new(), Folder::new());
    join(&site, &cloud, "edge-1");
    // Its certificate is the first in the file, the CA's the last.
    for (name, from) in [
        ("server.key", KEY),
        ("server.crt", CERTIFICATE),
        ("ca.crt", CA),
    ] {
        put(&folder.path().join(name), site.read(from), 0o600);
    }
    // Two edges of one name would push each other out.
    site.run(&["reset", "--force"]).ends(0);
    wait_until("the end of the first", || cloud.sessions().is_empty());
    let hub = format!("127.0.0.1:{port}");
    let edge = |more: &[&str]| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/edge_quic.py");
        let mut command = Command::new(python());
        command
            .arg(script)
            .args(["--hub", &hub, "--node", "edge-1", "--dir"]);
        Said::of(command.arg(folder.path()).args(more).output())
    };
    let said = edge(&[]).ends(0);
    assert!(said.out.contains("1000"), "{}", said.out);
    wait_until("the end of its session", || {
        cloud
            .log()
            .contains("session 2 of node edge-1 has ended: the other side closed")
    });
    for more in [
        &["--no-identity"][..],
        &["--alpn", "h3"],
        &["--node", "edge-2"],
    ] {
        let said = edge(more).ends(3);
        assert!(said.out.contains("refused"), "{more:?}: {}", said.out);
    }
}

/// Random datagrams, and callers that are never heard of again: nobody who is honest notices.
#[test]
fn floods_of_datagrams_cost_an_honest_edge_nothing() {
    let (cloud, port) = cloud();
    let site = Site::new();
    join(&site, &cloud, "edge-1");
    let before = session(&site.connected()).clone();
    let hub = ("127.0.0.1", port);
    let firsts = Files::of(&site).first_datagrams(120);
    let noise = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for number in 0..3000_usize {
        let length = number % 1472;
        let junk: Vec<u8> = (0..length).map(|at| (at * 31 + number * 7) as u8).collect();
        let _ = noise.send_to(&junk, hub);
    }
    // Each from an address of its own, which never answers.
    let silent: Vec<UdpSocket> = firsts
        .iter()
        .enumerate()
        .map(|(number, first)| {
            let address = format!("127.0.{}.{}", 1 + number / 200, 1 + number % 200);
            let socket = UdpSocket::bind((address.as_str(), 0)).expect("a socket");
            socket.send_to(first, hub).expect("it is sent");
            socket
        })
        .collect();
    wait_until("callers that must prove their address", || {
        cloud.metric("kubeedge_quic_retries_total") > 0
    });
    // A newcomer proves it, and is served.
    let second = Site::new();
    join(&second, &cloud, "edge-2");
    assert_eq!(session(&second.connected()).tunnel, Transport::Quic);
    assert_eq!(session(&site.connected()), &before);
    assert_eq!(cloud.metric("kubeedge_sessions_quic"), 2);
    // Nothing is held against addresses that were not proved.
    assert!(
        !cloud.log().contains("no tunnel from 127.0.1."),
        "{}",
        cloud.log()
    );
    drop(silent);
}
