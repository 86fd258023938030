//! Which key each node has, and which were revoked: ConfigMaps, each with the records of some nodes.
//!
//! There are at most `SHARDS` maps of keys, whatever the number of nodes; a name's hash says in which
//! it is. 100,000 nodes are some 100 in each, which is 30 kB.

use super::super::revocations::{self, MAX_NODES};
use super::super::{Claim, NodeRecord, Recorded, StoreError, journal};
use super::LABEL;
use super::cache::{Cache, Contents, Revocations, Shard};
use super::space::{ATTEMPTS, NODE_KEYS, REVOCATIONS, Space, Wanted, pause};
use crate::kubernetes::object::Object;
use crate::kubernetes::resource::CONFIG_MAPS;
use crate::pki::hash::Sha256Hash;
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;

pub async fn get(
    space: &Space,
    cache: &Cache,
    name: &NodeName,
    now: bool,
) -> Result<Option<NodeRecord>, StoreError> {
    let map = map_of(name);
    shard(space, cache, &map, now).await?.1.get(name, &map)
}

/// Writes the record, or takes it away, when `claim` fits what the cluster has now.
pub async fn change(
    space: &Space,
    cache: &Cache,
    name: &NodeName,
    record: Option<NodeRecord>,
    claim: Claim,
) -> Result<Recorded, StoreError> {
    let map = map_of(name);
    let text = record
        .as_ref()
        .map(|record| journal::text(name, Some(record)));
    let mut replaced = None;
    for attempt in 0..ATTEMPTS {
        // What is known here may be old; what the cluster says now decides.
        let (there, shard) = shard(space, cache, &map, attempt > 0).await?;
        // Whoever repairs what is damaged, with a token, does not have to read it.
        let held = match (shard.get(name, &map), &claim) {
            (Err(_), Claim::Any) => None,
            (held, _) => held?,
        };
        if attempt > 0 && replaced.is_some() && held == record {
            // Only the answer was lost.
            return Ok(Recorded::Stored(replaced.flatten()));
        }
        if !claim.allows(held.as_ref()) {
            if attempt > 0 || cache.with(|_| ()).is_none() {
                return Ok(Recorded::Changed);
            }
            continue;
        }
        if held.is_none() && record.is_none() {
            if attempt > 0 || cache.with(|_| ()).is_none() {
                return Ok(Recorded::Stored(None));
            }
            continue;
        }
        let wanted = Wanted {
            resource: CONFIG_MAPS,
            name: &map,
            label: Some(NODE_KEYS),
            data: vec![(name.as_str(), text.clone().map(String::into_bytes))],
        };
        let version = there.then_some(shard.version.as_str());
        if let Some(object) = space.write(&wanted, version).await? {
            cache.put(&object);
            return Ok(Recorded::Stored(held));
        }
        replaced = Some(held);
        pause(attempt).await;
    }
    Err(StoreError::Contended)
}

/// In the order of their names.
pub async fn all(space: &Space, cache: &Cache) -> Result<Vec<(NodeName, NodeRecord)>, StoreError> {
    let gather = |contents: &Contents| {
        let mut nodes = Vec::new();
        for (map, shard) in &contents.shards {
            nodes.extend(shard.all(map)?);
        }
        nodes.sort_by(|one: &(NodeName, NodeRecord), other| one.0.cmp(&other.0));
        Ok(nodes)
    };
    match cache.with(gather) {
        Some(nodes) => nodes,
        None => gather(&read_all(space).await?.0),
    }
}

/// Everything that is known of nodes, and the version of that.
pub async fn read_all(space: &Space) -> Result<(Contents, String), StoreError> {
    let (objects, version) = space.select(&CONFIG_MAPS, LABEL).await?;
    Ok((Contents::of(&objects), version))
}

pub async fn revoked(
    space: &Space,
    cache: &Cache,
    name: &NodeName,
) -> Result<Option<Timestamp>, StoreError> {
    let known = known(space, cache, false).await?;
    match known {
        Some(known) => Ok(known.get()?.get(name).copied()),
        None => Ok(None),
    }
}

pub async fn revocations(
    space: &Space,
    cache: &Cache,
) -> Result<Vec<(NodeName, Timestamp)>, StoreError> {
    let Some(known) = known(space, cache, false).await? else {
        return Ok(Vec::new());
    };
    let known = known.get()?.iter();
    Ok(known.map(|(name, at)| (name.clone(), *at)).collect())
}

/// All of them or none; never back, when somebody else has revoked later.
pub async fn revoke(
    space: &Space,
    cache: &Cache,
    nodes: &[(NodeName, Timestamp)],
) -> Result<(), StoreError> {
    for attempt in 0..ATTEMPTS {
        let held = known(space, cache, true).await?;
        let mut known = match &held {
            Some(held) => held.get()?.clone(),
            None => revocations::Known::new(),
        };
        for (name, at) in nodes {
            let entry = known.entry(name.clone()).or_insert(*at);
            *entry = (*entry).max(*at);
        }
        if held
            .as_ref()
            .is_some_and(|held| held.get().is_ok_and(|held| *held == known))
        {
            return Ok(());
        }
        if known.len() > MAX_NODES {
            return Err(StoreError::Full { limit: MAX_NODES });
        }
        let wanted = Wanted {
            resource: CONFIG_MAPS,
            name: REVOCATIONS_NAME,
            label: Some(REVOCATIONS),
            data: vec![(REVOKED_KEY, Some(revocations::text(&known)))],
        };
        let version = held.as_ref().map(|held| held.version.as_str());
        if let Some(object) = space.write(&wanted, version).await? {
            cache.put(&object);
            return Ok(());
        }
        pause(attempt).await;
    }
    Err(StoreError::Contended)
}

/// What is known of the nodes of a map, and whether that is there at all.
async fn shard(
    space: &Space,
    cache: &Cache,
    map: &str,
    now: bool,
) -> Result<(bool, Shard), StoreError> {
    let known = cache.with(|contents| contents.shards.get(map).cloned());
    let held = match known.filter(|_| !now) {
        Some(known) => known,
        None => {
            let object = fresh(space, cache, map).await?;
            object.as_ref().map(Shard::of)
        }
    };
    Ok((held.is_some(), held.unwrap_or_default()))
}

async fn known(space: &Space, cache: &Cache, now: bool) -> Result<Option<Revocations>, StoreError> {
    let known = cache.with(|contents| contents.revoked.clone());
    match known.filter(|_| !now) {
        Some(known) => Ok(known),
        None => {
            let object = fresh(space, cache, REVOCATIONS_NAME).await?;
            Ok(object.as_ref().map(Revocations::of))
        }
    }
}

async fn fresh(space: &Space, cache: &Cache, map: &str) -> Result<Option<Object>, StoreError> {
    let object = space.get(&CONFIG_MAPS, map).await?;
    if let Some(object) = &object {
        cache.put(object);
    }
    Ok(object)
}

/// The map that has the record of this node.
pub fn map_of(name: &NodeName) -> String {
    let hash = Sha256Hash::of(name.as_str().as_bytes());
    let [first, second, ..] = hash.as_bytes();
    let shard = u16::from_be_bytes([*first, *second]) % SHARDS;
    format!("node-keys-{shard:03x}")
}

/// Never to be changed: nodes would be looked for elsewhere.
const SHARDS: u16 = 1024;

pub const REVOCATIONS_NAME: &str = "revoked-nodes";
pub const REVOKED_KEY: &str = "revocations";
