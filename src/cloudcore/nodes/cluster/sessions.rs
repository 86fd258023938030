//! Sessions as other cloudcores see them, in the nodes' Leases; and the Leases that we renew ourselves.
//!
//! Any cloudcore may have a node's session. Which one has it, and since when, stands in two annotations of
//! the Lease. They are written with what is written anyway, and where we renew the Lease also when the
//! session begins. A renewal names the version it was made from, so who has lost the node to another
//! cloudcore finds out by its next one, and lets go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::lease::NAMESPACE;
use super::super::meta::Object;
use super::Cluster;
use crate::cloudcore::cloud::Cloud;
use crate::cloudcore::outbox::Ending;
use crate::kubernetes::resource::LEASES;
use crate::kubernetes::{Answer, CallError, Patch, Request, Status, object};
use crate::protocol::message::new_id;
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;

pub struct Sessions {
    /// This cloudcore, as the others know it.
    name: String,
    all: Mutex<HashMap<NodeName, Session>>,
}

#[derive(Clone)]
struct Session {
    /// Of the registry.
    generation: u64,
    began: i64,
    /// The Lease as it was last seen; none before the first time.
    held: Option<Held>,
    /// When we write next; none where the edge keeps its Lease itself.
    due: Option<Instant>,
    /// Writes in a row that came to nothing.
    failures: u32,
}

/// What is to be known of a Lease to renew it.
#[derive(Clone)]
struct Held {
    version: String,
    renewed: Option<Timestamp>,
}

impl Held {
    fn of(lease: &Object) -> Held {
        let time = lease.get("spec").and_then(|spec| spec.get("renewTime"));
        Held {
            version: object::version(lease).to_owned(),
            renewed: time.and_then(Value::as_str).and_then(|it| it.parse().ok()),
        }
    }

    /// The time of the next renewal. Whoever compares goes by the change of it and ignores one that
    /// goes back: a clock that was years ahead, and was set right, must not make the node look dead.
    fn next(&self, now: Timestamp) -> Timestamp {
        self.renewed.map_or(now, |stored| now.never_back(stored))
    }
}

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub owner: String,
    /// When it began, in Unix milliseconds: of two the later one counts.
    pub session: i64,
}

impl Mark {
    pub fn of(lease: &Object) -> Option<Mark> {
        Some(Mark {
            owner: Some(object::annotation(lease, OWNER))
                .filter(|it| !it.is_empty())?
                .to_owned(),
            session: object::annotation(lease, SESSION).parse().ok()?,
        })
    }
}

impl Sessions {
    /// Of two processes on one machine, too, none is taken for the other.
    pub fn new(replica: &str) -> Sessions {
        Sessions {
            name: format!(
                "{replica}_{}",
                new_id().split('-').next().unwrap_or_default()
            ),
            all: Mutex::default(),
        }
    }

    /// A session has begun; `kept`: we renew its Lease.
    pub fn begin(
        &self,
        node: &NodeName,
        generation: u64,
        began: Timestamp,
        kept: bool,
        now: Instant,
    ) {
        let session = Session {
            generation,
            began: began.millis(),
            held: None,
            due: kept.then_some(now),
            failures: 0,
        };
        self.lock().insert(node.clone(), session);
    }

    pub fn mark(&self, node: &NodeName) -> Option<Mark> {
        Some(Mark {
            owner: self.name.clone(),
            session: self.lock().get(node)?.began,
        })
    }

    /// The generation of our session, if the node has a later one with another cloudcore. One that
    /// began in the future is of a clock that was wrong, and would outdate all that come after it.
    pub fn outdated(&self, node: &NodeName, theirs: &Mark, now: Timestamp) -> Option<u64> {
        let all = self.lock();
        let own = all.get(node)?;
        let later = own.began < theirs.session && theirs.session <= now.millis();
        (theirs.owner != self.name && later).then_some(own.generation)
    }

    /// The nodes whose Lease is to be renewed now.
    pub fn due(&self, now: Instant) -> Vec<NodeName> {
        let mut all = self.lock();
        let due = all
            .iter_mut()
            .filter(|(_, it)| it.due.is_some_and(|due| due <= now));
        due.map(|(node, session)| {
            // Until it is written, or should be.
            session.due = Some(now + EVERY * 3);
            node.clone()
        })
        .collect()
    }

    /// Forgets sessions that the registry has no more.
    pub fn sweep(&self, is_there: impl Fn(&NodeName, u64) -> bool) {
        self.lock()
            .retain(|node, session| is_there(node, session.generation));
    }

    fn get(&self, node: &NodeName) -> Option<Session> {
        self.lock().get(node).cloned()
    }

    /// Written, if it is still the same session.
    fn written(&self, node: &NodeName, of: &Session, held: Option<Held>, next: Instant) {
        let session = Session {
            held,
            due: Some(next),
            failures: 0,
            ..of.clone()
        };
        self.put(node, session);
    }

