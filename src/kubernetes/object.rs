//! What is read of any object: its name, namespace, uid and version.

use serde_json::{Map, Value};

/// An object of the cluster.
pub type Object = Map<String, Value>;

/// A text of the object's metadata; empty when it has none.
pub fn text<'a>(object: &'a Object, key: &str) -> &'a str {
    let metadata = object.get("metadata");
    let value = metadata.and_then(|it| it.get(key)).and_then(Value::as_str);
    value.unwrap_or_default()
}

pub fn name(object: &Object) -> &str {
    text(object, "name")
}

pub fn namespace(object: &Object) -> Option<&str> {
    Some(text(object, "namespace")).filter(|namespace| !namespace.is_empty())
}

pub fn uid(object: &Object) -> &str {
    text(object, "uid")
}

/// Changes with every change of the object. Opaque, but for being numbers that grow.
pub fn version(object: &Object) -> &str {
    text(object, "resourceVersion")
}

/// A label; empty when it has none of this key.
pub fn label<'a>(object: &'a Object, key: &str) -> &'a str {
    of_map(object, "labels", key)
}

/// An annotation; empty when it has none of this key.
pub fn annotation<'a>(object: &'a Object, key: &str) -> &'a str {
    of_map(object, "annotations", key)
}

fn of_map<'a>(object: &'a Object, map: &str, key: &str) -> &'a str {
    let map = object.get("metadata").and_then(|it| it.get(map));
    let value = map.and_then(|it| it.get(key)).and_then(Value::as_str);
    value.unwrap_or_default()
}
