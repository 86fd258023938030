//! What an operator hands to nodes: objects for a node or a label, and their end.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Context;
use super::kept::{Given, Kept, Selector};
use super::meta::{self, Object, Stamp};
use super::state::{Effects, OWN_NAMESPACE, State};
use crate::cloudcore::cloud::Cloud;
use crate::cloudcore::outbox::Ending;
use crate::protocol::message::new_id;
use crate::protocol::reply::Status;
use crate::protocol::resource::{Kind, ObjectPath};
use crate::system::cause;
use crate::system::names::NodeName;

/// What is to be done with an object.
#[derive(Debug, Default)]
pub struct Order {
    /// For objects that name none.
    pub namespace: Option<String>,
    /// Those that shall have it; when neither these nor a selector are given it stays as it was.
    pub nodes: Vec<NodeName>,
    pub selector: Option<Selector>,
    /// Without waiting for the node to end a pod.
    pub force: bool,
}

/// Makes or changes an object; says in a sentence what became of it.
pub async fn apply(cloud: &Cloud, text: &[u8], order: Order) -> Result<String, String> {
    cloud.nodes.own()?;
    let mut object: Object = serde_json::from_slice(text)
        .map_err(|error| format!("not a JSON object: {}", cause::of_json(&error)))?;
    let path = path_of(&object, order.namespace.as_deref())?;
    if let Some(namespace) = path.namespace.as_str() {
        let metadata = meta::metadata(&mut object);
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    prepare(path.kind, &mut object, &order)?;
    let given = Given {
        nodes: order.nodes.into_iter().collect(),
        selector: order.selector,
    };
    let given = Some(given).filter(|given| *given != Given::default());
    let given = given.filter(|_| !is_bound(path.kind));
    let applied = cloud.nodes.change(cloud, None, |state, context| {
        let (done, effects) = put(state, context, &path, object, given)?;
        let pushes = effects.pushes.iter().filter(|push| push.1.gone.is_none());
        let whose = pushes.map(|push| (push.0.clone(), state.node(&push.0).is_some()));
        Ok(((done, whose.collect()), effects))
    });
    let (done, whose): (_, Vec<_>) = applied.await.map_err(|status| status.message)?;
    let is_away = |node: &NodeName| cloud.registry.generation(node).is_none();
    let (away, told): (Vec<_>, Vec<_>) = whose.into_iter().partition(|it| is_away(&it.0));
    let mut whom = match told.len() {
        0 => String::new(),
        1 => ", 1 node is told".to_owned(),
        more => format!(", {more} nodes are told"),
    };
    // One that comes later gets it then; but it may be a slip.
    if let Some((node, _)) = away.iter().find(|(_, registered)| !registered) {
        whom += &format!("; no node is called {node} yet");
    }
    Ok(format!("{} {done}{whom}", shown(&path)))
}

/// Objects of a type, of some names or all: where they are, to whom they are given, and their text.
pub fn get(
    cloud: &Cloud,
    kind: Option<Kind>,
    namespace: Option<&str>,
    names: &[String],
) -> Vec<(ObjectPath, Given, std::sync::Arc<str>)> {
    let state = cloud.nodes.lock();
    let found = state.all(kind).filter(|kept| {
        let path = &kept.path;
        let own = path.namespace.as_str();
        let there = namespace.is_none() || own.is_none() || own == namespace;
        there && (names.is_empty() || names.contains(&path.name))
    });
    found
        .map(|kept| {
            (
                ObjectPath::clone(&kept.path),
                kept.given.clone(),
                kept.text.clone(),
            )
        })
        .collect()
}

/// Deletes an object. A pod is first asked to end, if its node is there to do so.
pub async fn delete(cloud: &Cloud, path: &ObjectPath, order: Order) -> Result<String, String> {
    cloud.nodes.own()?;
    let deleted = cloud.nodes.change(cloud, None, |state, context| {
        let Some(kept) = state.get(path).cloned() else {
            let about = super::answers::about(path.kind.as_str(), &path.name);
            return Err(Status::not_found(about));
        };
        let bound = kept.facts.bound.as_ref();
        let wait = bound.is_some_and(|node| state.node(node).is_some()) && !order.force;
        if path.kind != Kind::Pod || !wait {
            return Ok(("deleted", state.remove(path)));
        }
        let mut object = kept.object();
        let grace = object
            .get("spec")
            .and_then(|it| it.get("terminationGracePeriodSeconds"));
        let grace = grace.and_then(Value::as_u64).unwrap_or(DEFAULT_GRACE);
        let metadata = meta::metadata(&mut object);
        let now = context.now.to_string();
        metadata.entry("deletionTimestamp").or_insert(now.into());
        metadata.insert("deletionGracePeriodSeconds".to_owned(), grace.into());
        let stamp = Stamp::again(&kept.object(), context.version);
        meta::stamp(&mut object, &stamp);
        let kept = Kept::new(path.clone(), &object, kept.given.clone());
        let kept = kept.ok_or_else(|| Status::internal("a pod that can't be read"))?;
        let how = "is asked to end (--force does not wait for its node)";
        Ok((how, state.put(kept)))
    });
    let how = deleted.await.map_err(|status| status.message)?;
    Ok(format!("{} {how}", shown(path)))
}

/// Deletes a node, ends its session, and tells it nothing more. It may register again.
pub async fn delete_node(cloud: &Cloud, node: &NodeName) -> Result<String, String> {
    cloud.nodes.own()?;
    let path = ObjectPath::of_cluster(Kind::Node, node.as_str());
    let deleted = cloud.nodes.change(cloud, None, |state, _| {
        if state.get(&path).is_none() && !state.leases.contains_key(node) {
            let about = super::answers::about("nodes", node.as_str());
            return Err(Status::not_found(about));
        }
        let mut effects = state.remove(&path);
        // What it had by its labels it would have to forget, which is not worth waiting for.
        let forgotten = state.forget_node(node);
        effects.changes.extend(forgotten.changes);
        effects.before.extend(forgotten.before);
        effects.pushes.clear();
        Ok(((), effects))
    });
    deleted.await.map_err(|status| status.message)?;
    let ended = cloud.registry.end(node, Ending::NodeDeleted);
    let session = if ended { ", and its session ended" } else { "" };
    Ok(format!(
        "node {node} deleted{session}; its certificate still counts and it may register anew: `keadm \
         certs revoke {node}` keeps it out"
    ))
}

fn put(
    state: &mut State,
    context: &Context<'_>,
    path: &ObjectPath,
    mut object: Object,
    given: Option<Given>,
) -> Result<(&'static str, Effects), Status> {
    let old = state.get(path).cloned();
    let given = given.or_else(|| old.as_ref().map(|old| old.given.clone()));
    let given = given.unwrap_or_default();
    let stamp = match &old {
        Some(old) => {
            let before = old.object();
            keep_state(path.kind, &mut object, &before);
            let same = Stamp::again(&before, old.version);
            meta::stamp(&mut object, &same);
            if object == before && given == old.given {
                return Ok(("unchanged", Effects::default()));
            }
            Stamp::again(&before, context.version)
        }
        None => {
            if has_generation(path.kind) {
                meta::metadata(&mut object).insert("generation".to_owned(), 1.into());
            }
            Stamp {
                uid: new_id(),
                version: context.version,
                created: context.now.to_string(),
            }
        }
    };
    meta::stamp(&mut object, &stamp);
    let kept = Kept::new(path.clone(), &object, given);
    let kept = kept.filter(|kept| kept.text.len() <= MAX_OBJECT);
    let kept = kept.ok_or_else(|| Status::bad_request("an object has at most 1.5 MiB"))?;
    let done = if old.is_some() { "changed" } else { "created" };
    Ok((done, state.put(kept)))
}

/// What nodes report of an object outlives a change of it; so does that it is to end.
fn keep_state(kind: Kind, object: &mut Object, before: &Object) {
    if !has_generation(kind) {
        return;
    }
    if let Some(status) = before.get("status").filter(|_| is_bound(kind)) {
        object.insert("status".to_owned(), status.clone());
    }
    let old = before.get("metadata");
    let of = |key: &str| old.and_then(|it| it.get(key)).cloned();
    let generation = of("generation").and_then(|it| it.as_u64()).unwrap_or(1);
    let more = u64::from(object.get("spec") != before.get("spec"));
    let metadata = meta::metadata(object);
    metadata.insert("generation".to_owned(), (generation + more).into());
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        metadata.extend(of(key).map(|value| (key.to_owned(), value)));
    }
}

