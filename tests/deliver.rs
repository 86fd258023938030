//! Configuration that reaches programs: items of the cloud's objects become files, and a hook is run once a change.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use common::LIMIT;
use common::cloud::Cloud;
use common::device::Device;
use serde_json::{Value, json};

const FOLDER: &str = "/etc/app";

/// A device whose hook writes a line a run, and what it then found.
fn device(cloud: &Cloud) -> Device {
    let mut device = Device::new("edge-1");
    device.hub_keys = vec!["heartbeat: 1".to_owned()];
    let log = device.path("/hook.log");
    let folder = device.path(FOLDER);
    device.meta_keys = vec![
        "deliver:".to_owned(),
        format!("- folder: {FOLDER}"),
        format!(
            "  hook: [/bin/sh, -c, 'cat {0}/conf >> {1}; echo >> {1}']",
            folder.display(),
            log.display()
        ),
    ];
    device.configure(cloud, &cloud.token());
    device
}

fn put(cloud: &mut Cloud, resource: &str, object: &Value) {
    cloud.order(&format!(
        "put {}",
        json!({"resource": resource, "object": object})
    ));
}

/// What the hook found, one line for each of its runs, when there have been so many.
fn runs(device: &Device, count: usize) -> Vec<String> {
    let until = Instant::now() + LIMIT;
    loop {
        let text = fs::read_to_string(device.path("/hook.log")).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.len() >= count {
            return lines;
        }
        assert!(Instant::now() < until, "{lines:?}, {}", device.log());
        std::thread::yield_now();
    }
}

fn pod(annotated: bool) -> Value {
    let annotations = match annotated {
        true => json!({"kubeedge.io/deliver": FOLDER}),
        false => json!({}),
    };
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"annotations": annotations}, "spec": {
        "containers": [],
        "volumes": [{"name": "v", "configMap": {"name": "conf"}}, {"name": "w", "secret": {"secretName": "key"}}],
    }})
}

fn config(text: &str) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"conf": text}})
}

#[test]
fn items_become_files_and_the_hook_runs_once_a_change_and_after_a_boot() {
    let mut cloud = Cloud::start(&[]);
    let device = device(&cloud);
    let edge = device.start();
    edge.connected();
    cloud.event("connect");
    let have = |cloud: &mut Cloud, resource: &str, object: Value| {
        cloud.order(&format!(
            "have {}",
            json!({"resource": resource, "object": object})
        ));
    };
    have(&mut cloud, "default/configmap/conf", config("one"));
    have(
        &mut cloud,
        "default/secret/key",
        json!({"kind": "Secret", "apiVersion": "v1", "data": {"word": "aGlkZGVu"}}),
    );
    put(&mut cloud, "default/pod/app", &pod(true));
    let first = runs(&device, 1);
    assert_eq!(first, ["one"]);
    // The Secret may have come after the ConfigMap: then that was a change of its own.
    let secret = device.path("/etc/app/word");
    let until = Instant::now() + LIMIT;
    while !secret.exists() {
        assert!(Instant::now() < until, "{}", device.log());
    }
    assert_eq!(fs::read(&secret).expect("the item"), b"hidden");
    let mode = |name: &str| {
        fs::metadata(device.path(name))
            .expect("the file")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        (mode("/etc/app/word"), mode("/etc/app/conf")),
        (0o600, 0o644)
    );

    let before = runs(&device, 1).len();
    let changed = Instant::now();
    put(&mut cloud, "default/configmap/conf", &config("two"));
    let found = runs(&device, before + 1);
    assert_eq!(found.last().map(String::as_str), Some("two"));
    let took = changed.elapsed();
    // It is a second on a device; the rest is for slow machines.
    assert!(took < Duration::from_secs(5), "{took:?}");
    // Another object changes nothing in the folder.
    put(&mut cloud, "default/configmap/other", &config("x"));
    cloud.event_where("acked", |it| it["resource"] == "default/configmap/other");

    // A boot: what lies below /run is gone, and so is the cloud.
    edge.stop();
    cloud.order("down");
    assert_eq!(
        runs(&device, before + 1).len(),
        before + 1,
        "the hook ran without a change"
    );
    fs::remove_dir_all(device.path("/run/kubeedge/edgecore")).expect("it was there");
    let edge = device.start();
    let found = runs(&device, before + 2);
    assert_eq!(found.last().map(String::as_str), Some("two"));
    cloud.order("up");
    edge.connected();

    put(&mut cloud, "default/pod/app", &pod(false));
    let until = Instant::now() + LIMIT;
    while device.path("/etc/app/conf").exists() || secret.exists() {
        assert!(Instant::now() < until, "{}", device.log());
    }
    edge.stop();
    cloud.satisfied();
}

#[test]
fn a_folder_that_is_not_allowed_stays_untouched() {
    let mut cloud = Cloud::start(&[]);
    let device = device(&cloud);
    let edge = device.start();
    edge.connected();
    cloud.event("connect");
    let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"conf": "x"},
        "metadata": {"annotations": {"kubeedge.io/deliver": "/etc/other"}}});
    put(&mut cloud, "default/configmap/conf", &object);
    let until = Instant::now() + LIMIT;
    while !edge.log().contains("does not allow") {
        assert!(Instant::now() < until, "{}", edge.log());
    }
    assert!(!device.path("/etc/other").exists());
    let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"conf": "own"},
        "metadata": {"annotations": {"kubeedge.io/deliver": FOLDER}}});
    put(&mut cloud, "default/configmap/own", &object);
    assert_eq!(runs(&device, 1), ["own"]);
    edge.stop();
    cloud.satisfied();
}
