//! Who holds a name: which certificates of a node count, and the revocation of those that shall not.

use super::standing::Standing;
use super::{Authority, Refusal};
use crate::pki::certificate::Certificate;
use crate::pki::chain;
use crate::pki::hash::Sha256Hash;
use crate::store::{Claim, NodeRecord, Recorded, Store, StoreError};
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;

/// How a certificate that counts stands to what is stored of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It has the node's present key.
    Present,
    /// It has the key before; the present one has not shown itself on a tunnel.
    Previous,
    /// It began after all that is known of the node: the store was put back to an older state.
    Later,
    /// Nothing is known of the node: its certificate is from before this store.
    First,
}

/// What became of a node whose keys were to be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    pub node: NodeName,
    pub at: Timestamp,
    /// A certificate of this name is known here.
    pub known: bool,
    /// Its keys were revoked before, and it got none since.
    pub already: bool,
}

/// A revocation, and what followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub node: NodeName,
    pub at: Timestamp,
    /// A token has given the name to a key since.
    pub enrolled_since: bool,
}

impl Authority {
    /// Whether this certificate, whose possession a handshake has shown, is its node's now: by our
    /// CA, in time, of exactly this name, and of a key that was neither replaced nor revoked.
    pub async fn authenticate(
        &self,
        certificate: &Certificate,
        node: &NodeName,
    ) -> Result<Hold, Refusal> {
        self.check_name(certificate, node, self.clock.now())?;
        self.hold(certificate, node).await
    }

    /// The last part of `authenticate`.
    pub async fn hold(&self, certificate: &Certificate, node: &NodeName) -> Result<Hold, Refusal> {
        let record = self.store.node(node).await.map_err(Refusal::Store)?;
        let revoked = self.store.revoked(node).await.map_err(Refusal::Store)?;
        judge(record.as_ref(), revoked, certificate)
    }

    /// A certificate that names no node counts for none that was ever revoked: nobody can tell
    /// when it was issued to whom.
    pub async fn hold_without_name(&self, node: &NodeName) -> Result<(), Refusal> {
        match self.store.revoked(node).await.map_err(Refusal::Store)? {
            Some(at) => Err(Refusal::Revoked(at)),
            None => Ok(()),
        }
    }

    /// A tunnel has shown this certificate, and which CAs its node trusts, if it says so: the key
    /// before counts no more, and what was not known is. The error is a refusal that came to be
    /// meanwhile, or the store's.
    pub async fn settle(
        &self,
        certificate: &Certificate,
        node: &NodeName,
        trusts: Option<&[Sha256Hash]>,
    ) -> Result<(), Refusal> {
        let standing = self.standing();
        for _ in 0..ATTEMPTS {
            let held = self.store.node(node).await.map_err(Refusal::Store)?;
            let revoked = self.store.revoked(node).await.map_err(Refusal::Store)?;
            let mut settled = match (judge(held.as_ref(), revoked, certificate)?, &held) {
                (Hold::Present, Some(held)) => NodeRecord {
                    previous: None,
                    ..held.clone()
                },
                (Hold::Present | Hold::Previous, held) => match held {
                    Some(held) => held.clone(),
                    None => return Ok(()),
                },
                (Hold::First | Hold::Later, _) => NodeRecord {
                    by: self.next_issued(certificate, &standing),
                    ..record(certificate, None, held.as_ref(), revoked)
                },
            };
            if let (Some(trusts), Some(next)) = (trusts, standing.next()) {
                settled.trusts = Some(next.hash()).filter(|next| trusts.contains(next));
            }
            if held.as_ref() == Some(&settled) {
                return Ok(());
            }
            let claim = Claim::Of(held);
            let stored = self.store.record_node(node, settled, claim).await;
            if stored.map_err(Refusal::Store)? != Recorded::Changed {
                return Ok(());
            }
        }
        Err(Refusal::Store(StoreError::Busy))
    }

    /// The next CA of a rotation, when it has issued this certificate.
    fn next_issued(&self, certificate: &Certificate, standing: &Standing) -> Option<Sha256Hash> {
        let next = standing.next()?;
        let trusted = std::slice::from_ref(next);
        let issued = chain::verify_client(certificate, trusted, certificate.not_before());
        issued.is_ok().then(|| next.hash())
    }

