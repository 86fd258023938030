//! What becomes of this machine's addresses and routes, told by the kernel as it happens.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use smol::{Async, Timer};

use crate::system::network::local_addresses;

/// A netlink socket that hears of every change. What the kernel says is not read, only that it does:
/// `Outlook` looks for itself.
pub struct Changes(Async<OwnedFd>);

impl Changes {
    /// Any user may; an error means that this kernel or its sandbox has no netlink.
    pub fn listen() -> io::Result<Changes> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Changes(Async::new(socket)?))
    }

    /// Returns when something has changed and the changes that belong to it are there as well.
    pub async fn next(&self) -> io::Result<()> {
        self.0.readable().await?;
        // A new address, its routes and the end of its probation come one after another.
        Timer::after(SETTLED).await;
        let mut message = [0; 4096];
        for _ in 0..AT_ONCE {
            match recv(self.0.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT) {
                Ok(length) if length > 0 => {}
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(Errno::EAGAIN) => break,
                // There was more than the socket holds: then something has changed, too.
                Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

/// How this machine stands in its networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    addresses: Vec<IpAddr>,
    /// From where it would go out, by either family.
    outward: [Option<IpAddr>; 2],
}

impl Outlook {
    pub fn now() -> Outlook {
        let elsewhere: [IpAddr; 2] = [DOCUMENTATION_4.into(), DOCUMENTATION_6.into()];
        Outlook {
            addresses: local_addresses(),
            outward: elsewhere.map(|address| source_towards(SocketAddr::new(address, 9))),
        }
    }

    /// Whether this address is still one of this machine. Those that are not listed count as such.
    pub fn has(&self, address: IpAddr) -> bool {
        let unlisted = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        // A system that does not tell its addresses has not lost them.
        unlisted || self.addresses.is_empty() || self.addresses.contains(&address)
    }
}

/// The address from which the kernel would connect to another now; none without a route. Nothing is
/// sent for it.
pub fn source_towards(to: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Addresses and routes of both families, and links.
const GROUPS: u32 = (libc::RTMGRP_LINK
    | libc::RTMGRP_IPV4_IFADDR
    | libc::RTMGRP_IPV4_ROUTE
    | libc::RTMGRP_IPV6_IFADDR
    | libc::RTMGRP_IPV6_ROUTE) as u32;
const SETTLED: Duration = Duration::from_millis(250);
/// Messages that are thrown away in one go; of more the next call hears.
const AT_ONCE: usize = 1000;
/// Nobody's, so that only a default route leads there (RFC 5737, RFC 3849).
const DOCUMENTATION_4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const DOCUMENTATION_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::not_tried::not_tried;

    #[test]
    fn how_this_machine_stands() {
        let now = Outlook::now();
        assert_eq!(now, Outlook::now());
        let [own, other]: [IpAddr; 2] = ["127.0.0.1", "192.0.2.77"].map(|a| a.parse().unwrap());
        assert!(now.has(own) && !now.has(other) && now.has("fe80::1".parse().unwrap()));
        let unknown = Outlook {
            addresses: Vec::new(),
            ..now
        };
        assert!(unknown.has(other));
        assert_eq!(source_towards("127.0.0.1:1".parse().unwrap()), Some(own));
    }

    #[test]
    fn quiet_while_nothing_changes() {
        let Ok(changes) = Changes::listen() else {
            not_tried("changes of the network: no netlink here");
            return;
        };
        let quiet = async {
            Timer::after(Duration::from_millis(50)).await;
            true
        };
        let heard = async { changes.next().await.is_err() };
        assert!(smol::block_on(smol::future::or(heard, quiet)));
    }
}
