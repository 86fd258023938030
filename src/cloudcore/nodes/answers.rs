//! What edges ask of their objects, and what they are answered.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::kept::Kept;
use super::meta::{self, Object};
use super::{SOURCE, lease, node, pods};
use crate::cloudcore::cloud::Cloud;
use crate::protocol::message::{Message, Route};
use crate::protocol::reply::{self, About, Status};
use crate::protocol::resource::{Kind, Namespace, ObjectPath, Resource};
use crate::system::names::NodeName;

/// Whether `handle` knows what to do with it.
pub fn is_handled(resource: &Resource, operation: &str) -> bool {
    let kind = match resource {
        Resource::Object(path) => path.kind,
        Resource::List { kind, .. } => *kind,
        _ => return false,
    };
    HANDLED.contains(&(kind, operation))
}

/// Answers a request of this node; what is not its own it neither sees nor changes.
pub async fn handle(
    cloud: Arc<Cloud>,
    node: NodeName,
    resource: Resource,
    message: Message,
) -> Option<Message> {
    let asked = Asked {
        cloud: &cloud,
        node: &node,
        message: &message,
    };
    match resource {
        Resource::Object(path) => asked.object(&path).await,
        Resource::List { namespace, .. } => asked.pod_states(&namespace, None).await,
        _ => None,
    }
}

/// A request, and who asks whom.
pub struct Asked<'a> {
    pub cloud: &'a Cloud,
    pub node: &'a NodeName,
    pub message: &'a Message,
}

