//! Strategic merge patches: how an edge says what has changed of a Node or a Pod.
//!
//! As Kubernetes does it for the objects that travel here: maps are merged, `null` deletes, lists are
//! replaced except those that have a key for their elements, and directives begin with `$`.

mod lists;

use std::fmt;

use serde_json::{Map, Value};

/// A patch that was read, and is neither too large nor too deep.
#[derive(Clone, Debug)]
pub struct Patch(Map<String, Value>);

/// Why a text is no patch, or does not fit the object. The object is then in between and of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadPatch {
    /// Not a JSON object; in words.
    Json(String),
    TooDeep,
    TooLong,
    /// A directive of this name that does not hold what it should.
    Directive(String),
    /// An element of this list lacks the key by which it would be found.
    NoKey {
        list: String,
        key: &'static str,
    },
}

impl Patch {
    pub fn parse(text: &str) -> Result<Patch, BadPatch> {
        if text.len() > MAX_BYTES {
            return Err(BadPatch::TooLong);
        }
        match serde_json::from_str(text) {
            Ok(Value::Object(map)) if is_shallow(&map) => Ok(Patch(map)),
            Ok(Value::Object(_)) => Err(BadPatch::TooDeep),
            Ok(_) => Err(BadPatch::Json("a patch is a JSON object".to_owned())),
            Err(error) => Err(BadPatch::Json(error.to_string())),
        }
    }

    /// Only what lies at these paths; the rest is not for who sent it to change.
    pub fn only(mut self, paths: &[&[&str]]) -> Patch {
        let mut kept = Map::new();
        for path in paths {
            keep(&mut self.0, &mut kept, path);
        }
        Patch(kept)
    }

    /// As it is sent on.
    pub fn into_value(self) -> Value {
        self.0.into()
    }

    /// A string at this path, if there is one.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        let (first, rest) = path.split_first()?;
        let found = rest.iter().try_fold(self.0.get(*first)?, |v, k| v.get(*k));
        found?.as_str()
    }

    pub fn apply(&self, object: &mut Map<String, Value>) -> Result<(), BadPatch> {
        merge(object, &self.0)
    }
}

/// Moves what lies at `path` in one map to the same place in another, with directives about it.
fn keep(from: &mut Map<String, Value>, to: &mut Map<String, Value>, path: &[&str]) {
    match path {
        [] => {}
        [last] => {
            if let Some(value) = from.shift_remove(*last) {
                to.insert((*last).to_owned(), value);
            }
        }
        [first, rest @ ..] => {
            if let Some(Value::Object(inner)) = from.get_mut(*first) {
                let entry = to.entry(*first).or_insert_with(|| Map::new().into());
                if let Value::Object(target) = entry {
                    keep(inner, target, rest);
                }
            }
        }
    }
}

fn merge(object: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), BadPatch> {
    match patch.get(DIRECTIVE).map(Value::as_str) {
        None | Some(Some("merge")) => {}
        Some(Some("replace")) => {
            *object = plain(patch);
            return Ok(());
        }
        Some(Some("delete")) => {
            object.clear();
            return Ok(());
        }
        Some(_) => return Err(BadPatch::Directive(DIRECTIVE.to_owned())),
    }
    if let Some(kept) = patch.get(RETAIN) {
        let kept = kept
            .as_array()
            .ok_or_else(|| BadPatch::Directive(RETAIN.to_owned()))?;
        object.retain(|key, _| kept.iter().any(|it| it == key.as_str()));
    }
    for (key, value) in patch {
        if key == DIRECTIVE || key == RETAIN {
            continue;
        }
        if let Some(list) = key.strip_prefix(lists::ORDER) {
            // With a list of the same name it was followed there.
            if !patch.get(list).is_some_and(Value::is_array) {
                lists::reorder(object, list, value)?;
            }
            continue;
        }
        if let Some(list) = key.strip_prefix(lists::DELETE) {
            lists::delete(object, list, value)?;
            continue;
        }
        match value {
            Value::Null if NULL_IS_A_VALUE.contains(&key.as_str()) => {
                object.insert(key.clone(), Value::Null);
            }
            Value::Null => _ = object.shift_remove(key),
            Value::Object(inner) => match object.get_mut(key) {
                Some(Value::Object(target)) => merge(target, inner)?,
                _ => _ = object.insert(key.clone(), created(inner)),
            },
            Value::Array(items) => {
                let order = patch.get(&format!("{}{key}", lists::ORDER));
                lists::merge(object, key, items, order)?;
            }
            other => _ = object.insert(key.clone(), other.clone()),
        }
    }
    Ok(())
}

/// A map that was not there before, by a patch of it.
fn created(patch: &Map<String, Value>) -> Value {
    match patch.get(DIRECTIVE).and_then(Value::as_str) {
        Some("delete") => Map::new().into(),
        _ => plain(patch).into(),
    }
}

/// Without directives, and without what only says that something is not there.
fn plain(patch: &Map<String, Value>) -> Map<String, Value> {
    let says = |(key, value): &(&String, &Value)| {
        !key.starts_with('$') && (!value.is_null() || NULL_IS_A_VALUE.contains(&key.as_str()))
    };
    let pairs = patch.iter().filter(says);
    let pairs = pairs.map(|(key, value)| (key.clone(), plain_value(value)));
    pairs.collect()
}

fn plain_value(value: &Value) -> Value {
    match value {
        Value::Object(map) => created(map),
        Value::Array(items) => items.iter().filter_map(plain_item).collect(),
        other => other.clone(),
    }
}

/// An element of a list; none when it is only there to take another one away.
fn plain_item(item: &Value) -> Option<Value> {
    match item {
        Value::Object(map) => match map.get(DIRECTIVE) {
            None => Some(plain(map).into()),
            Some(_) => None,
        },
        other => Some(plain_value(other)),
    }
}

fn is_shallow(map: &Map<String, Value>) -> bool {
    fn depth_left(value: &Value, left: usize) -> bool {
        match value {
            Value::Object(map) => left > 0 && map.values().all(|v| depth_left(v, left - 1)),
            Value::Array(items) => left > 0 && items.iter().all(|v| depth_left(v, left - 1)),
            _ => true,
        }
    }
    map.values().all(|value| depth_left(value, MAX_DEPTH))
}

impl fmt::Display for BadPatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadPatch::Json(error) => write!(f, "not a patch: {error}"),
            BadPatch::TooDeep => write!(f, "a patch that is nested deeper than {MAX_DEPTH}"),
            BadPatch::TooLong => write!(f, "a patch of more than {MAX_BYTES} bytes"),
            BadPatch::Directive(name) => write!(f, "{name:?} does not hold what it should"),
            BadPatch::NoKey { list, key } => {
                write!(f, "an element of {list:?} has no {key:?} to find it by")
            }
        }
    }
}

impl std::error::Error for BadPatch {}

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";

/// Times that are written even when they are not known.
const NULL_IS_A_VALUE: &[&str] = &["lastHeartbeatTime", "lastProbeTime", "lastTransitionTime"];

/// What an object may have, at most.
const MAX_BYTES: usize = 3 << 19;
const MAX_DEPTH: usize = 60;

#[cfg(test)]
mod tests;
