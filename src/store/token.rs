//! What is kept of a join token: never the token itself, only its id and what it may be used for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::pki::hash::Sha256Hash;
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;
use crate::system::pattern::NodePattern;

/// The name of a token: ten hexadecimal digits. It is no secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId(String);

impl TokenId {
    /// The id that these random bytes stand for.
    pub fn of(random: [u8; 5]) -> TokenId {
        TokenId(random.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenId {
    type Err = NoTokenId;

    fn from_str(text: &str) -> Result<TokenId, NoTokenId> {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let good = text.len() == 10 && text.bytes().all(digit);
        good.then(|| TokenId(text.to_owned())).ok_or(NoTokenId)
    }
}

impl TryFrom<String> for TokenId {
    type Error = NoTokenId;

    fn try_from(text: String) -> Result<TokenId, NoTokenId> {
        text.parse()
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> String {
        id.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not the id of a token. It may be a token, and so is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTokenId;

impl fmt::Display for NoTokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the id of a token has ten digits, 0 to 9 and a to f: see `keadm token list`")
    }
}

impl std::error::Error for NoTokenId {}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    pub id: TokenId,
    pub created: Timestamp,
    /// As the token itself says, in whole seconds.
    pub expires: Timestamp,
    /// Which nodes may use it; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodePattern>,
    /// How many uses there may be; none: any number, and none is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The uses so far, the first one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used: Vec<TokenUse>,
}

/// A certificate that was issued for a token, or is about to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUse {
    pub node: NodeName,
    /// Of the public key: the same key of the same node again is the same use.
    #[serde(with = "hash_text")]
    pub key: Sha256Hash,
    pub at: Timestamp,
}

/// What becomes of the wish to use a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Granted, and nothing is counted: the token has no bound, or this is a use that was counted
    /// before, whose answer may have been lost.
    Free,
    /// Granted and counted: to be given back when no certificate is issued after all.
    Counted,
    /// Refused: there were as many uses as there may be.
    UsedUp,
    /// Refused: there is no such token, or none any more.
    Unknown,
}

impl TokenRecord {
    /// What `take` would answer.
    pub fn judge(&self, wanted: &TokenUse) -> Taken {
        match self.uses {
            None => Taken::Free,
            Some(_) if self.used.iter().any(|it| it.is_same(wanted)) => Taken::Free,
            Some(uses) if self.used.len() >= uses as usize => Taken::UsedUp,
            Some(_) => Taken::Counted,
        }
    }

    /// Counts a use if it has to be counted. Stores call it where nobody else can come between
    /// reading and writing the record.
    pub fn take(&mut self, wanted: &TokenUse) -> Taken {
        let taken = self.judge(wanted);
        if taken == Taken::Counted {
            self.used.push(wanted.clone());
        }
        taken
    }

    /// Undoes a use; false when there was none.
    pub fn give_back(&mut self, taken: &TokenUse) -> bool {
        let before = self.used.len();
        self.used.retain(|it| !it.is_same(taken));
        self.used.len() < before
    }
}

impl TokenUse {
    fn is_same(&self, other: &TokenUse) -> bool {
        self.node == other.node && self.key == other.key
    }
}

mod hash_text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Sha256Hash;

    pub fn serialize<S: Serializer>(hash: &Sha256Hash, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(hash)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Sha256Hash, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// Tokens that can be known at a time.
pub const MAX_TOKENS: usize = 10_000;

/// The most uses that a token can be made for: each is kept, with its node and key.
pub const MAX_USES: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{name, token_record, token_use};

    #[test]
    fn ids_have_one_form() {
        let id = TokenId::of([0, 0x1f, 0xff, 0xa0, 9]);
        assert_eq!(id.as_str(), "001fffa009");
        assert_eq!("001fffa009".parse(), Ok(id));
        for wrong in [
            "",
            "001fffa00",
            "001fffa0090",
            "001FFFA009",
            "001fffa00g",
            "../../../x",
        ] {
            assert_eq!(wrong.parse::<TokenId>(), Err(NoTokenId), "{wrong}");
        }
        assert!(!NoTokenId.to_string().contains("001"));
    }

    #[test]
    fn a_use_is_a_key_of_a_node() {
        let mut token = token_record(1, Some(2));
        let (a, b) = (token_use("a", "1"), token_use("b", "2"));
        assert_eq!(token.take(&a), Taken::Counted);
        assert_eq!(token.take(&a), Taken::Free, "the same again");
        assert_eq!(token.take(&b), Taken::Counted);
        // The key of one node with the name of another, and the other way round.
        for wanted in [
            token_use("b", "1"),
            token_use("a", "2"),
            token_use("c", "3"),
        ] {
            assert_eq!(token.take(&wanted), Taken::UsedUp);
        }
        assert_eq!(token.take(&b), Taken::Free);
        assert!(token.give_back(&a) && !token.give_back(&a));
        assert_eq!(token.take(&token_use("c", "3")), Taken::Counted);
        assert_eq!(token.take(&a), Taken::UsedUp);
        assert_eq!(
            token
                .used
                .iter()
                .map(|it| it.node.clone())
                .collect::<Vec<_>>(),
            [name("b"), name("c")]
        );
    }

    #[test]
    fn without_a_bound_nothing_is_counted() {
        let mut token = token_record(1, None);
        let before = token.clone();
        assert_eq!(token.take(&token_use("a", "1")), Taken::Free);
        assert_eq!(token, before);
    }

    #[test]
    fn records_come_back_as_they_were() {
        let mut token = token_record(7, Some(3));
        token.nodes = "rack1-*".parse().ok();
        token.description = "for \"rack 1\"\n".to_owned();
        token.take(&token_use("rack1-a", "1"));
        let text = serde_json::to_string(&token).unwrap();
        assert_eq!(serde_json::from_str::<TokenRecord>(&text).unwrap(), token);
    }
}
