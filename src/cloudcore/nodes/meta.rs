//! What a cloud writes into an object's metadata, and in which order it stands there.

use serde_json::{Map, Value};

pub type Object = Map<String, Value>;

/// What the cloud decides, whatever the object says.
pub struct Stamp {
    pub uid: String,
    pub version: u64,
    /// As RFC 3339.
    pub created: String,
}

impl Stamp {
    /// Of a later version of this object.
    pub fn again(old: &Object, version: u64) -> Stamp {
        let word = |key: &str| old.get("metadata")?.get(key)?.as_str().map(str::to_owned);
        Stamp {
            uid: word("uid").unwrap_or_default(),
            version,
            created: word("creationTimestamp").unwrap_or_default(),
        }
    }
}

/// A map with only kind and apiVersion.
pub fn typed(kind: &str, api_version: &str) -> Object {
    let pairs = [("kind", kind), ("apiVersion", api_version)];
    let pairs = pairs.map(|(key, value)| (key.to_owned(), Value::from(value)));
    pairs.into_iter().collect()
}

/// Without them, as answers to inserts and patches come.
pub fn untyped(mut object: Object) -> Object {
    object.shift_remove("kind");
    object.shift_remove("apiVersion");
    object
}

/// Writes the stamp, with everything in the order in which Kubernetes writes it.
pub fn stamp(object: &mut Object, stamp: &Stamp) {
    let metadata = metadata(object);
    let mut set = |key: &str, value: String| metadata.insert(key.to_owned(), value.into());
    set("uid", stamp.uid.clone());
    set("resourceVersion", stamp.version.to_string());
    set("creationTimestamp", stamp.created.clone());
    order(metadata, METADATA);
    order(object, &["kind", "apiVersion", "metadata"]);
}

/// The metadata; made when there is none.
pub fn metadata(object: &mut Object) -> &mut Object {
    child(object, "metadata")
}

/// The map under this key; made when there is none.
pub fn child<'a>(object: &'a mut Object, key: &str) -> &'a mut Object {
    let value = object.entry(key).or_insert(Value::Null);
    if !value.is_object() {
        *value = Object::new().into();
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was made a map above"),
    }
}

/// Keys of this list first, in its order; then the others as they stand.
fn order(map: &mut Object, keys: &[&str]) {
    let mut old = std::mem::take(map);
    for key in keys {
        if let Some(value) = old.shift_remove(*key) {
            map.insert((*key).to_owned(), value);
        }
    }
    map.extend(old);
}

/// A map of words in the order in which Kubernetes writes maps.
pub fn sort(map: &mut Object) {
    let mut pairs: Vec<_> = std::mem::take(map).into_iter().collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    map.extend(pairs);
}

const METADATA: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_stamped_object_reads_as_kubernetes_writes_it() {
        let sent = json!({"metadata": {"name": "a", "creationTimestamp": null, "labels": {},
            "uid": "mine", "x": 1}, "spec": {}, "kind": "Node"});
        let mut object = sent.as_object().unwrap().clone();
        let mark = Stamp {
            uid: "u".to_owned(),
            version: 7,
            created: "2026-11-22T08:02:53Z".to_owned(),
        };
        stamp(&mut object, &mark);
        let expected = r#"{"kind":"Node","metadata":{"name":"a","uid":"u","resourceVersion":"7","creationTimestamp":"2026-11-22T08:02:53Z","labels":{},"x":1},"spec":{}}"#;
        assert_eq!(serde_json::to_string(&object).unwrap(), expected);
        let again = Stamp::again(&object, 8);
        assert_eq!((again.uid.as_str(), again.version), ("u", 8));
        assert_eq!(again.created, mark.created);
        assert_eq!(untyped(object).keys().next().unwrap(), "metadata");
    }
}
