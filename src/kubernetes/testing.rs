//! A cluster in memory, for tests of what speaks to one: versions, conflicts, watches, and failures
//! that a test orders.

mod check;
mod cluster;
mod merge;
mod select;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use serde_json::{Value, json};

use super::request::{Method, Request};
use super::{Answer, Api, CallError, Calling, Event, EventKind, Events, Resource, Status};
use cluster::{Cluster, Place};
use select::Change;

/// A cluster; clones are the same one. Namespaces `default`, `kube-system` and `kube-node-lease` are
/// there, and things are put only into namespaces that are.
#[derive(Clone, Default)]
pub struct FakeCluster(Arc<Mutex<Shared>>);

#[derive(Default)]
struct Shared {
    cluster: Cluster,
    calls: Vec<(Method, String)>,
    rules: Vec<Rule>,
    /// Requests to what contains these texts wait.
    paused: Vec<String>,
    down: bool,
    /// Watches that were opened before this many cuts have ended.
    cuts: u64,
    /// The version that a bookmark told last, and how many were ordered.
    bookmarks: u64,
    waiting: Vec<Waker>,
}

/// What happens to requests that a test has named.
struct Rule {
    method: Option<Method>,
    part: String,
    left: usize,
    act: Act,
}

/// What a test may order.
#[derive(Clone)]
pub enum Act {
    /// Nothing is done; this is the answer.
    Refuse(CallError),
    /// It is done; this is the answer.
    Lose(CallError),
    /// This is done just before, by somebody else.
    After(Arc<dyn Fn(&FakeCluster) + Send + Sync>),
}

impl FakeCluster {
    pub fn new() -> FakeCluster {
        let fake = FakeCluster::default();
        for name in ["default", "kube-system", "kube-node-lease"] {
            fake.put(
                &super::resource::NAMESPACES,
                None,
                json!({"metadata": {"name": name}}),
            );
        }
        fake.held().calls.clear();
        fake
    }

    pub fn api(&self) -> Arc<dyn Api> {
        Arc::new(self.clone())
    }