fn path_of(object: &Object, namespace: Option<&str>) -> Result<ObjectPath, String> {
    let word = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (kind, version) = (word("kind"), word("apiVersion"));
    let row = KINDS.iter().find(|(name, _, _)| *name == kind);
    let Some((_, group, kind)) = row else {
        let known: Vec<&str> = KINDS.iter().map(|(name, _, _)| *name).collect();
        return Err(format!("kind {kind:?} is none of {}", known.join(", ")));
    };
    if version != *group && version.split_once('/').is_none_or(|it| it.0 != *group) {
        return Err(format!("apiVersion {version:?} is not that of a {kind}"));
    }
    let metadata = object.get("metadata");
    let of = |key: &str| metadata.and_then(|it| it.get(key)).and_then(Value::as_str);
    let own = of("namespace").filter(|it| !it.is_empty());
    if let (Some(own), Some(given)) = (own, namespace)
        && own != given
    {
        return Err(format!(
            "the object says namespace {own:?}, the command {given:?}"
        ));
    }
    let namespace = own.or(namespace).unwrap_or("default");
    if namespace == OWN_NAMESPACE {
        return Err(format!("namespace {OWN_NAMESPACE:?} is the cloud's own"));
    }
    let name = of("name").ok_or("the object has no metadata.name")?;
    ObjectPath::new(namespace, *kind, name).map_err(|_| {
        let (what, wrong) = match ObjectPath::new("default", *kind, name).is_ok() {
            true => ("namespace", namespace),
            false => ("name", name),
        };
        let dot = if what == "name" { " and '.'" } else { "" };
        format!(
            "{wrong:?} can't be a {what}: it is of lower-case letters, digits, '-'{dot}, with a \
             letter or a digit at its ends"
        )
    })
}

