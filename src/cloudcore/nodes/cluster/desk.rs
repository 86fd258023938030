//! One request of a node to the cluster: in whose name it is asked, and how the answer reads.

use serde_json::Value;

use super::super::answers::{Asked, about};
use super::super::meta::{self, Object};
use super::Cluster;
use crate::kubernetes::{CallError, Request};
use crate::protocol::message::Message;
use crate::protocol::reply::{self, Status};
use crate::protocol::resource::ObjectPath;
use crate::system::names::NodeName;

pub struct Desk<'a> {
    pub asked: &'a Asked<'a>,
    pub cluster: &'a Cluster,
}

impl Desk<'_> {
    pub fn node(&self) -> &NodeName {
        self.asked.node
    }

    /// Asks in the name of the node, where we may.
    pub async fn call(&self, request: Request) -> Result<Object, Status> {
        let request = self.cluster.as_node(request, self.node());
        self.call_as_cloudcore(request).await
    }

    pub async fn call_as_cloudcore(&self, request: Request) -> Result<Object, Status> {
        let called = self.cluster.call(request).await;
        let object = called.and_then(|answer| answer.object());
        match object {
            Ok(object) => Ok(without_fields(object)),
            Err(error) => Err(self.cluster.refusal(error)),
        }
    }

    /// An object is refused, whether it exists or not.
    pub fn denied(&self, path: &ObjectPath) -> Status {
        self.asked.cloud.metrics.denied.add();
        Status::not_found(about(path.kind.as_str(), &path.name))
    }

    pub fn bare(&self, answer: Result<Object, Status>) -> Message {
        match answer {
            Ok(object) => self.asked.response(&object, version(&object)),
            // With an error in the form of an object edges of KubeEdge would keep that.
            Err(status) => self.asked.error(&status.message),
        }
    }

    /// A Node that is not there edges want to hear as such.
    pub fn bare_or_status(&self, answer: Result<Object, Status>) -> Message {
        match answer {
            Ok(object) => self.asked.response(&object, version(&object)),
            Err(status) => self.asked.response(&reply::refused_bare(&status), None),
        }
    }

    /// In the form with both keys; with what stands beside an error.
    pub fn both(&self, answer: Result<Object, Status>, empty: Option<&str>) -> Message {
        match answer {
            Ok(object) => {
                let version = version(&object);
                self.asked.granted(&meta::untyped(object), version)
            }
            Err(status) => self.asked.both(Err(status), empty),
        }
    }
}

impl Cluster {
    /// The cluster's words to the node; where it does not answer, that.
    pub fn refusal(&self, error: CallError) -> Status {
        match error {
            CallError::Refused(status) if status.code != 401 => Status::of_cluster(
                status.code,
                &status.reason,
                &status.message,
                status.details.as_ref(),
            ),
            other => {
                self.complain(&other);
                Status::internal("the cluster does not answer: try again later")
            }
        }
    }
}

/// Who wrote which field nobody reads here; it is as large as the rest.
pub fn without_fields(mut object: Object) -> Object {
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.shift_remove("managedFields");
    }
    object
}

pub fn version(object: &Object) -> Option<u64> {
    crate::kubernetes::object::version(object).parse().ok()
}
