//! Jobs that an operator has this cloud give to its nodes, a few at a time; kept in the store, so that they go on.

mod fleet;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::warn;
use serde_json::Value;
use smol::Timer;
use smol::channel::{Receiver, Sender, bounded};
use smol::future::or;

use super::cloud::Cloud;
use crate::protocol::jobs::{self, Address, Order, Report};
use crate::protocol::message::{Message, Route};
use crate::store::{self, ObjectChange, ObjectStore, StoredObject};
use crate::system::names::NodeName;
use crate::system::sorted::SortedMap;
pub use fleet::{Fleet, Kind, Member, Wanted};
#[cfg(feature = "kubernetes")]
pub use fleet::{Phase, Stand};

/// All of this cloud.
pub struct Jobs {
    /// None where objects are a cluster's.
    store: Option<Arc<dyn ObjectStore>>,
    fleets: Mutex<SortedMap<String, Kept>>,
    news: (Sender<()>, Receiver<()>),
}

struct Kept {
    fleet: Fleet,
    /// Something of it is not written.
    changed: bool,
    /// Something of it is being written.
    writing: bool,
    /// Who is to be told when all of it is written.
    waiting: Vec<Sender<()>>,
}

impl Kept {
    fn written(fleet: Fleet) -> Kept {
        Kept {
            fleet,
            changed: false,
            writing: false,
            waiting: Vec::new(),
        }
    }
}

impl Jobs {
    pub fn new(store: Option<Arc<dyn ObjectStore>>, stored: &[StoredObject]) -> Jobs {
        let jobs = stored.iter().filter(|it| it.key.starts_with(KEY));
        let read = |stored: &StoredObject| {
            let read = serde_json::from_str::<Fleet>(&stored.text);
            read.inspect_err(|error| warn!("{} of the store can't be read: {error}", stored.key))
                .ok()
        };
        let fleets = jobs.filter_map(read).map(|fleet| {
            let name = fleet.name.clone();
            (name, Kept::written(fleet))
        });
        Jobs {
            store,
            fleets: Mutex::new(fleets.collect()),
            news: bounded(1),
        }
    }

    /// Goes on with what there is, and begins what comes, until cloudcore ends.
    pub fn start(&self, cloud: &Arc<Cloud>) {
        if self.store.is_none() {
            return;
        }
        let shared = cloud.clone();
        cloud.spawn(async move {
            loop {
                let jobs = &shared.nodes.jobs;
                let next = jobs.advance(&shared).await;
                let tick = async {
                    match next {
                        Some(pause) => drop(Timer::after(pause).await),
                        None => smol::future::pending().await,
                    }
                };
                let news = async {
                    let _ = jobs.news.1.recv().await;
                };
                or(shared.stop.wait(), or(news, tick)).await;
                if shared.stop.is_asked() {
                    return;
                }
            }
        });
    }

    /// Makes a job that is begun at once.
    pub async fn create(&self, fleet: Fleet) -> Result<(), String> {
        checked(&fleet)?;
        let name = fleet.name.clone();
        let text = serde_json::to_string(&fleet).map_err(|error| error.to_string())?;
        let mut changes = vec![change(&name, Some(text))];
        let (oldest, written) = {
            let fleets = self.lock();
            if fleets.contains_key(&name) {
                return Err(format!("there is a job {name} already: give another name"));
            }
            let mut oldest = None;
            if fleets.len() >= MAX_JOBS {
                // Those that are over are the first to go, the oldest before all.
                let over = fleets.values().filter(|it| it.fleet.is_over());
                let found = over.min_by_key(|it| it.fleet.created);
                let found = found.map(|it| it.fleet.name.clone());
                let found = found.ok_or_else(|| format!("{MAX_JOBS} jobs run already"))?;
                changes.push(change(&found, None));
                oldest = Some(found);
            }
            (oldest, self.write(changes)?)
        };
        if let Err(error) = written.await {
            self.take_back(&name, oldest);
            return Err(error.to_string());
        }
        let mut fleets = self.lock();
        oldest.iter().for_each(|it| _ = fleets.remove(it));
        fleets.insert(name, Kept::written(fleet));
        drop(fleets);
        self.tell();
        Ok(())
    }

