//! The local sockets: what keadm and the daemons say to each other, as versioned JSON lines.
//!
//! One request a connection: the client sends one line, the server answers with one line, or, for
//! `watch`, with a line for every change until either side closes. An unknown key is ignored and
//! an unknown operation answered with an error, so that an old keadm can talk to a new daemon.

mod client;
mod objects;
mod operations;
mod registration;
mod remembered;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::transport::Transport;
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;

pub use client::{Client, ControlError, call};
pub use objects::{NodeRow, ObjectLine};
pub use operations::{CloudOp, EdgeOp, Op};
pub use registration::{Counts, Failures, Problem, Registration};
pub use remembered::Remembered;

/// The version that this program writes; readers accept any.
pub const VERSION: u32 = 1;

/// World-readable answers about the edge: `EdgeOp::Status`, `EdgeOp::Watch`.
pub const EDGE_STATUS_SOCKET: &str = "/run/kubeedge/edgecore-status.sock";
/// For root and the daemon's own user: the same, and the orders among `EdgeOp`.
pub const EDGE_SOCKET: &str = "/run/kubeedge/edgecore.sock";
/// For root and cloudcore's own user: `CloudOp`.
pub const CLOUD_SOCKET: &str = "/run/kubeedge/cloudcore.sock";

/// A line longer than this is refused by both sides.
pub const MAX_LINE: u64 = 64 * 1024;

/// What a client asks.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Request {
    pub v: u32,
    /// The word of a `CloudOp` or an `EdgeOp`, or one that a newer program knows.
    pub op: String,
    /// `gettoken`, `token-create`: seconds that the token shall be valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// `add-san`: names and addresses for the serving certificate. `sessions`: the nodes that are
    /// asked about, all when empty. `revoke`: the nodes. `object-apply`, `job-create`: those that
    /// shall have it. `object-get`, `jobs`: of which objects or jobs, all when empty. `node-label`:
    /// the changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// `token-create`: the pattern of the nodes that may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// `token-create`: for how many certificates it is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// `token-create`: what it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `token-delete`: which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `ca-rotate`: the step, or the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// `ca-rotate`: though some devices have not followed. `object-delete`: without waiting for the
    /// node.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// `object-get`, `object-delete`: the type, as resource names have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `object-delete`, `node-delete`, `node-label`, `job-create`, `job-resume`, `job-cancel`: which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `object-delete`, `object-get`: where; `object-apply`: for objects that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// `object-apply`, `job-create`: a label of the nodes that shall have it, as `key=value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// `object-apply`, `job-create`: bytes of JSON that follow the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<u64>,
    /// `ca-rotate`: only say what would happen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

impl Request {
    pub fn new(op: impl Op) -> Self {
        Request {
            v: VERSION,
            op: op.word().to_owned(),
            ttl: None,
            names: Vec::new(),
            node: None,
            uses: None,
            description: None,
            id: None,
            step: None,
            force: false,
            kind: None,
            name: None,
            namespace: None,
            selector: None,
            body: None,
            dry_run: false,
        }
    }
}

/// The answer to an order: `error` is absent when it was carried out.
#[derive(Clone, Default, Deserialize, Serialize)]
pub struct Reply {
    pub v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// `gettoken`, `token-create`: the token, a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// `token-create`: under which id the token is listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `token-create`: where a device would dial this cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dial: Option<Dial>,
    /// One sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Reply {
    pub fn done(message: impl Into<String>) -> Self {
        Reply {
            v: VERSION,
            message: Some(message.into()),
            ..Reply::default()
        }
    }

    pub fn refused(error: impl Into<String>) -> Self {
        Reply {
            v: VERSION,
            error: Some(error.into()),
            ..Reply::default()
        }
    }
}

/// Where a device would dial a cloud.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Dial {
    /// An address or a name.
    pub host: String,
    pub hub_port: u16,
    pub certificate_port: u16,
}

/// One line of cloudcore's answer to `token-list`: a line for each token, then one without, which
/// has the `message` that the list is whole, or an `error`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TokenLine<T> {
    pub v: u32,
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    pub token: Option<T>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl<T> TokenLine<T> {
    /// A line that says nothing yet.
    pub fn empty() -> Self {
        TokenLine {
            v: VERSION,
            token: None,
            message: None,
            error: None,
        }
    }
}

/// Where the edge stands.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeState {
    Starting,
    /// Getting the first certificate.
    Enrolling,
    /// No identity and no usable token: waits for a token, without a restart.
    NeedsToken,
    /// Has an identity, has no session.
    Connecting,
    Connected,
    Stopping,
    /// A state that a newer edgecore knows.
    #[serde(other)]
    Other,
}

impl fmt::Display for EdgeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EdgeState::Starting => "starting",
            EdgeState::Enrolling => "enrolling",
            EdgeState::NeedsToken => "needs a token",
            EdgeState::Connecting => "connecting",
            EdgeState::Connected => "connected",
            EdgeState::Stopping => "stopping",
            EdgeState::Other => "in a state that this keadm does not know",
        })
    }
}

