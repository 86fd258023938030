//! Many slow peers at once, each of which comes again when it was cut.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_rustls::TlsConnector;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use smol::future::or;
use smol::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use smol::net::TcpStream;
use smol::{LocalExecutor, Timer};

use crate::peer::dial;
use crate::requests::{HALF_HELLO, hello};
use crate::support::until;

/// Gone when dropped.
pub struct Crowd {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Peers that have been there at least once: on a slow machine the first may be cut by then.
    came: AtomicUsize,
    held: AtomicUsize,
}

/// What one of them does while it keeps the other side waiting.
#[derive(Clone, Copy)]
pub enum Slow {
    /// Nothing at all.
    Silent,
    /// Half of a TLS hello, and then a byte now and then.
    Hello,
    /// TLS, and then a request's head, a byte now and then.
    Head,
    /// TLS, the head of a request that is in order, and then its body, a byte now and then.
    Body,
    /// As much of a hello as may be long, and not its end.
    FatHello,
}

/// What those need that get beyond TCP.
#[derive(Clone)]
pub struct Means {
    pub config: Arc<ClientConfig>,
    /// The head of a request that is in order but for its body, which has not come.
    pub head: Vec<u8>,
}

impl Crowd {
    /// Comes, and is there in full when this returns.
    pub fn new(
        port: u16,
        count: usize,
        kinds: &[Slow],
        means: &Means,
        from: fn(usize) -> Ipv4Addr,
    ) -> Crowd {
        let means = Arc::new(means.clone());
        let shared = Arc::new(Shared::default());
        let (kinds, theirs) = (kinds.to_vec(), shared.clone());
        let thread = std::thread::spawn(move || {
            let executor = LocalExecutor::new();
            for number in 0..count {
                let kind = kinds[number % kinds.len()];
                let peer = keep_coming(port, from(number), kind, means.clone(), theirs.clone());
                executor.spawn(peer).detach();
            }
            let stopped = async {
                while !theirs.stop.load(Ordering::Relaxed) {
                    Timer::after(STEP).await;
                }
            };
            smol::block_on(executor.run(stopped));
        });
        let crowd = Crowd {
            shared,
            thread: Some(thread),
        };
        until("all slow peers have come", || {
            crowd.shared.came.load(Ordering::Relaxed) >= count
        });
        crowd
    }

    /// Connections that are open.
    pub fn held(&self) -> usize {
        self.shared.held.load(Ordering::Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

async fn keep_coming(
    port: u16,
    from: Ipv4Addr,
    kind: Slow,
    means: Arc<Means>,
    shared: Arc<Shared>,
) {
    let mut first = true;
    loop {
        let stream = dial(from, port).unwrap();
        stream.set_nonblocking(true).unwrap();
        let stream = TcpStream::try_from(stream).unwrap();
        be_slow(stream, kind, &means, &shared, std::mem::take(&mut first)).await;
        Timer::after(PAUSE).await;
    }
}

async fn be_slow(mut stream: TcpStream, kind: Slow, means: &Means, shared: &Shared, first: bool) {
    let came = || shared.came.fetch_add(usize::from(first), Ordering::Relaxed);
    match kind {
        Slow::Silent => {
            came();
            trickle(stream, b"", shared).await;
        }
        Slow::Hello => {
            let _ = stream.write_all(HALF_HELLO).await;
            came();
            trickle(stream, b"x", shared).await;
        }
        Slow::FatHello => {
            let _ = stream.write_all(&hello(30_000)).await;
            came();
            trickle(stream, b"", shared).await;
        }
        Slow::Head | Slow::Body => {
            let name = ServerName::try_from("127.0.0.1").unwrap();
            let connector = TlsConnector::from(means.config.clone());
            let connected = connector.connect(name, stream).await;
            came();
            if let Ok(mut stream) = connected {
                let long = [b"GET / HTTP/1.1\r\nX: ", &[b'x'; 15_000][..]].concat();
                let head = if matches!(kind, Slow::Body) {
                    &means.head
                } else {
                    &long
                };
                let _ = stream.write_all(head).await;
                trickle(stream, b"x", shared).await;
            }
        }
    }
}

/// Holds a connection until the other side ends it.
async fn trickle<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, bytes: &[u8], shared: &Shared) {
    shared.held.fetch_add(1, Ordering::Relaxed);
    loop {
        let mut buffer = [0; 64];
        let ended = async { !matches!(stream.read(&mut buffer).await, Ok(count) if count > 0) };
        let goes_on = async {
            Timer::after(BETWEEN).await;
            false
        };
        if or(ended, goes_on).await || stream.write_all(bytes).await.is_err() {
            break;
        }
        let _ = stream.flush().await;
    }
    shared.held.fetch_sub(1, Ordering::Relaxed);
}

const STEP: Duration = Duration::from_millis(20);
/// Before one that was cut comes again.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two bytes.
const BETWEEN: Duration = Duration::from_secs(1);
