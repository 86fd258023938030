//! The one stream of a QUIC connection, as a tunnel's carrier.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, WriteError};
use rustls::pki_types::CertificateDer;
use smol::Timer;
use smol::future::or;
use smol::io::{AsyncRead, AsyncWrite};

use super::{Spawn, canonical, fault};
use crate::protocol::transport::Transport;
use crate::tunnel::{Carrier, Line};

/// A stream that is written to the end: dropping it lets the peer have what was written.
pub(super) struct Stream {
    connection: Connection,
    /// Until it is dropped.
    halves: Option<(SendStream, RecvStream)>,
    spawn: Spawn,
    /// How long the peer may be the one that ends the connection.
    courtesy: Duration,
}

impl Stream {
    pub(super) fn new(
        connection: Connection,
        halves: (SendStream, RecvStream),
        spawn: Spawn,
        courtesy: Duration,
    ) -> Stream {
        Stream {
            connection,
            halves: Some(halves),
            spawn,
            courtesy,
        }
    }
}

impl Carrier for Stream {
    fn peer_certificate(&self) -> Option<Vec<u8>> {
        let identity = self.connection.peer_identity()?;
        let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        Some(chain.first()?.to_vec())
    }

    fn line(&self) -> Box<dyn Line> {
        Box::new(QuicLine(self.connection.clone()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Some((_, receive)) = &mut self.halves else {
            return Poll::Ready(Ok(0));
        };
        Poll::Ready(match ready!(receive.poll_read(cx, buffer)) {
            Ok(count) => Ok(count),
            Err(ReadError::ConnectionLost(ConnectionError::ApplicationClosed(close)))
                if close.error_code == DONE.into() =>
            {
                Ok(0)
            }
            Err(ReadError::ConnectionLost(error)) => Err(fault(error).into_io()),
            Err(_) => Err(io::ErrorKind::ConnectionReset.into()),
        })
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some((send, _)) = &mut self.halves else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        Poll::Ready(match ready!(Pin::new(send).poll_write(cx, buffer)) {
            Ok(count) => Ok(count),
            Err(WriteError::ConnectionLost(error)) => Err(fault(error).into_io()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some((send, _)) = &mut self.halves {
            // It is finished already when this fails.
            let _ = send.finish();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    /// The library would throw away what has not been acknowledged, and with it the farewell.
    fn drop(&mut self) {
        let Some((mut send, receive)) = self.halves.take() else {
            return;
        };
        let (connection, courtesy) = (self.connection.clone(), self.courtesy);
        if connection.close_reason().is_some() {
            return;
        }
        let _ = send.finish();
        (self.spawn)(Box::pin(async move {
            let taken = async {
                let _ = send.stopped().await;
            };
            let late = async {
                Timer::after(LINGER).await;
            };
            or(taken, late).await;
            let ended = async {
                connection.closed().await;
            };
            let late = async {
                Timer::after(courtesy).await;
            };
            or(ended, late).await;
            connection.close(DONE.into(), b"");
            drop(receive);
        }));
    }
}

#[derive(Debug)]
struct QuicLine(Connection);

impl Line for QuicLine {
    fn transport(&self) -> Transport {
        Transport::Quic
    }

    fn peer(&self) -> Option<SocketAddr> {
        Some(canonical(self.0.remote_address()))
    }

    fn acknowledged(&self) -> Option<u64> {
        Some(self.0.stats().frame_rx.acks)
    }

    /// Silence is noticed by the acknowledgements that do not come.
    fn give_up_after(&self, _limit: Duration) {}

    fn gone(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.0.closed().await;
        })
    }
}

/// The code of a connection that ends as it should.
const DONE: u32 = 0;

/// For the peer to acknowledge what was written last.
const LINGER: Duration = Duration::from_secs(2);
