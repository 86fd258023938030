//! A recorded edge of KubeEdge at a cloudcore on a cluster: every answer has the recorded form.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::stage::*;
use crate::kubernetes::resource::{CONFIG_MAPS, PODS, SECRETS, SERVICE_ACCOUNTS};
use crate::kubernetes::testing::FakeCluster;
use crate::protocol::message::Message;

struct Recorded {
    up: bool,
    text: String,
    message: Message,
}

fn recorded() -> Vec<Recorded> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/vectors/edge-full/messages.jsonl"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = line.get("raw")?.as_str()?.to_owned();
        Some(Recorded {
            up: line["dir"] == "edge->cloud",
            message: Message::from_json(text.as_bytes()).unwrap(),
            text,
        })
    };
    text.lines().filter_map(line).collect()
}

#[test]
fn a_recorded_edge_is_answered_as_by_upstream() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        put(&fake, &SERVICE_ACCOUNTS, "default", "default", json!({}));
        let stage = Stage::running(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", false);
        let recorded = recorded();
        let answers: HashMap<&str, &Message> = recorded
            .iter()
            .filter(|it| !it.up && !it.message.header.parent_id.is_empty())
            .map(|it| (it.message.header.parent_id.as_str(), &it.message))
            .collect();
        let mut names: Vec<(String, String)> = Vec::new();
        let mut compared = 0;
        for it in &recorded {
            let route = &it.message.route;
            if !it.up {
                let made = route.operation == "insert" && it.message.header.parent_id.is_empty();
                if made {
                    apply(&fake, &mut peer, content(&it.message), &mut names).await;
                }
                continue;
            }
            if ["keepalive", "response", ""].contains(&route.operation.as_str()) {
                continue;
            }
            let answer = answers.get(it.message.header.id.as_str());
            if let Some(answer) = answer
                && ["configmap", "secret"]
                    .iter()
                    .any(|kind| route.resource.contains(kind))
            {
                apply(&fake, &mut peer, content(answer), &mut names).await;
            }
            let said = names.iter().fold(it.text.clone(), |text, (theirs, ours)| {
                text.replace(theirs.as_str(), ours)
            });
            let message = Message::from_json(said.as_bytes()).unwrap();
            let Some(theirs) = answer else {
                peer.send(&message);
                continue;
            };
            if theirs.route.group == "twin" {
                continue;
            }
            let ours = peer.answer_to(&message).await;
            assert_eq!(ours.route.resource, theirs.route.resource);
            assert_eq!(ours.route.operation, theirs.route.operation, "{}", it.text);
            let (wanted, found) = (content(theirs), content(&ours));
            same_form(&route.resource, &wanted, &found);
            learn(&wanted, &found, &mut names);
            compared += 1;
        }
        assert!(compared >= 60, "only {compared} answers were compared");
    });
}

/// Puts an object into the cluster as it was recorded there, and waits until the edge has it.
async fn apply(
    fake: &FakeCluster,
    peer: &mut Peer,
    mut object: Value,
    names: &mut Vec<(String, String)>,
) {
    let resource = match object["kind"].as_str() {
        Some("Pod") => PODS,
        Some("ConfigMap") => CONFIG_MAPS,
        Some("Secret") => SECRETS,
        _ => return,
    };
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    let namespace = object["metadata"]["namespace"].as_str().unwrap().to_owned();
    if fake.get(&resource, Some(&namespace), &name).is_some() {
        return;
    }
    let theirs = object.clone();
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.remove("uid");
    metadata.remove("resourceVersion");
    metadata.remove("managedFields");
    fake.put(&resource, Some(&namespace), object);
    let ours = fake.get(&resource, Some(&namespace), &name).unwrap();
    learn(&theirs, &ours, names);
    if resource == PODS {
        peer.told(0, &format!("insert {namespace}/pod/{name}"))
            .await;
    }
}

/// Which uid and version of the recording are which here.
fn learn(theirs: &Value, ours: &Value, names: &mut Vec<(String, String)>) {
    for object in ["", "/Object"] {
        for key in ["uid", "resourceVersion"] {
            let at = format!("{object}/metadata/{key}");
            let word = |value: &Value| Some(value.pointer(&at)?.as_str()?.to_owned());
            let (Some(theirs), Some(ours)) = (word(theirs), word(ours)) else {
                continue;
            };
            let (theirs, ours) = match key {
                "uid" => (theirs, ours),
                _ => (
                    format!("\"resourceVersion\":\"{theirs}\""),
                    format!("\"resourceVersion\":\"{ours}\""),
                ),
            };
            names.retain(|(known, _)| *known != theirs);
            names.push((theirs, ours));
        }
    }
}

/// The same keys at the top, the same kind of error or object, and of an object the same parts.
fn same_form(what: &str, theirs: &Value, ours: &Value) {
    let keys = |value: &Value| {
        let mut keys: Vec<String> = value
            .as_object()
            .into_iter()
            .flatten()
            .map(|it| it.0.clone())
            .collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(theirs), keys(ours), "{what}: {theirs} {ours}");
    let code = |value: &Value| value.pointer("/Err/ErrStatus/code").cloned();
    assert_eq!(code(theirs), code(ours), "{what}: {theirs} {ours}");
    if let (Some(theirs), Some(ours)) = (theirs.get("Object"), ours.get("Object"))
        && theirs.get("spec").is_some()
    {
        assert_eq!(keys(theirs), keys(ours), "{what}");
        assert_eq!(
            theirs["metadata"]["name"], ours["metadata"]["name"],
            "{what}"
        );
    }
}
