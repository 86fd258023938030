//! Nodes and their objects: what the cloud keeps, answers and pushes, out of its own store or a cluster.

mod answers;
#[cfg(feature = "kubernetes")]
pub mod cluster;
mod elsewhere;
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

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use log::warn;
use serde_json::{Value, json};
use smol::channel::Receiver;

use self::elsewhere::Elsewhere;
use self::kept::Kept;
use self::state::{Effects, Push, State};
use super::cloud::Cloud;
use super::dispatch::Answer;
use super::jobs::Jobs;
use super::outbox::{Item, Outbox};
use super::registry::Registered;
use crate::protocol::message::{self, Message, Route};
use crate::protocol::reply::Status;
use crate::protocol::resource::{Kind, Resource};
use crate::protocol::terms::Terms;
use crate::store::{self, ObjectChange, ObjectStore, StoreError};
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;

pub use kept::Selector;
pub use labels::{LabelChange, NoLabel, is_reserved, label};
pub use orders::{Order, apply, delete, delete_node, get};
pub use view::{chosen, rows, version};

/// All that is known of nodes. Tasks share it within the cloud.
pub struct Nodes {
    backend: Backend,
    /// Of this cloud, as Nodes are annotated with it.
    address: String,
    state: Mutex<State>,
    pub jobs: Jobs,
}

/// Where objects come from, and are kept.
enum Backend {
    Own {
        store: Arc<dyn ObjectStore>,
        refilling: smol::lock::Mutex<()>,
    },
    Elsewhere(Arc<dyn Elsewhere>),
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
    pub async fn open(store: Arc<dyn ObjectStore>, address: String) -> Result<Nodes, StoreError> {
        let stored = store.objects().await?;
        Ok(Nodes {
            state: Mutex::new(State::restore(&stored)),
            jobs: Jobs::new(Some(store.clone()), &stored),
            backend: Backend::Own {
                store,
                refilling: smol::lock::Mutex::new(()),
            },
            address,
        })
    }

    /// Has its objects from elsewhere, and keeps them in memory only.
    pub fn of(elsewhere: Arc<dyn Elsewhere>, address: String) -> Nodes {
        Nodes {
            state: Mutex::new(State::of_others()),
            jobs: Jobs::new(None, &[]),
            backend: Backend::Elsewhere(elsewhere),
            address,
        }
    }

    /// Starts what goes on beside the sessions.
    pub fn start(&self, cloud: &Arc<Cloud>) {
        if let Backend::Elsewhere(elsewhere) = &self.backend {
            elsewhere.clone().start(cloud);
        }
        self.jobs.start(cloud);
    }

    /// Whether nodes can be told what is theirs.
    pub fn is_ready(&self) -> bool {
        match &self.backend {
            Backend::Own { .. } => true,
            Backend::Elsewhere(elsewhere) => elsewhere.is_synced(),
        }
    }

    /// Why objects are not for us to change, if they are a cluster's.
    fn own(&self) -> Result<(), String> {
        match &self.backend {
            Backend::Own { .. } => Ok(()),
            Backend::Elsewhere(_) => Err(
                "this cloudcore has its objects from a cluster: change them there, with kubectl"
                    .to_owned(),
            ),
        }
    }

    /// A node has connected: puts everything in line that it is to know and to forget.
    pub fn begun(
        &self,
        cloud: &Cloud,
        registered: &Registered,
        outbox: &Outbox,
        terms: Option<Terms>,
    ) {
        let items = self.lock().everything_for(&registered.node);
        self.jobs.begun(&registered.node);
        let now = cloud.clock.stamp();
        self.tell_devices(outbox, items.iter().map(|(item, _)| item), now);
        if !items.is_empty() {
            outbox.offer(items);
        }
        if let Backend::Elsewhere(elsewhere) = &self.backend {
            elsewhere.begun(cloud, registered, terms);
        }
    }

    /// Whether `handle` knows what to do with it.
    pub fn is_handled(&self, resource: &Resource, operation: &str) -> bool {
        answers::is_handled(resource, operation)
            || match &self.backend {
                Backend::Own { .. } => false,
                Backend::Elsewhere(elsewhere) => elsewhere.is_handled(resource, operation),
            }
    }

