//! One job of the cluster that is not over: what is heard of it, and what is to be written and sent next.
//!
//! The object's status is what counts, for all cloudcores: a node begins when that it begins is written, from the
//! version that was read. So of two that would begin one node, or one node too many, one is refused and looks again.

use std::time::{Duration, Instant};

use serde_json::Value;
use smol::channel::{Receiver, Sender, bounded};

use super::object::{self, Job, Terms};
use crate::cloudcore::jobs::{self, Fleet, Member, Phase, Stand};
use crate::protocol::jobs::Report;
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;
use crate::system::sorted::SortedMap;

pub struct Held {
    uid: String,
    pub version: u64,
    /// As the cluster has it, and since when each node is at it as far as we saw.
    pub fleet: Fleet,
    /// What the cluster has, as we would write it.
    status: Value,
    pub is_new: bool,
    terms: Result<Terms, String>,
    /// Reports that are not in the cluster yet.
    news: Vec<News>,
    /// Of the last one.
    number: u64,
    /// Nodes that may have the job from a session that ended, or from another cloudcore: until then they are
    /// given time to say so.
    patience: SortedMap<NodeName, Instant>,
    /// Before this nothing is written.
    due: Instant,
    failures: u32,
}

struct News {
    number: u64,
    node: NodeName,
    report: Report,
    /// So long it may take until it is known that the node has begun.
    until: Instant,
    /// Who is to know when it is written.
    waiting: Sender<()>,
}

/// What is next.
pub struct Plan {
    /// What is to be written first.
    pub status: Option<Value>,
    /// Who is to be sent the job, when that is written.
    pub told: Vec<NodeName>,
    fleet: Fleet,
    /// News up to this one are in it.
    news: u64,
}

impl Held {
    pub fn new(job: Job, at: Instant) -> Held {
        let mut held = Held {
            status: object::status(&job.fleet),
            uid: job.uid,
            version: job.version,
            fleet: job.fleet,
            is_new: job.is_new,
            terms: job.terms,
            news: Vec::new(),
            number: 0,
            patience: SortedMap::new(),
            due: at,
            failures: 0,
        };
        held.see(None, at);
        held
    }

    /// The cluster has it in this version.
    pub fn take(&mut self, job: Job, at: Instant) {
        if job.uid != self.uid {
            *self = Held::new(job, at);
            return;
        }
        if job.version <= self.version {
            return;
        }
        self.version = job.version;
        self.status = object::status(&job.fleet);
        self.is_new = job.is_new;
        self.terms = job.terms;
        let before = std::mem::replace(&mut self.fleet, job.fleet);
        self.see(Some(before), at);
        let (fleet, is_over) = (&self.fleet, self.is_over());
        self.news.retain(|news| {
            let waits = !is_over && awaits(fleet, &news.node, &news.report);
            if !waits {
                news.tell();
            }
            waits
        });
    }

    /// Keeps what only we know of nodes that are at it.
    fn see(&mut self, before: Option<Fleet>, at: Instant) {
        let now = self.fleet.created;
        for (node, member) in &mut self.fleet.nodes {
            if member.phase != Stand::InProgress {
                self.patience.remove(node);
                continue;
            }
            let before = before.as_ref().and_then(|fleet| fleet.nodes.get(node));
            match before.filter(|it| it.phase == Stand::InProgress) {
                Some(before) => (member.since, member.sent) = (before.since, before.sent),
                None => {
                    member.since = Some(now);
                    self.patience.insert(node.clone(), at + PATIENCE);
                }
            }
        }
    }

    /// Nobody is at it, and nobody begins any more.
    pub fn is_over(&self) -> bool {
        let waits = self.fleet.phase == Phase::Running;
        !waits && self.fleet.count(Stand::InProgress) == 0
    }

    /// A node says how a step went. The first word on a step counts, as it may come twice. What is returned says
    /// when it is written; nothing when there is nothing to write.
    pub fn hear(&mut self, node: &NodeName, report: Report, at: Instant) -> Option<Receiver<()>> {
        if self.is_over() || !awaits(&self.fleet, node, &report) {
            return None;
        }
        let (waiting, waits) = bounded(1);
        self.note(node, report, waiting, at);
        Some(waits)
    }

