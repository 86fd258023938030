//! Nodes and their objects on a Kubernetes cluster: asked there one to one, pushed from watches.

mod cache;
mod desk;
mod door;
mod events;
mod fetch;
mod gate;
mod jobs;
mod labels;
mod leases;
mod node;
mod pods;
mod related;
mod requests;
mod sessions;
mod syncs;
#[cfg(test)]
mod tests;
mod watches;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use smol::Timer;
use smol::channel::{Receiver, Sender, bounded};
use smol::future::or;

use self::cache::{Cache, News};
use self::gate::Gate;
use self::sessions::Sessions;
use self::syncs::Syncs;
use super::answers::Asked;
use super::elsewhere::Elsewhere;
use super::state::State;
use crate::cloudcore::cloud::Cloud;
use crate::cloudcore::outbox::{Item, Outbox};
use crate::cloudcore::registry::Registered;
use crate::kubernetes::resource::{CONFIG_MAPS, SELF_SUBJECT_ACCESS_REVIEWS};
use crate::kubernetes::{Answer, Api, CallError, Request};
use crate::protocol::message::Message;
use crate::protocol::resource::{Kind, ObjectPath, Resource};
use crate::protocol::terms::Terms;
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;

/// How cloudcore works on a cluster.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// By which other cloudcores know this one: the name of its Pod, or of the machine.
    pub replica: String,
    /// Requests of nodes are made in their names.
    pub impersonate: bool,
    /// What nodes acknowledge is recorded, for cloudcores of KubeEdge beside this one.
    pub object_sync: bool,
    /// Jobs that the cluster has are given to nodes.
    pub jobs: bool,
}

/// The way to a cluster, and what is known of it beside the objects.
pub struct Cluster {
    api: Arc<dyn Api>,
    options: Options,
    impersonating: AtomicBool,
    gate: Arc<Gate>,
    sessions: Sessions,
    /// Always after the state.
    cache: Mutex<Cache>,
    /// Nodes whose Pods are to be listed.
    adopted: Mutex<Vec<NodeName>>,
    bell: (Sender<()>, Receiver<()>),
    events: events::Lines,
    jobs: jobs::Jobs,
    syncs: Syncs,
    /// When each node's status was written last, and as which version.
    reports: Mutex<HashMap<NodeName, (Instant, u64)>>,
    authority: smol::lock::Mutex<Option<String>>,
    complained: Mutex<Option<Instant>>,
}

impl Elsewhere for Cluster {
    fn start(self: Arc<Cluster>, cloud: &Arc<Cloud>) {
        beside(cloud, probe(self.clone()));
        beside(cloud, watches::follow_all(cloud.clone(), self.clone()));
        beside(cloud, fetch::serve(cloud.clone(), self.clone()));
        beside(cloud, sessions::keep(cloud.clone(), self.clone()));
        beside(cloud, sweep(cloud.clone(), self.clone()));
        events::Lines::serve(cloud, &self);
        if self.options.object_sync {
            beside(cloud, syncs::serve(self.clone()));
        }
        if self.options.jobs {
            jobs::start(cloud, &self);
        }
    }

    fn begun(&self, cloud: &Cloud, registered: &Registered, terms: Option<Terms>) {
        let kept = terms.is_some_and(|terms| terms.lease);
        let (node, began) = (&registered.node, cloud.clock.now());
        let generation = registered.generation;
        self.sessions
            .begin(node, generation, began, kept, Instant::now());
        self.jobs.begun(node);
    }

    fn job_reported(
        &self,
        node: &NodeName,
        message: &Message,
        now: Timestamp,
    ) -> Option<Receiver<()>> {
        let served = self.options.jobs;
        served.then(|| self.jobs.hear(node, message, now))?
    }

