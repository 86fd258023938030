//! The answers to requests that get no certificate.

use std::fmt;

use super::tokens::TokenRefusal;
use crate::pki::PkiError;
use crate::store::StoreError;
use crate::system::clock::Timestamp;

/// Why no certificate is issued. The text is what the sender reads.
#[derive(Debug)]
pub enum Refusal {
    /// The client certificate does not count: another CA, not now, not for clients.
    Certificate(PkiError),
    /// The client certificate is not this node's.
    CertificateName,
    /// The request can't be read, or is not signed with its own P-256 or P-384 key.
    Csr(PkiError),
    /// The client certificate has ended, and its key is not the one that the node has now.
    LateKey,
    /// The client certificate names no node, and such are not allowed.
    Legacy,
    /// Another key holds the name, and names are protected.
    NameTaken,
    /// There is no node name, or it is not the request's.
    NodeName,
    /// The keys of the node were revoked at this moment.
    Revoked(Timestamp),
    /// Signing failed, which is our fault.
    Signing(PkiError),
    /// The certificate could not be recorded, so nobody gets it.
    Store(StoreError),
    /// The request asks for a subject that no node has.
    Subject,
    /// The name has another key now.
    Superseded,
    Token(TokenRefusal),
    /// The usages that are asked for can't be read, or clientAuth is not among them.
    Usages,
}

impl Refusal {
    /// The HTTP status to answer with.
    pub fn status(&self) -> u16 {
        match self {
            Refusal::Csr(_) | Refusal::Subject | Refusal::Usages => 400,
            Refusal::Certificate(_)
            | Refusal::CertificateName
            | Refusal::LateKey
            | Refusal::Legacy => 401,
            Refusal::Token(refusal) => refusal.status(),
            Refusal::NodeName | Refusal::Revoked(_) | Refusal::Superseded => 403,
            Refusal::NameTaken => 409,
            Refusal::Signing(_) => 500,
            Refusal::Store(_) => 503,
        }
    }

    /// A short label for counters.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::Certificate(_) => "certificate",
            Refusal::CertificateName => "certificate-name",
            Refusal::Csr(_) => "csr",
            Refusal::LateKey => "late-key",
            Refusal::Legacy => "legacy-certificate",
            Refusal::NameTaken => "name-taken",
            Refusal::NodeName => "node-name",
            Refusal::Revoked(_) => "revoked",
            Refusal::Signing(_) => "signing",
            Refusal::Store(_) => "store",
            Refusal::Subject => "subject",
            Refusal::Superseded => "superseded",
            Refusal::Token(refusal) => refusal.reason(),
            Refusal::Usages => "usages",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Certificate(error) => write!(f, "the client certificate is refused: {error}"),
            Refusal::CertificateName => {
                f.write_str("the client certificate is not that of the node in the request")
            }
            Refusal::Csr(error) => write!(f, "the certificate request is refused: {error}"),
            Refusal::LateKey => f.write_str(
                "the client certificate has ended, and its key is no longer that of the node: \
                 join again with a token",
            ),
            Refusal::Legacy => f.write_str(
                "the client certificate names no node: join again with a token, or allow \
                 legacyCertificates on the cloud",
            ),
            Refusal::NameTaken => f.write_str(
                "another key holds this node name: choose another name, or have it freed on the \
                 cloud",
            ),
            Refusal::NodeName => f.write_str("node name does not match the request"),
            Refusal::Revoked(at) => write!(
                f,
                "the keys of this node were revoked at {at}: it needs a fresh token"
            ),
            // The cause is for our log, not for whoever asks.
            Refusal::Signing(_) => f.write_str("the cloud can't sign now: see its log"),
            Refusal::Store(_) => f.write_str("the cloud can't record certificates now: try later"),
            Refusal::Subject => f.write_str(
                "the certificate request's subject is not O=system:nodes, CN=system:node:NAME: \
                 make one that is",
            ),
            Refusal::Superseded => {
                f.write_str("another key holds the name of this node now: it needs a fresh token")
            }
            Refusal::Token(refusal) => refusal.fmt(f),
            Refusal::Usages => {
                f.write_str("ExtKeyUsages is not a list of numbers with 2 (clientAuth) in it")
            }
        }
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Refusal::Certificate(error) | Refusal::Csr(error) | Refusal::Signing(error) => {
                Some(error)
            }
            Refusal::Store(error) => Some(error),
            Refusal::Token(refusal) => Some(refusal),
            _ => None,
        }
    }
}

impl From<TokenRefusal> for Refusal {
    fn from(refusal: TokenRefusal) -> Refusal {
        Refusal::Token(refusal)
    }
}
