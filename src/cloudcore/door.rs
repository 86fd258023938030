//! The certificate port: its connections, from their first byte to their requests.

use std::future::ready;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_rustls::TlsAcceptor;
use hyper::StatusCode;
use hyper::header::{CONNECTION, HeaderValue};
use log::{debug, warn};
use smol::Timer;
use smol::future::{FutureExt, or, yield_now};
use smol::net::TcpStream;

use super::api::{self, Caller};
use super::cloud::Cloud;
use super::http::{self, End, Rest};
use super::listener::Listener;
use super::metrics::Port;
use super::places::Place;
use super::single::Rewound;
use crate::system::cause;
use crate::tunnel::{self, Secured};

/// Accepts connections until cloudcore stops.
pub async fn serve(cloud: Arc<Cloud>, listener: Listener, acceptor: TlsAcceptor) {
    while let Some((stream, peer)) = listener.accept_until(&cloud.stop).await {
        let (shared, acceptor) = (cloud.clone(), acceptor.clone());
        match cloud.place(Port::Certificates, peer.ip(), &stream) {
            Ok(place) => cloud.spawn(async move {
                connection(&shared, &acceptor, stream, peer, place).await;
            }),
            Err(Some(permission)) => cloud.spawn(async move {
                turn_away(&shared, &acceptor, stream).await;
                drop(permission);
            }),
            Err(None) => {}
        }
        // Those that were accepted go first: who comes waits in the kernel, and is not cut here.
        yield_now().await;
    }
}

async fn connection(
    cloud: &Cloud,
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
) {
    // Without it an answer may wait for the client's acknowledgement; that it fails does no harm.
    let _ = stream.set_nodelay(true);
    if let Some(secured) = handshake(cloud, acceptor, stream, peer).await {
        converse(cloud, secured, Vec::new(), peer, place).await;
    }
}

/// TLS, or nothing, which is counted then.
pub async fn handshake(
    cloud: &Cloud,
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<Secured> {
    let secured = or(tunnel::accept(acceptor, stream), async {
        Timer::after(HANDSHAKE_DEADLINE).await;
        Err(io::ErrorKind::TimedOut.into())
    });
    match secured.await {
        Ok(secured) => Some(secured),
        Err(error) => {
            no_handshake(cloud, peer.ip(), &error);
            None
        }
    }
}

/// Answers the requests of one connection, of which `read` was read already.
pub async fn converse(
    cloud: &Cloud,
    secured: Secured,
    read: Vec<u8>,
    peer: SocketAddr,
    place: Place,
) {
    let caller = Caller::new(peer, place, &secured);
    let mut stream = Rewound::new(read, secured);
    let answer = |request| api::answer(cloud, &caller, request).boxed();
    let end = http::serve(&mut stream, &cloud.stop, &answer).await;
    ended(cloud, peer, end);
}

/// Counts the end of a connection, and says what was wrong with it.
pub fn ended(cloud: &Cloud, peer: SocketAddr, end: End) {
    cloud.metrics.failed_connection(end);
    let said = match end {
        End::Over | End::Left => return,
        End::Malformed => "what came was no HTTP request",
        End::Slow => "no request came within 10 s",
        End::TooLarge => "the head of the request was larger than 16 KiB",
        End::TooLong => "it lasted longer than 120 s",
    };
    if cloud.strike(peer.ip()).logged {
        warn!("a connection from {} is closed: {said}", peer.ip());
    }
}

fn no_handshake(cloud: &Cloud, address: IpAddr, error: &io::Error) {
    let reason = match error.kind() {
        io::ErrorKind::InvalidData => "tls",
        io::ErrorKind::TimedOut => "tls-slow",
        _ => "left",
    };
    cloud.metrics.failed_handshake(reason);
    // Who looks whether the port is open has done nothing wrong.
    if reason == "left" {
        debug!("a connection from {address} ended before its TLS handshake: {error}");
    } else if cloud.strike(address).logged {
        let cause = cause::of(error);
        warn!("a connection from {address} is closed, without a TLS handshake: {cause}");
    }
}

/// Tells a client for whom there is no place when to come again.
pub async fn turn_away(cloud: &Cloud, acceptor: &TlsAcceptor, stream: TcpStream) {
    let told = async {
        let Ok(mut secured) = tunnel::accept(acceptor, stream).await else {
            return;
        };
        let full = |_| {
            let mut answer = http::later(
                StatusCode::SERVICE_UNAVAILABLE,
                RETRY_WHEN_FULL,
                "too many connections at the moment: come again in some seconds",
            );
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, close);
            ready((answer, Rest::Unread)).boxed()
        };
        http::serve(&mut secured, &cloud.stop, &full).await;
    };
    or(told, async {
        Timer::after(TURNING_AWAY).await;
    })
    .await;
}

const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// For saying that there is no place.
const TURNING_AWAY: Duration = Duration::from_secs(3);
/// Seconds after which there may be one.
const RETRY_WHEN_FULL: u16 = 5;
