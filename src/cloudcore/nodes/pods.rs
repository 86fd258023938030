//! Pods as their node reports them: states, mirrors of what it runs by itself, and their end.

use std::sync::Arc;

use serde_json::Value;

use super::answers::{Asked, about};
use super::kept::{Facts, Given, Gone, Kept};
use super::meta::{self, Object, Stamp};
use super::state::{Effects, MAX_OWED, State};
use crate::protocol::message::new_id;
use crate::protocol::reply::Status;
use crate::protocol::resource::{Kind, Namespace, ObjectPath};
use crate::system::names::NodeName;

/// Merges a patch of the status.
pub async fn patch(asked: &Asked<'_>, path: &ObjectPath) -> Result<Arc<Kept>, Status> {
    let path = pod(path)?;
    let patch = asked.patch()?;
    let uid = patch.text(&["metadata", "uid"]).map(str::to_owned);
    let patch = patch.only(&[&["status"]]);
    let patched = asked
        .cloud
        .nodes
        .change(asked.cloud, Some(asked.node), |state, context| {
            let kept = own(state, asked.node, &path)?;
            if uid.is_some_and(|uid| *uid != *kept.uid) {
                return Err(Status::conflict(about("pods", &path.name)));
            }
            changed(asked, state, &kept, context.version, |object| {
                let applied = patch.apply(object);
                applied.map_err(|error| Status::bad_request(&error.to_string()))
            })
        });
    patched.await
}

/// The mirror of a pod that the node runs by itself. It may need nothing of the cluster: else a node
/// could read whatever it names.
pub async fn insert(asked: &Asked<'_>, path: &ObjectPath) -> Result<Object, Status> {
    let mut object = asked.content()?;
    let facts = Facts::of(Kind::Pod, &object);
    let word = |key: &str| object.get("metadata")?.get(key)?.as_str();
    if word("name") != Some(&path.name) || word("namespace") != path.namespace.as_str() {
        return Err(Status::bad_request(
            "the object is not the one that is named",
        ));
    }
    if facts.bound.as_ref() != Some(asked.node) || !facts.mirror || !facts.needs.is_empty() {
        asked.cloud.metrics.denied.add();
        return Err(Status::forbidden(
            about("pods", &path.name),
            "a node makes only mirrors of pods that it runs by itself, without ConfigMaps and Secrets",
        ));
    }
    let made = asked
        .cloud
        .nodes
        .change(asked.cloud, Some(asked.node), |state, context| {
            if state.get(path).is_some() {
                return Err(Status::already_exists(about("pods", &path.name)));
            }
            for (key, value) in meta::typed("Pod", "v1") {
                object.insert(key, value);
            }
            let stamp = Stamp {
                uid: new_id(),
                version: context.version,
                created: context.now.to_string(),
            };
            meta::stamp(&mut object, &stamp);
            let kept = Kept::new(path.clone(), &object, Given::default());
            let kept = kept.ok_or_else(|| Status::bad_request("not an object"))?;
            if let Some(why) = excess(state, asked.node, &kept, 0) {
                asked.cloud.metrics.excess.add();
                return Err(Status::forbidden(about("pods", &path.name), why));
            }
            Ok((meta::untyped(object), state.put(kept)))
        });
    made.await
}

/// Why a node may not have this mirror, in the place of one of `before` bytes if there is one. Nobody else decides
/// what mirrors there are, so that one node must not fill the store for all.
fn excess(state: &State, node: &NodeName, new: &Kept, before: usize) -> Option<&'static str> {
    let size = new.text.len();
    let (count, bytes) = state.mirrors(node);
    if size <= before {
        return None;
    }
    if size > MAX_MIRROR {
        return Some("the mirror of a pod has at most 64 KiB");
    }
    if before == 0 && count >= MAX_MIRRORS {
        return Some("a node has at most 1000 mirrors of pods");
    }
    let all = bytes - before.min(bytes) + size;
    (all > MAX_MIRRORS_SIZE).then_some("all mirrors of a node's pods have at most 2 MiB")
}

/// The pod has ended on the node. That it is gone already, or another one now, is as good.
pub async fn delete(asked: &Asked<'_>, path: &ObjectPath) -> Result<(), Status> {
    // Old edges send the bare uid.
    let options = asked.content().unwrap_or_default();
    let uid = || options.get("preconditions")?.get("uid")?.as_str();
    let uid = uid().map(str::to_owned).or_else(|| asked.message.text());
    let deleted = asked
        .cloud
        .nodes
        .change(asked.cloud, Some(asked.node), |state, _| {
            let Ok(kept) = own(state, asked.node, path) else {
                return Ok(((), Effects::default()));
            };
            let other = |uid: &String| !uid.is_empty() && **uid != *kept.uid;
            if uid.as_ref().is_some_and(other) {
                return Ok(((), Effects::default()));
            }
            // Each leaves something to forget, of which a node that never does shall not have any number.
            if state.owed_by(asked.node) >= MAX_OWED {
                asked.cloud.metrics.excess.add();
                return Err(Status::too_many());
            }
            Ok(((), state.remove(path)))
        });
    deleted.await
}

