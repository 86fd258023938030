//! What our side of a handshake thinks of the other side's certificate.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};

use super::chain::{foreign_ca, timestamp, unix_time};
use super::tls::{Presented, TrustCell, peer_certificate, provider};

/// A client's judgement of a server: by these roots and the name dialled, or none at all.
pub(super) struct ServerGate {
    roots: Option<Arc<RootCertStore>>,
    /// The certificate is judged at a moment at which it is valid.
    but_for_time: bool,
    presented: Presented,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerGate {
    pub(super) fn new(roots: Option<Arc<RootCertStore>>, presented: Presented) -> ServerGate {
        ServerGate {
            roots,
            but_for_time: false,
            presented,
            algorithms: provider().signature_verification_algorithms,
        }
    }

    pub(super) fn but_for_time(self) -> ServerGate {
        ServerGate {
            but_for_time: true,
            ..self
        }
    }
}

impl ServerCertVerifier for ServerGate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.presented.keep(end_entity);
        let now = match self.presented.certificate() {
            Some(certificate) if self.but_for_time => unix_time(
                timestamp(now)
                    .max(certificate.not_before())
                    .min(certificate.not_after()),
            ),
            _ => now,
        };
        if let Some(roots) = &self.roots {
            let parsed = ParsedCertificate::try_from(end_entity)?;
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                roots,
                intermediates,
                now,
                self.algorithms.all,
            )
            .map_err(foreign_ca)?;
            verify_server_name(&parsed, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for ServerGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerGate")
    }
}

/// A server's judgement of a client. The proof that the client holds the key of the certificate it
/// presents is asked for in every case: certificates are public.
pub(super) struct ClientGate {
    required: Option<Arc<TrustCell>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientGate {
    pub(super) fn optional() -> ClientGate {
        ClientGate {
            required: None,
            algorithms: provider().signature_verification_algorithms,
        }
    }

    pub(super) fn required(trust: Arc<TrustCell>) -> ClientGate {
        ClientGate {
            required: Some(trust),
            ..ClientGate::optional()
        }
    }
}

impl ClientCertVerifier for ClientGate {
    fn client_auth_mandatory(&self) -> bool {
        self.required.is_some()
    }

    /// None: the authorities may change, and every client has one certificate only.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let Some(required) = &self.required else {
            return Ok(ClientCertVerified::assertion());
        };
        let verified = required
            .verifier()
            .verify_client_cert(end_entity, intermediates, now)
            .map_err(foreign_ca)?;
        let named = peer_certificate(std::slice::from_ref(end_entity))
            .is_some_and(|certificate| certificate.allows_client_auth());
        match named {
            true => Ok(verified),
            false => Err(CertificateError::InvalidPurpose.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for ClientGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.required {
            Some(_) => f.write_str("ClientGate(required)"),
            None => f.write_str("ClientGate(optional)"),
        }
    }
}