    /// Creates or replaces an object, as somebody else would.
    pub fn put(&self, resource: &Resource, namespace: Option<&str>, object: Value) {
        let name = object["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let mut held = self.held();
        let replace = Request::replace(resource, namespace, &name, &object);
        if held
            .cluster
            .answer(&replace)
            .is_err_and(|error| error.is_not_found())
        {
            let create = Request::create(resource, namespace, &object);
            held.cluster.answer(&create).unwrap();
        }
        wake(held);
    }

    pub fn get(&self, resource: &Resource, namespace: Option<&str>, name: &str) -> Option<Value> {
        let place = Place::of(&resource.path(namespace, name))?;
        self.held().cluster.get(&place)
    }

    /// All objects of a type, in the order of namespaces and names.
    pub fn all(&self, resource: &Resource) -> Vec<Value> {
        let request = Request::new(Method::Get, resource.collection(None));
        let list = self.held().cluster.answer(&request).unwrap();
        let list: Value = serde_json::from_slice(&list.body).unwrap();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    pub fn remove(&self, resource: &Resource, namespace: Option<&str>, name: &str) {
        let mut held = self.held();
        let request = Request::delete(resource, namespace, name)
            .json("application/json", &json!({"gracePeriodSeconds": 0}));
        held.cluster.answer(&request).unwrap();
        wake(held);
    }

    /// The requests so far, watches too: method and target.
    pub fn calls(&self) -> Vec<(Method, String)> {
        self.held().calls.clone()
    }

    pub fn forget_calls(&self) {
        self.held().calls.clear();
    }

    /// The next `times` requests of this method (none: of any), whose path contains `part`, meet
    /// this. Rules count in the order in which they were given.
    pub fn order(&self, method: Option<Method>, part: &str, times: usize, act: Act) {
        let part = part.to_owned();
        let left = times;
        self.held().rules.push(Rule {
            method,
            part,
            left,
            act,
        });
    }

    /// Every rule ends.
    pub fn obey(&self) {
        self.held().rules.clear();
    }

    /// Requests whose path contains `part` wait until what this gives back is dropped.
    pub fn pause(&self, part: &str) -> Pause {
        self.held().paused.push(part.to_owned());
        Pause(self.clone(), part.to_owned())
    }

    /// Nobody gets an answer while it is down, and watches break.
    pub fn set_down(&self, down: bool) {
        let mut held = self.held();
        held.down = down;
        if down {
            held.cuts += 1;
        }
        wake(held);
    }

    /// Every watch ends, as it does every few minutes.
    pub fn end_watches(&self) {
        let mut held = self.held();
        held.cuts += 1;
        wake(held);
    }

    /// Every watch is told the present version.
    pub fn bookmark(&self) {
        let mut held = self.held();
        held.bookmarks += 1;
        wake(held);
    }

    /// Forgets what has changed so far: a watch from an older version gets 410.
    pub fn compact(&self) {
        self.held().cluster.compact();
    }

    pub fn version(&self) -> u64 {
        self.held().cluster.version()
    }

    fn held(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ready(&self, request: &Request) {
        poll_fn(|context| {
            let mut held = self.held();
            if held.paused.iter().any(|part| request.path.contains(part)) {
                held.waiting.push(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// What a test has ordered for this request, if anything.
    fn act(&self, request: &Request) -> Option<Act> {
        let mut held = self.held();
        let target = request.target();
        held.calls.push((request.method, target));
        let fits = |rule: &Rule| {
            rule.left > 0
                && rule.method.is_none_or(|method| method == request.method)
                && request.path.contains(&rule.part)
        };
        let rule = held.rules.iter_mut().find(|rule| fits(rule))?;
        rule.left -= 1;
        Some(rule.act.clone())
    }

    async fn answer(&self, request: &Request) -> Result<Answer, CallError> {
        // Others come between any two requests.
        smol::future::yield_now().await;
        self.ready(request).await;
        let act = self.act(request);
        match &act {
            Some(Act::Refuse(error)) => return Err(error.clone()),
            Some(Act::After(other)) => other(self),
            _ => {}
        }
        let mut held = self.held();
        if held.down {
            return Err(unreachable());
        }
        if request.path == "/version" {
            let version = json!({"major": "1", "minor": "36", "gitVersion": "v1.36.2"});
            return Ok(Answer {
                status: 200,
                body: version.to_string().into_bytes(),
                warnings: Vec::new(),
            });
        }
        let answer = held.cluster.answer(request);
        wake(held);
        match act {
            Some(Act::Lose(error)) => Err(error),
            _ => answer,
        }
    }

    async fn open(&self, request: &Request) -> Result<Box<dyn Events>, CallError> {
        smol::future::yield_now().await;
        self.ready(request).await;
        match self.act(request) {
            Some(Act::Refuse(error) | Act::Lose(error)) => return Err(error),
            Some(Act::After(other)) => other(self),
            None => {}
        }
        let held = self.held();
        if held.down {
            return Err(unreachable());
        }
        let query = |key| {
            request
                .query
                .iter()
                .find(|it| it.0 == key)
                .map(|it| it.1.clone())
        };
        let from = query("resourceVersion").unwrap_or_default();
        let (first, from) = held.cluster.watch(request, &from)?;
        Ok(Box::new(FakeWatch {
            fake: self.clone(),
            request: request.clone(),
            first,
            from,
            cuts: held.cuts,
            bookmarks: held.bookmarks,
        }))
    }
}

impl Api for FakeCluster {
    fn call<'a>(&'a self, request: &'a Request) -> Calling<'a, Answer> {
        Box::pin(self.answer(request))
    }

    fn watch<'a>(&'a self, request: &'a Request) -> Calling<'a, Box<dyn Events>> {
        Box::pin(self.open(request))
    }
}

/// Requests wait while it lives.
pub struct Pause(FakeCluster, String);

impl Drop for Pause {
    fn drop(&mut self) {
        let mut held = self.0.held();
        if let Some(position) = held.paused.iter().position(|part| *part == self.1) {
            held.paused.remove(position);
        }
        wake(held);
    }
}

struct FakeWatch {
    fake: FakeCluster,
    request: Request,
    /// What was there when it began.
    first: VecDeque<Change>,
    /// The version up to which all was told.
    from: u64,
    cuts: u64,
    bookmarks: u64,
}

impl FakeWatch {
    fn poll(&mut self, waker: &Waker) -> Poll<Result<Option<Event>, CallError>> {
        let mut held = self.fake.held();
        if held.cuts > self.cuts {
            return Poll::Ready(match held.down {
                true => Err(unreachable()),
                false => Ok(None),
            });
        }
        if let Some(change) = self.first.pop_front() {
            return Poll::Ready(Ok(Some(event(change.kind, &change.object))));
        }
        match held.cluster.next(&self.request, self.from) {
            Err(error) => return Poll::Ready(Err(error)),
            Ok(Some((version, change))) => {
                self.from = version;
                return Poll::Ready(Ok(Some(event(change.kind, &change.object))));
            }
            Ok(None) => {}
        }
        if held.bookmarks > self.bookmarks {
            self.bookmarks = held.bookmarks;
            self.from = held.cluster.version();
            let object = json!({"metadata": {"resourceVersion": self.from.to_string()}});
            return Poll::Ready(Ok(Some(event(EventKind::Bookmark, &object))));
        }
        held.waiting.push(waker.clone());
        Poll::Pending
    }
}

impl Events for FakeWatch {
    fn next(&mut self) -> Calling<'_, Option<Event>> {
        Box::pin(poll_fn(|context| self.poll(context.waker())))
    }
}

fn event(kind: EventKind, object: &Value) -> Event {
    let object = serde_json::value::to_raw_value(object).unwrap();
    Event { kind, object }
}

fn wake(mut held: MutexGuard<'_, Shared>) {
    let waiting = std::mem::take(&mut held.waiting);
    drop(held);
    waiting.into_iter().for_each(Waker::wake);
}

fn unreachable() -> CallError {
    CallError::Unreachable {
        server: SERVER.to_owned(),
        cause: "connection refused".to_owned(),
    }
}

/// An answer that nobody heard.
pub fn lost() -> CallError {
    CallError::Unknown {
        server: SERVER.to_owned(),
        cause: "the connection was reset".to_owned(),
    }
}

/// A refusal with this status.
pub fn refusal(code: u16, reason: &str, message: &str) -> CallError {
    CallError::Refused(Box::new(Status {
        code,
        reason: reason.to_owned(),
        message: message.to_owned(),
        details: None,
    }))
}

const SERVER: &str = "https://fake.example:6443";

#[cfg(test)]
mod tests;
