//! What a tunnel runs on: a connection with proof of who is at its other end.

use std::fmt;
use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use smol::net::TcpStream;

use super::{Secured, Stream};
use crate::protocol::transport::Transport;
use crate::system::network;

/// A connection after its handshake, either end of it.
pub trait Carrier: Stream + Send + Sync {
    /// The certificate that the peer proved in the handshake, as DER.
    fn peer_certificate(&self) -> Option<Vec<u8>>;

    /// What is to know of the connection while a tunnel has its bytes.
    fn line(&self) -> Box<dyn Line>;
}

/// A connection, seen from beside its bytes.
pub trait Line: fmt::Debug + Send + Sync {
    fn transport(&self) -> Transport;

    /// Where the other end is now.
    fn peer(&self) -> Option<SocketAddr>;

    /// Changes whenever the other end has acknowledged something, where this side is told of it.
    fn acknowledged(&self) -> Option<u64>;

    /// Ends the connection when what was sent is not acknowledged for so long, where the system can
    /// see to that.
    fn give_up_after(&self, limit: Duration);

    /// Returns when what was written last has left, and the connection is gone: what the system
    /// keeps for a program that has ended need not be waited for.
    fn gone(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

impl Carrier for Secured {
    fn peer_certificate(&self) -> Option<Vec<u8>> {
        let (_, connection) = self.get_ref();
        let first = connection.peer_certificates()?.first()?;
        Some(first.to_vec())
    }

    fn line(&self) -> Box<dyn Line> {
        Box::new(self.get_ref().0.stream().clone())
    }
}

impl Line for TcpStream {
    fn transport(&self) -> Transport {
        Transport::WebSocket
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.peer_addr().ok()
    }

    fn acknowledged(&self) -> Option<u64> {
        None
    }

    fn give_up_after(&self, limit: Duration) {
        network::give_up_after(self, limit);
    }

    fn gone(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(ready(()))
    }
}
