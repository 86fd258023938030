//! Recorded edges of KubeEdge at our cloud: every answer and push has the recorded shape.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use kubeedge::protocol::control::{self, CLOUD_SOCKET, CloudOp, Reply, Request};
use kubeedge::protocol::message::Message;
use serde_json::Value;

use crate::support::{Client, Cloud, PATIENCE, vectors};
use crate::tunnel::{NOW, PING, PONG, TEXT, open};

/// What stands in the recording and differs here on purpose, by the end of its path.
const ON_PURPOSE: &[(&str, &str)] = &[
    (
        "metadata.managedFields",
        "nobody here merges by who wrote a field",
    ),
    (
        "annotations.node.alpha.kubernetes.io/ttl",
        "written by a controller of Kubernetes that is not here",
    ),
    (
        "annotations.cloudcore",
        "the address of this cloud; v1.13 wrote none",
    ),
    (
        "spec.taints",
        "not-ready, by Kubernetes, taken away by a controller that is not here",
    ),
    ("labels.zone", "given by the operator of the recording"),
    ("metadata.annotations", "made for the address of this cloud"),
];

/// Words that differ from run to run: only that they are words is compared.
const WORDS: &[&str] = &[
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "generation",
    "cloudcore",
];

#[test]
fn the_recorded_edge_is_answered_as_by_upstream() {
    let replayed = replay("edge-full", "edge-1");
    // Node and lease asked for and made, 3 patches of the Node, renewals, 4 patches of the pod, what
    // the pod needs, and the end of the pod.
    assert!(replayed >= 60, "only {replayed} answers were compared");
}

#[test]
fn the_recorded_edge_of_v1_13_is_answered_as_by_its_cloud() {
    let replayed = replay("v1.13/edge-full", "v113-full");
    assert_eq!(replayed, 51, "answers that were compared");
}

struct Recorded {
    up: bool,
    text: String,
    message: Message,
}