/// What an API server would add to an object before it is kept.
fn prepare(kind: Kind, object: &mut Object, order: &Order) -> Result<(), String> {
    if is_bound(kind) {
        let spec = meta::child(object, "spec");
        let named = spec.get("nodeName").and_then(Value::as_str);
        match (&order.nodes[..], &order.selector) {
            ([], None) => {}
            ([node], None) if named.is_none_or(|named| named == node.as_str()) => {
                spec.insert("nodeName".to_owned(), node.to_string().into());
            }
            _ => return Err(format!("a {kind} belongs to one node: name that one")),
        }
        let bound = spec.get("nodeName").and_then(Value::as_str);
        if bound.is_none_or(|name| name.parse::<NodeName>().is_err()) {
            return Err(format!(
                "a {kind} needs a node: give --node, or spec.nodeName"
            ));
        }
    }
    match kind {
        Kind::Secret => take_strings(object)?,
        Kind::Pod => complete_pod(object),
        _ => {}
    }
    Ok(())
}

/// `stringData` is for writing only: its values become data.
fn take_strings(secret: &mut Object) -> Result<(), String> {
    secret.entry("type").or_insert("Opaque".into());
    let Some(strings) = secret.shift_remove("stringData") else {
        return Ok(());
    };
    let strings = strings.as_object().cloned().ok_or("stringData is no map")?;
    let data = meta::child(secret, "data");
    for (key, value) in strings {
        let text = value.as_str().ok_or("stringData holds strings only")?;
        data.insert(key, STANDARD.encode(text).into());
    }
    Ok(())
}

/// Defaults without which a kubelet does not run a pod.
fn complete_pod(pod: &mut Object) {
    let fill = |map: &mut Object, defaults: Value| {
        for (key, value) in defaults.as_object().into_iter().flatten() {
            map.entry(key.clone()).or_insert(value.clone());
        }
    };
    let spec = meta::child(pod, "spec");
    fill(
        spec,
        json!({"restartPolicy": "Always", "terminationGracePeriodSeconds": DEFAULT_GRACE,
            "dnsPolicy": "ClusterFirst", "automountServiceAccountToken": false,
            "securityContext": {}, "schedulerName": "default-scheduler",
            "enableServiceLinks": true}),
    );
    for key in ["initContainers", "containers"] {
        let containers = spec.get_mut(key).and_then(Value::as_array_mut);
        let maps = containers
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut);
        maps.for_each(|container| {
            fill(
                container,
                json!({"resources": {}, "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent"}),
            );
        });
    }
    let volumes = spec.get_mut("volumes").and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten() {
        for key in ["configMap", "secret", "projected", "downwardAPI"] {
            if let Some(source) = volume.get_mut(key).and_then(Value::as_object_mut) {
                source.entry("defaultMode").or_insert(0o644.into());
            }
        }
    }
    fill(
        meta::child(pod, "status"),
        json!({"phase": "Pending", "qosClass": "BestEffort"}),
    );
}

fn is_bound(kind: Kind) -> bool {
    matches!(kind, Kind::Pod | Kind::Device)
}

fn has_generation(kind: Kind) -> bool {
    matches!(kind, Kind::Pod | Kind::Device | Kind::DeviceModel)
}

fn shown(path: &ObjectPath) -> String {
    match path.namespace.as_str() {
        Some(namespace) => format!("{} {namespace}/{}", path.kind, path.name),
        None => format!("{} {}", path.kind, path.name),
    }
}

/// Kind, API group or version, and how resources are called.
const KINDS: &[(&str, &str, Kind)] = &[
    ("ConfigMap", "v1", Kind::ConfigMap),
    ("Secret", "v1", Kind::Secret),
    ("Pod", "v1", Kind::Pod),
    ("Device", "devices.kubeedge.io", Kind::Device),
    ("DeviceModel", "devices.kubeedge.io", Kind::DeviceModel),
];

/// As Kubernetes.
const MAX_OBJECT: usize = 3 << 19;

/// Seconds.
const DEFAULT_GRACE: u64 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_is_none_is_said() {
        for (namespace, name, said) in [
            (
                "default",
                "A_b",
                "\"A_b\" can't be a name: it is of lower-case letters, digits, '-' and '.'",
            ),
            (
                "a.b",
                "a.b",
                "\"a.b\" can't be a namespace: it is of lower-case letters, digits, '-',",
            ),
        ] {
            let object = serde_json::json!({"kind": "ConfigMap", "apiVersion": "v1",
                "metadata": {"name": name, "namespace": namespace}});
            let object = object.as_object().expect("an object");
            let refused = path_of(object, None).expect_err("refused");
            assert!(refused.starts_with(said), "{refused}");
        }
    }
}
