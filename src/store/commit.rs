//! The nodes in memory, and the one place that writes changes: many callers share one fsync.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::warn;
use smol::Timer;
use smol::channel::{Sender, bounded};
use smol::future::FutureExt;

use super::journal::{Contents, Journal, Nodes, line};
use super::{Claim, NodeRecord, Recorded, StoreError};
use crate::system::blocking;
use crate::system::files::Lock;
use crate::system::names::NodeName;

/// What is known of all nodes.
pub struct Registry {
    shared: Arc<Shared>,
}

impl Registry {
    /// `lock` is held for as long as anything may still be written.
    pub fn new(journal: Journal, nodes: Nodes, lock: Arc<Lock>) -> Registry {
        let (nodes, journal, queue) = (Mutex::new(nodes), Mutex::new(journal), Mutex::default());
        Registry {
            shared: Arc::new(Shared {
                nodes,
                journal,
                queue,
                _lock: lock,
            }),
        }
    }

    pub fn get(&self, name: &NodeName) -> Option<NodeRecord> {
        held(&self.shared.nodes).get(name).cloned()
    }

    pub fn all(&self) -> Vec<(NodeName, NodeRecord)> {
        held(&self.shared.nodes)
            .iter()
            .map(|(n, r)| (n.clone(), r.clone()))
            .collect()
    }

    /// Answers when the change is on disk. Dropping the future does not undo the change.
    pub async fn change(
        &self,
        name: &NodeName,
        record: Option<NodeRecord>,
        claim: Claim,
    ) -> Result<Recorded, StoreError> {
        let done = async {
            for _ in 0..ATTEMPTS {
                if let Some(outcome) = self.attempt(name, record.clone(), claim.clone()).await {
                    return outcome;
                }
            }
            Err(StoreError::Busy)
        };
        let late = async {
            Timer::after(DEADLINE).await;
            Err(StoreError::Busy)
        };
        done.or(late).await
    }

    /// None when the flusher that should have done it did not: its caller may have gone away.
    async fn attempt(
        &self,
        name: &NodeName,
        record: Option<NodeRecord>,
        claim: Claim,
    ) -> Option<Result<Recorded, StoreError>> {
        let (answer, answered) = bounded(1);
        let change = Change {
            name: name.clone(),
            record,
            claim,
            answer,
        };
        let flusher = match self.shared.enqueue(change) {
            Ok(flusher) => flusher,
            Err(error) => return Some(Err(error)),
        };
        let written = async { answered.recv().await.ok() };
        let flush = async {
            if let Some(flusher) = flusher {
                let run = move || flusher.run();
                // The answers come from the flusher; when it never ran, from its end.
                let _ = blocking::run(blocking::Kind::Disk, DEADLINE, run).await;
            }
            pending().await
        };
        written.or(flush).await
    }
}

struct Shared {
    nodes: Mutex<Nodes>,
    journal: Mutex<Journal>,
    queue: Mutex<Queue>,
    _lock: Arc<Lock>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Change>,
    /// A flusher exists, and will see what is put into `waiting`.
    flushing: bool,
}

struct Change {
    name: NodeName,
    /// None: forget the node.
    record: Option<NodeRecord>,
    claim: Claim,
    answer: Sender<Result<Recorded, StoreError>>,
}

impl Shared {
    /// Gives a flusher to the caller when none is at work.
    fn enqueue(self: &Arc<Shared>, change: Change) -> Result<Option<Flusher>, StoreError> {
        let mut queue = held(&self.queue);
        if queue.waiting.len() >= MAX_WAITING {
            return Err(StoreError::Busy);
        }
        queue.waiting.push(change);
        let first = !std::mem::replace(&mut queue.flushing, true);
        Ok(first.then(|| Flusher {
            shared: self.clone(),
            done: false,
        }))
    }

    /// Takes what waits; the flusher's time is over when that is nothing.
    fn next_batch(&self) -> Vec<Change> {
        let mut queue = held(&self.queue);
        queue.flushing = !queue.waiting.is_empty();
        std::mem::take(&mut queue.waiting)
    }

    /// Only the one flusher comes here, so that undoing is safe. Readers see a change a moment
    /// before it is durable.
    fn commit(&self, batch: Vec<Change>) {
        let (mut lines, mut undo, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        let mut nodes = held(&self.nodes);
        for change in batch {
            let outcome = apply(&mut nodes, &change);
            if let Ok(Recorded::Stored(old)) = &outcome
                && (change.record.is_some() || old.is_some())
            {
                lines.push(line(&change.name, change.record.as_ref()));
                undo.push((change.name, old.clone()));
            }
            answers.push((change.answer, outcome));
        }
        drop(nodes);
        let written = self.write(&lines);
        if let Err(error) = &written {
            warn!(
                "what was to be stored of {} nodes is not: {error}",
                lines.len()
            );
            let mut nodes = held(&self.nodes);
            for (name, old) in undo.into_iter().rev() {
                put(&mut nodes, &name, old);
            }
        }
        for (answer, outcome) in answers {
            let answered = match (&outcome, &written) {
                (Ok(Recorded::Stored(_)), Err(error)) => Err(error.clone()),
                _ => outcome,
            };
            // The caller may have gone away.
            let _ = answer.try_send(answered);
        }
    }

    fn write(&self, lines: &[Vec<u8>]) -> Result<(), StoreError> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut journal = held(&self.journal);
        if journal.is_doubtful() {
            return journal.rewrite(&Contents::of(&held(&self.nodes)));
        }
        journal.append(lines)?;
        let nodes = held(&self.nodes);
        if journal.is_bloated(nodes.len()) {
            let contents = Contents::of(&nodes);
            drop(nodes);
            // The changes are durable already; the next ones will try again.
            if let Err(error) = journal.rewrite(&contents) {
                warn!("the journal of nodes could not be made shorter: {error}");
            }
        }
        Ok(())
    }
}

/// Writes what waits, until nothing does. There is never more than one.
struct Flusher {
    shared: Arc<Shared>,
    done: bool,
}

impl Flusher {
    fn run(mut self) {
        while !self.done {
            let batch = self.shared.next_batch();
            // After an empty batch the next change makes a flusher of its own.
            self.done = batch.is_empty();
            self.shared.commit(batch);
        }
    }
}

impl Drop for Flusher {
    /// When it never ran, or died, nobody may go on waiting for it.
    fn drop(&mut self) {
        if !self.done {
            *held(&self.shared.queue) = Queue::default();
        }
    }
}

fn apply(nodes: &mut Nodes, change: &Change) -> Result<Recorded, StoreError> {
    let old = nodes.get(&change.name).cloned();
    if !change.claim.allows(old.as_ref()) {
        return Ok(Recorded::Changed);
    }
    if change.record.is_some() && old.is_none() && nodes.len() >= MAX_NODES {
        return Err(StoreError::Full { limit: MAX_NODES });
    }
    put(nodes, &change.name, change.record.clone());
    Ok(Recorded::Stored(old))
}

fn put(nodes: &mut Nodes, name: &NodeName, record: Option<NodeRecord>) {
    match record {
        Some(record) => nodes.insert(name.clone(), record),
        None => nodes.remove(name),
    };
}

/// A thread that died while it held the lock has left whole values behind.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names known at a time; about 30 MB.
pub const MAX_NODES: usize = 100_000;

/// Changes that wait for the disk at a time; more are refused.
const MAX_WAITING: usize = 4096;

/// How often a change is handed to a flusher.
const ATTEMPTS: usize = 3;

/// How long a caller waits for the disk.
const DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
