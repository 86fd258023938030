//! Devices and their models: the list of which are the node's, the objects, what is reported, the end.

use serde_json::{Value, json};

use crate::common::site::Cloudcore;
use crate::support::{Peer, apply, ctl};

const MODEL: &str = "apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: thermometer}
spec:
  protocol: modbus
  properties:
  - {name: temperature, type: INT, accessMode: ReadWrite}
";

fn device(name: &str, node: &str, desired: u32) -> String {
    format!(
        "apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata:
  name: {name}
  labels: {{description: in the cellar}}
spec:
  deviceModelRef: {{name: thermometer}}
  nodeName: {node}
  protocol: {{protocolName: modbus, configData: {{slaveID: 1}}}}
  properties:
  - {{name: temperature, desired: {{value: \"{desired}\", metadata: {{type: int}}}}}}
"
    )
}

/// What the node was told of its devices since then, in order: lists and objects.
fn told(peer: &mut Peer, from: usize) -> Vec<String> {
    peer.tell("ping");
    let told = peer.seen[from..].iter().filter_map(|event| {
        let names = |key: &str| {
            let devices = event["content"][key].as_array()?.iter();
            let names: Vec<&str> = devices.filter_map(|it| it["id"].as_str()).collect();
            Some(names.join(","))
        };
        match event["event"].as_str()? {
            "membership" => Some(match names("added_devices") {
                Some(added) => format!("+{added}"),
                None => format!("-{}", names("removed_devices")?),
            }),
            "push" if event["resource"].as_str()?.contains("/device") => {
                let (op, resource) = (event["op"].as_str()?, event["resource"].as_str()?);
                assert_eq!(event["acked"], true);
                Some(format!("{op} {resource}"))
            }
            _ => None,
        }
    });
    told.collect()
}

#[test]
fn a_device_is_listed_pushed_reported_and_taken_back() {
    let mut cloud = Cloudcore::start(&[]);
    let mut peer = Peer::start(&cloud, "edge-1", &[]);
    let mut other = Peer::start(&cloud, "edge-2", &[]);
    for peer in [&mut peer, &mut other] {
        peer.online();
        peer.tell("register");
    }
    let (model, sensor) = ("default/devicemodel/thermometer", "default/device/sensor-1");
    let both = format!("{MODEL}---\n{}", device("sensor-1", "edge-1", 20));
    let said = apply(&cloud, &both, &[]);
    assert_eq!(
        said,
        "devicemodel default/thermometer created\ndevice default/sensor-1 created, 2 objects are told\n"
            .replace("2 objects are told", "2 nodes are told")
    );
    peer.pushed(0, "insert", sensor);
    let first = [
        "+default/sensor-1".to_owned(),
        format!("insert {model}"),
        format!("insert {sensor}"),
    ];
    assert_eq!(told(&mut peer, 0), first);
    let membership = peer.seen.iter().find(|it| it["event"] == "membership");
    let membership = membership.expect("it was told").clone();
    let content = membership["content"].as_object().expect("a map");
    let keys: Vec<&str> = content.keys().map(String::as_str).collect();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        ["added_devices", "event_id", "removed_devices", "timestamp"]
    );
    assert!(content["timestamp"].as_u64().expect("milliseconds") > 1_700_000_000_000);
    assert_eq!(content["removed_devices"], Value::Null);
    assert_eq!(
        content["added_devices"],
        json!([{"id": "default/sensor-1", "name": "sensor-1", "description": "in the cellar"}])
    );
    assert_eq!(
        membership["route"],
        json!({"source": "devicecontroller", "group": "twin", "operation": "update", "resource": "membership"})
    );
    assert_eq!(membership["version"], Value::Null, "nobody acknowledges it");
    let pushed = peer.pushed(0, "insert", sensor);
    assert_eq!(pushed["content"]["kind"], "Device");
    assert_eq!(
        pushed["content"]["apiVersion"],
        "devices.kubeedge.io/v1beta1"
    );

    // A second one of the model, and a change.
    let from = peer.seen.len();
    apply(&cloud, &device("sensor-2", "edge-1", 20), &[]);
    apply(&cloud, &device("sensor-1", "edge-1", 21), &[]);
    peer.pushed(from, "insert", "default/device/sensor-2");
    let changed = peer.pushed(from, "update", sensor);
    assert_eq!(
        changed["content"]["spec"]["properties"][0]["desired"]["value"],
        "21"
    );
    assert_eq!(changed["content"]["metadata"]["generation"], 2);
    assert_eq!(
        told(&mut peer, from),
        [
            "+default/sensor-2",
            "insert default/device/sensor-2",
            "update default/device/sensor-1"
        ]
    );

    // What it reports is taken, in the words that end its repeats.
    let twin = json!({"event_id": "1", "timestamp": 1, "twin": {"temperature": {"actual": {"value": "20"}}}});
    let state = json!(
        "{\"event_id\":\"1\",\"timestamp\":1,\"device\":{\"name\":\"sensor-1\",\"state\":\"online\"}}"
    );
    let detail = json!("{\"event_type\":\"group_membership_event\",\"operation\":\"detail\"}");
    for (what, content) in [
        ("update device/default/sensor-1/twin/edge_updated", &twin),
        ("update device/default/sensor-1/state/update", &state),
        ("get membership/detail", &detail),
    ] {
        let events = peer.tell(&format!("report {what} {content}"));
        let answer = events.iter().find(|event| event["event"] == "answer");
        let answer = answer.expect("an answer");
        assert_eq!(answer["content"], "OK", "{what}");
        assert_eq!(
            answer["route"],
            json!({"source": "devicecontroller", "group": "twin", "operation": "response", "resource": "twin"}),
            "{what}"
        );
    }

    // A device moves to another node; the model goes only when nothing needs it.
    let (from, from_other) = (peer.seen.len(), other.seen.len());
    apply(&cloud, &device("sensor-1", "edge-2", 21), &[]);
    peer.pushed(from, "delete", sensor);
    other.pushed(from_other, "insert", sensor);
    assert_eq!(
        told(&mut peer, from),
        ["-default/sensor-1".to_owned(), format!("delete {sensor}")]
    );
    assert_eq!(told(&mut other, from_other), first);
    let from = peer.seen.len();
    ctl(&cloud, &["delete", "device", "sensor-2"]).ends(0);
    peer.pushed(from, "delete", "default/device/sensor-2");
    peer.pushed(from, "delete", model);

    // What is added or deleted while a node is away, it learns when it comes: of KubeEdge's cloud it never does.
    other.tell("drop");
    ctl(&cloud, &["delete", "device", "sensor-1"]).ends(0);
    apply(&cloud, &device("sensor-3", "edge-2", 1), &[]);
    cloud.kill();
    cloud.start_again(&[]);
    let from = other.seen.len();
    other.online();
    other.pushed(from, "update", "default/device/sensor-3");
    other.pushed(from, "delete", sensor);
    let told = told(&mut other, from);
    for list in ["+default/sensor-3", "-default/sensor-1"] {
        assert!(told.iter().any(|it| it == list), "{list} in {told:?}");
    }
    assert_eq!(cloud.metric("kubeedge_objects_gone"), 0);
}
