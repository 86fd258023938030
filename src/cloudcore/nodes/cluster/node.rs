//! A device's Node object on the cluster: made, changed and reported by the device itself.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::MAX_NODE;
use super::super::answers::about;
use super::super::meta::{self, Object};
use super::desk::{Desk, version};
use super::labels::{self, CLOUDCORE, EDGE};
use crate::kubernetes::resource::NODES;
use crate::kubernetes::{Patch, Request, object};
use crate::protocol::reply::Status;

/// Registers the node.
pub async fn insert(desk: &Desk<'_>) -> Result<Object, Status> {
    make(desk, desk.asked.content()?).await
}

async fn make(desk: &Desk<'_>, sent: Object) -> Result<Object, Status> {
    let name = desk.node().as_str();
    if object::name(&sent) != name {
        return Err(Status::bad_request("the object is not the node's own"));
    }
    let metadata = sent.get("metadata");
    let of = |key: &str| metadata.and_then(|it| it.get(key));
    let (mut given, mut late) = (labels::own_words(of("labels"), true), Object::new());
    given.retain(|_, value| value.is_string());
    given.insert(EDGE.to_owned(), "".into());
    if desk.cluster.is_impersonating() {
        for key in given.keys().cloned().collect::<Vec<_>>() {
            if labels::is_given_by_us(&key) {
                late.extend(given.shift_remove(&key).map(|value| (key, value)));
            }
        }
    }
    let mut annotations = labels::own_words(of("annotations"), false);
    annotations.retain(|_, value| value.is_string());
    annotations.insert(
        CLOUDCORE.to_owned(),
        desk.asked.cloud.nodes.address.clone().into(),
    );
    let mut node = meta::typed("Node", "v1");
    node.insert(
        "metadata".to_owned(),
        json!({"name": name, "labels": given, "annotations": annotations}),
    );
    for key in ["spec", "status"] {
        node.extend(sent.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    let node = Value::from(node);
    if node.to_string().len() > MAX_NODE {
        return Err(Status::bad_request("a Node that is too large"));
    }
    let made = desk.call(Request::create(&NODES, None, &node)).await?;
    if late.is_empty() {
        return Ok(made);
    }
    // The cluster refuses these to nodes.
    let change = json!({"metadata": {"labels": late}});
    let change = Request::patch(&NODES, None, name, Patch::Merge, &change);
    desk.call_as_cloudcore(change).await
}

/// The Node as it is known here, or else as the cluster has it.
pub async fn query(desk: &Desk<'_>) -> Result<Object, Status> {
    match known(desk) {
        Some(node) => Ok(node),
        None => {
            let name = desk.node().as_str();
            let found = desk.call(Request::get(&NODES, None, name)).await;
            found.map_err(|status| match status.is_not_found() {
                true => Status::not_found(about("node", name)),
                false => status,
            })
        }
    }
}

/// Takes over labels and annotations; the version.
pub async fn update(desk: &Desk<'_>) -> Result<Option<u64>, Status> {
    let sent = desk.asked.content()?;
    let metadata = sent.get("metadata");
    let of = |key: &str| metadata.and_then(|it| it.get(key));
    let mut given = labels::own_words(of("labels"), true);
    let mut annotations = labels::own_words(of("annotations"), false);
    given.retain(|_, value| value.is_string());
    annotations.retain(|_, value| value.is_string());
    if let Some(node) = known(desk)
        && has_all(&node, "labels", &given)
        && has_all(&node, "annotations", &annotations)
    {
        return Ok(version(&node));
    }
    let change = json!({"metadata": {"labels": given, "annotations": annotations}});
    let name = desk.node().as_str();
    let change = Request::patch(&NODES, None, name, Patch::Merge, &change);
    Ok(version(&desk.call(change).await?))
}

fn has_all(node: &Object, map: &str, words: &Object) -> bool {
    let held = node.get("metadata").and_then(|it| it.get(map));
    let mut words = words.iter();
    words.all(|(key, value)| held.and_then(|held| held.get(key)) == Some(value))
}

/// Merges a patch of the status, and of labels and annotations. One that only says that the node still
/// is as it was is written seldom: the lease says that the node lives.
pub async fn patch(desk: &Desk<'_>) -> Result<Object, Status> {
    let patch = desk.asked.patch()?.only(&[
        &["metadata", "labels"],
        &["metadata", "annotations"],
        &["status"],
    ]);
    let mut change = patch.clone().into_value();
    if let Some(Value::Object(metadata)) = change.get_mut("metadata") {
        for (key, are_labels) in [("labels", true), ("annotations", false)] {
            if let Some(sent) = metadata.get(key) {
                let own = labels::own_words(Some(sent), are_labels);
                metadata.insert(key.to_owned(), own.into());
            }
        }
    }
    let name = desk.node();
    if let Some(node) = known(desk)
        && desk.cluster.is_quiet(name, version(&node), Instant::now())
    {
        let mut after = node.clone();
        let applied = patch.apply(&mut after);
        applied.map_err(|error| Status::bad_request(&error.to_string()))?;
        if without_heartbeats(after.clone()) == without_heartbeats(node) {
            return Ok(after);
        }
    }
    let request = Request::patch(&NODES, None, name.as_str(), Patch::Strategic, &change);
    let patched = desk.call(request.part("status")).await?;
    let written = version(&patched).unwrap_or(u64::MAX);
    desk.cluster.reported(name, written, Instant::now());
    Ok(patched)
}

fn without_heartbeats(mut node: Object) -> Object {
    let conditions = node
        .get_mut("status")
        .and_then(|it| it.get_mut("conditions"));
    let conditions = conditions.and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        if let Some(condition) = condition.as_object_mut() {
            condition.shift_remove("lastHeartbeatTime");
        }
    }
    node
}

/// As edges before v1.10 report: the whole Node first, then `{UID, Status, …}`.
pub async fn status(desk: &Desk<'_>) -> Result<Option<u64>, Status> {
    let content = desk.asked.content()?;
    let status = ["status", "Status"]
        .iter()
        .find_map(|key| content.get(*key));
    let status = status.filter(|it| it.is_object()).cloned();
    let status = status.ok_or_else(|| Status::bad_request("a report without a status"))?;
    let name = desk.node().as_str();
    let change = json!({"status": status});
    let change = Request::patch(&NODES, None, name, Patch::Strategic, &change).part("status");
    let reported = match desk.call(change).await {
        Err(status) if status.is_not_found() && content.contains_key("metadata") => {
            make(desk, content).await
        }
        other => other,
    };
    Ok(version(&reported?))
}

fn known(desk: &Desk<'_>) -> Option<Object> {
    let state = desk.asked.cloud.nodes.lock();
    Some(state.node(desk.node())?.object())
}

/// Without any change a Node is written so often.
pub const REPORT: Duration = Duration::from_secs(590);
