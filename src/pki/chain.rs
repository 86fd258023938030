//! Judges certificates against a CA: signature, time and usage, by webpki.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, RootCertStore};

use super::certificate::{Certificate, parse};
use super::tls::provider;
use super::{PkiError, signature};
use crate::system::clock::Timestamp;

/// Whether one of `ca` signed this certificate for a client, and it is valid now. Unlike webpki
/// alone, it must name clientAuth.
pub fn verify_client(
    certificate: &Certificate,
    ca: &[Certificate],
    now: Timestamp,
) -> Result<(), PkiError> {
    client_verifier(ca)?
        .verify_client_cert(certificate.rustls_der(), &[], unix_time(now))
        .map_err(|error| reason(error, "clients"))?;
    if !certificate.allows_client_auth() {
        return Err(PkiError::Usage { wanted: "clients" });
    }
    Ok(())
}

/// Whether one of `ca` signed this certificate for a server, and it is valid now. The names in it
/// are not looked at.
pub fn verify_server(
    certificate: &Certificate,
    ca: &[Certificate],
    now: Timestamp,
) -> Result<(), PkiError> {
    verify_server_through(certificate, &[], ca, now)
}

/// As `verify_server`, for a server that also shows `shown` between its certificate and its CA.
pub fn verify_server_through(
    certificate: &Certificate,
    shown: &[Certificate],
    ca: &[Certificate],
    now: Timestamp,
) -> Result<(), PkiError> {
    let parsed = ParsedCertificate::try_from(certificate.rustls_der()).map_err(PkiError::Tls)?;
    let shown: Vec<_> = shown.iter().map(|it| it.rustls_der().clone()).collect();
    verify_server_cert_signed_by_trust_anchor(
        &parsed,
        &*roots(ca)?,
        &shown,
        unix_time(now),
        provider().signature_verification_algorithms.all,
    )
    .map_err(|error| reason(error, "servers"))
}

/// Whether the authority `by` vouches for the authority `ca`: has signed this very certificate of
/// it, which is valid now. webpki judges no authority by itself, so this is done here.
pub fn verify_authority(
    ca: &Certificate,
    by: &Certificate,
    now: Timestamp,
) -> Result<(), PkiError> {
    if !ca.is_ca() || !by.is_ca() {
        return Err(PkiError::NotCa);
    }
    let (parsed, issuer) = (parse(ca.der())?, parse(by.der())?);
    let named = parsed.issuer == issuer.subject;
    let signed =
        named && signature::is_good(by.spki(), parsed.algorithm, parsed.signed, parsed.signature)?;
    if !signed {
        return Err(PkiError::UnknownCa);
    }
    for certificate in [ca, by] {
        let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
        if now > not_after {
            return Err(PkiError::Expired { not_after, now });
        }
        if now < not_before {
            return Err(PkiError::NotYetValid { not_before, now });
        }
    }
    Ok(())
}

pub(super) fn client_verifier(ca: &[Certificate]) -> Result<Arc<dyn ClientCertVerifier>, PkiError> {
    WebPkiClientVerifier::builder_with_provider(roots(ca)?, provider())
        .build()
        .map_err(|error| PkiError::malformed("the list of authorities", error))
}

pub(super) fn roots(ca: &[Certificate]) -> Result<Arc<RootCertStore>, PkiError> {
    let mut store = RootCertStore::empty();
    for certificate in ca {
        store
            .add(certificate.rustls_der().clone())
            .map_err(PkiError::Tls)?;
    }
    Ok(Arc::new(store))
}

/// Times before 1970 become 1970: nothing is valid then either.
pub(super) fn unix_time(now: Timestamp) -> UnixTime {
    let seconds = u64::try_from(now.unix()).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

pub(super) fn timestamp(time: UnixTime) -> Timestamp {
    Timestamp::from_unix(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

/// All KubeEdge CAs have the same name, so a certificate of another one shows as a bad signature:
/// say what it is.
pub(super) fn foreign_ca(error: rustls::Error) -> rustls::Error {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            CertificateError::UnknownIssuer.into()
        }
        error => error,
    }
}

fn reason(error: rustls::Error, wanted: &'static str) -> PkiError {
    let rustls::Error::InvalidCertificate(error) = foreign_ca(error) else {
        return PkiError::UnknownCa;
    };
    match error {
        CertificateError::ExpiredContext { time, not_after } => PkiError::Expired {
            not_after: timestamp(not_after),
            now: timestamp(time),
        },
        CertificateError::NotValidYetContext { time, not_before } => PkiError::NotYetValid {
            not_before: timestamp(not_before),
            now: timestamp(time),
        },
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            PkiError::Usage { wanted }
        }
        CertificateError::UnknownIssuer => PkiError::UnknownCa,
        error => PkiError::Tls(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::certificate::Subject;
    use crate::pki::issue::{Issuer, new_ca};
    use crate::pki::key::PrivateKey;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn each_reason_is_told_apart() {
        let now = Timestamp::from_unix(1_800_000_000);
        let (ca, ca_key) = new_ca(now).unwrap();
        let issuer = Issuer::new(ca.clone(), ca_key).unwrap();
        let ca = [ca];
        let key = PrivateKey::generate().unwrap();
        let subject = Subject::node(&"a".parse().unwrap());
        let client = issuer
            .client(key.spki(), &subject, now, now.plus(HOUR))
            .unwrap();
        let server = issuer.server(&key, &[], &[], now, now.plus(HOUR)).unwrap();
        verify_client(&client, &ca, now).unwrap();
        verify_server(&server, &ca, now).unwrap();
        let early = now.minus(HOUR);
        let late = now.plus(2 * HOUR);
        for verify in [verify_client, verify_server] {
            let certificate = if verify(&client, &ca, now).is_ok() {
                &client
            } else {
                &server
            };
            let at = |ca: &[Certificate], now| verify(certificate, ca, now).unwrap_err();
            assert!(
                matches!(at(&ca, early), PkiError::NotYetValid { not_before, .. } if not_before == now)
            );
            assert!(matches!(at(&ca, late), PkiError::Expired { now, .. } if now == late));
            assert!(at(&ca, late).is_about_time());
            let (other, _) = new_ca(now).unwrap();
            assert!(matches!(at(&[other], now), PkiError::UnknownCa));
            assert!(matches!(
                at(&[], now),
                PkiError::UnknownCa | PkiError::Malformed { .. }
            ));
        }
        let usage = verify_client(&server, &ca, now);
        assert!(matches!(usage, Err(PkiError::Usage { wanted: "clients" })));
        let usage = verify_server(&client, &ca, now);
        assert!(matches!(usage, Err(PkiError::Usage { wanted: "servers" })));
        verify_client(&client, &ca, Timestamp::from_unix(-5)).unwrap_err();
    }

    #[test]
    fn a_certificate_for_everything_is_not_one_for_clients() {
        let now = Timestamp::from_unix(1_800_000_000);
        let (ca, ca_key) = new_ca(now).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = ca.subject().to_rcgen();
        let signer = rcgen::Issuer::new(params.clone(), ca_key);
        let key = PrivateKey::generate().unwrap();
        let made = params.signed_by(&key, &signer).unwrap();
        let certificate = Certificate::from_der(made.der()).unwrap();
        verify_server(&certificate, std::slice::from_ref(&ca), now).unwrap();
        let refused = verify_client(&certificate, &[ca], now);
        assert!(matches!(refused, Err(PkiError::Usage { .. })));
    }
}
