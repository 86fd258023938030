//! What edges ask of a cluster, one to one in calls of its API.

use super::super::answers::{Asked, about};
use super::super::lease::NAMESPACE;
use super::desk::Desk;
use super::{Cluster, events, leases, node, pods, related};
use crate::protocol::message::Message;
use crate::protocol::reply::Status;
use crate::protocol::resource::{Kind, ObjectPath, Resource};

/// Whether `answer` knows what to do with it.
pub fn is_handled(resource: &Resource, operation: &str) -> bool {
    match resource {
        Resource::KubernetesCa => operation == "query",
        Resource::Object(path) => MORE.contains(&(path.kind, operation)),
        _ => false,
    }
}

/// Answers a request of this node; what is not its own it neither sees nor changes.
pub async fn answer(asked: &Asked<'_>, cluster: &Cluster, resource: &Resource) -> Option<Message> {
    let desk = Desk { asked, cluster };
    match resource {
        Resource::Object(path) => desk.object(path).await,
        Resource::List { namespace, .. } => {
            Some(asked.done(pods::states(&desk, namespace, None).await))
        }
        Resource::KubernetesCa => {
            let text = desk.cluster.authority().await;
            let mut message = asked.response(&text, None);
            "cloudhub".clone_into(&mut message.route.source);
            Some(message)
        }
        _ => None,
    }
}

/// What a node is answered that asks for too much at a time.
pub fn too_much(asked: &Asked<'_>, resource: &Resource) -> Option<Message> {
    asked.cloud.metrics.cluster_busy.add();
    let status = Status::too_many();
    let operation = asked.message.route.operation.as_str();
    let kind = resource.object().map(|path| path.kind);
    match kind {
        Some(Kind::Event) => None,
        Some(Kind::Lease | Kind::NodePatch | Kind::PodPatch) => Some(asked.both(Err(status), None)),
        Some(Kind::Node | Kind::Pod) if operation == "insert" => {
            Some(asked.both(Err(status), None))
        }
        _ => Some(asked.error(&status.message)),
    }
}

impl Desk<'_> {
    async fn object(&self, path: &ObjectPath) -> Option<Message> {
        let own = path.name == self.node().as_str();
        let operation = self.asked.message.route.operation.as_str();
        let denied = |plural| {
            self.asked.cloud.metrics.denied.add();
            Status::forbidden(about(plural, &path.name), "it is another node's")
        };
        Some(match (path.kind, operation) {
            (Kind::Lease, _) if path.namespace.as_str() != Some(NAMESPACE) || !own => {
                self.both(Err(denied("leases")), None)
            }
            (Kind::Lease, "query") => self.both(leases::query(self).await, None),
            (Kind::Lease, _) => {
                let done = leases::write(self, operation == "update").await;
                self.both(done, Some(EMPTY_LEASE))
            }
            (Kind::NodePatch | Kind::Node, "insert" | "patch") if !own => {
                self.both(Err(denied("nodes")), None)
            }
            (Kind::Node | Kind::NodeStatus, _) if !own => {
                self.asked.error(&denied("nodes").message)
            }
            (Kind::Node, "insert") => self.both(node::insert(self).await, None),
            (Kind::Node, "query") => self.bare_or_status(node::query(self).await),
            (Kind::Node, _) => self.asked.done(node::update(self).await),
            (Kind::NodePatch, _) => self.both(node::patch(self).await, None),
            (Kind::NodeStatus, _) => self.asked.done(node::status(self).await),
            (Kind::PodPatch, _) => self.both(pods::patch(self, path).await, None),
            (Kind::Pod, "insert") => self.both(pods::insert(self, path).await, None),
            (Kind::Pod, _) => self
                .asked
                .done(pods::delete(self, path).await.map(|()| None)),
            (Kind::PodStatus, _) => {
                let name = Some(&*path.name);
                self.asked
                    .done(pods::states(self, &path.namespace, name).await)
            }
            (Kind::ConfigMap | Kind::Secret, _) => self.bare(related::kept(self, path).await),
            (Kind::ServiceAccountToken, _) => self.bare(related::token(self, path).await),
            (Kind::PersistentVolumeClaim, _) => self.bare(related::claim(self, path).await),
            (Kind::PersistentVolume, _) => self.bare(related::volume(self, path).await),
            (Kind::VolumeAttachment, _) => self.bare(related::attachment(self, path).await),
            (Kind::CertificateSigningRequest, "insert") => {
                self.both(related::sign(self, path).await, None)
            }
            (Kind::CertificateSigningRequest, _) => self.bare(related::signed(self, path).await),
            (Kind::Event, _) => {
                events::take(self, path);
                return None;
            }
            _ => return None,
        })
    }
}

/// Beside what is handled without a cluster.
const MORE: &[(Kind, &str)] = &[
    (Kind::CertificateSigningRequest, "insert"),
    (Kind::CertificateSigningRequest, "query"),
    (Kind::Event, "insert"),
    (Kind::Event, "patch"),
    (Kind::Event, "update"),
    (Kind::PersistentVolume, "query"),
    (Kind::PersistentVolumeClaim, "query"),
    (Kind::ServiceAccountToken, "query"),
    (Kind::VolumeAttachment, "query"),
];

/// What Kubernetes gives beside the error of a lease.
const EMPTY_LEASE: &str = r#"{"metadata":{"creationTimestamp":null},"spec":{}}"#;
