//! What cloudcore bears: certificates per second of its processor time, and thousands of tunnels.
//!
//! `cargo bench --bench load [-- certificates | ca | tunnels]`

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kubeedge::pki::certificate::{Certificate, Subject};
use kubeedge::pki::csr;
use kubeedge::pki::key::PrivateKey;
use kubeedge::pki::tls::{self, Presented};
use kubeedge::protocol::enrollment::{CA_PATH, CERTIFICATE_PATH, NODE_NAME_HEADER};
use kubeedge::protocol::terms::Terms;
use kubeedge::protocol::token::JoinToken;
use kubeedge::system::clock::Clock;
use kubeedge::system::names::NodeName;
use kubeedge::tunnel::websocket::{self, TunnelRequest};
use kubeedge::tunnel::{Connected, Tunnel};
use rustls::{ClientConfig, ClientConnection, Connection, StreamOwned};

use support::cloud::{Cloud, local};
use support::{median, percentile, process, row, span};

fn main() {
    support::run(&[
        ("certificates", certificates),
        ("ca", ca),
        ("tunnels", tunnels),
    ]);
}

/// `/edge.crt` by token, each time for another node with another key. With a peer, both are asked in turns.
fn certificates(executable: &Path) {
    let cloud = Cloud::start(executable);
    let (token, ca) = cloud.token();
    let peer = Peer::from_environment();
    let nodes = nodes("enrol", REQUESTS);
    let (mut floods, mut peers) = (Vec::new(), Vec::new());
    for nodes in nodes.chunks(REQUESTS / TURNS) {
        let requests = |token| {
            nodes
                .iter()
                .map(|node| node.request(token))
                .collect::<Vec<_>>()
        };
        floods.push(Flood::run(Server::of(&cloud), &ca, &requests(&token)));
        if let Some(peer) = &peer {
            peers.push(Flood::run(peer.server, &peer.ca, &requests(&peer.token)));
        }
    }
    let flood = Flood::sum(floods);

    let per_cpu = flood.per_cpu_second();
    let raw = Raw::measure();
    let compared = match peers.is_empty() {
        true => format!("{:.1} × upstream's published figure", per_cpu / UPSTREAM),
        false => {
            let peer = Flood::sum(peers).per_cpu_second();
            format!("{:.2} × the peer's {peer:.0}", per_cpu / peer)
        }
    };
    row(
        "certificates issued per second and core, a fresh TLS 1.3 connection each",
        "≥ 1.8 × upstream in the same run; 1,480–1,560 as published",
        format!("{per_cpu:.0}, {compared}"),
        &format!(
            "`cargo bench --bench load -- certificates`: {} clients ask for {REQUESTS} \
             certificates by token, each for a new node; divided by the processor time of \
             cloudcore (utime + stime). {:.0}/s with the clients on the same {} cores, \
             p50 {}, p99 {}",
            CLIENTS,
            flood.per_second(),
            std::thread::available_parallelism().map_or(1, usize::from),
            span(median(&flood.latencies)),
            span(percentile(&flood.latencies, 99)),
        ),
    );
    row(
        "the same, as a share of what bare cryptography would allow",
        "",
        format!("{:.0} %", 100.0 * per_cpu / raw.handshakes()),
        &format!(
            "for comparing machines: one core of this one does {:.0} P-256 signatures, {:.0} \
             verifications or {:.0} X25519 agreements a second (ring); a certificate takes two \
             signatures, a verification and an agreement with its own key pair",
            raw.signatures, raw.verifications, raw.agreements,
        ),
    );
}

/// `/ca.crt`, which is handshake and HTTP alone.
fn ca(executable: &Path) {
    let cloud = Cloud::start(executable);
    let (_, ca) = cloud.token();
    let request = format!("GET {CA_PATH} HTTP/1.1\r\nHost: cloud\r\nConnection: close\r\n\r\n");
    let requests = vec![request.into_bytes(); REQUESTS];
    let flood = Flood::run(Server::of(&cloud), &ca, &requests);
    row(
        "`/ca.crt` per second and core, a fresh connection each",
        "upstream 2,300–2,470",
        format!("{:.0}", flood.per_cpu_second()),
        "`cargo bench --bench load -- ca`: as above",
    );
}

