//! What hostile peers send, one function each or with its parameter.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use kubeedge::pki::certificate::Subject;
use kubeedge::pki::csr;
use kubeedge::pki::issue::{Issuer, new_ca};
use kubeedge::pki::key::PrivateKey;
use rustls::ClientConfig;

use crate::At;
use crate::common::Folder;
use crate::common::sign::now;
use crate::peer::{Client, Identity, Sees, TEXT, config, dial, ending, frame, status, watch};

/// The node that this peer calls itself.
pub fn node(at: &At) -> String {
    format!("node-{}", at.from.to_string().replace('.', "-"))
}

// --- raw TCP ----------------------------------------------------------------------------------

pub fn raw(at: &At, port: u16, bytes: &[u8]) -> Sees {
    let mut stream = dial(at.from, port).unwrap();
    // It may be closed before all is written.
    let _ = stream.write_all(bytes);
    watch(&mut stream)
}

/// The beginning of a ClientHello, as a record that announces more than what comes.
pub const HALF_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
/// A whole hello that knows TLS 1.0 only, with a suite of its time.
pub const OLD_HELLO: &[u8] = b"\x16\x03\x01\x00\x37\x01\x00\x00\x33\x03\x01\
    0123456789abcdef0123456789abcdef\x00\x00\x02\x00\x2f\x01\x00\
    \x00\x08\x00\x0d\x00\x04\x00\x02\x04\x03";
/// A record longer than any may be.
pub const LONG_RECORD: &[u8] = b"\x16\x03\x01\xff\xff";

/// Records of one handshake message of 65,535 bytes, without the last of them.
pub fn fat_hello() -> Vec<u8> {
    hello(60_000)
}

/// The beginning of that, so long.
pub fn hello(length: usize) -> Vec<u8> {
    let mut message = vec![1, 0, 0xff, 0xff];
    message.resize(length, 0);
    let record = |part: &[u8]| {
        let length = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&[22, 3, 1][..], &length, part].concat()
    };
    message.chunks(4000).flat_map(record).collect()
}

// --- the certificate API ----------------------------------------------------------------------

/// One request over TLS, and what is seen first.
pub fn ask(at: &At, identity: Option<&Identity>, request: &[u8]) -> Sees {
    match Client::dial(at.from, at.cloud.https, config(identity)) {
        Ok(mut client) => {
            client.send(request);
            client.sees()
        }
        Err(error) => ending(&error),
    }
}

/// A request that is sent in part, and then not continued.
pub fn ask_and_wait(at: &At, part: &str) -> Sees {
    ask(at, None, part.as_bytes())
}

/// The request line and Host.
pub fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").into_bytes()
}

pub fn authorization(at: &At) -> String {
    format!("Authorization: Bearer {}\r\n", at.cloud.jwt())
}

/// A request for a certificate with these headers besides its length.
pub fn enrolment(headers: &str, body: &[u8]) -> Vec<u8> {
    let length = format!("{headers}Content-Length: {}\r\n", body.len());
    [get("/edge.crt", &length), body.to_vec()].concat()
}

/// What an honest device does.
pub fn join(at: &At, node: &str) -> Sees {
    let csr = csr_of(node);
    let headers = format!("{}NodeName: {node}\r\n", authorization(at));
    ask(at, None, &enrolment(&headers, &csr))
}

pub fn csr_of(node: &str) -> Vec<u8> {
    let key = PrivateKey::generate().unwrap();
    csr::create(&key, &Subject::node(&node.parse().unwrap())).unwrap()
}

pub fn with_authorization(at: &At, value: &str) -> Sees {
    let headers = format!("Authorization: {value}\r\nNodeName: {}\r\n", node(at));
    ask(at, None, &enrolment(&headers, &csr_of(&node(at))))
}

pub fn with_csr(at: &At, csr: &[u8]) -> Sees {
    let headers = format!("{}NodeName: {}\r\n", authorization(at), node(at));
    ask(at, None, &enrolment(&headers, csr))
}

pub fn with_headers(at: &At, headers: &str) -> Sees {
    let headers = format!("{}{headers}", authorization(at));
    ask(at, None, &enrolment(&headers, &csr_of(&node(at))))
}

/// A certificate of the node that openssl asks for, with what only the request wants.
pub fn asks_for_more(at: &At) -> Sees {
    let more = "-addext basicConstraints=critical,CA:TRUE -addext subjectAltName=DNS:kubernetes,IP:127.0.0.1 \
        -addext extendedKeyUsage=serverAuth -addext keyUsage=keyCertSign";
    let csr = openssl_csr(
        at,
        &format!("-newkey ec -pkeyopt ec_paramgen_curve:P-256 {more}"),
    );
    let headers = format!("{}NodeName: {}\r\n", authorization(at), node(at));
    let mut client = Client::dial(at.from, at.cloud.https, config(None)).unwrap();
    client.send(&enrolment(&headers, &csr));
    let (head, body) = client.answer().unwrap();
    let issued = kubeedge::pki::certificate::Certificate::from_der(&body).unwrap();
    assert!(!issued.is_ca() && !issued.allows_server_auth() && issued.allows_client_auth());
    assert!(issued.dns_names().is_empty() && issued.ip_addresses().is_empty());
    status(&head)
}

