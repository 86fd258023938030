//! Jobs that the cluster's objects ask for, of three kinds: followed, given to the nodes that are connected here,
//! and written back. See docs/jobs.md.

mod choice;
pub mod held;
mod known;
pub mod object;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use smol::Timer;
use smol::channel::{Receiver, Sender, bounded};
use smol::future::or;

use self::held::{EARLY, Held, Plan};
use self::known::{Early, Known};
use super::{Cluster, beside};
use crate::cloudcore::cloud::Cloud;
use crate::cloudcore::jobs::{Kind, order};
use crate::kubernetes::object::name;
use crate::kubernetes::reflect::{self, Change, Followed, Standing};
use crate::kubernetes::resource::{CONFIG_UPDATE_JOBS, IMAGE_PRE_PULL_JOBS, NODE_UPGRADE_JOBS};
use crate::kubernetes::{CallError, Patch, Request, Resource};
use crate::protocol::jobs::{Action, Address, Report};
use crate::protocol::message::Message;
use crate::protocol::resource::{JobFamily, Kind as ObjectKind};
use crate::system::clock::Timestamp;
use crate::system::counted::counted;
use crate::system::names::NodeName;

/// All that are not over.
pub struct Jobs {
    known: Mutex<Known>,
    bell: (Sender<()>, Receiver<()>),
}

/// Place among the kinds, and name.
type Key = (usize, String);

static KINDS: &[(Resource, Kind, JobFamily)] = &[
    (
        NODE_UPGRADE_JOBS,
        Kind::NodeUpgradeJob,
        JobFamily::NodeUpgrade,
    ),
    (
        CONFIG_UPDATE_JOBS,
        Kind::ConfigUpdateJob,
        JobFamily::ConfigUpdate,
    ),
    (
        IMAGE_PRE_PULL_JOBS,
        Kind::ImagePrePullJob,
        JobFamily::ImagePrePull,
    ),
];

impl Default for Jobs {
    fn default() -> Jobs {
        Jobs {
            known: Mutex::default(),
            bell: bounded(1),
        }
    }
}

/// Follows the objects, and does what they ask for, until cloudcore ends; then writes what is not written.
pub fn start(cloud: &Arc<Cloud>, cluster: &Arc<Cluster>) {
    for (kind, (resource, _, _)) in KINDS.iter().enumerate() {
        let (shared, cluster) = (cloud.clone(), cluster.clone());
        beside(cloud, async move {
            let followed = Followed::new(resource.clone(), MAX_OBJECTS).perhaps(SELDOM);
            let mut tell = |change| cluster.jobs.told(kind, change, shared.clock.stamp());
            reflect::follow(&*cluster.api, &followed, &Standing::default(), &mut tell).await;
        });
    }
    let (shared, cluster) = (cloud.clone(), cluster.clone());
    cloud.spawn(async move {
        or(serve(&shared, &cluster), shared.stop.wait()).await;
        or(write_all(&shared, &cluster), async {
            Timer::after(LAST).await;
        })
        .await;
    });
}

async fn serve(cloud: &Cloud, cluster: &Cluster) {
    let mut resumes: Option<Instant> = None;
    loop {
        for _ in 0..LOOKS {
            let doubted = cluster.jobs.lock().doubted(Instant::now());
            match doubted {
                Some(key) if look(cloud, cluster, &key).await => {}
                _ => break,
            }
        }
        let mut next = cluster.jobs.lock().next(Instant::now());
        for key in cluster.jobs.keys() {
            let again = step(cloud, cluster, &key, true).await;
            next = next.into_iter().chain(again).min();
        }
        if resumes.is_none_or(|at| at <= Instant::now()) {
            resumes = release(cluster).await;
        }
        next = next.into_iter().chain(resumes).min();
        let tick = async {
            match next {
                Some(at) => _ = Timer::at(at).await,
                None => smol::future::pending().await,
            }
        };
        let news = async { _ = cluster.jobs.bell.1.recv().await };
        or(news, tick).await;
    }
}

/// What was heard and is not written; nobody begins any more.
async fn write_all(cloud: &Cloud, cluster: &Cluster) {
    for key in cluster.jobs.keys() {
        let hurry = |held: &mut Held| held.hurry(Instant::now());
        if cluster.jobs.with(&key, hurry) == Some(true) {
            step(cloud, cluster, &key, false).await;
        }
    }
}

