//! Addresses of this machine, and TCP connections to others.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use smol::Timer;
use smol::net::TcpStream;

use crate::system::blocking::{self, Blocked, Kind};
use crate::system::cause;
use crate::system::names::{Endpoint, Host};
use crate::system::proxy::ProxyFault;
use crate::system::uplink::Uplink;

/// The addresses of all interfaces that are up, loopback included, in order.
///
/// Left out are link-local IPv6 addresses, which nobody can dial without a zone. Empty when the
/// system does not tell.
pub fn local_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    let up = nix::net::if_::InterfaceFlags::IFF_UP;
    let mut addresses: Vec<IpAddr> = interfaces
        .filter(|interface| interface.flags.contains(up))
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .filter(|address| !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// An address under which other machines may reach this one; loopback's when there is no better.
pub fn outward_address() -> IpAddr {
    let local = local_addresses();
    let outward = local.into_iter().find(|address| !address.is_loopback());
    outward.unwrap_or(IpAddr::from([127, 0, 0, 1]))
}

/// The addresses of a host, in the order in which the system prefers them. Addresses never go
/// to DNS.
pub async fn resolve(
    host: &Host,
    port: u16,
    deadline: Duration,
) -> Result<Vec<SocketAddr>, NetError> {
    let name = match host {
        Host::Ip(address) => return Ok(vec![SocketAddr::new(*address, port)]),
        Host::Name(name) => name.clone(),
    };
    let asked = name.clone();
    let found = blocking::run(Kind::Dns, deadline, move || {
        let found = (asked.as_str(), port).to_socket_addrs()?;
        Ok(found.take(MAX_ADDRESSES).collect::<Vec<_>>())
    });
    match found.await {
        Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        Ok(Ok(_)) => Err(NetError::Lookup {
            name,
            source: io::ErrorKind::NotFound.into(),
        }),
        Ok(Err(source)) => Err(NetError::Lookup { name, source }),
        Err(source) => Err(NetError::LookupBlocked { name, source }),
    }
}

/// Connects to the first of several addresses of one host that answers.
///
/// IPv6 and IPv4 take turns; the next one is tried as soon as one has failed, and at the latest
/// after 250 ms, while the earlier attempts go on.
pub async fn connect(
    addresses: &[SocketAddr],
    from: &Uplink,
    deadline: Duration,
) -> Result<TcpStream, NetError> {
    let late = async {
        Timer::after(deadline).await;
        let first = addresses.first().copied();
        Err(NetError::ConnectTimedOut {
            first,
            after: deadline,
        })
    };
    let mut usable = interleaved(addresses);
    usable.retain(|address| from.may_reach(address));
    if let (true, Some(address)) = (usable.is_empty(), addresses.first()) {
        return Err(NetError::OtherFamily {
            from: from.to_string(),
            address: *address,
        });
    }
    let stream = smol::future::or(race(usable, from), late).await?;
    tune(&stream);
    Ok(stream)
}

/// Makes a connection notice within 30 s that the other side is gone, and sends without delay.
///
/// Best effort: old kernels lack some of it, and pings on top of TCP see to the rest.
pub fn tune(stream: &TcpStream) {
    let fd = stream.as_fd();
    let _ = stream.set_nodelay(true);
    let _ = setsockopt(&fd, sockopt::KeepAlive, &true);
    let _ = setsockopt(&fd, sockopt::TcpKeepIdle, &KEEPALIVE_IDLE);
    let _ = setsockopt(&fd, sockopt::TcpKeepInterval, &KEEPALIVE_INTERVAL);
    let _ = setsockopt(&fd, sockopt::TcpKeepCount, &KEEPALIVE_COUNT);
    let _ = setsockopt(&fd, sockopt::TcpUserTimeout, &USER_TIMEOUT);
}

/// Ends the connection when what was sent is not acknowledged for so long. For connections on which
/// one side speaks now and then: the system's own probes would only cost bytes, more than all else.
pub fn give_up_after(stream: &TcpStream, limit: Duration) {
    let millis = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
    // Without it the connection is given up later.
    let _ = setsockopt(&stream.as_fd(), sockopt::TcpUserTimeout, &millis);
    let _ = setsockopt(&stream.as_fd(), sockopt::KeepAlive, &false);
}

/// No way to the other side. Networks come and go: all of these are worth retrying.
///
/// Who dials a cloudcore says so by `{:#}`.
#[derive(Debug)]
pub enum NetError {
    /// The last address that was tried, and why it failed.
    Connect {
        address: SocketAddr,
        source: io::Error,
    },
    ConnectTimedOut {
        first: Option<SocketAddr>,
        after: Duration,
    },
    Lookup {
        name: String,
        source: io::Error,
    },
    LookupBlocked {
        name: String,
        source: Blocked,
    },
    NoAddress,
    /// The connection ended as soon as it was there.
    Gone(io::Error),
    /// The address or the interface that connections start from can't be used now.
    Uplink {
        from: String,
        source: io::Error,
    },
    /// What connections start from is IPv4, and the other side IPv6, or the other way round.
    OtherFamily {
        from: String,
        address: SocketAddr,
    },
    /// The proxy can't be reached.
    NoProxy {
        proxy: Endpoint,
        source: Box<NetError>,
    },
    /// The proxy opens no way.
    Proxy {
        proxy: Endpoint,
        fault: Box<ProxyFault>,
    },
}

impl NetError {
    /// Whether it was the name that could not be resolved.
    #[cfg(test)]
    pub fn is_lookup(&self) -> bool {
        matches!(
            self,
            NetError::Lookup { .. } | NetError::LookupBlocked { .. }
        )
    }
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetError::Connect { address, source } => {
                let remedy = match source.kind() {
                    io::ErrorKind::ConnectionRefused if f.alternate() => {
                        "check that cloudcore runs there and that the port is right"
                    }
                    io::ErrorKind::ConnectionRefused => {
                        "check that a server runs there and that the port is right"
                    }
                    io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                        "check the network of this device"
                    }
                    _ => "check address, network and firewall",
                };
                write!(
                    f,
                    "cannot connect to {address}: {}: {remedy}",
                    cause::of(source)
                )
            }
            NetError::ConnectTimedOut {
                first: Some(address),
                after,
            } => write!(
                f,
                "cannot connect to {address}: no answer within {} s: check address and firewall",
                after.as_secs_f32()
            ),
            NetError::Lookup { name, .. } => {
                write!(
                    f,
                    "cannot find the address of {name}: check the name and the DNS server"
                )
            }
            NetError::LookupBlocked { name, source } => {
                write!(
                    f,
                    "cannot find the address of {name}: {source}; check the DNS server"
                )
            }
            NetError::NoAddress | NetError::ConnectTimedOut { first: None, .. } => {
                f.write_str("there is no address to connect to: give one")
            }
            NetError::Gone(source) => {
                write!(
                    f,
                    "the connection ended at once: {}: try again",
                    cause::of(source)
                )
            }
            NetError::Uplink { from, source } => write!(
                f,
                "cannot connect from {from}: {}: check that it is up, or change bindAddress and \
                 bindInterface",
                cause::of(source)
            ),
            NetError::OtherFamily { from, address } => write!(
                f,
                "there is no way from {from} to {address}: one is IPv4 and the other IPv6; use two of \
                 a kind"
            ),
            NetError::NoProxy { proxy, source } => {
                write!(f, "no way to the proxy at {proxy}: {source}")
            }
            NetError::Proxy { proxy, fault } => write!(f, "the proxy at {proxy} {fault}"),
        }
    }
}

