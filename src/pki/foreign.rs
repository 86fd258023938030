//! What others have issued: bundles of authorities, and certificates for clients with keys of any kind
//! that rustls knows.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};

use super::tls::{Presented, client_showing};
use super::verifier::ServerGate;
use super::{PkiError, pem};
use crate::system::clock::Clock;
use crate::system::files::Files;
use crate::system::secret::Secret;

/// The certificates of a PEM text that can be authorities, at least one. The caller bounds the text.
/// What else is in it, and what can't be read, is left out: bundles of systems hold oddities.
pub fn authorities(text: &[u8]) -> Result<Arc<RootCertStore>, PkiError> {
    let mut store = RootCertStore::empty();
    let mut fault = None;
    for certificate in certificates(text)? {
        if let Err(error) = store.add(certificate) {
            fault = Some(PkiError::Tls(error));
        }
    }
    match (store.is_empty(), fault) {
        (false, _) => Ok(Arc::new(store)),
        (true, Some(fault)) => Err(fault),
        (true, None) => Err(PkiError::malformed(CA, "it holds no PEM block CERTIFICATE")),
    }
}

/// The authorities that this machine trusts, as PEM; none when it has no list of them.
pub fn of_this_machine(files: &Files) -> Option<Secret<Vec<u8>>> {
    let mut known = BUNDLES.iter().map(Path::new);
    known.find_map(|path| files.read(path, MAX_BUNDLE).ok().map(Secret::new))
}

/// A client's certificate, those between it and its authority behind it, and the key, from PEM: ECDSA
/// or Ed25519 or RSA; PKCS#8, PKCS#1 or SEC1.
pub fn identity(certificate: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, PkiError> {
    let chain = certificates(certificate)?;
    if chain.is_empty() {
        let why = "it holds no PEM block CERTIFICATE";
        return Err(PkiError::malformed("the client's certificate", why));
    }
    let block = pem::first(key, KEY, |label| label.ends_with("PRIVATE KEY"))?;
    let der = block.der.to_vec();
    let der: PrivateKeyDer<'static> = match block.label.as_str() {
        "ENCRYPTED PRIVATE KEY" => return Err(PkiError::Encrypted),
        "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(der).into(),
        "EC PRIVATE KEY" => PrivateSec1KeyDer::from(der).into(),
        _ => PrivatePkcs8KeyDer::from(der).into(),
    };
    let key = any_supported_type(&der);
    let key = key.map_err(|error| PkiError::malformed(KEY, error))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(PkiError::KeyMismatch)
        }
        Err(error) if !matches!(error, rustls::Error::InconsistentKeys(_)) => {
            Err(PkiError::malformed("the client's certificate", error))
        }
        _ => Ok(Arc::new(certified)),
    }
}

/// For a client that trusts these authorities and shows this certificate, if any. `presented` keeps
/// what the server shows.
pub fn client(
    authorities: Arc<RootCertStore>,
    identity: Option<Arc<CertifiedKey>>,
    clock: &Clock,
    presented: &Presented,
) -> Result<Arc<ClientConfig>, PkiError> {
    let gate = ServerGate::new(Some(authorities), presented.clone());
    client_showing(gate, identity, clock)
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let blocks = pem::blocks_of_any(text)?.into_iter();
    let blocks = blocks.filter(|block| block.label == "CERTIFICATE");
    Ok(blocks
        .map(|it| CertificateDer::from(it.der.to_vec()))
        .collect())
}

/// Bytes of a list of authorities. Those of systems have a quarter of it.
pub const MAX_BUNDLE: usize = 1024 * 1024;

/// Where systems keep the authorities that they trust.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

const CA: &str = "the CA's file";
const KEY: &str = "the client's key";
