//! A TCP stream that takes in only so much until its TLS handshake is done.
//!
//! The TLS library puts a handshake message together in memory, up to 64 KiB of it, before it knows
//! anything of the peer; honest handshakes have two or three.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_rustls::TlsAcceptor;
use smol::io::{AsyncRead, AsyncWrite};
use smol::net::TcpStream;

use super::Secured;
use crate::protocol::portal::{Beginning, Portal};
use crate::system::names::Endpoint;

/// A stream with what it may still take in, if that is bounded.
#[derive(Debug)]
pub struct Guarded<S = TcpStream> {
    stream: S,
    left: Option<usize>,
    /// For the side that expects TLS of a server.
    beginning: Option<Beginning>,
}

impl<S> Guarded<S> {
    /// For the side that accepts: bounded until `lift` is called.
    pub fn new(stream: S) -> Guarded<S> {
        Guarded {
            stream,
            left: Some(MAX_HANDSHAKE),
            beginning: None,
        }
    }

    /// For the side that has chosen whom to talk to.
    pub fn open(stream: S) -> Guarded<S> {
        Guarded {
            stream,
            left: None,
            beginning: Some(Beginning::default()),
        }
    }

    /// What answered in plain HTTP where `dialled` should have spoken TLS.
    pub fn portal(&self, dialled: &Endpoint) -> Option<Portal> {
        self.beginning.as_ref()?.portal(dialled)
    }

    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The handshake is done, and others count from here on.
    pub fn lift(&mut self) {
        self.left = None;
    }
}

/// TLS with a peer of whom nothing is known yet.
pub async fn accept(acceptor: &TlsAcceptor, stream: TcpStream) -> io::Result<Secured> {
    let mut secured = acceptor.accept(Guarded::new(stream)).await?;
    secured.get_mut().0.lift();
    Ok(Secured::from(secured))
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Some(left) = self.left else {
            let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
            if let (Poll::Ready(Ok(count)), Some(beginning)) = (&polled, &mut self.beginning) {
                beginning.note(&buffer[..*count]);
            }
            return polled;
        };
        if left == 0 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, TOO_LONG)));
        }
        let most = buffer.len().min(left);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut buffer[..most]);
        if let Poll::Ready(Ok(count)) = polled {
            self.left = Some(left - count);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// Bytes. A hello with a post-quantum key share and a chain of certificates have about 6 KiB; and
/// with the last of them the first record of the request may come, which has up to 16.
const MAX_HANDSHAKE: usize = 32 * 1024;

const TOO_LONG: &str = "the TLS handshake has more than 32 KiB";

#[cfg(test)]
mod tests {
    use smol::future::block_on;
    use smol::io::AsyncReadExt;

    use super::*;

    #[test]
    fn more_than_a_handshake_is_refused_until_it_is_done() {
        let much = vec![1; 3 * MAX_HANDSHAKE];
        let mut stream = Guarded::new(&much[..]);
        let mut first = vec![0; MAX_HANDSHAKE];
        block_on(stream.read_exact(&mut first)).unwrap();
        let refused = block_on(stream.read(&mut [0])).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        stream.lift();
        let mut rest = Vec::new();
        block_on(stream.read_to_end(&mut rest)).unwrap();
        assert_eq!(rest.len(), 2 * MAX_HANDSHAKE);
        let mut open = Guarded::open(&much[..]);
        assert_eq!(block_on(open.read_to_end(&mut rest)).unwrap(), much.len());
    }
}
