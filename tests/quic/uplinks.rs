//! A device with two uplinks whose session goes over QUIC: when one is gone, the session goes on over the other.

use crate::common::device::Device;
use crate::common::figures;
use crate::common::site::Cloudcore;
use crate::common::wait_until;
use crate::namespace::{Elsewhere, here, run};
use crate::{only, session};
use kubeedge::protocol::transport::Transport;

#[test]
fn a_session_goes_from_one_uplink_to_the_other() {
    run("uplinks::in_namespaces");
}

const CLOUD: &str = "10.77.9.1";

#[test]
#[ignore = "it makes and cuts its own uplinks: the test above runs it in namespaces"]
fn in_namespaces() {
    let elsewhere = Elsewhere::new();
    for (name, net) in [("up1", 1), ("up2", 2)] {
        elsewhere.line(name);
        elsewhere.there(&format!("ip addr add 10.77.{net}.1/24 dev {name}"));
        here(&format!("ip addr add 10.77.{net}.2/24 dev {name}"));
        restore(net);
    }
    elsewhere.there(&format!("ip addr add {CLOUD}/32 dev lo"));
    let config = format!(
        "modules: {{cloudHub: {{advertiseAddress: [{CLOUD}], quic: {{enable: true, address: {CLOUD}, port: 0}}}}}}"
    );
    let cloud = Cloudcore::start_within(&elsewhere.within(), CLOUD, &config);
    let port = cloud.quic.expect("a port for QUIC");
    let mut device = Device::new("edge-1");
    device.hub_keys = vec![format!("quic: {{enable: true, server: '{CLOUD}:{port}'}}")];
    device.configure_elsewhere(&cloud, CLOUD);
    let edge = device.start();
    let status = edge.connected();
    assert_eq!(session(&status).tunnel, Transport::Quic, "{status:?}");
    let first = only(&cloud);
    assert!(first.peer.starts_with("10.77.1.2:"), "{first:?}");

    let mut moves = 0;
    for (lost, kept) in [(1, 2), (2, 1)] {
        here(&format!("ip link set up{lost} down"));
        wait_until("the session on the other uplink", || {
            only(&cloud).peer.starts_with(&format!("10.77.{kept}.2:"))
        });
        let now = only(&cloud);
        assert_eq!((now.generation, now.since), (first.generation, first.since));
        assert_eq!(
            session(&edge.status()),
            session(&status),
            "the device noticed nothing"
        );
        here(&format!("ip link set up{lost} up"));
        restore(lost);
        moves += 1;
    }
    // It is the same session for both sides, and it works.
    cloud.run(&["certs", "revoke", "edge-1"]).ends(0);
    edge.until("the end", |status| status.session.is_none());
    edge.stop();
    figures::tried(
        "network-quic-uplinks",
        "uplinks pulled under a session over QUIC, which went on over the other",
        moves,
    );
}

/// The first uplink is what the routes prefer; the kernel forgets a route with its uplink.
fn restore(net: u8) {
    here(&format!(
        "ip route add default via 10.77.{net}.1 metric {net}"
    ));
}