fn recorded(folder: &str) -> Vec<Recorded> {
    let text = fs::read_to_string(vectors(folder).join("messages.jsonl")).unwrap();
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

/// Sends what the edge sent, with the ids and versions that our cloud gave; how many answers were
/// compared with the recorded ones.
fn replay(folder: &str, node: &str) -> usize {
    let cloud = Cloud::start(&format!("replay-{node}"), "", "", NOW);
    let mut client = open(&cloud, &cloud.identity(node), node);
    let recorded = recorded(folder);
    let answers: HashMap<&str, &Message> = recorded
        .iter()
        .filter(|it| !it.up && !it.message.header.parent_id.is_empty())
        .map(|it| (it.message.header.parent_id.as_str(), &it.message))
        .collect();
    let mut names: Vec<(String, String)> = Vec::new();
    let mut applied: Vec<String> = Vec::new();
    let (mut compared, mut ending) = (0, false);
    for it in &recorded {
        let route = &it.message.route;
        if !it.up {
            let made = route.operation == "insert" && it.message.header.parent_id.is_empty();
            let object = content(&it.message);
            if made {
                apply(&cloud, object, node, &mut applied, &mut names);
            } else if object["metadata"].get("deletionTimestamp").is_some() && !ending {
                end(&cloud, &object);
                ending = true;
            }
            continue;
        }
        let answer = answers.get(it.message.header.id.as_str());
        if ["keepalive", "response", ""].contains(&route.operation.as_str()) {
            continue;
        }
        if let Some(answer) = answer
            && ["configmap", "secret"]
                .iter()
                .any(|kind| route.resource.contains(kind))
        {
            apply(&cloud, content(answer), node, &mut applied, &mut names);
        }
        let said = names.iter().fold(it.text.clone(), |text, (theirs, ours)| {
            text.replace(theirs.as_str(), ours)
        });
        client.send_frame(TEXT, said.as_bytes());
        client.send_frame(PING, b"said");
        let ours = until_pong(&mut client, &it.message.header.id);
        match (answer, ours) {
            (Some(theirs), Some(ours)) => {
                compare_messages(theirs, &ours);
                learn(&content(theirs), &content(&ours), &mut names);
                compared += 1;
            }
            (Some(theirs), None) => panic!("{} is not answered", theirs.to_json()),
            // So that it does not ask again each minute.
            (None, Some(ours)) => assert_eq!(ours.route.resource, "twin", "{}", it.text),
            (None, None) => {}
        }
    }
    compared
}

fn content(message: &Message) -> Value {
    serde_json::from_str(message.content.as_ref().unwrap().get()).unwrap()
}

/// Reads to the answer; what is pushed meanwhile is checked for itself and acknowledged.
fn until_pong(client: &mut Client, id: &str) -> Option<Message> {
    let mut answer = None;
    loop {
        match client.frame().unwrap() {
            (PONG, payload) if payload == b"said" => return answer,
            (TEXT, payload) => {
                let message = Message::from_json(&payload).unwrap();
                if message.header.parent_id == id {
                    answer = Some(message);
                } else if message.route.resource != "membership" {
                    acknowledge(client, &message);
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

fn acknowledge(client: &mut Client, push: &Message) {
    assert_eq!(push.header.parent_id, "");
    assert_eq!(push.route.group, "resource");
    let object = content(push);
    assert!(object["metadata"]["uid"].is_string() && object["kind"].is_string());
    let version = object["metadata"]["resourceVersion"].as_str().unwrap();
    assert_eq!(push.header.resource_version, version);
    let ack = push.answer(NOW, &push.route.source, "response", "OK");
    client.send_frame(TEXT, ack.to_json().as_bytes());
}

/// What the operator of the recording gave to the edge, for ours to give.
fn apply(
    cloud: &Cloud,
    object: Value,
    node: &str,
    applied: &mut Vec<String>,
    names: &mut Vec<(String, String)>,
) {
    let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
    if applied.contains(&uid) {
        return;
    }
    let bound = object["spec"].get("nodeName").is_some();
    let request = Request {
        names: if bound {
            Vec::new()
        } else {
            vec![node.to_owned()]
        },
        ..Request::new(CloudOp::ObjectApply)
    };
    let socket = cloud.root().join(&CLOUD_SOCKET[1..]);
    let body = object.to_string();
    let mut client =
        control::Client::ask_with(&socket, &request, body.as_bytes(), PATIENCE).unwrap();
    let reply: Reply = client.line().unwrap().unwrap();
    assert_eq!(reply.error, None);
    let get = Request {
        kind: object["kind"].as_str().map(str::to_ascii_lowercase),
        name: object["metadata"]["name"].as_str().map(str::to_owned),
        ..Request::new(CloudOp::ObjectGet)
    };
    let mut client = control::Client::ask(&socket, &get, Duration::from_secs(60)).unwrap();
    let line: control::ObjectLine = client.line().unwrap().unwrap();
    let ours = client.body(line.body.unwrap()).unwrap();
    learn(&object, &serde_json::from_slice(&ours).unwrap(), names);
    applied.push(uid);
}

/// The operator deletes a pod, which then is asked to end.
fn end(cloud: &Cloud, pod: &Value) {
    let request = Request {
        kind: Some("pod".to_owned()),
        name: pod["metadata"]["name"].as_str().map(str::to_owned),
        ..Request::new(CloudOp::ObjectDelete)
    };
    let socket = cloud.root().join(&CLOUD_SOCKET[1..]);
    let reply: Reply = control::call(&socket, &request, PATIENCE).unwrap();
    assert!(reply.message.unwrap().contains("asked to end"));
}

/// Which of our words stand where the recording had its own.
fn learn(theirs: &Value, ours: &Value, names: &mut Vec<(String, String)>) {
    for (theirs, ours) in [(theirs, ours), (&theirs["Object"], &ours["Object"])] {
        for key in ["uid", "resourceVersion"] {
            let word = |of: &Value| {
                let word = of["metadata"][key].as_str()?;
                Some(match key {
                    "uid" => word.to_owned(),
                    _ => format!("\"resourceVersion\":\"{word}\""),
                })
            };
            if let (Some(theirs), Some(ours)) = (word(theirs), word(ours)) {
                names.retain(|(known, _)| *known != theirs);
                names.push((theirs, ours));
            }
        }
    }
}

fn compare_messages(theirs: &Message, ours: &Message) {
    assert_eq!(ours.route, theirs.route, "{}", ours.to_json());
    let has_version = |message: &Message| !message.header.resource_version.is_empty();
    assert_eq!(has_version(ours), has_version(theirs), "{}", ours.to_json());
    let mut faults = Vec::new();
    compare("", &content(theirs), &content(ours), &mut faults);
    assert!(faults.is_empty(), "{}: {faults:#?}", ours.route.resource);
}

/// The same keys, types and nulls at every level, and the same values but for words of the run.
fn compare(path: &str, theirs: &Value, ours: &Value, faults: &mut Vec<String>) {
    if ON_PURPOSE.iter().any(|(end, _)| path.ends_with(end)) && !path.ends_with("annotations") {
        return;
    }
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for key in theirs
                .keys()
                .chain(ours.keys().filter(|key| !theirs.contains_key(*key)))
            {
                let path = format!("{path}.{key}");
                let excused = ON_PURPOSE.iter().any(|(end, _)| path.ends_with(end));
                match (theirs.get(key), ours.get(key)) {
                    (Some(theirs), Some(ours)) => compare(&path, theirs, ours, faults),
                    _ if excused => {}
                    (one, _) => faults.push(format!(
                        "{path} is only in {}",
                        match one {
                            Some(_) => "theirs",
                            None => "ours",
                        }
                    )),
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            for (index, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                compare(&format!("{path}[{index}]"), theirs, ours, faults);
            }
        }
        (Value::String(_), Value::String(_))
            if WORDS.iter().any(|word| path.ends_with(&format!(".{word}"))) => {}
        (Value::Number(_), Value::Number(_)) if path.ends_with(".generation") => {}
        _ if theirs == ours => {}
        _ => faults.push(format!("{path}: {theirs} became {ours}")),
    }
}
