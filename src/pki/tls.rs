//! TLS configurations for both ends, on ring, with our clock and without session resumption.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustls::client::Resumption;
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::crypto::{CryptoProvider, KeyProvider};
use rustls::pki_types::{CertificateDer, DnsName, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, Error, ServerConfig, WantsVerifier,
    WantsVersions,
};

use super::PkiError;
use super::certificate::Certificate;
use super::chain::{client_verifier, roots, unix_time};
use super::key::PrivateKey;
use super::verifier::{ClientGate, ServerGate};
use crate::system::clock::Clock;
use crate::system::names::Host;

pub use super::explain::{explain, is_about_time, is_refused_issuer, terminated};

/// The one provider of cryptography: ring.
///
/// What needs SHA-384 comes last, as it does for Go: P-256 gains nothing by it, and processors that
/// have instructions for SHA-256 have none for its longer sister.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let make = || {
        let mut provider = CryptoProvider {
            key_provider: &OwnKeys,
            ..rustls::crypto::ring::default_provider()
        };
        provider.cipher_suites.sort_by_key(|suite| {
            let name = suite.suite();
            name.as_str().is_some_and(|name| name.ends_with("_SHA384"))
        });
        Arc::new(provider)
    };
    PROVIDER.get_or_init(make).clone()
}

/// Keys of our own are ECDSA. What signs by others is then no part of an executable that meets no key of anybody else.
#[derive(Debug)]
struct OwnKeys;

impl KeyProvider for OwnKeys {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        any_ecdsa_type(&key)
    }
}

/// For a client that trusts `ca` and, where `identity` is given, shows that certificate. The
/// server's certificate must name the address or name that is dialled.
pub fn client(
    ca: &[Certificate],
    identity: Option<(&Certificate, &PrivateKey)>,
    clock: &Clock,
) -> Result<Arc<ClientConfig>, PkiError> {
    client_observed(ca, identity, clock, &Presented::default())
}

/// As `client`, and keeps the certificate that a server presents, whether it is accepted or not.
pub fn client_observed(
    ca: &[Certificate],
    identity: Option<(&Certificate, &PrivateKey)>,
    clock: &Clock,
    presented: &Presented,
) -> Result<Arc<ClientConfig>, PkiError> {
    let gate = ServerGate::new(Some(roots(ca)?), presented.clone());
    client_with(gate, identity, clock)
}

/// As `client_observed` without an identity, but a server's certificate that is not valid now is no
/// fault. Only for asking that server for the time, which says nothing more than it is known to say:
/// see `system::clock`.
pub fn client_but_for_time(
    ca: &[Certificate],
    clock: &Clock,
    presented: &Presented,
) -> Result<Arc<ClientConfig>, PkiError> {
    let gate = ServerGate::new(Some(roots(ca)?), presented.clone());
    client_with(gate.but_for_time(), None, clock)
}

/// For a client that takes any certificate, as long as the server holds its key. Only for what is
/// checked in another way afterwards: the CA itself, by the hash in the token.
pub fn client_unverified(clock: &Clock) -> Result<Arc<ClientConfig>, PkiError> {
    client_with(ServerGate::new(None, Presented::default()), None, clock)
}

/// For a server with the certificate that is in the cell at the time of each handshake.
pub fn server(
    cell: &Arc<ServingCell>,
    clients: ClientAuth,
    clock: &Clock,
) -> Result<Arc<ServerConfig>, PkiError> {
    let gate = match clients {
        ClientAuth::Optional => ClientGate::optional(),
        ClientAuth::Required(trust) => ClientGate::required(trust),
    };
    let time = Arc::new(ClockTime(clock.clone()));
    let mut config = versions(ServerConfig::builder_with_details(provider(), time))?
        .with_client_cert_verifier(Arc::new(gate))
        .with_cert_resolver(cell.clone());
    // Nodes connect rarely and stay long: a cache would cost more memory than it saves time.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// What a server asks of its clients.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// A certificate is asked for, and any is taken, from anyone who holds its key: the caller must
    /// judge it with `chain::verify_client` before it counts for anything.
    Optional,
    /// A certificate of one of the authorities in the cell, made for clients and valid now.
    Required(Arc<TrustCell>),
}

/// The authorities whose clients a server takes, which can be changed while connections go on.
pub struct TrustCell(Mutex<Arc<dyn ClientCertVerifier>>);

impl TrustCell {
    pub fn new(ca: &[Certificate]) -> Result<Arc<TrustCell>, PkiError> {
        Ok(Arc::new(TrustCell(Mutex::new(client_verifier(ca)?))))
    }

    /// For all handshakes from now on.
    pub fn set(&self, ca: &[Certificate]) -> Result<(), PkiError> {
        *locked(&self.0) = client_verifier(ca)?;
        Ok(())
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        locked(&self.0).clone()
    }
}

impl fmt::Debug for TrustCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrustCell")
    }
}

/// A server's certificate and key, which can be changed while connections go on.
pub struct ServingCell {
    current: Mutex<Serving>,
}

#[derive(Clone)]
struct Serving {
    certificate: Certificate,
    certified: Arc<CertifiedKey>,
}

