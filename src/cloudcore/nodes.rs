//! Nodes and their objects: what the cloud keeps, answers and pushes without a Kubernetes behind it.

mod answers;
mod index;
mod kept;
mod labels;
mod lease;
mod meta;
mod node;
mod orders;
mod pods;
mod state;
mod view;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use log::warn;
use serde_json::{Value, json};

use self::kept::Kept;
use self::state::{Effects, State};
use super::cloud::Cloud;
use super::outbox::{Item, Outbox};
use crate::protocol::message::{self, Message, Route};
use crate::protocol::reply::Status;
use crate::protocol::resource::Kind;
use crate::store::{Store, StoreError};
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;

pub use answers::{handle, is_handled};
pub use kept::Selector;
pub use labels::{LabelChange, NoLabel, is_reserved, label};
pub use orders::{Order, apply, delete, delete_node, get};
pub use view::rows;

/// All that is known of nodes. Tasks share it within the cloud.
pub struct Nodes {
    store: Arc<dyn Store>,
    /// Of this cloud, as Nodes are annotated with it.
    address: String,
    state: Mutex<State>,
    refilling: smol::lock::Mutex<()>,
}

/// What a change of state has to know.
struct Context<'a> {
    now: Timestamp,
    /// A version that nobody else gets.
    version: u64,
    /// Of this cloud.
    address: &'a str,
}

impl Nodes {
    /// Reads what the store has.
    pub async fn open(store: Arc<dyn Store>, address: String) -> Result<Nodes, StoreError> {
        let stored = store.objects().await?;
        Ok(Nodes {
            state: Mutex::new(State::restore(&stored)),
            store,
            address,
            refilling: smol::lock::Mutex::new(()),
        })
    }

    /// Puts everything in line that a node which has just connected is to know and to forget.
    pub fn resend(&self, node: &NodeName, outbox: &Outbox, now: Timestamp) {
        let items = self.lock().everything_for(node);
        self.tell_devices(outbox, items.iter().map(|(item, _)| item), now);
        if !items.is_empty() {
            outbox.offer(items);
        }
    }

    /// The message that brings an item to a node; none when it is not the node's any more.
    pub fn message(
        &self,
        node: &NodeName,
        item: &Item,
        new: bool,
        now: Timestamp,
    ) -> Option<Message> {
        let state = self.lock();
        let kind = item.path.kind;
        let (operation, version, mut message) = match &item.gone {
            Some(uid) => {
                let gone = state.gone(uid).filter(|it| it.owed.contains(node))?;
                let message = Message::new(now, Route::default(), &gone.object(uid));
                ("delete", gone.version, message)
            }
            None => {
                let kept = state.get(&item.path).filter(|it| state.sees(node, it))?;
                let text: &serde_json::value::RawValue = serde_json::from_str(&kept.text).ok()?;
                let message = Message::new(now, Route::default(), &text);
                let new = new && !matches!(kind, Kind::Node | Kind::Secret);
                (if new { "insert" } else { "update" }, kept.version, message)
            }
        };
        let source = match kind {
            Kind::Device | Kind::DeviceModel => DEVICES,
            _ => SOURCE,
        };
        message.header.resource_version = version.to_string();
        message.route = Route {
            source: source.to_owned(),
            group: "resource".to_owned(),
            operation: operation.to_owned(),
            resource: item.path.to_string(),
            ..Route::default()
        };
        Some(message)
    }

    /// The node has taken an item.
    pub async fn acknowledged(&self, node: &NodeName, item: &Item) {
        let Some(uid) = &item.gone else {
            return;
        };
        let written = {
            let mut state = self.lock();
            // That one of many has forgotten it is not worth a write: it is told again, no more.
            let change = state.forgotten(node, uid);
            let last = change.filter(|change| change.text.is_none());
            last.map(|change| self.store.write_objects(vec![change]))
        };
        if let Some(written) = written
            && let Err(error) = written.await
        {
            warn!(
                "that {} is gone from all nodes is not written: {error}",
                item.path
            );
        }
    }

    /// Objects, and those that nodes still have to forget.
    pub fn counts(&self) -> (usize, usize) {
        self.lock().counts()
    }

