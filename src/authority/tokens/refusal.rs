//! Why a token gets its holder nothing.

use std::fmt;

use crate::store::TokenId;
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;
use crate::system::pattern::NodePattern;

/// Why a token is refused. The token itself is never part of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    Algorithm,
    Claims,
    /// Its signature is too short to be whole.
    Cut,
    /// There is no record of it any more.
    Deleted(TokenId),
    Encoding,
    Expired(Timestamp),
    Expiry,
    Header,
    Missing,
    NoExpiry,
    NotBefore,
    NotYetValid,
    /// It is good for other nodes only.
    OtherNode {
        pattern: NodePattern,
        /// The node that asked; none when the request was about none.
        node: Option<NodeName>,
    },
    Parts,
    Scheme,
    Signature,
    TooLong,
    /// There were as many uses as it was made for.
    UsedUp(u32),
    WithHash,
}

impl TokenRefusal {
    /// The HTTP status to answer with: 403 for a good token in the wrong place.
    pub fn status(&self) -> u16 {
        match self {
            TokenRefusal::OtherNode { .. } => 403,
            _ => 401,
        }
    }

    /// A short label for counters.
    pub fn reason(&self) -> &'static str {
        match self {
            TokenRefusal::Missing => "token-missing",
            TokenRefusal::Expired(_) => "token-expired",
            TokenRefusal::Deleted(_) => "token-deleted",
            TokenRefusal::OtherNode { .. } => "token-other-node",
            TokenRefusal::UsedUp(_) => "token-used-up",
            TokenRefusal::NotYetValid => "token-not-yet-valid",
            TokenRefusal::Signature | TokenRefusal::Algorithm => "token-signature",
            TokenRefusal::NoExpiry
            | TokenRefusal::Expiry
            | TokenRefusal::NotBefore
            | TokenRefusal::Claims => "token-claims",
            TokenRefusal::Cut
            | TokenRefusal::Encoding
            | TokenRefusal::Header
            | TokenRefusal::Parts
            | TokenRefusal::Scheme
            | TokenRefusal::TooLong
            | TokenRefusal::WithHash => "token-malformed",
        }
    }
}

impl fmt::Display for TokenRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            TokenRefusal::Algorithm => "the token is not signed with HS256: make a new one",
            TokenRefusal::Claims => "the token's claims are not a JSON object: make a new one",
            TokenRefusal::Cut => "the token is cut off at its end: copy it again, whole",
            TokenRefusal::Deleted(id) => {
                return write!(
                    f,
                    "the token {id} was deleted, or another cloudcore made it: make a new one"
                );
            }
            TokenRefusal::Encoding => "the token is not clean base64url: copy it again, whole",
            TokenRefusal::Expired(at) => {
                return write!(f, "the token expired at {at}: make a new one");
            }
            TokenRefusal::Expiry => "the token's exp claim is not a number: make a new one",
            TokenRefusal::Header => "the token's header is not a JSON object: make a new one",
            TokenRefusal::Missing => "no token and no client certificate came with the request",
            TokenRefusal::NoExpiry => "the token has no exp claim: make a new one",
            TokenRefusal::NotBefore => "the token's nbf claim is not a number: make a new one",
            TokenRefusal::NotYetValid => "the token is not valid yet: check the clocks",
            TokenRefusal::OtherNode {
                pattern,
                node: Some(node),
            } => {
                return match pattern.exact() {
                    Some(only) => write!(f, "the token is for the node {only}, not {node}"),
                    None => write!(f, "the token is for nodes matching {pattern}, not {node}"),
                };
            }
            TokenRefusal::OtherNode {
                pattern,
                node: None,
            } => return write!(f, "the token is for nodes matching {pattern} only"),
            TokenRefusal::Parts => "the token does not have three parts: copy it again, whole",
            TokenRefusal::Scheme => "the authorization header is not the word Bearer and a token",
            TokenRefusal::Signature => {
                "the token was not signed by this cloud's authority: make a new one here"
            }
            TokenRefusal::TooLong => "the token is longer than 4096 bytes: make a new one",
            TokenRefusal::UsedUp(1) => {
                "the token is used up, it was good for one device: make a new one"
            }
            TokenRefusal::UsedUp(uses) => {
                return write!(
                    f,
                    "the token is used up, it was good for {uses} devices: make a new one"
                );
            }
            TokenRefusal::WithHash => {
                "the token still has the authority's hash in front: send the part behind it"
            }
        };
        f.write_str(text)
    }
}

impl std::error::Error for TokenRefusal {}