/// States of one pod or of many, as old edges report them; they are told of pods that are gone.
pub async fn states(
    asked: &Asked<'_>,
    namespace: &Namespace,
    name: Option<&str>,
) -> Result<(), Status> {
    let text = asked.message.content.as_ref().map_or("null", |it| it.get());
    let content: Value = serde_json::from_str(text)
        .map_err(|error| Status::bad_request(&format!("no states of pods: {error}")))?;
    let reports = match content {
        Value::Array(reports) if reports.len() <= MAX_REPORTS => reports,
        Value::Array(_) => return Err(Status::bad_request("states of too many pods")),
        one => vec![one],
    };
    for report in &reports {
        let word = |key: &str| report.get(key).and_then(Value::as_str);
        let named = name.or_else(|| word("Name")).unwrap_or_default();
        let namespace = namespace.as_str().unwrap_or("default");
        let path = ObjectPath::new(namespace, Kind::Pod, named)
            .map_err(|error| Status::bad_request(&error.to_string()))?;
        let uid = word("UID").unwrap_or_default().to_owned();
        let status = report.get("Status").filter(|it| it.is_object()).cloned();
        let taken = asked
            .cloud
            .nodes
            .change(asked.cloud, Some(asked.node), |state, context| {
                match own(state, asked.node, &path) {
                    Ok(kept) if uid.is_empty() || *uid == *kept.uid => {
                        let changed = changed(asked, state, &kept, context.version, |object| {
                            object.extend(status.map(|it| ("status".to_owned(), it)));
                            Ok(())
                        });
                        changed.map(|(_, effects)| ((), effects))
                    }
                    _ if uid.is_empty() || uid.len() > MAX_UID => Ok(((), Effects::default())),
                    _ => {
                        let gone = Gone::unknown(path.clone(), context.version);
                        let owed = state.owe(asked.node, &uid, gone);
                        if owed.is_none() {
                            asked.cloud.metrics.excess.add();
                        }
                        Ok(((), owed.unwrap_or_default()))
                    }
                }
            });
        taken.await?;
    }
    Ok(())
}

fn changed(
    asked: &Asked<'_>,
    state: &mut State,
    kept: &Kept,
    version: u64,
    change: impl FnOnce(&mut Object) -> Result<(), Status>,
) -> Result<(Arc<Kept>, Effects), Status> {
    let old = kept.object();
    let mut object = old.clone();
    change(&mut object)?;
    meta::stamp(&mut object, &Stamp::again(&old, version));
    let path = ObjectPath::clone(&kept.path);
    let new = Kept::new(path, &object, kept.given.clone());
    let new = new.filter(|new| new.text.len() <= MAX_POD);
    let new = new.ok_or_else(|| Status::bad_request("a Pod that is too large"))?;
    let before = kept.text.len();
    let why = match new.facts.mirror {
        true => excess(state, asked.node, &new, before),
        false => {
            let status = object.get("status").map_or(0, |it| it.to_string().len());
            let large = new.text.len() > before && status > MAX_STATUS;
            large.then_some("the status of a pod has at most 128 KiB")
        }
    };
    if let Some(why) = why {
        asked.cloud.metrics.excess.add();
        return Err(Status::forbidden(about("pods", &kept.path.name), why));
    }
    let effects = state.put(new.clone());
    Ok((Arc::new(new), effects))
}

/// The node's own pod; of another one's nothing is said.
fn own(state: &State, node: &NodeName, path: &ObjectPath) -> Result<Arc<Kept>, Status> {
    let found = state.get(path).filter(|kept| state.sees(node, kept));
    let missing = || Status::not_found(about("pods", &path.name));
    found.cloned().ok_or_else(missing)
}

fn pod(path: &ObjectPath) -> Result<ObjectPath, Status> {
    let namespace = path.namespace.as_str().unwrap_or_default();
    ObjectPath::new(namespace, Kind::Pod, &path.name)
        .map_err(|error| Status::bad_request(&error.to_string()))
}

const MAX_POD: usize = 3 << 19;

/// Bytes of what a node reports of a pod that it was given.
const MAX_STATUS: usize = 128 << 10;

/// A manifest on the device and what became of it, a few KB; of those a node has a handful. Kubernetes
/// gives a node 110 pods in all.
const MAX_MIRROR: usize = 64 << 10;
const MAX_MIRRORS: usize = 1000;
const MAX_MIRRORS_SIZE: usize = 2 << 20;

pub const MAX_REPORTS: usize = 500;
pub const MAX_UID: usize = 64;
