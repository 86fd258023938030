//! What a replica knows of nodes: all of it, once the cluster has told, so that a connection costs
//! the cluster nothing, and one that comes while the cluster is away is judged all the same.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::revocations::{self, Known as Revoked};
use super::super::{Corruption, NodeRecord, StoreError, journal};
use super::nodes::{REVOCATIONS_NAME, REVOKED_KEY};
use super::space::{corrupt, text};
use crate::kubernetes::object::{self, Object};
use crate::kubernetes::resource::CONFIG_MAPS;
use crate::system::names::NodeName;
use crate::system::sorted::SortedMap;

/// What is known, and what of it has changed since that was asked for.
#[derive(Default)]
pub struct Cache(Mutex<Held>);

#[derive(Default)]
struct Held {
    /// None, until all is known.
    contents: Option<Contents>,
    touched: Touched,
}

/// Whose keys may not be what they were. It is noted where anything new becomes known, be it by a read
/// that is made before a write: a watch tells that a second time, and then it is new to nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// All are known for the first time.
    pub all: bool,
    pub nodes: BTreeMap<NodeName, Change>,
}

/// How the keys of a node have changed; of several changes the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// A tunnel has shown its present key, so the one before counts no more.
    Shown,
    /// It has another key, or they were revoked.
    Other,
}

/// By the names of ConfigMaps.
#[derive(Clone, Default)]
pub struct Contents {
    pub shards: SortedMap<String, Shard>,
    pub revoked: Option<Revocations>,
}

/// The records of some nodes, as one ConfigMap has them.
#[derive(Clone, Debug, Default)]
pub struct Shard {
    pub version: String,
    /// None: what is there is no record of this node.
    records: SortedMap<NodeName, Option<NodeRecord>>,
}

/// The ConfigMap of revocations.
#[derive(Clone, Debug)]
pub struct Revocations {
    pub version: String,
    /// The error is the number of a line.
    known: Result<Revoked, usize>,
}

impl Cache {
    /// What is known; none: ask the cluster.
    pub fn with<T>(&self, read: impl FnOnce(&Contents) -> T) -> Option<T> {
        self.held().contents.as_ref().map(read)
    }

    pub fn fill(&self, contents: Contents) {
        let held = &mut *self.held();
        match &held.contents {
            Some(before) => held.touched.compare(before, &contents),
            None => held.touched.all = true,
        }
        held.contents = Some(contents);
    }

    /// An object that has changed. One that is older than what is known says nothing.
    pub fn put(&self, object: &Object) {
        let held = &mut *self.held();
        if let Some(contents) = &mut held.contents {
            contents.put(object, Some(&mut held.touched));
        }
    }

    /// What has changed since this was asked last.
    pub fn touched(&self) -> Touched {
        mem::take(&mut self.held().touched)
    }

