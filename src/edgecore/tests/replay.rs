//! Recorded joins and renewals replayed, with the clock of the recording: our requests against an
//! edgecore's, and what a cloudcore answered fed to our edge.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::compare::{DIFFERENT, compare};
use super::recorded::{self, Request};
use super::server::Server;
use super::{edge, identity, issue, run};
use crate::edgecore::edge::Failure;
use crate::edgecore::enroll::{accept, enroll, new_key};
use crate::edgecore::identity::Identity;
use crate::edgecore::rotate::renew;
use crate::edgecore::settings::{Settings, Source};
use crate::pki::certificate::{Certificate, Subject};
use crate::pki::csr::Csr;
use crate::pki::key::PrivateKey;
use crate::protocol::enrollment::{CERTIFICATE_PATH, EnrollError};
use crate::protocol::token::JoinToken;
use crate::system::clock::Clock;
use crate::system::scratch::Scratch;
use crate::system::uplink::Uplink;

/// A join and what belongs to it: folder of the CA, node, first recording of the connection.
const JOINS: &[(&str, &str, &str)] = &[
    ("token-ca", "edge-mini", "edge-mini"),
    ("v1.13/token-ca", "v113-mini", "v1.13/edge-mini"),
];

const RENEWALS: &[(&str, &str, &str)] = &[
    ("token-ca", "rot-1", "rotation"),
    ("v1.13/token-ca", "rot113", "v1.13/rotation"),
];

fn read(name: &str) -> Request {
    Request::parse(&recorded::bytes(name)).expect("a whole request")
}

/// The token of a recorded join: the hash of the CA, and what was sent as a bearer.
fn token(ca: &str, request: &Request) -> JoinToken {
    let [(ca, _), _] = recorded::authority(ca);
    let sent = request.header("authorization").unwrap();
    JoinToken::new(ca.hash(), sent.strip_prefix("Bearer ").unwrap()).unwrap()
}

/// Answers `/ca.crt` with recorded bytes and `/edge.crt` with a certificate for whoever asks.
fn cloud(ca: &'static str, ca_answer: Vec<u8>, clock: &Clock) -> Server {
    let [ca, serving] = recorded::authority(ca);
    let now = clock.now();
    Server::start(&serving, clock, move |request| {
        if request.path != CERTIFICATE_PATH {
            return ca_answer.clone();
        }
        let csr = Csr::parse(&request.body).unwrap();
        ok(issue(&ca, csr.spki(), csr.subject(), now).der())
    })
}

pub fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn nothing_is_written(folder: &Scratch) {
    for folder in [folder.path().join("certs"), folder.path().join("ca")] {
        let entries = std::fs::read_dir(folder).into_iter().flatten().count();
        assert_eq!(entries, 0);
    }
}

#[test]
fn a_join_asks_what_upstreams_asks_and_takes_its_ca() {
    let mut different = BTreeSet::new();
    for (ca, node, folder) in JOINS {
        let clock = Clock::manual(recorded::time(&format!("{folder}/https-002.meta.json"))).0;
        let wanted = [1, 2].map(|n| read(&format!("{folder}/https-00{n}.c2s.bin")));
        let token = token(ca, &wanted[1]);
        let ca_answer = recorded::bytes(&format!("{folder}/https-001.s2c.bin"));
        let server = cloud(ca, ca_answer, &clock);
        let scratch = Scratch::new();
        let edge = edge(&scratch, node, server.port, &clock);
        let identity = run(&edge, enroll(&edge, &token)).unwrap();
        assert_eq!(identity.ca.hash(), *token.ca_hash());
        let ours = server.requests();
        assert_eq!(ours.len(), 2);
        for (wanted, ours) in wanted.iter().zip(&ours) {
            different.extend(compare(folder, wanted, ours));
            assert!(ours.client.is_none(), "no certificate is shown at a join");
        }
        let name = edge.settings.node.clone();
        let loaded = Identity::load(&edge.host.files, &edge.settings.place, &name).unwrap();
        assert_eq!(loaded.certificate.der(), identity.certificate.der());
    }
    // The table lists nothing that is not so; some rows are of the tunnel.
    let listed = DIFFERENT.iter().map(|(name, _)| *name);
    let of_tunnel = ["sec-websocket-key", "kubeedge-terms"];
    let listed: BTreeSet<&str> = listed.filter(|name| !of_tunnel.contains(name)).collect();
    assert_eq!(different, listed);
}

