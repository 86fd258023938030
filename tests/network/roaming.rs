//! A device that gets another address: its tunnel is up again long before the keepalive would have told.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::cloud::Cloud;
use crate::common::device::{Device, Edge};
use crate::common::figures;
use crate::namespace::{Elsewhere, here, run};

#[test]
fn another_address_is_noticed_at_once() {
    run("roaming::in_namespaces");
}

/// The keepalive would take up to 45 s, and the kernel 30.
const SOON: Duration = Duration::from_secs(10);

#[test]
#[ignore = "it changes its own addresses: the test above runs it in namespaces"]
fn in_namespaces() {
    let elsewhere = Elsewhere::new();
    for (name, net) in [("up1", 1), ("up2", 2)] {
        elsewhere.line(name);
        elsewhere.there(&format!("ip addr add 10.77.{net}.1/24 dev {name}"));
    }
    elsewhere.there("ip addr add 10.77.9.1/32 dev lo");
    here("ip addr add 10.77.1.2/24 dev up1");
    here("ip route add default via 10.77.1.1");
    let mut cloud = Cloud::start_within(&elsewhere.within(), &["--bind", "10.77.9.1"]);
    let device = Device::new("edge-1");
    device.configure(&cloud, &cloud.token());
    let edge = device.start();
    let mut changes = 0;
    let mut comes_from = |edge: &Edge<'_>, cloud: &mut Cloud, address: &str, since: Instant| {
        let fits = |event: &Value| event["peer"] == address;
        cloud.event_where("connect", fits);
        edge.until("a session", |status| status.session.is_some());
        let took = since.elapsed();
        println!("{address} after {took:?}");
        changes += 1;
        took
    };
    comes_from(&edge, &mut cloud, "10.77.1.2", Instant::now());
    let number = |edge: &Edge<'_>| edge.connected().session.expect("it is up").generation;
    let first = number(&edge);

    // Another address from the same router.
    let since = Instant::now();
    here("ip addr del 10.77.1.2/24 dev up1");
    here("ip addr add 10.77.1.3/24 dev up1");
    here("ip route replace default via 10.77.1.1");
    let took = comes_from(&edge, &mut cloud, "10.77.1.3", since);
    assert!(took < SOON, "{took:?}");
    assert!(
        edge.log()
            .contains("the tunnel started from 10.77.1.2, and this device has moved on")
    );

    // Another uplink, while the address of the first one stays: only the route tells.
    here("ip addr add 10.77.2.2/24 dev up2");
    elsewhere.there("ip link set up1 down");
    let since = Instant::now();
    here("ip route replace default via 10.77.2.1");
    let took = comes_from(&edge, &mut cloud, "10.77.2.2", since);
    assert!(took < SOON, "{took:?}");

    // No network at all for a while: then an attempt is made as soon as there is one, whatever the pause.
    here("ip addr del 10.77.2.2/24 dev up2");
    edge.until("the end of the session", |status| status.session.is_none());
    edge.complains("check the network of this device");
    here("ip addr add 10.77.2.4/24 dev up2");
    let since = Instant::now();
    here("ip route add default via 10.77.2.1");
    let took = comes_from(&edge, &mut cloud, "10.77.2.4", since);
    assert!(took < SOON, "{took:?}");

    // What does not concern the tunnel does not end it.
    let number = number(&edge);
    let noticed = "the addresses or routes of this device have changed";
    let before = edge.log().matches(noticed).count();
    here("ip addr add 10.77.2.5/24 dev up2");
    let seen = || edge.log().matches(noticed).count() > before;
    crate::common::wait_until("the change", seen);
    assert_eq!(
        edge.connected().session.expect("it is up").generation,
        number
    );
    assert!(number >= first + 3);
    edge.stop();
    cloud.satisfied();
    figures::tried(
        "network-roaming",
        "changes of a device's address or uplink, each with a new session within 10 s",
        changes - 1,
    );
}
