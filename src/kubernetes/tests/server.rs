//! A TLS server that keeps what it is asked and answers what a test tells it to, byte for byte.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::kubernetes::access::{Access, Login, Material};
use crate::pki::certificate::Certificate;
use crate::pki::issue::{Issuer, new_ca};
use crate::pki::key::PrivateKey;
use crate::pki::tls::{self, ClientAuth, ServingCell};
use crate::system::clock::Clock;
use crate::system::secret::Secret;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which connection it came on, from 0.
    pub connection: usize,
    pub method: String,
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What the client showed in the handshake.
    pub shown: Option<Vec<u8>>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

/// What happens next.
pub enum Reply {
    /// Goes out, and the connection stays.
    Keep(Vec<u8>),
    /// Goes out, and the connection ends.
    End(Vec<u8>),
    /// Goes out; then nothing happens until the other side goes.
    Hang(Vec<u8>),
}

pub type Line = StreamOwned<ServerConnection, TcpStream>;
type Answer = dyn Fn(&Asked) -> Reply + Send + Sync;

/// Runs until it is dropped.
pub struct Server {
    pub port: u16,
    pub ca: Certificate,
    pub seen: Arc<Mutex<Vec<Asked>>>,
    pub connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Server {
        Server::named(&[], &["127.0.0.1".parse().unwrap()], answer)
    }

    /// With a certificate for these names.
    pub fn named(
        dns: &[String],
        ips: &[IpAddr],
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Server {
        let clock = Clock::system();
        let now = clock.now();
        let (ca, key) = new_ca(now.minus(HOUR)).unwrap();
        let issuer = Issuer::new(ca.clone(), key).unwrap();
        let key = PrivateKey::generate().unwrap();
        let serving = issuer.server(&key, dns, ips, now.minus(HOUR), now.plus(HOUR));
        let cell = ServingCell::new(&serving.unwrap(), &key, &[]).unwrap();
        let config = tls::server(&cell, ClientAuth::Optional, &clock).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Vec<Asked>>>::default();
        let (stop, connections) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (stopped, kept, count) = (stop.clone(), seen.clone(), connections.clone());
        let answer: Arc<Answer> = Arc::new(answer);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let number = count.fetch_add(1, Ordering::SeqCst);
                let (config, kept, answer) = (config.clone(), kept.clone(), answer.clone());
                // A client that refuses us, or goes away, is what some tests are about.
                std::thread::spawn(move || serve(stream, number, &config, &*answer, &kept));
            }
        });
        Server {
            port,
            ca,
            seen,
            connections,
            stop,
            thread: Some(thread),
        }
    }

    /// As nobody.
    pub fn access(&self) -> Access {
        Access {
            server: format!("https://127.0.0.1:{}", self.port).parse().unwrap(),
            authorities: Some(Material::Inline(Secret::new(self.ca.to_pem().into_bytes()))),
            tls_server_name: None,
            certificate: None,
            login: Login::Nothing,
            proxy: None,
            namespace: None,
            impersonation: None,
            source: "a test".to_owned(),
        }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes it up.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    stream: TcpStream,
    connection: usize,
    config: &Arc<ServerConfig>,
    answer: &Answer,
    seen: &Mutex<Vec<Asked>>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let tls = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
    let mut line = StreamOwned::new(tls, stream);
    let mut bytes = Vec::new();
    loop {
        let mut asked = loop {
            match parse(&mut bytes) {
                Some(asked) => break asked,
                None => more(&mut line, &mut bytes)?,
            }
        };
        asked.connection = connection;
        let shown = line.conn.peer_certificates();
        asked.shown = shown.and_then(|it| it.first()).map(|it| it.to_vec());
        seen.lock().unwrap().push(asked.clone());
        match answer(&asked) {
            Reply::Keep(bytes) => line.write_all(&bytes)?,
            Reply::End(bytes) => {
                line.write_all(&bytes)?;
                line.conn.send_close_notify();
                return line.flush();
            }
            Reply::Hang(bytes) => {
                line.write_all(&bytes)?;
                line.flush()?;
                return more(&mut line, &mut Vec::new());
            }
        }
    }
}

fn parse(bytes: &mut Vec<u8>) -> Option<Asked> {
    let head = bytes.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let mut lines = text.lines();
    let mut first = lines.next()?.split(' ');
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, length)| length.parse().unwrap());
    let body = bytes.get(head..head + length)?.to_vec();
    bytes.drain(..head + length);
    Some(Asked {
        connection: 0,
        method: first.next()?.to_owned(),
        target: first.next()?.to_owned(),
        headers,
        body,
        shown: None,
    })
}

fn more(line: &mut Line, into: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; 4096];
    match line.read(&mut chunk)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        length => {
            into.extend_from_slice(&chunk[..length]);
            Ok(())
        }
    }
}

/// A whole answer in JSON.
pub fn json(status: u16, body: &str) -> Vec<u8> {
    with_headers(status, "", body)
}

/// The same with more headers, each with its line end.
pub fn with_headers(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{headers}Content-Length: \
         {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

pub const HOUR: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(60);