/// A watch may be dead long before that is noticed: that nothing is to be written of a report, only the object
/// itself says. Whether the cluster has answered.
async fn look(cloud: &Cloud, cluster: &Cluster, key: &Key) -> bool {
    let (kind, at) = (key.0, Instant::now());
    let answer = cluster.call(Request::get(&KINDS[kind].0, None, &key.1));
    let object = answer.await.and_then(|answer| answer.object());
    let mut known = cluster.jobs.lock();
    let error = match object {
        Ok(object) => {
            known.set(kind, &object, cloud.clock.stamp());
            None
        }
        Err(error) => Some(error).filter(|error| !error.is_not_found()),
    };
    known.settle(key, error.is_none(), at);
    drop(known);
    if let Some(error) = &error {
        cluster.complain(error);
    }
    error.is_none()
}

/// Does what is next for one job; when to look at it again.
async fn step(cloud: &Cloud, cluster: &Cluster, key: &Key, begins: bool) -> Option<Instant> {
    let jobs = &cluster.jobs;
    let wanted = jobs.with(key, |held| held.wanted().map(|it| it.choice.clone()))?;
    let chosen = match wanted {
        None => None,
        Some(_) if !cluster.cache().is_listed(ObjectKind::Node) => {
            return Some(Instant::now() + PAUSE);
        }
        Some(choice) => Some(choice.of(&cloud.nodes.lock())),
    };
    let there = |node: &NodeName| begins && cloud.registry.outbox(node).is_some();
    let now = cloud.clock.stamp();
    let planned = jobs.with(key, |held| {
        let plan = held.plan(now, Instant::now(), chosen, there);
        (plan, held.version, held.is_new)
    })?;
    if let (Some(plan), version, is_new) = planned {
        carry_out(cloud, cluster, key, (plan, version, is_new)).await;
    }
    jobs.with(key, |held| held.next(Instant::now()))?
}

async fn carry_out(
    cloud: &Cloud,
    cluster: &Cluster,
    key: &Key,
    (plan, version, is_new): (Plan, u64, bool),
) {
    let (resource, kind, _) = &KINDS[key.0];
    let written = match &plan.status {
        None => None,
        Some(status) => {
            let change = json!({
                "metadata": {"resourceVersion": version.to_string()}, "status": status,
            });
            let patch = Request::patch(resource, None, &key.1, Patch::Merge, &change);
            let now = cloud.clock.stamp();
            let answer = cluster.call(patch.part("status")).await;
            let read = answer.and_then(|answer| {
                let job = object::read(*kind, &answer.object()?, now);
                job.ok_or_else(|| CallError::Strange("an object without a version".to_owned()))
            });
            match read {
                Ok(job) => Some(job),
                Err(error) => return not_written(cloud, cluster, key, error).await,
            }
        }
    };
    let told = plan.told.clone();
    let done = cluster.jobs.with(key, |held| {
        held.done(plan, written, Instant::now());
        held.fleet.clone()
    });
    // It may have been deleted meanwhile.
    let Some(fleet) = done else {
        return;
    };
    let title = format!("{} {}", resource.kind, key.1);
    if is_new {
        log::info!("{title} begins, for {}", counted(fleet.nodes.len(), "node"));
    }
    for node in told {
        if let Some(outbox) = cloud.registry.outbox(&node) {
            log::info!("{title} is given to node {node}");
            outbox.push(order(&fleet, &node, cloud.clock.stamp()));
        }
    }
}

async fn not_written(cloud: &Cloud, cluster: &Cluster, key: &Key, error: CallError) {
    let (resource, kind, _) = &KINDS[key.0];
    if error.is_not_found() {
        cluster.jobs.lock().jobs.remove(key);
        return;
    }
    if !error.is_conflict() {
        cluster.complain(&error);
    } else if let Ok(answer) = cluster.call(Request::get(resource, None, &key.1)).await
        && let Ok(object) = answer.object()
    {
        // What another has written comes by the watch, too, but perhaps not soon.
        let job = object::read(*kind, &object, cloud.clock.stamp());
        cluster.jobs.with(key, |held| {
            if let Some(job) = job {
                held.take(job, Instant::now());
            }
        });
    }
    let conflict = error.is_conflict();
    let failed = |held: &mut Held| held.failed(Instant::now(), conflict);
    cluster.jobs.with(key, failed);
}

