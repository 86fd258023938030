//! Pods as their node reports them to the cluster: states, mirrors of what it runs by itself, their end.

use serde_json::{Value, json};

use super::super::answers::about;
use super::super::deliver;
use super::super::kept::{Facts, Gone};
use super::super::meta::{self, Object};
use super::super::pods::{MAX_REPORTS, MAX_UID};
use super::desk::Desk;
use super::door::is_ours;
use crate::kubernetes::resource::PODS;
use crate::kubernetes::{Patch, Request};
use crate::protocol::reply::Status;
use crate::protocol::resource::{Kind, Namespace, ObjectPath};

/// Merges a patch of the status.
pub async fn patch(desk: &Desk<'_>, path: &ObjectPath) -> Result<Object, Status> {
    let path = pod(&path.namespace, &path.name)?;
    let patch = desk.asked.patch()?;
    let uid = patch.text(&["metadata", "uid"]).map(str::to_owned);
    let mut change = patch.only(&[&["status"]]).into_value();
    let own = desk.own_pod(&path).await;
    let uid = match (own, uid) {
        (Ok(own), Some(uid)) if own != uid => {
            gone(desk, &path, &uid);
            return Err(Status::conflict(about("pods", &path.name)));
        }
        (Ok(own), _) => own,
        (Err(status), uid) => {
            forget(desk, &path, &status, uid.as_deref());
            return Err(status);
        }
    };
    // Only this one is meant, whatever has its name by now.
    change["metadata"] = json!({"uid": uid});
    let patched = report(desk, &path, Patch::Strategic, &change).await;
    patched.inspect_err(|status| forget(desk, &path, status, Some(&uid)))
}

async fn report(
    desk: &Desk<'_>,
    path: &ObjectPath,
    patch: Patch,
    change: &Value,
) -> Result<Object, Status> {
    let namespace = path.namespace.as_str();
    let request = Request::patch(&PODS, namespace, &path.name, patch, change);
    desk.call(request.part("status")).await
}

/// A node that reports of a Pod that is not there any more has missed its end.
fn forget(desk: &Desk<'_>, path: &ObjectPath, status: &Status, uid: Option<&str>) {
    let uid = uid.filter(|uid| !uid.is_empty());
    if let Some(uid) = uid.filter(|_| status.is_not_found()) {
        gone(desk, path, uid);
    }
}

fn gone(desk: &Desk<'_>, path: &ObjectPath, uid: &str) {
    if uid.len() > MAX_UID {
        return;
    }
    let cloud = desk.asked.cloud;
    let effects = {
        let mut state = cloud.nodes.lock();
        state.owe(desk.node(), uid, Gone::unknown(path.clone(), 0))
    };
    match effects {
        Some(effects) => deliver(cloud, effects.pushes),
        None => cloud.metrics.excess.add(),
    }
}

/// The mirror of a pod that the node runs by itself. It may need nothing of the cluster: else a node
/// could read whatever it names.
pub async fn insert(desk: &Desk<'_>, path: &ObjectPath) -> Result<Object, Status> {
    let mut pod = desk.asked.content()?;
    let facts = Facts::of(Kind::Pod, &pod);
    let metadata = pod.get("metadata");
    let of = |key: &str| metadata.and_then(|it| it.get(key));
    let word = |key: &str| of(key).and_then(Value::as_str);
    if word("name") != Some(&path.name) || word("namespace") != path.namespace.as_str() {
        return Err(Status::bad_request(
            "the object is not the one that is named",
        ));
    }
    let needs_nothing = facts.needs.is_empty() && facts.may_ask.is_empty();
    let own = facts.bound.as_ref() == Some(desk.node());
    if !own || !facts.mirror || !needs_nothing || is_ours(path) {
        desk.asked.cloud.metrics.denied.add();
        return Err(Status::forbidden(
            about("pods", &path.name),
            "a node makes only mirrors of pods that it runs by itself, which need nothing of the \
             cluster",
        ));
    }
    let mut kept = Object::new();
    for key in [
        "name",
        "namespace",
        "labels",
        "annotations",
        "ownerReferences",
    ] {
        kept.extend(of(key).map(|value| (key.to_owned(), value.clone())));
    }
    pod.insert("metadata".to_owned(), kept.into());
    pod.extend(meta::typed("Pod", "v1"));
    let create = Request::create(&PODS, path.namespace.as_str(), &pod.into());
    desk.call(create).await
}

/// The pod has ended on the node. That it is gone already, or another one now, is as good.
pub async fn delete(desk: &Desk<'_>, path: &ObjectPath) -> Result<(), Status> {
    // Old edges send the bare uid.
    let options = desk.asked.content().unwrap_or_default();
    let wanted = || options.get("preconditions")?.get("uid")?.as_str();
    let wanted = wanted()
        .map(str::to_owned)
        .or_else(|| desk.asked.message.text());
    let wanted = wanted.filter(|uid| !uid.is_empty());
    let own = match desk.own_pod(path).await {
        Ok(own) => own,
        Err(status) if status.is_not_found() => return Ok(()),
        Err(status) => return Err(status),
    };
    if wanted.is_some_and(|wanted| wanted != own) {
        return Ok(());
    }
    let mut body =
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": own}});
    if let Some(grace) = options.get("gracePeriodSeconds").filter(|it| it.is_u64()) {
        body["gracePeriodSeconds"] = grace.clone();
    }
    let request = Request::delete(&PODS, path.namespace.as_str(), &path.name);
    match desk.call(request.json("application/json", &body)).await {
        Err(status) if status.is_not_found() || status.is_conflict() => Ok(()),
        other => other.map(drop),
    }
}

/// States of one pod or of many, as old edges report them; they are told of pods that are gone.
pub async fn states(
    desk: &Desk<'_>,
    namespace: &Namespace,
    name: Option<&str>,
) -> Result<Option<u64>, Status> {
    let text = desk
        .asked
        .message
        .content
        .as_ref()
        .map_or("null", |it| it.get());
    let content: Value = serde_json::from_str(text)
        .map_err(|error| Status::bad_request(&format!("no states of pods: {error}")))?;
    let reports = match content {
        Value::Array(reports) if reports.len() <= MAX_REPORTS => reports,
        Value::Array(_) => return Err(Status::bad_request("states of too many pods")),
        one => vec![one],
    };
    for sent in &reports {
        let word = |key: &str| sent.get(key).and_then(Value::as_str).unwrap_or_default();
        let path = pod(namespace, name.unwrap_or(word("Name")))?;
        let uid = Some(word("UID")).filter(|uid| !uid.is_empty());
        let own = match desk.own_pod(&path).await {
            Ok(own) if uid.is_none_or(|uid| uid == own) => own,
            Ok(_) => {
                uid.iter().for_each(|uid| gone(desk, &path, uid));
                continue;
            }
            Err(status) if status.is_not_found() => {
                forget(desk, &path, &status, uid);
                continue;
            }
            Err(status) => return Err(status),
        };
        let Some(status) = sent.get("Status").filter(|it| it.is_object()) else {
            continue;
        };
        let change = json!({"metadata": {"uid": own}, "status": status});
        match report(desk, &path, Patch::Merge, &change).await {
            Err(status) if status.is_not_found() => forget(desk, &path, &status, uid),
            other => _ = other?,
        }
    }
    Ok(None)
}

fn pod(namespace: &Namespace, name: &str) -> Result<ObjectPath, Status> {
    ObjectPath::new(namespace.as_str().unwrap_or("default"), Kind::Pod, name)
        .map_err(|error| Status::bad_request(&error.to_string()))
}