#[test]
fn a_token_of_the_vectors_pins_the_ca_in_every_recorded_answer() {
    for (folder, answers) in [
        (
            "token-ca",
            [
                ("ca.crt.http11.headers", "ca.crt.body"),
                ("ca.crt.headers", "ca.crt.body"),
            ],
        ),
        (
            "v1.13/token-ca",
            [
                ("ca.crt.h1.headers", "ca.crt.h1.body"),
                ("ca.crt.h2.headers", "ca.crt.h2.body"),
            ],
        ),
    ] {
        let text = String::from_utf8(recorded::bytes(&format!("{folder}/token.txt"))).unwrap();
        let token: JoinToken = text.parse().unwrap();
        let [(ca, _), _] = recorded::authority(folder);
        let clock = Clock::manual(ca.not_before()).0;
        for (head, body) in answers {
            let head = recorded::bytes(&format!("{folder}/{head}"));
            // Two were recorded over HTTP/2, whose status line we never meet.
            let head = String::from_utf8(head)
                .unwrap()
                .replace("HTTP/2 200", "HTTP/1.1 200 OK");
            let head = head.replace("\r\n", "\n").replace('\n', "\r\n");
            let body = recorded::bytes(&format!("{folder}/{body}"));
            let answer = [head.trim_end().as_bytes(), b"\r\n\r\n", &body].concat();
            let server = cloud(folder, answer, &clock);
            let scratch = Scratch::new();
            let edge = edge(&scratch, "n", server.port, &clock);
            let pinned = token.clone();
            let met = run(&edge, edge.api(move |api| api.fetch_ca(&pinned))).unwrap();
            assert_eq!(met.der(), ca.der());
        }
    }
}

#[test]
fn pem_files_hold_what_the_der_files_hold() {
    for folder in ["token-ca", "v1.13/token-ca"] {
        let pairs = recorded::authority(folder);
        for (name, (certificate, key)) in ["ca", "cloudcore"].into_iter().zip(pairs) {
            let pem = recorded::bytes(&format!("{folder}/{name}.pem"));
            assert_eq!(
                Certificate::from_pem(&pem).unwrap().der(),
                certificate.der()
            );
            let path = format!("{folder}/{name}key.pem");
            if recorded::path(&path).exists() {
                let read = PrivateKey::from_pem(&recorded::bytes(&path)).unwrap();
                assert_eq!(read.spki(), key.spki());
            }
        }
    }
}

#[test]
fn a_renewal_asks_what_upstreams_asks_with_its_own_certificate() {
    for (ca, node, folder) in RENEWALS {
        let clock = Clock::manual(recorded::time(&format!("{folder}/https-001.meta.json"))).0;
        let server = cloud(ca, Vec::new(), &clock);
        let scratch = Scratch::new();
        let edge = edge(&scratch, node, server.port, &clock);
        let [authority, _] = recorded::authority(ca);
        let old = identity(&authority, &edge.settings.node, clock.now());
        edge.adopt(old.clone());
        let new = run(&edge, renew(&edge)).unwrap();
        assert_ne!(new.key.spki(), old.key.spki());
        let ours = server.requests();
        assert_eq!(ours.len(), 1);
        compare(
            folder,
            &read(&format!("{folder}/https-001.c2s.bin")),
            &ours[0],
        );
        let shown = ours[0].client.as_ref().expect("a certificate");
        assert_eq!(shown.der(), old.certificate.der());
    }
}

/// Requests of a v1.13 edge that was given certificates in its own name: the headers only.
#[test]
fn a_join_and_renewals_of_an_old_edge_with_new_certificates() {
    let lines = recorded::bytes("v1.13/rewritten-subject/https.jsonl");
    let lines: Vec<serde_json::Value> = lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 5);
    let [authority, _] = recorded::authority("v1.13/token-ca");
    let clock = Clock::manual(recorded::time("v1.13/rotation/https-001.meta.json")).0;
    let ca_answer = ok(authority.0.der());
    let server = cloud("v1.13/token-ca", ca_answer, &clock);
    let scratch = Scratch::new();
    let edge = edge(&scratch, "rw113", server.port, &clock);
    let sent = lines[1]["headers"]["Authorization"].as_str().unwrap();
    let jwt = sent.strip_prefix("Bearer ").unwrap();
    let token = JoinToken::new(authority.0.hash(), jwt).unwrap();
    let joined = run(&edge, enroll(&edge, &token)).unwrap();
    edge.adopt(joined);
    for _ in 2..lines.len() {
        let renewed = run(&edge, renew(&edge)).unwrap();
        edge.adopt(renewed);
    }
    let ours = server.requests();
    assert_eq!(ours.len(), lines.len());
    for (line, mut ours) in lines.iter().zip(ours) {
        let headers = line["headers"].as_object().unwrap().iter();
        let mut headers: Vec<(String, String)> = headers
            .map(|(name, value)| (name.to_lowercase(), value.as_str().unwrap().to_owned()))
            .collect();
        headers.sort();
        assert_eq!(ours.client.is_some(), !line["client"].is_null());
        ours.body.clear();
        let wanted = Request {
            method: "GET".to_owned(),
            path: line["path"].as_str().unwrap().to_owned(),
            headers,
            body: Vec::new(),
            client: None,
        };
        compare("v1.13/rewritten-subject", &wanted, &ours);
    }
}

