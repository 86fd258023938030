//! Leases: how nodes say that they live. Only in memory; after a restart edges make them anew.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::meta::{self, Object, Stamp};
use super::state::State;
use super::{Context, MAX_LEASE};
use crate::protocol::message::new_id;
use crate::protocol::reply::{About, Status};
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;

/// One node's Lease.
pub struct Lease {
    /// JSON without kind and apiVersion.
    text: Box<str>,
    version: u64,
    /// When it came, by our clock and not by the node's.
    pub renewed: Instant,
}

impl Lease {
    pub fn is_fresh(&self) -> bool {
        self.renewed.elapsed() < GRACE
    }
}

/// A lease that is not there yet.
pub fn insert(
    state: &mut State,
    context: &Context<'_>,
    node: &NodeName,
    mut lease: Object,
) -> Result<Object, Status> {
    check(&lease, node)?;
    if state.leases.contains_key(node) {
        return Err(Status::already_exists(about("leases", node)));
    }
    let stamp = Stamp {
        uid: new_id(),
        version: context.version,
        created: context.now.to_string(),
    };
    meta::stamp(&mut lease, &stamp);
    keep(state, context, node, &lease)?;
    Ok(lease)
}

/// A lease in the place of the one with the version that it names.
pub fn update(
    state: &mut State,
    context: &Context<'_>,
    node: &NodeName,
    mut lease: Object,
) -> Result<Object, Status> {
    check(&lease, node)?;
    let version = check_version(&lease, node)?;
    let Some(old) = state.leases.get(node) else {
        return Err(Status::not_found(about("leases", node)));
    };
    if version != old.version.to_string() {
        return Err(Status::conflict(about("leases", node)));
    }
    let old: Object = serde_json::from_str(&old.text).unwrap_or_default();
    meta::stamp(&mut lease, &Stamp::again(&old, context.version));
    keep(state, context, node, &lease)?;
    Ok(lease)
}

/// The lease as it is; `alive` when the cloud itself renews it for a session that lives.
pub fn query(state: &State, node: &NodeName, alive: Option<Timestamp>) -> Result<Object, Status> {
    let Some(lease) = state.leases.get(node) else {
        return Err(Status::not_found(about("lease", node)));
    };
    let mut object = meta::typed("Lease", "coordination.k8s.io/v1");
    object.extend(serde_json::from_str::<Object>(&lease.text).unwrap_or_default());
    if let (Some(now), Some(Value::Object(spec))) = (alive, object.get_mut("spec")) {
        spec.insert("renewTime".to_owned(), now.rfc3339_micros().into());
    }
    Ok(object)
}

/// The version that an update was made from.
pub fn check_version<'a>(lease: &'a Object, node: &NodeName) -> Result<&'a str, Status> {
    let version = lease
        .get("metadata")
        .and_then(|it| it.get("resourceVersion"));
    let version = version.and_then(Value::as_str).filter(|it| !it.is_empty());
    version.ok_or_else(|| {
        Status::invalid(
            about("leases", node),
            "metadata.resourceVersion",
            "Invalid value: 0: must be specified for an update",
        )
    })
}

/// Whether it is a lease, and the node's own.
pub fn check(lease: &Object, node: &NodeName) -> Result<(), Status> {
    let metadata = lease.get("metadata").and_then(Value::as_object);
    let name = metadata.and_then(|it| it.get("name"));
    let own = name.and_then(Value::as_str) == Some(node.as_str());
    if !own || !lease.get("spec").is_some_and(Value::is_object) {
        return Err(Status::bad_request("the lease is not that of the node"));
    }
    // Edges of v1.13 ask before they know the uid of their Node.
    let owners = metadata.and_then(|it| it.get("ownerReferences"));
    let mut owners = owners.and_then(Value::as_array).into_iter().flatten();
    let uid = |owner: &Value| owner.get("uid")?.as_str().map(str::is_empty);
    if owners.any(|owner| uid(owner).unwrap_or(true)) {
        return Err(Status::invalid(
            about("Lease", node),
            "metadata.ownerReferences.uid",
            "Invalid value: \"\": must not be empty",
        ));
    }
    Ok(())
}

fn keep(
    state: &mut State,
    context: &Context<'_>,
    node: &NodeName,
    lease: &Object,
) -> Result<(), Status> {
    let text = serde_json::to_string(lease).unwrap_or_default();
    if text.len() > MAX_LEASE {
        return Err(Status::bad_request("a lease is not as large as this"));
    }
    let lease = Lease {
        text: text.into(),
        version: context.version,
        renewed: Instant::now(),
    };
    state.leases.insert(node.clone(), lease);
    Ok(())
}

pub fn about<'a>(word: &'a str, node: &'a NodeName) -> About<'a> {
    About {
        group: "coordination.k8s.io",
        plural: word,
        name: node.as_str(),
    }
}

/// A node whose lease is older is not ready, as in Kubernetes.
const GRACE: Duration = Duration::from_secs(40);

/// Where leases of nodes are.
pub const NAMESPACE: &str = "kube-node-lease";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_lease_that_the_cloud_renews_is_always_of_now() {
        let node: NodeName = "edge-1".parse().unwrap();
        let (mut state, now) = (State::default(), Timestamp::from_unix(1_795_334_583));
        let context = Context {
            now,
            version: 7,
            address: "192.0.2.2",
        };
        let sent = json!({"metadata": {"name": "edge-1", "namespace": NAMESPACE},
            "spec": {"renewTime": "2026-11-22T08:00:00.000000Z"}});
        insert(
            &mut state,
            &context,
            &node,
            sent.as_object().unwrap().clone(),
        )
        .unwrap();
        assert!(state.leases[&node].is_fresh());
        let asked = |alive| query(&state, &node, alive).unwrap()["spec"]["renewTime"].clone();
        assert_eq!(asked(None), "2026-11-22T08:00:00.000000Z");
        let later = now.plus(Duration::from_secs(600));
        assert_eq!(asked(Some(later)), later.rfc3339_micros());
    }

    #[test]
    fn a_lease_stays_small() {
        let node: NodeName = "edge-1".parse().unwrap();
        let context = Context {
            now: Timestamp::from_unix(1),
            version: 7,
            address: "192.0.2.2",
        };
        let sent = json!({"metadata": {"name": "edge-1"}, "spec": {"x": "y".repeat(MAX_LEASE)}});
        let refused = insert(
            &mut State::default(),
            &context,
            &node,
            sent.as_object().unwrap().clone(),
        );
        assert_eq!(refused.unwrap_err().code, 400);
    }
}