/// Made by `openssl req` for this peer's node, with these options.
pub fn openssl_csr(at: &At, options: &str) -> Vec<u8> {
    let folder = Folder::new();
    let subject = format!("/O=system:nodes/CN=system:node:{}", node(at));
    let mut command = Command::new("openssl");
    command.args([
        "req", "-new", "-nodes", "-outform", "der", "-keyout", "key", "-out", "csr",
    ]);
    command
        .args(["-subj", &subject])
        .args(options.split_whitespace());
    let made = command.current_dir(folder.path()).output().unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    std::fs::read(folder.path().join("csr")).unwrap()
}

/// Renews with this certificate, as the node that the peer calls itself.
pub fn renew(at: &At, identity: &Identity) -> Sees {
    let name = node(at);
    let request = enrolment(&format!("NodeName: {name}\r\n"), &csr_of(&name));
    ask(at, Some(identity), &request)
}

// --- certificates -----------------------------------------------------------------------------

/// A good certificate of the peer's node.
pub fn own(at: &At) -> Identity {
    at.cloud.ca.node(&node(at), -60, 3600)
}

pub fn expired(at: &At) -> Identity {
    at.cloud.ca.node(&node(at), -7200, -3600)
}

pub fn of_the_future(at: &At) -> Identity {
    at.cloud.ca.node(&node(at), 3600, 7200)
}

/// By a CA that calls itself as ours does.
pub fn foreign(at: &At) -> Identity {
    let (certificate, key) = new_ca(now()).unwrap();
    let issuer = Issuer::new(certificate, key).unwrap();
    let key = PrivateKey::generate().unwrap();
    let subject = Subject::node(&node(at).parse().unwrap());
    let (from, until) = (now().minus(HOUR), now().plus(HOUR));
    let certificate = issuer.client(key.spki(), &subject, from, until).unwrap();
    (key, certificate)
}

/// A good certificate, which everybody can see, without its key.
pub fn stolen(at: &At) -> Identity {
    (PrivateKey::generate().unwrap(), own(at).1)
}

/// By our CA with its true key, but not for clients.
pub fn for_servers(at: &At) -> Identity {
    let read = |name: &str| std::fs::read(at.cloud.path(name)).unwrap();
    let ca = kubeedge::pki::certificate::Certificate::from_pem(&read("ca.pem")).unwrap();
    let issuer = Issuer::new(ca, PrivateKey::from_pem(&read("ca.key")).unwrap()).unwrap();
    let key = PrivateKey::generate().unwrap();
    let (from, until) = (now().minus(HOUR), now().plus(HOUR));
    let names = [node(at)];
    let made = issuer.server(&key, &names, &[], from, until).unwrap();
    (key, made)
}

// --- the hub ----------------------------------------------------------------------------------

/// An upgrade as `node`, with other lines in place of the usual ones where they are given.
pub fn upgrade(node: &str, changed: &[(&str, &str)]) -> Vec<u8> {
    let path = format!("/e632aba927ea4ac2b575ec1603d56f10/{node}/events");
    let mut lines = vec![
        ("line", format!("GET {path} HTTP/1.1")),
        ("Host", "x".to_owned()),
        ("Connection", "Upgrade".to_owned()),
        ("Upgrade", "websocket".to_owned()),
        ("Sec-WebSocket-Version", "13".to_owned()),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==".to_owned()),
        ("Node_id", node.to_owned()),
        ("Connectionuse", "msg".to_owned()),
    ];
    for (name, value) in changed {
        match lines.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = (*value).to_owned(),
            None => lines.push((name, (*value).to_owned())),
        }
    }
    let mut head = String::new();
    for (name, value) in lines {
        match name {
            "line" => head.push_str(&format!("{value}\r\n")),
            _ if value.is_empty() => {}
            _ => head.push_str(&format!("{name}: {value}\r\n")),
        }
    }
    (head + "\r\n").into_bytes()
}

pub fn ask_hub(at: &At, identity: Option<&Identity>, request: &[u8]) -> Sees {
    match Client::dial(at.from, at.cloud.hub, config(identity)) {
        Ok(mut client) => {
            client.send(request);
            client.sees()
        }
        Err(error) => ending(&error),
    }
}

/// An upgrade with the peer's own good certificate, changed in some lines.
pub fn ask_changed(at: &At, changed: &[(&str, &str)]) -> Sees {
    ask_hub(at, Some(&own(at)), &upgrade(&node(at), changed))
}

/// An open tunnel of the peer's node.
pub fn tunnel(at: &At) -> Client {
    tunnel_with(at, config(Some(&own(at))))
}

/// The same with a certificate that was made before.
pub fn tunnel_with(at: &At, config: Arc<ClientConfig>) -> Client {
    tunnel_over(at, dial(at.from, at.cloud.hub).unwrap(), config)
}

pub fn tunnel_over(at: &At, stream: TcpStream, config: Arc<ClientConfig>) -> Client {
    let mut client = Client::over(stream, config).unwrap();
    client.send(&upgrade(&node(at), &[]));
    assert_eq!(client.sees(), Sees::Status(101));
    client
}

/// These bytes on an open tunnel.
pub fn on_tunnel(at: &At, bytes: &[u8]) -> Sees {
    let mut client = tunnel(at);
    client.send(bytes);
    client.sees_on_tunnel()
}

pub fn text(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(TEXT, payload.as_ref())
}

/// The head of a frame, masked with zeros, that announces so many bytes.
pub fn announced(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first, 0xff];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0; 4]);
    bytes
}

/// JSON as deep as this, as the value of a key.
pub fn deep(key: &str, depth: usize) -> String {
    format!("{{\"{key}\":{}{}}}", "[".repeat(depth), "]".repeat(depth))
}

const HOUR: Duration = Duration::from_secs(3600);
