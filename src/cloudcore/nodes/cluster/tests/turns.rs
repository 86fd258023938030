//! What waits for its turn among large messages to all edges, and what goes on meanwhile: over real sessions.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use serde_json::{Value, json};
use smol::future::zip;
use smol::net::unix::UnixStream;

use super::stage::*;
use crate::cloudcore::outbox::{Ending, Outbox};
use crate::cloudcore::{rotation, session};
use crate::kubernetes::testing::FakeCluster;
use crate::protocol::message::{Message, Route};
use crate::protocol::terms::Terms;
use crate::protocol::transport::Transport;
use crate::tunnel::upgrade::Upgrade;
use crate::tunnel::websocket::{self, TunnelRequest};
use crate::tunnel::{AnyCarrier, Carrier, Event, Line, Tunnel};

/// Of a tunnel within this process; what is written waits until it is read, but for a few kB.
impl Carrier for UnixStream {
    fn peer_certificate(&self) -> Option<Vec<u8>> {
        None
    }

    fn line(&self) -> Box<dyn Line> {
        Box::new(Inside)
    }
}

#[derive(Debug)]
struct Inside;

impl Line for Inside {
    fn transport(&self) -> Transport {
        Transport::WebSocket
    }

    fn peer(&self) -> Option<SocketAddr> {
        None
    }

    fn acknowledged(&self) -> Option<u64> {
        None
    }

    fn give_up_after(&self, _limit: Duration) {}

    fn gone(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

/// The other end of a session.
struct Edge {
    tunnel: Tunnel<UnixStream>,
    outbox: Outbox,
}

impl Edge {
    async fn connect(runner: &Runner, stage: &Stage) -> Edge {
        let cloud = stage.cloud.clone();
        let (ours, theirs) = UnixStream::pair().unwrap();
        setsockopt(&ours, sockopt::SndBuf, &4096).unwrap();
        let request = TunnelRequest {
            endpoint: "cloud.example:10000".parse().unwrap(),
            project: "project".to_owned(),
            node: "edge-1".parse().unwrap(),
            trusted: Vec::new(),
            terms: Terms::offer(Duration::from_secs(30)),
        };
        let accepted = async {
            let carrier: AnyCarrier = Box::new(ours);
            let upgrade = Upgrade::read(carrier, Vec::new()).await.unwrap();
            let cas = rotation::cas(&cloud);
            upgrade
                .accept(NOW, 1 << 20, &cloud.budget, &cas, None)
                .await
        };
        let (accepted, opened) = zip(accepted, websocket::upgrade(theirs, &request)).await;
        let mut peer = stage.connect("edge-1", false);
        let (registered, outbox) = (peer.registered.take().unwrap(), peer.outbox.clone());
        let run = session::run(cloud, accepted.unwrap(), registered, outbox, None, None);
        runner.spawn(run).detach();
        Edge {
            tunnel: opened.unwrap().tunnel,
            outbox: peer.outbox.clone(),
        }
    }

    async fn next(&mut self) -> Message {
        loop {
            if let Event::Message(message) = self.tunnel.receiver.next().await.unwrap() {
                return *message;
            }
        }
    }

    /// Reads until this one comes; the names of what came before it.
    async fn reads(&mut self, is_it: impl Fn(&Message) -> bool) -> (Message, Vec<String>) {
        let mut before = Vec::new();
        loop {
            let message = self.next().await;
            if is_it(&message) {
                return (message, before);
            }
            before.push(message.route.resource);
        }
    }
}

/// A cluster in which a Pod of edge-1 names a ConfigMap of so many bytes.
fn with_large(bytes: usize) -> FakeCluster {
    let fake = FakeCluster::new();
    node(&fake, "edge-1");
    config(&fake, "large", &"x".repeat(bytes));
    let volumes = json!({"volumes": [{"configMap": {"name": "large"}}]});
    pod(&fake, "app", "edge-1", volumes);
    fake
}

/// One that knows all of that.
async fn stage(runner: &Runner, fake: &FakeCluster) -> Stage {
    let stage = Stage::running(runner, fake, "one").await;
    until("all three are known", || stage.cloud.nodes.counts().0 == 3).await;
    stage
}

/// A session whose large object waits for its turn, since somebody has all the room.
async fn waiting(runner: &Runner, stage: &Stage) -> Edge {
    let edge = Edge::connect(runner, stage).await;
    until("the object waits", || stage.cloud.sending.waiting() == 1).await;
    edge
}

fn message(resource: &str, bytes: usize) -> Message {
    let route = Route {
        resource: resource.to_owned(),
        ..Route::default()
    };
    Message::new(NOW, route, &"x".repeat(bytes))
}

fn about(resource: &str) -> impl Fn(&Message) -> bool {
    move |message| message.route.resource == resource
}

const LARGE: &str = "default/configmap/large";

#[test]
fn who_waits_to_be_sent_a_large_object_is_answered_meanwhile() {
    play(|runner| async move {
        let fake = with_large(100_000);
        let stage = stage(&runner, &fake).await;
        let sending = &stage.cloud.sending;
        let all = sending.try_take(usize::MAX).unwrap();
        let mut edge = waiting(&runner, &stage).await;
        for _ in 0..3 {
            let query = Message::of_edged(NOW, "query", "null/node/edge-1", &Value::Null);
            edge.tunnel.sender.send(&query).await.unwrap();
            let answers = |it: &Message| it.header.parent_id == query.header.id;
            let (answer, before) = edge.reads(answers).await;
            assert_eq!(content(&answer)["metadata"]["name"], "edge-1");
            assert!(before.iter().all(|it| it != LARGE));
        }
        // What it is by then counts, and it comes once.
        config(&fake, "large", &"y".repeat(100_001));
        until("it is in line again", || edge.outbox.waits("large")).await;
        assert_eq!(sending.waiting(), 1, "it has kept its turn");
        drop(all);
        let (object, _) = edge.reads(about(LARGE)).await;
        assert_eq!(content(&object)["data"]["key"], "y".repeat(100_001));
        let ack = object.answer(NOW, "edgecontroller", "response", "OK");
        edge.tunnel.sender.send(&ack).await.unwrap();
        until("it is acknowledged", || edge.outbox.due("large").is_none()).await;
        assert!(!edge.outbox.waits("large"));
        assert!(sending.try_take(usize::MAX).is_some(), "all is given back");
    });
}

#[test]
fn a_session_that_ends_while_it_waits_leaves_its_turn_to_others() {
    play(|runner| async move {
        let fake = with_large(100_000);
        let stage = stage(&runner, &fake).await;
        let sending = &stage.cloud.sending;
        let all = sending.try_take(usize::MAX).unwrap();
        let mut edge = waiting(&runner, &stage).await;
        edge.outbox.end(Ending::Replaced);
        until("nobody waits", || sending.waiting() == 0).await;
        while edge.tunnel.receiver.next().await.is_ok() {}
        drop(all);
        assert!(sending.try_take(usize::MAX).is_some());
    });
}

#[test]
fn what_is_about_a_large_answer_comes_after_it_and_all_else_before() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        let stage = Stage::running(&runner, &fake, "one").await;
        let sending = stage.cloud.sending.clone();
        let mut edge = Edge::connect(&runner, &stage).await;
        edge.reads(about("null/node/edge-1")).await;
        let all = sending.try_take(usize::MAX).unwrap();
        for (resource, bytes) in [
            ("default/pod/p", 100_000),
            ("default/podpatch/p", 10),
            ("default/configmap/c", 100_000),
            ("default/configmap/c", 10),
            ("default/secret/s", 10),
        ] {
            assert!(edge.outbox.push(message(resource, bytes)));
        }
        assert_eq!(edge.next().await.route.resource, "default/secret/s");
        assert!(edge.outbox.push(message("default/lease/edge-1", 10)));
        assert_eq!(edge.next().await.route.resource, "default/lease/edge-1");
        drop(all);
        for (resource, is_large) in [
            ("default/pod/p", true),
            ("default/podpatch/p", false),
            ("default/configmap/c", true),
            ("default/configmap/c", false),
        ] {
            let message = edge.next().await;
            assert_eq!(message.route.resource, resource);
            assert_eq!(content(&message).to_string().len() > 1000, is_large);
        }
    });
}

