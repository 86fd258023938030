//! How the QUIC library gets its tasks, its timers and its datagrams: from our executors and sockets.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use nix::sys::socket::{setsockopt, sockopt};
use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, UdpPoller};
use smol::{Async, Timer};

use super::{Spawn, Task};

/// Spawns where the owner of the endpoint says.
pub(super) struct OurRuntime(pub(super) Spawn);

impl Runtime for OurRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(OurTimer(Timer::at(at)))
    }

    fn spawn(&self, task: Task) {
        (self.0)(task);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(Datagrams::new(socket)?))
    }
}

impl fmt::Debug for OurRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OurRuntime")
    }
}

#[derive(Debug)]
struct OurTimer(Timer);

impl AsyncTimer for OurTimer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        self.0.set_at(at);
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

/// A UDP socket that takes and gives one datagram at a time: tunnels are quiet, and what the kernel
/// could put together would need buffers of megabytes.
#[derive(Debug)]
struct Datagrams {
    socket: Arc<Async<UdpSocket>>,
    state: UdpSocketState,
}

impl Datagrams {
    fn new(socket: UdpSocket) -> io::Result<Datagrams> {
        let state = UdpSocketState::new((&socket).into())?;
        // Kernels without it do not put anything together either.
        let _ = setsockopt(&socket, sockopt::UdpGroSegment, &false);
        Ok(Datagrams {
            socket: Arc::new(Async::new(socket)?),
            state,
        })
    }
}

impl AsyncUdpSocket for Datagrams {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable {
            socket: self.socket.clone(),
            waiting: None,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.state.send((&*self.socket).into(), transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            // What a network says of one peer is no fault of the socket: it waits for the next.
            if let Ok(count) = self.state.recv((&*self.socket).into(), buffers, meta) {
                return Poll::Ready(Ok(count));
            }
            ready!(self.socket.poll_readable(cx))?;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

type Waiting = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// Waits for room to send; any number of connections may, each with one of these.
struct Writable {
    socket: Arc<Async<UdpSocket>>,
    waiting: Option<Waiting>,
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = &self.socket.clone();
        let wait = || -> Waiting { Box::pin(socket.clone().writable_owned()) };
        let waiting = self.waiting.get_or_insert_with(wait);
        let result = ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(result)
    }
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writable")
    }
}
