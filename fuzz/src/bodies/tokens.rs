//! Join tokens on the edge, and the JWT inside of them as the cloud judges it.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kubeedge::authority::tokens::{TokenKey, bearer};
use kubeedge::pki::certificate::Certificate;
use kubeedge::pki::key::PrivateKey;
use kubeedge::protocol::token::JoinToken;
use kubeedge::system::clock::Timestamp;
use ring::hmac;
use serde_json::Value;

use super::assert_sentence;

const CA: &[u8] = include_bytes!("../../../tests/vectors/token-ca/ca.der");
const CA_KEY: &[u8] = include_bytes!("../../../tests/vectors/token-ca/cakey.der");
const LONGER_THAN_A_SENTENCE: usize = 200;
const NOW: Timestamp = Timestamp::from_unix(1_795_339_363);

/// A token as people paste it.
pub fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match text.parse::<JoinToken>() {
        Ok(token) => {
            assert_eq!(*token.secret_string(), text.trim());
            assert_eq!(
                JoinToken::new(*token.ca_hash(), token.jwt()).as_ref(),
                Ok(&token)
            );
            assert!(!format!("{token:?}").contains(token.jwt()));
            let _ = token.expires();
            // What is sent in a header cannot end the header.
            assert!(token.jwt().bytes().all(|byte| byte.is_ascii_graphic()));
        }
        Err(error) => {
            assert_sentence(&error.to_string());
            // Shorter ones may be words of the sentence itself, which a fuzzer learns.
            assert!(text.len() < LONGER_THAN_A_SENTENCE || !error.to_string().contains(text));
        }
    }
}

/// A JWT as anybody may send it, and one that we sign, so that what is behind the signature is reached as well.
pub fn jwt(data: &[u8]) {
    let key = key();
    if let Ok(jwt) = bearer(Some(data)) {
        assert!(
            key.check(jwt, NOW).is_err() || is_ours(jwt),
            "a forged token: {jwt}"
        );
    }
    let at = data
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(data.len());
    let (header, claims) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    let jwt = sign(header, claims);
    match key.check(&jwt, NOW) {
        Ok(_) => {
            let value = |part: &[u8]| serde_json::from_slice::<Value>(part).expect("JSON");
            assert_eq!(value(header)["alg"], "HS256");
            let end = value(claims)["exp"].as_f64().expect("a number");
            assert!(end >= NOW.unix() as f64, "{end} is over");
            for at in [0, jwt.len() / 2, jwt.len() - 1] {
                let mut changed = jwt.clone().into_bytes();
                changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
                let changed = String::from_utf8(changed).expect("it is ASCII");
                assert!(key.check(&changed, NOW).is_err(), "a changed character");
            }
        }
        Err(refusal) => {
            let sentence = refusal.to_string();
            assert_sentence(&sentence);
            let secret = jwt.rsplit('.').next().expect("a part");
            assert!(!sentence.contains(secret));
        }
    }
}

fn is_ours(jwt: &str) -> bool {
    let Some((signed, mac)) = jwt.rsplit_once('.') else {
        return false;
    };
    let Ok(mac) = URL_SAFE_NO_PAD.decode(mac) else {
        return false;
    };
    hmac::verify(mac_key(), signed.as_bytes(), &mac).is_ok()
}

fn sign(header: &[u8], claims: &[u8]) -> String {
    let both = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let mac = hmac::sign(mac_key(), both.as_bytes());
    format!("{both}.{}", URL_SAFE_NO_PAD.encode(mac))
}

fn mac_key() -> &'static hmac::Key {
    static KEY: OnceLock<hmac::Key> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = PrivateKey::from_der(CA_KEY).expect("the recorded key");
        hmac::Key::new(hmac::HMAC_SHA256, key.sec1_der())
    })
}

fn key() -> &'static TokenKey {
    static KEY: OnceLock<TokenKey> = OnceLock::new();
    KEY.get_or_init(|| {
        let ca = Certificate::from_der(CA).expect("the recorded CA");
        TokenKey::new(
            &ca,
            &PrivateKey::from_der(CA_KEY).expect("the recorded key"),
        )
    })
}
