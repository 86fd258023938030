//! What became of the last backup, upgrade, rollback or change: the file that KubeEdge's edgecore reads.

use serde::{Deserialize, Serialize};

use crate::system::files::FileError;
use crate::system::host::Host;

/// What was done, in KubeEdge's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    Backup,
    Upgrade,
    Rollback,
    ConfigUpdate,
}

impl Event {
    /// As it stands in the report.
    pub fn word(self) -> &'static str {
        match self {
            Event::Backup => "Backup",
            Event::Upgrade => "Upgrade",
            Event::Rollback => "Rollback",
            Event::ConfigUpdate => "ConfigUpdate",
        }
    }
}

/// The keys of KubeEdge's keadm, and one of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub event: Event,
    pub success: bool,
    #[serde(default)]
    pub from_version: String,
    #[serde(default)]
    pub to_version: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error_message: String,
    /// What is there to go back to, and where.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kept: String,
}

impl Report {
    /// In place of the one before.
    pub fn write(&self, host: &Host) -> Result<(), FileError> {
        let text = serde_json::to_string(self).unwrap_or_default();
        host.files
            .replace(&host.root.at(REPORT), text.as_bytes(), 0o644)
    }

    /// None when there is none that can be understood.
    pub fn read(host: &Host) -> Option<Report> {
        let bytes = host.files.read(&host.root.at(REPORT), MAX_REPORT).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

pub const REPORT: &str = "/etc/kubeedge/upgrade_report.json";
/// Bytes.
const MAX_REPORT: usize = 64 * 1024;
