//! A device's Node object: made, changed and reported by the device itself.

use std::sync::Arc;

use serde_json::Value;

use super::answers::{Asked, about};
use super::kept::{Given, Kept};
use super::labels::is_reserved;
use super::meta::{self, Object, Stamp};
use super::state::{Effects, State};
use super::{Context, MAX_NODE};
use crate::protocol::message::new_id;
use crate::protocol::reply::Status;
use crate::protocol::resource::{Kind, ObjectPath};
use crate::system::names::NodeName;

/// Registers the node.
pub async fn insert(asked: &Asked<'_>) -> Result<Object, Status> {
    let node = asked.content()?;
    let made = asked
        .cloud
        .nodes
        .change(asked.cloud, Some(asked.node), |state, context| {
            if state.node(asked.node).is_some() {
                return Err(Status::already_exists(about("nodes", asked.node.as_str())));
            }
            let kept = made(node, context, asked.node)?;
            let object = meta::untyped(kept.object());
            Ok((object, state.put(kept)))
        });
    made.await
}

/// Takes over labels and annotations; the version.
pub async fn update(asked: &Asked<'_>) -> Result<Option<u64>, Status> {
    let node = asked.content()?;
    let updated = asked
        .cloud
        .nodes
        .change(asked.cloud, Some(asked.node), |state, context| {
            let sent = node.get("metadata");
            changed(state, context, asked.node, |object| {
                for key in ["labels", "annotations"] {
                    let given = sent.and_then(|it| it.get(key)).and_then(Value::as_object);
                    let map = meta::child(meta::metadata(object), key);
                    map.extend(
                        given
                            .into_iter()
                            .flatten()
                            .map(|(k, v)| (k.clone(), v.clone())),
                    );
                }
                Ok(())
            })
        });
    Ok(Some(updated.await?.version))
}

/// Merges a patch of the status, and of labels and annotations.
pub async fn patch(asked: &Asked<'_>) -> Result<Arc<Kept>, Status> {
    let patch = asked.patch()?.only(&[
        &["metadata", "labels"],
        &["metadata", "annotations"],
        &["status"],
    ]);
    let patched = asked
        .cloud
        .nodes
        .change(asked.cloud, Some(asked.node), |state, context| {
            changed(state, context, asked.node, |object| {
                let applied = patch.apply(object);
                applied.map_err(|error| Status::bad_request(&error.to_string()))
            })
        });
    patched.await
}

/// As edges before v1.10 report: the whole Node first, then `{UID, Status, …}`.
pub async fn status(asked: &Asked<'_>) -> Result<Option<u64>, Status> {
    let content = asked.content()?;
    let whole = content.contains_key("metadata");
    let reported = asked
        .cloud
        .nodes
        .change(asked.cloud, Some(asked.node), |state, context| {
            if state.node(asked.node).is_none() && whole {
                let effects = state.put(made(content, context, asked.node)?);
                let kept = found(state, asked.node)?;
                return Ok((kept, effects));
            }
            let status = ["status", "Status"]
                .iter()
                .find_map(|key| content.get(*key));
            let status = status.filter(|it| it.is_object()).cloned();
            let status = status.ok_or_else(|| Status::bad_request("a report without a status"))?;
            changed(state, context, asked.node, |object| {
                object.insert("status".to_owned(), status);
                Ok(())
            })
        });
    Ok(Some(reported.await?.version))
}

fn made(mut node: Object, context: &Context<'_>, own: &NodeName) -> Result<Kept, Status> {
    let name = node.get("metadata").and_then(|it| it.get("name"));
    if name.and_then(Value::as_str) != Some(own.as_str()) {
        return Err(Status::bad_request("the object is not the node's own"));
    }
    for (key, value) in meta::typed("Node", "v1") {
        node.insert(key, value);
    }
    let metadata = meta::metadata(&mut node);
    let annotations = meta::child(metadata, "annotations");
    annotations.insert("cloudcore".to_owned(), context.address.into());
    meta::sort(annotations);
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        metadata.shift_remove(key);
    }
    keep_ours(&mut node, &Object::new());
    let stamp = Stamp {
        uid: new_id(),
        version: context.version,
        created: context.now.to_string(),
    };
    finished(node, &stamp, own)
}

/// Changes the Node that is there, as its device wishes.
fn changed(
    state: &mut State,
    context: &Context<'_>,
    own: &NodeName,
    change: impl FnOnce(&mut Object) -> Result<(), Status>,
) -> Result<(Arc<Kept>, Effects), Status> {
    altered(state, context, own, |object, old| {
        change(object)?;
        keep_ours(object, old);
        Ok(())
    })
}

/// Changes the Node that is there. What leaves it as it was is neither written nor pushed.
pub fn altered(
    state: &mut State,
    context: &Context<'_>,
    own: &NodeName,
    change: impl FnOnce(&mut Object, &Object) -> Result<(), Status>,
) -> Result<(Arc<Kept>, Effects), Status> {
    let kept = found(state, own)?;
    let old = kept.object();
    let mut object = old.clone();
    change(&mut object, &old)?;
    if object == old {
        return Ok((kept, Effects::default()));
    }
    let node = finished(object, &Stamp::again(&old, context.version), own)?;
    let effects = state.put(node);
    Ok((found(state, own)?, effects))
}

/// Labels that only operators give stay as they are, whatever a node says.
fn keep_ours(node: &mut Object, old: &Object) {
    let old = old.get("metadata").and_then(|it| it.get("labels"));
    let old = old.and_then(Value::as_object).into_iter().flatten();
    let kept: Vec<_> = old.filter(|(key, _)| is_reserved(key)).collect();
    let labels = meta::child(meta::metadata(node), "labels");
    labels.retain(|key, _| !is_reserved(key));
    labels.extend(
        kept.into_iter()
            .map(|(key, value)| (key.clone(), value.clone())),
    );
}

fn finished(mut node: Object, stamp: &Stamp, own: &NodeName) -> Result<Kept, Status> {
    meta::stamp(&mut node, stamp);
    let path = ObjectPath::of_cluster(Kind::Node, own.as_str());
    let kept = Kept::new(path, &node, Given::default());
    let kept = kept.filter(|kept| kept.text.len() <= MAX_NODE);
    kept.ok_or_else(|| Status::bad_request("a Node that is too large"))
}

fn found(state: &State, node: &NodeName) -> Result<Arc<Kept>, Status> {
    let missing = || Status::not_found(about("nodes", node.as_str()));
    state.node(node).cloned().ok_or_else(missing)
}
