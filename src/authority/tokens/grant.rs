//! What a token that is signed as it should be is still good for: its record decides.

use log::warn;

use super::{Claims, TokenRefusal};
use crate::authority::{Authority, Refusal};
use crate::pki::hash::Sha256Hash;
use crate::store::{Taken, TokenId, TokenRecord, TokenUse};
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;

impl Authority {
    /// The record of a token, when it is there and for this node; none when the token was made
    /// without one, as KubeEdge makes them. Without a node only tokens for all nodes are good.
    pub async fn token_record(
        &self,
        claims: &Claims,
        node: Option<&NodeName>,
    ) -> Result<Option<TokenRecord>, Refusal> {
        let Some(id) = &claims.id else {
            return Ok(None);
        };
        let record = self.store().token(id).await.map_err(Refusal::Store)?;
        let record = record.ok_or_else(|| TokenRefusal::Deleted(id.clone()))?;
        if let Some(pattern) = &record.nodes
            && !node.is_some_and(|node| pattern.matches(node))
        {
            return Err(Refusal::Token(TokenRefusal::OtherNode {
                pattern: pattern.clone(),
                node: node.cloned(),
            }));
        }
        Ok(Some(record))
    }

    /// Takes a use of the token for a certificate that is ready to be handed out.
    pub(crate) async fn take_use(
        &self,
        record: &TokenRecord,
        wanted: TokenUse,
    ) -> Result<Grant, Refusal> {
        let taken = self.store().take_use(&record.id, &wanted).await;
        let counted = match taken.map_err(Refusal::Store)? {
            Taken::Free => false,
            Taken::Counted => true,
            Taken::UsedUp => return Err(used_up(record)),
            Taken::Unknown => return Err(TokenRefusal::Deleted(record.id.clone()).into()),
        };
        Ok(Grant {
            id: record.id.clone(),
            taken: counted.then_some(wanted),
        })
    }

    /// No certificate came of it.
    pub(crate) async fn give_back(&self, grant: Grant) {
        if let Some(taken) = grant.taken
            && let Err(error) = self.store().give_back_use(&grant.id, &taken).await
        {
            warn!("a use of token {} stays counted: {error}", grant.id);
        }
    }
}

/// The right to hand out one certificate.
pub(crate) struct Grant {
    id: TokenId,
    /// What was counted for it.
    taken: Option<TokenUse>,
}

/// Finds out early that a use would be refused, before anything is signed.
pub(crate) fn check_uses(record: &TokenRecord, wanted: &TokenUse) -> Result<(), Refusal> {
    match record.judge(wanted) {
        Taken::UsedUp => Err(used_up(record)),
        _ => Ok(()),
    }
}

pub(crate) fn wanted(node: &NodeName, key: Sha256Hash, at: Timestamp) -> TokenUse {
    TokenUse {
        node: node.clone(),
        key,
        at,
    }
}

fn used_up(record: &TokenRecord) -> Refusal {
    Refusal::Token(TokenRefusal::UsedUp(record.uses.unwrap_or_default()))
}

#[cfg(test)]
#[path = "grant_tests.rs"]
mod tests;
