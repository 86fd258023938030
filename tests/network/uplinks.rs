//! A device with two uplinks that is told to use one of them: the cloud sees that one and nothing else.

use std::collections::BTreeSet;

use kubeedge::config::{self, edit};
use serde_json::Value;

use crate::common::cloud::Cloud;
use crate::common::device::{CONFIG, Device};
use crate::common::figures;
use crate::common::site::Site;
use crate::namespace::{Elsewhere, here, run};
use crate::wall::{has_dropped_nothing, nft};

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
    joins(&elsewhere);
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

/// What join asks goes by the uplink it names, and what it starts as well: nothing else gets as far as the line.
fn joins(elsewhere: &Elsewhere) {
    for (flag, value, key) in [
        ("--bind-address", "10.77.2.2", "bindAddress"),
        ("--bind-interface", "up2", "bindInterface"),
    ] {
        let cloud = Cloud::start_within(&elsewhere.within(), &["--bind", "10.77.9.1"]);
        let (site, hub) = (Site::new(), format!("10.77.9.1:{}", cloud.hub));
        let token = cloud.path().join("token");
        let token = token.to_str().expect("UTF-8");
        let join = |words: &[&str]| site.join(&hub, cloud.https, token, "bound", words);
        nft("add table ip other");
        nft("add chain ip other out { type filter hook output priority 0; }");
        nft("add rule ip other out ip daddr 10.77.9.1 ip saddr != 10.77.2.2 counter drop");
        // One that is not there is named before anything is written.
        let missing = ["--bind-interface", "up9"];
        let fault = join(&missing).ends(69).fault("kubeedge join");
        assert!(fault.contains("up9"), "{fault}");
        assert!(!site.has(CONFIG));
        join(&[flag, value]).ends(0);
        site.connected();
        site.run(&["certs", "renew"]).ends(0);
        // Without a word on it, this would be the first one.
        has_dropped_nothing("other out", &hub);
        nft("delete table ip other");
        let key = config::path(&format!("modules.edgeHub.{key}"));
        let kept = edit::get(&site.read(CONFIG), &key).expect("YAML");
        assert_eq!(kept, Some(value.into()), "{flag}");
        drop(site);
        cloud.satisfied();
    }
}