    fn put(&self, node: &NodeName, session: Session) {
        if let Some(held) = self.lock().get_mut(node)
            && held.generation == session.generation
        {
            *held = session;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeName, Session>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Renews the Leases of our sessions, each in its time.
pub async fn keep(cloud: Arc<Cloud>, cluster: Arc<Cluster>) {
    loop {
        for node in cluster.sessions.due(Instant::now()) {
            let (cloud, cluster) = (cloud.clone(), cluster.clone());
            let shared = cloud.clone();
            cloud.spawn(async move { renew(&shared, &cluster, &node, Instant::now()).await });
        }
        smol::Timer::after(TICK).await;
    }
}

/// Writes the Lease of a session, or lets go of the session when it is another cloudcore's by now.
pub async fn renew(cloud: &Cloud, cluster: &Cluster, node: &NodeName, now: Instant) {
    let Some(session) = cluster.sessions.get(node) else {
        return;
    };
    if cloud.registry.generation(node) != Some(session.generation) {
        cluster
            .sessions
            .sweep(|it, generation| it != node || generation != session.generation);
        return;
    }
    if session.held.is_none() && cloud.nodes.lock().node(node).is_none() {
        // One that has not registered has no Lease.
        return cluster.sessions.written(node, &session, None, now + AGAIN);
    }
    let written = match &session.held {
        Some(held) => {
            let change = json!({
                "metadata": {"resourceVersion": held.version},
                "spec": {"renewTime": held.next(cloud.clock.now()).rfc3339_micros()},
            });
            match change_lease(cluster, node, &change).await {
                Err(error) if error.is_conflict() || error.is_not_found() => {
                    look(cloud, cluster, node, &session).await
                }
                other => other,
            }
        }
        None => look(cloud, cluster, node, &session).await,
    };
    let lease = written.and_then(|answer| answer.object());
    match lease {
        Ok(lease) => {
            // Those that came at the same moment are to part.
            let spread = match session.held {
                Some(_) => EVERY.mul_f64(1.0 + JITTER * fastrand::f64()),
                None => EVERY.mul_f64(0.5 + 0.5 * fastrand::f64()),
            };
            let held = Some(Held::of(&lease));
            cluster.sessions.written(node, &session, held, now + spread);
        }
        Err(error) => {
            // A Node that is not made yet, or two that write at once, are no complaint.
            if !error.is_not_found() && !error.is_conflict() && !error.is_taken() {
                cluster.complain(&error);
            }
            let pause = (AGAIN * (1 << session.failures.min(3))).min(EVERY);
            let failed = Session {
                failures: session.failures + 1,
                due: Some(now + pause.mul_f64(0.5 + fastrand::f64())),
                ..session
            };
            cluster.sessions.put(node, failed);
        }
    }
}

/// Reads the Lease, and takes it over if no later session has it.
async fn look(
    cloud: &Cloud,
    cluster: &Cluster,
    node: &NodeName,
    session: &Session,
) -> Result<Answer, CallError> {
    let get = Request::get(&LEASES, Some(NAMESPACE), node.as_str());
    let found = cluster.call(cluster.as_node(get, node)).await;
    let lease = match found {
        Err(error) if error.is_not_found() => return make(cloud, cluster, node).await,
        other => other?,
    };
    let object = lease.object()?;
    let now = cloud.clock.now();
    if let Some(theirs) = Mark::of(&object)
        && let Some(generation) = cluster.sessions.outdated(node, &theirs, now)
    {
        log::info!("node {node} is connected to {} by now", theirs.owner);
        cloud
            .registry
            .end_session(node, generation, Ending::Replaced);
        return Ok(lease);
    }
    let mark = cluster.sessions.mark(node).unwrap_or(Mark {
        owner: String::new(),
        session: session.began,
    });
    let change = json!({
        "metadata": {
            "resourceVersion": object::version(&object),
            "annotations": {OWNER: mark.owner, SESSION: mark.session.to_string()},
        },
        "spec": spec(node, Held::of(&object).next(now)),
    });
    change_lease(cluster, node, &change).await
}

/// Makes the Lease of a node that has registered.
async fn make(cloud: &Cloud, cluster: &Cluster, node: &NodeName) -> Result<Answer, CallError> {
    let uid = cloud
        .nodes
        .lock()
        .node(node)
        .map(|kept| kept.uid.to_string());
    let Some(uid) = uid else {
        let status = Status {
            code: 404,
            ..Status::default()
        };
        return Err(CallError::Refused(Box::new(status)));
    };
    let mark = cluster.sessions.mark(node);
    let words = mark.map(|mark| json!({OWNER: mark.owner, SESSION: mark.session.to_string()}));
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": node.as_str(), "namespace": NAMESPACE, "annotations": words,
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": node.as_str(), "uid": uid}
            ],
        },
        "spec": spec(node, cloud.clock.now()),
    });
    let create = Request::create(&LEASES, Some(NAMESPACE), &lease);
    cluster.call(cluster.as_node(create, node)).await
}

fn spec(node: &NodeName, renewed: Timestamp) -> Value {
    json!({
        "holderIdentity": node.as_str(), "leaseDurationSeconds": DURATION,
        "renewTime": renewed.rfc3339_micros(),
    })
}

async fn change_lease(
    cluster: &Cluster,
    node: &NodeName,
    change: &Value,
) -> Result<Answer, CallError> {
    let name = node.as_str();
    let patch = Request::patch(&LEASES, Some(NAMESPACE), name, Patch::Merge, change);
    cluster.call(cluster.as_node(patch, node)).await
}

/// Annotations of a node's Lease: which cloudcore has the session, and when that began.
pub const OWNER: &str = "kubeedge.io/session-owner";
pub const SESSION: &str = "kubeedge.io/session-began";

/// Between two renewals at least, but for the first, and how much later they may be, so that a fleet does not renew in step.
pub const EVERY: Duration = Duration::from_secs(10);
const JITTER: f64 = 0.04;
/// After a failure at least.
const AGAIN: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(500);

/// Seconds, as kubelets have it.
const DURATION: u64 = 40;
