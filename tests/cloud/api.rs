//! The certificate API answers what KubeEdge's edges really sent, each case as our table says.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kubeedge::pki::certificate::{Certificate, Subject};
use kubeedge::pki::csr::{self, Csr};
use kubeedge::pki::issue::new_ca;
use kubeedge::pki::key::PrivateKey;
use kubeedge::system::clock::{Timestamp, http_date};
use kubeedge::system::names::NodeName;

use crate::support::{Answer, Client, Cloud, Identity, PATIENCE, remake, vectors};

#[test]
fn recorded_cases_of_v1_23() {
    replay_cases("api-cases-v1.23", "", RECORDED_V1_23);
}

/// On the port that has tunnels as well.
#[test]
fn recorded_cases_on_one_port() {
    let cloud = Cloud::start_on_one_port("api-cases-one-port", "", RECORDED_V1_23);
    replay_cases_at(&cloud, "");
}

#[test]
fn recorded_cases_of_v1_13() {
    replay_cases("api-cases-v1.13", "v1.13", RECORDED_V1_13);
}

/// `join` as a whole: both requests of an edgecore, byte for byte.
#[test]
fn recorded_joins() {
    for (name, generation) in [("api-join-v1.23", ""), ("api-join-v1.13", "v1.13")] {
        let folder = vectors(generation).join("edge-mini");
        let cloud = Cloud::start(name, generation, "", recorded_at(&folder, "https-001"));
        let request = fs::read(folder.join("https-001.c2s.bin")).unwrap();
        let answer = exchange(&cloud, None, &request).unwrap();
        assert_eq!(
            (answer.status, &answer.body[..]),
            (200, cloud.ca.0.der()),
            "{name}"
        );
        cloud.time.set(recorded_at(&folder, "https-002"));
        let request = fs::read(folder.join("https-002.c2s.bin")).unwrap();
        let answer = exchange(&cloud, None, &request).unwrap();
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        check_certificate(name, &request, &answer);
    }
}

/// An edge renews over mTLS. v1.13's certificate names no node: it needs the operator's leave, and
/// that the node is known.
#[test]
fn recorded_renewals() {
    for (name, generation, yaml, old, status) in [
        ("api-renew-v1.23", "", "", "old.crt", 200),
        ("api-renew-v1.13", "v1.13", "", "before.pem", 401),
        (
            "api-renew-v1.13-unknown",
            "v1.13",
            ROTATE_LEGACY,
            "before.pem",
            401,
        ),
        (
            "api-renew-v1.13-full",
            "v1.13",
            FULL_LEGACY,
            "before.pem",
            200,
        ),
    ] {
        let folder = vectors(generation).join("rotation");
        let cloud = Cloud::start(name, generation, yaml, recorded_at(&folder, "https-001"));
        let model = Certificate::from_pem(&fs::read(folder.join(old)).unwrap()).unwrap();
        let identity = remake(&model, &cloud.ca);
        let request = fs::read(folder.join("https-001.c2s.bin")).unwrap();
        let answer = exchange(&cloud, Some(&identity), &request).unwrap();
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        if status == 200 {
            check_certificate(name, &request, &answer);
        }
    }
}

/// A token does not give a name to a second key when names are protected.
#[test]
fn protected_names() {
    let yaml = "modules: {cloudHub: {protectNames: true}}";
    let cloud = Cloud::start("api-protected", "", yaml, RECORDED_V1_23);
    let token = bearer_of_case_01("");
    let (first, second) = (
        PrivateKey::generate().unwrap(),
        PrivateKey::generate().unwrap(),
    );
    assert_eq!(enroll(&cloud, &token, "edge-1", &first).status, 200);
    assert_eq!(enroll(&cloud, &token, "edge-1", &first).status, 200);
    assert_eq!(enroll(&cloud, &token, "edge-1", &second).status, 409);
    cloud.counts(&[
        "kubeedge_certificates_issued_total{by=\"token\"} 2",
        "certificates_refused_total{reason=\"name-taken\"} 1",
    ]);
}

