//! A device with two uplinks that is told to use one of them: the cloud sees that one and nothing else.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::common::cloud::Cloud;
use crate::common::device::Device;
use crate::common::figures;
use crate::namespace::{Elsewhere, here, run};

#[test]
fn a_device_that_is_bound_uses_one_uplink_only() {
    run("uplinks::in_namespaces");
}

#[test]
#[ignore = "it makes its own uplinks: the test above runs it in namespaces"]
fn in_namespaces() {
    let elsewhere = Elsewhere::new();
    for (name, net) in [("up1", 1), ("up2", 2)] {
        elsewhere.line(name);
        elsewhere.there(&format!("ip addr add 10.77.{net}.1/24 dev {name}"));
        here(&format!("ip addr add 10.77.{net}.2/24 dev {name}"));
        // The first one is what the routes prefer.
        here(&format!(
            "ip route add default via 10.77.{net}.1 metric {net}"
        ));
    }
    elsewhere.there("ip addr add 10.77.9.1/32 dev lo");
    let mut tried = 0;
    for (flags, address) in [
        (&[][..], "10.77.1.2"),
        (&["--bind-address", "10.77.2.2"], "10.77.2.2"),
        (&["--bind-interface", "up2"], "10.77.2.2"),
        (&["--bind-interface", "up1"], "10.77.1.2"),
    ] {
        let mut cloud = Cloud::start_within(&elsewhere.within(), &["--bind", "10.77.9.1"]);
        let device = Device::new("edge-1");
        device.configure(&cloud, &cloud.token());
        let edge = device.start_with_flags(flags);
        edge.connected();
        assert_eq!(edge.order("renew").error, None);
        let seen: BTreeSet<String> = ["client", "connect"]
            .into_iter()
            .flat_map(|kind| cloud.unread(kind))
            .map(|event: Value| event["peer"].as_str().expect("an address").to_owned())
            .collect();
        assert_eq!(seen, BTreeSet::from([address.to_owned()]), "{flags:?}");
        tried += 1;
        // Without its uplink it says which one is missing, and takes no other.
        if let ["--bind-interface", name] = flags {
            here(&format!("ip link set {name} down"));
            edge.until("the end of the session", |status| status.session.is_none());
            edge.complains(&format!("from the interface {name}"));
            here(&format!("ip link set {name} up"));
        }
        edge.stop();
        cloud.satisfied();
    }
    figures::tried(
        "network-uplinks",
        "uplinks that a device was bound to",
        tried - 1,
    );
}
