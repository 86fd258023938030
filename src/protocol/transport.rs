//! What a tunnel runs on, by name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The two tunnels between our own ends (docs/protocol.md, "Tunnel", "The tunnel over QUIC").
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TLS over TCP.
    #[default]
    WebSocket,
    /// UDP.
    Quic,
}

impl Transport {
    /// The name as a label and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Transport::WebSocket => "websocket",
            Transport::Quic => "quic",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::WebSocket => "WebSocket",
            Transport::Quic => "QUIC",
        })
    }
}