impl ServingCell {
    /// `chain` is shown behind the certificate.
    pub fn new(
        certificate: &Certificate,
        key: &PrivateKey,
        chain: &[Certificate],
    ) -> Result<Arc<ServingCell>, PkiError> {
        let current = Mutex::new(Serving::new(certificate, key, chain)?);
        Ok(Arc::new(ServingCell { current }))
    }

    /// For all handshakes from now on; connections that are up stay as they are.
    pub fn set(
        &self,
        certificate: &Certificate,
        key: &PrivateKey,
        chain: &[Certificate],
    ) -> Result<(), PkiError> {
        let serving = Serving::new(certificate, key, chain)?;
        *locked(&self.current) = serving;
        Ok(())
    }

    /// Shows this behind the certificate, which stays.
    pub fn show(&self, chain: &[Certificate]) {
        let mut current = locked(&self.current);
        let shown = std::iter::once(&current.certificate).chain(chain);
        let shown: Vec<_> = shown.map(|it| it.rustls_der().clone()).collect();
        let key = current.certified.key.clone();
        current.certified = Arc::new(CertifiedKey::new(shown, key));
    }

    pub fn certificate(&self) -> Certificate {
        locked(&self.current).certificate.clone()
    }
}

impl Serving {
    fn new(
        certificate: &Certificate,
        key: &PrivateKey,
        chain: &[Certificate],
    ) -> Result<Serving, PkiError> {
        Ok(Serving {
            certificate: certificate.clone(),
            certified: certified_key(certificate, key, chain)?,
        })
    }
}

impl ResolvesServerCert for ServingCell {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(locked(&self.current).certified.clone())
    }
}

impl fmt::Debug for ServingCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServingCell({:?})", self.certificate())
    }
}

/// Where a client leaves the certificate that the last server presented.
#[derive(Clone, Debug, Default)]
pub struct Presented {
    certificate: Arc<Mutex<Option<Certificate>>>,
}

impl Presented {
    pub fn certificate(&self) -> Option<Certificate> {
        locked(&self.certificate).clone()
    }

    pub(super) fn keep(&self, der: &CertificateDer<'_>) {
        *locked(&self.certificate) = Certificate::from_der(der).ok();
    }
}

/// The first certificate of what a peer presented, where it can be read.
pub fn peer_certificate(chain: &[CertificateDer<'_>]) -> Option<Certificate> {
    Certificate::from_der(chain.first()?).ok()
}

/// The host as rustls wants it; addresses are checked against the addresses in a certificate.
pub fn server_name(host: &Host) -> Result<ServerName<'static>, PkiError> {
    match host {
        Host::Ip(address) => Ok(ServerName::from(*address)),
        Host::Name(name) => DnsName::try_from(name.clone())
            .map(ServerName::DnsName)
            .map_err(|_| PkiError::Name(name.clone())),
    }
}

/// Whether a peer's certificate is by none of the authorities that are trusted.
pub fn is_unknown_issuer(error: &rustls::Error) -> bool {
    *error == unknown_issuer()
}

/// Whether a client was asked for a certificate and has shown none.
pub fn is_without_certificate(error: &rustls::Error) -> bool {
    *error == rustls::Error::NoCertificatesPresented
}

pub fn unknown_issuer() -> rustls::Error {
    CertificateError::UnknownIssuer.into()
}

/// The TLS error inside of an I/O error, for `explain`.
pub fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn client_with(
    gate: ServerGate,
    identity: Option<(&Certificate, &PrivateKey)>,
    clock: &Clock,
) -> Result<Arc<ClientConfig>, PkiError> {
    let certified = identity.map(|(certificate, key)| certified_key(certificate, key, &[]));
    client_showing(gate, certified.transpose()?, clock)
}

/// For a client with this judgement of servers, which shows this certificate, whatever its key is.
pub(super) fn client_showing(
    gate: ServerGate,
    identity: Option<Arc<CertifiedKey>>,
    clock: &Clock,
) -> Result<Arc<ClientConfig>, PkiError> {
    let time = Arc::new(ClockTime(clock.clone()));
    let builder = versions(ClientConfig::builder_with_details(provider(), time))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(gate));
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(certified) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
    };
    // One connection lives for days: there is nothing to resume.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn versions<S: rustls::ConfigSide>(
    builder: ConfigBuilder<S, WantsVersions>,
) -> Result<ConfigBuilder<S, WantsVerifier>, PkiError> {
    builder
        .with_safe_default_protocol_versions()
        .map_err(PkiError::Tls)
}

fn certified_key(
    certificate: &Certificate,
    key: &PrivateKey,
    chain: &[Certificate],
) -> Result<Arc<CertifiedKey>, PkiError> {
    if certificate.spki() != key.spki() {
        return Err(PkiError::KeyMismatch);
    }
    let shown = std::iter::once(certificate).chain(chain);
    let chain = shown.map(|it| it.rustls_der().clone()).collect();
    Ok(Arc::new(CertifiedKey::new(chain, key.rustls_key()?)))
}

/// A panic elsewhere leaves these values whole: they change in one assignment.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct ClockTime(Clock);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.now()))
    }
}

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
