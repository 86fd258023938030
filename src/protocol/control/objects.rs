//! Answers of cloudcore about nodes and objects.

use serde::{Deserialize, Serialize};

use crate::system::clock::Timestamp;

/// One line of cloudcore's answer to `nodes`: a line for each node, then the end.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct NodeRow {
    pub v: u32,
    pub node: String,
    /// It has a session, or its lease was renewed in the last 40 s.
    pub ready: bool,
    pub connected: bool,
    /// It has a Node object.
    pub registered: bool,
    /// When the session began, or the last one ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What the node says of itself: its condition Ready, and the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// 0 as long as cloudcore renews the lease for the session; absent without a lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_age_ms: Option<u64>,
}

/// One line of cloudcore's answer to `object-get`: a line and a body for each object, then one without,
/// which has the `message` that the list is whole, or an `error`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ObjectLine {
    pub v: u32,
    /// As in `default/configmap/app`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// To whom an operator gave it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Bytes of JSON that follow the line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