impl std::error::Error for NetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            NetError::Connect { source, .. } | NetError::Lookup { source, .. } => Some(source),
            NetError::LookupBlocked { source, .. } => Some(source),
            NetError::Gone(source) | NetError::Uplink { source, .. } => Some(source),
            NetError::NoProxy { source, .. } => Some(source),
            NetError::Proxy { fault, .. } => match &**fault {
                ProxyFault::Cut(source) => Some(source),
                _ => None,
            },
            NetError::ConnectTimedOut { .. }
            | NetError::NoAddress
            | NetError::OtherFamily { .. } => None,
        }
    }
}

type Attempt<'a> = Pin<Box<dyn Future<Output = Result<TcpStream, NetError>> + Send + 'a>>;

async fn race(addresses: Vec<SocketAddr>, from: &Uplink) -> Result<TcpStream, NetError> {
    let mut waiting = addresses.into_iter().peekable();
    let mut attempts: Vec<Attempt<'_>> = Vec::new();
    let mut last = NetError::NoAddress;
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(Box::pin(from.connect(address)));
        }
        if attempts.is_empty() {
            return Err(last);
        }
        let stagger = async {
            match waiting.peek() {
                Some(_) => drop(Timer::after(STAGGER).await),
                None => smol::future::pending().await,
            }
            None
        };
        match smol::future::or(async { Some(first_done(&mut attempts).await) }, stagger).await {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => last = error,
            None => {}
        }
    }
}