/// Opens many tunnels that then say nothing, and looks at what cloudcore holds for them.
fn tunnels(executable: &Path) {
    let cloud = Cloud::start_with(executable, CONFIG);
    let (token, ca) = cloud.token();
    let nodes = nodes("idle", TUNNELS);
    let requests: Vec<_> = nodes.iter().map(|node| node.request(&token)).collect();
    let enrolled = Flood::run(Server::of(&cloud), &ca, &requests);
    let edges: Vec<Enrolled> = nodes
        .into_iter()
        .zip(enrolled.bodies)
        .map(Enrolled::new)
        .collect();

    let memory = || {
        std::thread::sleep(SETTLE);
        process::memory(cloud.pid())
    };
    let (first, second) = edges.split_at(TUNNELS / 2);
    let before = memory();
    let opened = Opening::run(&cloud, &ca, first);
    let half = memory();
    let rest = Opening::run(&cloud, &ca, second);
    let full = memory();
    assert!(
        cloud.session("idle-0").is_some(),
        "the first tunnel is up no more"
    );
    let each = |from: u64, to: u64, count: usize| to.saturating_sub(from) as f64 / count as f64;
    row(
        "memory per idle mTLS tunnel in cloudcore",
        "≤ 30 kB; upstream 129–147 kB",
        format!("{:.1} kB", each(before.rss, full.rss, TUNNELS)),
        &format!(
            "`cargo bench --bench load -- tunnels`: growth of RSS over {TUNNELS} tunnels; \
             {:.1} kB over the first half, {:.1} kB (PSS) over all; RSS in all {} kB",
            each(before.rss, half.rss, first.len()),
            each(before.pss, full.pss, TUNNELS),
            full.rss,
        ),
    );
    let (took, spent) = (opened.took + rest.took, opened.spent + rest.spent);
    row(
        "tunnels accepted per second",
        "upstream 350–420",
        format!("{:.0}", TUNNELS as f64 / took.as_secs_f64()),
        &format!(
            "in the same run: {CLIENTS} at a time, clients on the same cores; {:.0} per second \
             of cloudcore's processor time",
            TUNNELS as f64 / spent.as_secs_f64(),
        ),
    );
    drop((opened, rest));
    let after = memory();
    eprintln!(
        "RSS before {}, with tunnels {}, after them {} kB",
        before.rss, full.rss, after.rss
    );
}

/// A node that may ask for a certificate.
struct Node {
    name: NodeName,
    key: PrivateKey,
    csr: Vec<u8>,
}

impl Node {
    fn new(name: String) -> Node {
        let name: NodeName = name.parse().expect("this is a node name");
        let key = PrivateKey::generate().expect("the system has randomness");
        let csr = csr::create(&key, &Subject::node(&name)).expect("the key signs");
        Node { name, key, csr }
    }

    fn request(&self, token: &JoinToken) -> Vec<u8> {
        let head = format!(
            "GET {CERTIFICATE_PATH} HTTP/1.1\r\nHost: cloud\r\nConnection: close\r\n\
             {NODE_NAME_HEADER}: {}\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
            self.name,
            token.jwt(),
            self.csr.len()
        );
        [head.as_bytes(), &self.csr].concat()
    }
}

fn nodes(prefix: &str, count: usize) -> Vec<Node> {
    (0..count)
        .map(|number| Node::new(format!("{prefix}-{number}")))
        .collect()
}

/// Who is asked.
#[derive(Clone, Copy)]
struct Server {
    pid: u32,
    https: u16,
}

impl Server {
    fn of(cloud: &Cloud) -> Server {
        let (pid, https) = (cloud.pid(), cloud.ports.https);
        Server { pid, https }
    }
}

/// Another program on this machine that serves the same API, started by whoever compares:
/// `KUBEEDGE_PEER="PID PORT TOKEN-FILE"`.
struct Peer {
    server: Server,
    token: JoinToken,
    ca: Certificate,
}

