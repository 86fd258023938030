//! What the cloud sends is kept: acknowledged once it is on the disk, whatever happens to messages on the way.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::cloud::Cloud;
use common::device::{Device, Edge};
use common::figures;
use serde_json::{Value, json};

const META: &str = "/var/lib/kubeedge/edgecore/meta";

fn device(cloud: &Cloud) -> Device {
    let mut device = Device::new("edge-1");
    device.hub_keys = vec!["heartbeat: 1".to_owned()];
    device.configure(cloud, &cloud.token());
    device
}

fn connected<'a>(cloud: &mut Cloud, device: &'a Device) -> Edge<'a> {
    let edge = device.start();
    edge.connected();
    cloud.event("connect");
    edge
}

fn config_map(text: &str) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"file": text}})
}

fn put(cloud: &mut Cloud, resource: &str, object: &Value) {
    cloud.order(&format!(
        "put {}",
        json!({"resource": resource, "object": object})
    ));
}

fn acked(cloud: &mut Cloud, resource: &str, operation: &str) -> Value {
    cloud.event_where("acked", |it| {
        it["resource"] == resource && it["operation"] == operation
    })
}

fn stored(device: &Device, resource: &str) -> Option<Value> {
    let (namespace, rest) = resource.split_once('/').expect("a namespace");
    let (kind, name) = rest.split_once('/').expect("a name");
    let path = device.path(&format!("{META}/{kind}/{namespace}/{name}.json"));
    let text = fs::read_to_string(&path).ok()?;
    let mode = fs::metadata(&path)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    Some(serde_json::from_str(&text).expect("whole JSON"))
}

#[test]
fn objects_are_stored_before_they_are_acknowledged_and_outlive_a_kill() {
    let mut cloud = Cloud::start(&[]);
    let device = device(&cloud);
    let edge = connected(&mut cloud, &device);
    let resources = [
        "default/configmap/a",
        "default/secret/b",
        "null/node/edge-1",
        "default/device/d",
        "default/devicemodel/m",
        "default/serviceaccountaccess/s",
        "default/rule/r",
    ];
    for resource in resources {
        // A number that a double can't hold, and text that JSON may write in more than one way.
        let object = json!({"kind": "X", "big": 9_007_199_254_740_993_u64, "data": {"k": "<&>é"}});
        put(&mut cloud, resource, &object);
        acked(&mut cloud, resource, "update");
        let found = stored(&device, resource).expect("it is stored when it is acknowledged");
        assert_eq!(found["big"], object["big"]);
    }
    drop(edge); // SIGKILL
    let edge = device.start();
    edge.connected();
    for resource in resources {
        assert!(stored(&device, resource).is_some(), "{resource}");
    }
    cloud.order("remove default/configmap/a uid=another");
    acked(&mut cloud, "default/configmap/a", "delete");
    assert!(stored(&device, "default/configmap/a").is_some());
    cloud.order("remove default/configmap/a");
    acked(&mut cloud, "default/configmap/a", "delete");
    assert_eq!(stored(&device, "default/configmap/a"), None);
    cloud.order("misbehave bare-delete");
    cloud.order("remove default/secret/b");
    acked(&mut cloud, "default/secret/b", "delete");
    assert_eq!(stored(&device, "default/secret/b"), None);
    edge.stop();
    cloud.satisfied();
}

#[test]
fn lost_acks_duplicates_and_late_messages_change_nothing() {
    let mut cloud = Cloud::start(&[]);
    let device = device(&cloud);
    let edge = connected(&mut cloud, &device);
    cloud.order("misbehave lose-acks duplicate late");
    let mut expected = BTreeMap::new();
    for round in 0..5 {
        for name in ["a", "b", "c"] {
            let resource = format!("default/configmap/{name}");
            let text = format!("{name} in round {round}");
            put(&mut cloud, &resource, &config_map(&text));
            expected.insert(resource, text);
        }
    }
    cloud.order("drop");
    cloud.event("settled");
    for (resource, text) in expected {
        let found = stored(&device, &resource).expect("it is there");
        assert_eq!(found["data"], json!({"file": text}));
    }
    edge.stop();
    cloud.satisfied();
}

#[test]
fn what_was_taken_from_a_device_comes_again() {
    let mut cloud = Cloud::start(&[]);
    let device = device(&cloud);
    let edge = connected(&mut cloud, &device);
    let resource = "default/secret/shared";
    // It is the same all the time; only Pods that need it come and go.
    let object = json!({"metadata": {"uid": "the-one"}, "data": {"k": "dg=="}});
    for _ in 0..3 {
        put(&mut cloud, resource, &object);
        acked(&mut cloud, resource, "update");
        assert!(stored(&device, resource).is_some());
        cloud.order(&format!("remove {resource}"));
        acked(&mut cloud, resource, "delete");
        assert_eq!(stored(&device, resource), None);
    }
    edge.stop();
    cloud.satisfied();
}

