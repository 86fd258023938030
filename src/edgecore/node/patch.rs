//! Reports: a strategic merge patch with what differs from what the cloud has, and nothing else.

use serde_json::{Map, Value, json};

use super::conditions::{Condition, named};
use super::object::{ANNOTATIONS_SET, LABELS_SET, Wanted, full};
use crate::system::clock::Timestamp;

/// What has to change in the Node that the cloud has; null for none that is known. An empty object
/// when nothing has to.
pub fn changes(known: &Value, wanted: &Wanted, labels: bool, now: Timestamp) -> Value {
    let mut patch = Map::new();
    let mut metadata = Map::new();
    let mut status = Map::new();
    if labels {
        let head = &known["metadata"];
        for (key, texts, set) in [
            ("labels", &wanted.labels, LABELS_SET),
            ("annotations", &wanted.annotations, ANNOTATIONS_SET),
        ] {
            let given = texts
                .iter()
                .map(|(name, text)| (name, text.as_str().into()));
            let mut changes = differing(&head[key], given);
            let before = head["annotations"][set].as_str().unwrap_or_default();
            // The lists themselves go like what they list.
            let lists = match key {
                "annotations" => &[LABELS_SET, ANNOTATIONS_SET][..],
                _ => &[],
            };
            for name in before.split(',').chain(lists.iter().copied()) {
                if !texts.contains_key(name) && !head[key][name].is_null() {
                    changes.insert(name.to_owned(), Value::Null);
                }
            }
            put(&mut metadata, key, changes);
        }
    }
    for (key, part) in &wanted.facts {
        let parts = part.as_object().into_iter().flatten();
        let parts = parts.map(|(name, value)| (name, value.clone()));
        put(&mut status, key, differing(&known["status"][key], parts));
    }
    let conditions = wanted.conditions.iter();
    let conditions: Vec<Value> = conditions
        .filter_map(|condition| change(named(known, condition.kind), condition, now))
        .collect();
    if !conditions.is_empty() {
        status.insert("conditions".to_owned(), conditions.into());
    }
    if known["status"]["addresses"] != wanted.addresses {
        let mut addresses = wanted.addresses.clone();
        if let Some(addresses) = addresses.as_array_mut() {
            // There may be two of one type, which a merge by type can't tell apart.
            addresses.push(json!({"$patch": "replace"}));
        }
        status.insert("addresses".to_owned(), addresses);
    }
    put(&mut patch, "metadata", metadata);
    put(&mut patch, "status", status);
    patch.into()
}

/// The same, and that all conditions were looked at just now.
pub fn with_heartbeats(mut patch: Value, wanted: &Wanted, now: Timestamp) -> Value {
    let changed = patch["status"]["conditions"].take();
    let changed = changed.as_array().cloned().unwrap_or_default();
    let order = wanted.conditions.iter().map(|it| json!({"type": it.kind}));
    patch["status"]["$setElementOrder/conditions"] = order.collect();
    let conditions = wanted.conditions.iter().map(|condition| {
        let found = changed.iter().find(|one| one["type"] == condition.kind);
        let mut one = found.cloned().unwrap_or_else(|| json!({}));
        one["lastHeartbeatTime"] = now.to_string().into();
        one["type"] = condition.kind.into();
        one
    });
    patch["status"]["conditions"] = conditions.collect();
    patch
}

pub fn is_empty(patch: &Value) -> bool {
    patch.as_object().is_none_or(Map::is_empty)
}

fn change(known: &Value, wanted: &Condition, now: Timestamp) -> Option<Value> {
    if !known.is_object() {
        return Some(full(wanted, now));
    }
    let parts = [
        ("status", wanted.status),
        ("reason", wanted.reason),
        ("message", wanted.message),
    ];
    let parts = parts.into_iter().filter(|(key, text)| known[*key] != *text);
    let mut change: Map<String, Value> = parts
        .map(|(key, text)| (key.to_owned(), text.into()))
        .collect();
    if change.is_empty() {
        return None;
    }
    if change.contains_key("status") {
        change.insert("lastTransitionTime".to_owned(), now.to_string().into());
    }
    change.insert("type".to_owned(), wanted.kind.into());
    Some(change.into())
}

fn differing<'a>(
    known: &Value,
    wanted: impl Iterator<Item = (&'a String, Value)>,
) -> Map<String, Value> {
    let differing = wanted.filter(|(name, value)| known[name.as_str()] != *value);
    differing
        .map(|(name, value)| (name.clone(), value))
        .collect()
}

fn put(into: &mut Map<String, Value>, key: &str, part: Map<String, Value>) {
    if !part.is_empty() {
        into.insert(key.to_owned(), part.into());
    }
}
