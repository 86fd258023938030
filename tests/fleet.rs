//! Many devices of one cloud that is killed again and again: in the end every device is Ready and has exactly
//! what it was given. `KUBEEDGE_LONG=1` takes 200 devices and ten kills.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};

use common::device::{Device, Edge};
use common::figures::tried;
use common::site::Cloudcore;
use serde_json::Value;

/// What a device shall have: the name of a ConfigMap, and what is in it.
type Wanted = BTreeMap<String, String>;

#[test]
fn whatever_happens_to_the_cloud_every_device_gets_exactly_its_own() {
    let long = std::env::var_os("KUBEEDGE_LONG").is_some();
    let (devices, kills) = if long { (200, 10) } else { (30, 3) };
    let mut cloud = Cloudcore::start(&[]);
    let token = cloud
        .run(&["cloudcore", "token", "create", "--ttl", "2h"])
        .ends(0);
    let token = token.out.trim().to_owned();
    let devices: Vec<Device> = (0..devices)
        .map(|number| device(&cloud, &token, number))
        .collect();
    let edges: Vec<Edge> = devices.iter().map(Device::start).collect();
    ready(&cloud, devices.len());

    let mut wanted: Vec<Wanted> = vec![Wanted::new(); devices.len()];
    let mut random = fastrand::Rng::with_seed(1);
    let mut last_start = Instant::now();
    for kill in 0..=kills {
        for (device, wanted) in devices.iter().zip(&mut wanted) {
            change(wanted, &mut random, kill);
            apply(&cloud, &device.node, wanted);
        }
        if kill < kills {
            // In the middle of what the devices are being told.
            std::thread::sleep(Duration::from_millis(random.u64(0..500)));
            cloud.kill();
            cloud.start_again(&[]);
            last_start = Instant::now();
        }
    }
    for (device, wanted) in devices.iter().zip(&wanted) {
        common::wait_until(&format!("{} has what it was given", device.node), || {
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
        "fleet-kills",
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
    common::wait_until("all devices are Ready", || {
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

/// Some are new, some change, and some are taken away.
fn change(wanted: &mut Wanted, random: &mut fastrand::Rng, round: usize) {
    for number in 0..CONFIGMAPS {
        let name = format!("settings-{number}");
        match random.u8(0..4) {
            0 => drop(wanted.remove(&name)),
            1 | 2 => drop(wanted.insert(name, format!("round {round}, {}", random.u32(..)))),
            _ => {}
        }
    }
}

/// Tells the cloud, which may just be coming up: what it has taken it keeps.
fn apply(cloud: &Cloudcore, node: &str, wanted: &Wanted) {
    let mut yaml = String::new();
    for (name, text) in wanted {
        let _ = write!(
            yaml,
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {node}}}\n\
             data: {{text: {text:?}}}\n"
        );
    }
    let listed = cloud.run(&[
        "cloudcore",
        "ctl",
        "get",
        "configmaps",
        "-n",
        node,
        "-o",
        "json",
    ]);
    for item in listed.ends(0).json()["items"].as_array().expect("a list") {
        let name = item["metadata"]["name"].as_str().expect("a name");
        if !wanted.contains_key(name) {
            cloud
                .run(&["cloudcore", "ctl", "delete", "configmap", name, "-n", node])
                .ends(0);
        }
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
