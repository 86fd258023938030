//! Join tokens: minting and checking them.
//!
//! A token is the CA's hash, a dot, and a JWT whose MAC key is the CA's private key
//! (docs/protocol.md, "Join token"); so tokens made by a Go cloudcore with the same CA work here,
//! and ours work there.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::Value;

use super::Authority;
use crate::pki::certificate::Certificate;
use crate::pki::hash::Sha256Hash;
use crate::pki::key::PrivateKey;
use crate::system::clock::Timestamp;

/// Makes a join token that is good for `ttl` from now.
pub fn mint(authority: &Authority, ttl: Duration) -> String {
    let expires = authority.clock().now().plus(ttl);
    authority.token_key().mint(expires)
}

/// Checks the JWT of a request: a join token without the CA's hash in front.
pub fn check(authority: &Authority, jwt: &str, now: Timestamp) -> Result<Claims, TokenRefusal> {
    authority.token_key().check(jwt, now)
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

/// What a good token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    pub expires: Timestamp,
}

/// What tokens are made and checked with.
pub struct TokenKey {
    ca_hash: Sha256Hash,
    mac: hmac::Key,
}

impl TokenKey {
    pub fn new(ca: &Certificate, key: &PrivateKey) -> TokenKey {
        let mac = hmac::Key::new(hmac::HMAC_SHA256, &key.to_sec1_der());
        TokenKey {
            ca_hash: ca.hash(),
            mac,
        }
    }

    /// A whole token, CA hash included.
    pub fn mint(&self, expires: Timestamp) -> String {
        let claims = format!("{{\"exp\":{}}}", expires.unix());
        let signed = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(claims));
        let mac = URL_SAFE_NO_PAD.encode(hmac::sign(&self.mac, signed.as_bytes()));
        format!("{}.{signed}.{mac}", self.ca_hash)
    }

    /// Nothing in the claims is looked at before the signature is known to be ours.
    pub fn check(&self, jwt: &str, now: Timestamp) -> Result<Claims, TokenRefusal> {
        if jwt.len() > MAX_LENGTH {
            return Err(TokenRefusal::TooLong);
        }
        let parts: Vec<&str> = jwt.split('.').collect();
        let [header, claims, mac] = parts[..] else {
            let with_hash = parts.len() == 4 && parts[0].parse::<Sha256Hash>().is_ok();
            return Err(if with_hash {
                TokenRefusal::WithHash
            } else {
                TokenRefusal::Parts
            });
        };
        check_header(header)?;
        let signed = &jwt[..header.len() + 1 + claims.len()];
        hmac::verify(&self.mac, signed.as_bytes(), &decode(mac)?)
            .map_err(|_| TokenRefusal::Signature)?;
        check_claims(claims, now)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey")
            .field("ca_hash", &self.ca_hash)
            .finish_non_exhaustive()
    }
}

/// Why a token is refused. The token itself is never part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    Algorithm,
    Claims,
    Encoding,
    Expired(Timestamp),
    Expiry,
    Header,
    Missing,
    NoExpiry,
    NotBefore,
    NotYetValid,
    Parts,
    Scheme,
    Signature,
    TooLong,
    WithHash,
}

impl TokenRefusal {
    /// A short label for counters.
    pub fn reason(&self) -> &'static str {
        match self {
            TokenRefusal::Missing => "token-missing",
            TokenRefusal::Expired(_) => "token-expired",
            TokenRefusal::NotYetValid => "token-not-yet-valid",
            TokenRefusal::Signature | TokenRefusal::Algorithm => "token-signature",
            TokenRefusal::NoExpiry
            | TokenRefusal::Expiry
            | TokenRefusal::NotBefore
            | TokenRefusal::Claims => "token-claims",
            TokenRefusal::Encoding
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
            TokenRefusal::Parts => "the token does not have three parts: copy it again, whole",
            TokenRefusal::Scheme => "the authorization header is not the word Bearer and a token",
            TokenRefusal::Signature => {
                "the token was not signed by this cloud's authority: make a new one here"
            }
            TokenRefusal::TooLong => "the token is longer than 4096 bytes: make a new one",
            TokenRefusal::WithHash => {
                "the token still has the authority's hash in front: send the part behind it"
            }
        };
        f.write_str(text)
    }
}

impl std::error::Error for TokenRefusal {}

