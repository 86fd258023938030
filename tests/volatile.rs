//! Devices whose `/var` is in memory, and those whose root can't be written to: what must survive does.

mod common;

use std::fs;

use common::cloud::Cloud;
use common::device::{BOOTSTRAP, Device, Edge, KEY};
use common::wait_until;
use nix::sys::signal::Signal;
use serde_json::json;

/// OpenWrt's `/var`: empty after every start.
const VAR: &str = "mkdir -p $1/var; mount -t tmpfs tmpfs $1/var";
const STATE: &str = "/etc/kubeedge/state/meta";

fn device(cloud: &Cloud, mounts: &str) -> Device {
    let mut device = Device::new("edge-1");
    device.hub_keys = vec!["heartbeat: 1".to_owned()];
    device.mounts = Some(mounts.to_owned());
    device.configure(cloud, &cloud.token());
    device
}

fn connected<'a>(cloud: &mut Cloud, device: &'a Device, flags: &[&str]) -> Edge<'a> {
    let edge = device.start_with_flags(flags);
    edge.connected();
    cloud.event("connect");
    edge
}

fn put(cloud: &mut Cloud, name: &str, size: usize) {
    let object = json!({"kind": "ConfigMap", "data": {"file": "x".repeat(size)}});
    let resource = format!("default/configmap/{name}");
    cloud.order(&format!(
        "put {}",
        json!({"resource": resource, "object": object})
    ));
}

fn acked(cloud: &mut Cloud, name: &str) {
    let resource = format!("default/configmap/{name}");
    cloud.event_where("acked", |it| it["resource"] == resource);
}

fn stored(device: &Device, top: &str, name: &str) -> bool {
    device
        .path(&format!("{top}/configmap/default/{name}.json"))
        .exists()
}

#[test]
fn a_device_whose_var_is_in_memory_comes_back_with_identity_and_objects() {
    let mut cloud = Cloud::start(&[]);
    let device = device(&cloud, VAR);
    let edge = connected(&mut cloud, &device, &[]);
    let status = edge.status();
    let place = status.objects_in.expect("it is told");
    assert!(
        place.ends_with("/etc/kubeedge/state, at most 512 KiB"),
        "{place}"
    );
    let serial = status.certificate.expect("a certificate").serial;
    put(&mut cloud, "a", 1000);
    acked(&mut cloud, "a");
    assert!(stored(&device, STATE, "a"));
    assert!(!device.path("/var/lib/kubeedge/edgecore").exists());
    drop(edge); // The power goes, and with it /var.
    let edge = connected(&mut cloud, &device, &[]);
    assert_eq!(
        edge.status().certificate.expect("a certificate").serial,
        serial
    );
    assert!(
        edge.log()
            .contains("objects of the cloud's are kept, 0 damaged"),
        "{}",
        edge.log()
    );
    edge.stop();
}

#[test]
fn objects_beside_the_identity_have_a_limit_and_the_identity_has_none() {
    let mut cloud = Cloud::start(&[]);
    let device = device(&cloud, VAR);
    let edge = connected(&mut cloud, &device, &[]);
    put(&mut cloud, "a", 300 << 10);
    acked(&mut cloud, "a");
    put(&mut cloud, "b", 250 << 10);
    let status = edge.complains("there is no more room for it in");
    let problem = status.last_error.expect("it was just seen").message;
    assert!(
        problem.contains("512 KiB") && problem.contains("stateDir"),
        "{problem}"
    );
    assert!(
        edge.log().contains("default/configmap/b is not stored"),
        "{}",
        edge.log()
    );
    assert!(!stored(&device, STATE, "b"));
    // What is there may change, and what is small still fits.
    put(&mut cloud, "a", 290 << 10);
    acked(&mut cloud, "a");
    put(&mut cloud, "c", 1000);
    acked(&mut cloud, "c");
    let before = edge.status().certificate.expect("a certificate").serial;
    assert!(edge.order("renew").error.is_none());
    edge.until("a renewal", |status| {
        status
            .certificate
            .as_ref()
            .is_some_and(|it| it.serial != before)
    });
    edge.stop();
}

#[test]
fn in_memory_by_choice() {
    let mut cloud = Cloud::start(&[]);
    let mut device = device(&cloud, VAR);
    device.meta_keys = vec!["stateDir: /var/lib/kubeedge/edgecore".to_owned()];
    device.configure(&cloud, &cloud.token());
    let edge = connected(&mut cloud, &device, &[]);
    let place = edge.status().objects_in.expect("it is told");
    assert!(place.contains("in memory: gone"), "{place}");
    put(&mut cloud, "a", 1000);
    acked(&mut cloud, "a");
    assert!(!device.path("/etc/kubeedge/state").exists());
    edge.stop();
    // A flag wins over the file.
    let card = device.path("/mnt/card");
    fs::create_dir_all(&card).expect("a folder");
    let flag = format!("--state-dir={}", card.display());
    let edge = connected(&mut cloud, &device, &[&flag]);
    put(&mut cloud, "b", 1000);
    acked(&mut cloud, "b");
    assert!(stored(&device, "/mnt/card/meta", "b"));
    // What the flag has made is taken away by who only asks edgecore.
    device.run(&["reset", "edge", "--force"]).ends(0);
    assert!(!card.join("meta").exists() && card.exists());
    drop(edge);
}

#[test]
fn a_root_that_can_not_be_written_to() {
    let mut cloud = Cloud::start(&[]);
    let first = device(&cloud, VAR);
    let edge = connected(&mut cloud, &first, &[]);
    wait_until("the end of the token", || !first.path(BOOTSTRAP).exists());
    edge.stop();
    let mut device = first;
    let read_only = "mount --bind $1 $1; mount -t tmpfs tmpfs $1/var; \
                     mount --bind $1/run $1/run; \
                     mount -o remount,ro,bind $1; touch $1/x 2>/dev/null && exit 1; :";
    device.mounts = Some(read_only.to_owned());
    let edge = connected(&mut cloud, &device, &[]);
    let place = edge.status().objects_in.expect("it is told");
    assert!(place.contains("in memory"), "{place}");
    put(&mut cloud, "a", 1000);
    acked(&mut cloud, "a");
    // The certificate is as it was, and what can't be had is said.
    let key = device.read(KEY);
    let refused = edge.order("renew").error.expect("a refusal");
    assert!(refused.contains("read-only"), "{refused}");
    assert_eq!(device.read(KEY), key);
    edge.signal(Signal::SIGHUP);
    edge.connected();
    edge.stop();
    // With the folders that matter on flash, everything goes on as anywhere.
    let some = "mount --bind $1 $1; mount -t tmpfs tmpfs $1/var; mount --bind $1/run $1/run; \
                mount --bind $1/etc/kubeedge $1/etc/kubeedge; mount -o remount,ro,bind $1";
    device.mounts = Some(some.to_owned());
    let edge = connected(&mut cloud, &device, &[]);
    put(&mut cloud, "b", 1000);
    acked(&mut cloud, "b");
    assert!(stored(&device, STATE, "b"));
    let before = edge.status().certificate.expect("a certificate").serial;
    assert!(edge.order("renew").error.is_none());
    edge.until("a renewal", |status| {
        status
            .certificate
            .as_ref()
            .is_some_and(|it| it.serial != before)
    });
    edge.stop();
}
