//! Keys, certificate requests, certificates and the TLS configurations made of them.

use std::error::Error;
use std::fmt;

use crate::system::clock::Timestamp;

#[cfg(feature = "edge")]
pub mod blake2b;
pub mod certificate;
pub mod chain;
pub mod csr;
mod der;
mod explain;
pub mod foreign;
pub mod hash;
pub mod issue;
pub mod key;
#[cfg(feature = "edge")]
pub mod minisign;
pub mod pem;
mod signature;
mod subject;
#[cfg(feature = "upgrade")]
pub mod sums;
pub mod tls;
mod verifier;
mod x509;

/// What can be wrong with a key, a request, a certificate or a chain.
#[derive(Debug)]
pub enum PkiError {
    /// The bytes are not what they should be; `why` says what was found.
    Malformed { what: &'static str, why: String },
    /// Larger than anything KubeEdge ever writes.
    TooLarge { what: &'static str },
    /// Neither P-256 nor P-384.
    KeyKind,
    /// A private key file without the public key in it.
    NoPublicKey,
    /// A private key file that needs a password.
    Encrypted,
    /// A request that was not signed with the key it carries.
    NotSelfSigned,
    /// The private key belongs to another certificate.
    KeyMismatch,
    /// Used as an authority, but not marked as one.
    NotCa,
    /// The text can't be written into a certificate.
    Name(String),
    /// A time that a certificate can't hold.
    Validity,
    /// The system gives no random bytes (yet).
    Random,
    Expired {
        not_after: Timestamp,
        now: Timestamp,
    },
    NotYetValid {
        not_before: Timestamp,
        now: Timestamp,
    },
    /// Signed by none of the authorities asked about.
    UnknownCa,
    /// Good, but made for something else.
    Usage { wanted: &'static str },
    /// What rustls refused.
    Tls(rustls::Error),
}

impl PkiError {
    /// Whether the clock of this machine can be the cause, so that trying again later can help.
    pub fn is_about_time(&self) -> bool {
        matches!(
            self,
            PkiError::Expired { .. } | PkiError::NotYetValid { .. }
        )
    }

    fn malformed(what: &'static str, why: impl fmt::Display) -> PkiError {
        PkiError::Malformed {
            what,
            why: why.to_string(),
        }
    }
}

impl fmt::Display for PkiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PkiError::Malformed { what, why } => {
                write!(
                    f,
                    "{what} cannot be read ({why}): put the original file back"
                )
            }
            PkiError::TooLarge { what } => write!(
                f,
                "{what} is larger than {} KiB: check that it is the right file",
                MAX_INPUT / 1024
            ),
            PkiError::KeyKind => f.write_str(
                "the key is neither ECDSA P-256 nor P-384: make one of these (P-256 is usual)",
            ),
            PkiError::NoPublicKey => f.write_str(
                "the private key comes without its public key: rewrite it with `openssl ec -in FILE`",
            ),
            PkiError::Encrypted => f.write_str(
                "the private key is encrypted: decrypt it with `openssl pkcs8 -in FILE -out NEW`",
            ),
            PkiError::NotSelfSigned => f.write_str(
                "the certificate request is not signed with its own key: make it again",
            ),
            PkiError::KeyMismatch => f.write_str(
                "the private key does not belong to the certificate: put files of one pair together",
            ),
            PkiError::NotCa => f.write_str(
                "the certificate is not one of an authority (CA:TRUE is missing): use the CA's own",
            ),
            PkiError::Name(name) => {
                write!(f, "{name:?} cannot stand in a certificate: use another name")
            }
            PkiError::Validity => {
                f.write_str("no certificate can hold this validity: check clock and lifetime")
            }
            PkiError::Random => f.write_str("the system has no random bytes yet: try again"),
            PkiError::Expired { not_after, now } => write!(
                f,
                "the certificate expired at {not_after} and the clock says {now}: renew it, or set the clock"
            ),
            PkiError::NotYetValid { not_before, now } => write!(
                f,
                "the certificate is valid from {not_before} and the clock says {now}: set the clock"
            ),
            PkiError::UnknownCa => {
                f.write_str("the certificate is not signed by this CA: use one that it issued")
            }
            PkiError::Usage { wanted } => {
                write!(f, "the certificate is not made for {wanted}: use one that is")
            }
            PkiError::Tls(error) => write!(f, "the TLS set-up is refused ({error}): check the files"),
        }
    }
}

impl Error for PkiError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            PkiError::Tls(error) => Some(error),
            _ => None,
        }
    }
}

/// Most bytes of a PEM or DER input; KubeEdge's own are below 1 KiB.
pub const MAX_INPUT: usize = 64 * 1024;
