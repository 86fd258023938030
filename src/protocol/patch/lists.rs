//! Lists in patches: merged element by element where elements have a key, replaced where not.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{BadPatch, DIRECTIVE, plain_item, plain_value};

/// What Kubernetes does with a list of this name.
#[derive(Clone, Copy)]
enum Way {
    /// The new one takes the place of the old one.
    Replace,
    /// Elements are maps, known by what they have under this key.
    Keyed(&'static str),
    /// Elements are words, each of which is in it once.
    Set,
}

fn way(list: &str) -> Way {
    if SETS.contains(&list) {
        return Way::Set;
    }
    let keyed = KEYED.iter().find(|(name, _)| *name == list);
    keyed.map_or(Way::Replace, |(_, key)| Way::Keyed(key))
}

/// Merges `items` into the list of this name.
pub fn merge(
    object: &mut Map<String, Value>,
    name: &str,
    items: &[Value],
    order: Option<&Value>,
) -> Result<(), BadPatch> {
    let way = way(name);
    let whole = || items.iter().filter_map(plain_item).collect();
    let old = match (object.get_mut(name), way) {
        (_, Way::Replace) => None,
        (Some(Value::Array(old)), _) => Some(std::mem::take(old)),
        _ => Some(Vec::new()),
    };
    let replaced = items.iter().any(is_replacement);
    let new = match (old, way) {
        (None, _) => items.iter().map(plain_value).collect(),
        (Some(_), _) if replaced => whole(),
        (Some(old), Way::Keyed(key)) => {
            let merged = keyed(old.clone(), name, key, items)?;
            ordered(merged, &old, order, name, |item| identity(item, key))?
        }
        (Some(old), _) => {
            let mut seen: HashSet<String> = old.iter().map(Value::to_string).collect();
            let more = items.iter().filter_map(plain_item);
            let more = more.filter(|it| seen.insert(it.to_string()));
            let merged = old.iter().cloned().chain(more).collect();
            ordered(merged, &old, order, name, |item| Some(item.to_string()))?
        }
    };
    object.insert(name.to_owned(), Value::Array(new));
    Ok(())
}

fn keyed(
    mut old: Vec<Value>,
    list: &str,
    key: &'static str,
    items: &[Value],
) -> Result<Vec<Value>, BadPatch> {
    let no_key = || BadPatch::NoKey {
        list: list.to_owned(),
        key,
    };
    let mut gone = HashSet::new();
    for item in items {
        if item.get(DIRECTIVE).is_some_and(|way| way == "delete") {
            gone.insert(identity(item, key).ok_or_else(no_key)?);
        }
    }
    old.retain(|item| !identity(item, key).is_some_and(|id| gone.contains(&id)));
    let found = |(index, item)| Some((identity(item, key)?, index));
    let mut places: HashMap<String, usize> = old.iter().enumerate().filter_map(found).collect();
    for item in items {
        let id = identity(item, key).ok_or_else(no_key)?;
        let Value::Object(patch) = item else {
            return Err(no_key());
        };
        if patch.get(DIRECTIVE).is_some_and(|way| way == "delete") {
            continue;
        }
        match places.get(&id).and_then(|index| old.get_mut(*index)) {
            Some(Value::Object(target)) => super::merge(target, patch)?,
            _ => {
                places.insert(id, old.len());
                old.push(super::plain(patch).into());
            }
        }
    }
    Ok(old)
}

/// `$setElementOrder` alone: the list stays, its order may change.
pub fn reorder(object: &mut Map<String, Value>, name: &str, order: &Value) -> Result<(), BadPatch> {
    let Some(Value::Array(old)) = object.get_mut(name) else {
        return Ok(());
    };
    let (before, now) = (old.clone(), std::mem::take(old));
    *old = match way(name) {
        Way::Keyed(key) => ordered(now, &before, Some(order), name, |it| identity(it, key))?,
        _ => ordered(now, &before, Some(order), name, |it| Some(it.to_string()))?,
    };
    Ok(())
}

/// `$deleteFromPrimitiveList`: takes words out of a list.
pub fn delete(object: &mut Map<String, Value>, name: &str, words: &Value) -> Result<(), BadPatch> {
    let words = words
        .as_array()
        .ok_or_else(|| BadPatch::Directive(format!("{DELETE}{name}")))?;
    let words: HashSet<String> = words.iter().map(Value::to_string).collect();
    if let Some(Value::Array(list)) = object.get_mut(name) {
        list.retain(|item| !words.contains(&item.to_string()));
    }
    Ok(())
}

/// Those that `order` names stand in its order; the others stay before whatever they stood before.
fn ordered(
    items: Vec<Value>,
    before: &[Value],
    order: Option<&Value>,
    name: &str,
    identity: impl Fn(&Value) -> Option<String>,
) -> Result<Vec<Value>, BadPatch> {
    let Some(order) = order else {
        return Ok(items);
    };
    let wrong = || BadPatch::Directive(format!("{ORDER}{name}"));
    let order = order.as_array().ok_or_else(wrong)?;
    let places = |list: &[Value]| -> HashMap<String, usize> {
        let each = list.iter().enumerate();
        each.filter_map(|(at, item)| Some((identity(item)?, at)))
            .collect()
    };
    let (wanted, stood) = (places(order), places(before));
    let place = |item: &Value, list: &HashMap<String, usize>| list.get(&identity(item)?).copied();
    let (mut named, others): (Vec<Value>, Vec<Value>) = items
        .into_iter()
        .partition(|item| place(item, &wanted).is_some());
    named.sort_by_key(|item| place(item, &wanted));
    let mut named = named.into_iter().peekable();
    let mut result = Vec::new();
    for other in others {
        let at = place(&other, &stood);
        while let Some(next) = named.next_if(|next| match (at, place(next, &stood)) {
            (Some(at), Some(next)) => next < at,
            _ => true,
        }) {
            result.push(next);
        }
        result.push(other);
    }
    result.extend(named);
    Ok(result)
}

/// What an element is known by: a word or a number.
fn identity(item: &Value, key: &str) -> Option<String> {
    let value = item.get(key)?;
    (value.is_string() || value.is_number()).then(|| value.to_string())
}

fn is_replacement(item: &Value) -> bool {
    item.get(DIRECTIVE).is_some_and(|way| way == "replace")
}

pub const ORDER: &str = "$setElementOrder/";
pub const DELETE: &str = "$deleteFromPrimitiveList/";

const SETS: &[&str] = &["finalizers", "podCIDRs"];

/// Of Nodes, Pods and what all objects have. All other lists are replaced, `containerStatuses`,
/// `hostIPs`, `taints` and `tolerations` among them.
const KEYED: &[(&str, &str)] = &[
    ("addresses", "type"),
    ("conditions", "type"),
    ("containers", "name"),
    ("env", "name"),
    ("ephemeralContainers", "name"),
    ("hostAliases", "ip"),
    ("imagePullSecrets", "name"),
    ("initContainers", "name"),
    ("ownerReferences", "uid"),
    ("podIPs", "ip"),
    ("ports", "containerPort"),
    ("topologySpreadConstraints", "topologyKey"),
    ("volumeDevices", "devicePath"),
    ("volumeMounts", "mountPath"),
    ("volumes", "name"),
];
