//! Lines that are dead without a word, seen from the device: packets are dropped, as when a cable is pulled far away.

use std::time::{Duration, Instant};

use crate::common::cloud::Cloud;
use crate::common::device::Device;
use crate::common::figures;
use crate::namespace::{Elsewhere, here, run};
use crate::wall::nft;

#[test]
fn a_line_that_is_dead_without_a_word_is_noticed() {
    run("half_open::in_namespaces");
}

/// What the settings by default promise; they keep it with a reserve of some seconds.
const PROMISED: Duration = Duration::from_secs(45);
/// By a hurried device, with what the system waits for an acknowledgement.
const HURRIED: Duration = Duration::from_secs(9);
/// For a machine that is busy.
const SLACK: Duration = Duration::from_secs(5);

#[test]
#[ignore = "it cuts its own network: the test above runs it in namespaces"]
fn in_namespaces() {
    let elsewhere = Elsewhere::new();
    elsewhere.line("up1");
    elsewhere.there("ip addr add 10.77.1.1/24 dev up1");
    here("ip addr add 10.77.1.2/24 dev up1");
    let long = std::env::var_os("KUBEEDGE_LONG").is_some();
    let agreed = if long {
        "keepalive=30, lease"
    } else {
        "keepalive=4, lease"
    };
    // KubeEdge's cloud, and one with which terms are agreed.
    let tried = lose(&elsewhere, long, &[]) + lose(&elsewhere, long, &["--terms", agreed]);
    let how = match long {
        true => format!("{} s, by the settings by default", PROMISED.as_secs()),
        false => format!("{} s, by a heartbeat of 2 s", (HURRIED + SLACK).as_secs()),
    };
    figures::tried(
        "network-half-open",
        &format!(
            "lines of a device that died without a word, one way or both, all noticed within {how}"
        ),
        tried,
    );
}

/// Loses the line to such a cloud in every way; in how many.
fn lose(elsewhere: &Elsewhere, long: bool, terms: &[&str]) -> u32 {
    // This cloud is not to judge that it hears nothing: that is what is brought about.
    let options = ["--bind", "10.77.1.1", "--keepalive-timeout", "120"];
    let cloud = Cloud::start_within(&elsewhere.within(), &[&options, terms].concat());
    let token = cloud.token();
    // A device with the settings by default, which takes its time, and one that is told to hurry.
    let mut device = Device::new("edge-1");
    if !long {
        device.hub_keys = vec!["heartbeat: 2".to_owned()];
    }
    let limit = match long {
        true => PROMISED,
        false => HURRIED + SLACK,
    };
    device.configure(&cloud, &token);
    let edge = device.start();
    edge.connected();
    let mut tried = 0;
    // All that comes; all that goes; both.
    for lost in [
        &["ip saddr 10.77.1.1 drop"][..],
        &["ip daddr 10.77.1.1 drop"],
        &["ip saddr 10.77.1.1 drop", "ip daddr 10.77.1.1 drop"],
    ] {
        let number = edge.connected().session.expect("it is up").generation;
        here("nft add table ip lost");
        for (chain, hook) in [("in", "input"), ("out", "output")] {
            nft(&format!(
                "add chain ip lost {chain} {{ type filter hook {hook} priority 0; }}"
            ));
            for rule in lost {
                nft(&format!("add rule ip lost {chain} {rule}"));
            }
        }
        let since = Instant::now();
        edge.until("the end of the session", |status| status.session.is_none());
        let took = since.elapsed();
        println!("{terms:?}, {lost:?}: noticed after {took:?}");
        assert!(took < limit, "{lost:?}: {took:?}");
        here("nft delete table ip lost");
        edge.order("reload");
        let status = edge.until("the next session", |status| {
            let session = status.session.as_ref();
            session.is_some_and(|session| session.generation > number)
        });
        assert_eq!(status.last_error, None);
        tried += 1;
    }
    edge.stop();
    cloud.satisfied();
    tried
}