/// The answer to `status` and each line of `watch`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct EdgeStatus {
    pub v: u32,
    pub version: String,
    /// The process of the service: the supervisor, where there is one.
    pub pid: u32,
    /// The supervised process that does the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_pid: Option<u32>,
    /// What the working process has given up, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sandbox: Vec<String>,
    pub node: String,
    /// Where the cloud's objects are kept, and within which limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects_in: Option<String>,
    /// host:port of the hub that the edge belongs to.
    pub cloud: String,
    pub state: EdgeState,
    pub since: Timestamp,
    /// The time that edgecore judges by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Timestamp>,
    /// What the device's clock shows, when that is known to be wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_shows: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<Problem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateFacts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionFacts>,
    /// The device as a node; absent where it is none, or before the cloud was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<Registration>,
    /// Changes of these alone are no news for `watch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<Counts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<Failures>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct CertificateFacts {
    pub serial: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    pub ca_hash: String,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct SessionFacts {
    /// Counts the sessions of this process, from 1.
    pub generation: u64,
    pub since: Timestamp,
    /// host:port of the hub, as the configuration has it: one of several, maybe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// The address that answered.
    pub peer: String,
    /// Serial of the certificate that the session was opened with.
    pub serial: String,
    /// What the tunnel runs on.
    #[serde(default)]
    pub tunnel: Transport,
    /// Why that is not QUIC, where QUIC was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_quic: Option<String>,
}

impl EdgeStatus {
    /// host:port of the hub that the edge has a session with, or of the one that it belongs to.
    pub fn hub(&self) -> &str {
        let session = self.session.as_ref();
        session
            .and_then(|session| session.hub.as_deref())
            .unwrap_or(&self.cloud)
    }
}

/// cloudcore's answer to `status`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CloudStatus {
    pub v: u32,
    pub version: String,
    pub pid: u32,
    pub since: Timestamp,
    pub sessions: usize,
    pub node_limit: usize,
    /// Nodes that ever got a certificate.
    pub known_nodes: usize,
    /// Since cloudcore started, as all counts.
    pub certificates_issued: u64,
    pub certificates_refused: u64,
    /// Connections of all kinds, and how many the limit on open files allows.
    #[serde(default)]
    pub connections: usize,
    #[serde(default)]
    pub connection_limit: usize,
    pub ca_hash: String,
    pub ca_not_after: Timestamp,
    pub serving: CertificateFacts,
    /// DNS names and addresses that the serving certificate is valid for.
    pub serving_names: Vec<String>,
    /// What the process has given up, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sandbox: Vec<String>,
    pub stopping: bool,
}

/// One line of cloudcore's answer to `sessions`: a line for each session, then the end.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct HubSession {
    pub v: u32,
    pub node: String,
    /// Grows with every session that this cloudcore begins, of whatever node.
    pub generation: u64,
    pub since: Timestamp,
    /// Where the edge is.
    pub peer: String,
    /// Serial of the certificate that the session was opened with.
    pub serial: String,
    #[serde(default)]
    pub tunnel: Transport,
    /// How long the node had no session before this one: 0 when it took over from another, absent
    /// when it is the node's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_gap_ms: Option<u64>,
}

/// What may follow a line, at most: an object of 1.5 MiB, written with more spaces.
pub const MAX_BODY: u64 = 4 * 1024 * 1024;

/// The answer to `ca-rotate` and `ca-status`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct CaReport {
    pub v: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// With an error: the exit code that says it best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// `ca-rotate`: the step, and whether it was done now, or had been before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    pub done: bool,
    pub already: bool,
    /// prepared, switched or announced; absent when no rotation is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// SHA-256 of the CA; during a rotation, of the old one.
    pub ca: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Devices with a certificate that counts.
    pub nodes: usize,
    /// How many of them have not followed.
    pub behind_count: usize,
    /// The first of them.
    pub behind: Vec<BehindNode>,
}

/// A device that has not followed a rotation.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct BehindNode {
    pub node: String,
    /// It trusts the next CA.
    pub trusts: bool,
    /// Its certificate is by the next CA.
    pub renewed: bool,
    /// The end of its certificate.
    pub until: Timestamp,
}

/// One line of cloudcore's answer to `revoke` and `revocations`: a line for each node, then the end.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct RevokedNode {
    pub v: u32,
    pub node: String,
    /// What was issued up to this moment is refused.
    pub at: Timestamp,
    /// `revoke`: a certificate of this name is known to this cloud.
    #[serde(default)]
    pub known: bool,
    /// `revoke`: it was revoked before, and got no key since.
    #[serde(default)]
    pub already: bool,
    /// `revoke`: its session was ended.
    #[serde(default)]
    pub session_ended: bool,
    /// `revocations`: a token has given the name to a key since.
    #[serde(default)]
    pub enrolled_since: bool,
}

impl RevokedNode {
    /// With nothing else said of it.
    pub fn new(node: &NodeName, at: Timestamp) -> RevokedNode {
        RevokedNode {
            v: VERSION,
            node: node.to_string(),
            at,
            known: false,
            already: false,
            session_ended: false,
            enrolled_since: false,
        }
    }
}

/// Nodes that one `revoke` can name: they have to fit in a line.
pub const MAX_REVOKED: usize = 200;

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_newer_daemons_answer_is_still_read() {
        let line = r#"{"v":9,"version":"2","pid":1,"node":"n","cloud":"c:1","state":"hovering",
            "since":"2026-01-02T03:04:05Z","brand_new":{"x":1}}"#;
        let status: EdgeStatus = serde_json::from_str(line).unwrap();
        assert_eq!(status.state, EdgeState::Other);
        assert_eq!(status.session, None);
    }

    #[test]
    fn nobody_listening_is_said_plainly() {
        let missing = Path::new("/nonexistent/edgecore.sock");
        let outcome = call::<Reply>(
            missing,
            &Request::new(EdgeOp::Status),
            Duration::from_secs(1),
        );
        assert!(matches!(outcome, Err(ControlError::NotRunning)));
    }
}
