//! What is kept of what the watches tell: edges' Nodes, what is bound to them, and what that needs.

use std::collections::{HashMap, HashSet};

use super::super::index;
use super::super::kept::{Given, Kept};
use super::super::meta::{self, Object};
use super::super::state::{Effects, State};
use super::desk::without_fields;
use super::door::is_ours;
use crate::cloudcore::outbox::Item;
use crate::kubernetes::{Resource, object};
use crate::protocol::resource::{Kind, ObjectPath};
use crate::system::names::NodeName;
use crate::system::sorted::{SortedMap, SortedSet};

/// Beside the state: what is not known to be an edge's, and what is asked for.
#[derive(Default)]
pub struct Cache {
    /// Pods of nodes that are no edges as far as is known; names only.
    strangers: HashMap<ObjectPath, NodeName>,
    of_strangers: HashMap<NodeName, SortedSet<ObjectPath>>,
    /// Objects that something needs and nobody has told; with the version up to which each is gone.
    wanted: SortedMap<ObjectPath, u64>,
    /// Types of which all was told once.
    listed: SortedSet<Kind>,
}

/// What is to be done because of what was told.
#[derive(Debug, Default)]
pub struct News {
    pub pushes: Vec<(NodeName, Item, bool)>,
    /// Nodes that are no more.
    pub ended: Vec<NodeName>,
    /// Nodes that have become edges, and have Pods that were not kept.
    pub adopted: Vec<NodeName>,
    /// Something is to be fetched.
    pub wanting: bool,
}

impl Cache {
    /// An object as it is now.
    pub fn put(
        &mut self,
        state: &mut State,
        resource: &Resource,
        kind: Kind,
        object: Object,
    ) -> News {
        let mut news = News::default();
        let Some(kept) = read(resource, kind, object) else {
            return news;
        };
        let old = state.get(&kept.path).cloned();
        if old.as_ref().is_some_and(|old| old.version >= kept.version) {
            return news;
        }
        match kind {
            Kind::Node => {
                if let Ok(name) = kept.path.name.parse::<NodeName>()
                    && old.is_none()
                    && self.of_strangers.contains_key(&name)
                {
                    news.adopted.push(name);
                }
            }
            Kind::Pod => {
                let Some(node) = &kept.facts.bound else {
                    return news;
                };
                if old.is_none() && state.node(node).is_none() {
                    self.add_stranger(&kept.path, node);
                    return news;
                }
                self.take_stranger(&kept.path);
            }
            Kind::Device if kept.facts.bound.is_none() && old.is_none() => return news,
            Kind::Device => {}
            _ if !state.is_needed(&kept.path) => return news,
            _ => {
                self.wanted.remove(&*kept.path);
            }
        }
        let needed: Vec<ObjectPath> = index::needed(&kept).collect();
        let before: Vec<ObjectPath> = old.iter().flat_map(|old| index::needed(old)).collect();
        // Another one of the same name: what was there is gone.
        news.pushes = state.put(kept).pushes;
        for path in needed {
            // Before all was told, it will be.
            if state.get(&path).is_none() && self.listed.contains(&path.kind) && !is_ours(&path) {
                self.wanted.entry(path).or_default();
                news.wanting = true;
            }
        }
        self.drop_unneeded(state, before);
        news
    }

    /// An object is gone; as it was last.
    pub fn delete(
        &mut self,
        state: &mut State,
        resource: &Resource,
        kind: Kind,
        object: Object,
    ) -> News {
        let Some(kept) = read(resource, kind, object) else {
            return News::default();
        };
        self.take_stranger(&kept.path);
        if let Some(gone) = self.wanted.get_mut(&*kept.path) {
            *gone = (*gone).max(kept.version);
        }
        let held = state.get(&kept.path);
        match held.is_some_and(|held| held.uid == kept.uid || held.version < kept.version) {
            true => self.forget(state, &kept.path),
            false => News::default(),
        }
    }

    /// All of a type was told, up to this version: what was not among it is gone.
    pub fn listed(
        &mut self,
        state: &mut State,
        kind: Kind,
        told: &HashSet<ObjectPath>,
        version: u64,
    ) -> News {
        self.listed.insert(kind);
        let held = state.all(Some(kind));
        let gone = held.filter(|kept| kept.version <= version && !told.contains(&*kept.path));
        let gone: Vec<_> = gone.map(|kept| kept.path.clone()).collect();
        if kind == Kind::Pod {
            let gone = self.strangers.keys().filter(|path| !told.contains(*path));
            let gone: Vec<ObjectPath> = gone.cloned().collect();
            gone.iter().for_each(|path| self.take_stranger(path));
        }
        let mut news = News::default();
        for path in gone {
            let more = self.forget(state, &path);
            news.pushes.extend(more.pushes);
            news.ended.extend(more.ended);
        }
        // What has come to be needed after it was passed over.
        for path in state.needed_of(kind) {
            if told.contains(&path) && state.get(&path).is_none() {
                self.wanted.entry(path).or_default();
                news.wanting = true;
            }
        }
        news
    }

