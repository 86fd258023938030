//! Events, which edges report without waiting for an answer: in bounded lines, each node's in their order.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde_json::{Value, json};
use smol::channel::{Receiver, Sender, bounded};

use super::super::meta::{self, Object};
use super::Cluster;
use super::desk::Desk;
use super::door::is_ours;
use crate::cloudcore::cloud::Cloud;
use crate::kubernetes::resource::EVENTS;
use crate::kubernetes::{Patch, Request, object};
use crate::protocol::resource::ObjectPath;

pub struct Lines(Vec<(Sender<Request>, Receiver<Request>)>);

impl Lines {
    pub fn new() -> Lines {
        Lines((0..LINES).map(|_| bounded(LENGTH)).collect())
    }

    /// Writes what comes in each line, one after the other.
    pub fn serve(cloud: &Arc<Cloud>, cluster: &Arc<Cluster>) {
        for (_, line) in &cluster.events.0 {
            let (line, cluster) = (line.clone(), cluster.clone());
            super::beside(cloud, async move {
                while let Ok(request) = line.recv().await {
                    // The next one tells what is of use by then.
                    let _ = cluster.call(request).await;
                }
            });
        }
    }
}

/// Puts an Event in line, if it is about the node's own; drops it when the line is full.
pub fn take(desk: &Desk<'_>, path: &ObjectPath) {
    let cloud = desk.asked.cloud;
    cloud.metrics.events.add();
    let Some(request) = desk
        .asked
        .content()
        .ok()
        .and_then(|sent| read(desk, path, sent))
    else {
        cloud.metrics.denied.add();
        return;
    };
    let mut hasher = DefaultHasher::new();
    desk.node().hash(&mut hasher);
    let lines = &desk.cluster.events.0;
    let line = usize::try_from(hasher.finish() % LINES as u64).unwrap_or_default();
    let request = desk.cluster.as_node(request, desk.node());
    if let Some((line, _)) = lines.get(line)
        && line.try_send(request).is_err()
    {
        cloud.metrics.events_dropped.add();
    }
}

/// The request that an Event becomes; none for what is not the node's to tell.
fn read(desk: &Desk<'_>, path: &ObjectPath, sent: Object) -> Option<Request> {
    let namespace = path.namespace.as_str();
    let (mut event, patch) = match desk.asked.message.route.operation.as_str() {
        "patch" => {
            let patch = sent.get("patchData")?.as_str()?.to_owned();
            (sent.get("event")?.as_object()?.clone(), Some(patch))
        }
        _ => (sent, None),
    };
    if object::name(&event) != path.name || is_ours(path) {
        return None;
    }
    let about = event.get("involvedObject")?;
    let word = |key: &str| about.get(key).and_then(Value::as_str);
    let node = desk.node();
    let own_node = word("kind") == Some("Node") && word("name") == Some(node.as_str());
    let own_pods = || {
        let same = word("namespace") == namespace;
        same && desk.asked.cloud.nodes.lock().has_in(node, &path.namespace)
    };
    if !own_node && !own_pods() {
        return None;
    }
    if let Some(patch) = patch {
        let patch = crate::protocol::patch::Patch::parse(&patch).ok()?;
        let change = patch.only(CHANGING).into_value();
        return Some(Request::patch(
            &EVENTS,
            namespace,
            &path.name,
            Patch::Strategic,
            &change,
        ));
    }
    event.insert(
        "metadata".to_owned(),
        json!({"name": path.name, "namespace": namespace}),
    );
    meta::child(&mut event, "source").insert("host".to_owned(), node.as_str().into());
    event.extend(meta::typed("Event", "v1"));
    let event = Value::from(event);
    if event.to_string().len() > MAX_EVENT {
        return None;
    }
    Some(match desk.asked.message.route.operation.as_str() {
        "update" => Request::replace(&EVENTS, namespace, &path.name, &event),
        _ => Request::create(&EVENTS, namespace, &event),
    })
}

/// What is told anew of an Event that goes on.
const CHANGING: &[&[&str]] = &[&["count"], &["lastTimestamp"], &["message"], &["series"]];

const LINES: usize = 4;
const LENGTH: usize = 256;
const MAX_EVENT: usize = 16 << 10;
