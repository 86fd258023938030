//! A fleet that our cloudcore upgrades, a few devices at a time, some of which are bad.
//!
//! 6 devices with two that are bad; 50 with three, each in its own way, with `KUBEEDGE_LONG=1`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::common::device::Device;
use crate::common::site::Cloudcore;
use crate::common::{figures, wait_until};
use crate::offer::{Offer, actions, ctl, device, job};
use crate::stage::{NEW, OLD, address, address_at, is_installed, is_tidy, new, old};

#[test]
fn a_fleet_with_bad_devices_is_upgraded() {
    let long = std::env::var_os("KUBEEDGE_LONG").is_some();
    let (count, at_once, timeout) = match long {
        true => (50, 8, "300"),
        false => (6, 5, "30"),
    };
    let bad: BTreeMap<usize, &str> = match long {
        true => [(7, "closed"), (20, "deaf"), (33, "frail")].into(),
        false => [(1, "closed"), (4, "deaf")].into(),
    };
    let cloud = Cloudcore::start(&[]);
    let offer = Offer::of(&new(), "v0.2.0", None);
    let devices: Vec<Device> = (0..count)
        .map(|number| {
            let node = format!("edge-{number:02}");
            let manner = bad.get(&number).copied();
            let device = match manner {
                Some("closed") => device(&cloud, &node, "{enable: false}"),
                _ => device(&cloud, &node, &offer.allowed()),
            };
            if let Some(mood @ ("deaf" | "frail")) = manner {
                device.write(&format!("/{mood}"), "", 0o644);
            }
            device
        })
        .collect();
    let edges: Vec<_> = devices.iter().map(Device::start).collect();
    for (edge, device) in edges.iter().zip(&devices) {
        edge.connected();
        wait_until("the node with its address", || {
            address_at(&cloud, &device.node) == OLD
        });
        ctl(&cloud, &["label", &device.node, "fleet=yes"]).ends(0);
    }
    let at_once_word = at_once.to_string();
    let words = [
        "upgrade",
        "--version",
        "v0.2.0",
        "--image",
        &offer.image,
        "--digest",
        &offer.digest,
        "--selector",
        "fleet=yes",
        "--max-unavailable",
        &at_once_word,
        "--timeout",
        timeout,
    ];
    let (said, most) = std::thread::scope(|scope| {
        let follower = scope.spawn(|| ctl(&cloud, &words));
        let mut most = 0;
        // It ends with the job.
        while !follower.is_finished() {
            most = most.max(under_way(&cloud));
            std::thread::sleep(LOOK);
        }
        (follower.join().expect("no panic"), most)
    });
    let good = count - bad.len();
    let last = said.ends(1).out;
    let report = format!("{good} successful, {} failure", bad.len());
    assert!(last.contains(&report), "{last}");
    assert!((2..=at_once).contains(&most), "{most} at once");
    let job = job(&cloud, NAME);
    for (number, (device, edge)) in devices.iter().zip(&edges).enumerate() {
        let node = device.node.as_str();
        let (phase, said) = (&job["nodes"][node]["phase"], actions(&job, node));
        match bad.get(&number).copied() {
            None => {
                assert_eq!(phase, "Successful", "{job}");
                assert_eq!(
                    said,
                    ["Check", "WaitingConfirmation", "BackUp", "Upgrade"],
                    "{job}"
                );
                assert_eq!(
                    (address(edge).as_str(), is_installed(device, &new())),
                    (NEW, true)
                );
            }
            Some(manner) => {
                assert_eq!(phase, "Failure", "{job}");
                let reason = job["nodes"][node]["reason"].as_str().unwrap_or_default();
                let part = match manner {
                    "closed" => "modules.taskManager.enable",
                    _ => "no session with the cloud in 3 starts",
                };
                assert!(reason.contains(part), "{reason}");
                let last = said.last().map(String::as_str);
                let expected = match manner {
                    "closed" => "Check failed",
                    _ => "RollBack",
                };
                assert_eq!(last, Some(expected), "{job}");
                edge.connected();
                assert_eq!(
                    (address(edge).as_str(), is_installed(device, &old())),
                    (OLD, true)
                );
            }
        }
        is_tidy(device);
    }
    figures::tried(
        "upgrade-fleet",
        "devices upgraded by one job, as real processes, some of them bad",
        count,
    );
}

fn under_way(cloud: &Cloudcore) -> usize {
    let said = ctl(cloud, &["jobs", NAME, "-o", "json"]);
    // It may not be made yet.
    let job: Value = serde_json::from_str(&said.out).unwrap_or_default();
    let nodes = job["nodes"].as_object();
    let nodes = nodes.into_iter().flat_map(|nodes| nodes.values());
    nodes.filter(|it| it["phase"] == "InProgress").count()
}

const NAME: &str = "upgrade-v0.2.0";
/// Between two looks at how many are at it.
const LOOK: Duration = Duration::from_millis(200);
