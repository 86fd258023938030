//! The device as a node, with the executable and a Go-like cloud in Python: registered, Ready, and well again after everything.

mod common;

use std::process::Command;

use common::KUBEEDGE;
use common::cloud::Cloud;
use common::device::{Device, Edge};
use kubeedge::protocol::control::EdgeStatus;
use serde_json::Value;

/// A device that renews and reports every second.
fn quick_device(cloud: &Cloud) -> Device {
    let mut device = Device::new("edge-1");
    device.hub_keys = vec!["heartbeat: 1".to_owned()];
    device.edged_keys = vec![
        "nodeLabels: {site: barn}".to_owned(),
        "tailoredKubeletConfig:".to_owned(),
        "  nodeLeaseDurationSeconds: 4".to_owned(),
        "  nodeStatusUpdateFrequency: 1s".to_owned(),
        "  nodeStatusReportFrequency: 3s".to_owned(),
    ];
    device.configure(cloud, &cloud.token());
    device
}

/// The next question of this kind, whatever becomes of it.
fn asked(cloud: &mut Cloud, operation: &str, kind: &str) -> Value {
    let fits = |event: &Value| event["operation"] == operation && event["kind"] == kind;
    cloud.event_where("asked", fits)
}

/// So many renewals that were granted, from now on.
fn renewed(cloud: &mut Cloud, times: usize) {
    while cloud
        .unread("asked")
        .iter()
        .any(|event| event["kind"] == "lease")
    {
        cloud.event_where("asked", |event| event["kind"] == "lease");
    }
    for _ in 0..times {
        let fits = |event: &Value| {
            event["operation"] == "update" && event["kind"] == "lease" && event["misdeed"].is_null()
        };
        cloud.event_where("asked", fits);
    }
}

fn store(cloud: &mut Cloud) -> Value {
    cloud.order("show");
    cloud.event("store")
}

fn is_well(status: &EdgeStatus) -> bool {
    let registration = status.registration.as_ref();
    registration.is_some_and(|it| {
        it.ready.as_deref() == Some("True") && it.lease_renewed.is_some() && it.problem.is_none()
    })
}

fn shown(device: &Device, words: &[&str]) -> String {
    let output = Command::new(KUBEEDGE)
        .args(["keadm", "status"])
        .args(words)
        .env("KUBEEDGE_ROOT", device.path("/"))
        .output()
        .expect("the executable starts");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn well<'a>(device: &'a Device, cloud: &mut Cloud) -> Edge<'a> {
    let edge = device.start();
    edge.until("a node that is Ready", is_well);
    renewed(cloud, 2);
    edge
}

#[test]
fn a_device_becomes_a_node_and_stays_one() {
    let mut cloud = Cloud::start(&[]);
    let device = quick_device(&cloud);
    let edge = well(&device, &mut cloud);
    // A report though nothing changed, and renewals before and after.
    asked(&mut cloud, "patch", "nodepatch");
    renewed(&mut cloud, 2);
    let store = store(&mut cloud);
    let node = &store["nodes"]["edge-1"];
    assert_eq!(node["metadata"]["labels"]["site"], "barn");
    assert_eq!(node["status"]["addresses"][0]["address"], "127.0.0.1");
    assert_eq!(node["status"]["capacity"]["pods"], "0");
    let owner = &store["leases"]["edge-1"]["metadata"]["ownerReferences"][0]["uid"];
    assert_eq!(*owner, node["metadata"]["uid"]);
    assert_eq!(store["leases"]["edge-1"]["spec"]["leaseDurationSeconds"], 4);
    let json: Value = serde_json::from_str(&shown(&device, &["-o", "json"])).expect("JSON");
    let registration = &json["edgecore"]["registration"];
    assert_eq!(registration["ready"], "True");
    assert_eq!(registration["address"], "127.0.0.1");
    assert_eq!(registration["since"], node["metadata"]["creationTimestamp"]);
    assert!(registration["leaseRenewed"].is_string() && registration["problem"].is_null());
    let text = shown(&device, &[]);
    assert!(
        text.contains("Ready, address 127.0.0.1, a node since 20"),
        "{text}"
    );
    assert!(text.contains("lease         renewed 20"), "{text}");
    edge.stop();
    // Started again, it is found and not made.
    let edge = well(&device, &mut cloud);
    assert!(
        cloud
            .unread("asked")
            .iter()
            .all(|it| it["operation"] != "insert" || it["generation"] == 1)
    );
    edge.stop();
    cloud.satisfied();
}

