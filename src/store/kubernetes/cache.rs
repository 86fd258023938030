//! What a replica knows of nodes: all of it, once the cluster has told, so that a connection costs
//! the cluster nothing, and one that comes while the cluster is away is judged all the same.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::revocations::{self, Known as Revoked};
use super::super::{Corruption, NodeRecord, StoreError, journal};
use super::nodes::{REVOCATIONS_NAME, REVOKED_KEY};
use super::space::{corrupt, text};
use crate::kubernetes::object::{self, Object};
use crate::kubernetes::resource::CONFIG_MAPS;
use crate::system::names::NodeName;

/// Nothing, until all is known.
#[derive(Default)]
pub struct Cache(Mutex<Option<Contents>>);

/// By the names of ConfigMaps.
#[derive(Clone, Default)]
pub struct Contents {
    pub shards: BTreeMap<String, Shard>,
    pub revoked: Option<Revocations>,
}

/// The records of some nodes, as one ConfigMap has them.
#[derive(Clone, Debug, Default)]
pub struct Shard {
    pub version: String,
    /// None: what is there is no record of this node.
    records: BTreeMap<NodeName, Option<NodeRecord>>,
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
        self.held().as_ref().map(read)
    }

    pub fn fill(&self, contents: Contents) {
        *self.held() = Some(contents);
    }

    /// An object that has changed. One that is older than what is known says nothing.
    pub fn put(&self, object: &Object) {
        if let Some(contents) = &mut *self.held() {
            contents.put(object);
        }
    }

    /// An object that is gone.
    pub fn forget(&self, object: &Object) {
        if let Some(contents) = &mut *self.held() {
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

    fn held(&self) -> MutexGuard<'_, Option<Contents>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    pub fn of(objects: &[Object]) -> Contents {
        let mut contents = Contents::default();
        objects.iter().for_each(|object| contents.put(object));
        contents
    }

    fn put(&mut self, object: &Object) {
        let (name, version) = (object::name(object), object::version(object));
        if name == REVOCATIONS_NAME {
            let known = self.revoked.as_ref();
            if known.is_none_or(|known| !is_newer(&known.version, version)) {
                self.revoked = Some(Revocations::of(object));
            }
            return;
        }
        let known = self.shards.get(name);
        if known.is_none_or(|known| !is_newer(&known.version, version)) {
            self.shards.insert(name.to_owned(), Shard::of(object));
        }
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
