//! The record of a release, field for field as Helm keeps it: one Secret for each revision.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::object::{self, Object};
use crate::system::cause;
use crate::system::clock::Timestamp;
use crate::system::gzip;
use crate::system::sorted::SortedMap;

/// One revision of a release. What another program has written into it stays there.
#[derive(Clone)]
pub struct Release {
    record: Map<String, Value>,
    /// The text of each field that was not changed since it was read: it is written as it was, to a number's last digit.
    unchanged: SortedMap<String, Box<RawValue>>,
}

/// A new revision.
pub struct Draft {
    pub name: &'static str,
    pub namespace: &'static str,
    pub revision: u64,
    pub status: Status,
    pub description: String,
    pub first_deployed: Option<Timestamp>,
    pub now: Timestamp,
    /// The chart: its metadata, and its default values.
    pub metadata: Value,
    pub values: Value,
    /// What the operator gave.
    pub config: Value,
    /// All objects but the hooks, as YAML.
    pub manifest: String,
    pub hooks: Vec<Value>,
}

/// Where a release stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Deployed,
    Failed,
    PendingInstall,
    PendingRollback,
    PendingUpgrade,
    Superseded,
    Uninstalled,
    Uninstalling,
    Unknown,
}

/// Why a Secret is no record of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The name of the Secret.
    pub secret: String,
    pub why: String,
}

impl Release {
    pub fn new(draft: Draft) -> Release {
        let now = draft.now.rfc3339_micros();
        let first = draft.first_deployed.unwrap_or(draft.now).rfc3339_micros();
        let record = json!({
            "name": draft.name,
            "info": {
                "first_deployed": first,
                "last_deployed": now,
                "deleted": "",
                "description": draft.description,
                "status": draft.status.as_str(),
            },
            "chart": {
                "metadata": draft.metadata,
                "lock": null,
                "templates": [],
                "values": draft.values,
                "schema": null,
                "files": [],
            },
            "config": draft.config,
            "manifest": draft.manifest,
            "hooks": draft.hooks,
            "version": draft.revision,
            "namespace": draft.namespace,
        });
        match record {
            Value::Object(record) => Release {
                record,
                unchanged: SortedMap::new(),
            },
            _ => unreachable!("it is written as an object right above"),
        }
    }

    /// A new revision with all that this one has.
    pub fn again(
        &self,
        revision: u64,
        status: Status,
        description: &str,
        now: Timestamp,
    ) -> Release {
        let mut copy = self.clone();
        *copy.field("version") = revision.into();
        copy.set_status(status, description);
        if let Value::Object(info) = copy.field("info") {
            info.insert("last_deployed".to_owned(), now.rfc3339_micros().into());
        }
        copy
    }

    /// From the Secret that holds it.
    pub fn read(secret: &Object) -> Result<Release, Unreadable> {
        let fault = |why: &str| Unreadable {
            secret: object::name(secret).to_owned(),
            why: why.to_owned(),
        };
        let data = secret.get("data").and_then(|data| data.get("release"));
        let data = data
            .and_then(Value::as_str)
            .ok_or_else(|| fault("it has no data.release"))?;
        // The API writes all bytes of Secrets in base64, and Helm did so before.
        let bytes = STANDARD.decode(data).ok();
        let bytes = bytes.and_then(|bytes| STANDARD.decode(bytes).ok());
        let mut bytes = bytes.ok_or_else(|| fault("it is not written in base64"))?;
        if gzip::is_packed(&bytes) {
            bytes = gzip::unpack(&bytes, LIMIT).map_err(|error| fault(&error.to_string()))?;
        }
        let fields = serde_json::from_slice(&bytes);
        let unchanged: SortedMap<String, _> =
            fields.map_err(|error| fault(&cause::of_json(&error)))?;
        let record = serde_json::from_slice(&bytes);
        let record = record.map_err(|error| fault(&cause::of_json(&error)))?;
        let release = Release { record, unchanged };
        match release.revision() {
            0 => Err(fault("it has no version")),
            _ => Ok(release),
        }
    }

