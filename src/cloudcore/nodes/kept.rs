//! One object that the cloud keeps: its text, to whom it was given, and the little that is read of it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::protocol::resource::{Kind, ObjectPath, Resource};
use crate::store::{ObjectChange, StoredObject};
use crate::system::names::NodeName;
use crate::system::sorted::{SortedMap, SortedSet};

/// An object of the cluster.
#[derive(Clone, Debug)]
pub struct Kept {
    pub path: Arc<ObjectPath>,
    pub uid: Arc<str>,
    pub version: u64,
    /// JSON, kind and apiVersion first.
    pub text: Arc<str>,
    pub given: Given,
    pub facts: Facts,
}

/// To whom an operator gave an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Given {
    #[serde(default, skip_serializing_if = "SortedSet::is_empty")]
    pub nodes: SortedSet<NodeName>,
    /// Nodes with this label, whenever they come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
}

/// A label that a node must have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Selector {
    pub key: String,
    pub value: String,
}

/// What counts of an object besides its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The node that a Pod or a Device belongs to.
    pub bound: Option<NodeName>,
    /// What it needs, in its own namespace.
    pub needs: SortedSet<(Kind, String)>,
    /// What its node may ask for because of it, in its own namespace, and is not told unasked.
    pub may_ask: SortedSet<(Kind, String)>,
    /// Of a Node.
    pub labels: SortedMap<String, String>,
    /// Of a Pod: its node runs it by itself, and only tells of it.
    pub mirror: bool,
}

/// What nodes are to forget: an object that was deleted, or is not theirs any more.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Gone {
    #[serde(skip)]
    pub path: Option<Arc<ObjectPath>>,
    resource: String,
    kind: Value,
    #[serde(rename = "apiVersion")]
    api_version: Value,
    pub version: u64,
    /// Those that have not acknowledged it.
    pub owed: SortedSet<NodeName>,
    /// Since when, if this process has seen it.
    #[serde(skip)]
    pub since: Option<Instant>,
}

impl Kept {
    /// None for what has not the form of an object with uid and version.
    pub fn new(path: ObjectPath, object: &Map<String, Value>, given: Given) -> Option<Kept> {
        let metadata = object.get("metadata")?;
        let word = |key: &str| metadata.get(key).and_then(Value::as_str);
        let (uid, version) = (word("uid")?, word("resourceVersion")?.parse().ok()?);
        Some(Kept {
            uid: uid.into(),
            version,
            text: serde_json::to_string(object).ok()?.into(),
            facts: Facts::of(path.kind, object),
            path: Arc::new(path),
            given,
        })
    }

    pub fn object(&self) -> Map<String, Value> {
        // It was written from a map.
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// To be written to the store.
    pub fn change(&self) -> ObjectChange {
        #[derive(Serialize)]
        struct Record<'a> {
            #[serde(flatten)]
            given: &'a Given,
            object: Option<&'a RawValue>,
        }
        let record = Record {
            given: &self.given,
            object: serde_json::from_str(&self.text).ok(),
        };
        ObjectChange {
            key: key(&self.path),
            text: serde_json::to_string(&record).ok().map(Into::into),
        }
    }

    pub fn removal(&self) -> ObjectChange {
        ObjectChange {
            key: key(&self.path),
            text: None,
        }
    }

    /// What its nodes are told when it is theirs no more.
    pub fn gone(&self) -> Gone {
        let mut object = self.object();
        let mut take = |key: &str| object.remove(key).unwrap_or_default();
        Gone {
            path: Some(self.path.clone()),
            resource: self.path.to_string(),
            kind: take("kind"),
            api_version: take("apiVersion"),
            version: self.version,
            owed: SortedSet::new(),
            since: Some(Instant::now()),
        }
    }
}

/// What a store has kept.
pub enum Restored {
    Object(Kept),
    Gone(Arc<str>, Gone),
}

impl Restored {
    /// None for what can't be read: it is left alone.
    pub fn read(stored: &StoredObject) -> Option<Restored> {
        #[derive(Deserialize)]
        struct Record {
            #[serde(flatten)]
            given: Given,
            object: Map<String, Value>,
        }
        if let Some(uid) = stored.key.strip_prefix(GONE) {
            let mut gone: Gone = serde_json::from_str(&stored.text).ok()?;
            gone.path = Some(Arc::new(path(&gone.resource)?));
            return Some(Restored::Gone(uid.into(), gone));
        }
        let record: Record = serde_json::from_str(&stored.text).ok()?;
        let kept = Kept::new(path(&stored.key)?, &record.object, record.given)?;
        Some(Restored::Object(kept))
    }
}

impl Gone {
    /// Of an object of which only this is known.
    pub fn unknown(path: ObjectPath, version: u64) -> Gone {
        Gone {
            resource: path.to_string(),
            path: Some(Arc::new(path)),
            kind: "Pod".into(),
            api_version: "v1".into(),
            version,
            owed: SortedSet::new(),
            since: Some(Instant::now()),
        }
    }

    /// To be written to the store; forgotten there when nobody is owed anything.
    pub fn change(&self, uid: &str) -> ObjectChange {
        let text = serde_json::to_string(self).ok().map(Into::into);
        ObjectChange {
            key: format!("{GONE}{uid}").into(),
            text: text.filter(|_| !self.owed.is_empty()),
        }
    }

    /// That nobody has to forget it any more.
    pub fn removal(uid: &str) -> ObjectChange {
        ObjectChange {
            key: format!("{GONE}{uid}").into(),
            text: None,
        }
    }