#[test]
fn a_deleted_node_comes_back() {
    let mut cloud = Cloud::start(&[]);
    let device = quick_device(&cloud);
    let edge = well(&device, &mut cloud);
    let before = store(&mut cloud);
    cloud.order("delete-node edge-1");
    asked(&mut cloud, "insert", "node");
    cloud.event_where("asked", |it| {
        it["operation"] == "insert" && it["generation"] == 2
    });
    renewed(&mut cloud, 2);
    let after = store(&mut cloud);
    let uid = |store: &Value| store["nodes"]["edge-1"]["metadata"]["uid"].clone();
    assert_ne!(uid(&before), uid(&after));
    let owner = &after["leases"]["edge-1"]["metadata"]["ownerReferences"][0]["uid"];
    assert_eq!(*owner, uid(&after));
    edge.until("a node that is Ready", is_well);
    edge.stop();
    cloud.satisfied();
}

#[test]
fn every_misdeed_at_every_step_is_outlived() {
    let mut cloud = Cloud::start(&[]);
    let device = quick_device(&cloud);
    let edge = well(&device, &mut cloud);
    let long = std::env::var_os("KUBEEDGE_LONG").is_some();
    let misdeeds = [
        "403", "404", "409", "422", "500", "exists", "empty", "words", "error", "twice",
    ];
    let steps = [
        ("query", "node"),
        ("insert", "node"),
        ("patch", "nodepatch"),
        ("query", "lease"),
        ("insert", "lease"),
        ("update", "lease"),
    ];
    for (step, (operation, kind)) in steps.into_iter().enumerate() {
        // Each misdeed at every second step; all with KUBEEDGE_LONG=1.
        let chosen = misdeeds.iter().enumerate();
        let chosen = chosen.filter(|(at, _)| long || (at + step) % 2 == 0);
        for (_, what) in chosen {
            cloud.order(&format!("misdeed {operation} {kind} {what}"));
            match (operation, kind) {
                ("insert" | "query", "node") => {
                    cloud.order("delete-node edge-1");
                    // Otherwise it waits longer each time before it connects again.
                    edge.order("reload");
                }
                ("insert" | "query", _) => cloud.order("forget-lease edge-1"),
                _ => {}
            }
            let fits = |event: &Value| event["misdeed"] == *what && event["kind"] == kind;
            cloud.event_where("asked", fits);
            renewed(&mut cloud, 1);
        }
    }
    edge.until("a node that is Ready", is_well);
    edge.stop();
    cloud.satisfied();
}

#[test]
fn what_the_cloud_says_of_the_node_is_stored_acknowledged_and_shown() {
    let mut cloud = Cloud::start(&[]);
    let device = quick_device(&cloud);
    let edge = well(&device, &mut cloud);
    // So that it stays as the cloud says.
    cloud.order("always patch nodepatch 500");
    cloud.order("lose-ready edge-1");
    cloud.order("tell-node edge-1");
    let of_node = |event: &Value| event["resource"] == "null/node/edge-1";
    cloud.event_where("acked", of_node);
    let is_unknown = |status: &EdgeStatus| {
        let registration = status.registration.as_ref();
        registration.is_some_and(|it| it.ready.as_deref() == Some("Unknown"))
    };
    edge.until("what the cloud says", is_unknown);
    let text = shown(&device, &[]);
    assert!(text.contains("of unknown state, address"), "{text}");
    let json: Value = serde_json::from_str(&shown(&device, &["-o", "json"])).expect("JSON");
    let messages = &json["edgecore"]["messages"];
    assert_eq!(messages["skipped"], 0);
    assert!(messages["stored"].as_u64() >= Some(1), "{messages}");
    assert!(messages["acknowledged"].as_u64() >= Some(1), "{messages}");
    assert!(!text.contains("skipped"), "{text}");
    cloud.order("always patch nodepatch");
    edge.until("a node that is Ready", is_well);
    edge.stop();
    // It is on the disk: a file of its own, readable without the cloud.
    let stored = device.path("/var/lib/kubeedge/edgecore/meta/node");
    let found = std::process::Command::new("grep")
        .args(["-rl", "edge-1"])
        .arg(&stored)
        .output()
        .expect("grep");
    assert!(
        !found.stdout.is_empty(),
        "nothing below {}",
        stored.display()
    );
    cloud.satisfied();
}

#[test]
fn a_taint_that_a_node_lacks_is_asked_of_a_person() {
    let mut cloud = Cloud::start(&[]);
    let device = quick_device(&cloud);
    let edge = well(&device, &mut cloud);
    cloud.order("lose-taints edge-1");
    cloud.order("tell-node edge-1");
    let asks = |status: &EdgeStatus| {
        let registration = status.registration.as_ref();
        let problem = registration.and_then(|it| it.problem.as_ref());
        problem.is_some_and(|it| !it.retryable && it.message.contains("kubectl taint nodes edge-1"))
    };
    edge.until("a word about the taint", asks);
    renewed(&mut cloud, 2);
    assert!(asks(&edge.status()), "renewals are no reason to forget it");
    cloud.order("give-taints edge-1");
    cloud.order("tell-node edge-1");
    edge.until("a node that is Ready", is_well);
    edge.stop();
    cloud.satisfied();
}