/// A cloudcore answered these to somebody else: none makes an identity of ours.
#[test]
fn recorded_certificates_are_refused_since_they_are_for_other_keys() {
    for (ca, node, folder) in JOINS {
        let clock = Clock::manual(recorded::time(&format!("{folder}/https-002.meta.json"))).0;
        let token = token(ca, &read(&format!("{folder}/https-002.c2s.bin")));
        let [_, serving] = recorded::authority(ca);
        let answers = [1, 2].map(|n| recorded::bytes(&format!("{folder}/https-00{n}.s2c.bin")));
        let server = Server::start(&serving, &clock, move |request| {
            answers[usize::from(request.path == CERTIFICATE_PATH)].clone()
        });
        let scratch = Scratch::new();
        let edge = edge(&scratch, node, server.port, &clock);
        let refused = run(&edge, enroll(&edge, &token)).unwrap_err();
        assert!(
            matches!(refused, Failure::WrongCertificate("is for another key")),
            "{refused}"
        );
        nothing_is_written(&scratch);
    }
    for ((ca, node, folder), taken) in RENEWALS.iter().zip(["new.crt", "after.pem"]) {
        let clock = Clock::manual(recorded::time(&format!("{folder}/https-001.meta.json"))).0;
        let [authority, serving] = recorded::authority(ca);
        let answer = recorded::bytes(&format!("{folder}/https-001.s2c.bin"));
        // Upstream's edge took exactly this.
        let pem = recorded::bytes(&format!("{folder}/{taken}"));
        assert!(
            answer.ends_with(Certificate::from_pem(&pem).unwrap().der()),
            "{folder}"
        );
        let server = Server::start(&serving, &clock, move |_| answer.clone());
        let scratch = Scratch::new();
        let edge = edge(&scratch, node, server.port, &clock);
        edge.adopt(identity(&authority, &edge.settings.node, clock.now()));
        let refused = run(&edge, renew(&edge)).map(|_| ()).unwrap_err();
        assert!(
            matches!(refused, Failure::WrongCertificate("is for another key")),
            "{refused}"
        );
        nothing_is_written(&scratch);
    }
}

#[test]
fn every_recorded_answer_of_the_certificate_port_is_survived() {
    for (ca, folder) in [
        ("token-ca", "https-cases"),
        ("v1.13/token-ca", "v1.13/https-cases"),
    ] {
        let [(ca, ca_key), serving] = recorded::authority(ca);
        let clock = Clock::manual(ca.not_before()).0;
        let next = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::clone(&next);
        let server = Server::start(&serving, &clock, move |_| answer.lock().unwrap().clone());
        let scratch = Scratch::new();
        let edge = edge(&scratch, "edge-1", server.port, &clock);
        let (key, csr) = new_key(&Subject::node(&edge.settings.node)).unwrap();
        let old = identity(&(ca.clone(), ca_key), &edge.settings.node, clock.now());
        let names = recorded::names(folder, ".resp.bin");
        assert!(names.len() > 50, "the recordings were not found");
        for name in names {
            let recorded = recorded::bytes(&name);
            *next.lock().unwrap() = recorded.clone();
            let (ca, node, csr) = (ca.clone(), edge.settings.node.clone(), csr.clone());
            let own = old.clone();
            let asked = move |api: &crate::protocol::enrollment::CertificateApi| {
                api.renew(
                    std::slice::from_ref(&ca),
                    (&own.certificate, &own.key),
                    &node,
                    &csr,
                )
            };
            let outcome = run(&edge, edge.api(asked));
            let status = recorded.get(9..12).unwrap_or_default();
            match outcome {
                Ok(certificate) => {
                    let judged = accept(&edge, key.clone(), certificate, old.trusted());
                    assert!(judged.is_err(), "{name}: not our key");
                    assert_eq!(status, b"200", "{name}");
                }
                Err(Failure::Api(EnrollError::Denied { .. })) => {
                    assert!(status == b"400" || status == b"401", "{name}");
                }
                Err(Failure::Api(error)) => assert!(!error.to_string().is_empty()),
                Err(other) => panic!("{name}: {other}"),
            }
        }
        nothing_is_written(&scratch);
    }
}

#[test]
fn the_file_that_a_recorded_edge_began_with_is_read_and_only_its_token_erased() {
    let text = String::from_utf8(recorded::bytes("edge-mini/edgecore.yaml")).unwrap();
    let scratch = Scratch::new();
    let (clock, _) = Clock::manual(recorded::time("edge-mini/https-001.meta.json"));
    let edge = edge(&scratch, "edge-mini", 1, &clock);
    let files = &edge.host.files;
    files
        .replace(&edge.settings.config, text.as_bytes(), 0o640)
        .unwrap();
    let source = Source {
        config: edge.settings.config.clone(),
        uplink: Uplink::default(),
        node_address: None,
        state: None,
    };
    let settings = Settings::load(&edge.host, &source).unwrap();
    assert_eq!(settings.node.as_str(), "edge-mini");
    assert_eq!(settings.clouds[0].api.to_string(), "127.0.0.1:20002");
    assert_eq!(settings.clouds[0].hub.to_string(), "127.0.0.1:20000");
    let found = edge.tokens.find().unwrap().expect("a token");
    let wanted = token("token-ca", &read("edge-mini/https-002.c2s.bin"));
    assert_eq!(found, wanted);
    edge.tokens.erase().unwrap();
    let left = files.read(&edge.settings.config, 1 << 20).unwrap();
    let erased = text.replace(found.secret_string().as_str(), "\"\"");
    assert_eq!(String::from_utf8(left).unwrap(), erased);
}
