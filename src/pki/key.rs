//! ECDSA private keys: read from SEC1 or PKCS#8, written as SEC1 the way KubeEdge does.

use std::fmt;
use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivateSec1KeyDer};
use rustls::sign::SigningKey;

use super::der::{BIT_STRING, EXPLICIT, INTEGER, OCTET_STRING, OID, SEQUENCE, tagged, take};
use super::hash::Sha256Hash;
use super::{MAX_INPUT, PkiError, pem};
use crate::system::secret::Secret;

/// A private key on P-256 or P-384 with its public half. Clones share it; `Debug` hides it.
#[derive(Clone)]
pub struct PrivateKey {
    inner: Arc<Inner>,
}

struct Inner {
    curve: Curve,
    pair: EcdsaKeyPair,
    sec1: Secret<Vec<u8>>,
    spki: Vec<u8>,
}

impl PrivateKey {
    /// A new P-256 key.
    pub fn generate() -> Result<PrivateKey, PkiError> {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(Curve::P256.signing(), &random)
            .map_err(|_| PkiError::Random)?;
        PrivateKey::from_der(pkcs8.as_ref())
    }

    /// The first private key of a PEM file; blocks of other kinds before and behind are skipped.
    pub fn from_pem(text: &[u8]) -> Result<PrivateKey, PkiError> {
        let block = pem::first(text, WHAT, |label| label.ends_with("PRIVATE KEY"))?;
        match block.label.as_str() {
            "ENCRYPTED PRIVATE KEY" => Err(PkiError::Encrypted),
            _ => PrivateKey::from_der(&block.der),
        }
    }

    /// SEC1 (`ECPrivateKey`) or PKCS#8; the public key must be in it.
    pub fn from_der(der: &[u8]) -> Result<PrivateKey, PkiError> {
        if der.len() > MAX_INPUT {
            return Err(PkiError::TooLarge { what: WHAT });
        }
        let parts = read_key(der)?;
        let scalar = parts
            .curve
            .pad(parts.scalar)
            .ok_or_else(|| PkiError::malformed(WHAT, "its number has the wrong length"))?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            parts.curve.signing(),
            &scalar,
            parts.point,
            &SystemRandom::new(),
        )
        .map_err(|error| PkiError::malformed(WHAT, error))?;
        Ok(PrivateKey {
            inner: Arc::new(Inner {
                curve: parts.curve,
                pair,
                sec1: write_sec1(parts.curve, &scalar, parts.point),
                spki: parts.curve.spki(parts.point),
            }),
        })
    }

    /// `ECPrivateKey` with curve and public key: 121 bytes for P-256, the very bytes that Go
    /// writes, which matters because join tokens are keyed with them (docs/protocol.md).
    pub fn sec1_der(&self) -> &[u8] {
        &self.inner.sec1
    }

    /// A PEM block `EC PRIVATE KEY`.
    pub fn to_sec1_pem(&self) -> Secret<String> {
        Secret::new(pem::encode("EC PRIVATE KEY", &self.inner.sec1))
    }

    /// The public half as SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.inner.spki
    }

    pub fn spki_hash(&self) -> Sha256Hash {
        Sha256Hash::of(&self.inner.spki)
    }

    pub(super) fn rustls_key(&self) -> Result<Arc<dyn SigningKey>, PkiError> {
        let der = PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(self.sec1_der()));
        rustls::crypto::ring::sign::any_ecdsa_type(&der).map_err(PkiError::Tls)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({:?}, hidden)", self.inner.curve)
    }
}

impl rcgen::PublicKeyData for PrivateKey {
    fn der_bytes(&self) -> &[u8] {
        self.inner.pair.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.inner.curve.rcgen_algorithm()
    }
}

impl rcgen::SigningKey for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self.inner.pair.sign(&SystemRandom::new(), message);
        let signature = signature.map_err(|_| rcgen::Error::RingUnspecified)?;
        Ok(signature.as_ref().to_vec())
    }
}

/// The two curves that keys may lie on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
}

impl Curve {
    /// The curve and the point (65 or 97 bytes) of a SubjectPublicKeyInfo. Only the one encoding
    /// that DER allows for a named curve and an uncompressed point is known.
    pub(super) fn of_spki(spki: &[u8]) -> Result<(Curve, &[u8]), PkiError> {
        for curve in [Curve::P256, Curve::P384] {
            if let Some(point) = spki.strip_prefix(curve.spki_prefix())
                && point.len() == curve.point_len()
            {
                return Ok((curve, point));
            }
        }
        Err(PkiError::KeyKind)
    }

