//! The record of a release, field for field as Helm keeps it: one Secret for each revision.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::object::{self, Object};
use crate::system::clock::Timestamp;
use crate::system::gzip;

/// One revision of a release. What another program has written into it stays there.
#[derive(Clone)]
pub struct Release {
    record: Map<String, Value>,
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
            Value::Object(record) => Release { record },
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
        copy.record.insert("version".to_owned(), revision.into());
        copy.set_status(status, description);
        if let Some(Value::Object(info)) = copy.record.get_mut("info") {
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
        let record = serde_json::from_slice(&bytes);
        let record: Map<String, Value> = record.map_err(|error| fault(&error.to_string()))?;
        let release = Release { record };
        match release.revision() {
            0 => Err(fault("it has no version")),
            _ => Ok(release),
        }
    }

    /// The Secret that holds it. `since` is the time of the change; `fresh` when the Secret is not there yet.
    pub fn secret(&self, since: Timestamp, fresh: bool) -> Value {
        let packed = gzip::pack(Value::Object(self.record.clone()).to_string().as_bytes());
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
        self.record.insert("hooks".to_owned(), hooks.into());
    }

    pub fn set_status(&mut self, status: Status, description: &str) {
        let info = self.record.entry("info").or_insert_with(|| json!({}));
        if let Value::Object(info) = info {
            info.insert("status".to_owned(), status.as_str().into());
            info.insert("description".to_owned(), description.into());
        }
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
mod tests {
    use super::*;

    fn release() -> Release {
        Release::new(Draft {
            name: "cloudcore",
            namespace: "kubeedge",
            revision: 3,
            status: Status::PendingUpgrade,
            description: "Preparing upgrade".to_owned(),
            first_deployed: Some(Timestamp::from_unix(1_700_000_000)),
            now: Timestamp::from_unix(1_800_000_000),
            metadata: json!({"name": "cloudcore", "version": "1.23.1"}),
            values: json!({"a": 1}),
            config: json!({"b": {"c": "d"}}),
            manifest: "---\na: 1\n".to_owned(),
            hooks: vec![json!({"manifest": "geheim"})],
        })
    }

    fn of(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_record_comes_back_from_its_secret() {
        let mut release = release();
        let secret = release.secret(Timestamp::from_unix(1_800_000_001), true);
        assert_eq!(
            secret["metadata"]["name"],
            "sh.helm.release.v1.cloudcore.v3"
        );
        assert_eq!(secret["metadata"]["labels"]["createdAt"], "1800000001");
        let read = Release::read(&of(secret)).unwrap();
        assert_eq!(read.record, release.record);
        assert_eq!(
            (read.revision(), read.status()),
            (3, Status::PendingUpgrade)
        );
        assert_eq!(read.config(), json!({"b": {"c": "d"}}));
        assert_eq!(
            read.first_deployed(),
            Some(Timestamp::from_unix(1_700_000_000))
        );
        assert_eq!(read.chart_version(), "1.23.1");

        release.set_status(Status::Deployed, "Upgrade complete");
        let secret = release.secret(Timestamp::from_unix(1_800_000_002), false);
        let labels = &secret["metadata"]["labels"];
        assert_eq!(labels["status"], "deployed");
        assert_eq!(
            (&labels["createdAt"], &labels["modifiedAt"]),
            (&Value::Null, &json!("1800000002"))
        );
        assert_eq!(
            Release::read(&of(secret)).unwrap().description(),
            "Upgrade complete"
        );
    }

    #[test]
    fn a_record_without_packing_is_read() {
        let text = release().record;
        let text = STANDARD.encode(STANDARD.encode(Value::Object(text).to_string()));
        let secret = of(json!({"data": {"release": text}}));
        assert_eq!(Release::read(&secret).unwrap().revision(), 3);
    }

    #[test]
    fn what_is_no_record_is_named() {
        let packed = |text: &str| STANDARD.encode(STANDARD.encode(gzip::pack(text.as_bytes())));
        for (data, part) in [
            (json!({}), "it has no data.release"),
            (json!({"release": "%"}), "it is not written in base64"),
            (
                json!({"release": STANDARD.encode("%")}),
                "it is not written in base64",
            ),
            (json!({"release": packed("[]")}), "invalid type"),
            (json!({"release": packed("{}")}), "it has no version"),
            (
                json!({"release": STANDARD.encode(STANDARD.encode([31, 139, 8, 0]))}),
                "it is cut or changed",
            ),
        ] {
            let secret = of(json!({"metadata": {"name": "x"}, "data": data}));
            let refusal = Release::read(&secret).unwrap_err().to_string();
            assert!(
                refusal.starts_with("the Secret x is no record"),
                "{refusal}"
            );
            assert!(refusal.contains(part), "{refusal}");
        }
    }

    /// Every key that Helm wrote, but for values, files of the chart and times, with the type that it has there.
    fn shape(value: &Value, path: &str, into: &mut Vec<String>) {
        match value {
            Value::Object(map) if !["/chart/values", "/config"].contains(&path) => {
                for (key, value) in map {
                    shape(value, &format!("{path}/{key}"), into);
                }
            }
            Value::Array(list) if path == "/hooks" => {
                list.iter().for_each(|hook| shape(hook, path, into));
            }
            Value::Null => into.push(format!("{path}: null")),
            Value::Bool(_) => into.push(format!("{path}: bool")),
            Value::Number(_) => into.push(format!("{path}: number")),
            Value::String(_) => into.push(format!("{path}: text")),
            Value::Array(_) => into.push(format!("{path}: list")),
            Value::Object(_) => into.push(format!("{path}: object")),
        }
    }

    #[test]
    fn records_have_the_keys_and_labels_of_recorded_ones() {
        for name in ["deployed", "failed"] {
            let read = |what: &str| -> Value {
                let top = env!("CARGO_MANIFEST_DIR");
                let path = format!("{top}/tests/vectors/helm-release/{name}.{what}.json");
                serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
            };
            let theirs = read("release");
            let mut release = release();
            release.record["chart"]["metadata"] = theirs["chart"]["metadata"].clone();
            release.set_hooks(vec![theirs["hooks"][0].clone()]);
            release.set_status(
                Status::of(theirs["info"]["status"].as_str().unwrap()),
                theirs["info"]["description"].as_str().unwrap(),
            );
            let (mut left, mut right) = (Vec::new(), Vec::new());
            shape(&Value::Object(release.record.clone()), "", &mut left);
            shape(&theirs, "", &mut right);
            assert_eq!(left, right);
            let kept = read("secret");
            let ours = release.secret(Timestamp::from_unix(1), false);
            assert_eq!(ours["type"], kept["type"]);
            for (key, value) in kept["metadata"]["labels"].as_object().unwrap() {
                let own = &ours["metadata"]["labels"][key];
                assert!(
                    own == value || ["modifiedAt", "version"].contains(&key.as_str()),
                    "{key}"
                );
            }
            assert_eq!(ours["metadata"]["labels"].as_object().unwrap().len(), 5);
        }
    }

    #[test]
    fn a_record_is_not_shown() {
        assert_eq!(
            format!("{:?}", release()),
            "Release(cloudcore v3 pending-upgrade)"
        );
    }

    #[test]
    fn statuses_have_the_words_of_helm() {
        for (status, text) in STATUSES {
            assert_eq!(Status::of(text), *status);
            assert_eq!(status.as_str(), *text);
        }
        assert_eq!(Status::of("other"), Status::Unknown);
        assert!(Status::PendingInstall.is_pending() && !Status::Failed.is_pending());
    }
}