impl Asked<'_> {
    async fn object(&self, path: &ObjectPath) -> Option<Message> {
        let own = path.name == self.node.as_str();
        let operation = self.message.route.operation.as_str();
        let denied = |plural| {
            self.cloud.metrics.denied.add();
            Status::forbidden(about(plural, &path.name), "it is another node's")
        };
        match (path.kind, operation) {
            (Kind::Lease, _) if path.namespace.as_str() != Some(lease::NAMESPACE) || !own => {
                Some(self.both(Err(denied("leases")), None))
            }
            (Kind::Lease, "query") => Some(self.both(self.lease(), None)),
            (Kind::Lease, _) => {
                let done = self.write_lease(operation == "update").await;
                Some(self.both(done, Some(EMPTY_LEASE)))
            }
            (Kind::NodePatch | Kind::Node, "insert" | "patch") if !own => {
                Some(self.both(Err(denied("nodes")), None))
            }
            (Kind::Node | Kind::NodeStatus, _) if !own => {
                Some(self.error(&denied("nodes").message))
            }
            (Kind::Node, "insert") => Some(self.both(node::insert(self).await, None)),
            (Kind::Node, "query") => Some(self.node()),
            (Kind::Node, _) => Some(self.done(node::update(self).await)),
            (Kind::NodePatch, _) => Some(self.patched(node::patch(self).await)),
            (Kind::NodeStatus, _) => Some(self.done(node::status(self).await)),
            (Kind::PodPatch, _) => Some(self.patched(pods::patch(self, path).await)),
            (Kind::Pod, "insert") => Some(self.both(pods::insert(self, path).await, None)),
            (Kind::Pod, _) => Some(self.done(pods::delete(self, path).await.map(|()| None))),
            (Kind::PodStatus, _) => self.pod_states(&path.namespace, Some(&path.name)).await,
            (Kind::ConfigMap | Kind::Secret, _) => Some(self.one_of_theirs(path)),
            _ => None,
        }
    }

    async fn pod_states(&self, namespace: &Namespace, name: Option<&str>) -> Option<Message> {
        let done = pods::states(self, namespace, name).await;
        Some(self.done(done.map(|()| None)))
    }

    fn lease(&self) -> Result<Object, Status> {
        let kept_by_us = self.cloud.registry.keeps_lease(self.node);
        let alive = kept_by_us.then(|| self.cloud.clock.now());
        lease::query(&self.cloud.nodes.lock(), self.node, alive)
    }

    async fn write_lease(&self, update: bool) -> Result<Object, Status> {
        let lease = self.content()?;
        let write = if update { lease::update } else { lease::insert };
        let nodes = &self.cloud.nodes;
        let changed = nodes.change(self.cloud, Some(self.node), |state, context| {
            Ok((
                write(state, context, self.node, lease)?,
                super::Effects::default(),
            ))
        });
        changed.await
    }

    /// A ConfigMap or a Secret. Whether another node's exists is not told.
    fn one_of_theirs(&self, path: &ObjectPath) -> Message {
        let state = self.cloud.nodes.lock();
        match state.get(path) {
            Some(kept) if state.sees(self.node, kept) => self.bare(kept),
            found => {
                if found.is_some() {
                    self.cloud.metrics.denied.add();
                }
                let missing = Status::not_found(about(path.kind.as_str(), &path.name));
                // With an error in the form of an object edges of KubeEdge would keep that.
                self.error(&missing.message)
            }
        }
    }

    fn node(&self) -> Message {
        match self.cloud.nodes.lock().node(self.node) {
            Some(kept) => self.bare(kept),
            None => {
                let missing = Status::not_found(about("node", self.node.as_str()));
                self.response(&reply::refused_bare(&missing), None)
            }
        }
    }

    /// The content as an object.
    pub fn content(&self) -> Result<Object, Status> {
        let text = self.message.content.as_ref().map_or("null", |it| it.get());
        let read = serde_json::from_str::<Object>(text);
        read.map_err(|error| Status::bad_request(&format!("not an object: {error}")))
    }

    /// The content of a patch.
    pub fn patch(&self) -> Result<crate::protocol::patch::Patch, Status> {
        let text = self.message.text();
        let text = text.ok_or_else(|| Status::bad_request("a patch is a string"))?;
        crate::protocol::patch::Patch::parse(&text)
            .map_err(|error| Status::bad_request(&error.to_string()))
    }

    pub fn bare(&self, kept: &Kept) -> Message {
        let raw: Option<&RawValue> = serde_json::from_str(&kept.text).ok();
        self.response(&raw, Some(kept.version))
    }

    pub fn both(&self, answer: Result<Object, Status>, empty: Option<&str>) -> Message {
        match answer {
            Ok(object) => self.granted(&object, None),
            Err(status) => {
                let empty = empty.and_then(|text| serde_json::from_str(text).ok());
                self.response(&reply::refused(&status, empty), None)
            }
        }
    }

    fn patched(&self, answer: Result<Arc<Kept>, Status>) -> Message {
        match answer {
            Ok(kept) => self.granted(&meta::untyped(kept.object()), Some(kept.version)),
            Err(status) => self.response(&reply::refused(&status, None), None),
        }
    }

    pub fn granted(&self, object: &Object, version: Option<u64>) -> Message {
        match to_raw_value(object) {
            Ok(raw) => self.response(&reply::granted(&raw), version),
            Err(_) => self.error("the object can't be written as JSON"),
        }
    }

    /// The word "OK", or why not.
    pub fn done(&self, answer: Result<Option<u64>, Status>) -> Message {
        match answer {
            Ok(version) => self.response(&"OK", version),
            Err(status) => self.error(&status.message),
        }
    }

    pub fn error(&self, sentence: &str) -> Message {
        let mut message = self.response(&sentence, None);
        "error".clone_into(&mut message.route.operation);
        message
    }

    pub fn response(&self, content: &impl Serialize, version: Option<u64>) -> Message {
        let route = Route {
            source: SOURCE.to_owned(),
            group: "resource".to_owned(),
            operation: "response".to_owned(),
            resource: self.message.route.resource.clone(),
            ..Route::default()
        };
        let mut message = Message::new(self.cloud.clock.stamp(), route, content);
        message.header.parent_id.clone_from(&self.message.header.id);
        message.header.resource_version = version.map(|it| it.to_string()).unwrap_or_default();
        message
    }
}

/// A type of the core API, as its errors name it.
pub fn about<'a>(word: &'a str, name: &'a str) -> About<'a> {
    let group = match word {
        "leases" => "coordination.k8s.io",
        _ => "",
    };
    About {
        group,
        plural: word,
        name,
    }
}

const HANDLED: &[(Kind, &str)] = &[
    (Kind::ConfigMap, "query"),
    (Kind::Lease, "insert"),
    (Kind::Lease, "query"),
    (Kind::Lease, "update"),
    (Kind::Node, "insert"),
    (Kind::Node, "query"),
    (Kind::Node, "update"),
    (Kind::NodePatch, "patch"),
    (Kind::NodeStatus, "insert"),
    (Kind::NodeStatus, "update"),
    (Kind::Pod, "delete"),
    (Kind::Pod, "insert"),
    (Kind::PodPatch, "patch"),
    (Kind::PodStatus, "update"),
    (Kind::Secret, "query"),
];

/// What Kubernetes gives beside the error of a lease.
const EMPTY_LEASE: &str = r#"{"metadata":{"creationTimestamp":null},"spec":{}}"#;