    pub(super) fn rcgen_algorithm(self) -> &'static rcgen::SignatureAlgorithm {
        match self {
            Curve::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Curve::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        }
    }

    fn signing(self) -> &'static signature::EcdsaSigningAlgorithm {
        match self {
            Curve::P256 => &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
            Curve::P384 => &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
        }
    }

    fn spki(self, point: &[u8]) -> Vec<u8> {
        [self.spki_prefix(), point].concat()
    }

    /// All of a SubjectPublicKeyInfo up to the point.
    fn spki_prefix(self) -> &'static [u8] {
        match self {
            Curve::P256 => {
                b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
                  \x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00"
            }
            Curve::P384 => {
                b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
                  \x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00"
            }
        }
    }

    /// The curve's object identifier, without tag and length.
    fn oid(self) -> &'static [u8] {
        match self {
            Curve::P256 => b"\x2a\x86\x48\xce\x3d\x03\x01\x07",
            Curve::P384 => b"\x2b\x81\x04\x00\x22",
        }
    }

    fn from_oid(oid: &[u8]) -> Result<Curve, PkiError> {
        let mut curves = [Curve::P256, Curve::P384].into_iter();
        curves
            .find(|curve| curve.oid() == oid)
            .ok_or(PkiError::KeyKind)
    }

    fn scalar_len(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
        }
    }

    fn point_len(self) -> usize {
        1 + 2 * self.scalar_len()
    }

    /// A number at its full length; some writers leave leading zeros out, others add one.
    fn pad(self, scalar: &[u8]) -> Option<Secret<Vec<u8>>> {
        let digits = scalar.iter().position(|byte| *byte != 0)?;
        let digits = &scalar[digits..];
        let zeros = self.scalar_len().checked_sub(digits.len())?;
        Some(Secret::<Vec<u8>>::concat(&[&vec![0; zeros], digits]))
    }
}

struct KeyParts<'a> {
    curve: Curve,
    scalar: &'a [u8],
    point: &'a [u8],
}

fn read_key(der: &[u8]) -> Result<KeyParts<'_>, PkiError> {
    let malformed = || PkiError::malformed(WHAT, "not SEC1 and not PKCS#8");
    let (body, rest) = take(der, SEQUENCE).ok_or_else(malformed)?;
    if !rest.is_empty() {
        return Err(PkiError::malformed(WHAT, "more bytes behind it"));
    }
    let (_version, body) = take(body, INTEGER).ok_or_else(malformed)?;
    let Some((algorithm, body)) = take(body, SEQUENCE) else {
        return read_sec1(der, None);
    };
    let (kind, parameters) = take(algorithm, OID).ok_or_else(malformed)?;
    if kind != EC_PUBLIC_KEY {
        return Err(PkiError::KeyKind);
    }
    let (curve, _) = take(parameters, OID).ok_or(PkiError::KeyKind)?;
    let (sec1, _attributes) = take(body, OCTET_STRING).ok_or_else(malformed)?;
    read_sec1(sec1, Some(Curve::from_oid(curve)?))
}

/// `outer` is the curve that PKCS#8 names, where the inner name may be missing.
fn read_sec1(der: &[u8], outer: Option<Curve>) -> Result<KeyParts<'_>, PkiError> {
    let malformed = || PkiError::malformed(WHAT, "its ECPrivateKey is damaged");
    let (body, rest) = take(der, SEQUENCE).ok_or_else(malformed)?;
    let (version, body) = take(body, INTEGER).ok_or_else(malformed)?;
    if !rest.is_empty() || version != [1] {
        return Err(malformed());
    }
    let (scalar, mut body) = take(body, OCTET_STRING).ok_or(PkiError::KeyKind)?;
    let mut curve = outer;
    if let Some((parameters, behind)) = take(body, EXPLICIT) {
        let (oid, _) = take(parameters, OID).ok_or(PkiError::KeyKind)?;
        let inner = Curve::from_oid(oid)?;
        if outer.is_some_and(|outer| outer != inner) {
            return Err(malformed());
        }
        curve = Some(inner);
        body = behind;
    }
    let curve = curve.ok_or(PkiError::KeyKind)?;
    let (public, _) = take(body, EXPLICIT + 1).ok_or(PkiError::NoPublicKey)?;
    let (bits, _) = take(public, BIT_STRING).ok_or_else(malformed)?;
    let point = bits.strip_prefix(&[0]).ok_or_else(malformed)?;
    Ok(KeyParts {
        curve,
        scalar,
        point,
    })
}

