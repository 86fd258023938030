//! Leases as edges write them themselves. Each write says which cloudcore has the node's session.

use serde_json::{Value, json};

use super::super::MAX_LEASE;
use super::super::lease::{NAMESPACE, about, check, check_version};
use super::super::meta::{self, Object};
use super::desk::Desk;
use super::sessions::{Mark, OWNER, SESSION};
use crate::cloudcore::outbox::Ending;
use crate::kubernetes::Request;
use crate::kubernetes::resource::LEASES;
use crate::protocol::reply::Status;

pub async fn query(desk: &Desk<'_>) -> Result<Object, Status> {
    let name = desk.node();
    let get = Request::get(&LEASES, Some(NAMESPACE), name.as_str());
    desk.call(get)
        .await
        .map_err(|status| match status.is_not_found() {
            true => Status::not_found(about("lease", name)),
            false => status,
        })
}

/// Makes the lease, or puts this one in the place of the one with the version that it names.
pub async fn write(desk: &Desk<'_>, update: bool) -> Result<Object, Status> {
    let (sent, node, cloud) = (desk.asked.content()?, desk.node(), desk.asked.cloud);
    check(&sent, node)?;
    if update {
        check_version(&sent, node)?;
    }
    if let Some(theirs) = Mark::of(&sent)
        && let Some(generation) = desk
            .cluster
            .sessions
            .outdated(node, &theirs, cloud.clock.now())
    {
        // The device speaks through another cloudcore by now.
        cloud
            .registry
            .end_session(node, generation, Ending::Replaced);
    }
    let metadata = sent.get("metadata");
    let mut kept = Object::new();
    for key in ["name", "uid", "resourceVersion", "ownerReferences"] {
        let value = metadata
            .and_then(|it| it.get(key))
            .filter(|it| !it.is_null());
        kept.extend(value.map(|value| (key.to_owned(), value.clone())));
    }
    if !update {
        for key in ["uid", "resourceVersion"] {
            kept.shift_remove(key);
        }
    }
    kept.insert("namespace".to_owned(), NAMESPACE.into());
    if let Some(Mark { owner, session }) = desk.cluster.sessions.mark(node) {
        let words = json!({OWNER: owner, SESSION: session.to_string()});
        kept.insert("annotations".to_owned(), words);
    }
    let mut lease = meta::typed("Lease", "coordination.k8s.io/v1");
    lease.insert("metadata".to_owned(), kept.into());
    lease.extend(
        sent.get("spec")
            .map(|spec| ("spec".to_owned(), spec.clone())),
    );
    let lease = Value::from(lease);
    if lease.to_string().len() > MAX_LEASE {
        return Err(Status::bad_request("a lease is not as large as this"));
    }
    let request = match update {
        true => Request::replace(&LEASES, Some(NAMESPACE), node.as_str(), &lease),
        false => Request::create(&LEASES, Some(NAMESPACE), &lease),
    };
    desk.call(request).await
}
