//! One port for everything: the path of a connection's first request tells tunnels from the rest.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_rustls::TlsAcceptor;
use smol::Timer;
use smol::future::{or, yield_now};
use smol::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use smol::net::TcpStream;

use super::cloud::Cloud;
use super::http::End;
use super::listener::Listener;
use super::metrics::Port;
use super::places::Place;
use super::{door, hub};
use crate::system::network;
use crate::tunnel::Secured;

/// Accepts connections until cloudcore stops. Whoever finds no place is told as on the certificate
/// port.
pub async fn serve(cloud: Arc<Cloud>, listener: Listener, acceptor: TlsAcceptor) {
    while let Some((stream, peer)) = listener.accept_until(&cloud.stop).await {
        let (shared, acceptor) = (cloud.clone(), acceptor.clone());
        match cloud.place(Port::Tunnels, peer.ip(), &stream) {
            Ok(place) => cloud.spawn(connection(shared, acceptor, stream, peer, place)),
            Err(Some(permission)) => cloud.spawn(async move {
                door::turn_away(&shared, &acceptor, stream).await;
                drop(permission);
            }),
            Err(None) => {}
        }
        // Those that were accepted go first: who comes waits in the kernel, and is not cut here.
        yield_now().await;
    }
}

async fn connection(
    cloud: Arc<Cloud>,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
) {
    network::tune(&stream);
    let Some(mut secured) = door::handshake(&cloud, &acceptor, stream, peer).await else {
        return;
    };
    let first = or(first_line(&mut secured), async {
        Timer::after(FIRST_LINE).await;
        Err(io::ErrorKind::TimedOut.into())
    });
    let read = match first.await {
        Ok(read) => read,
        Err(error) => {
            let end = match error.kind() {
                io::ErrorKind::TimedOut => End::Slow,
                _ => End::Left,
            };
            return door::ended(&cloud, peer, end);
        }
    };
    if is_tunnel(&read) {
        hub::enter(cloud, secured, read, peer, place).await;
    } else {
        door::converse(&cloud, secured, read, peer, place).await;
    }
}

/// What came, at least up to the end of the first line, unless that is longer than any that we know.
async fn first_line(stream: &mut Secured) -> io::Result<Vec<u8>> {
    let mut read = Vec::with_capacity(512);
    while !read.contains(&b'\n') && read.len() < MAX_LINE {
        let mut chunk = [0; 512];
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read.extend_from_slice(&chunk[..count]);
    }
    Ok(read)
}

/// Whether the request is for `/<project>/<node>/events`, which no page of the certificate API is.
fn is_tunnel(read: &[u8]) -> bool {
    let line = read.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = std::str::from_utf8(line).unwrap_or_default();
    let path = line.split(' ').nth(1).unwrap_or_default();
    hub::node_in_path(path).is_some()
}

/// A stream of which the beginning was read already.
pub struct Rewound<S> {
    read: Vec<u8>,
    stream: S,
}

impl<S> Rewound<S> {
    pub fn new(read: Vec<u8>, stream: S) -> Rewound<S> {
        Rewound { read, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.read.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.read[..count]);
        self.read.drain(..count);
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}

/// For the first line of the first request.
const FIRST_LINE: Duration = Duration::from_secs(10);
/// Bytes; the certificate API refuses what is longer.
const MAX_LINE: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_decides() {
        for line in [
            "GET /e632aba927ea4ac2b575ec1603d56f10/edge-1/events HTTP/1.1\r\nUpgrade: x",
            "GET /p/n/events/?x=1 HTTP/1.1\r\n",
            "POST /p/n/events HTTP/1.1\n",
        ] {
            assert!(is_tunnel(line.as_bytes()), "{line}");
        }
        for line in [
            "GET /edge.crt HTTP/1.1\r\nUpgrade: websocket\r\n",
            "GET /node/n HTTP/1.1\r\nX: /p/n/events",
            "GET /events HTTP/1.1\r\n",
            "GET\r\n/p/n/events",
            "\n",
            "",
            "\u{fffd} /p/n/other",
        ] {
            assert!(!is_tunnel(line.as_bytes()), "{line}");
        }
        assert!(!is_tunnel(b"GET /p/\xff/events HTTP/1.1\r\n"));
    }

    #[test]
    fn what_was_read_comes_first() {
        let mut stream = Rewound::new(b"abc".to_vec(), &b"def"[..]);
        let mut whole = Vec::new();
        smol::block_on(async {
            let mut two = [0; 2];
            stream.read_exact(&mut two).await.unwrap();
            assert_eq!(&two, b"ab");
            stream.read_to_end(&mut whole).await.unwrap();
        });
        assert_eq!(whole, b"cdef");
    }
}
