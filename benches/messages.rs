//! What cloudcore bears of messages: per second of its processor time, over one tunnel and over a hundred.
//!
//! `cargo bench --bench messages [-- rates | lease]`

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kubeedge::pki::certificate::{Certificate, Subject};
use kubeedge::pki::key::PrivateKey;
use kubeedge::pki::{csr, tls};
use kubeedge::protocol::message::{Message, Route};
use kubeedge::protocol::terms::Terms;
use kubeedge::system::clock::{Clock, Timestamp};
use kubeedge::system::names::NodeName;
use kubeedge::tunnel::websocket::{self, TunnelRequest};
use kubeedge::tunnel::{Event, Tunnel};
use serde_json::json;
use smol::Executor;

use support::cloud::{Cloud, api, local};
use support::{median, percentile, process, row, span};

fn main() {
    support::run(&[("rates", rates), ("lease", lease)]);
}

/// What is asked again and again, and what upstream's cloudcore does of it in a second of its processor time.
struct Asked {
    what: &'static str,
    upstream: &'static str,
    question: fn(&NodeName) -> Message,
}

const QUESTIONS: &[Asked] = &[
    Asked {
        what: "pings",
        upstream: "62,000–67,000",
        question: |_| message("websocket", "ping", "/control/ping".to_owned(), &""),
    },
    Asked {
        what: "questions after the CA of Kubernetes",
        upstream: "28,000–32,000",
        question: |_| message("metamanager", "query", "k8s/ca.crt".to_owned(), &()),
    },
    Asked {
        what: "questions after the node's Lease",
        upstream: "20,000–22,700",
        question: |node| {
            let lease = format!("kube-node-lease/lease/{node}");
            message("edged", "query", lease, &())
        },
    },
];

fn rates(executable: &Path) {
    let cloud = Cloud::start(executable);
    let edges = Edges::enrol(&cloud, TUNNELS);
    for asked in QUESTIONS {
        for tunnels in [1, TUNNELS] {
            let measured = edges.ask(&cloud, tunnels, asked.question);
            row(
                &format!("{} answered, {tunnels} {}", asked.what, plural(tunnels)),
                &format!("upstream {} per second of processor time", asked.upstream),
                format!("{:.0}", measured.per_cpu_second()),
                &format!(
                    "`cargo bench --bench messages -- rates`: {WINDOW} in flight on each tunnel, {} in all, \
                     divided by the processor time of cloudcore; {:.0}/s on the clock",
                    measured.count,
                    measured.per_second(),
                ),
            );
        }
    }
}

/// One after the other, as an edge does it.
fn lease(executable: &Path) {
    let cloud = Cloud::start(executable);
    let edges = Edges::enrol(&cloud, 1);
    let edge = &edges.0[0];
    let samples = smol::block_on(async {
        let mut tunnel = edge.open(&cloud).await;
        register(&mut tunnel, &edge.node).await;
        let mut lease = inserted(&mut tunnel, &edge.node).await;
        let mut samples = Vec::new();
        for number in 0..LEASES {
            lease["spec"]["renewTime"] = json!(format!("2026-11-26T00:00:00.{number:06}Z"));
            let update = message("edged", "update", lease_of(&edge.node), &lease);
            let started = Instant::now();
            lease = answer_to(&mut tunnel, update).await["Object"].take();
            samples.push(started.elapsed());
        }
        samples
    });
    row(
        "update of a Lease, there and back",
        "",
        span(median(&samples)),
        &format!(
            "`cargo bench --bench messages -- lease`: median of {LEASES}, one after the other; p99 {}",
            span(percentile(&samples, 99))
        ),
    );
}

/// The node has to be there for a Lease of it to be.
async fn register(tunnel: &mut Tunnel, node: &NodeName) {
    let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.as_str()}});
    let insert = message("edged", "insert", format!("null/node/{node}"), &object);
    let answer = answer_to(tunnel, insert).await;
    assert!(answer["Err"].is_null(), "{answer}");
}

async fn inserted(tunnel: &mut Tunnel, node: &NodeName) -> serde_json::Value {
    let object = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": node.as_str(), "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": node.as_str(), "leaseDurationSeconds": 40,
            "renewTime": "2026-11-25T00:00:00.000000Z"},
    });
    let insert = message("edged", "insert", lease_of(node), &object);
    let mut answer = answer_to(tunnel, insert).await;
    assert!(answer["Err"].is_null(), "{answer}");
    answer["Object"].take()
}

fn lease_of(node: &NodeName) -> String {
    format!("kube-node-lease/lease/{node}")
}

