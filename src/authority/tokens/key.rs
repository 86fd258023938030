//! The form of a token: how it is signed, and what is believed of one that comes back.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

use super::TokenRefusal;
use crate::pki::certificate::Certificate;
use crate::pki::hash::Sha256Hash;
use crate::pki::key::PrivateKey;
use crate::store::{TokenId, TokenRecord};
use crate::system::clock::Timestamp;

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    pub expires: Timestamp,
    /// Under which its record is kept; none for tokens that were made without one. An id in
    /// another form than ours is somebody else's, and says nothing here.
    pub id: Option<TokenId>,
    /// The CA whose key has signed it, and which it pins therefore; none in tests only.
    pub ca: Option<Sha256Hash>,
}

/// What tokens are made and checked with.
pub struct TokenKey {
    ca_hash: Sha256Hash,
    mac: hmac::Key,
    /// Of the other CA of a rotation, whose tokens are good as well.
    other: Option<(Sha256Hash, hmac::Key)>,
}

impl TokenKey {
    pub fn new(ca: &Certificate, key: &PrivateKey) -> TokenKey {
        let mac = hmac::Key::new(hmac::HMAC_SHA256, key.sec1_der());
        TokenKey {
            ca_hash: ca.hash(),
            mac,
            other: None,
        }
    }

    /// Takes the tokens of another CA as well.
    pub fn and_of(self, ca: &Certificate, key: &PrivateKey) -> TokenKey {
        let mac = hmac::Key::new(hmac::HMAC_SHA256, key.sec1_der());
        TokenKey {
            other: Some((ca.hash(), mac)),
            ..self
        }
    }

    /// The CA whose key has made this signature.
    fn maker(&self, signed: &[u8], mac: &[u8]) -> Option<Sha256Hash> {
        let own = Some((self.ca_hash, &self.mac));
        let other = self.other.as_ref().map(|(hash, key)| (*hash, key));
        let mut keys = own.into_iter().chain(other);
        let maker = keys.find(|(_, key)| hmac::verify(key, signed, mac).is_ok());
        maker.map(|(hash, _)| hash)
    }

    /// A whole token, CA hash included, of which no record is kept.
    pub fn mint(&self, expires: Timestamp) -> String {
        self.signed(&json!({"exp": expires.unix()}))
    }

    /// The token that belongs to a record. What may be done with it stands in the token too, for
    /// the device; but what counts is the record.
    pub fn mint_for(&self, record: &TokenRecord) -> String {
        let mut claims = json!({"exp": record.expires.unix(), "jti": record.id.as_str()});
        if let Some(pattern) = &record.nodes {
            claims[NODE_CLAIM] = pattern.as_str().into();
        }
        if let Some(uses) = record.uses {
            claims[USES_CLAIM] = uses.into();
        }
        self.signed(&claims)
    }

    fn signed(&self, claims: &Value) -> String {
        let signed = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
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
        // A token that lost its end may have lost a part of a character too.
        if mac.len() < MAC_LENGTH {
            return Err(TokenRefusal::Cut);
        }
        let ca = self.maker(signed.as_bytes(), &decode(mac)?);
        let ca = ca.ok_or(TokenRefusal::Signature)?;
        Ok(Claims {
            ca: Some(ca),
            ..check_claims(claims, now)?
        })
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey")
            .field("ca_hash", &self.ca_hash)
            .finish_non_exhaustive()
    }
}

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
    let id = claims.get("jti").and_then(Value::as_str);
    let id = id.and_then(|id| id.parse().ok());
    Ok(Claims {
        expires,
        id,
        ca: None,
    })
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

/// Which nodes a token is for, and how often it may be used.
const NODE_CLAIM: &str = "node";
const USES_CLAIM: &str = "uses";

/// Characters of a whole signature.
const MAC_LENGTH: usize = 43;

/// Bytes of a JWT; ours have about 110.
const MAX_LENGTH: usize = 4096;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::authority::testing::{recorded, recorded_at};
    use crate::authority::tokens::bearer;
    use crate::store::testing::token_record;

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
    fn what_a_record_says_stands_in_its_token() {
        let key = recorded_key();
        let mut record = token_record(7, Some(3));
        record.nodes = "rack1-*".parse().ok();
        let token = key.mint_for(&record);
        let jwt = token.split_once('.').unwrap().1;
        let claims = Claims {
            expires: record.expires,
            id: Some(record.id.clone()),
            ca: Some(key.ca_hash),
        };
        assert_eq!(key.check(jwt, recorded_at()), Ok(claims));
        let payload = jwt.split('.').nth(1).unwrap();
        let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        assert_eq!(
            payload,
            r#"{"exp":1795421400,"jti":"0707070707","node":"rack1-*","uses":3}"#
        );
        // Somebody else's ids say nothing here.
        for jti in [r#""x""#, "7", r#""0f8fad5b-d9cb-469f-a165-70867728950e""#] {
            let claims = check_now(&format!(r#"{{"exp":1e300,"jti":{jti}}}"#)).unwrap();
            assert_eq!(claims.id, None);
        }
    }

    #[test]
    fn a_token_that_lost_its_end_is_called_so() {
        let key = recorded_key();
        let token = key.mint(recorded_at().plus(Duration::from_secs(60)));
        let jwt = token.split_once('.').unwrap().1;
        let last = jwt.rfind('.').unwrap() + 1;
        for length in last..jwt.len() {
            assert_eq!(
                key.check(&jwt[..length], recorded_at()),
                Err(TokenRefusal::Cut)
            );
        }
        for length in 1..last - 1 {
            assert_eq!(
                key.check(&jwt[..length], recorded_at()),
                Err(TokenRefusal::Parts)
            );
        }
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
                expires: recorded_at(),
                id: None,
                ca: Some(key.ca_hash),
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