/// A certificate that has ended is renewed for its key while the operator's grace lasts; in a handshake
/// it proves that key.
#[test]
fn renewals_after_the_end() {
    let yaml = "modules: {cloudHub: {edgeCertLifetime: 1h, renewAfterExpiry: 2h}}";
    let cloud = Cloud::start("api-late", "", yaml, RECORDED_V1_23);
    let key = PrivateKey::generate().unwrap();
    let body = enroll(&cloud, &bearer_of_case_01(""), "edge-1", &key).body;
    let old = (Certificate::from_der(&body).unwrap(), key);
    let request = || {
        let (key, subject) = (
            PrivateKey::generate().unwrap(),
            Subject::node(&"edge-1".parse().unwrap()),
        );
        let csr = csr::create(&key, &subject).unwrap();
        let head = format!(
            "GET /edge.crt HTTP/1.1\r\nHost: x\r\nNodeName: edge-1\r\nContent-Length: {}\r\n\r\n",
            csr.len()
        );
        (key, [head.as_bytes(), &csr].concat())
    };
    cloud.time.advance(Duration::from_secs(2 * 3600 + 60));
    let (key, first) = request();
    let answer = exchange(&cloud, Some(&old), &first).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let date = http_date::show(cloud.clock.now());
    assert_eq!(answer.header("date"), Some(date.as_str()));
    let fresh = (Certificate::from_der(&answer.body).unwrap(), key);
    // Until its end plus the grace.
    cloud.time.advance(Duration::from_secs(3 * 3600 + 60));
    let late = exchange(&cloud, Some(&fresh), &request().1).unwrap();
    assert_eq!(late.status, 401);
    assert!(late.text().contains("expired at"), "{}", late.text());
    cloud.counts(&[
        "kubeedge_certificates_renewed_after_expiry_total 1",
        "kubeedge_certificates_issued_total{by=\"renewal\"} 1",
        "kubeedge_certificates_refused_total{reason=\"certificate\"} 1",
    ]);
}

/// The node itself may ask whether its name is taken; and a stranger only so often.
#[test]
fn name_checks() {
    let cloud = Cloud::start("api-name-checks", "", "", RECORDED_V1_23);
    let key = PrivateKey::generate().unwrap();
    let body = enroll(&cloud, &bearer_of_case_01(""), "edge-1", &key).body;
    let identity = (Certificate::from_der(&body).unwrap(), key);
    let request = b"GET /node/edge-1 HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = exchange(&cloud, None, request).unwrap();
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "Node founded")
    );
    let answer = exchange(&cloud, Some(&identity), request).unwrap();
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (404, "Node not found")
    );
    let mut client = cloud.https(None).unwrap();
    let mut last = 0;
    for _ in 0..100 {
        client.send(request);
        last = client.answer("GET").unwrap().status;
    }
    assert_eq!(last, 429);
}

/// A report is taken from the node that it names, and from who has a token.
#[test]
fn reports() {
    let cloud = Cloud::start("api-reports", "", "", RECORDED_V1_23);
    let token = bearer_of_case_01("");
    let key = PrivateKey::generate().unwrap();
    let body = enroll(&cloud, &token, "edge-1", &key).body;
    let identity = (Certificate::from_der(&body).unwrap(), key);
    let post = |path: &str, headers: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        )
    };
    let authorization = format!("Authorization: {token}\r\n");
    let task = "/task/upgrade/name/t/node/edge-1/status";
    let other = "/task/upgrade/name/t/node/edge-2/status";
    let own = r#"{"NodeName":"edge-1","Status":"upgrade_success"}"#;
    let foreign = r#"{"NodeName":"edge-2"}"#;
    for (with, request, status) in [
        (Some(&identity), post(task, "", own), 200),
        (Some(&identity), post(other, "", own), 401),
        (Some(&identity), post("/nodeupgrade", "", own), 200),
        (Some(&identity), post("/nodeupgrade", "", foreign), 401),
        (Some(&identity), post("/nodeupgrade", "", "{"), 401),
        (Some(&identity), post(task, "", "{"), 400),
        (None, post(task, "", own), 401),
        (None, post(task, &authorization, own), 200),
        (None, post("/nodeupgrade", &authorization, foreign), 200),
        (None, post("/nodeupgrade", &authorization, "no"), 400),
    ] {
        let answer = exchange(&cloud, with, request.as_bytes()).unwrap();
        assert_eq!(answer.status, status, "{request}: {}", answer.text());
        assert!(status != 200 || answer.body == b"ok");
    }
}

