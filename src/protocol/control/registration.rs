//! What edgecore's status says of the device as a node, and of problems.

use serde::{Deserialize, Serialize};

use crate::system::clock::Timestamp;

/// How the device stands as a node, as the cloud said last.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Registration {
    /// When the cloud's present Node of this device was made; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// `True`, `False` or `Unknown`: the condition `Ready` of the Node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// When the cloud last took a renewal of the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_renewed: Option<Timestamp>,
    /// The address that the device gives for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What last went wrong with it, until it goes well again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// What came of the cloud's messages since edgecore started.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Counts {
    /// Could not be understood.
    pub skipped: u64,
    /// Objects that the cloud sent and that are stored, or gone as it said; those that changed nothing not counted.
    pub stored: u64,
    pub acknowledged: u64,
    /// Bytes that came over tunnels, WebSocket's own included; counted at every beat and at a session's end.
    pub received: u64,
}

/// How often something failed since edgecore started. Each time there was a problem to read, too.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Failures {
    /// Attempts to get a certificate for a token.
    pub enrolments: u64,
    pub renewals: u64,
    /// Attempts to open a tunnel.
    pub tunnels: u64,
    /// Tunnels that were up, and ended without being replaced.
    pub sessions: u64,
}

/// What last went wrong.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub at: Timestamp,
    pub message: String,
    /// Whether waiting may help; false means that a person must do something.
    pub retryable: bool,
}