    /// Pods of a node that has become an edge, as they were found there.
    pub fn adopt(
        &mut self,
        state: &mut State,
        resource: &Resource,
        node: &NodeName,
        pods: Vec<Object>,
    ) -> News {
        let mut news = News::default();
        for pod in pods {
            let Some(kept) = read(resource, Kind::Pod, pod.clone()) else {
                continue;
            };
            // Of what is not among them a watch has told that it is gone, or will tell that it came.
            if self.strangers.get(&*kept.path) == Some(node) {
                let more = self.put(state, resource, Kind::Pod, pod);
                news.pushes.extend(more.pushes);
                news.wanting |= more.wanting;
            }
        }
        news
    }

    /// The next object to fetch, if there is one.
    pub fn next_wanted(&self, after: Option<&ObjectPath>) -> Option<ObjectPath> {
        let mut wanted = self.wanted.keys();
        match after {
            None => wanted.next().cloned(),
            Some(after) => wanted.find(|path| *path > after).cloned(),
        }
    }

    /// What was asked for has come; none: it is not there.
    pub fn fetched(
        &mut self,
        state: &mut State,
        resource: &Resource,
        path: &ObjectPath,
        found: Option<Object>,
    ) -> News {
        let Some(gone) = self.wanted.remove(path) else {
            return News::default();
        };
        let version = |object: &Object| object::version(object).parse().unwrap_or(0u64);
        match found.filter(|object| version(object) > gone) {
            Some(object) => self.put(state, resource, path.kind, object),
            None => News::default(),
        }
    }

    pub fn is_listed(&self, kind: Kind) -> bool {
        self.listed.contains(&kind)
    }

    fn forget(&mut self, state: &mut State, path: &ObjectPath) -> News {
        let mut news = News::default();
        let Some(kept) = state.get(path).cloned() else {
            return news;
        };
        let mut effects: Effects = state.remove(path);
        if let (Kind::Node, Ok(name)) = (path.kind, path.name.parse::<NodeName>()) {
            // It hears nothing more, and begins anew.
            state.forget_node(&name);
            effects.pushes.clear();
            news.ended.push(name);
        }
        news.pushes = effects.pushes;
        self.drop_unneeded(state, index::needed(&kept).collect());
        news
    }

    /// Nobody's data stays longer than somebody needs it.
    fn drop_unneeded(&mut self, state: &mut State, paths: Vec<ObjectPath>) {
        for path in paths {
            if !state.is_needed(&path) {
                self.wanted.remove(&path);
                state.remove(&path);
            }
        }
    }

    fn add_stranger(&mut self, path: &ObjectPath, node: &NodeName) {
        self.strangers.insert(path.clone(), node.clone());
        let of_node = self.of_strangers.entry(node.clone()).or_default();
        of_node.insert(path.clone());
    }

    fn take_stranger(&mut self, path: &ObjectPath) {
        if let Some(node) = self.strangers.remove(path)
            && let Some(of_node) = self.of_strangers.get_mut(&node)
        {
            of_node.remove(path);
            if of_node.is_empty() {
                self.of_strangers.remove(&node);
            }
        }
    }
}

/// None for what has no name that an edge could know it by, and for what lies where the CA's key lies.
pub fn path_of(kind: Kind, object: &Object) -> Option<ObjectPath> {
    let name = object::name(object);
    let path = match kind.is_of_cluster() {
        true => ObjectPath::of_cluster(kind, name.parse::<NodeName>().ok()?.as_str()),
        false => ObjectPath::new(object::namespace(object)?, kind, name).ok()?,
    };
    (!is_ours(&path)).then_some(path)
}

/// Objects in lists come without their type.
fn read(resource: &Resource, kind: Kind, object: Object) -> Option<Kept> {
    let path = path_of(kind, &object)?;
    let mut whole = meta::typed(&resource.kind, &resource.api_version());
    whole.extend(without_fields(object));
    if kind == Kind::Node
        && let Some(status) = whole.get_mut("status").and_then(|it| it.as_object_mut())
    {
        // Half of a Node, of which no edge reads anything.
        status.shift_remove("images");
    }
    Kept::new(path, &whole, Given::default())
}