fn check_header(part: &str) -> Result<(), TokenRefusal> {
    if part == HEADER {
        return Ok(());
    }
    let header = serde_json::from_slice::<Value>(&decode(part)?).ok();
    let header = header
        .as_ref()
        .and_then(Value::as_object)
        .ok_or(TokenRefusal::Header)?;
    // `crit` names extensions that a reader must know (RFC 7515, 4.1.11); we know none.
    match header.get("alg").and_then(Value::as_str) {
        Some("HS256") if !header.contains_key("crit") => Ok(()),
        _ => Err(TokenRefusal::Algorithm),
    }
}

fn check_claims(part: &str, now: Timestamp) -> Result<Claims, TokenRefusal> {
    let claims = serde_json::from_slice::<Value>(&decode(part)?).ok();
    let claims = claims
        .as_ref()
        .and_then(Value::as_object)
        .ok_or(TokenRefusal::Claims)?;
    let expires = claims.get("exp").ok_or(TokenRefusal::NoExpiry)?;
    let expires = micros(expires).ok_or(TokenRefusal::Expiry)?;
    if now >= expires {
        return Err(TokenRefusal::Expired(expires));
    }
    if let Some(from) = claims.get("nbf")
        && now < micros(from).ok_or(TokenRefusal::NotBefore)?
    {
        return Err(TokenRefusal::NotYetValid);
    }
    Ok(Claims { expires })
}

/// Seconds since 1970, perhaps with a fraction. What a `Timestamp` can't hold becomes its end.
fn micros(seconds: &Value) -> Option<Timestamp> {
    if let Some(whole) = seconds.as_i64() {
        return Some(Timestamp::from_unix(whole));
    }
    let seconds = seconds.as_f64().filter(|seconds| seconds.is_finite())?;
    // A float turned into an integer stops at the integer's ends.
    Some(Timestamp::from_micros((seconds * 1e6) as i64))
}

/// Refuses padding, other alphabets, and bits behind the last byte: one token has one spelling.
fn decode(part: &str) -> Result<Vec<u8>, TokenRefusal> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenRefusal::Encoding)
}