    /// What the operator is told has failed must not begin after a restart, be it half on disk.
    fn take_back(&self, name: &str, oldest: Option<String>) {
        let mut fleets = self.lock();
        if let Some(kept) = oldest.and_then(|oldest| fleets.get_mut(&oldest)) {
            kept.changed = true;
        }
        // It counts from here on, and is on disk with the next write.
        let removed = self.write(vec![change(name, None)]).map(drop);
        drop(fleets);
        if let Err(error) = removed {
            warn!("the job {name} that failed to begin may begin after a restart: {error}");
        }
        self.tell();
    }

    /// Changes a job by an operator's wish.
    pub async fn order(
        &self,
        name: &str,
        work: impl FnOnce(&mut Fleet) -> Result<(), String>,
    ) -> Result<(), String> {
        let written = {
            let mut fleets = self.lock();
            let kept = fleets.get_mut(name);
            let kept = kept.ok_or_else(|| format!("there is no job {name}"))?;
            let mut fleet = kept.fleet.clone();
            work(&mut fleet)?;
            let text = serde_json::to_string(&fleet).map_err(|error| error.to_string())?;
            let written = self.write(vec![change(name, Some(text))])?;
            kept.fleet = fleet;
            written
        };
        let written = written.await;
        if written.is_err()
            && let Some(kept) = self.lock().get_mut(name)
        {
            kept.changed = true;
        }
        self.tell();
        written.map_err(|error| {
            format!("it is done, but not on disk yet, which is tried again: {error}")
        })
    }

    /// Those of these names, or all.
    pub fn all(&self, names: &[String]) -> Vec<Fleet> {
        let fleets = self.lock();
        let wanted = fleets.values().map(|kept| &kept.fleet);
        let wanted = wanted.filter(|it| names.is_empty() || names.contains(&it.name));
        wanted.cloned().collect()
    }

    /// A node says how a step went. What is returned says when that is written down, and ends without
    /// a word when it can't be; nothing when there is nothing to write.
    pub fn hear(&self, node: &NodeName, message: &Message) -> Option<Receiver<()>> {
        let (address, report) = (Address::of(message)?, Report::read(message)?);
        let mut fleets = self.lock();
        let kept = fleets.get_mut(&address.job)?;
        let fits = address.node == node.as_str() && address.family == kept.fleet.kind.family();
        kept.changed |= fits && kept.fleet.hear(node, report);
        if !kept.changed && !kept.writing {
            return None;
        }
        let (written, waits) = bounded(1);
        kept.waiting.push(written);
        drop(fleets);
        self.tell();
        Some(waits)
    }

    /// A node has a session: it may have a job to do.
    pub fn begun(&self, node: &NodeName) {
        let mut fleets = self.lock();
        let mut any = false;
        for kept in fleets.values_mut().filter(|it| !it.fleet.is_over()) {
            kept.fleet.begun(node);
            any = true;
        }
        drop(fleets);
        if any {
            self.tell();
        }
    }

    /// Writes what is new, then sends what is due; when to do so again, if nothing happens before.
    async fn advance(&self, cloud: &Cloud) -> Option<Duration> {
        let mut due: Vec<(NodeName, Message)> = Vec::new();
        let mut batch: Vec<(String, Vec<Sender<()>>)> = Vec::new();
        let (busy, written) = {
            let now = cloud.clock.stamp();
            let (mut fleets, mut changes) = (self.lock(), Vec::new());
            for kept in fleets.values_mut() {
                let there = |node: &NodeName| cloud.registry.outbox(node).is_some();
                let (told, changed) = kept.fleet.advance(now, there);
                due.extend(told.into_iter().map(|node| {
                    let message = order(&kept.fleet, &node, now);
                    (node, message)
                }));
                if kept.changed || changed {
                    let text = serde_json::to_string(&kept.fleet).ok();
                    changes.push(change(&kept.fleet.name, text));
                    (kept.changed, kept.writing) = (false, true);
                    let waiting = std::mem::take(&mut kept.waiting);
                    batch.push((kept.fleet.name.clone(), waiting));
                }
            }
            let busy = fleets.values().any(|kept| !kept.fleet.is_over());
            let written = (!changes.is_empty()).then(|| self.write(changes));
            (busy, written)
        };
        let written = match written {
            Some(Ok(written)) => written.await.map_err(|error| error.to_string()),
            Some(Err(error)) => Err(error),
            None => Ok(()),
        };
        self.wrote(batch, written.is_ok());
        if let Err(error) = &written {
            // A node that is told twice does it once.
            warn!("how far the jobs have come is not written: {error}");
        }
        for (node, message) in due {
            if let Some(outbox) = cloud.registry.outbox(&node) {
                outbox.push(message);
            }
        }
        match written {
            Err(_) => Some(RETRY),
            Ok(()) => busy.then_some(TICK),
        }
    }

