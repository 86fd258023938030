//! Certificates and tunnels on one port: our device finds that out by itself, KubeEdge's is told twice.

use std::process::Command;

use kubeedge::config::{self, edit};

use crate::common::Folder;
use crate::common::device::CONFIG;
use crate::common::script::python;
use crate::common::site::{Cloudcore, Said, Site};
use crate::namespace::run;
use crate::wall::{has_dropped_nothing, nft};

/// A cloud with one port, as after `https.enable: false` and `websocket.enable: false`.
fn cloud() -> (Cloudcore, String) {
    let cloud = Cloudcore::start(&["--single-port", "0"]);
    let port = cloud.single.expect("one port");
    (cloud, format!("127.0.0.1:{port}"))
}

#[test]
fn join_needs_no_other_port() {
    run("one_port::behind_a_wall");
}

#[test]
#[ignore = "it builds a wall: the test above runs it in a network namespace"]
fn behind_a_wall() {
    let (cloud, at) = cloud();
    let port = cloud.single.expect("one port");
    nft("add table ip wall");
    nft("add chain ip wall out { type filter hook output priority 0; }");
    for end in ["dport", "sport"] {
        nft(&format!("add rule ip wall out tcp {end} {port} accept"));
    }
    nft("add rule ip wall out counter drop");
    let (site, token) = (Site::new(), cloud.token_file());
    let said = site
        .run(&["join", "-e", &at, "--token-file", &token, "-i", "one"])
        .ends(0);
    assert!(said.err.contains("no other port is used"), "{}", said.err);
    let key = |path: &str| edit::get(&site.read(CONFIG), &config::path(path)).expect("YAML");
    let (api, hub) = (
        "modules.edgeHub.httpServer",
        "modules.edgeHub.websocket.server",
    );
    assert_eq!(key(api), Some(format!("https://{at}").into()));
    assert_eq!(key(hub), Some(at.clone().into()));
    assert_eq!(site.connected().session.expect("a session").peer, at);
    site.run(&["certs", "renew"]).ends(0);
    // Again, without a word on ports: nothing to do.
    let again = site.run(&["join", "-e", &at, "-i", "one"]).ends(0);
    assert!(again.out.contains("already"), "{}", again.out);
    // Nothing else was so much as tried.
    has_dropped_nothing("wall out", &format!("127.0.0.1:{}", cloud.https));
}

#[test]
fn a_port_that_serves_no_certificates_is_not_taken_for_one_that_does() {
    // Nothing must be at 10002, which is so in a network of its own.
    run("one_port::with_nothing_at_10002");
}

#[test]
#[ignore = "on this machine something may be at 10002: the test above runs it in a namespace"]
fn with_nothing_at_10002() {
    let cloud = Cloudcore::start(&[]);
    let hub = format!("127.0.0.1:{}", cloud.hub);
    let token = cloud.token_file();
    let site = Site::new();
    let said = site
        .run(&["join", "-e", &hub, "--token-file", &token])
        .ends(69);
    let fault = said.fault("kubeedge join");
    assert!(
        fault.contains("no way to the certificate API at 127.0.0.1:10002"),
        "{fault}"
    );
}

#[test]
fn an_edge_of_kubeedge_takes_the_same_port_for_both() {
    let (cloud, at) = cloud();
    let token = cloud.token_file();
    let peer = |command: &str, folder: &Folder, sabotage: &[&str]| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/edge.py");
        let mut edge = Command::new(python());
        edge.arg(script)
            .args([command, "--node", "go", "--https", &at, "--hub", &at])
            .args(["--token-file", &token, "--dir"])
            .arg(folder.path())
            .args(sabotage);
        Said::of(edge.output())
    };
    let folder = Folder::new();
    peer("tour", &folder, &[]).ends(0);
    for (sabotage, status) in [("no-client-cert", "401"), ("other-node-id", "403")] {
        let said = peer("tunnel", &folder, &["--sabotage", sabotage]).ends(3);
        assert!(said.out.contains(status), "{sabotage}: {}", said.out);
    }
}
