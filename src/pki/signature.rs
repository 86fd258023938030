//! Signatures of certificates and requests: ECDSA with P-256 or P-384, as all of KubeEdge's are.

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

use super::PkiError;
use super::key::Curve;

/// Whether the key (a SubjectPublicKeyInfo) has signed these bytes. `algorithm` is the content of
/// an OBJECT IDENTIFIER; one that is not known makes no signature good.
pub(super) fn is_good(
    spki: &[u8],
    algorithm: &[u8],
    signed: &[u8],
    signature: &[u8],
) -> Result<bool, PkiError> {
    let (curve, point) = Curve::of_spki(spki)?;
    let sha256 = match algorithm {
        ECDSA_SHA256 => true,
        ECDSA_SHA384 => false,
        _ => return Ok(false),
    };
    let verify: &dyn VerificationAlgorithm = match (curve, sha256) {
        (Curve::P256, true) => &signature::ECDSA_P256_SHA256_ASN1,
        (Curve::P256, false) => &signature::ECDSA_P256_SHA384_ASN1,
        (Curve::P384, true) => &signature::ECDSA_P384_SHA256_ASN1,
        (Curve::P384, false) => &signature::ECDSA_P384_SHA384_ASN1,
    };
    let key = UnparsedPublicKey::new(verify, point);
    Ok(key.verify(signed, signature).is_ok())
}

/// Object identifiers, without tag and length.
const ECDSA_SHA256: &[u8] = b"\x2a\x86\x48\xce\x3d\x04\x03\x02";
const ECDSA_SHA384: &[u8] = b"\x2a\x86\x48\xce\x3d\x04\x03\x03";
