//! Listening sockets: both families on one, and an accept that never ends.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};
use smol::Timer;
use smol::future::or;
use smol::net::{TcpListener, TcpStream};

use super::cloud::Stop;
use crate::system::cause;

/// A socket that listens.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// Why an address can't be listened on.
#[derive(Debug)]
pub struct BindError {
    what: &'static str,
    address: SocketAddr,
    pub source: io::Error,
}

/// One that has its address, and serves nobody yet.
pub struct Bound {
    socket: std::net::TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Listens on `address`. `0.0.0.0` and `[::]` both mean all addresses of both families, where
    /// the system has IPv6.
    pub fn new(what: &'static str, address: SocketAddr) -> Result<Bound, BindError> {
        let listener = bind_all(address, SockType::Stream).and_then(|socket| {
            // After an outage all edges come at once.
            listen(&socket, Backlog::new(BACKLOG).unwrap_or(Backlog::MAXCONN))?;
            let socket = std::net::TcpListener::from(socket);
            let address = socket.local_addr()?;
            Ok(Bound { socket, address })
        });
        listener.map_err(|source| BindError {
            what,
            address,
            source,
        })
    }

    /// Where it really listens, when port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// To be called within an executor, whose threads come with it.
    pub fn listen(self) -> Result<Listener, BindError> {
        let Bound { socket, address } = self;
        let failed = |source| BindError {
            what: "its peers",
            address,
            source,
        };
        Ok(Listener {
            socket: TcpListener::try_from(socket).map_err(failed)?,
            address,
        })
    }
}

impl Listener {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection; none when cloudcore stops.
    pub async fn accept_until(&self, stop: &Stop) -> Option<(TcpStream, SocketAddr)> {
        or(async { Some(self.accept().await) }, async {
            stop.wait().await;
            None
        })
        .await
    }

    /// The next connection. What goes wrong is waited out: no error ends a server.
    pub async fn accept(&self) -> (TcpStream, SocketAddr) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.socket.accept().await {
                Ok((stream, peer)) => {
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    return (stream, peer);
                }
                // The client went away before we came to it.
                Err(error) if is_about_one_client(&error) => {}
                Err(error) => {
                    let cause = cause::of(&error);
                    log::warn!("no connection can be accepted on {}: {cause}", self.address);
                    Timer::after(pause).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
            }
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError {
            what,
            address,
            source,
        } = self;
        let cause = cause::of(source);
        write!(f, "cannot listen on {address} for {what}: {cause}")?;
        f.write_str(match source.kind() {
            io::ErrorKind::AddrInUse => ": stop what listens there, or choose another port",
            io::ErrorKind::PermissionDenied => ": run it as root, or choose a port above 1023",
            _ => ": choose an address of this machine",
        })
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A socket for datagrams to `address`, with the same meaning.
pub fn bind_datagrams(what: &'static str, address: SocketAddr) -> Result<UdpSocket, BindError> {
    let bound = bind_all(address, SockType::Datagram).inspect(|socket| {
        // After an outage all edges come at once. The system may allow less.
        if setsockopt(socket, sockopt::RcvBufForce, &DATAGRAMS).is_err() {
            let _ = setsockopt(socket, sockopt::RcvBuf, &DATAGRAMS);
        }
    });
    bound.map(UdpSocket::from).map_err(|source| BindError {
        what,
        address,
        source,
    })
}

fn bind_all(address: SocketAddr, kind: SockType) -> io::Result<OwnedFd> {
    if !address.ip().is_unspecified() {
        return bind_to(address, kind, false);
    }
    // IPv6 and, mapped into it, IPv4, whatever the system's default for that is.
    let both = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port());
    let all_v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
    bind_to(both, kind, true).or_else(|error| match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
        _ => bind_to(all_v4, kind, false),
    })
}

fn bind_to(address: SocketAddr, kind: SockType, both_families: bool) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if both_families {
        setsockopt(&fd, sockopt::Ipv6V6Only, &false)?;
    }
    // Of datagrams it would give somebody else a part.
    if kind == SockType::Stream {
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(fd)
}

fn is_about_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

const BACKLOG: i32 = 4096;
/// Bytes that wait in the kernel: of some 900 first datagrams, with what it counts for each.
const DATAGRAMS: usize = 2 << 20;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use smol::future::{block_on, zip};

    use super::*;

    #[test]
    fn one_socket_takes_both_families() {
        let bound = Bound::new("a test", ([0, 0, 0, 0], 0).into()).unwrap();
        let address = bound.address();
        let port = address.port();
        let listener = bound.listen().unwrap();
        let mut locals = vec![IpAddr::from(Ipv4Addr::LOCALHOST)];
        if address.is_ipv6() {
            locals.push(Ipv6Addr::LOCALHOST.into());
        }
        for local in locals {
            let dialled = TcpStream::connect(SocketAddr::new(local, port));
            let (accepted, dialled) = block_on(zip(listener.accept(), dialled));
            assert_eq!(accepted.1.ip(), local);
            drop(dialled.unwrap());
        }
    }

    #[test]
    fn a_taken_port_is_said_plainly() {
        let first = Bound::new("a test", ([127, 0, 0, 1], 0).into()).unwrap();
        let error = Bound::new("the hub", first.address())
            .err()
            .unwrap()
            .to_string();
        assert!(error.starts_with(&format!(
            "cannot listen on {} for the hub:",
            first.address()
        )));
        assert!(error.contains("choose another port"), "{error}");
    }
}