impl Peer {
    fn from_environment() -> Option<Peer> {
        let given = std::env::var("KUBEEDGE_PEER").ok()?;
        let [pid, port, file] = given.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("KUBEEDGE_PEER is PID PORT TOKEN-FILE");
        };
        let (pid, https) = (pid.parse().expect("a pid"), port.parse().expect("a port"));
        let token = std::fs::read_to_string(file).expect("the file holds a token");
        let token: JoinToken = token.trim().parse().expect("a token");
        let ca = support::cloud::api(https)
            .fetch_ca(&token)
            .expect("the peer's CA");
        let server = Server { pid, https };
        Some(Peer { server, token, ca })
    }
}

/// Many requests by several clients at once, one after the other each, on a connection each.
struct Flood {
    latencies: Vec<Duration>,
    /// What was answered, in the order of the requests.
    bodies: Vec<Vec<u8>>,
    took: Duration,
    /// Processor time of cloudcore.
    spent: Duration,
}

impl Flood {
    fn run(server: Server, ca: &Certificate, requests: &[Vec<u8>]) -> Flood {
        let config = tls::client(std::slice::from_ref(ca), None, &Clock::system());
        let config = config.expect("a TLS configuration");
        let (started, spent) = (Instant::now(), process::cpu(server.pid));
        let mut answers = share(requests.len(), |number| {
            ask(server.https, &config, &requests[number])
        });
        let (took, spent) = (started.elapsed(), process::cpu(server.pid) - spent);
        answers.sort_by_key(|(number, _)| *number);
        let (latencies, bodies) = answers.into_iter().map(|(_, answer)| answer).unzip();
        Flood {
            latencies,
            bodies,
            took,
            spent,
        }
    }

    fn sum(parts: Vec<Flood>) -> Flood {
        let empty = Flood {
            latencies: Vec::new(),
            bodies: Vec::new(),
            took: Duration::ZERO,
            spent: Duration::ZERO,
        };
        parts.into_iter().fold(empty, |mut sum, part| {
            sum.latencies.extend(part.latencies);
            sum.bodies.extend(part.bodies);
            sum.took += part.took;
            sum.spent += part.spent;
            sum
        })
    }

    fn per_second(&self) -> f64 {
        self.bodies.len() as f64 / self.took.as_secs_f64()
    }

    fn per_cpu_second(&self) -> f64 {
        self.bodies.len() as f64 / self.spent.as_secs_f64()
    }
}

/// Does `work` for each number below `count`, with so many threads as there are clients.
fn share<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<(usize, T)> {
    let next = AtomicUsize::new(0);
    let client = || {
        let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        let numbers = numbers.take_while(|number| *number < count);
        numbers
            .map(|number| (number, work(number)))
            .collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let done = clients
            .into_iter()
            .map(|client| client.join().expect("no client fails"));
        done.flatten().collect()
    })
}

/// One request on a connection of its own: how long it took, and the body of the answer.
fn ask(port: u16, config: &Arc<ClientConfig>, request: &[u8]) -> (Duration, Vec<u8>) {
    let started = Instant::now();
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("cloudcore listens");
    stream.set_nodelay(true).expect("TCP");
    let name = tls::server_name(&local(port).host).expect("an address");
    let session = ClientConnection::new(config.clone(), name).expect("a TLS client");
    let mut stream = StreamOwned::new(session, stream);
    stream.write_all(request).expect("cloudcore reads");
    let mut answer = Vec::with_capacity(2048);
    stream
        .read_to_end(&mut answer)
        .expect("cloudcore answers, and closes in order");
    let version = Connection::Client(stream.conn).protocol_version();
    assert_eq!(version, Some(rustls::ProtocolVersion::TLSv1_3));
    let head = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a head");
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 200 "), "refused: {text}");
    (started.elapsed(), answer.split_off(head + 4))
}

/// A node with its certificate.
struct Enrolled {
    name: NodeName,
    key: PrivateKey,
    certificate: Certificate,
}

impl Enrolled {
    fn new((node, answer): (Node, Vec<u8>)) -> Enrolled {
        let certificate = Certificate::from_der(&answer).expect("a certificate");
        Enrolled {
            name: node.name,
            key: node.key,
            certificate,
        }
    }

