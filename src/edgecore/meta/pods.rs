//! Pods on a device without containers: kept, said to wait, their ConfigMaps and Secrets fetched, and let go when
//! somebody deletes them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::{or, zip};

use super::news::What;
use super::references::Pod;
use super::talk::{self, Outcome};
use crate::edgecore::edge::{Edge, Signal};
use crate::protocol::resource::{Kind, ObjectPath};
use crate::system::sorted::{SortedMap, SortedSet};

/// The Pods that are stored, and what is to be done about them.
#[derive(Default)]
pub struct Pods {
    known: RefCell<SortedMap<ObjectPath, Pod>>,
    jobs: RefCell<SortedMap<Job, Due>>,
    /// When Pods were reported last, by uid.
    reported: RefCell<SortedMap<String, Instant>>,
    more: Signal,
    /// How far the news were read.
    seen: Cell<u64>,
}

/// In this order, when several are due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Job {
    /// A Pod that somebody wants to be gone.
    Delete(ObjectPath),
    /// Say that a Pod waits.
    Report(ObjectPath),
    Fetch(ObjectPath),
}

struct Due {
    at: Instant,
    tries: u32,
    running: bool,
}

/// Never ends.
pub async fn run(edge: &Rc<Edge>) {
    let watch = watch(edge);
    let work = zip(zip(work(edge), work(edge)), zip(work(edge), work(edge)));
    or(watch, async {
        work.await;
    })
    .await;
}

impl Pods {
    /// What no Pod but this one names, of what it names; `goes` tells of Pods that go as well.
    pub fn only_of(
        &self,
        path: &ObjectPath,
        goes: impl Fn(&ObjectPath) -> bool,
    ) -> Vec<ObjectPath> {
        let known = self.known.borrow();
        let Some(pod) = known.get(path) else {
            return Vec::new();
        };
        let is_named_by_another = |named: &ObjectPath| {
            let mut others = known.iter().filter(|(other, _)| !goes(other));
            others.any(|(_, other)| other.references.contains(named))
        };
        let own = pod.references.iter();
        own.filter(|named| !is_named_by_another(named))
            .cloned()
            .collect()
    }

    /// A Pod comes: what it names is not to go before it is seen.
    pub fn comes(&self, path: &ObjectPath, text: &str) {
        let pod = Pod::read(path.namespace.as_str().unwrap_or_default(), text);
        if let Some(pod) = pod {
            self.known.borrow_mut().insert(path.clone(), pod);
        }
    }

    /// A Pod is gone, also one that was never seen.
    pub fn goes(&self, path: &ObjectPath) {
        self.known.borrow_mut().remove(path);
    }

    fn is_named(&self, object: &ObjectPath) -> bool {
        let known = self.known.borrow();
        known.values().any(|pod| pod.references.contains(object))
    }

    /// A cloud that takes a report and shows nothing of it is not told again at once.
    fn may_report(&self, uid: &str) -> bool {
        let mut reported = self.reported.borrow_mut();
        reported.retain(|_, at| at.elapsed() < LONGEST);
        !reported.contains_key(uid)
    }

    fn plan(&self, job: Job) {
        let due = Due {
            at: Instant::now(),
            tries: 0,
            running: false,
        };
        self.jobs.borrow_mut().entry(job).or_insert(due);
        self.more.raise();
    }

    /// The job to do now, or when there will be one.
    fn next(&self) -> Result<Job, Option<Instant>> {
        let now = Instant::now();
        let mut jobs = self.jobs.borrow_mut();
        let due = jobs
            .iter_mut()
            .find(|(_, due)| !due.running && due.at <= now);
        if let Some((job, due)) = due {
            due.running = true;
            return Ok(job.clone());
        }
        let waiting = jobs.values().filter(|due| !due.running);
        Err(waiting.map(|due| due.at).min())
    }

    fn done(&self, job: &Job, outcome: &Outcome) {
        let mut jobs = self.jobs.borrow_mut();
        let wait = match (outcome, jobs.get_mut(job)) {
            (Outcome::Done, _) | (_, None) => {
                jobs.remove(job);
                None
            }
            // Cheap to look for again.
            (Outcome::NoSession, Some(due)) => Some((NO_SESSION, due)),
            (Outcome::Again, Some(due)) => {
                due.tries = due.tries.saturating_add(1);
                let wait = FIRST * 2_u32.saturating_pow(due.tries.min(16) - 1);
                Some((wait.min(LONGEST), due))
            }
        };
        if let Some((wait, due)) = wait {
            due.at = Instant::now() + wait;
            due.running = false;
        }
        drop(jobs);
        self.more.raise();
    }
}

/// Follows what is stored, and plans what is to be done.
async fn watch(edge: &Rc<Edge>) {
    let (meta, pods) = (&edge.meta, &edge.meta.pods);
    let news = meta.news.watch();
    anew(edge).await;
    loop {
        match meta.news.get(pods.seen.get()) {
            Ok(Some(item)) => {
                pods.seen.update(|seen| seen + 1);
                match (item.path.kind, item.what) {
                    (Kind::Pod, What::Deleted) => forget(pods, &item.path),
                    (Kind::Pod, _) => look(edge, &item.path).await,
                    _ => {}
                }
            }
            // Both ends live as long as this.
            Ok(None) => _ = news.recv().await,
            Err(_) => anew(edge).await,
        }
    }
}

/// Looks at all Pods.
async fn anew(edge: &Rc<Edge>) {
    let pods = &edge.meta.pods;
    pods.seen.set(edge.meta.news.now());
    pods.known.borrow_mut().clear();
    for path in edge.meta.paths(|path| path.kind == Kind::Pod) {
        look(edge, &path).await;
    }
}