    /// The same of what was heard before the job was known.
    pub fn hear_early(
        &mut self,
        node: &NodeName,
        report: Report,
        waiting: Sender<()>,
        at: Instant,
    ) {
        match awaits(&self.fleet, node, &report) {
            true => self.note(node, report, waiting, at),
            false => _ = waiting.try_send(()),
        }
    }

    fn note(&mut self, node: &NodeName, report: Report, waiting: Sender<()>, at: Instant) {
        let full = self.news.len() >= MAX_NEWS;
        let mut news = self.news.iter_mut();
        let known = news.find(|it| it.node == *node && it.report.action == report.action);
        match known {
            Some(known) => known.waiting = waiting,
            // Without a word it is said again.
            None if full => {}
            None => {
                self.number += 1;
                self.news.push(News {
                    number: self.number,
                    node: node.clone(),
                    report,
                    until: at + EARLY,
                    waiting,
                });
            }
        }
    }

    /// A node has a new session here.
    pub fn begun(&mut self, node: &NodeName, at: Instant) -> bool {
        let Some(member) = self.fleet.nodes.get_mut(node) else {
            return false;
        };
        member.sent = false;
        if member.phase == Stand::InProgress {
            self.patience.insert(node.clone(), at + PATIENCE);
        }
        true
    }

    /// Which nodes it is for is to be found out first.
    pub fn wanted(&self) -> Option<&Terms> {
        self.terms.as_ref().ok().filter(|_| self.is_new)
    }

    /// What is next; none before it is due. `chosen` are its nodes if it was new a moment ago, `there` those with a
    /// session here.
    pub fn plan(
        &self,
        now: Timestamp,
        at: Instant,
        chosen: Option<SortedMap<NodeName, Member>>,
        there: impl Fn(&NodeName) -> bool,
    ) -> Option<Plan> {
        if at < self.due || self.is_over() {
            return None;
        }
        let mut fleet = self.fleet.clone();
        if self.is_new && self.terms.is_ok() {
            // It may have become another while they were chosen.
            fleet.nodes = chosen?;
            fleet.reason.clear();
        }
        for News { node, report, .. } in &self.news {
            if awaits(&fleet, node, report) {
                fleet.hear(node, report.clone());
            }
        }
        let mut told = Vec::new();
        match (self.refused(&fleet), fleet.phase) {
            (Some(why), Phase::Running) => {
                fleet.phase = Phase::Paused;
                fleet.reason = why;
                if self.is_new {
                    fleet.nodes.clear();
                }
            }
            (_, Phase::Running) => {
                // First those who take too long, then who is next.
                fleet.advance(now, |_| false);
                self.judge(&mut fleet);
                if fleet.phase == Phase::Running {
                    let ready = |node: &NodeName| {
                        there(node) && self.patience.get(node).is_none_or(|until| *until <= at)
                    };
                    (told, _) = fleet.advance(now, ready);
                }
            }
            _ => {
                let phase = fleet.phase;
                fleet.advance(now, |_| false);
                fleet.phase = phase;
                self.judge(&mut fleet);
            }
        }
        let status = object::status(&fleet);
        Some(Plan {
            status: (self.is_new || status != self.status).then_some(status),
            told,
            fleet,
            news: self.number,
        })
    }

    /// Why it can't be done at all.
    fn refused(&self, fleet: &Fleet) -> Option<String> {
        if let Err(why) = &self.terms {
            return Some(why.clone());
        }
        if !self.is_new {
            return None;
        }
        match fleet.nodes.len() {
            0 => Some("no edge has these labels".to_owned()),
            count if count > MAX_NODES => Some(format!(
                "it is for {count} nodes, more than the {MAX_NODES} of one job: make several"
            )),
            _ => jobs::checked(fleet).err(),
        }
    }

    /// Whether more have failed than may.
    fn judge(&self, fleet: &mut Fleet) {
        let failed = fleet.nodes.iter();
        let failed = failed.filter(|(_, member)| member.phase == Stand::Failure);
        let names: Vec<&str> = failed.map(|(node, _)| node.as_str()).collect();
        let tolerate = self.terms.as_ref().map_or(0.0, |terms| terms.tolerate);
        let (count, all) = (names.len(), fleet.nodes.len());
        if count as f64 > tolerate * all as f64 + ROUNDING {
            let first = names
                .get(..names.len().min(5))
                .unwrap_or_default()
                .join(", ");
            fleet.reason = format!(
                "{count} of its {all} nodes failed, more than failureTolerate ({tolerate}) allows: {first}"
            );
            fleet.phase = Phase::Paused;
        }
    }

