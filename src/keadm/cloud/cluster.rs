//! The cluster of a command: calls that are waited for, a clock, and what people are told meanwhile.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::CloudError;
use crate::kubernetes::kubeconfig::{self, Choice};
use crate::kubernetes::list;
use crate::kubernetes::object::Object;
use crate::kubernetes::plain::{Plain, wait};
use crate::kubernetes::{Answer, Api, CallError, Method, Request, Resource};
use crate::system::clock::Timestamp;
use crate::system::console;
use crate::system::host::Host;

/// A way to a cluster, for one command.
pub struct Cluster {
    api: Arc<dyn Api>,
    pub host: Host,
    /// Between two looks at what is waited for.
    pub pause: Duration,
    /// For the lines that tell how it goes.
    name: &'static str,
}

impl Cluster {
    /// The one that the operator means.
    pub fn find(
        name: &'static str,
        host: &Host,
        kube_config: &str,
        context: &str,
    ) -> Result<Cluster, CloudError> {
        let said = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let environment = |name: &str| std::env::var(name).ok();
        let access = match kube_config.trim() {
            IN_CLUSTER => kubeconfig::pod(host, &environment)?,
            file => {
                let choice = Choice {
                    kube_config: said(file).map(PathBuf::from),
                    context: said(context),
                };
                kubeconfig::find(&choice, host, &environment)?
            }
        };
        let api = Arc::new(Plain::new(access, &host.clock));
        Ok(Cluster::new(name, host, api))
    }

    pub fn new(name: &'static str, host: &Host, api: Arc<dyn Api>) -> Cluster {
        Cluster {
            api,
            host: host.clone(),
            pause: Duration::from_secs(2),
            name,
        }
    }

    pub fn now(&self) -> Timestamp {
        self.host.clock.now()
    }

    pub fn ask(&self, request: &Request) -> Result<Answer, CallError> {
        wait(self.api.call(request))
    }

    /// The object that answers.
    pub fn object(&self, request: &Request) -> Result<Object, CallError> {
        self.ask(request)?.object()
    }

    /// The object of this name; none when there is none.
    pub fn get(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Object>, CallError> {
        match self.object(&Request::get(resource, namespace, name)) {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All pages of a list.
    pub fn list(&self, request: &Request) -> Result<Vec<Object>, CallError> {
        let listed = smol::block_on(list::all(&*self.api, request, MAX_OBJECTS))?;
        Ok(listed.items)
    }

    /// The type of an object: one that is known here, or one that the cluster tells of.
    pub fn resource_of(&self, object: &Value) -> Result<Resource, CloudError> {
        let (version, kind) = (text(object, "apiVersion"), text(object, "kind"));
        if let Some(known) = Resource::of(version, kind) {
            return Ok(known.clone());
        }
        let unknown = || CloudError::UnknownKind(format!("{version} {kind}"));
        let (group, short, path) = match version.split_once('/') {
            Some((group, short)) => (group, short, format!("/apis/{group}/{short}")),
            None => ("", version, format!("/api/{version}")),
        };
        let plain = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
        };
        if !plain(group) || !plain(short) || short.is_empty() {
            return Err(unknown());
        }
        let found = self
            .object(&Request::new(Method::Get, path))
            .map_err(|error| {
                if error.is_not_found() {
                    unknown()
                } else {
                    error.into()
                }
            })?;
        let listed = found.get("resources").and_then(Value::as_array);
        let listed = listed
            .into_iter()
            .flatten()
            .find(|it| text(it, "kind") == kind && !text(it, "name").contains('/'));
        let listed = listed.ok_or_else(unknown)?;
        Ok(Resource {
            group: group.to_owned().into(),
            version: short.to_owned().into(),
            plural: text(listed, "name").to_owned().into(),
            kind: kind.to_owned().into(),
            namespaced: listed
                .get("namespaced")
                .and_then(Value::as_bool)
                .unwrap_or(false),
        })
    }

    /// Looks again and again until `look` has found something, or the time is up.
    pub fn until<T>(
        &self,
        limit: Duration,
        mut look: impl FnMut() -> Result<Option<T>, CloudError>,
    ) -> Result<Option<T>, CloudError> {
        let end = Instant::now() + limit;
        loop {
            match look() {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                // Who waits anyway waits for the cluster as well.
                Err(CloudError::Call(error)) if error.is_retryable() && Instant::now() < end => {}
                Err(error) => return Err(error),
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(self.pause.min(left));
        }
    }

    /// A line for people, on stderr.
    pub fn say(&self, sentence: &str) {
        console::complain(self.name, sentence);
    }
}

/// A text of an object; empty when there is none.
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// `Deployment/cloudcore`.
pub fn shown(object: &Value) -> String {
    format!(
        "{}/{}",
        text(object, "kind"),
        text(&object["metadata"], "name")
    )
}

/// As the other commands have it.
const IN_CLUSTER: &str = "in-cluster";
/// A list never has as many.
const MAX_OBJECTS: usize = 10_000;