    /// Makes a change, and answers when it is on disk; then it is pushed to whom it concerns.
    async fn change<T>(
        &self,
        cloud: &Cloud,
        by: Option<&NodeName>,
        work: impl FnOnce(&mut State, &Context<'_>) -> Result<(T, Effects), Status>,
    ) -> Result<T, Status> {
        let busy = |error: StoreError| {
            let by = by.map_or("an operator", NodeName::as_str);
            warn!("a change by {by} is not kept: {error}");
            Status::internal("the cloud's store does not answer: try again later")
        };
        self.refill().await.map_err(busy)?;
        let (value, pushes, written) = {
            let mut state = self.lock();
            let version = state.versions.next();
            let context = Context {
                now: cloud.clock.stamp(),
                version: version.ok_or_else(|| busy(StoreError::Busy))?,
                address: &self.address,
            };
            let (value, effects) = work(&mut state, &context)?;
            let changes = effects.changes;
            let written = (!changes.is_empty()).then(|| self.store.write_objects(changes));
            (value, effects.pushes, written)
        };
        if let Some(written) = written {
            written.await.map_err(busy)?;
        }
        deliver(cloud, pushes);
        Ok(value)
    }

    /// Edges of KubeEdge learn in messages of their own which devices are theirs no more, and which are.
    fn tell_devices<'a>(
        &self,
        outbox: &Outbox,
        items: impl IntoIterator<Item = &'a Item>,
        now: Timestamp,
    ) {
        let devices = items.into_iter().filter(|it| it.path.kind == Kind::Device);
        let (gone, mine): (Vec<&Item>, Vec<&Item>) = devices.partition(|it| it.gone.is_some());
        let tell = |added: Value, removed: Value| {
            let content = json!({
                "event_id": message::new_id(), "timestamp": now.millis(),
                "added_devices": added, "removed_devices": removed,
            });
            let route = Route {
                source: DEVICES.to_owned(),
                group: "twin".to_owned(),
                operation: "update".to_owned(),
                resource: "membership".to_owned(),
                ..Route::default()
            };
            outbox.push(Message::new(now, route, &content));
        };
        // One of the same name may have come since.
        if !gone.is_empty() {
            tell(
                Value::Null,
                gone.iter().map(|it| device(it, None)).collect(),
            );
        }
        if !mine.is_empty() {
            let state = self.lock();
            let of = |item: &&Item| device(item, state.get(&item.path));
            let mine: Value = mine.iter().map(of).collect();
            drop(state);
            tell(mine, Value::Null);
        }
    }

    /// Sees to it that there are versions to give out.
    async fn refill(&self) -> Result<(), StoreError> {
        let enough = || self.lock().versions.size_hint().0 > FEW;
        if enough() {
            return Ok(());
        }
        let _one_at_a_time = self.refilling.lock().await;
        if enough() {
            return Ok(());
        }
        let first = self.store.reserve_versions(BLOCK).await?;
        let mut state = self.lock();
        match state.versions.end == first {
            true => state.versions.end = first + BLOCK,
            false => state.versions = first..first + BLOCK,
        }
        Ok(())
    }

    /// No code panics while it holds the lock, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn deliver(cloud: &Cloud, pushes: Vec<(NodeName, Item, bool)>) {
    let mut of_nodes: BTreeMap<NodeName, Vec<(Item, bool)>> = BTreeMap::new();
    for (node, item, new) in pushes {
        of_nodes.entry(node).or_default().push((item, new));
    }
    for (node, items) in of_nodes {
        let Some(outbox) = cloud.registry.outbox(&node) else {
            continue;
        };
        let news = items
            .iter()
            .filter(|(item, new)| *new || item.gone.is_some());
        let news = news.map(|(item, _)| item);
        // Before anything of the device itself.
        cloud.nodes.tell_devices(&outbox, news, cloud.clock.stamp());
        outbox.offer(items);
    }
}

/// A device as lists of them have it.
fn device(item: &Item, kept: Option<&Arc<Kept>>) -> Value {
    let (namespace, name) = (&item.path.namespace, &item.path.name);
    let mut device = json!({"id": format!("{namespace}/{name}"), "name": name});
    let object = kept.map(|kept| kept.object()).unwrap_or_default();
    let labels = object.get("metadata").and_then(|it| it.get("labels"));
    if let Some(description) = labels.and_then(|it| it.get("description")) {
        device["description"] = description.clone();
    }
    device
}

/// The names that KubeEdge's edges expect of who sends objects.
const SOURCE: &str = "edgecontroller";
const DEVICES: &str = "devicecontroller";

/// Versions reserved at a time, and how few make it worth to reserve more.
const BLOCK: u64 = 100_000;
const FEW: usize = 10_000;

/// Bytes that a Node may have, and a Lease: they stay in memory.
const MAX_NODE: usize = 256 << 10;
const MAX_LEASE: usize = 8192;