    fn take(
        self: Arc<Cluster>,
        cloud: &Arc<Cloud>,
        node: &NodeName,
        outbox: &Outbox,
        resource: Resource,
        message: Message,
    ) -> Option<Message> {
        let Some(entered) = self.gate.enter(node, Instant::now()) else {
            let message = &message;
            return requests::too_much(
                &Asked {
                    cloud,
                    node,
                    message,
                },
                &resource,
            );
        };
        let (cluster, shared) = (self, cloud.clone());
        let (node, outbox) = (node.clone(), outbox.clone());
        beside(cloud, async move {
            let asked = Asked {
                cloud: &shared,
                node: &node,
                message: &message,
            };
            if let Some(answer) = requests::answer(&asked, &cluster, &resource).await {
                outbox.push(answer);
            }
            drop(entered);
        });
        None
    }

    fn records(&self) -> bool {
        self.options.object_sync
    }

    fn is_handled(&self, resource: &Resource, operation: &str) -> bool {
        requests::is_handled(resource, operation)
    }

    fn acknowledged(&self, node: &NodeName, item: &Item, uid: &str, version: u64) {
        if self.options.object_sync {
            let version = item.gone.is_none().then_some(version);
            self.syncs.note(node, uid, &item.path, version);
        }
    }

    fn is_synced(&self) -> bool {
        let cache = self.cache();
        [Kind::Node, Kind::Pod]
            .iter()
            .all(|kind| cache.is_listed(*kind))
    }
}

impl Cluster {
    pub fn new(api: Arc<dyn Api>, options: Options) -> Arc<Cluster> {
        Arc::new(Cluster {
            api,
            impersonating: AtomicBool::new(options.impersonate),
            gate: Gate::new(),
            sessions: Sessions::new(&options.replica),
            cache: Mutex::default(),
            adopted: Mutex::default(),
            bell: bounded(1),
            events: events::Lines::new(),
            jobs: jobs::Jobs::default(),
            syncs: Syncs::default(),
            reports: Mutex::default(),
            authority: smol::lock::Mutex::default(),
            complained: Mutex::default(),
            options,
        })
    }

    /// In the name of a node, where we may.
    fn as_node(&self, request: Request, node: &NodeName) -> Request {
        match self.is_impersonating() {
            true => request.as_node(node.as_str()),
            false => request,
        }
    }

    fn is_impersonating(&self) -> bool {
        self.impersonating.load(Ordering::Relaxed)
    }

    async fn call(&self, request: Request) -> Result<Answer, CallError> {
        self.call_within(request, gate::PATIENCE).await
    }

    async fn call_within(&self, request: Request, patience: Duration) -> Result<Answer, CallError> {
        self.gate.call(&*self.api, request, patience).await
    }