/// Sends a question and waits for its answer; what is pushed meanwhile is acknowledged.
async fn answer_to(tunnel: &mut Tunnel, question: Message) -> serde_json::Value {
    let id = question.header.id.clone();
    tunnel
        .sender
        .send(&question)
        .await
        .expect("the tunnel is up");
    loop {
        let Event::Message(message) = tunnel.receiver.next().await.expect("the tunnel is up")
        else {
            continue;
        };
        if message.header.parent_id == id {
            let content = message.content.as_ref().map_or("null", |raw| raw.get());
            return serde_json::from_str(content).expect("JSON");
        }
        let ack = message.answer(NOW, &message.route.source, "response", "OK");
        tunnel.sender.send(&ack).await.expect("the tunnel is up");
    }
}

fn message(
    source: &str,
    operation: &str,
    resource: String,
    content: &impl serde::Serialize,
) -> Message {
    let route = Route {
        source: source.to_owned(),
        group: if source == "edged" {
            "meta"
        } else {
            "resource"
        }
        .to_owned(),
        operation: operation.to_owned(),
        resource,
        ..Route::default()
    };
    Message::new(NOW, route, content)
}

/// Nodes with their certificates.
struct Edges(Vec<Edge>);

struct Edge {
    node: NodeName,
    key: PrivateKey,
    certificate: Certificate,
    ca: Certificate,
}

/// What was answered in which time.
struct Measured {
    count: usize,
    took: Duration,
    spent: Duration,
}

impl Measured {
    fn per_second(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64()
    }

    fn per_cpu_second(&self) -> f64 {
        self.count as f64 / self.spent.as_secs_f64()
    }
}

impl Edges {
    fn enrol(cloud: &Cloud, count: usize) -> Edges {
        let (token, ca) = cloud.token();
        let enrol = |number: usize| {
            let node: NodeName = format!("talks-{number}").parse().expect("a node name");
            let key = PrivateKey::generate().expect("the system has randomness");
            let csr = csr::create(&key, &Subject::node(&node)).expect("the key signs");
            let asked =
                api(cloud.ports.https).apply(std::slice::from_ref(&ca), &token, &node, &csr);
            Edge {
                node,
                key,
                certificate: asked.expect("a certificate"),
                ca: ca.clone(),
            }
        };
        Edges((0..count).map(enrol).collect())
    }

    /// Asks over so many tunnels at once, each with a window.
    fn ask(&self, cloud: &Cloud, tunnels: usize, question: fn(&NodeName) -> Message) -> Measured {
        let executor = Arc::new(Executor::new());
        let each = MESSAGES / tunnels;
        smol::block_on(executor.run(async {
            let mut opened = Vec::new();
            for edge in &self.0[..tunnels] {
                opened.push((edge.open(cloud).await, question(&edge.node)));
            }
            let (started, before) = (Instant::now(), process::precise_cpu(cloud.pid()));
            let asking: Vec<_> = opened
                .into_iter()
                .map(|(tunnel, question)| executor.spawn(flood(tunnel, question, each)))
                .collect();
            for task in asking {
                task.await;
            }
            Measured {
                count: each * tunnels,
                took: started.elapsed(),
                spent: process::precise_cpu(cloud.pid()) - before,
            }
        }))
    }
}

impl Edge {
    async fn open(&self, cloud: &Cloud) -> Tunnel {
        let identity = Some((&self.certificate, &self.key));
        let config = tls::client(std::slice::from_ref(&self.ca), identity, &Clock::system());
        let request = TunnelRequest {
            endpoint: local(cloud.ports.hub),
            project: "e632aba927ea4ac2b575ec1603d56f10".to_owned(),
            node: self.node.clone(),
            trusted: vec![self.ca.hash()],
            terms: Terms::offer(Duration::from_secs(600)),
        };
        let stream = smol::net::TcpStream::connect(("127.0.0.1", cloud.ports.hub)).await;
        let stream = stream.expect("cloudcore listens");
        let config = config.expect("a TLS configuration");
        let secured = websocket::secure(
            stream,
            config,
            &request.endpoint,
            &tls::Presented::default(),
        )
        .await;
        let secured = secured.expect("TLS");
        websocket::upgrade(secured, &request)
            .await
            .expect("a tunnel")
            .tunnel
    }
}

/// Keeps a window of questions in flight until so many were answered.
async fn flood(mut tunnel: Tunnel, question: Message, count: usize) {
    let (mut sent, mut answered) = (0, 0);
    while answered < count {
        while sent < count && sent < answered + WINDOW {
            tunnel
                .sender
                .send(&question)
                .await
                .expect("the tunnel is up");
            sent += 1;
        }
        if let Event::Message(message) = tunnel.receiver.next().await.expect("the tunnel is up") {
            assert_ne!(message.route.operation, "error", "{:?}", message.text());
            answered += usize::from(message.header.parent_id == question.header.id);
        }
    }
}

fn plural(tunnels: usize) -> &'static str {
    if tunnels == 1 { "tunnel" } else { "tunnels" }
}

const NOW: Timestamp = Timestamp::from_unix(1_795_000_000);
const TUNNELS: usize = 100;
const WINDOW: usize = 32;
const MESSAGES: usize = 200_000;
const LEASES: usize = 1000;