    /// What an edge needs for forgetting it.
    pub fn object(&self, uid: &str) -> Value {
        let mut metadata = Map::new();
        if let Some(path) = &self.path {
            metadata.insert("name".to_owned(), path.name.clone().into());
            if let Some(namespace) = path.namespace.as_str() {
                metadata.insert("namespace".to_owned(), namespace.into());
            }
        }
        metadata.insert("uid".to_owned(), uid.into());
        let version = self.version.to_string();
        metadata.insert("resourceVersion".to_owned(), version.into());
        serde_json::json!({
            "kind": self.kind, "apiVersion": self.api_version, "metadata": metadata,
        })
    }
}

fn key(path: &ObjectPath) -> Arc<str> {
    path.to_string().into()
}

fn path(text: &str) -> Option<ObjectPath> {
    text.parse::<Resource>().ok()?.object().cloned()
}

impl Facts {
    pub fn of(kind: Kind, object: &Map<String, Value>) -> Facts {
        let mut facts = Facts::default();
        let spec = object.get("spec");
        let bound = || spec?.get("nodeName")?.as_str()?.parse().ok();
        match kind {
            Kind::Node => {
                let labels = object.get("metadata").and_then(|it| it.get("labels"));
                let labels = labels.and_then(Value::as_object).into_iter().flatten();
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                facts.labels = labels
                    .map(|(key, value)| (key.clone(), text(value)))
                    .collect();
            }
            Kind::Pod => {
                facts.bound = bound();
                let metadata = object.get("metadata");
                let annotations = metadata.and_then(|it| it.get("annotations"));
                let mirror = annotations.and_then(|it| it.get(MIRROR));
                facts.mirror = mirror.is_some_and(Value::is_string);
                if let Some(spec) = spec {
                    facts.needs = needs_of_pod(spec);
                    facts.may_ask = wishes_of_pod(spec);
                }
            }
            Kind::Device => {
                facts.bound = bound();
                let model = || spec?.get("deviceModelRef")?.get("name")?.as_str();
                let model = model().map(|name| (Kind::DeviceModel, name.to_owned()));
                facts.needs = model.into_iter().collect();
            }
            _ => {}
        }
        facts
    }
}

/// ConfigMaps and Secrets that a pod mounts, has in its environment or pulls images with.
fn needs_of_pod(spec: &Value) -> SortedSet<(Kind, String)> {
    let mut needs = Vec::new();
    let mut need = |kind: Kind, holder: Option<&Value>, key: &str| {
        let name = holder.and_then(|it| it.get(key)).and_then(Value::as_str);
        needs.extend(name.map(|name| (kind, name.to_owned())));
    };
    for secret in list(spec, "imagePullSecrets") {
        need(Kind::Secret, Some(secret), "name");
    }
    for volume in list(spec, "volumes") {
        need(Kind::ConfigMap, volume.get("configMap"), "name");
        need(Kind::Secret, volume.get("secret"), "secretName");
        let projected = volume.get("projected").into_iter();
        for source in projected.flat_map(|it| list(it, "sources")) {
            need(Kind::ConfigMap, source.get("configMap"), "name");
            need(Kind::Secret, source.get("secret"), "name");
        }
    }
    for containers in ["initContainers", "containers", "ephemeralContainers"] {
        for container in list(spec, containers) {
            for entry in list(container, "envFrom") {
                need(Kind::ConfigMap, entry.get("configMapRef"), "name");
                need(Kind::Secret, entry.get("secretRef"), "name");
            }
            for entry in list(container, "env") {
                let from = entry.get("valueFrom");
                let of = |key| from.and_then(|from| from.get(key));
                need(Kind::ConfigMap, of("configMapKeyRef"), "name");
                need(Kind::Secret, of("secretKeyRef"), "name");
            }
        }
    }
    needs.into_iter().collect()
}

/// Claims of volumes, and who the pod runs as.
fn wishes_of_pod(spec: &Value) -> SortedSet<(Kind, String)> {
    let mut wishes = Vec::new();
    for volume in list(spec, "volumes") {
        let claim = volume.get("persistentVolumeClaim");
        let claim = claim.and_then(|it| it.get("claimName")?.as_str());
        wishes.extend(claim.map(|name| (Kind::PersistentVolumeClaim, name.to_owned())));
    }
    let account = spec.get("serviceAccountName").and_then(Value::as_str);
    let account = account.filter(|name| !name.is_empty());
    wishes.extend(account.map(|name| (Kind::ServiceAccountToken, name.to_owned())));
    wishes.into_iter().collect()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

impl Selector {
    pub fn fits(&self, labels: &SortedMap<String, String>) -> bool {
        labels.get(&self.key) == Some(&self.value)
    }
}

/// A text that is no selector.
#[derive(Debug)]
pub struct NoSelector;

impl FromStr for Selector {
    type Err = NoSelector;

    fn from_str(text: &str) -> Result<Selector, NoSelector> {
        let (key, value) = text.split_once('=').ok_or(NoSelector)?;
        let plain = |text: &str, more: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
            text.len() <= MAX_LABEL && text.chars().all(fits)
        };
        if key.is_empty() || !plain(key, "-_./") || !plain(value, "-_.") {
            return Err(NoSelector);
        }
        Ok(Selector {
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }
}

impl fmt::Display for NoSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a selector is one label and its value, as in role=router")
    }
}

impl std::error::Error for NoSelector {}

/// By which kubelets mark pods that no API has ordered.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Before the uid, in the keys of what is gone; no namespace has a name like this.
const GONE: &str = "-gone/";

/// A prefix, a slash and a name.
const MAX_LABEL: usize = 317;

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