    /// Changes what is known, in one step.
    fn told(&self, cloud: &Cloud, change: impl FnOnce(&mut Cache, &mut State) -> News) -> News {
        let mut state = cloud.nodes.lock();
        change(&mut self.cache(), &mut state)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is something to fetch.
    fn ring(&self, adopted: Vec<NodeName>) {
        self.adopted().extend(adopted);
        // One that waits is enough.
        let _ = self.bell.0.try_send(());
    }

    async fn heard(&self) -> bool {
        self.bell.1.recv().await.is_ok()
    }

    fn adopted(&self) -> MutexGuard<'_, Vec<NodeName>> {
        self.adopted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_adopted(&self) -> Option<NodeName> {
        self.adopted().pop()
    }

    fn next_wanted(&self, after: Option<&ObjectPath>) -> Option<ObjectPath> {
        self.cache().next_wanted(after)
    }

    /// Whether the node's status was written not long ago, and this version is not from before that.
    fn is_quiet(&self, node: &NodeName, version: Option<u64>, now: Instant) -> bool {
        let reports = self.reports();
        reports.get(node).is_some_and(|(at, written)| {
            now.saturating_duration_since(*at) < node::REPORT && version >= Some(*written)
        })
    }

    fn reported(&self, node: &NodeName, version: u64, now: Instant) {
        self.reports().insert(node.clone(), (now, version));
    }

    fn reports(&self) -> MutexGuard<'_, HashMap<NodeName, (Instant, u64)>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The CA of the cluster, as PEM; empty when it shows none.
    async fn authority(&self) -> String {
        let mut known = self.authority.lock().await;
        if let Some(text) = &*known {
            return text.clone();
        }
        let get = Request::get(&CONFIG_MAPS, Some(ROOT_CA.0), ROOT_CA.1);
        let found = self.call(get).await.and_then(|answer| answer.object());
        let text = |object: super::meta::Object| {
            Some(object.get("data")?.get("ca.crt")?.as_str()?.to_owned())
        };
        let Some(text) = found.ok().and_then(text) else {
            return String::new();
        };
        known.insert(text).clone()
    }

    /// A cluster that does not answer is told of once in a while.
    fn complain(&self, error: &CallError) {
        let mut complained = self
            .complained
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if complained.is_none_or(|at| at.elapsed() >= SILENCE) {
            *complained = Some(Instant::now());
            log::warn!("{error}; sessions stay, and it is tried again");
        }
    }
}

/// Runs until it ends or cloudcore stops.
fn beside(cloud: &Arc<Cloud>, work: impl Future<Output = ()> + Send + 'static) {
    let shared = cloud.clone();
    cloud.spawn(async move { or(work, shared.stop.wait()).await });
}

/// Asks whether we may speak in the names of nodes, if we are to.
async fn probe(cluster: Arc<Cluster>) {
    if !cluster.options.impersonate {
        return log::info!("requests of nodes are made in cloudcore's own name");
    }
    for (resource, name) in [("users", None), ("groups", Some("system:nodes"))] {
        let attributes = json!({"verb": "impersonate", "resource": resource, "name": name});
        let review = json!({"apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}});
        loop {
            let ask = Request::create(&SELF_SUBJECT_ACCESS_REVIEWS, None, &review);
            let asked = cluster.call(ask).await.and_then(|answer| answer.object());
            let allowed =
                |object: super::meta::Object| object.get("status")?.get("allowed")?.as_bool();
            match asked {
                Ok(object) if allowed(object.clone()) == Some(true) => break,
                Err(error) if error.is_retryable() => {
                    cluster.complain(&error);
                    Timer::after(PAUSE).await;
                }
                _ => {
                    cluster.impersonating.store(false, Ordering::Relaxed);
                    return log::warn!(
                        "impersonateNodes is set, but the cluster does not allow to impersonate \
                         {resource}: requests of nodes are made in cloudcore's own name"
                    );
                }
            }
        }
    }
    log::info!("requests of nodes are made in the names of the nodes");
}

/// Forgets what has become of no use.
async fn sweep(cloud: Arc<Cloud>, cluster: Arc<Cluster>) {
    loop {
        Timer::after(SWEEP).await;
        sweep_once(&cloud, &cluster, Instant::now());
    }
}

fn sweep_once(cloud: &Cloud, cluster: &Cluster, now: Instant) {
    cluster
        .sessions
        .sweep(|node, generation| cloud.registry.generation(node) == Some(generation));
    let mut state = cloud.nodes.lock();
    cluster
        .reports()
        .retain(|node, _| cloud.registry.generation(node).is_some() && state.node(node).is_some());
    let crowded = state.counts().1 > MAX_OWED;
    let away: Vec<NodeName> = state.owing().cloned().collect();
    for node in away {
        if cloud.registry.generation(&node).is_some() {
            continue;
        }
        // One that is ready has a session elsewhere, and was told there.
        let ready = state
            .node(&node)
            .is_none_or(|kept| is_ready(&kept.object()));
        if ready || crowded {
            state.forget_old(&node, now, ELSEWHERE);
        }
    }
}

fn is_ready(node: &super::meta::Object) -> bool {
    let conditions = node.get("status").and_then(|it| it.get("conditions"));
    let mut conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    let word = |it: &Value, key: &str, word: &str| it.get(key).is_some_and(|value| value == word);
    conditions.any(|it| word(it, "type", "Ready") && word(it, "status", "True"))
}

/// Where every cluster shows its CA.
const ROOT_CA: (&str, &str) = ("kube-system", "kube-root-ca.crt");

/// Between two lines on a cluster that does not answer.
const SILENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(5);
const SWEEP: Duration = Duration::from_secs(60);

/// What a node that is connected elsewhere was to forget is forgotten after this time.
const ELSEWHERE: Duration = Duration::from_secs(600);
/// Objects that nodes still have to forget, above which not all are remembered for nodes that are away.
const MAX_OWED: usize = 200_000;
