//! Join tokens: making them, checking them, and what each may be used for.
//!
//! A token is the CA's hash, a dot, and a JWT whose MAC key is the CA's private key
//! (docs/protocol.md, "Join token"); so tokens made by a Go cloudcore with the same CA work here,
//! and ours work there. Ours have an id besides, under which the store keeps a record of them: a
//! token of ours whose record is gone is refused.

mod create;
mod facts;
mod grant;
mod key;
mod refusal;

pub(super) use grant::{check_uses, wanted};

pub use create::{CreateError, LONGEST, Made, Wish, create, current};
pub use facts::{TokenFacts, TokenUser};
pub use key::{Claims, TokenKey};
pub use refusal::TokenRefusal;

use super::Authority;
use crate::system::clock::Timestamp;

/// Checks the JWT of a request: a join token without the CA's hash in front. Whether the token is
/// good for a certificate, `Authority::issue` says.
pub fn check(authority: &Authority, jwt: &str, now: Timestamp) -> Result<Claims, TokenRefusal> {
    authority.standing().tokens.check(jwt, now)
}

/// Takes the JWT out of an `Authorization` header, which must say `Bearer`, a space and the JWT.
pub fn bearer(authorization: Option<&[u8]>) -> Result<&str, TokenRefusal> {
    let header = authorization.ok_or(TokenRefusal::Missing)?;
    let header = std::str::from_utf8(header).map_err(|_| TokenRefusal::Scheme)?;
    let (scheme, jwt) = header.split_once(' ').unwrap_or((header, ""));
    if header.is_empty() {
        return Err(TokenRefusal::Missing);
    }
    if !scheme.eq_ignore_ascii_case("Bearer") || jwt.is_empty() || jwt.contains(' ') {
        return Err(TokenRefusal::Scheme);
    }
    Ok(jwt)
}
