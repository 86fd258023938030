//! Many devices of one cloud that is killed again and again: in the end every device is Ready and has exactly
//! what it was given. `KUBEEDGE_LONG=1` takes 200 devices and ten kills; `KUBEEDGE_SEED=N` repeats a run.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};

use crate::common::device::{Device, Edge};
use crate::common::figures::tried;
use crate::common::site::Cloudcore;
use serde_json::Value;

/// What a device shall have: the name of a ConfigMap, and what is in it.
type Wanted = BTreeMap<String, String>;

#[test]
fn whatever_happens_to_the_cloud_every_device_gets_exactly_its_own() {
    let long = std::env::var_os("KUBEEDGE_LONG").is_some();
    let (devices, kills) = if long { (200, 10) } else { (30, 3) };
    let mut cloud = Cloudcore::start(&[]);
    let token = cloud.run(&["gettoken", "--ttl", "2h"]).ends(0);
    let token = token.out.trim().to_owned();
    let devices: Vec<Device> = (0..devices)
        .map(|number| device(&cloud, &token, number))
        .collect();
    let edges: Vec<Edge> = devices.iter().map(Device::start).collect();
    ready(&cloud, devices.len());

    let mut wanted: Vec<Wanted> = vec![Wanted::new(); devices.len()];
    let given = std::env::var("KUBEEDGE_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("KUBEEDGE_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for kill in 1..=kills {
        // In the middle of what the devices are being told; the last time, when all was said.
        let last = devices.len() - 1;
        let cut = if kill == kills {
            last
        } else {
            random.usize(0..last)
        };
        for (number, device) in devices.iter().enumerate() {
            let gone = change(&mut wanted[number], &mut random, kill);
            apply(&cloud, &device.node, &wanted[number], &gone);
            if number == cut {
                std::thread::sleep(Duration::from_millis(random.u64(0..500)));
                cloud.kill();
                cloud.start_again(&[]);
            }
        }
    }
    let last_start = Instant::now();
    for (device, wanted) in devices.iter().zip(&wanted) {
        crate::common::wait_until(&format!("{} has what it was given", device.node), || {
            stored(device) == *wanted
        });
    }
    ready(&cloud, devices.len());
    let took = last_start.elapsed();
    println!(
        "{} devices were complete {took:?} after the last start of the cloud",
        devices.len()
    );
    // On a machine that does nothing else; the short form runs beside other tests.
    assert!(!long || took < Duration::from_secs(35), "{took:?}");
    tried(
        "kills-fleet",
        "kills of the cloud while it told its devices something",
        kills,
    );
    for edge in edges {
        edge.stop();
    }
}

fn device(cloud: &Cloudcore, token: &str, number: usize) -> Device {
    let mut device = Device::new(&format!("edge-{number}"));
    device.hub_keys = vec!["heartbeat: 5".to_owned()];
    device.configure_for(cloud, token);
    device
}

/// Waits until the cloud calls all of them Ready.
fn ready(cloud: &Cloudcore, count: usize) {
    crate::common::wait_until("all devices are Ready", || {
        let listed = cloud
            .run(&["cloudcore", "ctl", "nodes", "--output", "json"])
            .ends(0)
            .json();
        let nodes = listed["nodes"].as_array().expect("a list").clone();
        nodes
            .iter()
            .filter(|node| node["ready"] == Value::Bool(true))
            .count()
            == count
    });
}

/// Some are new, some change, and some are taken away, of which the names are returned.
fn change(wanted: &mut Wanted, random: &mut fastrand::Rng, round: usize) -> Vec<String> {
    let mut gone = Vec::new();
    for number in 0..CONFIGMAPS {
        let name = format!("settings-{number}");
        let text = format!("round {round}, {}", random.u32(..));
        match random.u8(0..16) {
            0 => gone.extend(wanted.remove_entry(&name).map(|(name, _)| name)),
            1..10 => drop(wanted.insert(name, text)),
            _ => {}
        }
    }
    gone
}

/// Tells the cloud, which may have been there for a moment only: what it has taken it keeps.
fn apply(cloud: &Cloudcore, node: &str, wanted: &Wanted, gone: &[String]) {
    let mut yaml = String::new();
    for (name, text) in wanted {
        let _ = write!(
            yaml,
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {node}}}\n\
             data: {{text: {text:?}}}\n"
        );
    }
    for name in gone {
        let words = ["cloudcore", "ctl", "delete", "configmap", name, "-n", node];
        cloud.run(&words).ends(0);
    }
    if !wanted.is_empty() {
        let words = ["cloudcore", "ctl", "apply", "--node", node, "-f", "-"];
        cloud.run_with_input(&words, &yaml).ends(0);
    }
}

/// What lies in the device's store.
fn stored(device: &Device) -> Wanted {
    let folder = device
        .path("/var/lib/kubeedge/edgecore/meta/configmap")
        .join(&device.node);
    let Ok(entries) = fs::read_dir(folder) else {
        return Wanted::new();
    };
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.ok()?.path();
        let name = path
            .file_name()?
            .to_str()?
            .strip_suffix(".json")?
            .to_owned();
        let object: Value = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        Some((name, object["data"]["text"].as_str()?.to_owned()))
    };
    entries.filter_map(read).collect()
}

const CONFIGMAPS: usize = 20;
