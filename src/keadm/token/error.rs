//! Why there is no token, or nothing to tell about tokens, with the exit code of each reason.

use std::fmt;

use crate::authority::tokens::CreateError;
use crate::keadm::cluster::NoCluster;
use crate::protocol::control::ControlError;
use crate::protocol::token::TokenError;
use crate::store::{NoTokenId, StoreError, TokenId};
use crate::system::clock::Timestamp;
use crate::system::exit;

#[derive(Debug)]
pub enum TokenFault {
    /// There is no token of this id.
    Absent(TokenId),
    Control(ControlError),
    Create(CreateError),
    /// What was made is good for nothing any more.
    Expired(Option<Timestamp>),
    /// The value of a flag can't be what it is.
    Flag {
        flag: &'static str,
        fault: String,
    },
    Id(NoTokenId),
    /// No cluster can be reached by what is written of it.
    Cluster(NoCluster),
    Malformed(TokenError),
    NoCa,
    /// The cluster has none.
    NoCaThere,
    /// cloudcore gave neither a token nor a reason.
    NoReason,
    /// What cloudcore said.
    Refused(String),
    Store(StoreError),
}

impl TokenFault {
    /// The exit code that says it best.
    pub fn code(&self) -> u8 {
        match self {
            TokenFault::Control(ControlError::Denied(_)) => exit::DENIED,
            TokenFault::Control(_) | TokenFault::NoCa | TokenFault::NoCaThere => exit::UNAVAILABLE,
            TokenFault::Cluster(_) => exit::CONFIG,
            TokenFault::Store(error) | TokenFault::Create(CreateError::Store(error)) => {
                of_store(error)
            }
            TokenFault::Create(
                CreateError::Description
                | CreateError::TooLong
                | CreateError::TooShort
                | CreateError::Uses,
            )
            | TokenFault::Flag { .. }
            | TokenFault::Id(_) => exit::USAGE,
            _ => exit::FAILURE,
        }
    }
}

fn of_store(error: &StoreError) -> u8 {
    match error {
        StoreError::Io(error) if error.is_denied() => exit::DENIED,
        StoreError::Cluster(fault) if fault.denied => exit::DENIED,
        StoreError::Busy | StoreError::Locked { .. } => exit::TRY_AGAIN,
        StoreError::Cluster(_) | StoreError::Contended if error.is_retryable() => exit::TRY_AGAIN,
        _ => exit::FAILURE,
    }
}

impl fmt::Display for TokenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenFault::Absent(id) => write!(
                f,
                "there is no token {id} that is still good: `keadm token list` shows those that are"
            ),
            TokenFault::Control(ControlError::Io(_) | ControlError::Unreadable(_)) => f.write_str(
                "cloudcore runs but gives no answer on its socket: look into its log, restart it",
            ),
            TokenFault::Control(error) => error.fmt(f),
            TokenFault::Create(error) => error.fmt(f),
            TokenFault::Expired(Some(end)) => write!(
                f,
                "the token that was made expired at {end} already: see that the clocks are right"
            ),
            TokenFault::Expired(None) => {
                f.write_str("the token that was made has no end: is cloudcore of another version?")
            }
            TokenFault::Flag { flag, fault } => write!(f, "{flag}: {fault}"),
            TokenFault::Id(error) => error.fmt(f),
            TokenFault::Cluster(error) => error.fmt(f),
            TokenFault::Malformed(fault) => {
                write!(
                    f,
                    "cloudcore made a token that is none ({fault}): restart cloudcore"
                )
            }
            TokenFault::NoCa => f.write_str(
                "this machine has no CA to make tokens with: start cloudcore first, it makes one \
                 (`kubeedge service start --daemon cloudcore`); or name a cluster with --kube-config",
            ),
            TokenFault::NoCaThere => f.write_str(
                "the cluster has no CA to make tokens with: start cloudcore there, it makes one",
            ),
            TokenFault::NoReason => {
                f.write_str("cloudcore made no token and does not say why: look into its log")
            }
            TokenFault::Refused(why) => write!(f, "cloudcore refuses: {why}"),
            TokenFault::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TokenFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TokenFault::Cluster(error) => Some(error),
            TokenFault::Control(error) => Some(error),
            TokenFault::Create(error) => Some(error),
            TokenFault::Id(error) => Some(error),
            TokenFault::Malformed(error) => Some(error),
            TokenFault::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ControlError> for TokenFault {
    fn from(error: ControlError) -> TokenFault {
        TokenFault::Control(error)
    }
}

impl From<NoCluster> for TokenFault {
    fn from(error: NoCluster) -> TokenFault {
        TokenFault::Cluster(error)
    }
}

impl From<CreateError> for TokenFault {
    fn from(error: CreateError) -> TokenFault {
        TokenFault::Create(error)
    }
}

impl From<NoTokenId> for TokenFault {
    fn from(error: NoTokenId) -> TokenFault {
        TokenFault::Id(error)
    }
}

impl From<StoreError> for TokenFault {
    fn from(error: StoreError) -> TokenFault {
        TokenFault::Store(error)
    }
}