    /// Whether `name` belongs to another key than that of the caller's certificate, whose
    /// possession the TLS handshake has shown.
    pub async fn is_taken(
        &self,
        name: &NodeName,
        caller: Option<&Certificate>,
    ) -> Result<bool, StoreError> {
        let (record, revoked) = (
            self.store.node(name).await?,
            self.store.revoked(name).await?,
        );
        let Some(record) = in_force(record.as_ref(), revoked) else {
            return Ok(false);
        };
        let key = caller.map(Certificate::spki_hash);
        Ok(!key.is_some_and(|key| record.has(&key)))
    }
}

/// Revokes all that was issued to these names so far; a node comes back with a token. One that is
/// revoked and got nothing since stays as it is.
pub async fn revoke(
    store: &dyn Store,
    nodes: &[NodeName],
    now: Timestamp,
) -> Result<Vec<Revoked>, StoreError> {
    let (mut outcome, mut fresh) = (Vec::new(), Vec::new());
    for node in nodes {
        // Another replica may have let it in since, and this one not have heard of that yet.
        let (record, revoked) = (store.node_now(node).await?, store.revoked(node).await?);
        let known = record.is_some();
        let already = revoked.filter(|_| in_force(record.as_ref(), revoked).is_none());
        // Later than all that was recorded, whatever the clock did; in whole seconds, as stored.
        let last = record.map_or(i64::MIN, |record| record.since.unix().saturating_add(1));
        let at = already.unwrap_or_else(|| Timestamp::from_unix(now.unix().max(last)));
        if already.is_none() {
            fresh.push((node.clone(), at));
        }
        outcome.push(Revoked {
            node: node.clone(),
            at,
            known,
            already: already.is_some(),
        });
    }
    if !fresh.is_empty() {
        store.revoke(&fresh).await?;
    }
    Ok(outcome)
}

/// All revocations, in the order of their names.
pub async fn revocations(store: &dyn Store) -> Result<Vec<Revocation>, StoreError> {
    let mut all = Vec::new();
    for (node, at) in store.revocations().await? {
        let record = store.node(&node).await?;
        let enrolled_since = in_force(record.as_ref(), Some(at)).is_some();
        all.push(Revocation {
            node,
            at,
            enrolled_since,
        });
    }
    Ok(all)
}

/// Says how a certificate stands to what is stored of its node, or why it does not count.
pub fn judge(
    record: Option<&NodeRecord>,
    revoked: Option<Timestamp>,
    certificate: &Certificate,
) -> Result<Hold, Refusal> {
    let shown = (certificate.spki_hash(), certificate.not_before());
    judge_key(record, revoked, shown)
}

/// The same of the key of a certificate, and the moment from which on that is valid.
pub fn judge_key(
    record: Option<&NodeRecord>,
    revoked: Option<Timestamp>,
    (key, begins): (Sha256Hash, Timestamp),
) -> Result<Hold, Refusal> {
    match (in_force(record, revoked), revoked) {
        (Some(record), _) if record.key_hash == key => Ok(Hold::Present),
        (Some(record), _) if record.previous == Some(key) => Ok(Hold::Previous),
        (Some(record), _) if begins > record.since => Ok(Hold::Later),
        (Some(_), _) => Err(Refusal::Superseded),
        (None, Some(at)) if begins > at => Ok(Hold::Later),
        (None, Some(at)) => Err(Refusal::Revoked(at)),
        (None, None) => Ok(Hold::First),
    }
}

/// The record of a certificate that takes the place of `held`.
pub fn record(
    certificate: &Certificate,
    previous: Option<Sha256Hash>,
    held: Option<&NodeRecord>,
    revoked: Option<Timestamp>,
) -> NodeRecord {
    let begins = certificate.not_before();
    // Never back: what was refused stays so, whatever the clock did.
    let floor = held.map(|held| held.since).max(revoked);
    NodeRecord {
        key_hash: certificate.spki_hash(),
        previous: previous.filter(|key| *key != certificate.spki_hash()),
        since: floor.map_or(begins, |floor| floor.max(begins)),
        not_after: certificate.not_after(),
        serial: certificate.serial(),
        by: None,
        trusts: None,
    }
}

/// The record, unless its keys were revoked.
pub fn in_force(record: Option<&NodeRecord>, revoked: Option<Timestamp>) -> Option<&NodeRecord> {
    record.filter(|record| revoked.is_none_or(|at| record.since >= at))
}

impl NodeRecord {
    /// Whether it counts with this key.
    pub fn has(&self, key: &Sha256Hash) -> bool {
        self.key_hash == *key || self.previous.as_ref() == Some(key)
    }
}

/// How often something else may be stored meanwhile.
pub const ATTEMPTS: usize = 8;

#[cfg(test)]
#[path = "holder_tests.rs"]
mod tests;
