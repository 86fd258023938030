//! From where connections start: an address or an interface of this device, when it is told one.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::str::FromStr;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use smol::Async;
use smol::net::TcpStream;

use crate::system::network::NetError;

/// What connections start from; by default whatever the routes say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uplink {
    pub address: Option<IpAddr>,
    pub interface: Option<Interface>,
}

/// The name of a network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface(String);

impl FromStr for Interface {
    type Err = NoInterface;

    fn from_str(text: &str) -> Result<Interface, NoInterface> {
        let allowed = |c: char| c.is_ascii_graphic() && c != '/';
        match text {
            "" | "." | ".." => Err(NoInterface),
            _ if text.len() > MAX_NAME || !text.chars().all(allowed) => Err(NoInterface),
            _ => Ok(Interface(text.to_owned())),
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that no interface can have as its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoInterface;

impl fmt::Display for NoInterface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an interface has a name like eth0 or wg0, of at most 15 characters")
    }
}

impl std::error::Error for NoInterface {}

impl Uplink {
    pub fn is_any(&self) -> bool {
        self.address.is_none() && self.interface.is_none()
    }

    /// Whether an address is of the family that connections start from.
    pub fn may_reach(&self, address: &SocketAddr) -> bool {
        self.address
            .is_none_or(|own| own.is_ipv4() == address.is_ipv4())
    }

    /// Connects to one address, without a limit of time.
    pub async fn connect(&self, to: SocketAddr) -> Result<TcpStream, NetError> {
        let failed = |source| NetError::Connect {
            address: to,
            source,
        };
        if self.is_any() {
            return TcpStream::connect(to).await.map_err(failed);
        }
        let local = |source: Errno| NetError::Uplink {
            from: self.to_string(),
            source: source.into(),
        };
        let socket = self.socket(to, SockType::Stream).map_err(local)?;
        match connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            // The interface is known, and has no address to start from, or no way out.
            Err(errno @ (Errno::EADDRNOTAVAIL | Errno::ENETUNREACH)) => return Err(local(errno)),
            Err(errno) => return Err(failed(errno.into())),
        }
        finish(socket).await.map_err(failed)
    }

    /// A socket for datagrams to this address, bound to where connections start. Without an address of
    /// its own it follows the routes, so that a device may change its address.
    pub fn datagrams(&self, to: SocketAddr) -> Result<UdpSocket, NetError> {
        let bound = self.socket(to, SockType::Datagram).and_then(|socket| {
            if self.address.is_none() {
                let any: IpAddr = match to {
                    SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                let any = SockaddrStorage::from(SocketAddr::new(any, 0));
                bind(socket.as_raw_fd(), &any)?;
            }
            Ok(UdpSocket::from(socket))
        });
        bound.map_err(|source| NetError::Uplink {
            from: self.to_string(),
            source: source.into(),
        })
    }

    fn socket(&self, to: SocketAddr, kind: SockType) -> Result<OwnedFd, Errno> {
        let family = match to {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(family, kind, flags, None)?;
        if let Some(Interface(name)) = &self.interface {
            setsockopt(&socket, sockopt::BindToDevice, &OsString::from(name))?;
        }
        if let Some(address) = self.address {
            let from = SockaddrStorage::from(SocketAddr::new(address, 0));
            bind(socket.as_raw_fd(), &from)?;
        }
        Ok(socket)
    }
}

async fn finish(socket: OwnedFd) -> io::Result<TcpStream> {
    let stream = Async::new_nonblocking(std::net::TcpStream::from(socket))?;
    stream.writable().await?;
    match stream.get_ref().take_error()? {
        Some(error) => Err(error),
        None => Ok(TcpStream::from(stream)),
    }
}

impl fmt::Display for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.address, &self.interface) {
            (None, None) => f.write_str("any address"),
            (Some(address), None) => write!(f, "the address {address}"),
            (None, Some(interface)) => write!(f, "the interface {interface}"),
            (Some(address), Some(interface)) => {
                write!(f, "the address {address} on the interface {interface}")
            }
        }
    }
}

/// Bytes: IFNAMSIZ with its end.
const MAX_NAME: usize = 15;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn names_of_interfaces() {
        for good in ["eth0", "wg-site.7", "br_lan", "123456789012345"] {
            assert_eq!(good.parse::<Interface>().unwrap().to_string(), good);
        }
        for bad in ["", "..", "a/b", "a b", "1234567890123456", "ü", "a\0"] {
            assert_eq!(bad.parse::<Interface>(), Err(NoInterface), "{bad}");
        }
    }

    #[test]
    fn a_connection_starts_where_it_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let uplink = |address: &str, interface: Option<&str>| Uplink {
            address: Some(address.parse().unwrap()),
            interface: interface.map(|name| name.parse().unwrap()),
        };
        let stream = smol::block_on(uplink("127.0.0.9", None).connect(to)).unwrap();
        assert_eq!(stream.local_addr().unwrap().ip().to_string(), "127.0.0.9");
        assert_eq!(stream.peer_addr().unwrap(), to);
        assert!(!uplink("::1", None).may_reach(&to));

        // An address of nobody here: RFC 5737.
        let error = smol::block_on(uplink("192.0.2.1", None).connect(to)).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("from the address 192.0.2.1"), "{error}");
        let error = smol::block_on(uplink("127.0.0.1", Some("nosuch0")).connect(to)).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("on the interface nosuch0"), "{error}");
        let datagrams = uplink("127.0.0.9", None).datagrams(to).unwrap();
        assert_eq!(
            datagrams.local_addr().unwrap().ip(),
            stream.local_addr().unwrap().ip()
        );
        let anywhere = Uplink::default().datagrams(to).unwrap();
        assert!(anywhere.local_addr().unwrap().ip().is_unspecified());
        drop(listener);
        let error = smol::block_on(uplink("127.0.0.1", None).connect(to)).unwrap_err();
        assert!(error.to_string().contains("connection refused"), "{error}");
    }
}
