//! Why the certificate API gave nothing usable, and whether waiting may help.

use std::fmt;
use std::time::Duration;

use crate::protocol::portal::Portal;
use crate::system::names::Endpoint;
use crate::system::network::NetError;

/// Why the certificate API gave nothing usable.
#[derive(Debug)]
pub enum EnrollError {
    /// No connection.
    NoWay {
        endpoint: Endpoint,
        source: NetError,
    },
    /// No answer in time, a broken answer: worth trying again.
    Unreachable { endpoint: Endpoint, cause: String },
    /// TLS failed: the sentence names the cause and what to do.
    Tls { endpoint: Endpoint, cause: String },
    /// The server's certificate is by no CA that is trusted; the sentence says so.
    Foreign { endpoint: Endpoint, cause: String },
    /// Something answers that is no cloud.
    Portal { endpoint: Endpoint, portal: Portal },
    /// The same, where a clock that is wrong, here or there, can be the cause.
    Time { endpoint: Endpoint, cause: String },
    /// The CA is not the one that the token or the identity vouches for.
    CaMismatch {
        endpoint: Endpoint,
        pinned: String,
        met: String,
    },
    /// 400, 401 or 403: the token or the certificate is not accepted.
    Denied {
        endpoint: Endpoint,
        status: u16,
        said: String,
    },
    /// 409: the name belongs to another key.
    NameTaken { endpoint: Endpoint, said: String },
    /// Any other status.
    Status {
        endpoint: Endpoint,
        status: u16,
        said: String,
        /// When the cloud wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// A 200 that is no certificate.
    Unusable { endpoint: Endpoint, cause: String },
}

impl EnrollError {
    /// Whether waiting may help without anybody doing anything.
    pub fn retryable(&self) -> bool {
        match self {
            EnrollError::NoWay { .. }
            | EnrollError::Unreachable { .. }
            | EnrollError::Unusable { .. }
            | EnrollError::Status { .. }
            | EnrollError::Tls { .. }
            | EnrollError::Foreign { .. }
            | EnrollError::Portal { .. }
            | EnrollError::Time { .. } => true,
            EnrollError::CaMismatch { .. }
            | EnrollError::Denied { .. }
            | EnrollError::NameTaken { .. } => false,
        }
    }

    /// When the cloud wants to be asked again, if it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            EnrollError::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for EnrollError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EnrollError::NoWay { endpoint, source } => {
                write!(f, "no way to the certificate API at {endpoint}: {source:#}")
            }
            EnrollError::Unreachable { endpoint, cause } => write!(
                f,
                "the certificate API at {endpoint} does not answer ({cause}): \
                 check the address, the port and any firewall between"
            ),
            EnrollError::Portal { endpoint, portal } => {
                write!(f, "no cloud at {endpoint}: {portal}")
            }
            EnrollError::Tls { endpoint, cause }
            | EnrollError::Foreign { endpoint, cause }
            | EnrollError::Time { endpoint, cause } => {
                write!(
                    f,
                    "no secure connection to the certificate API at {endpoint}: {cause}"
                )
            }
            EnrollError::CaMismatch {
                endpoint,
                pinned,
                met,
            } => write!(
                f,
                "the cloud at {endpoint} has the CA {met}, but this token pins {pinned}: \
                 use a token of this very cloud, or look for what stands in between"
            ),
            EnrollError::Denied {
                endpoint,
                status,
                said,
            } => write!(
                f,
                "the cloud at {endpoint} refuses the request ({status}: {said}): \
                 get a fresh token with `keadm gettoken` on the cloud side and join with it"
            ),
            EnrollError::NameTaken { endpoint, said } => write!(
                f,
                "another device holds this node name at {endpoint} ({said}): \
                 join with another --edgenode-name, or free this one on the cloud first (`keadm certs revoke`)"
            ),
            EnrollError::Status {
                endpoint,
                status,
                said,
                ..
            } => {
                write!(
                    f,
                    "the cloud at {endpoint} answers {status} ({said}): see its log"
                )
            }
            EnrollError::Unusable { endpoint, cause } => write!(
                f,
                "the cloud at {endpoint} sent no usable certificate ({cause}): see its log"
            ),
        }
    }
}

impl std::error::Error for EnrollError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            EnrollError::NoWay { source, .. } => Some(source),
            _ => None,
        }
    }
}