/// The result of whichever is done first, which is taken off the list.
async fn first_done(attempts: &mut Vec<Attempt<'_>>) -> Result<TcpStream, NetError> {
    poll_fn(|context| {
        for index in 0..attempts.len() {
            if let Poll::Ready(result) = attempts[index].as_mut().poll(context) {
                drop(attempts.remove(index));
                return Poll::Ready(result);
            }
        }
        Poll::Pending
    })
    .await
}

/// The families by turns, beginning with that of the first address.
fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let mut first = addresses
        .iter()
        .filter(|address| address.is_ipv6() == is_v6);
    let mut second = addresses
        .iter()
        .filter(|address| address.is_ipv6() != is_v6);
    let mut all = Vec::with_capacity(addresses.len());
    while all.len() < addresses.len() {
        all.extend(first.next());
        all.extend(second.next());
    }
    all
}

/// More than any sane name has.
const MAX_ADDRESSES: usize = 16;
/// RFC 8305, section 5.
const STAGGER: Duration = Duration::from_millis(250);
/// Seconds.
const KEEPALIVE_IDLE: u32 = 15;
const KEEPALIVE_INTERVAL: u32 = 5;
const KEEPALIVE_COUNT: u32 = 3;
/// Milliseconds until unacknowledged data ends the connection.
const USER_TIMEOUT: u32 = 30_000;

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::getsockopt;
    use std::net::TcpListener;

    const LONG: Duration = Duration::from_secs(30);

    fn parse(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect()
    }

    #[test]
    fn loopback_is_a_local_address() {
        assert!(local_addresses().contains(&"127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn addresses_are_not_looked_up() {
        let host: Host = "2001:db8::1".parse().unwrap();
        let found = smol::block_on(resolve(&host, 7, Duration::ZERO)).unwrap();
        assert_eq!(found, parse(&["[2001:db8::1]:7"]));
    }

    #[test]
    fn names_are() {
        let host: Host = "localhost".parse().unwrap();
        let found = smol::block_on(resolve(&host, 7, LONG)).unwrap();
        assert!(
            found
                .iter()
                .all(|address| address.ip().is_loopback() && address.port() == 7)
        );
        let host: Host = "does-not-exist.invalid".parse().unwrap();
        let error = smol::block_on(resolve(&host, 7, LONG)).unwrap_err();
        assert!(error.is_lookup());
        assert!(
            error.to_string().contains("does-not-exist.invalid"),
            "{error}"
        );
    }

    #[test]
    fn families_take_turns() {
        let all = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]);
        let order = parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(interleaved(&all), order);
        assert_eq!(interleaved(&[]), []);
    }

    #[test]
    fn the_one_that_answers_wins() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        smol::block_on(async {
            let any = &Uplink::default();
            let stream = connect(&[closed, open], any, LONG).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), open);
            assert!(stream.nodelay().unwrap());
            let timeout = getsockopt(&stream.as_fd(), sockopt::TcpUserTimeout).unwrap();
            assert_eq!(timeout, USER_TIMEOUT);

            let error = connect(&[closed], any, LONG).await.unwrap_err().to_string();
            assert!(
                error.contains("connection refused: check that a server"),
                "{error}"
            );
            let error = connect(&[closed], any, LONG).await.unwrap_err();
            let sentence = format!("{error:#}");
            assert!(sentence.contains("that cloudcore runs there"), "{sentence}");
            assert!(matches!(
                connect(&[], any, LONG).await,
                Err(NetError::NoAddress)
            ));
            let error = connect(&[open], any, Duration::ZERO).await.map(drop);
            assert!(matches!(
                error,
                Ok(()) | Err(NetError::ConnectTimedOut { .. })
            ));
        });
    }
}