    /// The Secret that holds it. `since` is the time of the change; `fresh` when the Secret is not there yet.
    pub fn secret(&self, since: Timestamp, fresh: bool) -> Value {
        let packed = gzip::pack(self.json().as_bytes());
        let stamp = if fresh { "createdAt" } else { "modifiedAt" };
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": self.secret_name(),
                "namespace": self.namespace(),
                "labels": {
                    (stamp): since.unix().to_string(),
                    "name": self.name(),
                    "owner": "helm",
                    "status": self.status().as_str(),
                    "version": self.revision().to_string(),
                },
            },
            "type": "helm.sh/release.v1",
            "data": {"release": STANDARD.encode(STANDARD.encode(packed))},
        })
    }

    pub fn secret_name(&self) -> String {
        format!("sh.helm.release.v1.{}.v{}", self.name(), self.revision())
    }

    pub fn name(&self) -> &str {
        self.text(&["name"])
    }

    pub fn namespace(&self) -> &str {
        self.text(&["namespace"])
    }

    /// From 1 on.
    pub fn revision(&self) -> u64 {
        self.record
            .get("version")
            .and_then(Value::as_u64)
            .unwrap_or(0)
    }

    pub fn status(&self) -> Status {
        Status::of(self.text(&["info", "status"]))
    }

    pub fn description(&self) -> &str {
        self.text(&["info", "description"])
    }

    pub fn first_deployed(&self) -> Option<Timestamp> {
        self.text(&["info", "first_deployed"]).parse().ok()
    }

    pub fn last_deployed(&self) -> Option<Timestamp> {
        self.text(&["info", "last_deployed"]).parse().ok()
    }

    /// The version of the chart.
    pub fn chart_version(&self) -> &str {
        self.text(&["chart", "metadata", "version"])
    }

    /// What the operator gave; an empty mapping when it was nothing.
    pub fn config(&self) -> Value {
        let config = self.record.get("config").filter(|it| it.is_object());
        config.cloned().unwrap_or_else(|| json!({}))
    }

    /// The defaults of the chart that it was made from.
    pub fn chart_values(&self) -> &Value {
        let chart = self.record.get("chart");
        chart
            .and_then(|chart| chart.get("values"))
            .unwrap_or(&Value::Null)
    }

    pub fn manifest(&self) -> &str {
        self.text(&["manifest"])
    }

    pub fn hooks(&self) -> &[Value] {
        let hooks = self.record.get("hooks").and_then(Value::as_array);
        hooks.map(Vec::as_slice).unwrap_or_default()
    }

    pub fn set_hooks(&mut self, hooks: Vec<Value>) {
        *self.field("hooks") = hooks.into();
    }

    pub fn set_status(&mut self, status: Status, description: &str) {
        if let Value::Object(info) = self.field("info") {
            info.insert("status".to_owned(), status.as_str().into());
            info.insert("description".to_owned(), description.into());
        }
    }

    /// A field that is changed; an empty object when it is not there.
    fn field(&mut self, key: &str) -> &mut Value {
        self.unchanged.remove(key);
        self.record.entry(key).or_insert_with(|| json!({}))
    }

    fn json(&self) -> String {
        let field = |(key, value): (&String, &Value)| {
            let text = match self.unchanged.get(key) {
                Some(text) => text.get().to_owned(),
                None => value.to_string(),
            };
            format!("{}:{text}", Value::from(key.as_str()))
        };
        let fields: Vec<String> = self.record.iter().map(field).collect();
        format!("{{{}}}", fields.join(","))
    }

    fn text(&self, path: &[&str]) -> &str {
        let mut value = path.first().and_then(|key| self.record.get(*key));
        for key in path.iter().skip(1) {
            value = value.and_then(|value| value.get(*key));
        }
        value.and_then(Value::as_str).unwrap_or_default()
    }
}

/// What finds the records of a release.
pub fn selector(name: &str) -> String {
    format!("name={name},owner=helm")
}

impl Status {
    pub fn as_str(self) -> &'static str {
        STATUSES
            .iter()
            .find(|(status, _)| *status == self)
            .map_or("unknown", |(_, text)| text)
    }

    fn of(text: &str) -> Status {
        STATUSES
            .iter()
            .find(|(_, known)| *known == text)
            .map_or(Status::Unknown, |(status, _)| *status)
    }

    /// Something was begun, and nobody has said how it ended.
    pub fn is_pending(self) -> bool {
        matches!(
            self,
            Status::PendingInstall | Status::PendingRollback | Status::PendingUpgrade
        )
    }
}

/// The record has keys of streams in it: it is not shown.
impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Release({} v{} {})",
            self.name(),
            self.revision(),
            self.status().as_str()
        )
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the Secret {} is no record of a release: {}: take it away if nobody needs it",
            self.secret, self.why
        )
    }
}

impl std::error::Error for Unreadable {}

const STATUSES: &[(Status, &str)] = &[
    (Status::Deployed, "deployed"),
    (Status::Failed, "failed"),
    (Status::PendingInstall, "pending-install"),
    (Status::PendingRollback, "pending-rollback"),
    (Status::PendingUpgrade, "pending-upgrade"),
    (Status::Superseded, "superseded"),
    (Status::Uninstalled, "uninstalled"),
    (Status::Uninstalling, "uninstalling"),
    (Status::Unknown, "unknown"),
];
/// Bytes of a record without packing. Upstream's have 360,000, and a Secret takes 1 MiB of packed ones.
const LIMIT: usize = 16 << 20;

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
