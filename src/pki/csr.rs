//! Certificate requests (PKCS#10): made by the edge, judged by the cloud.

use super::certificate::Subject;
use super::key::PrivateKey;
use super::{MAX_INPUT, PkiError, signature, x509};

/// A request for this key under this subject, as DER. It asks for no extensions: the cloud decides
/// what a certificate may be used for.
pub fn create(key: &PrivateKey, subject: &Subject) -> Result<Vec<u8>, PkiError> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = subject.to_rcgen();
    let request = params
        .serialize_request(key)
        .map_err(|_| PkiError::Random)?;
    Ok(request.der().to_vec())
}

/// A request whose sender holds the private key. Extensions that it asks for are not kept.
#[derive(Clone, Debug)]
pub struct Csr {
    subject: Subject,
    spki: Vec<u8>,
}

impl Csr {
    /// Takes DER with nothing behind it, a P-256 or P-384 key, and a signature by that key.
    pub fn parse(der: &[u8]) -> Result<Csr, PkiError> {
        if der.len() > MAX_INPUT {
            return Err(PkiError::TooLarge { what: WHAT });
        }
        let malformed = |fault| PkiError::malformed(WHAT, fault);
        let request = x509::request(der).map_err(malformed)?;
        let signed = signature::is_good(
            request.spki,
            request.algorithm,
            request.info,
            request.signature,
        );
        if !signed? {
            return Err(PkiError::NotSelfSigned);
        }
        Ok(Csr {
            subject: Subject::read(request.subject).map_err(malformed)?,
            spki: request.spki.to_vec(),
        })
    }

    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The key as SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }
}

const WHAT: &str = "the certificate request";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::key::Curve;
    use crate::pki::pem;
    use proptest::prelude::*;

    /// The body of a recorded HTTP request.
    fn body(request: &[u8]) -> &[u8] {
        let end = request.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        &request[end + 4..]
    }

    macro_rules! case {
        ($name:literal) => {
            body(include_bytes!(concat!("../../tests/vectors/", $name)))
        };
    }

    #[test]
    fn requests_of_go_are_read() {
        let csr = Csr::parse(case!("edge-mini/https-002.c2s.bin")).unwrap();
        assert_eq!(csr.subject().node_name().unwrap().as_str(), "edge-mini");
        assert_eq!(csr.subject().country.as_deref(), Some("CN"));
        let csr = Csr::parse(case!("https-cases/34-csr-p384.req.bin")).unwrap();
        assert_eq!(csr.spki().len(), 120);
    }

    #[test]
    fn wanted_extensions_do_not_matter() {
        let csr = Csr::parse(case!("https-cases/35-csr-with-san-and-ca.req.bin")).unwrap();
        assert!(csr.subject().node_name().is_some());
    }

    #[test]
    fn bad_requests_are_refused() {
        let parse = |der| Csr::parse(der).unwrap_err();
        assert!(matches!(
            parse(case!("https-cases/28-csr-bad-signature.req.bin")),
            PkiError::NotSelfSigned
        ));
        assert!(matches!(
            parse(case!("https-cases/33-csr-rsa.req.bin")),
            PkiError::KeyKind
        ));
        for malformed in [
            case!("https-cases/26-garbage-csr.req.bin"),
            case!("https-cases/27-pem-csr.req.bin"),
            case!("https-cases/29-csr-trailing-data.req.bin"),
            b"",
        ] {
            assert!(matches!(parse(malformed), PkiError::Malformed { .. }));
        }
        let no_name = Csr::parse(case!("https-cases/30-csr-no-cn.req.bin")).unwrap();
        assert_eq!(no_name.subject().common_name, None);
        let large = vec![0x30; MAX_INPUT + 1];
        assert!(matches!(parse(&large), PkiError::TooLarge { .. }));
    }

    #[test]
    fn ours_has_the_bytes_of_go_but_for_key_and_signature() {
        let theirs = case!("edge-mini/https-002.c2s.bin");
        let subject = Csr::parse(theirs).unwrap().subject().clone();
        let key = PrivateKey::generate().unwrap();
        let ours = create(&key, &subject).unwrap();
        let csr = Csr::parse(&ours).unwrap();
        assert_eq!((csr.subject(), csr.spki()), (&subject, key.spki()));
        let until_point = |der: &[u8]| {
            let (_, point) = Curve::of_spki(Csr::parse(der).unwrap().spki())
                .map(|(curve, point)| (curve, point.to_vec()))
                .unwrap();
            let at = der.windows(point.len()).position(|w| w == point).unwrap();
            // The outer length varies with the signature's.
            (der[4..at].to_vec(), der[at + point.len()..][..14].to_vec())
        };
        assert_eq!(until_point(&ours), until_point(theirs));
    }

    #[test]
    fn a_name_that_comes_twice_names_nobody() {
        let der = &pem::blocks(TWO_ORGANIZATIONS.as_bytes()).unwrap()[0].der;
        let csr = Csr::parse(der).unwrap();
        assert!(csr.subject().ambiguous);
        assert_eq!(csr.subject().node_name(), None);
    }

    proptest! {
        /// Only what is outside of the signed part may change, and it says nothing.
        #[test]
        fn damage_changes_nobody(at in any::<proptest::sample::Index>(), flip in 1..=255u8) {
            let good = case!("edge-mini/https-002.c2s.bin");
            let mut der = good.to_vec();
            der[at.index(good.len())] ^= flip;
            if let Ok(csr) = Csr::parse(&der) {
                let good = Csr::parse(good).unwrap();
                prop_assert_eq!((csr.subject, csr.spki), (good.subject, good.spki));
            }
        }
    }

    /// By openssl: `-subj /O=system:nodes/O=system:masters/CN=system:node:a`.
    const TWO_ORGANIZATIONS: &str = "\
-----BEGIN CERTIFICATE REQUEST-----
MIIBAzCBqgIBADBIMRUwEwYDVQQKDAxzeXN0ZW06bm9kZXMxFzAVBgNVBAoMDnN5
c3RlbTptYXN0ZXJzMRYwFAYDVQQDDA1zeXN0ZW06bm9kZTphMFkwEwYHKoZIzj0C
AQYIKoZIzj0DAQcDQgAEZCA2uTC7GzpoUjEMtXqzPgRayvyeuhlQa2tOmkLhybjG
F6yomHJ/d03A2yiW6WKTzmss7MUWz8PTWkPLHSENZaAAMAoGCCqGSM49BAMCA0gA
MEUCICUqM2Pl4spNVvL20W0fs9FXe/HdgYXUuV7+TI+aRavBAiEAxquJoCPJhEDQ
GebfZFeyoKenU2975e3IQlQE4IktXc4=
-----END CERTIFICATE REQUEST-----
";
}
