//! A cloudcore on a cluster in memory, and edges that speak to it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use smol::future::{or, yield_now};
use smol::{Executor, Timer};

use super::super::{Cluster, Options};
use crate::authority::testing::credential;
use crate::authority::{self, Authority};
use crate::cloudcore::cloud::{Cloud, Standing, Stop, Stopper};
use crate::cloudcore::dispatch::{Answer, dispatch};
use crate::cloudcore::nodes::Nodes;
use crate::cloudcore::nodes::elsewhere::Elsewhere;
use crate::cloudcore::outbox::{Ending, Next, Outbox};
use crate::cloudcore::registry::{Registered, SessionFacts};
use crate::cloudcore::settings::{Overrides, Settings};
use crate::config::cloud::CloudConfig;
use crate::kubernetes::resource::{CONFIG_MAPS, NAMESPACES, NODES, PODS, SECRETS};
use crate::kubernetes::testing::FakeCluster;
use crate::kubernetes::{Api, Method, Resource};
use crate::protocol::message::Message;
use crate::protocol::resource::Kind;
use crate::protocol::terms::Terms;
use crate::protocol::transport::Transport;
use crate::store::testing;
use crate::system::clock::{Clock, ManualClock, Timestamp};
use crate::system::files::Files;
use crate::system::root::Root;
use crate::system::scratch::Scratch;

pub type Runner = Arc<Executor<'static>>;

/// Runs a test, with what goes on beside it; it fails rather than hang.
pub fn play<F: Future<Output = ()>>(test: impl FnOnce(Runner) -> F) {
    let runner = Runner::default();
    let done = runner.run(test(runner.clone()));
    smol::block_on(or(done, async {
        Timer::after(LIMIT).await;
        panic!("nothing more happens");
    }));
}

/// Returns when it is so.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "{what}");
        yield_now().await;
    }
}

pub struct Stage {
    pub cloud: Arc<Cloud>,
    pub cluster: Arc<Cluster>,
    pub hand: ManualClock,
    _stopper: Stopper,
    _folder: Scratch,
}

impl Stage {
    /// A cloudcore that nothing goes on in yet.
    pub fn resting(runner: &Runner, fake: &FakeCluster, options: Options) -> Stage {
        Stage::with_api(runner, fake.api(), options)
    }

    pub fn with_api(runner: &Runner, api: Arc<dyn Api>, options: Options) -> Stage {
        let folder = Scratch::new();
        let (clock, hand) = Clock::manual(NOW);
        let store = Arc::new(testing::open(&Files::real(), folder.path()).unwrap());
        let root = Root::new(Some(folder.path().to_owned()));
        let opening = authority::Options::default();
        let files = Files::real();
        let authority = Authority::open(store, &files, &root, &clock, opening);
        let authority = smol::block_on(authority).unwrap();
        let cluster = Cluster::new(api, options);
        let nodes = Nodes::of(cluster.clone(), "192.0.2.2".to_owned());
        let (stop, stopper) = Stop::new();
        let settings = Settings::new(CloudConfig::default(), &Overrides::default());
        let standing = Standing {
            open_files: 1 << 16,
            confinement: Vec::new(),
        };
        let parts = (authority, nodes, None);
        Stage {
            cloud: Cloud::new(runner, &clock, parts, settings, standing, stop),
            cluster,
            hand,
            _stopper: stopper,
            _folder: folder,
        }
    }

    /// One that knows what the cluster has.
    pub async fn running(runner: &Runner, fake: &FakeCluster, replica: &str) -> Stage {
        let options = Options {
            replica: replica.to_owned(),
            ..Options::default()
        };
        let stage = Stage::resting(runner, fake, options);
        stage.start().await;
        stage
    }

    pub async fn start(&self) {
        self.cluster.clone().start(&self.cloud);
        until("the cluster is known", || self.knows_all()).await;
    }

    fn knows_all(&self) -> bool {
        let cache = self.cluster.cache();
        super::super::watches::WATCHED
            .iter()
            .all(|it| cache.is_listed(it.kind))
    }

    /// A Node, as a watch would tell it.
    pub fn learn(&self, fake: &FakeCluster, name: &str) {
        let object = fake.get(&NODES, None, name).unwrap();
        let object = object.as_object().unwrap().clone();
        self.cluster.told(&self.cloud, |cache, state| {
            cache.put(state, &NODES, Kind::Node, object)
        });
    }

    /// A node connects; `kept`: as one of our edges, whose Lease we renew.
    pub fn connect(&self, node: &str, kept: bool) -> Peer {
        let (node, outbox) = (node.parse().unwrap(), Outbox::default());
        let terms = kept.then(|| Terms::offer(Duration::from_secs(30)));
        let facts = SessionFacts {
            since: self.cloud.clock.now(),
            peer: ([127, 0, 0, 1], 1).into(),
            serial: "01".to_owned(),
            follows: false,
            terms,
            transport: Transport::WebSocket,
            roaming: None,
        };
        let promise = self.cloud.registry.promise(&node).unwrap();
        let registered = promise.begin(facts, credential(), outbox.clone());
        self.cloud
            .nodes
            .begun(&self.cloud, &registered, &outbox, terms);
        Peer {
            cloud: self.cloud.clone(),
            registered: Some(registered),
            outbox,
            told: Vec::new(),
        }
    }
}