/// Several requests on one connection.
#[test]
fn connections_are_kept() {
    let cloud = Cloud::start("api-connections", "", "", RECORDED_V1_23);
    let mut client = cloud.https(None).unwrap();
    for path in ["/healthz", "/readyz", "/healthz/?x=1"] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        let answer = client.answer("GET").unwrap();
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "ok"),
            "{path}"
        );
    }
}

/// Whoever is slow is cut, wherever it stopped; others are served meanwhile.
#[test]
fn slow_clients_are_cut() {
    let cloud = Cloud::start("api-slow", "", "", RECORDED_V1_23);
    let started = Instant::now();
    let without_tls = [cloud.ports.https, cloud.ports.hub.unwrap()].map(|port| {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    });
    let node = cloud.identity("edge-1");
    let mut silent = [cloud.https(None).unwrap(), cloud.hub(Some(&node)).unwrap()];
    let mut half = [cloud.https(None).unwrap(), cloud.hub(Some(&node)).unwrap()];
    for client in &mut half {
        client.send(b"GET /ca.crt HTTP/1.1\r\nHost: x\r\nX-Slow: ");
    }
    let mut rests = cloud.https(None).unwrap();
    rests.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(rests.answer("GET").unwrap().status, 200);
    let mut slow_body = cloud.https(None).unwrap();
    let token = bearer_of_case_01("");
    let head = "GET /edge.crt HTTP/1.1\r\nHost: x\r\nNodeName: edge-1\r\nContent-Length: 300\r\n";
    slow_body.send(format!("{head}Authorization: {token}\r\n\r\n0").as_bytes());

    assert_eq!(slow_body.answer("GET").unwrap().status, 408);
    for mut stream in without_tls {
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    for client in silent
        .iter_mut()
        .chain(&mut half)
        .chain([&mut rests, &mut slow_body])
    {
        assert!(client.ends());
    }
    assert!(started.elapsed() >= Duration::from_secs(9));
    assert!(started.elapsed() < PATIENCE);
}

/// A certificate counts only with its key: somebody else's, which anybody can see, is of no use.
#[test]
fn a_shown_certificate_needs_its_key() {
    let cloud = Cloud::start("api-stolen", "", "", RECORDED_V1_23);
    let key = PrivateKey::generate().unwrap();
    let body = enroll(&cloud, &bearer_of_case_01(""), "edge-1", &key).body;
    let stolen = Certificate::from_der(&body).unwrap();
    let connected = cloud.https_showing(&stolen, &PrivateKey::generate().unwrap());
    let refused = connected.and_then(|mut client| {
        client.send(b"GET /ca.crt HTTP/1.1\r\nHost: x\r\n\r\n");
        client.answer("GET")
    });
    assert!(refused.is_err());
}

fn replay_cases(name: &str, generation: &str, now: Timestamp) {
    replay_cases_at(&Cloud::start(name, generation, "", now), generation);
}

fn replay_cases_at(cloud: &Cloud, generation: &str) {
    let folder = vectors(generation).join("https-cases");
    let table = fs::read_to_string(folder.join("expected.tsv")).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(1)
        .map(|l| l.split('\t').collect())
        .collect();
    let listed: BTreeSet<String> = rows
        .iter()
        .map(|row| format!("{}-{}", row[0], row[1]))
        .collect();
    assert_eq!(
        unlisted(&folder, &listed),
        Vec::<String>::new(),
        "recorded and not in the table"
    );
    assert_eq!(rows.len(), 81);

    let foreign = new_ca(cloud.clock.now()).unwrap();
    let mut faults = Vec::new();
    let mut renewed = None;
    for row in rows {
        let case = format!("{}-{}", row[0], row[1]);
        let recorded = fs::read(folder.join(format!("{case}.resp.bin"))).ok();
        if case.starts_with("55-") {
            let key = PrivateKey::generate().unwrap();
            assert_eq!(
                enroll(cloud, &bearer_of_case_01(generation), "edge-1", &key).status,
                200
            );
        }
        let request = request(&folder, &case);
        let identity = fs::read(folder.join(format!("{case}.client.pem")))
            .ok()
            .map(|pem| {
                let model = Certificate::from_pem(&pem).unwrap();
                let ca = if case.contains("foreign") {
                    &foreign
                } else {
                    &cloud.ca
                };
                remake(&model, ca)
            });
        // The same edge renews twice: a third key would not be its own.
        let identity = match &case[..3] {
            "64-" => renewed.take(),
            _ => identity,
        };
        if case.starts_with("63-") {
            renewed.clone_from(&identity);
        }
        let answer = if case.contains("tls12") {
            exchange_on(cloud.https_with_tls12(identity.as_ref()), &request)
        } else {
            exchange(cloud, identity.as_ref(), &request)
        };
        let status = answer.as_ref().map(|answer| answer.status.to_string());
        if status.as_deref().ok() != Some(row[2]) {
            faults.push(format!("{case}: {status:?} instead of {}", row[2]));
            continue;
        }
        let answer = answer.unwrap();
        // "The same" means the status that the recorded cloud gave.
        let theirs = recorded.and_then(|bytes| status_of(&bytes));
        if row[3] == "yes" && theirs.is_some_and(|theirs| theirs != answer.status) {
            faults.push(format!("{case}: not the same as the recorded {theirs:?}"));
        }
        if answer.status == 200 && starts_with(&request, b"GET /edge.crt") {
            check_certificate(&case, &request, &answer);
        }
        if answer.status == 405 {
            assert_eq!(answer.header("allow"), Some("GET"), "{case}");
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The recorded request, or one made as its reason says where it was too large to keep.
fn request(folder: &Path, case: &str) -> Vec<u8> {
    if let Ok(bytes) = fs::read(folder.join(format!("{case}.req.bin"))) {
        return bytes;
    }
    let large = |head: String, length: usize| {
        let mut bytes = head.into_bytes();
        bytes.resize(bytes.len() + length, b'0');
        bytes
    };
    const MEBIBYTE: usize = 1 << 20;
    match &case[..3] {
        "36-" => {
            let good =
                String::from_utf8_lossy(&fs::read(folder.join(CASE_01)).unwrap()).into_owned();
            let headers = good.split("Content-Length").next().unwrap().to_owned();
            let length = MEBIBYTE + 1;
            large(format!("{headers}Content-Length: {length}\r\n\r\n"), length)
        }
        "60-" => {
            let length = 3 * MEBIBYTE + 1;
            let head = "POST /nodeupgrade HTTP/1.1\r\nHost: x\r\nContent-Length: ";
            large(format!("{head}{length}\r\n\r\n"), length)
        }
        "81-" => large(
            "GET /ca.crt HTTP/1.1\r\nHost: x\r\nX-Large: ".to_owned(),
            2 * MEBIBYTE,
        ),
        _ => panic!("{case} has no request and no rule to make one"),
    }
}

/// Recordings whose case is not in the table.
fn unlisted(folder: &Path, listed: &BTreeSet<String>) -> Vec<String> {
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let names = files.map(|name| name.into_string().unwrap());
    let is_listed = |name: &String| {
        let mut cases = [".req.bin", ".resp.bin", ".client.pem"].into_iter();
        cases.any(|end| {
            name.strip_suffix(end)
                .is_some_and(|case| listed.contains(case))
        })
    };
    names
        .filter(|name| name != "expected.tsv" && !is_listed(name))
        .collect()
}

/// Whatever was asked for, the certificate is the node's own and good for nothing else.
fn check_certificate(case: &str, request: &[u8], answer: &Answer) {
    assert_eq!(
        answer.header("content-type"),
        Some("application/octet-stream"),
        "{case}"
    );
    let issued = Certificate::from_der(&answer.body).unwrap();
    let head = String::from_utf8_lossy(request).to_lowercase();
    let node = head
        .split("nodename: ")
        .nth(1)
        .unwrap()
        .split("\r\n")
        .next()
        .unwrap()
        .to_owned();
    let node: NodeName = node.parse().unwrap();
    assert_eq!(issued.subject(), Subject::node(&node), "{case}");
    assert!(
        issued.allows_client_auth() && !issued.allows_server_auth(),
        "{case}"
    );
    assert!(!issued.is_ca(), "{case}");
    assert!(
        issued.dns_names().is_empty() && issued.ip_addresses().is_empty(),
        "{case}"
    );
    if !head.contains("chunked") {
        let body = request
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap()
            + 4;
        let csr = Csr::parse(&request[body..]).unwrap();
        assert_eq!(issued.spki(), csr.spki(), "{case}");
    }
}

pub fn enroll(cloud: &Cloud, token: &str, node: &str, key: &PrivateKey) -> Answer {
    let name: NodeName = node.parse().unwrap();
    let csr = csr::create(key, &Subject::node(&name)).unwrap();
    let length = csr.len();
    let head = format!(
        "GET /edge.crt HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nNodeName: {node}\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    let request = [head.as_bytes(), &csr].concat();
    exchange(cloud, None, &request).unwrap()
}

/// Asks for a certificate on a new key, with the present one.
pub fn renew(cloud: &Cloud, identity: &Identity, node: &str) -> Answer {
    let name: NodeName = node.parse().unwrap();
    let csr = csr::create(&PrivateKey::generate().unwrap(), &Subject::node(&name)).unwrap();
    let length = csr.len();
    let head = format!(
        "GET /edge.crt HTTP/1.1\r\nHost: x\r\nNodeName: {node}\r\nContent-Length: {length}\r\n\r\n"
    );
    exchange(cloud, Some(identity), &[head.as_bytes(), &csr].concat()).unwrap()
}

/// The `Authorization` header of a request that was good at the time of the recording.
pub fn bearer_of_case_01(generation: &str) -> String {
    let request = fs::read(vectors(generation).join("https-cases").join(CASE_01)).unwrap();
    let text = String::from_utf8_lossy(&request).into_owned();
    let header = text.split("Authorization: ").nth(1).unwrap();
    header.split("\r\n").next().unwrap().to_owned()
}

fn exchange(cloud: &Cloud, identity: Option<&Identity>, request: &[u8]) -> std::io::Result<Answer> {
    exchange_on(cloud.https(identity), request)
}

fn exchange_on(connected: std::io::Result<Client>, request: &[u8]) -> std::io::Result<Answer> {
    let mut client = connected?;
    client.send(request);
    let method = if starts_with(request, b"HEAD") {
        "HEAD"
    } else {
        "GET"
    };
    client.answer(method)
}

fn starts_with(bytes: &[u8], start: &[u8]) -> bool {
    bytes.starts_with(start)
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(&answer[..answer.len().min(20)]).into_owned();
    text.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
}

/// The moment of a recording, from its `.meta.json`.
pub fn recorded_at(folder: &Path, name: &str) -> Timestamp {
    let meta: PathBuf = folder.join(format!("{name}.meta.json"));
    let meta: serde_json::Value = serde_json::from_slice(&fs::read(meta).unwrap()).unwrap();
    Timestamp::from_unix(meta["t"].as_f64().unwrap() as i64)
}

const CASE_01: &str = "01-ok-token.req.bin";

/// By the `Date` of the answers: 2026-11-22, 08:09:17, and 09:34:00.
const RECORDED_V1_23: Timestamp = Timestamp::from_unix(1_795_334_957);
const RECORDED_V1_13: Timestamp = Timestamp::from_unix(1_795_340_040);

const ROTATE_LEGACY: &str = "modules: {cloudHub: {legacyCertificates: rotate}}";
const FULL_LEGACY: &str = "modules: {cloudHub: {legacyCertificates: full}}";
