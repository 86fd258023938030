//! The join token: the hash that pins the cloud's CA, and the bearer secret behind it.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::pki::hash::Sha256Hash;
use crate::system::clock::Timestamp;
use crate::system::pattern::NodePattern;
use crate::system::secret::Secret;

/// A join token, `<hex SHA-256 of the CA certificate's DER>.<JWT>` (docs/protocol.md, "Token").
///
/// The JWT part is a secret: `Debug` hides it, there is no `Display`, and it is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    ca_hash: Sha256Hash,
    jwt: Secret<String>,
}

/// Why a text is no join token; never contains the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    Empty,
    TooLong,
    Parts(usize),
    Hash,
    EmptyPart,
    Character,
    /// What stands between its last two dots can't be read.
    Claims,
    /// Its last part is shorter than a signature.
    Cut,
}

impl JoinToken {
    pub fn new(ca_hash: Sha256Hash, jwt: &str) -> Result<Self, TokenError> {
        Secret::<String>::concat(&[&ca_hash.to_string(), ".", jwt]).parse()
    }

    /// The CA certificate that this token vouches for.
    pub fn ca_hash(&self) -> &Sha256Hash {
        &self.ca_hash
    }

    /// The part that is sent as `Authorization: Bearer …`.
    pub fn jwt(&self) -> &str {
        &self.jwt
    }

    /// The whole token, for the one file that is meant to hold it.
    pub fn secret_string(&self) -> Secret<String> {
        Secret::<String>::concat(&[&self.ca_hash.to_string(), ".", &self.jwt])
    }

    /// When the token ends by its own claims, which only the cloud can verify.
    pub fn expires(&self) -> Option<Timestamp> {
        let claims = claims(&self.jwt)?;
        let exp = claims.get("exp")?;
        let seconds = exp.as_i64().or_else(|| exp.as_f64().map(|e| e as i64))?;
        Some(Timestamp::from_unix(seconds))
    }

    /// Which nodes it is for by its own claims; none: all, as far as it says.
    pub fn nodes(&self) -> Option<NodePattern> {
        claims(&self.jwt)?.get("node")?.as_str()?.parse().ok()
    }

    /// Whether it is for a certain number of certificates, by its own claims.
    pub fn is_counted(&self) -> bool {
        claims(&self.jwt).is_some_and(|claims| claims.contains_key("uses"))
    }
}

fn claims(jwt: &str) -> Option<Map<String, Value>> {
    let payload = URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        if text.len() > MAX_LENGTH {
            return Err(TokenError::TooLong);
        }
        let parts: Vec<&str> = text.split('.').collect();
        if parts.len() != 4 {
            return Err(TokenError::Parts(parts.len()));
        }
        let ca_hash = parts[0].parse().map_err(|_| TokenError::Hash)?;
        let jwt = &text[parts[0].len() + 1..];
        if parts.iter().any(|part| part.is_empty()) {
            return Err(TokenError::EmptyPart);
        }
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
        if !jwt.bytes().all(allowed) {
            return Err(TokenError::Character);
        }
        if parts[3].len() < SIGNATURE {
            return Err(TokenError::Cut);
        }
        if claims(jwt).is_none() {
            return Err(TokenError::Claims);
        }
        Ok(JoinToken {
            ca_hash,
            jwt: Secret::new(jwt.to_owned()),
        })
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({}.***)", self.ca_hash)
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let again = "get a fresh one with `keadm gettoken` on the cloud side and paste it whole";
        match self {
            TokenError::Empty => write!(f, "the token is empty: {again}"),
            TokenError::TooLong => {
                write!(
                    f,
                    "the token is longer than {MAX_LENGTH} characters: {again}"
                )
            }
            TokenError::Parts(1) => write!(f, "the token has no dot in it: {again}"),
            TokenError::Parts(n) => write!(f, "the token has {n} parts instead of 4: {again}"),
            TokenError::Hash => {
                write!(
                    f,
                    "the token does not begin with a CA hash of 64 hex digits: {again}"
                )
            }
            TokenError::EmptyPart => write!(f, "the token has an empty part: {again}"),
            TokenError::Claims => write!(f, "the token is damaged in its middle: {again}"),
            TokenError::Cut => write!(f, "the token is cut off at its end: {again}"),
            TokenError::Character => {
                write!(
                    f,
                    "the token contains a character that no token has: {again}"
                )
            }
        }
    }
}

impl std::error::Error for TokenError {}

/// Characters of the shortest signature that there is, that of HS256.
const SIGNATURE: usize = 43;

/// A real token has about 170 characters; claims may grow, but not without bound.
const MAX_LENGTH: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "b6d5e3c1a0f94857b6d5e3c1a0f94857b6d5e3c1a0f94857b6d5e3c1a0f94857";
    const JWT: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3OTU0MjU3NTV9.\
                       c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U";

    #[test]
    fn a_token_splits_into_hash_and_bearer() {
        let token: JoinToken = format!(" {HASH}.{JWT}\n").parse().unwrap();
        assert_eq!(token.ca_hash().to_string(), HASH);
        assert_eq!(token.jwt(), JWT);
        assert_eq!(*token.secret_string(), format!("{HASH}.{JWT}"));
        assert_eq!(token.expires(), Some(Timestamp::from_unix(1_795_425_755)));
        assert!(!format!("{token:?}").contains("c2VjcmV0"));
    }

    #[test]
    fn what_a_token_says_of_its_nodes() {
        let nodes = |claims: &str| {
            let claims = URL_SAFE_NO_PAD.encode(claims);
            let parts: Vec<&str> = JWT.split('.').collect();
            let text = format!("{HASH}.{}.{claims}.{}", parts[0], parts[2]);
            text.parse::<JoinToken>().unwrap().nodes()
        };
        let counted = format!(
            "{HASH}.e30.{}.{}",
            URL_SAFE_NO_PAD.encode(r#"{"uses":1}"#),
            "s".repeat(43)
        );
        assert!(counted.parse::<JoinToken>().unwrap().is_counted());
        assert_eq!(nodes(r#"{"exp":1}"#), None);
        assert_eq!(nodes(r#"{"exp":1,"node":7}"#), None);
        assert_eq!(
            nodes(r#"{"exp":1,"node":"rack1-*"}"#),
            "rack1-*".parse().ok()
        );
    }

    #[test]
    fn each_fault_is_named_and_the_token_is_not_printed() {
        let cases = [
            ("", TokenError::Empty),
            ("  \n", TokenError::Empty),
            ("abcsecret", TokenError::Parts(1)),
            (JWT, TokenError::Parts(3)),
            (&format!("{HASH}.{JWT}.secret"), TokenError::Parts(5)),
            (&format!("{}.{JWT}", &HASH[1..]), TokenError::Hash),
            (&format!("{}.{JWT}", HASH.to_uppercase()), TokenError::Hash),
            (&format!("{HASH}.secret..x"), TokenError::EmptyPart),
            (&format!("{HASH}.secret.a b.x"), TokenError::Character),
            (
                &format!("{HASH}.secret.a.{}", "x".repeat(43)),
                TokenError::Claims,
            ),
            (
                &format!("{HASH}.{}", &JWT[..JWT.len() - 1]),
                TokenError::Cut,
            ),
            (
                &format!("{HASH}.secret.a.{}", "x".repeat(5000)),
                TokenError::TooLong,
            ),
        ];
        for (text, fault) in cases {
            let error = text.parse::<JoinToken>().unwrap_err();
            assert_eq!(error, fault, "{text}");
            assert!(!error.to_string().contains("secret"));
        }
    }
}
