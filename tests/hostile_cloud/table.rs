//! What each hostile peer does, and the three things that it must cause.

use std::time::{Duration, Instant};

use crate::At;
use crate::peer::{CONTINUATION, Client, PING, Sees, TEXT, config, frame};
use crate::requests::*;

/// All fields are needed: a case that leaves one out does not compile, and one that leaves one empty fails.
pub struct Case {
    pub name: &'static str,
    pub peer: fn(&At) -> Sees,
    /// What the peer sees.
    pub sees: Sees,
    /// A part of a log line that also names the peer.
    pub log: &'static str,
    /// A series that rises.
    pub metric: &'static str,
}

/// What the cases below count on.
pub const YAML: &str =
    "modules: {cloudHub: {maxMessageSize: 1048576, partialMessageBudget: 4194304}}";
/// Silence is noticed after a second, and a message may take four.
pub const YAML_QUICK: &str = "modules: {cloudHub: {keepaliveInterval: 1}}";

macro_rules! cases {
    ($($name:literal: $peer:expr => $sees:expr, $log:expr, $metric:expr;)*) => {
        &[$(Case { name: $name, peer: $peer, sees: $sees, log: $log, metric: $metric }),*]
    };
}

const NO_TLS: &str = "without a TLS handshake";
const API_TLS: &str = "kubeedge_connections_failed_total{reason=\"tls\"}";
const API_TLS_SLOW: &str = "kubeedge_connections_failed_total{reason=\"tls-slow\"}";
const HEAD_MALFORMED: &str = "kubeedge_connections_failed_total{reason=\"head-malformed\"}";
const HEAD_TOO_LARGE: &str = "kubeedge_connections_failed_total{reason=\"head-too-large\"}";
const HEAD_SLOW: &str = "kubeedge_connections_failed_total{reason=\"head-slow\"}";
const NO_HTTP: &str = "what came was no HTTP request";
const NO_CERTIFICATE: &str = "no certificate";
const CSR: &str = "kubeedge_certificates_refused_total{reason=\"csr\"}";
const NODE_NAME: &str = "kubeedge_certificates_refused_total{reason=\"node-name\"}";
const CERTIFICATE: &str = "kubeedge_certificates_refused_total{reason=\"certificate\"}";
const CERTIFICATE_NAME: &str = "kubeedge_certificates_refused_total{reason=\"certificate-name\"}";
const TOKEN_MALFORMED: &str = "kubeedge_certificates_refused_total{reason=\"token-malformed\"}";
const TOKEN_SIGNATURE: &str = "kubeedge_certificates_refused_total{reason=\"token-signature\"}";
const USAGES: &str = "kubeedge_certificates_refused_total{reason=\"usages\"}";
const BODY: &str = "kubeedge_certificates_refused_total{reason=\"body\"}";
const METHOD: &str = "kubeedge_requests_refused_total{reason=\"method\"}";
const PAGE: &str = "kubeedge_requests_refused_total{reason=\"page\"}";
const REPORT: &str = "kubeedge_requests_refused_total{reason=\"report\"}";
const HOST: &str = "kubeedge_requests_refused_total{reason=\"host\"}";
const HUB_TLS: &str = "kubeedge_tunnels_refused_total{reason=\"tls\"}";
const HUB_SLOW: &str = "kubeedge_tunnels_refused_total{reason=\"timeout\"}";
const HUB_REQUEST: &str = "kubeedge_tunnels_refused_total{reason=\"request\"}";
const HUB_FORBIDDEN: &str = "kubeedge_tunnels_refused_total{reason=\"forbidden\"}";
const MALFORMED: &str = "kubeedge_messages_malformed_total";
const SKIPPED: &str = "sends what can't be read, which is skipped";
const PROTOCOL: &str = "kubeedge_sessions_ended_total{reason=\"protocol\"}";
const BROKE: &str = "broke the protocol";