/// Kilobytes of memory that the process which holds the tunnel has.
fn memory(edge: &Edge<'_>) -> u64 {
    let hub = edge.status().hub_pid.unwrap_or(edge.pid());
    let status = fs::read_to_string(format!("/proc/{hub}/status")).expect("edgecore runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.expect("a size").parse().expect("a number")
}

#[test]
fn a_thousand_objects_take_little_memory() {
    let mut cloud = Cloud::start(&[]);
    let device = device(&cloud);
    let edge = connected(&mut cloud, &device);
    put(
        &mut cloud,
        "default/configmap/first",
        &config_map(&"x".repeat(10_000)),
    );
    acked(&mut cloud, "default/configmap/first", "update");
    cloud.event("settled");
    let before = memory(&edge);
    cloud.order("many 1000 10000");
    cloud.event("settled");
    assert!(stored(&device, "default/configmap/many-999").is_some());
    let grown = memory(&edge).saturating_sub(before);
    // 2 MB as it is shipped; a build for tests is not tuned for size.
    assert!(grown <= 4 * 1024, "{grown} kB");
    figures::tried(
        "wear-objects-memory",
        "kB that edgecore grows by for 1,000 objects of 10 kB",
        grown,
    );
    edge.stop();
    let edge = device.start();
    edge.connected();
    let again = memory(&edge);
    println!("{before} kB before, {grown} kB more with the objects, {again} kB after a restart");
    edge.stop();
    cloud.satisfied();
}

#[test]
fn what_is_no_object_is_skipped_and_the_tunnel_goes_on() {
    let mut cloud = Cloud::start(&[]);
    let device = device(&cloud);
    let edge = connected(&mut cloud, &device);
    for (resource, content) in [
        ("default/secret/a", json!("hidden words")),
        ("default/pod/../../x", json!({})),
        ("default/configmap/a", Value::Null),
    ] {
        let message = json!({
            "header": {"msg_id": format!("bad-{resource}"), "timestamp": 1},
            "route": {"source": "edgecontroller", "group": "resource", "operation": "update",
                "resource": resource},
            "content": content,
        });
        cloud.order(&format!("push {message}"));
    }
    put(&mut cloud, "default/configmap/good", &config_map("x"));
    acked(&mut cloud, "default/configmap/good", "update");
    let log = edge.log();
    assert!(log.contains("skipped a bad message (number 1)"), "{log}");
    assert!(!log.contains("hidden words"), "{log}");
    let messages = edge.status().messages.expect("it is told");
    assert_eq!(messages.skipped, 3);
    // The Node may have come as well.
    assert!((1..=3).contains(&messages.stored), "{messages:?}");
    assert!(messages.acknowledged >= messages.stored, "{messages:?}");
    let shown = device.run(&["keadm", "status"]).out;
    assert!(shown.contains("3 of the cloud's were skipped"), "{shown}");
    edge.stop();
    cloud.satisfied();
}

fn pod() -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "spec": {
        "nodeName": "edge-1",
        "volumes": [{"name": "v", "configMap": {"name": "app"}}, {"name": "w", "configMap": {"name": "shared"}}],
        "containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "key"}}, {"configMapRef": {"name": "absent"}}]}],
    }, "status": {"phase": "Pending"}})
}

#[test]
fn a_pod_waits_with_all_it_names_and_goes_when_it_is_told() {
    let mut cloud = Cloud::start(&[]);
    let device = device(&cloud);
    let edge = connected(&mut cloud, &device);
    for resource in [
        "default/configmap/app",
        "default/configmap/shared",
        "default/secret/key",
    ] {
        let order = json!({"resource": resource, "object": config_map("x")});
        cloud.order(&format!("have {order}"));
    }
    put(&mut cloud, "default/pod/web", &pod());
    acked(&mut cloud, "default/pod/web", "update");
    for resource in [
        "default/configmap/app",
        "default/configmap/shared",
        "default/secret/key",
    ] {
        acked(&mut cloud, resource, "response");
        assert!(stored(&device, resource).is_some(), "{resource}");
    }
    // The cloud has none of that name, and what it says of it is no object.
    cloud.event_where("asked", |it| it["resource"] == "default/configmap/absent");
    let report = cloud.event_where("asked", |it| it["resource"] == "default/podpatch/web");
    let report: Value =
        serde_json::from_str(report["content"].as_str().expect("text")).expect("JSON");
    assert_eq!(report["status"]["phase"], "Pending");
    assert_eq!(report["status"]["conditions"][0]["reason"], "NoRuntime");
    acked(&mut cloud, "default/pod/web", "update");
    assert_eq!(stored(&device, "default/configmap/absent"), None);

    let mut other = pod();
    other["spec"]["volumes"] = json!([{"name": "w", "configMap": {"name": "shared"}}]);
    other["spec"]["containers"] = json!([]);
    put(&mut cloud, "default/pod/other", &other);
    acked(&mut cloud, "default/pod/other", "update");
    cloud.event_where("asked", |it| it["resource"] == "default/podpatch/other");
    acked(&mut cloud, "default/pod/other", "update");

    cloud.order("release default/pod/web");
    let asked = cloud.event_where("asked", |it| it["operation"] == "delete");
    assert_eq!(asked["content"]["gracePeriodSeconds"], 0);
    acked(&mut cloud, "default/pod/web", "delete");
    assert_eq!(stored(&device, "default/pod/web"), None);
    for (resource, stays) in [
        ("default/configmap/app", false),
        ("default/secret/key", false),
        ("default/configmap/shared", true),
    ] {
        assert_eq!(stored(&device, resource).is_some(), stays, "{resource}");
    }
    edge.stop();
    cloud.satisfied();
}