#[test]
fn who_is_busy_when_its_turn_comes_holds_up_nobody() {
    play(|runner| async move {
        let fake = with_large(100_000);
        let stage = stage(&runner, &fake).await;
        let sending = &stage.cloud.sending;
        let all = sending.try_take(usize::MAX).unwrap();
        let mut edge = waiting(&runner, &stage).await;
        edge.reads(about("null/node/edge-1")).await;
        // Nothing is read from here on.
        for name in ["a", "b"] {
            assert!(edge.outbox.push(message(name, 60_000)));
        }
        until("one is being written", || edge.outbox.queued() == 1).await;
        drop(all);
        drop(sending.take(100_000).await);
        let sessions = stage.cloud.metrics.ended_sessions.get();
        assert!(sessions.is_empty(), "{sessions:?}");
        // What its turn was for is made by then, and comes before what was said since.
        edge.reads(about("a")).await;
        for expected in [LARGE, "b"] {
            assert_eq!(edge.next().await.route.resource, expected);
        }
    });
}

#[test]
fn what_takes_long_to_be_written_has_all_its_time_to_be_acknowledged() {
    play(|runner| async move {
        let fake = with_large(900_000);
        let stage = stage(&runner, &fake).await;
        let sending = stage.cloud.sending.clone();
        let mut edge = Edge::connect(&runner, &stage).await;
        until("it is being written", || edge.outbox.due("large").is_some()).await;
        let begun = Instant::now();
        edge.reads(about(LARGE)).await;
        let free = || sending.try_take(usize::MAX).is_some();
        until("it has been written", free).await;
        let due = edge.outbox.due("large").unwrap();
        assert!(due >= begun + Duration::from_secs(5));
    });
}
