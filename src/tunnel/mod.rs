//! The tunnel between edge and hub: how it is opened, what it carries, how much it may hold.

pub mod carrier;
pub mod guarded;
pub mod metered;
#[cfg(feature = "quic")]
pub mod quic;
#[cfg(not(feature = "quic"))]
#[path = "no_quic.rs"]
pub mod quic;
pub mod upgrade;
pub mod websocket;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::protocol::message::{Malformed, Message};
use crate::protocol::portal::Portal;
use crate::system::cause;

pub use carrier::{Carrier, Line};
pub use guarded::{Guarded, accept};
pub use metered::Budget;
pub use websocket::{Connected, Receiver, Sender, Tunnel};

/// TLS over TCP, either end.
pub type Secured = futures_rustls::TlsStream<Guarded>;

/// What the tunnels of a process run on, each on its own.
pub type AnyCarrier = Box<dyn Carrier>;

/// What a tunnel can run on: a `Carrier`, or bytes in memory where the parsers are tested.
pub trait Stream: smol::io::AsyncRead + smol::io::AsyncWrite + Unpin {}

impl<S: smol::io::AsyncRead + smol::io::AsyncWrite + Unpin> Stream for S {}

/// Header of the 101 by which a hub says that a second connection of a node replaces the first
/// without harm, so that the edge may open the new tunnel before it ends the old one.
pub const SESSION_HEADER: &str = "kubeedge-session";
pub const REPLACE_SAFE: &str = "replace-safe";

/// Headers of the upgrade request (docs/protocol.md, "Tunnel").
pub const NODE_ID_HEADER: &str = "node_id";
pub const PROJECT_ID_HEADER: &str = "project_id";
pub const CONNECTION_USE_HEADER: &str = "connectionuse";

/// What arrives on a tunnel.
#[derive(Debug)]
pub enum Event {
    Message(Box<Message>),
    /// A frame that is no message: counted and skipped.
    Malformed(Malformed),
    /// A ping or pong: the peer lives.
    Alive,
}

/// Why a tunnel could not be opened, or ended.
#[derive(Debug)]
pub enum TunnelError {
    /// The peer closed in order.
    Closed { code: u16, reason: String },
    /// The connection ended without a farewell.
    Lost(io::Error),
    /// TLS was refused by either side; the sentence says by whom and why.
    Tls(String),
    /// The same, where a clock that is wrong, here or there, can be the cause.
    Time(String),
    /// The peer's certificate is by no CA that is trusted; the sentence says so.
    ForeignCa(String),
    /// Our certificate is by no CA that the peer trusts; the sentence says so.
    UnknownCa(String),
    /// Something answers that is no hub.
    Portal(Portal),
    /// The peer answered the upgrade with something else than 101.
    Refused {
        status: u16,
        said: String,
        /// When the peer wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// A message above the limit was announced.
    TooBig { limit: usize },
    /// All tunnels together hold too much that is only partly received.
    OverBudget,
    /// A text message is not UTF-8.
    NotText,
    /// The peer broke the WebSocket protocol.
    Protocol(String),
    /// This device has moved: what started from this address leads nowhere any more.
    Moved(IpAddr),
    /// Nothing happened within the time allowed for this step.
    TimedOut(&'static str),
}

impl TunnelError {
    /// Whether the peer refuses this identity, so that a retry alone won't help.
    pub fn is_denial(&self) -> bool {
        matches!(
            self,
            TunnelError::UnknownCa(_)
                | TunnelError::Refused {
                    status: 401 | 403,
                    ..
                }
        )
    }

    /// A short label for counters, of a tunnel that was up.
    pub fn reason(&self) -> &'static str {
        match self {
            TunnelError::Closed { .. } => "closed",
            TunnelError::Lost(_) => "lost",
            TunnelError::Moved(_) => "moved",
            TunnelError::NotText => "not-text",
            TunnelError::OverBudget => "over-budget",
            TunnelError::Portal(_) => "portal",
            TunnelError::Protocol(_) => "protocol",
            TunnelError::Refused { .. } => "refused",
            TunnelError::TimedOut(_) => "slow",
            TunnelError::Tls(_)
            | TunnelError::Time(_)
            | TunnelError::ForeignCa(_)
            | TunnelError::UnknownCa(_) => "tls",
            TunnelError::TooBig { .. } => "too-big",
        }
    }
}

impl fmt::Display for TunnelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TunnelError::Closed { code, reason } if reason.is_empty() => {
                write!(f, "the other side closed the tunnel ({code})")
            }
            TunnelError::Closed { code, reason } => {
                write!(f, "the other side closed the tunnel ({code}: {reason})")
            }
            TunnelError::Lost(e) => write!(f, "the tunnel was cut: {}", cause::of(e)),
            TunnelError::Tls(cause)
            | TunnelError::Time(cause)
            | TunnelError::ForeignCa(cause)
            | TunnelError::UnknownCa(cause) => {
                write!(f, "no secure connection to the hub: {cause}")
            }
            TunnelError::Portal(portal) => write!(f, "no tunnel: {portal}"),
            // A 403 gives the reason itself.
            TunnelError::Refused {
                status: 403, said, ..
            } => {
                write!(f, "the hub refuses the tunnel (403: {said})")
            }
            TunnelError::Refused { status, said, .. } => {
                write!(
                    f,
                    "the hub refuses the tunnel ({status}: {said}): see its log"
                )
            }
            TunnelError::TooBig { limit } => {
                write!(
                    f,
                    "a message of more than {limit} bytes was announced and refused"
                )
            }
            TunnelError::OverBudget => {
                f.write_str("too much data waits half-received in all tunnels together")
            }
            TunnelError::NotText => f.write_str("the other side sent text that is not UTF-8"),
            TunnelError::Protocol(what) => write!(f, "the other side broke the protocol: {what}"),
            TunnelError::Moved(address) => write!(
                f,
                "the tunnel started from {address}, and this device has moved on"
            ),
            TunnelError::TimedOut(step) => write!(f, "{step} took too long"),
        }
    }
}

impl std::error::Error for TunnelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TunnelError::Lost(e) => Some(e),
            _ => None,
        }
    }
}
