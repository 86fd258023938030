//! Both ends of a connection in memory: what a peer sends is the input, what is sent to it is kept.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_tungstenite::tungstenite::handshake::derive_accept_key;
use smol::io::{AsyncRead, AsyncWrite};

/// A peer that sends what it was given and then ends its side.
pub struct Peer {
    input: Vec<u8>,
    read: usize,
    /// The input still holds `ACCEPT`, for which the answer to the client's key is put in.
    greeting: bool,
    pub written: Vec<u8>,
}

/// Stands in an input for what a server must answer to a client's random key.
pub const ACCEPT: &[u8] = b"{accept}";

impl Peer {
    pub fn new(input: &[u8]) -> Peer {
        Peer {
            input: input.to_vec(),
            read: 0,
            greeting: false,
            written: Vec::new(),
        }
    }

    /// A peer that knows how to answer a WebSocket client.
    pub fn greeting(input: &[u8]) -> Peer {
        Peer {
            greeting: true,
            ..Peer::new(input)
        }
    }

    fn greet(&mut self) {
        if !std::mem::take(&mut self.greeting) {
            return;
        }
        let request = String::from_utf8_lossy(&self.written).to_ascii_lowercase();
        let Some(at) = request.find("sec-websocket-key: ").map(|at| at + 19) else {
            return;
        };
        let accept = derive_accept_key(&self.written[at..at + 24]);
        let place = self
            .input
            .windows(ACCEPT.len())
            .position(|part| part == ACCEPT);
        if let Some(place) = place {
            self.input
                .splice(place..place + ACCEPT.len(), accept.into_bytes());
        }
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.greet();
        // Small and large pieces, so that what spans two reads is met.
        let piece = if self.read.is_multiple_of(2) { 7 } else { 1500 };
        let rest = &self.input[self.read..];
        let count = rest.len().min(buffer.len()).min(piece);
        buffer[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.extend_from_slice(buffer);
        Poll::Ready(Ok(buffer.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