/// An edge: what it asks and what it was told. It acknowledges all.
pub struct Peer {
    pub cloud: Arc<Cloud>,
    pub registered: Option<Registered>,
    pub outbox: Outbox,
    pub told: Vec<Told>,
}

#[derive(Clone, Debug)]
pub struct Told {
    /// `update default/pod/p`
    pub what: String,
    pub message: Arc<Message>,
}

impl Told {
    pub fn content(&self) -> Value {
        content(&self.message)
    }
}

impl Peer {
    /// What was answered; none: nothing is.
    pub fn send(&mut self, message: &Message) -> Option<Message> {
        let node = &self.registered.as_ref().unwrap().node;
        match dispatch(&self.cloud, node, &self.outbox, message.clone()) {
            Answer::Now(answer) => answer.map(|answer| *answer),
            Answer::Later(_) => panic!("a cluster never keeps the session waiting"),
        }
    }

    /// Asks, and waits for the answer.
    pub async fn ask(&mut self, operation: &str, resource: &str, content: &Value) -> Message {
        let message = Message::of_edged(NOW, operation, resource, content);
        self.answer_to(&message).await
    }

    pub async fn answer_to(&mut self, message: &Message) -> Message {
        if let Some(answer) = self.send(message) {
            return answer;
        }
        loop {
            match self.next().await {
                Ok(Some(answer)) if answer.header.parent_id == message.header.id => {
                    return Message::clone(&answer);
                }
                Ok(_) => {}
                Err(ending) => panic!("{ending:?} while {} is asked", message.route.resource),
            }
        }
    }

    /// What is told next: an answer, or none when it was an object.
    pub async fn next(&mut self) -> Result<Option<Arc<Message>>, Ending> {
        match self.outbox.next().await? {
            Next::Message(message) if message.route.resource == "membership" => {
                self.told.push(Told {
                    what: "membership".to_owned(),
                    message,
                });
                Ok(None)
            }
            Next::Message(message) => Ok(Some(message)),
            Next::Push(item, new) | Next::Again(item, new) => {
                let node = &self.registered.as_ref().unwrap().node;
                let message = self.cloud.nodes.message(node, &item, new, NOW);
                let Some(mut message) = message else {
                    self.outbox.dropped(&item);
                    return Ok(None);
                };
                self.outbox.sent(item, new, &mut message);
                let message = Arc::new(message);
                let ack = message.answer(NOW, "edgecontroller", "response", "OK");
                let answered = dispatch(&self.cloud, &node.clone(), &self.outbox, ack);
                if let Answer::Later(work) = answered {
                    work.await;
                }
                let route = &message.route;
                self.told.push(Told {
                    what: format!("{} {}", route.operation, route.resource),
                    message,
                });
                Ok(None)
            }
        }
    }

    /// Returns when this was told, after `from` others.
    pub async fn told(&mut self, from: usize, what: &str) -> Told {
        loop {
            let found = self.told[from..].iter().find(|told| told.what == what);
            if let Some(found) = found {
                return found.clone();
            }
            self.next().await.unwrap();
        }
    }

    /// How the session ends.
    pub async fn ended(&mut self) -> Ending {
        loop {
            if let Err(ending) = self.next().await {
                self.registered = None;
                return ending;
            }
        }
    }
}

pub fn content(message: &Message) -> Value {
    serde_json::from_str(message.content.as_ref().unwrap().get()).unwrap()
}

/// A Node with the role of an edge.
pub fn node(fake: &FakeCluster, name: &str) {
    let labels = json!({"node-role.kubernetes.io/edge": "", "kubernetes.io/hostname": name});
    let object = json!({"kind": "Node", "apiVersion": "v1",
        "metadata": {"name": name, "labels": labels}, "status": {}});
    fake.put(&NODES, None, object);
}

pub fn pod(fake: &FakeCluster, name: &str, node: &str, more: Value) {
    let mut spec = json!({"nodeName": node, "containers": [], "serviceAccountName": "runner"});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    let object = json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "default"}, "spec": spec});
    fake.put(&PODS, Some("default"), object);
}

pub fn config(fake: &FakeCluster, name: &str, value: &str) {
    put(
        fake,
        &CONFIG_MAPS,
        "default",
        name,
        json!({"data": {"key": value}}),
    );
}

pub fn secret(fake: &FakeCluster, name: &str, value: &str) {
    put(
        fake,
        &SECRETS,
        "default",
        name,
        json!({"data": {"key": value}}),
    );
}

pub fn put(fake: &FakeCluster, resource: &Resource, namespace: &str, name: &str, more: Value) {
    let mut object = json!({"kind": resource.kind, "apiVersion": resource.api_version(),
        "metadata": {"name": name, "namespace": namespace}});
    for (key, value) in more.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
    fake.put(resource, Some(namespace), object);
}

pub fn namespace(fake: &FakeCluster, name: &str) {
    fake.put(&NAMESPACES, None, json!({"metadata": {"name": name}}));
}

/// Calls but those by which watches go on.
pub fn calls(fake: &FakeCluster) -> Vec<String> {
    let calls = fake.calls().into_iter();
    let calls = calls.filter(|(_, target)| !target.contains("watch=true"));
    calls
        .map(|(method, target): (Method, String)| format!("{} {target}", method.as_str()))
        .collect()
}

pub const NOW: Timestamp = Timestamp::from_unix(1_795_334_583);

/// For a whole test, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(60);