    /// Answers a request of this node.
    pub fn handle(
        &self,
        cloud: &Arc<Cloud>,
        node: &NodeName,
        outbox: &Outbox,
        resource: Resource,
        message: Message,
    ) -> Answer {
        match &self.backend {
            Backend::Own { .. } => {
                let (cloud, node) = (cloud.clone(), node.clone());
                Answer::Later(Box::pin(answers::handle(cloud, node, resource, message)))
            }
            Backend::Elsewhere(elsewhere) => {
                let elsewhere = elsewhere.clone();
                let answer = elsewhere.take(cloud, node, outbox, resource, message);
                Answer::Now(answer.map(Box::new))
            }
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

    /// A node says how a step of a job went. What is returned says when that is written down, and ends without
    /// a word when it can't be; nothing when there is nothing to write.
    pub fn job_reported(
        &self,
        node: &NodeName,
        message: &Message,
        now: Timestamp,
    ) -> Option<Receiver<()>> {
        match &self.backend {
            Backend::Own { .. } => self.jobs.hear(node, message),
            Backend::Elsewhere(elsewhere) => elsewhere.job_reported(node, message, now),
        }
    }

    /// Whether an answer may take too long for a session to wait for it.
    pub fn answers_beside(&self) -> bool {
        matches!(&self.backend, Backend::Elsewhere(_))
    }

    /// Whether it is of use to know what a node has taken.
    pub fn records(&self) -> bool {
        matches!(&self.backend, Backend::Elsewhere(it) if it.records())
    }

    /// The node has taken an item.
    pub async fn acknowledged(&self, node: &NodeName, item: &Item, version: u64) {
        if let Backend::Elsewhere(elsewhere) = &self.backend {
            let uid = match &item.gone {
                Some(uid) => Some(uid.clone()),
                None => self.lock().get(&item.path).map(|kept| kept.uid.clone()),
            };
            if let Some(uid) = uid {
                elsewhere.acknowledged(node, item, &uid, version);
            }
        }
        let Some(uid) = &item.gone else {
            return;
        };
        let written = {
            let mut state = self.lock();
            // That one of many has forgotten it is not worth a write: it is told again, no more.
            let change = state.forgotten(node, uid);
            let last = change.filter(|change| change.text.is_none());
            last.map(|change| self.write(vec![change]))
        };
        let written = match written {
            Some(Ok(Some(written))) => written.await,
            Some(Err(error)) => Err(error),
            _ => Ok(()),
        };
        if let Err(error) = written {
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

    /// Makes a change, and answers when it is on disk; then it is pushed to whom it concerns. What an
    /// operator (`by` none) is told is on disk also when this changed nothing: what was made before may
    /// not have been written.
    async fn change<T>(
        &self,
        cloud: &Cloud,
        by: Option<&NodeName>,
        work: impl FnOnce(&mut State, &Context<'_>) -> Result<(T, Effects), Status>,
    ) -> Result<T, Status> {
        let failed = |error: StoreError| {
            let by = by.map_or("an operator", NodeName::as_str);
            warn!("a change by {by} is not kept: {error}");
            match error {
                StoreError::TooManyObjects => Status::full(&error.to_string()),
                _ => Status::internal("the cloud's store does not answer: try again later"),
            }
        };
        self.refill().await.map_err(failed)?;
        let (value, pushes, written) = {
            let mut state = self.lock();
            let version = state.versions.next();
            let context = Context {
                now: cloud.clock.stamp(),
                version: version.ok_or_else(|| failed(StoreError::Busy))?,
                address: &self.address,
            };
            let (value, effects) = work(&mut state, &context)?;
            if effects.changes.is_empty() && by.is_some() {
                (value, effects.pushes, None)
            } else {
                match self.write(effects.changes) {
                    Ok(written) => {
                        // What the writes before this one could not keep, this one does.
                        let mut pushes = std::mem::take(&mut state.untold);
                        pushes.extend(effects.pushes);
                        (value, pushes, written)
                    }
                    Err(error) => {
                        // Nobody has seen it: the state is still locked.
                        state.undo(effects.before);
                        return Err(failed(error));
                    }
                }
            }
        };
        let mut due = Due {
            nodes: self,
            pushes,
        };
        if let Some(written) = written {
            written.await.map_err(failed)?;
        }
        deliver(cloud, std::mem::take(&mut due.pushes));
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

    /// Has changes kept, if it is we who keep them. What is refused at once is not made.
    fn write(
        &self,
        changes: Vec<ObjectChange>,
    ) -> Result<Option<store::Answer<'_, ()>>, StoreError> {
        match &self.backend {
            Backend::Own { store, .. } => store.write_objects(changes).map(Some),
            Backend::Elsewhere(_) => Ok(None),
        }
    }

    /// Sees to it that there are versions to give out.
    async fn refill(&self) -> Result<(), StoreError> {
        let Backend::Own { store, refilling } = &self.backend else {
            return Err(StoreError::Busy);
        };
        let enough = || self.lock().versions.size_hint().0 > FEW;
        if enough() {
            return Ok(());
        }
        let _one_at_a_time = refilling.lock().await;
        if enough() {
            return Ok(());
        }
        let first = store.reserve_versions(BLOCK).await?;
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

/// What is to be told when a change is on disk. If it does not get there, or who waits for it goes away, it is
/// told with the next one that does.
struct Due<'a> {
    nodes: &'a Nodes,
    pushes: Vec<Push>,
}

impl Drop for Due<'_> {
    fn drop(&mut self) {
        if self.pushes.is_empty() {
            return;
        }
        let untold = &mut self.nodes.lock().untold;
        // Nodes learn the rest when they connect next.
        let room = MAX_UNTOLD.saturating_sub(untold.len());
        untold.extend(self.pushes.drain(..).take(room));
    }
}

fn deliver(cloud: &Cloud, mut pushes: Vec<Push>) {
    // Those of one node stay in their order.
    pushes.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    let mut pushes = pushes.into_iter().peekable();
    while let Some((node, item, new)) = pushes.next() {
        let mut items = vec![(item, new)];
        while let Some((_, item, new)) = pushes.next_if(|(other, ..)| *other == node) {
            items.push((item, new));
        }
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

/// Of what could not be told yet, for all nodes together.
const MAX_UNTOLD: usize = 100_000;

/// Bytes that a Node may have, and a Lease: they stay in memory.
const MAX_NODE: usize = 256 << 10;
const MAX_LEASE: usize = 8192;

#[cfg(test)]
#[path = "nodes/full_tests.rs"]
mod full_tests;
