//! All objects in memory, who may see which, and what a change means for whom.

mod undo;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::undo::Before;
use super::index::{self, Index};
use super::kept::{Gone, Kept, Restored, Selector};
use super::lease::Lease;
use crate::cloudcore::jobs;
use crate::cloudcore::outbox::Item;
use crate::protocol::resource::{Kind, Namespace, ObjectPath};
use crate::store::{ObjectChange, StoredObject};
use crate::system::names::NodeName;
use crate::system::sorted::{SortedMap, SortedSet};

#[derive(Default)]
pub struct State {
    objects: BTreeMap<Arc<ObjectPath>, Arc<Kept>>,
    index: Index,
    /// By uid.
    gone: BTreeMap<Arc<str>, Gone>,
    /// What each node has to forget, by uid.
    owed: HashMap<NodeName, SortedSet<Arc<str>>>,
    pub leases: HashMap<NodeName, Lease>,
    /// Objects are kept elsewhere: nothing is to be written.
    of_others: bool,
    /// Versions that may be given out.
    pub versions: Range<u64>,
    /// What could not be told, because the change was not on disk.
    pub untold: Vec<Push>,
}

/// What a node is to be told, with whether it never had it.
pub type Push = (NodeName, Item, bool);

/// What is to be done because of a change: first written, then sent.
#[derive(Debug, Default)]
pub struct Effects {
    pub changes: Vec<ObjectChange>,
    pub pushes: Vec<Push>,
    /// By what the change can be taken back.
    pub before: Vec<Before>,
}

impl State {
    /// For objects that others keep.
    pub fn of_others() -> State {
        State {
            of_others: true,
            ..State::default()
        }
    }

    pub fn restore(stored: &[StoredObject]) -> State {
        let mut state = State::default();
        for stored in stored.iter().filter(|it| !jobs::is_job(&it.key)) {
            match Restored::read(stored) {
                Some(Restored::Object(kept)) => state.insert(Arc::new(kept)),
                Some(Restored::Gone(uid, gone)) => state.set_gone(&uid, Some(gone)),
                None => log::warn!(
                    "{} of the store can't be read and is left alone",
                    stored.key
                ),
            }
        }
        state
    }

    pub fn get(&self, path: &ObjectPath) -> Option<&Arc<Kept>> {
        self.objects.get(path)
    }

    pub fn node(&self, name: &NodeName) -> Option<&Arc<Kept>> {
        self.get(&ObjectPath::of_cluster(Kind::Node, name.as_str()))
    }

    pub fn gone(&self, uid: &str) -> Option<&Gone> {
        self.gone.get(uid)
    }

    /// Objects of one type or all, in the order of their names.
    pub fn all(&self, kind: Option<Kind>) -> impl Iterator<Item = &Arc<Kept>> {
        let of = move |kept: &&Arc<Kept>| kind.is_none_or(|kind| kept.path.kind == kind);
        self.objects.values().filter(of)
    }

    /// How many objects there are, and how many that nodes still have to forget.
    pub fn counts(&self) -> (usize, usize) {
        (self.objects.len(), self.gone.len())
    }

    /// Whether something of the node's needs this object.
    pub fn needs(&self, node: &NodeName, path: &ObjectPath) -> bool {
        self.index.needs(node, path)
    }

    /// Whether something of any node does.
    pub fn is_needed(&self, path: &ObjectPath) -> bool {
        self.index.needing(path).next().is_some()
    }

    /// Objects of a type that something needs, whether they are there or not.
    pub fn needed_of(&self, kind: Kind) -> Vec<ObjectPath> {
        self.index.needed_of(kind).cloned().collect()
    }

    /// Whether one of the node's Pods lets it ask for this.
    pub fn may_ask(&self, node: &NodeName, path: &ObjectPath) -> bool {
        let wish = (path.kind, path.name.clone());
        let bound = self.index.bound(node);
        let mut bound = bound.filter(|it| it.namespace == path.namespace);
        bound.any(|it| {
            let holder = self.objects.get(it);
            holder.is_some_and(|holder| holder.facts.may_ask.contains(&wish))
        })
    }

    /// Whether the node has something in this namespace.
    pub fn has_in(&self, node: &NodeName, namespace: &Namespace) -> bool {
        let mut bound = self.index.bound(node);
        bound.any(|path| path.namespace == *namespace)
    }

    /// Nodes that have something to forget.
    pub fn owing(&self) -> impl Iterator<Item = &NodeName> {
        self.owed.keys()
    }