fn write_sec1(curve: Curve, scalar: &[u8], point: &[u8]) -> Secret<Vec<u8>> {
    let number = Secret::new(tagged(OCTET_STRING, &[scalar]));
    let oid = tagged(OID, &[curve.oid()]);
    let bits = tagged(BIT_STRING, &[&[0], point]);
    let parts: [&[u8]; 4] = [
        &[INTEGER, 1, 1],
        &number,
        &tagged(EXPLICIT, &[&oid]),
        &tagged(EXPLICIT + 1, &[&bits]),
    ];
    Secret::new(tagged(SEQUENCE, &parts))
}

const WHAT: &str = "the private key";
const EC_PUBLIC_KEY: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::PublicKeyData;

    const GO_DER: &[u8] = include_bytes!("../../tests/vectors/token-ca/cakey.der");
    const GO_PEM: &[u8] = include_bytes!("../../tests/vectors/token-ca/cakey.pem");

    #[test]
    fn go_keys_come_back_byte_for_byte() {
        let key = PrivateKey::from_der(GO_DER).unwrap();
        assert_eq!(key.sec1_der(), GO_DER);
        assert_eq!(key.to_sec1_pem().as_bytes(), GO_PEM);
        let from_pem = PrivateKey::from_pem(GO_PEM).unwrap();
        assert_eq!(from_pem.spki_hash(), key.spki_hash());
        assert!(!format!("{key:?}").contains("99"), "{key:?}");
    }

    #[test]
    fn new_keys_have_the_form_of_go() {
        let key = PrivateKey::generate().unwrap();
        let der = key.sec1_der();
        assert_eq!(der.len(), 121);
        assert_eq!(der[..7], [0x30, 0x77, 2, 1, 1, 4, 0x20]);
        assert_eq!(PrivateKey::from_der(der).unwrap().spki(), key.spki());
        assert_ne!(PrivateKey::generate().unwrap().spki(), key.spki());
        let (curve, point) = Curve::of_spki(key.spki()).unwrap();
        assert_eq!((curve, point), (Curve::P256, key.der_bytes()));
    }

    #[test]
    fn pkcs8_and_p384_are_read() {
        for curve in [Curve::P256, Curve::P384] {
            let pkcs8 =
                EcdsaKeyPair::generate_pkcs8(curve.signing(), &SystemRandom::new()).unwrap();
            let key = PrivateKey::from_der(pkcs8.as_ref()).unwrap();
            let again = PrivateKey::from_pem(key.to_sec1_pem().as_bytes()).unwrap();
            assert_eq!(again.spki(), key.spki());
            let pem = pem::encode("PRIVATE KEY", pkcs8.as_ref());
            assert_eq!(
                PrivateKey::from_pem(pem.as_bytes()).unwrap().spki(),
                key.spki()
            );
            key.rustls_key().unwrap();
        }
    }

    #[test]
    fn a_key_may_stand_between_other_blocks() {
        let file = [
            pem::encode("EC PARAMETERS", b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07").as_bytes(),
            GO_PEM,
            &pem::encode("CERTIFICATE", b"anything").into_bytes(),
        ]
        .concat();
        assert_eq!(PrivateKey::from_pem(&file).unwrap().sec1_der(), GO_DER);
    }

    #[test]
    fn each_fault_has_its_error() {
        let read = PrivateKey::from_der;
        let mut other_point = GO_DER.to_vec();
        *other_point.last_mut().unwrap() ^= 1;
        assert!(matches!(
            read(&other_point),
            Err(PkiError::Malformed { .. })
        ));
        let long = [GO_DER, &[0]].concat();
        assert!(matches!(read(&long), Err(PkiError::Malformed { .. })));
        let bare = tagged(
            SEQUENCE,
            &[
                &[INTEGER, 1, 1],
                &tagged(OCTET_STRING, &[&[7; 32]]),
                &tagged(EXPLICIT, &[&tagged(OID, &[Curve::P256.oid()])]),
            ],
        );
        assert!(matches!(read(&bare), Err(PkiError::NoPublicKey)));
        let sealed = pem::encode("ENCRYPTED PRIVATE KEY", b"x");
        assert!(matches!(
            PrivateKey::from_pem(sealed.as_bytes()),
            Err(PkiError::Encrypted)
        ));
        let rsa =
            b"\x30\x12\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
        assert!(matches!(read(rsa), Err(PkiError::KeyKind)));
    }

    proptest! {
        #[test]
        fn damaged_keys_never_panic(at in 0..121usize, byte: u8, end in 0..122usize) {
            let mut der = GO_DER.to_vec();
            der[at] = byte;
            let _ = PrivateKey::from_der(&der);
            let _ = PrivateKey::from_der(&der[..end.min(121)]);
        }
    }
}
