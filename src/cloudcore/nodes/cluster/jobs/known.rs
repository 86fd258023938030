//! What is known of all jobs that are not over, and what nodes have said of jobs that are not known.

use std::collections::VecDeque;
use std::time::Instant;

use serde_json::Value;
use smol::channel::Sender;

use super::held::{EARLY, Held};
use super::{KINDS, Key, PAUSE, object};
use crate::cloudcore::nodes::meta::Object;
use crate::kubernetes::object::{name, text};
use crate::protocol::jobs::Report;
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;
use crate::system::sorted::SortedMap;

#[derive(Default)]
pub struct Known {
    pub jobs: SortedMap<Key, Held>,
    /// Reports on jobs that no watch has told of, or not any more.
    pub early: VecDeque<Early>,
    /// Deleted objects that wait for a cloudcore of KubeEdge: their version, and what else they wait for.
    pub stuck: SortedMap<Key, (String, Vec<Value>)>,
}

pub struct Early {
    pub key: Key,
    pub node: NodeName,
    pub report: Report,
    /// So long a watch may take to tell of the job.
    pub until: Instant,
    pub waiting: Sender<()>,
}

impl Known {
    /// An object as it is now.
    pub fn set(&mut self, kind: usize, object: &Object, now: Timestamp) {
        let key = (kind, name(object).to_owned());
        if !text(object, "deletionTimestamp").is_empty() {
            self.jobs.remove(&key);
            let finalizers = object.get("metadata").and_then(|it| it.get("finalizers"));
            let finalizers = finalizers.and_then(Value::as_array).cloned();
            let mut others = finalizers.unwrap_or_default();
            let count = others.len();
            let theirs = format!(
                "kubeedge.io/{}-controller",
                KINDS[kind].0.kind.to_lowercase()
            );
            others.retain(|it| *it != theirs.as_str());
            if others.len() < count {
                let version = text(object, "resourceVersion").to_owned();
                self.stuck.insert(key, (version, others));
            }
            return;
        }
        let Some(job) = object::read(KINDS[kind].1, object, now) else {
            return;
        };
        let (at, version) = (Instant::now(), job.version);
        let was_here = self.jobs.contains_key(&key);
        let held = match self.jobs.get_mut(&key) {
            Some(held) => {
                held.take(job, at);
                held
            }
            None => self.jobs.entry(key.clone()).or_insert(Held::new(job, at)),
        };
        // One that we have ended ourselves stays until the watch has come so far.
        if held.is_over() && held.version <= version {
            if was_here {
                let title = &KINDS[kind].0.kind;
                log::info!("{title} {} is over: {}", key.1, object::said(&held.fleet));
            }
            self.jobs.remove(&key);
            return;
        }
        let (mine, others) = std::mem::take(&mut self.early)
            .into_iter()
            .partition(|it| it.key == key);
        self.early = others;
        let mine: VecDeque<Early> = mine;
        for early in mine {
            held.hear_early(&early.node, early.report, early.waiting, at);
        }
    }

    /// A job of which nothing could be made of a report for long.
    pub fn doubted(&self, at: Instant) -> Option<Key> {
        let early = self.early.iter().find(|it| it.until <= at);
        let is_late = |held: &Held| held.doubt().is_some_and(|until| until <= at);
        let held = || self.jobs.iter().find(|(_, held)| is_late(held));
        let key = early.map(|it| &it.key);
        key.or_else(|| Some(held()?.0)).cloned()
    }

    /// When there is one again.
    pub fn next(&self, at: Instant) -> Option<Instant> {
        let held = self.jobs.values().filter_map(Held::doubt);
        let all = self.early.iter().map(|it| it.until).chain(held);
        all.min().map(|until| until.max(at + PAUSE))
    }

    /// The cluster was asked for this job: when it has answered, nothing is to be written of what could not be, and
    /// else that is asked once more.
    pub fn settle(&mut self, key: &Key, has_answered: bool, at: Instant) {
        self.early.retain_mut(|it| {
            let over = it.key == *key && it.until <= at;
            if over && has_answered {
                let _ = it.waiting.try_send(());
            } else if over {
                it.until = at + EARLY;
            }
            !(over && has_answered)
        });
        if let Some(held) = self.jobs.get_mut(key) {
            held.settle(has_answered, at);
        }
    }

    pub fn put_by(&mut self, early: Early) {
        let of_node = self.early.iter().filter(|it| it.node == early.node);
        if of_node.count() >= MAX_EARLY_OF_NODE {
            return;
        }
        if self.early.len() >= MAX_EARLY {
            self.early.pop_front();
        }
        self.early.push_back(early);
    }
}

/// Reports that wait for their job.
const MAX_EARLY: usize = 500;
const MAX_EARLY_OF_NODE: usize = 8;