    /// The node need not be told any more of what is gone for longer than this.
    pub fn forget_old(&mut self, node: &NodeName, now: Instant, age: Duration) {
        let uids = self.owed.get(node).cloned().unwrap_or_default();
        for uid in uids {
            let since = self.gone.get(&uid).and_then(|gone| gone.since);
            if since.is_none_or(|since| now.saturating_duration_since(since) >= age) {
                self.forgotten(node, &uid);
            }
        }
    }

    /// Whether this is the node's own: itself, what is bound to it, what it was given, and what one
    /// of these needs. Nothing of the cloud's own namespace ever is.
    pub fn sees(&self, node: &NodeName, kept: &Kept) -> bool {
        let path = &kept.path;
        if path.namespace.as_str() == Some(OWN_NAMESPACE) {
            return false;
        }
        match path.kind {
            Kind::Node => return path.name == node.as_str(),
            Kind::Pod | Kind::Device => return kept.facts.bound.as_ref() == Some(node),
            _ => {}
        }
        let selected = || {
            let selector = kept.given.selector.as_ref()?;
            Some(selector.fits(&self.node(node)?.facts.labels))
        };
        kept.given.nodes.contains(node)
            || selected().unwrap_or_default()
            || self.index.needs(node, path)
    }

    /// Everything that is the node's own, in the order in which an edge can use it.
    fn seen_by(&self, node: &NodeName) -> Vec<Arc<ObjectPath>> {
        let mut found: Vec<&Arc<ObjectPath>> = Vec::new();
        let own = self.node(node);
        found.extend(own.map(|kept| &kept.path));
        for path in self.index.bound(node) {
            found.push(path);
            let holder = self.objects.get(path).into_iter();
            let needed = holder.flat_map(|holder| index::needed(holder));
            found.extend(needed.filter_map(|path| Some(self.objects.get_key_value(&path)?.0)));
        }
        found.extend(self.index.given(node));
        if self.index.has_selectors() {
            let labels = own.into_iter().flat_map(|kept| &kept.facts.labels);
            for (key, value) in labels {
                let selector = Selector {
                    key: key.clone(),
                    value: value.clone(),
                };
                found.extend(self.index.selected(&selector));
            }
        }
        let seen = |path: &&&Arc<ObjectPath>| {
            let kept = self.objects.get(**path);
            kept.is_some_and(|kept| self.sees(node, kept))
        };
        let found: SortedSet<_> = found.into_iter().collect();
        let mut paths: Vec<_> = found
            .iter()
            .filter(seen)
            .map(|path| (*path).clone())
            .collect();
        paths.sort_by_key(|path| rank(path.kind));
        paths
    }

    fn who_sees(&self, kept: &Kept) -> SortedSet<NodeName> {
        let mut nodes: Vec<NodeName> = kept.given.nodes.iter().cloned().collect();
        nodes.extend(kept.facts.bound.clone());
        if kept.path.kind == Kind::Node {
            nodes.extend(kept.path.name.parse::<NodeName>());
        }
        if kept.given.selector.is_some() {
            let all = self.all(Some(Kind::Node));
            nodes.extend(all.filter_map(|it| it.path.name.parse::<NodeName>().ok()));
        }
        nodes.extend(self.index.needing(&kept.path).cloned());
        nodes.retain(|node| self.sees(node, kept));
        nodes.into_iter().collect()
    }

    /// What a node that has just connected is to be sent: all that is its own, and what it is to
    /// forget; that first where something else has taken the name, and Pods, with which it may forget more.
    pub fn everything_for(&self, node: &NodeName) -> Vec<(Item, bool)> {
        let owed = self.owed.get(node).into_iter().flatten();
        let owed = owed.filter_map(|uid| {
            Some(Item {
                path: self.gone.get(uid)?.path.clone()?,
                gone: Some(uid.clone()),
            })
        });
        let (first, last): (Vec<Item>, Vec<Item>) =
            owed.partition(|it| it.path.kind == Kind::Pod || self.objects.contains_key(&it.path));
        let seen = self.seen_by(node).into_iter();
        let seen = seen.map(|path| Item { path, gone: None });
        let items = first.into_iter().chain(seen).chain(last);
        items.map(|item| (item, false)).collect()
    }

    /// Puts an object in the place of what has its name.
    pub fn put(&mut self, kept: Kept) -> Effects {
        let kept = Arc::new(kept);
        let before = self.views(&kept, Some(&kept));
        let mut effects = Effects::default();
        self.note_object(&kept.path, &mut effects);
        self.insert(kept.clone());
        if !self.of_others {
            effects.changes.push(kept.change());
        }
        self.compare(before, &kept.path, &mut effects);
        effects
    }