/// {"alg":"HS256","typ":"JWT"}, as a Go cloudcore writes it.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// Bytes of a JWT; ours have about 110.
const MAX_LENGTH: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::testing::{recorded, recorded_at};

    fn recorded_key() -> TokenKey {
        let ca = Certificate::from_der(&recorded("token-ca/ca.der")).unwrap();
        TokenKey::new(
            &ca,
            &PrivateKey::from_der(&recorded("token-ca/cakey.der")).unwrap(),
        )
    }

    fn authorization(case: &str) -> Option<Vec<u8>> {
        let request = recorded(&format!("https-cases/{case}.req.bin"));
        let text = String::from_utf8_lossy(&request).into_owned();
        let head = text.split("\r\n\r\n").next().unwrap();
        let line = head
            .lines()
            .find_map(|line| line.strip_prefix("Authorization: "));
        line.map(|line| line.as_bytes().to_vec())
    }

    fn signed(header: &str, claims: &str) -> String {
        let both = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let mac = hmac::sign(&recorded_key().mac, both.as_bytes());
        format!("{both}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    fn check_now(claims: &str) -> Result<Claims, TokenRefusal> {
        recorded_key().check(&signed(r#"{"alg":"HS256"}"#, claims), recorded_at())
    }

    #[test]
    fn recorded_requests_get_our_answers() {
        let key = recorded_key();
        let late = Timestamp::from_unix(1_795_334_895);
        let table: &[(&str, Result<(), TokenRefusal>)] = &[
            ("01-ok-token", Ok(())),
            ("03-full-token-with-hash", Err(TokenRefusal::WithHash)),
            ("04-no-auth", Err(TokenRefusal::Missing)),
            ("05-empty-bearer", Err(TokenRefusal::Scheme)),
            ("06-bearer-two-spaces", Err(TokenRefusal::Scheme)),
            ("07-three-parts", Err(TokenRefusal::Scheme)),
            ("08-scheme-basic-same-token", Err(TokenRefusal::Scheme)),
            ("09-garbage-token", Err(TokenRefusal::Parts)),
            ("10-bad-signature", Err(TokenRefusal::Signature)),
            ("11-bad-signature-padding-bit", Err(TokenRefusal::Encoding)),
            ("12-expired-token", Err(TokenRefusal::Expired(late))),
            ("13-no-exp-claim", Err(TokenRefusal::NoExpiry)),
            ("14-exp-string", Err(TokenRefusal::Expiry)),
            ("15-exp-float", Ok(())),
            ("16-nbf-future", Err(TokenRefusal::NotYetValid)),
            ("17-iat-future", Ok(())),
            ("18-hs384", Err(TokenRefusal::Algorithm)),
            ("19-hs512", Err(TokenRefusal::Algorithm)),
            ("20-alg-none", Err(TokenRefusal::Algorithm)),
            ("21-alg-rs256-header", Err(TokenRefusal::Algorithm)),
            ("22-claims-not-json", Err(TokenRefusal::Claims)),
        ];
        for (case, expected) in table {
            let header = authorization(case);
            let got = bearer(header.as_deref()).and_then(|jwt| key.check(jwt, recorded_at()));
            assert_eq!(got.map(|_| ()), *expected, "{case}");
        }
    }

    #[test]
    fn a_recorded_token_is_made_again_byte_for_byte() {
        let token = recorded_key().mint(Timestamp::from_unix(1_795_420_809));
        assert_eq!(
            token.as_bytes(),
            recorded("token-ca/token.txt").trim_ascii()
        );
    }

    #[test]
    fn a_token_ends_at_the_second_it_names() {
        let key = recorded_key();
        let token = key.mint(recorded_at());
        let jwt = token.split_once('.').unwrap().1;
        let expired = Err(TokenRefusal::Expired(recorded_at()));
        assert_eq!(key.check(jwt, recorded_at()), expired);
        let before = recorded_at().minus(Duration::from_micros(1));
        assert_eq!(
            key.check(jwt, before),
            Ok(Claims {
                expires: recorded_at()
            })
        );
    }

    #[test]
    fn claims_of_every_shape() {
        let end = i64::MAX;
        assert!(check_now(&format!(r#"{{"exp":{end}}}"#)).is_ok());
        assert!(check_now(r#"{"exp":1e300,"jti":"x","node":"n","nbf":0.5}"#).is_ok());
        assert_eq!(check_now(r#"{"exp":1e999}"#), Err(TokenRefusal::Claims));
        assert_eq!(check_now(r#"{"exp":null}"#), Err(TokenRefusal::Expiry));
        assert_eq!(check_now(r#"{"exp":true}"#), Err(TokenRefusal::Expiry));
        assert_eq!(
            check_now(r#"{"exp":1e300,"nbf":"0"}"#),
            Err(TokenRefusal::NotBefore)
        );
        assert_eq!(check_now("[]"), Err(TokenRefusal::Claims));
        assert!(matches!(
            check_now(r#"{"exp":-1e300}"#),
            Err(TokenRefusal::Expired(_))
        ));
        assert!(matches!(
            check_now(r#"{"exp":0}"#),
            Err(TokenRefusal::Expired(_))
        ));
    }

    #[test]
    fn headers_of_every_shape() {
        let check = |header: &str| {
            let claims = r#"{"exp":1e300}"#;
            recorded_key()
                .check(&signed(header, claims), recorded_at())
                .map(|_| ())
        };
        assert_eq!(
            check(r#"{"typ":"anything","alg":"HS256","kid":"1"}"#),
            Ok(())
        );
        assert_eq!(
            check(r#"{"alg":"HS256","crit":["b64"]}"#),
            Err(TokenRefusal::Algorithm)
        );
        assert_eq!(check(r#"{"alg":"hs256"}"#), Err(TokenRefusal::Algorithm));
        assert_eq!(check(r#"{"alg":["HS256"]}"#), Err(TokenRefusal::Algorithm));
        assert_eq!(check("{}"), Err(TokenRefusal::Algorithm));
        assert_eq!(check("7"), Err(TokenRefusal::Header));
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let key = recorded_key();
        let token = key.mint(recorded_at().plus(Duration::from_secs(60)));
        let jwt = token.split_once('.').unwrap().1;
        assert!(key.check(jwt, recorded_at()).is_ok());
        for at in 0..jwt.len() {
            let mut bytes = jwt.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(
                key.check(&changed, recorded_at()).is_err(),
                "character {at}"
            );
        }
        assert_eq!(
            key.check(&format!("{jwt}="), recorded_at()),
            Err(TokenRefusal::Encoding)
        );
        let long = "a".repeat(MAX_LENGTH + 1);
        assert_eq!(key.check(&long, recorded_at()), Err(TokenRefusal::TooLong));
    }

    #[test]
    fn texts_never_hold_the_token() {
        let key = recorded_key();
        let token = key.mint(recorded_at());
        let secret = token.rsplit('.').next().unwrap();
        for jwt in [&token[65..], &token[..], &token[65..token.len() - 1]] {
            let refusal = key.check(jwt, recorded_at()).unwrap_err();
            assert!(!format!("{refusal} {refusal:?}").contains(secret));
        }
        assert!(!format!("{key:?}").contains("mac"));
    }
}