#[test]
fn what_was_done_without_an_answer_and_what_was_not_done() {
    let mut cloud = Cloud::start(&[]);
    let device = quick_device(&cloud);
    let edge = well(&device, &mut cloud);
    // Those of the node itself have more patience than a test.
    for (operation, kind) in [("update", "lease"), ("query", "lease"), ("insert", "lease")] {
        for what in ["lost", "silence"] {
            cloud.order(&format!("misdeed {operation} {kind} {what}"));
            match operation {
                "update" => {}
                _ => cloud.order("forget-lease edge-1"),
            }
            cloud.event_where("asked", |event| event["misdeed"] == what);
            renewed(&mut cloud, 2);
        }
    }
    assert_eq!(edge.status().session.expect("a session").generation, 1);
    edge.stop();
    cloud.satisfied();
}

#[test]
fn a_cloud_that_stops_answering_renewals_is_left_and_tried_again() {
    let mut cloud = Cloud::start(&[]);
    let device = quick_device(&cloud);
    let edge = well(&device, &mut cloud);
    cloud.order("deaf lease");
    cloud.event_where("connect", |event| event["generation"] == 2);
    edge.until("a problem", |status| !is_well(status));
    cloud.order("deaf");
    edge.until("a node that is Ready", is_well);
    renewed(&mut cloud, 2);
    edge.stop();
    cloud.satisfied();
}

#[test]
fn outages_and_a_cluster_that_gave_the_node_up() {
    let mut cloud = Cloud::start(&[]);
    let device = quick_device(&cloud);
    let edge = well(&device, &mut cloud);
    cloud.order("down");
    cloud.order("lose-ready edge-1");
    cloud.order("up");
    renewed(&mut cloud, 2);
    edge.until("a node that is Ready", is_well);
    let store = store(&mut cloud);
    let conditions = store["nodes"]["edge-1"]["status"]["conditions"].clone();
    assert_eq!(conditions[3]["status"], "True", "{conditions}");
    assert_eq!(conditions[3]["reason"], "EdgeReady");
    edge.stop();
    cloud.satisfied();
}

#[test]
fn an_old_cloud_is_served_as_well() {
    let mut cloud = Cloud::start(&["--v113"]);
    let device = quick_device(&cloud);
    let edge = well(&device, &mut cloud);
    asked(&mut cloud, "patch", "nodepatch");
    renewed(&mut cloud, 2);
    edge.until("a node that is Ready", is_well);
    edge.stop();
    cloud.satisfied();
}

#[test]
fn what_the_configuration_says_of_the_node_is_said() {
    let mut cloud = Cloud::start(&[]);
    let mut device = quick_device(&cloud);
    device.edged_keys.extend(
        [
            "  registerWithTaints: [{key: pump, value: \"7\", effect: NoExecute}]",
            "annotations: {owner: office}",
            "registerSchedulable: false",
            "nodeIP: 192.0.2.77",
        ]
        .map(str::to_owned),
    );
    device.configure(&cloud, &cloud.token());
    let edge = well(&device, &mut cloud);
    let node = store(&mut cloud)["nodes"]["edge-1"].clone();
    assert_eq!(node["metadata"]["annotations"]["owner"], "office");
    let version = &node["metadata"]["annotations"]["kubeedge.io/edgecore-version"];
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    assert_eq!(node["spec"]["unschedulable"], true);
    let pump = serde_json::json!({"key": "pump", "value": "7", "effect": "NoExecute"});
    assert!(
        node["spec"]["taints"]
            .as_array()
            .expect("taints")
            .contains(&pump),
        "{node}"
    );
    assert_eq!(node["status"]["addresses"][0]["address"], "192.0.2.77");
    edge.stop();
    let edge = device.start_with_flags(&["--node-ip", "192.0.2.78"]);
    edge.until("the other address", |status| {
        let registration = status.registration.as_ref();
        registration.is_some_and(|it| it.address.as_deref() == Some("192.0.2.78"))
    });
    asked(&mut cloud, "patch", "nodepatch");
    renewed(&mut cloud, 2);
    let node = store(&mut cloud)["nodes"]["edge-1"].clone();
    assert_eq!(node["status"]["addresses"][0]["address"], "192.0.2.78");
    edge.stop();
    cloud.satisfied();
}

#[test]
fn a_device_that_is_to_be_connected_only_says_nothing_of_a_node() {
    let mut cloud = Cloud::start(&[]);
    let mut device = Device::new("edge-1");
    device.hub_keys = vec!["heartbeat: 1".to_owned()];
    device.edged_keys = vec!["enable: false".to_owned()];
    device.configure(&cloud, &cloud.token());
    let edge = device.start();
    edge.connected();
    for _ in 0..3 {
        cloud.event("keepalive");
    }
    assert_eq!(edge.status().registration, None);
    edge.stop();
    assert_eq!(cloud.unread("asked"), [] as [Value; 0]);
    cloud.satisfied();
}