/// Cloudcores of KubeEdge have deletions wait for them: where there is none any more, that is for us to end.
/// When to try it again.
async fn release(cluster: &Cluster) -> Option<Instant> {
    let stuck = std::mem::take(&mut cluster.jobs.lock().stuck);
    for (key, (version, others)) in stuck {
        let metadata = json!({"resourceVersion": version, "finalizers": others});
        let change = json!({"metadata": metadata});
        let patch = Request::patch(&KINDS[key.0].0, None, &key.1, Patch::Merge, &change);
        // Who has changed it, or cut the line, will have it told once more.
        if let Err(error) = cluster.call(patch).await
            && !error.is_conflict()
            && !error.is_not_found()
        {
            cluster.complain(&error);
            if error.is_retryable() {
                // Unless there is news of it.
                let stuck = &mut cluster.jobs.lock().stuck;
                stuck.entry(key).or_insert((version, others));
            }
        }
    }
    let waits = !cluster.jobs.lock().stuck.is_empty();
    waits.then(|| Instant::now() + PAUSE)
}

impl Jobs {
    /// A node says how a step went. What is returned says when that is written, and ends without a word when it
    /// can't be; nothing when there is nothing to write.
    pub fn hear(&self, node: &NodeName, message: &Message, now: Timestamp) -> Option<Receiver<()>> {
        let (address, report) = (Address::of(message)?, Report::read(message)?);
        let kind = KINDS.iter().position(|it| it.2 == address.family);
        let known = Action::ALL.iter().any(|it| it.word() == report.action);
        let (Some(kind), true, true) = (kind, known, address.node == node.as_str()) else {
            return None;
        };
        let report = Report {
            // Some steps of KubeEdge's edges have none.
            finish_time: match report.finish_time.is_empty() {
                true => now.to_string(),
                false => cut(report.finish_time, MAX_TIME),
            },
            reason: cut(report.reason, MAX_REASON),
            extend: cut(report.extend, MAX_EXTEND),
            ..report
        };
        let mut known = self.lock();
        let (key, at) = ((kind, address.job), Instant::now());
        let waits = match known.jobs.get_mut(&key) {
            Some(held) => held.hear(node, report, at),
            None => {
                let (waiting, waits) = bounded(1);
                known.put_by(Early {
                    key,
                    node: node.clone(),
                    report,
                    until: at + EARLY,
                    waiting,
                });
                Some(waits)
            }
        };
        self.ring();
        waits
    }

    /// A node has a session here: it may have a job to do.
    pub fn begun(&self, node: &NodeName) {
        let mut known = self.lock();
        let at = Instant::now();
        let mut any = false;
        for held in known.jobs.values_mut() {
            any |= held.begun(node, at);
        }
        if any {
            self.ring();
        }
    }

    fn told(&self, kind: usize, change: Change, now: Timestamp) {
        let mut known = self.lock();
        match change {
            Change::Reset(objects) => {
                let names: HashSet<&str> = objects.iter().map(name).collect();
                let is_there = |key: &Key| key.0 != kind || names.contains(key.1.as_str());
                known.jobs.retain(|key, _| is_there(key));
                for object in &objects {
                    known.set(kind, object, now);
                }
            }
            Change::Set(object) => known.set(kind, &object, now),
            Change::Gone(object) => {
                let key = (kind, name(&object).to_owned());
                if known.jobs.remove(&key).is_some() {
                    log::info!(
                        "{} {} is deleted: nobody else begins",
                        KINDS[kind].0.kind,
                        key.1
                    );
                }
            }
        }
        self.ring();
    }

    fn keys(&self) -> Vec<Key> {
        self.lock().jobs.keys().cloned().collect()
    }

    fn with<T>(&self, key: &Key, work: impl FnOnce(&mut Held) -> T) -> Option<T> {
        self.lock().jobs.get_mut(key).map(work)
    }

    fn ring(&self) {
        // One that waits is enough.
        let _ = self.bell.0.try_send(());
    }

    /// No code panics while it holds the lock, so a poisoned map is still whole.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cut(text: String, bytes: usize) -> String {
    match text.len() > bytes {
        true => text.chars().take(bytes / 4).collect(),
        false => text,
    }
}

/// Objects of one kind, those that are over too.
const MAX_OBJECTS: usize = 10_000;
/// Where the cluster does not have such objects, it is asked again so seldom.
const SELDOM: Duration = Duration::from_secs(300);
/// For what is to be known first.
const PAUSE: Duration = Duration::from_secs(1);
/// For what is written last.
const LAST: Duration = Duration::from_secs(2);

/// Bytes of what a node says of a step.
const MAX_TIME: usize = 64;
const MAX_REASON: usize = 4096;
const MAX_EXTEND: usize = 8192;

/// Jobs that the cluster is asked of before others have their turn.
const LOOKS: usize = 20;