pub const CASES: &[Case] = cases! {
    // The certificate port, below HTTP.
    "plain HTTP to the TLS port": |at| raw(at, at.cloud.https, b"GET /ca.crt HTTP/1.1\r\nHost: x\r\n\r\n")
        => Sees::Alert(DECODE_ERROR), NO_TLS, API_TLS;
    "garbage": |at| raw(at, at.cloud.https, &[0xff; 4096]) => Sees::Alert(DECODE_ERROR), NO_TLS, API_TLS;
    "a record longer than any may be": |at| raw(at, at.cloud.https, LONG_RECORD)
        => Sees::Alert(DECODE_ERROR), NO_TLS, API_TLS;
    "a hello of 60,000 bytes": |at| raw(at, at.cloud.https, &fat_hello())
        => Sees::Closed, "more than 32 KiB", API_TLS;
    "TLS 1.0": |at| raw(at, at.cloud.https, OLD_HELLO) => Sees::Alert(PROTOCOL_VERSION), NO_TLS, API_TLS;
    "a certificate without its key": |at| renew(at, &stolen(at)) => Sees::Alert(DECRYPT_ERROR), NO_TLS, API_TLS;

    // HTTP.
    "no HTTP at all": |at| ask(at, None, b"\x00\x01\x02 hello\r\n\r\n") => Sees::Status(400), NO_HTTP, HEAD_MALFORMED;
    "HTTP/2 at once": |at| ask(at, None, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        => Sees::Closed, NO_HTTP, HEAD_MALFORMED;
    "two lengths": |at| ask(at, None, &get("/edge.crt", "Content-Length: 1\r\nContent-Length: 2\r\n"))
        => Sees::Status(400), NO_HTTP, HEAD_MALFORMED;
    "a header without an end": |at| ask(at, None, &[&b"GET / HTTP/1.1\r\nX: "[..], &[b'x'; 40_000]].concat())
        => Sees::Status(431), "larger than 16 KiB", HEAD_TOO_LARGE;
    "headers without an end": |at| ask(at, None, &get("/", &"X: y\r\n".repeat(10_000)))
        => Sees::Status(431), "larger than 16 KiB", HEAD_TOO_LARGE;
    "a path without an end": |at| ask(at, None, &get(&"/x".repeat(20_000), ""))
        => Sees::Status(431), "larger than 16 KiB", HEAD_TOO_LARGE;
    "no Host": |at| ask(at, None, b"GET /ca.crt HTTP/1.1\r\n\r\n") => Sees::Status(400), "(400): host", HOST;
    "two Hosts": |at| ask(at, None, &get("/ca.crt", "Host: y\r\n")) => Sees::Status(400), "(400): host", HOST;
    "another method": |at| ask(at, None, b"DELETE /edge.crt HTTP/1.1\r\nHost: x\r\n\r\n")
        => Sees::Status(405), "(405): method", METHOD;
    "a page that is not there": |at| ask(at, None, &get("/../../etc/shadow", ""))
        => Sees::Status(404), "(404): page", PAGE;
    "a report by nobody": |at| ask(at, None, b"POST /nodeupgrade HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        => Sees::Status(401), "(401): report", REPORT;
    "another node's report": |at| ask(at, Some(&own(at)), b"POST /task/t/name/i/node/victim/status HTTP/1.1\r\n\
        Host: x\r\nContent-Length: 2\r\n\r\n{}") => Sees::Status(401), "(401): report", REPORT;
    "names asked for, one after the other": |at| {
        let mut client = Client::dial(at.from, at.cloud.https, config(None)).unwrap();
        client.send(&(0..200).flat_map(|n| get(&format!("/node/n{n}"), "")).collect::<Vec<u8>>());
        (0..200).map(|_| client.sees()).last().unwrap()
    } => Sees::Later(429), "asks too often after node names", "kubeedge_requests_limited_total{reason=\"node-checks\"}";
    "a thousand requests in one go": |at| {
        let mut client = Client::dial(at.from, at.cloud.https, config(None)).unwrap();
        let mut all = get("/ca.crt", "").repeat(500);
        all.extend(get("/none", "").repeat(500));
        client.send(&all);
        let seen: Vec<Sees> = (0..1000).map(|_| client.sees()).collect();
        // All are answered, in order, those that are in order in full.
        assert!(seen[..500].iter().all(|one| *one == Sees::Status(200)), "{:?}", seen[499]);
        assert!(seen[500..600].iter().all(|one| *one == Sees::Status(404)), "{:?}", seen[599]);
        seen[999]
    } => Sees::Later(429), "too many failures come from", "kubeedge_requests_limited_total{reason=\"source\"}";

    // Bodies.
    "a body of 4 GiB": |at| {
        let headers = format!("{}NodeName: {}\r\nContent-Length: 4294967296\r\n", authorization(at), node(at));
        ask(at, None, &get("/edge.crt", &headers))
    } => Sees::Status(413), "(413): body-too-large", BODY;
    "a body above the bound": |at| with_csr(at, &[0x30; 64 * 1024 + 1])
        => Sees::Status(413), "(413): body-too-large", BODY;
    "a body in endless chunks": |at| {
        let headers = format!("{}NodeName: {}\r\nTransfer-Encoding: chunked\r\n", authorization(at), node(at));
        let chunk = format!("1000\r\n{}\r\n", "0".repeat(0x1000));
        ask(at, None, &[get("/edge.crt", &headers), chunk.repeat(100).into_bytes()].concat())
    } => Sees::Status(413), "(413): body-too-large", BODY;
    "a broken chunk": |at| {
        let headers = format!("{}NodeName: {}\r\nTransfer-Encoding: chunked\r\n", authorization(at), node(at));
        ask(at, None, &[get("/edge.crt", &headers), b"zz\r\n".to_vec()].concat())
    } => Sees::Status(400), "(400): body-broken", BODY;

    // Tokens.
    "no token": |at| ask(at, None, &enrolment(&format!("NodeName: {}\r\n", node(at)), &csr_of(&node(at))))
        => Sees::Status(401), NO_CERTIFICATE, "kubeedge_certificates_refused_total{reason=\"token-missing\"}";
    "garbage for a token": |at| with_authorization(at, "Bearer a.b.c") => Sees::Status(401), NO_CERTIFICATE, TOKEN_MALFORMED;
    "a huge token": |at| with_authorization(at, &format!("Bearer a.{}.c", "b".repeat(8000)))
        => Sees::Status(401), "longer than 4096 bytes", TOKEN_MALFORMED;
    "another scheme": |at| with_authorization(at, &format!("Basic {}", at.cloud.jwt()))
        => Sees::Status(401), NO_CERTIFICATE, TOKEN_MALFORMED;
    "a token without signature": |at| with_authorization(at, "Bearer eyJhbGciOiJub25lIn0.eyJleHAiOjk5OTk5OTk5OTl9.")
        => Sees::Status(401), "not signed with HS256", TOKEN_SIGNATURE;
    "a changed token": |at| {
        let jwt = at.cloud.jwt();
        let (signed, _) = jwt.rsplit_once('.').unwrap();
        with_authorization(at, &format!("Bearer {signed}.{}", "A".repeat(43)))
    } => Sees::Status(401), "not signed by this cloud's authority", TOKEN_SIGNATURE;
    "an ended token": |at| {
        let token = at.cloud.ca.token(-10);
        with_authorization(at, &format!("Bearer {}", token.split_once('.').unwrap().1))
    } => Sees::Status(401), "the token expired at", "kubeedge_certificates_refused_total{reason=\"token-expired\"}";

    // What is to be signed.
    "nothing to sign": |at| with_csr(at, b"") => Sees::Status(400), "the certificate request", CSR;
    "another node's subject": |at| with_csr(at, &csr_of("victim")) => Sees::Status(403), NO_CERTIFICATE, NODE_NAME;
    "the subject of an administrator": |at| with_csr(at, &openssl_csr(at, "-newkey ec -pkeyopt ec_paramgen_curve:P-256 \
        -subj /O=system:masters/CN=admin")) => Sees::Status(400), NO_CERTIFICATE,
        "kubeedge_certificates_refused_total{reason=\"subject\"}";
    "CA:TRUE, names and usages": asks_for_more => Sees::Status(200), "certificate ",
        "kubeedge_certificates_issued_total{by=\"token\"}";
    "a bad signature": |at| {
        let mut csr = csr_of(&node(at));
        *csr.last_mut().unwrap() ^= 1;
        with_csr(at, &csr)
    } => Sees::Status(400), NO_CERTIFICATE, CSR;
    "bytes behind it": |at| with_csr(at, &[&csr_of(&node(at))[..], &[0]].concat())
        => Sees::Status(400), NO_CERTIFICATE, CSR;
    "a part of it": |at| with_csr(at, &csr_of(&node(at))[..100]) => Sees::Status(400), NO_CERTIFICATE, CSR;
    "60 KiB of it": |at| with_csr(at, &[&b"\x30\x82\xea\x5c"[..], &[0x30; 60_000]].concat())
        => Sees::Status(400), NO_CERTIFICATE, CSR;
    "lengths that lie": |at| with_csr(at, b"\x30\x84\xff\xff\xff\xff\x30\x84\xff\xff\xff\xf0")
        => Sees::Status(400), NO_CERTIFICATE, CSR;
    "RSA of 512 bits": |at| with_csr(at, &openssl_csr(at, "-newkey rsa:512")) => Sees::Status(400), NO_CERTIFICATE, CSR;
    "RSA of 2048 bits": |at| with_csr(at, &openssl_csr(at, "-newkey rsa:2048")) => Sees::Status(400), NO_CERTIFICATE, CSR;
    "P-224": |at| with_csr(at, &openssl_csr(at, "-newkey ec -pkeyopt ec_paramgen_curve:secp224r1"))
        => Sees::Status(400), NO_CERTIFICATE, CSR;
    "secp256k1": |at| with_csr(at, &openssl_csr(at, "-newkey ec -pkeyopt ec_paramgen_curve:secp256k1"))
        => Sees::Status(400), NO_CERTIFICATE, CSR;
    "a curve spelled out": |at| with_csr(at, &openssl_csr(at, "-newkey ec -pkeyopt ec_paramgen_curve:P-256 \
        -pkeyopt ec_param_enc:explicit")) => Sees::Status(400), NO_CERTIFICATE, CSR;
    "Ed25519": |at| with_csr(at, &openssl_csr(at, "-newkey ed25519")) => Sees::Status(400), NO_CERTIFICATE, CSR;
    "SHA-1": |at| with_csr(at, &openssl_csr(at, "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -sha1"))
        => Sees::Status(400), NO_CERTIFICATE, CSR;
    "usages that are no list": |at| with_headers(at, &format!("NodeName: {}\r\nExtKeyUsages: x\r\n", node(at)))
        => Sees::Status(400), NO_CERTIFICATE, USAGES;
    "usages 10,000 deep": |at| with_headers(at, &format!("NodeName: {}\r\nExtKeyUsages: {}\r\n", node(at), "[".repeat(10_000)))
        => Sees::Status(400), NO_CERTIFICATE, USAGES;
    "no node": |at| with_headers(at, "") => Sees::Status(403), NO_CERTIFICATE, NODE_NAME;
    "two nodes": |at| with_headers(at, &format!("NodeName: {}\r\nNodeName: victim\r\n", node(at)))
        => Sees::Status(403), NO_CERTIFICATE, NODE_NAME;
    "no name": |at| with_headers(at, "NodeName: ../victim\r\n") => Sees::Status(403), NO_CERTIFICATE, NODE_NAME;

    // Client certificates on the certificate port.
    "an impostor renews another node": |at| {
        ask(at, Some(&own(at)), &enrolment("NodeName: victim\r\n", &csr_of("victim")))
    } => Sees::Status(401), NO_CERTIFICATE, CERTIFICATE_NAME;
    "an impostor asks for another node": |at| {
        let headers = format!("NodeName: {}\r\n", node(at));
        ask(at, Some(&own(at)), &enrolment(&headers, &csr_of("victim")))
    } => Sees::Status(403), NO_CERTIFICATE, NODE_NAME;
    "a certificate of another CA": |at| renew(at, &foreign(at)) => Sees::Status(401), NO_CERTIFICATE, CERTIFICATE;
    "an ended certificate": |at| renew(at, &expired(at)) => Sees::Status(401), NO_CERTIFICATE, CERTIFICATE;
    "a certificate of the future": |at| renew(at, &of_the_future(at)) => Sees::Status(401), NO_CERTIFICATE, CERTIFICATE;
    "a certificate for servers": |at| renew(at, &for_servers(at)) => Sees::Status(401), NO_CERTIFICATE, CERTIFICATE;

    // The hub, below HTTP.
    "hub: plain HTTP": |at| raw(at, at.cloud.hub, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        => Sees::Alert(DECODE_ERROR), "no tunnel", HUB_TLS;
    "hub: garbage": |at| raw(at, at.cloud.hub, &[0; 4096]) => Sees::Alert(DECODE_ERROR), "no tunnel", HUB_TLS;
    "hub: a hello of 60,000 bytes": |at| raw(at, at.cloud.hub, &fat_hello())
        => Sees::Closed, "more than 32 KiB", HUB_TLS;
    "hub: TLS 1.0": |at| raw(at, at.cloud.hub, OLD_HELLO) => Sees::Alert(PROTOCOL_VERSION), "no tunnel", HUB_TLS;
    "hub: a certificate of another CA": |at| ask_hub(at, Some(&foreign(at)), &upgrade(&node(at), &[]))
        => Sees::Alert(UNKNOWN_CA), "no tunnel", HUB_TLS;
    "hub: an ended certificate": |at| ask_hub(at, Some(&expired(at)), &upgrade(&node(at), &[]))
        => Sees::Alert(CERTIFICATE_EXPIRED), "no tunnel", HUB_TLS;
    "hub: a certificate of the future": |at| ask_hub(at, Some(&of_the_future(at)), &upgrade(&node(at), &[]))
        => Sees::Alert(CERTIFICATE_EXPIRED), "no tunnel", HUB_TLS;
    "hub: a certificate for servers": |at| ask_hub(at, Some(&for_servers(at)), &upgrade(&node(at), &[]))
        => Sees::Alert(UNSUPPORTED_CERTIFICATE), "no tunnel", HUB_TLS;
    "hub: a certificate without its key": |at| ask_hub(at, Some(&stolen(at)), &upgrade(&node(at), &[]))
        => Sees::Alert(DECRYPT_ERROR), "no tunnel", HUB_TLS;

    // The upgrade.
    "hub: an impostor by header": |at| ask_changed(at, &[("Node_id", "victim")])
        => Sees::Status(403), "is refused (403)", HUB_FORBIDDEN;
    "hub: an impostor by path": |at| ask_changed(at, &[("line", "GET /p/victim/events HTTP/1.1")])
        => Sees::Status(403), "is refused (403)", HUB_FORBIDDEN;
    "hub: an impostor by a second header": |at| ask_changed(at, &[("node_ID", "victim")])
        => Sees::Status(400), "is refused (400)", HUB_REQUEST;
    "hub: nobody": |at| ask_changed(at, &[("Node_id", "")]) => Sees::Status(403), "is refused (403)", HUB_FORBIDDEN;
    "hub: another use": |at| ask_changed(at, &[("Connectionuse", "str")]) => Sees::Status(400), "is refused (400)", HUB_REQUEST;
    "hub: a page's script": |at| ask_changed(at, &[("Origin", "https://elsewhere.example")])
        => Sees::Status(403), "is refused (403)", HUB_FORBIDDEN;
    "hub: no upgrade": |at| ask_changed(at, &[("Upgrade", "")]) => Sees::Status(400), "is refused (400)", HUB_REQUEST;
    "hub: another method": |at| ask_changed(at, &[("line", "POST / HTTP/1.1")])
        => Sees::Status(405), "is refused (405)", HUB_REQUEST;
    "hub: no HTTP": |at| ask_hub(at, Some(&own(at)), b"\x00\x01\x02\r\n\r\n")
        => Sees::Status(400), "is refused (400)", HUB_REQUEST;
    "hub: a head without an end": |at| ask_hub(at, Some(&own(at)), &[b'x'; 40_000])
        => Sees::Status(431), "is refused (431)", HUB_REQUEST;
    "hub: headers without an end": |at| ask_hub(at, Some(&own(at)), &get("/", &"X: y\r\n".repeat(1000)))
        => Sees::Status(431), "is refused (431)", HUB_REQUEST;

    // Frames.
    "4 GiB announced": |at| on_tunnel(at, &announced(0x81, 1 << 32))
        => Sees::Farewell(1009), "was announced and refused", "kubeedge_sessions_ended_total{reason=\"too-big\"}";
    "8 EiB announced": |at| on_tunnel(at, &announced(0x82, u64::MAX >> 1))
        => Sees::Farewell(1009), "was announced and refused", "kubeedge_sessions_ended_total{reason=\"too-big\"}";
    "a ping too long": |at| on_tunnel(at, &frame(PING, &[0; 126])) => Sees::Farewell(1002), BROKE, PROTOCOL;
    "a ping in parts": |at| on_tunnel(at, b"\x09\x80\0\0\0\0") => Sees::Farewell(1002), BROKE, PROTOCOL;
    "an unknown opcode": |at| on_tunnel(at, &frame(3, b"")) => Sees::Farewell(1002), BROKE, PROTOCOL;
    "a frame without a mask": |at| on_tunnel(at, b"\x81\x02{}") => Sees::Farewell(1002), BROKE, PROTOCOL;
    "reserved bits": |at| on_tunnel(at, b"\xc1\x80\0\0\0\0") => Sees::Farewell(1002), BROKE, PROTOCOL;
    "a part of nothing": |at| on_tunnel(at, &frame(CONTINUATION, b"x")) => Sees::Farewell(1002), BROKE, PROTOCOL;
    "text that is not UTF-8": |at| on_tunnel(at, &text(b"\xff\xfe"))
        => Sees::Farewell(1007), "not UTF-8", "kubeedge_sessions_ended_total{reason=\"not-text\"}";
    "text that is not JSON": |at| on_tunnel(at, &text("hello")) => Sees::Tunnel, SKIPPED, MALFORMED;
    "an empty message": |at| on_tunnel(at, &text("")) => Sees::Tunnel, SKIPPED, MALFORMED;
    "a list": |at| on_tunnel(at, &text("[]")) => Sees::Tunnel, SKIPPED, MALFORMED;
    "JSON broken off": |at| on_tunnel(at, &text("{\"header\":{")) => Sees::Tunnel, SKIPPED, MALFORMED;
    "a number for the id": |at| on_tunnel(at, &text("{\"header\":{\"msg_id\":7}}")) => Sees::Tunnel, SKIPPED, MALFORMED;
    "a string for the time": |at| on_tunnel(at, &text("{\"header\":{\"timestamp\":\"1\"}}")) => Sees::Tunnel, SKIPPED, MALFORMED;
    "a time beyond all numbers": |at| on_tunnel(at, &text("{\"header\":{\"timestamp\":1e400}}")) => Sees::Tunnel, SKIPPED, MALFORMED;
    "a list for the route": |at| on_tunnel(at, &text("{\"route\":[[]]}")) => Sees::Tunnel, SKIPPED, MALFORMED;
    "a header 10,000 deep": |at| on_tunnel(at, &text(deep("header", 10_000))) => Sees::Tunnel, SKIPPED, MALFORMED;
    "lists 10,000 deep, broken off": |at| on_tunnel(at, &text("{\"x\":".to_owned() + &"[".repeat(10_000)))
        => Sees::Tunnel, SKIPPED, MALFORMED;
    // Content is anything, and nothing of ours looks into it.
    "content 10,000 deep": |at| on_tunnel(at, &text(deep("content", 10_000)))
        => Sees::Tunnel, " begins", "kubeedge_messages_total{direction=\"up\"}";
    "nothing but what can't be read": |at| on_tunnel(at, &text("x").repeat(100)) => Sees::Farewell(1008),
        "100 frames in a row were no messages", "kubeedge_sessions_ended_total{reason=\"unreadable\"}";
    "parts without an end": |at| {
        let part = [&[0x01][..], &frame(TEXT, &[b' '; 60_000])[1..]].concat();
        let next = [&[0x00][..], &frame(CONTINUATION, &[b' '; 60_000])[1..]].concat();
        either(on_tunnel(at, &[part, next.repeat(20)].concat()), 1009)
    } => Sees::Closed, "was announced and refused", "kubeedge_sessions_ended_total{reason=\"too-big\"}";
    "parts of many, with pings between": |at| {
        // 4 MiB may be incomplete in all. The pings change nothing about that.
        let part = |first| [&[first][..], &frame(TEXT, &[b' '; 60_000])[1..], &frame(PING, b"")].concat();
        let parts = [part(1), part(0).repeat(14)].concat();
        let others: Vec<Client> = (0..4).map(|_| {
            let mut other = tunnel(&At::new(at.cloud));
            other.send(&parts);
            assert_eq!(other.sees_on_tunnel(), Sees::Tunnel);
            other
        }).collect();
        let mut own = tunnel(at);
        own.send(&parts);
        own.send(&parts);
        let seen = own.sees_on_tunnel();
        drop(others);
        either(seen, 1013)
    } => Sees::Closed, "too much data waits half-received", "kubeedge_sessions_ended_total{reason=\"over-budget\"}";
    "questions whose answers nobody reads": |at| {
        let mut client = tunnel(at);
        let resource = format!("default/configmap/{}", "x".repeat(250));
        let question = text(format!("{{\"route\":{{\"operation\":\"query\",\"resource\":\"{resource}\"}}}}"));
        let started = Instant::now();
        let ended = "kubeedge_sessions_ended_total{reason=\"reads-slowly\"}";
        let before = at.cloud.metric(ended);
        while at.cloud.metric(ended) == before && started.elapsed() < Duration::from_secs(60) {
            client.send(&question.repeat(200));
        }
        // What was under way may still come, but no tunnel is left.
        client.outlasts()
    } => Sees::Closed, "it reads too slowly", "kubeedge_sessions_ended_total{reason=\"reads-slowly\"}";
};

/// They take about ten seconds each, and run beside the others.
pub const SLOW_CASES: &[Case] = cases! {
    "silence": |at| raw(at, at.cloud.https, b"") => Sees::Closed, NO_TLS, API_TLS_SLOW;
    "half a hello": |at| raw(at, at.cloud.https, HALF_HELLO) => Sees::Closed, NO_TLS, API_TLS_SLOW;
    "silence behind TLS": |at| ask_and_wait(at, "") => Sees::Closed, "no request came within 10 s", HEAD_SLOW;
    "a slow head": |at| ask_and_wait(at, "GET /ca.crt HTTP/1.1\r\nHost: x\r\nX: ")
        => Sees::Closed, "no request came within 10 s", HEAD_SLOW;
    "a slow body": |at| {
        let headers = format!("{}NodeName: {}\r\nContent-Length: 300\r\n", authorization(at), node(at));
        ask(at, None, &[&get("/edge.crt", &headers)[..], b"0"].concat())
    } => Sees::Status(408), "(408): body-slow", BODY;
    "hub: silence": |at| raw(at, at.cloud.hub, b"") => Sees::Closed, "opening the tunnel took too long", HUB_SLOW;
    "hub: half a hello": |at| raw(at, at.cloud.hub, HALF_HELLO)
        => Sees::Closed, "opening the tunnel took too long", HUB_SLOW;
    "hub: a slow head": |at| ask_hub(at, Some(&own(at)), b"GET / HTTP/1.1\r\nX: ")
        => Sees::Closed, "opening the tunnel took too long", HUB_SLOW;
};

/// With `YAML_QUICK`.
pub const SLOW_TUNNELS: &[Case] = cases! {
    "a silent tunnel": |at| tunnel(at).sees_next()
        => Sees::Farewell(1001), "nothing came from it", "kubeedge_sessions_ended_total{reason=\"silent\"}";
    "parts that trickle": |at| {
        let mut client = tunnel(at);
        client.send(&[&[0x01][..], &frame(TEXT, b"{")[1..]].concat());
        client.trickle(&[&[0x00][..], &frame(CONTINUATION, b" ")[1..]].concat())
    } => Sees::Farewell(1008), "a message is not complete", "kubeedge_sessions_ended_total{reason=\"unfinished\"}";
    "a frame that trickles": |at| {
        let mut client = tunnel(at);
        client.send(&announced(0x81, 60_000));
        client.trickle(b" ")
    } => Sees::Farewell(1008), "a message is not complete", "kubeedge_sessions_ended_total{reason=\"unfinished\"}";
};

/// Who is closed in the middle of sending may lose the farewell by that.
fn either(seen: Sees, code: u16) -> Sees {
    if seen == Sees::Farewell(code) {
        return Sees::Closed;
    }
    seen
}

/// RFC 8446, section 6.
const DECRYPT_ERROR: u8 = 51;
const DECODE_ERROR: u8 = 50;
const PROTOCOL_VERSION: u8 = 70;
const UNKNOWN_CA: u8 = 48;
const CERTIFICATE_EXPIRED: u8 = 45;
const UNSUPPORTED_CERTIFICATE: u8 = 43;
pub const CERTIFICATE_REQUIRED: u8 = 116;
