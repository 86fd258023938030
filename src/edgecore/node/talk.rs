//! Questions about the node and its lease, as a cloud of KubeEdge takes them from its edges.

use std::fmt;
use std::future::pending;
use std::time::Duration;

use serde::Serialize;

use super::Node;
use crate::edgecore::requests::Unanswered;
use crate::protocol::message::Message;
use crate::protocol::object::Object;
use crate::protocol::reply::{Refusal, Status, bare_object, object_of_both};
use crate::protocol::resource::{Kind, ObjectPath};

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    Node,
    /// The status of the Node, and what of its head a node may change.
    Patch,
    Lease,
}

/// Why there is no object in answer.
#[derive(Debug)]
pub enum Failed {
    Unanswered(Unanswered),
    Refused(Box<Refusal>),
    /// The answer is about something else.
    Foreign,
    /// There is no Node, and the device may not make it.
    NotRegistered(String),
}

impl Failed {
    /// The cloud did not answer in time.
    pub fn is_silence(&self) -> bool {
        matches!(self, Failed::Unanswered(Unanswered::TimedOut(_)))
    }

    /// The API's own words, if it spoke.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Failed::Refused(refusal) => match &**refusal {
                Refusal::Api(status) => Some(status),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(Status::is_not_found)
    }

    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(Status::is_conflict)
    }

    pub fn is_already_exists(&self) -> bool {
        self.status().is_some_and(Status::is_already_exists)
    }
}

impl Node<'_> {
    /// Asks over the present session. When that ends there is nobody to answer, and nobody to wait:
    /// whoever holds this future ends it.
    pub(super) async fn ask(
        &self,
        operation: &str,
        about: About,
        content: &impl Serialize,
        patience: Duration,
    ) -> Result<Object, Failed> {
        let (now, resource) = (self.edge.host.clock.stamp(), self.resource(about));
        let question = Message::of_edged(now, operation, &resource, content);
        let answer = match self.edge.requests.ask(question, patience).await {
            Ok(answer) => answer,
            Err(Unanswered::NoSession) => pending().await,
            Err(unanswered) => return Err(Failed::Unanswered(unanswered)),
        };
        let object = match (operation, about) {
            // Of all questions only this is answered by the bare object.
            ("query", About::Node) => bare_object(&answer),
            _ => object_of_both(&answer),
        };
        let object = object.map_err(|refusal| Failed::Refused(Box::new(refusal)))?;
        match object.meta().name == self.edge.settings.node.as_str() {
            true => Ok(object),
            false => Err(Failed::Foreign),
        }
    }

    fn resource(&self, about: About) -> String {
        let name = self.edge.settings.node.as_str();
        match about {
            About::Node => ObjectPath::of_cluster(Kind::Node, name).to_string(),
            About::Patch => ObjectPath::of_cluster(Kind::NodePatch, name).to_string(),
            About::Lease => format!("{LEASES}/{}/{name}", Kind::Lease),
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Unanswered(error) => error.fmt(f),
            Failed::Refused(error) => error.fmt(f),
            Failed::Foreign => f.write_str("the cloud answered about something else"),
            Failed::NotRegistered(name) => write!(
                f,
                "the cloud has no node {name}, and registerNode is false: create it there, or set \
                 modules.edged.tailoredKubeletConfig.registerNode to true"
            ),
        }
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Failed::Unanswered(error) => Some(error),
            Failed::Refused(error) => Some(&**error),
            Failed::Foreign | Failed::NotRegistered(_) => None,
        }
    }
}

/// The namespace of the leases of nodes.
pub const LEASES: &str = "kube-node-lease";