fn forget(pods: &Pods, path: &ObjectPath) {
    pods.goes(path);
    let about = [Job::Delete(path.clone()), Job::Report(path.clone())];
    let mut jobs = pods.jobs.borrow_mut();
    for job in about {
        if jobs.get(&job).is_some_and(|due| !due.running) {
            jobs.remove(&job);
        }
    }
}

/// Reads a Pod, and plans what it needs.
async fn look(edge: &Rc<Edge>, path: &ObjectPath) {
    let pods = &edge.meta.pods;
    let object = match edge.meta.get(path).await {
        Ok(object) => object,
        Err(failure) => {
            edge.state.problem(&failure, true);
            return;
        }
    };
    let namespace = path.namespace.as_str().unwrap_or_default();
    let pod = object.and_then(|object| Pod::read(namespace, object.text()));
    let Some(pod) = pod else {
        return;
    };
    if pod.deleting {
        pods.plan(Job::Delete(path.clone()));
    } else if !pod.is_over {
        if !pod.is_reported && pods.may_report(&pod.uid) {
            pods.plan(Job::Report(path.clone()));
        }
        let missing: SortedSet<_> = pod
            .references
            .iter()
            .filter(|named| !edge.meta.has(named))
            .cloned()
            .collect();
        for named in missing {
            pods.plan(Job::Fetch(named));
        }
    }
    pods.known.borrow_mut().insert(path.clone(), pod);
}

/// Does one job after the other.
async fn work(edge: &Rc<Edge>) {
    let pods = &edge.meta.pods;
    loop {
        match pods.next() {
            Ok(job) => {
                // Another worker may have something to do as well.
                pods.more.raise();
                let outcome = does(edge, &job).await;
                pods.done(&job, &outcome);
            }
            Err(Some(at)) => {
                let due = async {
                    Timer::at(at).await;
                };
                or(pods.more.wait(), due).await;
            }
            Err(None) => pods.more.wait().await,
        }
    }
}

async fn does(edge: &Rc<Edge>, job: &Job) -> Outcome {
    let pods = &edge.meta.pods;
    let pod = |path| pods.known.borrow().get(path).cloned();
    match job {
        Job::Fetch(path) if edge.meta.has(path) || !pods.is_named(path) => Outcome::Done,
        Job::Fetch(path) => talk::fetch(edge, path).await,
        Job::Report(path) => match pod(path) {
            Some(pod) if !pod.deleting => {
                let outcome = talk::report(edge, path, &pod).await;
                if outcome == Outcome::Done {
                    let mut reported = pods.reported.borrow_mut();
                    reported.insert(pod.uid, Instant::now());
                }
                outcome
            }
            _ => Outcome::Done,
        },
        Job::Delete(path) => match pod(path) {
            // It stays until the cloud says that it is gone.
            Some(pod) if pod.deleting => match talk::delete(edge, path, &pod).await {
                Outcome::Done => Outcome::Again,
                other => other,
            },
            _ => Outcome::Done,
        },
    }
}

/// Between tries of the same.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(600);
const NO_SESSION: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use smol::channel::bounded;

    use super::super::keep;
    use super::*;
    use crate::edgecore::pushes::Push;
    use crate::edgecore::tests::{edge, run};
    use crate::protocol::message::{Message, Route};
    use crate::system::clock::{Clock, Timestamp};
    use crate::system::scratch::Scratch;

    /// Of a Pod that names the ConfigMap `x`, or of that one.
    fn message(operation: &str, resource: &str) -> Message {
        let route = Route {
            source: "edgecontroller".to_owned(),
            group: "resource".to_owned(),
            operation: operation.to_owned(),
            resource: format!("default/{resource}"),
            ..Route::default()
        };
        let (_, name) = resource.split_once('/').unwrap();
        let content = json!({
            "metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1"},
            "spec": {"volumes": [{"name": "v", "configMap": {"name": "x"}}]},
        });
        Message::new(Timestamp::from_unix(1), route, &content)
    }

    #[test]
    fn what_pods_name_goes_with_the_last_of_them_also_of_those_that_come_and_go_together() {
        let scratch = Scratch::new();
        let clock = Clock::manual(Timestamp::from_unix(1_800_000_000)).0;
        let edge = edge(&scratch, "edge-1", 1, &clock);
        let (acks, _acknowledged) = bounded(16);
        // All in one batch; what is left then.
        let store = |said: &[(&str, &str)]| {
            let work = async {
                for (operation, resource) in said {
                    let push = Push {
                        message: message(operation, resource),
                        acks: acks.clone(),
                    };
                    edge.pushes.add(push).await;
                }
                keep::once(&edge).await;
            };
            run(&edge, work);
            let left = edge.meta.paths(|_| true);
            let names: Vec<String> = left.into_iter().map(|path| path.name).collect();
            names.join(" ")
        };
        let seen = || run(&edge, anew(&edge));
        assert_eq!(
            store(&[("update", "configmap/x"), ("update", "pod/a")]),
            "x a"
        );
        seen();
        assert_eq!(store(&[("update", "pod/b"), ("delete", "pod/a")]), "x b");
        // Nobody has looked at the other one yet.
        assert_eq!(store(&[("update", "pod/c")]), "x b c");
        assert_eq!(store(&[("delete", "pod/b")]), "x c");
        seen();
        assert_eq!(store(&[("update", "pod/d")]), "x c d");
        seen();
        assert_eq!(store(&[("delete", "pod/c"), ("delete", "pod/d")]), "");
        assert_eq!(store(&[("update", "pod/e"), ("delete", "pod/e")]), "");
        assert!(edge.meta.pods.known.borrow().is_empty());
    }
}