    /// The plan has nothing that is to be written, or it is written.
    pub fn done(&mut self, plan: Plan, written: Option<Job>, at: Instant) {
        self.news.retain(|news| {
            // That it could be written shows that the version is the last one. Otherwise another may have had the
            // node begin, and no watch has told of it.
            let is_sure = written.is_some() || !awaits(&plan.fleet, &news.node, &news.report);
            let done = is_sure && news.number <= plan.news;
            if done {
                news.tell();
            }
            !done
        });
        if let Some(job) = written {
            self.failures = 0;
            let nodes = u32::try_from(plan.fleet.nodes.len()).unwrap_or(u32::MAX);
            self.due = at + PACE + PACE_OF_NODE.saturating_mul(nodes);
            self.take(job, at);
        }
        for (node, planned) in plan.fleet.nodes {
            let member = self.fleet.nodes.get_mut(&node);
            if let Some(member) = member.filter(|it| it.phase == planned.phase) {
                member.sent |= planned.sent;
                member.since = planned.since.or(member.since);
            }
        }
        for node in &plan.told {
            self.patience.remove(node);
        }
    }

    /// From when the cluster is to be asked whether a node has begun that says so.
    pub fn doubt(&self) -> Option<Instant> {
        let news = self.news.iter().filter(|it| !it.has_begun(&self.fleet));
        news.map(|it| it.until).min()
    }

    /// It was asked at that time, and what it has is taken; or it did not answer.
    pub fn settle(&mut self, has_answered: bool, at: Instant) {
        self.news.retain_mut(|news| {
            let over = news.until <= at && !news.has_begun(&self.fleet);
            if over && has_answered {
                news.tell();
            } else if over {
                news.until = at + EARLY;
            }
            !(over && has_answered)
        });
    }

    /// It could not be written. Others have, mostly: they are let go first.
    pub fn failed(&mut self, at: Instant, conflict: bool) {
        let first = if conflict { CONFLICT } else { FAILURE };
        let pause = first.saturating_mul(1 << self.failures.min(MAX_DOUBLINGS));
        self.failures += 1;
        self.due = at + pause.min(LONGEST).mul_f64(0.5 + fastrand::f64());
    }

    /// Nothing of it is written at a time that we choose: cloudcore ends.
    pub fn hurry(&mut self, at: Instant) -> bool {
        self.due = at;
        !self.news.is_empty()
    }

    /// When it is to be looked at again though nothing is heard.
    pub fn next(&self, at: Instant) -> Option<Instant> {
        if self.is_over() {
            return None;
        }
        let tick = (self.fleet.count(Stand::InProgress) > 0).then_some(at + TICK);
        let late = (self.due > at || self.is_new).then_some(self.due.max(at + SHORT));
        tick.into_iter().chain(late).min()
    }
}

impl News {
    fn has_begun(&self, fleet: &Fleet) -> bool {
        let member = fleet.nodes.get(&self.node);
        member.is_some_and(|it| it.phase == Stand::InProgress)
    }

    fn tell(&self) {
        // It has room for this one word.
        let _ = self.waiting.try_send(());
    }
}

/// Whether this says something of a node that is not known.
fn awaits(fleet: &Fleet, node: &NodeName, report: &Report) -> bool {
    // Nobody has chosen them yet, as far as we know.
    let is_new = fleet.nodes.is_empty();
    fleet.nodes.get(node).map_or(is_new, |member| {
        let open = matches!(member.phase, Stand::Waiting | Stand::InProgress);
        let mut actions = member.actions.iter();
        open && !actions.any(|known| known.action == report.action)
    })
}

/// How long a report waits for its job, or for its node to begin.
pub const EARLY: Duration = Duration::from_secs(10);
/// For a node to say that it has the job already, before it is given it again.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// For who takes too long.
const TICK: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(100);
/// Between two writes, and more where they are large.
const PACE: Duration = Duration::from_millis(200);
const PACE_OF_NODE: Duration = Duration::from_millis(5);
const CONFLICT: Duration = Duration::from_millis(100);
const FAILURE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
const MAX_DOUBLINGS: u32 = 9;

/// What fits into an object with all that its nodes report.
const MAX_NODES: usize = 2000;
const MAX_NEWS: usize = 8000;
/// Of a ratio such as 0.29 of 100.
const ROUNDING: f64 = 1e-9;