    /// Forgets an object, if it is there.
    pub fn remove(&mut self, path: &ObjectPath) -> Effects {
        let mut effects = Effects::default();
        let Some(kept) = self.objects.get(path).cloned() else {
            return effects;
        };
        let before = self.views(&kept, None);
        self.note_object(&kept.path, &mut effects);
        self.take(&kept);
        if !self.of_others {
            effects.changes.push(kept.removal());
        }
        self.compare(before, path, &mut effects);
        effects
    }

    /// The node has forgotten what is gone; what is to be written of that.
    pub fn forgotten(&mut self, node: &NodeName, uid: &str) -> Option<ObjectChange> {
        let gone = self.gone.get_mut(uid)?;
        if !gone.owed.remove(node) {
            return None;
        }
        let change = gone.change(uid);
        if gone.owed.is_empty() {
            self.gone.remove(uid);
        }
        self.owes_no_more(node, uid);
        Some(change)
    }

    fn owes_no_more(&mut self, node: &NodeName, uid: &str) {
        if let Some(owed) = self.owed.get_mut(node) {
            owed.remove(uid);
            if owed.is_empty() {
                self.owed.remove(node);
            }
        }
    }

    /// How many objects the node has to forget.
    pub fn owed_by(&self, node: &NodeName) -> usize {
        self.owed.get(node).map_or(0, SortedSet::len)
    }

    /// How many mirrors of its own pods the node has made, and the bytes of them all.
    pub fn mirrors(&self, node: &NodeName) -> (usize, usize) {
        let pods = self.index.bound(node);
        let pods = pods.filter_map(|path| self.objects.get(path));
        pods.filter(|kept| kept.facts.mirror)
            .fold((0, 0), |(count, bytes), kept| {
                (count + 1, bytes + kept.text.len())
            })
    }

    /// The node is to forget an object that this cloud does not know, or not any more: so it says
    /// itself, and who has `MAX_OWED` to forget is not believed. None for that.
    pub fn owe(&mut self, node: &NodeName, uid: &str, gone: Gone) -> Option<Effects> {
        let (uid, mut effects): (Arc<str>, _) = (uid.into(), Effects::default());
        let known = self.owed.get(node).is_some_and(|it| it.contains(&uid));
        if !known {
            if self.owed_by(node) >= MAX_OWED {
                return None;
            }
            self.note_gone(&uid, &mut effects);
            let mut gone = self.gone.get(&uid).cloned().unwrap_or(gone);
            gone.owed.insert(node.clone());
            effects.changes.push(gone.change(&uid));
            self.set_gone(&uid, Some(gone));
        }
        let path = self.gone.get(&uid).and_then(|gone| gone.path.clone());
        let item = path.map(|path| Item {
            path,
            gone: Some(uid.clone()),
        });
        effects
            .pushes
            .extend(item.map(|item| (node.clone(), item, false)));
        Some(effects)
    }

    /// Nobody waits for this node any more.
    pub fn forget_node(&mut self, node: &NodeName) -> Effects {
        self.leases.remove(node);
        let mut effects = Effects::default();
        let uids = self.owed.get(node).cloned().unwrap_or_default();
        for uid in uids {
            self.note_gone(&uid, &mut effects);
            effects.changes.extend(self.forgotten(node, &uid));
        }
        effects
    }

    /// Who sees what now, of those whom a change of `kept` may concern: the object itself and, for a
    /// node whose view of other things may change by it, everything.
    fn views(&self, kept: &Kept, new: Option<&Kept>) -> Views {
        let old = self.objects.get(&kept.path).cloned();
        let mut views = Views {
            seers: old
                .as_ref()
                .map(|old| self.who_sees(old))
                .unwrap_or_default(),
            ..Views::default()
        };
        let facts = |kept: &Kept| kept.facts.clone();
        if old.as_deref().map(facts) != new.map(facts) {
            for kept in old.as_deref().into_iter().chain(new) {
                let node = match kept.path.kind {
                    Kind::Node => kept.path.name.parse().ok(),
                    _ => kept.facts.bound.clone(),
                };
                if let Some(node) = node {
                    let seen = self.seen_by(&node).into_iter();
                    let seen = seen.filter_map(|path| Some(self.objects.get(&path)?.clone()));
                    views.all.insert(node, seen.collect());
                }
            }
        }
        views.old = old;
        views
    }