    fn open(&self, cloud: &Cloud, ca: &Certificate) -> Tunnel {
        let identity = Some((&self.certificate, &self.key));
        let config = tls::client(std::slice::from_ref(ca), identity, &Clock::system());
        let config = config.expect("a TLS configuration");
        let request = TunnelRequest {
            terms: Terms::offer(Duration::from_secs(30)),
            endpoint: local(cloud.ports.hub),
            project: PROJECT.to_owned(),
            node: self.name.clone(),
            trusted: vec![ca.hash()],
        };
        let opened = smol::block_on(async {
            let stream = smol::net::TcpStream::connect(("127.0.0.1", cloud.ports.hub)).await;
            let stream = stream.expect("cloudcore listens");
            let secured =
                websocket::secure(stream, config, &request.endpoint, &Presented::default()).await?;
            websocket::upgrade(secured, &request).await
        });
        let Connected { tunnel, .. } = opened.unwrap_or_else(|error| panic!("no tunnel: {error}"));
        tunnel
    }
}

/// Tunnels that were opened, and are up until this is dropped.
struct Opening {
    took: Duration,
    spent: Duration,
    _tunnels: Vec<(usize, Tunnel)>,
}

impl Opening {
    fn run(cloud: &Cloud, ca: &Certificate, edges: &[Enrolled]) -> Opening {
        let (started, spent) = (Instant::now(), process::cpu(cloud.pid()));
        let tunnels = share(edges.len(), |number| edges[number].open(cloud, ca));
        let took = started.elapsed();
        Opening {
            took,
            spent: process::cpu(cloud.pid()) - spent,
            _tunnels: tunnels,
        }
    }
}

/// What one core of this machine does of bare cryptography in a second.
struct Raw {
    signatures: f64,
    verifications: f64,
    agreements: f64,
}

impl Raw {
    fn measure() -> Raw {
        use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
        use ring::signature::{
            ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING as SIGNING, EcdsaKeyPair,
            KeyPair, UnparsedPublicKey as Verifier,
        };
        let random = ring::rand::SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&SIGNING, &random).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(&SIGNING, pkcs8.as_ref(), &random).expect("a key");
        let sign = || key.sign(&random, b"message").expect("it signs");
        let signature = sign();
        let verifier = Verifier::new(&ECDSA_P256_SHA256_ASN1, key.public_key().as_ref());
        let secret = || EphemeralPrivateKey::generate(&X25519, &random).expect("a secret");
        let peer = secret().compute_public_key().expect("a public key");
        let peer = UnparsedPublicKey::new(&X25519, peer.as_ref());
        Raw {
            signatures: per_second(|| {
                let _ = sign();
            }),
            verifications: per_second(|| {
                verifier
                    .verify(b"message", signature.as_ref())
                    .expect("it verifies");
            }),
            agreements: per_second(|| {
                let own = secret();
                let _ = own.compute_public_key().expect("a public key");
                agree_ephemeral(own, &peer, |_| ()).expect("they agree");
            }),
        }
    }

    /// Certificates per second if there were nothing else to do.
    fn handshakes(&self) -> f64 {
        1.0 / (2.0 / self.signatures + 1.0 / self.verifications + 1.0 / self.agreements)
    }
}

/// By processor time, so that other work on the machine does not count.
fn per_second(mut work: impl FnMut()) -> f64 {
    let own = std::process::id();
    let (before, started, mut count) = (process::precise_cpu(own), Instant::now(), 0);
    while started.elapsed() < RAW {
        (0..100).for_each(|_| work());
        count += 100;
    }
    f64::from(count) / (process::precise_cpu(own) - before).as_secs_f64()
}

/// Certificates per second of a Go cloudcore's processor time, the middle of what was measured.
const UPSTREAM: f64 = 1520.0;
const CLIENTS: usize = 8;
const REQUESTS: usize = 10_000;
/// In which the requests are sent, so that what else the machine does meets both servers alike.
const TURNS: usize = 5;
const CONFIG: &str = "modules:\n  cloudHub:\n    nodeLimit: 2000\n";
const TUNNELS: usize = 1000;
const PROJECT: &str = "e632aba927ea4ac2b575ec1603d56f10";
/// For cloudcore to come to rest; less than the time after which it ends silent sessions.
const SETTLE: Duration = Duration::from_secs(2);
const RAW: Duration = Duration::from_secs(1);
