//! Values as trees: one laid over another, and keys that nothing reads.

use serde_json::{Map, Value};

use crate::system::args::nearest;

/// Lays `over` over `base` as Helm lays files of values: mappings are merged, all else is replaced.
pub fn lay_over(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match base.get_mut(key) {
                    Some(below) => lay_over(below, value),
                    None => drop(base.insert(key.clone(), value.clone())),
                }
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// The values that count: those given, with the defaults for all else. A null takes a default away.
pub fn complete(defaults: &Value, given: &Value) -> Value {
    let (Value::Object(defaults), Value::Object(given)) = (defaults, given) else {
        return given.clone();
    };
    let mut all = Map::new();
    for (key, default) in defaults {
        match given.get(key) {
            None => drop(all.insert(key.clone(), default.clone())),
            Some(Value::Null) => {}
            Some(value) => drop(all.insert(key.clone(), complete(default, value))),
        }
    }
    for (key, value) in given {
        if !defaults.contains_key(key) {
            all.insert(key.clone(), value.clone());
        }
    }
    Value::Object(all)
}

/// A sentence for each key of `given` that no default has, and that therefore nothing reads.
pub fn unknown(defaults: &Value, given: &Value) -> Vec<String> {
    let mut sentences = Vec::new();
    collect_unknown(defaults, given, "", &mut sentences);
    sentences
}

fn collect_unknown(defaults: &Value, given: &Value, path: &str, into: &mut Vec<String>) {
    let (Value::Object(defaults), Value::Object(given)) = (defaults, given) else {
        return;
    };
    for (key, value) in given {
        let path = match path {
            "" => key.clone(),
            _ => format!("{path}.{key}"),
        };
        match defaults.get(key) {
            Some(_) if FREE.contains(&key.as_str()) => {}
            Some(default) => collect_unknown(default, value, &path, into),
            None => {
                let meant = nearest(key, defaults.keys().map(String::as_str));
                let meant = meant.map(|meant| format!(": did you mean {meant}?"));
                let meant = meant.unwrap_or_else(|| {
                    let known: Vec<_> = defaults.keys().map(String::as_str).collect();
                    format!(": there are {}", known.join(", "))
                });
                into.push(format!("there is no value {path}{meant}"));
            }
        }
    }
}

/// What stands below these is Kubernetes' own.
const FREE: &[&str] = &[
    "affinity",
    "annotations",
    "labels",
    "nodeSelector",
    "resources",
    "securityContext",
    "strategy",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files_are_laid_over_each_other() {
        let mut base = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1});
        lay_over(
            &mut base,
            &json!({"a": {"c": [3]}, "d": {"e": 1}, "f": null}),
        );
        assert_eq!(
            base,
            json!({"a": {"b": 1, "c": [3]}, "d": {"e": 1}, "f": null})
        );
    }

    #[test]
    fn a_null_takes_a_default_away() {
        let defaults = json!({"a": {"b": 1, "c": 2}, "d": 3});
        let given = json!({"a": {"b": null}, "e": {"f": 1}});
        assert_eq!(
            complete(&defaults, &given),
            json!({"a": {"c": 2}, "d": 3, "e": {"f": 1}})
        );
    }

    #[test]
    fn keys_that_nothing_reads_are_named() {
        let defaults = json!({"cloudCore": {"hostNetWork": true, "labels": {}}, "mosquitto": {}});
        let given = json!({"cloudCore": {"hostNetwork": false, "labels": {"x": 1}}, "xyzzy": 1});
        assert_eq!(
            unknown(&defaults, &given),
            [
                "there is no value cloudCore.hostNetwork: did you mean hostNetWork?",
                "there is no value xyzzy: there are cloudCore, mosquitto",
            ]
        );
        assert!(unknown(&defaults, &defaults).is_empty());
    }
}