    /// What has changed since the views were taken, by the change of the object at `path`.
    fn compare(&mut self, before: Views, path: &ObjectPath, effects: &mut Effects) {
        let new = self.objects.get(path).cloned();
        let seers = new.as_ref().map(|new| self.who_sees(new));
        let seers = seers.unwrap_or_default();
        let old = before.old.as_ref();
        let same = old.is_some_and(|old| new.as_ref().is_some_and(|new| new.uid == old.uid));
        let mut lost: Vec<(NodeName, Arc<Kept>)> = Vec::new();
        let mut found: Vec<(NodeName, Arc<Kept>, bool)> = Vec::new();
        if let Some(old) = old {
            let leave = before.seers.iter();
            let leave = leave.filter(|node| !(same && seers.contains(*node)));
            lost.extend(leave.map(|node| (node.clone(), old.clone())));
        }
        for (node, had) in &before.all {
            let is_other = |kept: &&Arc<Kept>| *kept.path != *path;
            let had: SortedMap<_, _> = had
                .iter()
                .filter(is_other)
                .map(|it| (&it.path, it))
                .collect();
            let sees = self.seen_by(node);
            let gone = had.iter().filter(|(path, _)| !sees.contains(path));
            lost.extend(gone.map(|(_, kept)| (node.clone(), (*kept).clone())));
            // What a pod needs goes before the pod.
            let more = sees
                .iter()
                .filter(|it| ***it != *path && !had.contains_key(it));
            let more = more.filter_map(|it| self.objects.get(it).cloned());
            found.extend(more.map(|kept| (node.clone(), kept, true)));
        }
        if let Some(new) = &new {
            let had = |node: &NodeName| same && before.seers.contains(node);
            found.extend(seers.iter().map(|it| (it.clone(), new.clone(), !had(it))));
        }
        // The Node itself is never taken back by a message: its session ends.
        lost.retain(|(_, kept)| kept.path.kind != Kind::Node);
        let mut touched: SortedSet<Arc<str>> = SortedSet::new();
        let mut again: Vec<Push> = Vec::new();
        for (node, kept) in lost {
            if kept.path.kind == Kind::Pod {
                // With a Pod an edge lets go of what no other one needs there, also of what it was given besides.
                let needed = index::needed(&kept).filter(|it| !self.index.needs(&node, it));
                let stays = needed.filter_map(|it| self.objects.get(&it));
                let stays = stays.filter(|it| self.sees(&node, it));
                again.extend(stays.map(|it| {
                    let path = it.path.clone();
                    (node.clone(), Item { path, gone: None }, false)
                }));
            }
            if touched.insert(kept.uid.clone()) {
                self.note_gone(&kept.uid, effects);
            }
            let gone = self.gone.entry(kept.uid.clone());
            let gone = gone.or_insert_with(|| kept.gone());
            gone.owed.insert(node.clone());
            let owed = self.owed.entry(node.clone()).or_default();
            owed.insert(kept.uid.clone());
            let item = Item {
                path: kept.path.clone(),
                gone: Some(kept.uid.clone()),
            };
            effects.pushes.push((node, item, false));
        }
        effects.pushes.append(&mut again);
        for (node, kept, new) in found {
            let owed = self.owed.get(&node);
            if owed.is_some_and(|owed| owed.contains(&kept.uid)) {
                if touched.insert(kept.uid.clone()) {
                    self.note_gone(&kept.uid, effects);
                }
                self.forgotten(&node, &kept.uid);
            }
            let item = Item {
                path: kept.path.clone(),
                gone: None,
            };
            effects.pushes.push((node, item, new));
        }
        if !self.of_others {
            // Each once, however many nodes it is about.
            let changes = touched.iter().map(|uid| match self.gone.get(uid) {
                Some(gone) => gone.change(uid),
                None => Gone::removal(uid),
            });
            effects.changes.extend(changes);
        }
    }

    fn insert(&mut self, kept: Arc<Kept>) {
        if let Some(old) = self.objects.get(&kept.path).cloned() {
            self.take(&old);
        }
        self.index.insert(&kept);
        self.objects.insert(kept.path.clone(), kept);
    }

    fn take(&mut self, kept: &Kept) {
        self.index.remove(kept);
        self.objects.remove(&kept.path);
    }
}

/// Who saw what before a change.
#[derive(Default)]
struct Views {
    old: Option<Arc<Kept>>,
    seers: SortedSet<NodeName>,
    all: SortedMap<NodeName, Vec<Arc<Kept>>>,
}

/// What needs others comes after them.
fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::Node => 0,
        Kind::Device => 2,
        Kind::Pod => 3,
        _ => 1,
    }
}

/// Of the cloud itself: its CA's key lies there, where KubeEdge's cloud keeps it.
pub const OWN_NAMESPACE: &str = "kubeedge";

/// Objects that a node has to forget by its own doing. One that acknowledges has few; 110 pods are what
/// Kubernetes gives a node.
pub const MAX_OWED: usize = 1000;

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
