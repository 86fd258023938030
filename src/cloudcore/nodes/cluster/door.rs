//! The authorizer: what a node may ask for. Every request passes here before the cluster hears of it.

use std::time::Duration;

use smol::Timer;

use super::super::answers::about;
use super::super::elsewhere::Elsewhere;
use super::super::state::{OWN_NAMESPACE, State};
use super::desk::Desk;
use crate::kubernetes::resource::PODS;
use crate::kubernetes::{Request, object};
use crate::protocol::reply::Status;
use crate::protocol::resource::{Kind, ObjectPath};
use crate::system::names::NodeName;

/// Whether something of the node's own needs what lies at this path.
pub fn may_have(state: &State, node: &NodeName, path: &ObjectPath) -> bool {
    match path.kind {
        _ if is_ours(path) => false,
        Kind::ConfigMap | Kind::Secret => state.needs(node, path),
        Kind::PersistentVolumeClaim | Kind::ServiceAccountToken => state.may_ask(node, path),
        _ => false,
    }
}

/// Whether it lies where the CA's key lies.
pub fn is_ours(path: &ObjectPath) -> bool {
    path.namespace.as_str() == Some(OWN_NAMESPACE)
}

impl Desk<'_> {
    /// Returns when the node may have what lies at this path. A Pod that has just been bound may not be
    /// known here yet: so it is looked again for a moment before the answer is no.
    pub async fn admit(&self, path: &ObjectPath) -> Result<(), Status> {
        let granted = || may_have(&self.asked.cloud.nodes.lock(), self.node(), path);
        for pause in PAUSES {
            if granted() {
                return Ok(());
            }
            if is_ours(path) {
                break;
            }
            Timer::after(pause).await;
        }
        match granted() {
            true => Ok(()),
            false if self.cluster.is_synced() => Err(self.denied(path)),
            false => Err(Status::internal(
                "what the cluster has is not known yet: try again later",
            )),
        }
    }

    /// The uid of the node's own Pod, by what is known here or else by the cluster; of another's
    /// nothing is said.
    pub async fn own_pod(&self, path: &ObjectPath) -> Result<String, Status> {
        let missing = || Status::not_found(about("pods", &path.name));
        if is_ours(path) {
            return Err(self.denied(path));
        }
        let known = self.asked.cloud.nodes.lock().get(path).cloned();
        let (bound, uid) = match known {
            Some(kept) => (kept.facts.bound.clone(), kept.uid.to_string()),
            None => {
                let get = Request::get(&PODS, path.namespace.as_str(), &path.name);
                let pod = self.call_as_cloudcore(get).await?;
                let bound = pod.get("spec").and_then(|it| it.get("nodeName")?.as_str());
                let bound = bound.and_then(|name| name.parse().ok());
                (bound, object::uid(&pod).to_owned())
            }
        };
        match bound.as_ref() == Some(self.node()) {
            true => Ok(uid),
            false => {
                self.asked.cloud.metrics.denied.add();
                Err(missing())
            }
        }
    }
}

/// Between two looks; in all about as long as a watch may lag.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_millis(1000),
];
