//! A TLS server that keeps what it is asked and answers what a test tells it to, byte for byte.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::recorded::Request;
use crate::pki::certificate::Certificate;
use crate::pki::key::PrivateKey;
use crate::pki::tls::{self, ClientAuth, ServingCell};
use crate::system::clock::Clock;

type Answer = Box<dyn FnMut(&Request) -> Vec<u8> + Send>;

/// Runs until it is dropped. Each connection is one request, one answer, and the first bytes that
/// come behind a 101.
pub struct Server {
    pub port: u16,
    /// Every request, and every first frame behind a 101, in order.
    pub seen: Arc<Mutex<Seen>>,
    /// Has an item when something was seen.
    pub news: smol::channel::Receiver<()>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
pub struct Seen {
    pub requests: Vec<Request>,
    pub frames: Vec<Vec<u8>>,
}

impl Server {
    pub fn start(
        serving: &(Certificate, PrivateKey),
        clock: &Clock,
        answer: impl FnMut(&Request) -> Vec<u8> + Send + 'static,
    ) -> Server {
        Server::showing(serving, &[], clock, answer)
    }

    /// With certificates behind its own.
    pub fn showing(
        serving: &(Certificate, PrivateKey),
        chain: &[Certificate],
        clock: &Clock,
        answer: impl FnMut(&Request) -> Vec<u8> + Send + 'static,
    ) -> Server {
        let cell = ServingCell::new(&serving.0, &serving.1, chain).unwrap();
        let config = tls::server(&cell, ClientAuth::Optional, clock).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (sender, news) = smol::channel::unbounded();
        let port = listener.local_addr().unwrap().port();
        let (seen, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (kept, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let mut answer: Answer = Box::new(answer);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                // A client that refuses us, or goes away, is what some tests are about.
                let _ = serve(stream, &config, &mut answer, &kept);
                let _ = sender.try_send(());
            }
        });
        Server {
            port,
            seen,
            news,
            stop,
            thread: Some(thread),
        }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().requests.clone()
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
    config: &Arc<ServerConfig>,
    answer: &mut Answer,
    seen: &Mutex<Seen>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let connection = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let mut bytes = Vec::new();
    let mut request = loop {
        match Request::parse(&bytes) {
            Some(request) => break request,
            None => more(&mut stream, &mut bytes)?,
        }
    };
    let chain = stream.conn.peer_certificates().unwrap_or_default();
    request.client = tls::peer_certificate(chain);
    seen.lock().unwrap().requests.push(request.clone());
    let answer = answer(&request);
    stream.write_all(&answer)?;
    if answer.starts_with(b"HTTP/1.1 101 ") {
        let mut frame = Vec::new();
        while frame_length(&frame).is_none_or(|length| frame.len() < length) {
            more(&mut stream, &mut frame)?;
        }
        frame.truncate(frame_length(&frame).unwrap_or_default());
        seen.lock().unwrap().frames.push(frame);
    }
    stream.conn.send_close_notify();
    stream.flush()
}

fn more(stream: &mut impl Read, into: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; 4096];
    match stream.read(&mut chunk)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        length => {
            into.extend_from_slice(&chunk[..length]);
            Ok(())
        }
    }
}

/// The length of a masked frame of up to 65,535 bytes, its head included.
fn frame_length(frame: &[u8]) -> Option<usize> {
    match frame.get(1)? & 0x7f {
        126 => Some(8 + usize::from(u16::from_be_bytes([*frame.get(2)?, *frame.get(3)?]))),
        127 => panic!("a keepalive is short"),
        short => Some(6 + usize::from(short)),
    }
}

/// What a masked frame of up to 65,535 bytes holds.
pub fn unmasked(frame: &[u8]) -> Vec<u8> {
    let head = if frame[1] & 0x7f == 126 { 4 } else { 2 };
    let (mask, payload) = frame[head..].split_at(4);
    payload
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, mask)| byte ^ mask)
        .collect()
}

const PATIENCE: Duration = Duration::from_secs(30);
