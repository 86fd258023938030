//! Objects in the namespace of KubeEdge, changed only by who has seen their present version.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use log::info;
use serde_json::{Value, json};
use smol::Timer;

use super::super::{ClusterFault, Corruption, StoreError};
use super::{LABEL, NAMESPACE};
use crate::kubernetes::object::{self, Object};
use crate::kubernetes::request::{Patch, Request};
use crate::kubernetes::resource::{NAMESPACES, SECRETS};
use crate::kubernetes::{Api, CallError, Resource};
use crate::system::sorted::SortedMap;

/// The objects, and the way to them.
pub struct Space {
    pub api: Arc<dyn Api>,
}

/// A Secret or a ConfigMap that is to be made, or changed.
pub struct Wanted<'a> {
    pub resource: Resource,
    pub name: &'a str,
    /// What it is; none: it has no label, as KubeEdge's.
    pub label: Option<&'a str>,
    /// None takes a part away.
    pub data: Vec<(&'a str, Option<Vec<u8>>)>,
}

impl Space {
    pub fn new(api: Arc<dyn Api>) -> Space {
        Space { api }
    }

    pub async fn get(&self, resource: &Resource, name: &str) -> Result<Option<Object>, StoreError> {
        let request = Request::get(resource, Some(NAMESPACE), name);
        match self.api.call(&request).await {
            Ok(answer) => Ok(Some(answer.object()?)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes what is wanted, or changes exactly this version of it. None when that is not the state
    /// any more, or nobody knows: read it again.
    pub async fn write(
        &self,
        wanted: &Wanted<'_>,
        version: Option<&str>,
    ) -> Result<Option<Object>, StoreError> {
        match version {
            None => self.create(wanted).await,
            Some(version) => self.change(wanted, version).await,
        }
    }

    async fn create(&self, wanted: &Wanted<'_>) -> Result<Option<Object>, StoreError> {
        let mut metadata = json!({"name": wanted.name, "namespace": NAMESPACE});
        if let Some(label) = wanted.label {
            metadata["labels"] = json!({LABEL: label});
        }
        let mut object = json!({
            "apiVersion": "v1", "kind": wanted.resource.kind, "metadata": metadata,
            "data": wanted.data(),
        });
        if wanted.resource == SECRETS {
            object["type"] = json!("Opaque");
        }
        let request = Request::create(&wanted.resource, Some(NAMESPACE), &object);
        let mut outcome = self.api.call(&request).await;
        // A create is not found when its namespace is not.
        if outcome.as_ref().is_err_and(CallError::is_not_found) {
            self.make_namespace().await?;
            outcome = self.api.call(&request).await;
        }
        written(outcome.and_then(|answer| answer.object()))
    }

    async fn change(
        &self,
        wanted: &Wanted<'_>,
        version: &str,
    ) -> Result<Option<Object>, StoreError> {
        let change = json!({
            "metadata": {"resourceVersion": version}, "data": wanted.data(),
        });
        let (resource, name) = (&wanted.resource, wanted.name);
        let request = Request::patch(resource, Some(NAMESPACE), name, Patch::Merge, &change);
        let outcome = self.api.call(&request).await;
        written(outcome.and_then(|answer| answer.object()))
    }

    async fn make_namespace(&self) -> Result<(), StoreError> {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE},
        });
        let request = Request::create(&NAMESPACES, None, &namespace);
        match self.api.call(&request).await {
            Ok(_) => info!("the namespace {NAMESPACE} is made"),
            Err(error) if error.is_taken() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// False when there was none. With a uid, only the object that has it goes.
    pub async fn delete(
        &self,
        resource: &Resource,
        name: &str,
        uid: Option<&str>,
    ) -> Result<bool, StoreError> {
        let mut request = Request::delete(resource, Some(NAMESPACE), name);
        if let Some(uid) = uid {
            request = request.only_uid(uid);
        }
        let mut unsure = false;
        for attempt in 0..ATTEMPTS {
            match self.api.call(&request).await {
                Ok(_) => return Ok(true),
                Err(error) if error.is_not_found() || error.is_conflict() => return Ok(unsure),
                // It may have been done: then it is not there any more.
                Err(CallError::Unknown { .. }) => unsure = true,
                Err(error) => return Err(error.into()),
            }
            pause(attempt).await;
        }
        Err(StoreError::Contended)
    }

    /// All objects with this label, and the version of the whole.
    pub async fn list(
        &self,
        resource: &Resource,
        label: &str,
    ) -> Result<(Vec<Object>, String), StoreError> {
        let selector = format!("{LABEL}={label}");
        self.select(resource, &selector).await
    }

    pub async fn select(
        &self,
        resource: &Resource,
        selector: &str,
    ) -> Result<(Vec<Object>, String), StoreError> {
        let mut objects = Vec::new();
        let mut from = String::new();
        // A list of which the cluster forgets the version while it is read begins anew.
        for _ in 0..MAX_PAGES {
            let mut request =
                Request::list(resource, Some(NAMESPACE)).with("labelSelector", selector);
            if !from.is_empty() {
                request = request.with("continue", from.clone());
            }
            let mut page = match self.api.call(&request).await {
                Ok(answer) => answer.object()?,
                Err(error) if error.is_too_old() && !from.is_empty() => {
                    objects.clear();
                    from.clear();
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let items = page.remove("items");
            let Some(Value::Array(items)) = items else {
                return Err(CallError::Strange("a list without items".to_owned()).into());
            };
            objects.extend(items.into_iter().filter_map(|item| match item {
                Value::Object(object) => Some(object),
                _ => None,
            }));
            from = object::text(&page, "continue").to_owned();
            if from.is_empty() {
                return Ok((objects, object::version(&page).to_owned()));
            }
        }
        Err(StoreError::Contended)
    }
}

impl Wanted<'_> {
    /// As the cluster writes it: in base64 in a Secret, as text in a ConfigMap.
    fn data(&self) -> SortedMap<&str, Value> {
        let secret = self.resource == SECRETS;
        let text = |bytes: &[u8]| match secret {
            true => STANDARD.encode(bytes),
            false => String::from_utf8_lossy(bytes).into_owned(),
        };
        let value =
            |bytes: &Option<Vec<u8>>| bytes.as_deref().map(text).map_or(Value::Null, Value::from);
        let data = self.data.iter();
        data.map(|(key, bytes)| (*key, value(bytes))).collect()
    }
}

/// What a Secret has under this key.
pub fn secret(object: &Object, key: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text(object, key)?).ok()
}

/// What a ConfigMap has under this key.
pub fn text<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get("data")?.get(key)?.as_str()
}

/// How the object is called in sentences.
pub fn place(resource: &Resource, name: &str) -> PathBuf {
    PathBuf::from(format!("the {} {NAMESPACE}/{name}", resource.kind))
}

pub fn corrupt(resource: &Resource, name: &str, what: Corruption) -> StoreError {
    StoreError::Corrupt {
        path: place(resource, name),
        what,
    }
}

/// Gives whoever else is at it time to end. The more have lost, the further they are spread.
pub async fn pause(attempt: usize) {
    let most = LONGEST_PAUSE.min(FIRST_PAUSE * u32::try_from(attempt + 1).unwrap_or(u32::MAX));
    Timer::after(most.mul_f64(fastrand::f64())).await;
}

fn written(outcome: Result<Object, CallError>) -> Result<Option<Object>, StoreError> {
    match outcome {
        Ok(object) => Ok(Some(object)),
        Err(CallError::Unknown { .. }) => Ok(None),
        Err(error) if error.is_taken() || error.is_conflict() || error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl From<CallError> for StoreError {
    fn from(error: CallError) -> StoreError {
        let unknown = error.status().is_some_and(|status| status.code == 401);
        StoreError::Cluster(Arc::new(ClusterFault {
            retryable: error.is_retryable(),
            denied: unknown || error.is_forbidden() || matches!(error, CallError::Credentials(_)),
            cause: Box::new(error),
        }))
    }
}

/// Whoever loses has lost to one who has won: so many may come between.
pub const ATTEMPTS: usize = 64;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// 10,000 tokens and 1024 maps of nodes are fewer.
const MAX_PAGES: usize = 64;

/// What objects of ours are.
pub const NODE_KEYS: &str = "node-keys";
pub const OLD_CA: &str = "old-ca";
pub const REVOCATIONS: &str = "revocations";
pub const ROTATION: &str = "ca-rotation";
pub const TOKEN: &str = "token";
