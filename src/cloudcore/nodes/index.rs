//! By what objects are found for a node, so that a node costs what it has and not what the cloud has.

use std::collections::HashMap;
use std::sync::Arc;

use super::kept::{Kept, Selector};
use crate::protocol::resource::{Kind, ObjectPath};
use crate::system::names::NodeName;
use crate::system::sorted::SortedSet;

#[derive(Default)]
pub struct Index {
    /// Pods and Devices of each node.
    bound: HashMap<NodeName, SortedSet<Arc<ObjectPath>>>,
    /// What an operator gave to nodes by their names.
    given: HashMap<NodeName, SortedSet<Arc<ObjectPath>>>,
    /// What an operator gave to all that have a label, by that label.
    selected: HashMap<Selector, SortedSet<Arc<ObjectPath>>>,
    /// Whose Pods and Devices need an object, which need not be there, and how many of them do.
    needing: HashMap<ObjectPath, HashMap<NodeName, usize>>,
}

impl Index {
    pub fn insert(&mut self, kept: &Kept) {
        if let Some(node) = &kept.facts.bound {
            add(&mut self.bound, node, &kept.path);
            for path in needed(kept) {
                let nodes = self.needing.entry(path).or_default();
                *nodes.entry(node.clone()).or_default() += 1;
            }
        }
        for node in &kept.given.nodes {
            add(&mut self.given, node, &kept.path);
        }
        if let Some(selector) = &kept.given.selector {
            add(&mut self.selected, selector, &kept.path);
        }
    }

    pub fn remove(&mut self, kept: &Kept) {
        if let Some(node) = &kept.facts.bound {
            take(&mut self.bound, node, &kept.path);
            for path in needed(kept) {
                let Some(nodes) = self.needing.get_mut(&path) else {
                    continue;
                };
                if let Some(count) = nodes.get_mut(node) {
                    *count -= 1;
                    if *count == 0 {
                        nodes.remove(node);
                    }
                }
                if nodes.is_empty() {
                    self.needing.remove(&path);
                }
            }
        }
        for node in &kept.given.nodes {
            take(&mut self.given, node, &kept.path);
        }
        if let Some(selector) = &kept.given.selector {
            take(&mut self.selected, selector, &kept.path);
        }
    }

    /// The node's Pods and Devices.
    pub fn bound(&self, node: &NodeName) -> impl Iterator<Item = &Arc<ObjectPath>> {
        self.bound.get(node).into_iter().flatten()
    }

    pub fn given(&self, node: &NodeName) -> impl Iterator<Item = &Arc<ObjectPath>> {
        self.given.get(node).into_iter().flatten()
    }

    /// What nodes with this label were given.
    pub fn selected(&self, selector: &Selector) -> impl Iterator<Item = &Arc<ObjectPath>> {
        self.selected.get(selector).into_iter().flatten()
    }

    pub fn has_selectors(&self) -> bool {
        !self.selected.is_empty()
    }

    pub fn needs(&self, node: &NodeName, path: &ObjectPath) -> bool {
        let nodes = self.needing.get(path);
        nodes.is_some_and(|nodes| nodes.contains_key(node))
    }

    /// Objects of a type that something needs.
    pub fn needed_of(&self, kind: Kind) -> impl Iterator<Item = &ObjectPath> {
        self.needing.keys().filter(move |path| path.kind == kind)
    }

    /// The nodes that need this object.
    pub fn needing(&self, path: &ObjectPath) -> impl Iterator<Item = &NodeName> {
        self.needing.get(path).into_iter().flat_map(HashMap::keys)
    }
}

/// What a Pod or a Device needs; in its own namespace.
pub fn needed(holder: &Kept) -> impl Iterator<Item = ObjectPath> {
    holder
        .facts
        .needs
        .iter()
        .map(|(kind, name)| of(holder, *kind, name))
}

fn of(holder: &Kept, kind: Kind, name: &str) -> ObjectPath {
    ObjectPath {
        kind,
        namespace: holder.path.namespace.clone(),
        name: name.to_owned(),
    }
}

fn add<K: Clone + Eq + std::hash::Hash>(
    map: &mut HashMap<K, SortedSet<Arc<ObjectPath>>>,
    key: &K,
    path: &Arc<ObjectPath>,
) {
    match map.get_mut(key) {
        Some(paths) => _ = paths.insert(path.clone()),
        None => _ = map.insert(key.clone(), [path.clone()].into()),
    }
}

fn take<K: Eq + std::hash::Hash>(
    map: &mut HashMap<K, SortedSet<Arc<ObjectPath>>>,
    key: &K,
    path: &Arc<ObjectPath>,
) {
    if let Some(paths) = map.get_mut(key) {
        paths.remove(path);
        if paths.is_empty() {
            map.remove(key);
        }
    }
}
