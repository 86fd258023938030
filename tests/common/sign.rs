//! What a cloud's CA can sign, made by the tests themselves: tokens, and certificates of the past.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kubeedge::pki::certificate::{Certificate, Subject};
use kubeedge::pki::issue::Issuer;
use kubeedge::pki::key::PrivateKey;
use kubeedge::system::clock::Timestamp;
use ring::hmac;

/// A CA whose `ca.pem` and `ca.key` lie in a folder.
pub struct Ca {
    pub certificate: Certificate,
    key: PrivateKey,
}

impl Ca {
    pub fn of(folder: &Path) -> Ca {
        let read = |name: &str| std::fs::read(folder.join(name)).expect("the CA can be read");
        Ca {
            certificate: Certificate::from_pem(&read("ca.pem")).expect("a certificate"),
            key: PrivateKey::from_pem(&read("ca.key")).expect("a key"),
        }
    }

    /// A token that ends in so many seconds; negative: it has ended.
    pub fn token(&self, seconds: i64) -> String {
        let part = |json: String| URL_SAFE_NO_PAD.encode(json);
        let head = part(r#"{"alg":"HS256","typ":"JWT"}"#.to_owned());
        let ends = now().unix() + seconds;
        let signed = format!("{head}.{}", part(format!("{{\"exp\":{ends}}}")));
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.sec1_der());
        let mac = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
        format!("{}.{signed}.{mac}", self.certificate.hash())
    }

    /// A node's key and certificate, valid from and until so many seconds from now.
    pub fn node(&self, node: &str, from: i64, until: i64) -> (PrivateKey, Certificate) {
        let key = PrivateKey::generate().expect("a key");
        let subject = Subject::node(&node.parse().expect("a node name"));
        let ca_key = PrivateKey::from_der(self.key.sec1_der()).expect("the same key");
        let issuer = Issuer::new(self.certificate.clone(), ca_key).expect("an issuer");
        let (from, until) = (from_now(from), from_now(until));
        let certificate = issuer.client(key.spki(), &subject, from, until);
        (key, certificate.expect("a certificate"))
    }
}

pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.expect("the clock is past 1970").as_secs();
    Timestamp::from_unix(i64::try_from(seconds).expect("it fits"))
}

fn from_now(seconds: i64) -> Timestamp {
    let length = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        now().minus(length)
    } else {
        now().plus(length)
    }
}