    /// An object that is gone.
    pub fn forget(&self, object: &Object) {
        if let Some(contents) = &mut self.held().contents {
            let (name, version) = (object::name(object), object::version(object));
            match &contents.revoked {
                Some(known) if name == REVOCATIONS_NAME && !is_newer(&known.version, version) => {
                    contents.revoked = None;
                }
                _ => {}
            }
            let known = contents.shards.get(name);
            if known.is_some_and(|known| !is_newer(&known.version, version)) {
                contents.shards.remove(name);
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    pub fn of(objects: &[Object]) -> Contents {
        let mut contents = Contents::default();
        objects.iter().for_each(|object| contents.put(object, None));
        contents
    }

    fn put(&mut self, object: &Object, touched: Option<&mut Touched>) {
        let (name, version) = (object::name(object), object::version(object));
        if name == REVOCATIONS_NAME {
            let known = self.revoked.as_ref();
            if known.is_none_or(|known| !is_newer(&known.version, version)) {
                let new = Revocations::of(object);
                if let Some(touched) = touched {
                    touched.revocations(known, &new);
                }
                self.revoked = Some(new);
            }
            return;
        }
        let known = self.shards.get(name);
        if known.is_none_or(|known| !is_newer(&known.version, version)) {
            let new = Shard::of(object);
            if let Some(touched) = touched {
                touched.shard(known, &new);
            }
            self.shards.insert(name.to_owned(), new);
        }
    }
}

impl Touched {
    pub fn is_empty(&self) -> bool {
        !self.all && self.nodes.is_empty()
    }

    pub fn add(&mut self, more: Touched) {
        self.all |= more.all;
        for (node, change) in more.nodes {
            self.note(&node, change);
        }
    }

    fn compare(&mut self, before: &Contents, after: &Contents) {
        for (map, shard) in &after.shards {
            self.shard(before.shards.get(map), shard);
        }
        if let Some(revoked) = &after.revoked {
            self.revocations(before.revoked.as_ref(), revoked);
        }
    }

    /// A record that is gone, or can't be read, takes nothing from anybody: a node of which nothing is
    /// known counts with what it has.
    fn shard(&mut self, before: Option<&Shard>, after: &Shard) {
        for (node, new) in &after.records {
            let Some(new) = new else { continue };
            let old = before.and_then(|it| it.records.get(node)?.as_ref());
            let same = |old: &NodeRecord| (old.key_hash, old.since) == (new.key_hash, new.since);
            match old {
                Some(old) if same(old) && old.previous == new.previous => {}
                Some(old) if same(old) => self.note(node, Change::Shown),
                _ => self.note(node, Change::Other),
            }
        }
    }

    fn revocations(&mut self, before: Option<&Revocations>, after: &Revocations) {
        let before = before.and_then(|it| it.known.as_ref().ok());
        for (node, at) in after.known.iter().flatten() {
            let was = before.and_then(|before| before.get(node));
            if was.is_none_or(|was| was < at) {
                self.note(node, Change::Other);
            }
        }
    }

    fn note(&mut self, node: &NodeName, change: Change) {
        let noted = self.nodes.entry(node.clone()).or_insert(change);
        *noted = change.max(*noted);
    }
}

impl Shard {
    pub fn of(object: &Object) -> Shard {
        let data = object.get("data").and_then(|data| data.as_object());
        let records = data.into_iter().flatten().filter_map(|(name, value)| {
            let name: NodeName = name.parse().ok()?;
            let read = value
                .as_str()
                .and_then(|text| journal::parse_text(text.as_bytes()));
            let record = read.and_then(|(of, record)| record.filter(|_| of == name));
            Some((name, record))
        });
        Shard {
            version: object::version(object).to_owned(),
            records: records.collect(),
        }
    }

    pub fn get(&self, name: &NodeName, map: &str) -> Result<Option<NodeRecord>, StoreError> {
        match self.records.get(name) {
            None => Ok(None),
            Some(Some(record)) => Ok(Some(record.clone())),
            Some(None) => Err(no_record(name, map)),
        }
    }

    pub fn all(&self, map: &str) -> Result<Vec<(NodeName, NodeRecord)>, StoreError> {
        let records = self.records.iter().map(|(name, record)| {
            let record = record.clone().ok_or_else(|| no_record(name, map))?;
            Ok((name.clone(), record))
        });
        records.collect()
    }
}

impl Revocations {
    pub fn of(object: &Object) -> Revocations {
        let text = text(object, REVOKED_KEY).unwrap_or_default();
        Revocations {
            version: object::version(object).to_owned(),
            known: revocations::parse(text.as_bytes()),
        }
    }

    /// Damage is an error: nobody may come back by that.
    pub fn get(&self) -> Result<&Revoked, StoreError> {
        let damaged = |line: &usize| {
            let what = Corruption::NoRevocation(*line);
            corrupt(&CONFIG_MAPS, REVOCATIONS_NAME, what)
        };
        self.known.as_ref().map_err(damaged)
    }
}

fn no_record(name: &NodeName, map: &str) -> StoreError {
    corrupt(
        &CONFIG_MAPS,
        map,
        Corruption::NoRecord(format!("node {name}")),
    )
}

/// Versions are numbers that grow; what is none is as new as any.
fn is_newer(version: &str, than: &str) -> bool {
    match (version.parse::<u64>(), than.parse::<u64>()) {
        (Ok(version), Ok(than)) => version > than,
        _ => false,
    }
}
