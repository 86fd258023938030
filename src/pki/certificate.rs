//! X.509 certificates: what we read from them.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use super::hash::Sha256Hash;
use super::x509::{self, Extensions, Parsed};
use super::{MAX_INPUT, PkiError, pem};
use crate::system::clock::Timestamp;

pub use super::subject::Subject;

/// A certificate, parsed once. Clones share it.
#[derive(Clone)]
pub struct Certificate {
    inner: Arc<Inner>,
}

struct Inner {
    der: CertificateDer<'static>,
    subject: Subject,
    not_before: Timestamp,
    not_after: Timestamp,
    serial: String,
    spki: Vec<u8>,
    extensions: Extensions,
}

impl Certificate {
    /// One certificate and nothing behind it. Its signature is not looked at: see `chain`.
    pub fn from_der(der: &[u8]) -> Result<Certificate, PkiError> {
        let parsed = parse(der)?;
        let subject = Subject::read(parsed.subject);
        let inner = Inner {
            der: CertificateDer::from(der.to_vec()),
            subject: subject.map_err(|fault| PkiError::malformed(WHAT, fault))?,
            not_before: parsed.not_before,
            not_after: parsed.not_after,
            serial: hex(parsed.serial),
            spki: parsed.spki.to_vec(),
            extensions: parsed.extensions,
        };
        Ok(Certificate {
            inner: Arc::new(inner),
        })
    }

    /// The first `CERTIFICATE` block of a PEM file.
    pub fn from_pem(text: &[u8]) -> Result<Certificate, PkiError> {
        let block = pem::first(text, WHAT, |label| label == "CERTIFICATE")?;
        Certificate::from_der(&block.der)
    }

    pub fn der(&self) -> &[u8] {
        &self.inner.der
    }

    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE", self.der())
    }

    pub fn subject(&self) -> Subject {
        self.inner.subject.clone()
    }

    /// Who has issued it, by its own words: for telling a person, as chains are judged by the bytes.
    pub fn issuer(&self) -> Subject {
        let parsed = parse(self.der()).ok();
        let name = parsed.and_then(|parsed| Subject::read(parsed.issuer).ok());
        name.unwrap_or_default()
    }

    pub fn not_before(&self) -> Timestamp {
        self.inner.not_before
    }

    pub fn not_after(&self) -> Timestamp {
        self.inner.not_after
    }

    /// Lower-case hexadecimal, without leading zeros.
    pub fn serial(&self) -> String {
        self.inner.serial.clone()
    }

    /// The public key as SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.inner.spki
    }

    pub fn spki_hash(&self) -> Sha256Hash {
        Sha256Hash::of(&self.inner.spki)
    }

    /// The hash of the DER: for a CA, the first part of its join tokens.
    pub fn hash(&self) -> Sha256Hash {
        Sha256Hash::of(self.der())
    }

    pub fn is_ca(&self) -> bool {
        self.inner.extensions.is_ca
    }

    /// Whether the extended key usages name clientAuth; a certificate without usages does not.
    pub fn allows_client_auth(&self) -> bool {
        self.inner.extensions.client_auth
    }

    /// As `allows_client_auth`, for serverAuth.
    pub fn allows_server_auth(&self) -> bool {
        self.inner.extensions.server_auth
    }

    /// The DNS names of the SAN, without the empty one that KubeEdge writes by default.
    pub fn dns_names(&self) -> &[String] {
        &self.inner.extensions.dns_names
    }

    pub fn ip_addresses(&self) -> &[IpAddr] {
        &self.inner.extensions.ip_addresses
    }

    /// The SubjectKeyIdentifier.
    pub fn key_id(&self) -> Option<&[u8]> {
        self.inner.extensions.key_id.as_deref()
    }

    pub(super) fn rustls_der(&self) -> &CertificateDer<'static> {
        &self.inner.der
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Certificate) -> bool {
        self.der() == other.der()
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.inner.subject)
            .field("serial", &self.inner.serial)
            .finish_non_exhaustive()
    }
}

/// The whole structure; nothing may stand behind it.
pub(super) fn parse(der: &[u8]) -> Result<Parsed<'_>, PkiError> {
    if der.len() > MAX_INPUT {
        return Err(PkiError::TooLarge { what: WHAT });
    }
    x509::certificate(der).map_err(|fault| PkiError::malformed(WHAT, fault))
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match digits.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    }
}

const WHAT: &str = "the certificate";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CA: &[u8] = include_bytes!("../../tests/vectors/token-ca/ca.der");
    const CA_PEM: &[u8] = include_bytes!("../../tests/vectors/token-ca/ca.pem");
    const SERVING: &[u8] = include_bytes!("../../tests/vectors/token-ca/cloudcore.der");
    const TOKEN: &str = include_str!("../../tests/vectors/token-ca/token.txt");
    const NODE: &[u8] = include_bytes!("../../tests/vectors/https-cases/01-ok-token.resp.bin");

    #[test]
    fn the_ca_of_go() {
        let ca = Certificate::from_pem(CA_PEM).unwrap();
        assert_eq!(ca, Certificate::from_der(CA).unwrap());
        assert_eq!(ca.to_pem().as_bytes(), CA_PEM);
        assert_eq!(ca.serial(), "400");
        assert_eq!(ca.not_before().to_string(), "2026-11-22T08:00:09Z");
        assert_eq!(ca.not_after().to_string(), "2126-07-21T08:00:09Z");
        assert!(ca.is_ca() && ca.allows_client_auth() && ca.allows_server_auth());
        assert_eq!(ca.key_id().unwrap().len(), 20);
        assert_eq!(TOKEN.split('.').next().unwrap(), ca.hash().to_string());
        assert_eq!(ca.subject().common_name.as_deref(), Some("KubeEdge"));
    }

    #[test]
    fn the_serving_certificate_of_go() {
        let serving = Certificate::from_der(SERVING).unwrap();
        assert_eq!(serving.dns_names(), ["localhost"]);
        assert_eq!(
            serving.ip_addresses(),
            ["127.0.0.1".parse::<IpAddr>().unwrap()]
        );
        assert!(!serving.is_ca() && !serving.allows_client_auth());
        assert!(serving.key_id().is_none());
        assert_eq!(serving.subject().node_name(), None);
    }

    #[test]
    fn a_node_certificate_of_go() {
        let body = NODE.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let node = Certificate::from_der(&NODE[body..]).unwrap();
        let name = node.subject().node_name().unwrap();
        assert_eq!(name.as_str(), "neg-node");
        assert_eq!(node.subject(), Subject::node(&name));
        assert_eq!(node.serial(), "546e0d43b4bebe27");
        assert!(node.allows_client_auth() && !node.is_ca());
    }

    #[test]
    fn more_than_one_certificate_is_refused() {
        let two = [CA, SERVING].concat();
        assert!(matches!(
            Certificate::from_der(&two),
            Err(PkiError::Malformed { .. })
        ));
        assert!(Certificate::from_pem(b"").is_err());
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0..SERVING.len(), byte: u8, end in 0..SERVING.len()) {
            let mut der = SERVING.to_vec();
            der[at] = byte;
            let _ = Certificate::from_der(&der);
            let _ = Certificate::from_der(&der[..end]);
        }
    }
}