    /// Tells those who wait for these jobs to be written. When they are not, who waits is left without a word, and
    /// they are written again.
    fn wrote(&self, batch: Vec<(String, Vec<Sender<()>>)>, done: bool) {
        let mut fleets = self.lock();
        for (name, mut waiting) in batch {
            if let Some(kept) = fleets.get_mut(&name) {
                kept.writing = false;
                kept.changed |= !done;
                // Who has come since waits for what this was, unless there is more again.
                if !done || !kept.changed {
                    waiting.append(&mut kept.waiting);
                }
            }
            if done {
                // Each of them waits for one word only, and has room for it.
                waiting.iter().for_each(|it| _ = it.try_send(()));
            }
        }
    }

    /// Changes count in the order in which this is called: under the lock.
    fn write(&self, changes: Vec<ObjectChange>) -> Result<store::Answer<'_, ()>, String> {
        let written = self.store()?.write_objects(changes);
        written.map_err(|error| error.to_string())
    }

    /// Where jobs are kept, unless a cluster has them.
    pub fn store(&self) -> Result<&Arc<dyn ObjectStore>, &'static str> {
        let told = "this cloudcore has its jobs from a cluster: make them and see them there, with kubectl";
        self.store.as_ref().ok_or(told)
    }

    fn tell(&self) {
        // Full means that a wake-up is pending already.
        let _ = self.news.0.try_send(());
    }

    /// No code panics while it holds the lock, so what it guards is still whole.
    fn lock(&self) -> MutexGuard<'_, SortedMap<String, Kept>> {
        self.fleets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a key of the store is a job's.
pub fn is_job(key: &str) -> bool {
    key.starts_with(KEY)
}

/// The door of the nodes is ours too: what they would refuse is not sent.
pub fn checked(fleet: &Fleet) -> Result<(), String> {
    let (node, _) = fleet
        .nodes
        .first_key_value()
        .ok_or("no node fits: see `cloudcore ctl nodes`")?;
    if fleet.max_unavailable == 0 || fleet.timeout_seconds == 0 {
        return Err("--max-unavailable and --timeout are 1 at least".to_owned());
    }
    let message = order(fleet, node, fleet.created);
    let address = Address::of(&message);
    let address = address.ok_or("a job's name is of lower-case letters, digits, '-' and '.'")?;
    let read: Result<Order, jobs::BadJob> = Order::read(address, &message, "amd64");
    read.map(drop).map_err(|error| error.to_string())
}

/// The message that gives the job to a node.
pub fn order(fleet: &Fleet, node: &NodeName, now: crate::system::clock::Timestamp) -> Message {
    let address = Address {
        family: fleet.kind.family(),
        job: fleet.name.clone(),
        node: node.to_string(),
    };
    let mut spec: Value = fleet.spec.clone();
    let inner = match fleet.kind {
        Kind::ImagePrePullJob => spec.get_mut("imagePrePullTemplate"),
        _ => Some(&mut spec),
    };
    // Who else has it is not the node's to know.
    if let Some(spec) = inner.and_then(Value::as_object_mut) {
        spec.insert("nodeNames".to_owned(), Value::from(vec![node.to_string()]));
    }
    let route = Route {
        source: jobs::SOURCE.to_owned(),
        group: jobs::SOURCE.to_owned(),
        operation: "Check".to_owned(),
        resource: address.resource(),
        ..Route::default()
    };
    Message::new(now, route, &spec)
}

fn change(name: &str, text: Option<String>) -> ObjectChange {
    ObjectChange {
        key: format!("{KEY}{name}").into(),
        text: text.map(Into::into),
    }
}

/// Before the name, in the store's keys; no namespace has a name like this.
const KEY: &str = "-job/";
const MAX_JOBS: usize = 100;
/// How often it is looked for who takes too long.
const TICK: Duration = Duration::from_secs(1);
/// After a write that failed.
const RETRY: Duration = Duration::from_secs(5);
