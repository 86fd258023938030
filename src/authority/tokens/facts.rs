//! What is told of a token; nothing of it is secret.

use serde::{Deserialize, Serialize};

use crate::store::TokenRecord;
use crate::system::clock::Timestamp;

/// A token in a list, as JSON for programs.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenFacts {
    pub id: String,
    pub created: Timestamp,
    pub expires: Timestamp,
    /// The pattern of the nodes that may use it; null: all.
    pub node: Option<String>,
    /// For how many certificates it was made; null: any number, and none is counted.
    pub uses: Option<u32>,
    /// How many there were.
    pub used: usize,
    pub description: String,
    /// Who used it, the latest first; not all when they are many.
    pub used_by: Vec<TokenUser>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct TokenUser {
    pub node: String,
    pub at: Timestamp,
}

impl TokenFacts {
    pub fn of(record: &TokenRecord) -> TokenFacts {
        let latest = record.used.iter().rev().take(MAX_USERS);
        TokenFacts {
            id: record.id.to_string(),
            created: record.created,
            expires: record.expires,
            node: record.nodes.as_ref().map(ToString::to_string),
            uses: record.uses,
            used: record.used.len(),
            description: record.description.clone(),
            used_by: latest
                .map(|it| TokenUser {
                    node: it.node.to_string(),
                    at: it.at,
                })
                .collect(),
        }
    }
}

/// Of one token, so that it fits into a line of the admin socket.
const MAX_USERS: usize = 100;
