//! The store on a cluster of Kubernetes: what any number of replicas share (docs/decisions.md).
//!
//! `casecret` and `tokensecret` are those of a Go cloudcore. The rest is ours, with a label that
//! says what it is: a Secret for each token, ConfigMaps for keys of nodes and for revocations, a
//! Secret for the CA that is to come. Every change names the version that it changes, so nothing is
//! lost however many write at once. The serving pair is each replica's own and never leaves it.

mod cache;
mod follow;
mod keys;
mod nodes;
mod shared_token;
mod space;
mod tokens;

use std::sync::{Arc, Mutex, PoisonError};

pub use cache::{Change, Touched};
pub use follow::News;
pub use shared_token::Refreshed;

use super::{
    Answer, Claim, KeyPair, NodeRecord, Recorded, Rotation, Store, Taken, TokenId, TokenRecord,
    TokenUse,
};
use crate::kubernetes::Api;
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;
use cache::Cache;
use space::Space;

/// A way to the state in a cluster. Reads ask the cluster, until `follow` or `snapshot` has told what
/// there is of nodes.
pub struct KubernetesStore {
    space: Space,
    cache: Cache,
    serving: Mutex<Option<KeyPair>>,
}

impl KubernetesStore {
    pub fn new(api: Arc<dyn Api>) -> KubernetesStore {
        KubernetesStore {
            space: Space::new(api),
            cache: Cache::default(),
            serving: Mutex::default(),
        }
    }

    fn own_pair(&self) -> std::sync::MutexGuard<'_, Option<KeyPair>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for KubernetesStore {
    fn load_ca(&self) -> Answer<'_, Option<KeyPair>> {
        Box::pin(keys::load(&self.space))
    }

    fn create_ca<'a>(&'a self, pair: &'a KeyPair) -> Answer<'a, KeyPair> {
        Box::pin(keys::create(&self.space, pair))
    }

    fn replace_ca<'a>(&'a self, pair: &'a KeyPair) -> Answer<'a, ()> {
        Box::pin(keys::replace(&self.space, pair))
    }

    fn load_rotation(&self) -> Answer<'_, Option<Rotation>> {
        Box::pin(keys::load_rotation(&self.space))
    }

    fn create_rotation<'a>(&'a self, rotation: &'a Rotation) -> Answer<'a, Rotation> {
        Box::pin(keys::create_rotation(&self.space, rotation))
    }

    fn advance_rotation<'a>(&'a self, rotation: &'a Rotation) -> Answer<'a, ()> {
        Box::pin(keys::advance_rotation(&self.space, rotation))
    }

    fn finish_rotation(&self) -> Answer<'_, ()> {
        Box::pin(keys::finish_rotation(&self.space))
    }

    fn load_serving(&self) -> Answer<'_, Option<KeyPair>> {
        Box::pin(async { Ok(self.own_pair().clone()) })
    }

    fn save_serving<'a>(&'a self, pair: &'a KeyPair) -> Answer<'a, ()> {
        Box::pin(async {
            *self.own_pair() = Some(pair.clone());
            Ok(())
        })
    }

    fn node<'a>(&'a self, name: &'a NodeName) -> Answer<'a, Option<NodeRecord>> {
        Box::pin(nodes::get(&self.space, &self.cache, name, false))
    }

    fn node_now<'a>(&'a self, name: &'a NodeName) -> Answer<'a, Option<NodeRecord>> {
        Box::pin(nodes::get(&self.space, &self.cache, name, true))
    }

    fn record_node<'a>(
        &'a self,
        name: &'a NodeName,
        record: NodeRecord,
        claim: Claim,
    ) -> Answer<'a, Recorded> {
        Box::pin(nodes::change(
            &self.space,
            &self.cache,
            name,
            Some(record),
            claim,
        ))
    }

    fn remove_node<'a>(&'a self, name: &'a NodeName) -> Answer<'a, bool> {
        Box::pin(async {
            let outcome = nodes::change(&self.space, &self.cache, name, None, Claim::Any).await?;
            Ok(outcome != Recorded::Stored(None))
        })
    }

    fn nodes(&self) -> Answer<'_, Vec<(NodeName, NodeRecord)>> {
        Box::pin(nodes::all(&self.space, &self.cache))
    }

    fn create_token<'a>(&'a self, record: &'a TokenRecord) -> Answer<'a, bool> {
        Box::pin(tokens::create(&self.space, record))
    }

    fn token<'a>(&'a self, id: &'a TokenId) -> Answer<'a, Option<TokenRecord>> {
        Box::pin(tokens::get(&self.space, id))
    }

    fn tokens(&self) -> Answer<'_, Vec<TokenRecord>> {
        Box::pin(tokens::all(&self.space))
    }

    fn remove_token<'a>(&'a self, id: &'a TokenId) -> Answer<'a, bool> {
        Box::pin(tokens::remove(&self.space, id))
    }

    fn take_use<'a>(&'a self, id: &'a TokenId, wanted: &'a TokenUse) -> Answer<'a, Taken> {
        Box::pin(tokens::take(&self.space, id, wanted))
    }

    fn give_back_use<'a>(&'a self, id: &'a TokenId, taken: &'a TokenUse) -> Answer<'a, ()> {
        Box::pin(tokens::give_back(&self.space, id, taken))
    }

    fn remove_expired_tokens(&self, now: Timestamp) -> Answer<'_, usize> {
        Box::pin(tokens::remove_expired(&self.space, now))
    }

    fn revoked<'a>(&'a self, name: &'a NodeName) -> Answer<'a, Option<Timestamp>> {
        Box::pin(nodes::revoked(&self.space, &self.cache, name))
    }

    fn revoke<'a>(&'a self, nodes: &'a [(NodeName, Timestamp)]) -> Answer<'a, ()> {
        Box::pin(nodes::revoke(&self.space, &self.cache, nodes))
    }

    fn revocations(&self) -> Answer<'_, Vec<(NodeName, Timestamp)>> {
        Box::pin(nodes::revocations(&self.space, &self.cache))
    }
}

/// Where all of it lies, as with KubeEdge.
pub const NAMESPACE: &str = "kubeedge";

/// What an object of ours is: one of the words in `space`.
pub const LABEL: &str = "cloudcore.kubeedge.io/state";

#[cfg(test)]
mod tests;
#[cfg(test)]
mod touched_tests;
