//! How this device gets to others: where connections start, and through which proxy they go.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use smol::Timer;
use smol::future::or;
use smol::net::TcpStream;

use crate::system::names::Endpoint;
use crate::system::network::{self, NetError};
use crate::system::proxy::{Proxy, ProxyFault};
use crate::system::uplink::Uplink;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    pub uplink: Uplink,
    pub proxy: Option<Proxy>,
}

/// A connection, and to whom it really leads.
pub struct Reached {
    pub stream: TcpStream,
    pub peer: Peer,
}

/// Whom a connection leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    Direct(SocketAddr),
    /// What is behind the proxy only the proxy knows.
    Through {
        proxy: Endpoint,
        target: Endpoint,
    },
}

impl Way {
    /// The proxy that is used for this endpoint.
    pub fn proxy_for(&self, endpoint: &Endpoint) -> Option<&Proxy> {
        self.proxy
            .as_ref()
            .filter(|proxy| !proxy.bypass.spares(endpoint))
    }

    /// Connects to an endpoint. Names are looked up each time; `known` serves when that fails.
    ///
    /// Looking up, connecting, and a proxy's answer each have a limit of time of their own.
    pub async fn connect(
        &self,
        endpoint: &Endpoint,
        known: &[SocketAddr],
    ) -> Result<Reached, NetError> {
        let Some(proxy) = self.proxy_for(endpoint) else {
            let stream = self.direct(endpoint, known).await?;
            let peer = Peer::Direct(peer_of(&stream)?);
            return Ok(Reached { stream, peer });
        };
        let at = proxy.endpoint.clone();
        let stream = self.direct(&at, &[]).await;
        let mut stream = stream.map_err(|source| NetError::NoProxy {
            proxy: at.clone(),
            source: Box::new(source),
        })?;
        let opened = or(proxy.open(&mut stream, endpoint), async {
            Timer::after(PROXY).await;
            Err(ProxyFault::TimedOut)
        });
        let opened = opened.await;
        opened.map_err(|fault| NetError::Proxy {
            proxy: at.clone(),
            fault: Box::new(fault),
        })?;
        let peer = Peer::Through {
            proxy: at,
            target: endpoint.clone(),
        };
        Ok(Reached { stream, peer })
    }

    async fn direct(
        &self,
        endpoint: &Endpoint,
        known: &[SocketAddr],
    ) -> Result<TcpStream, NetError> {
        let addresses = self.addresses(endpoint, known).await?;
        network::connect(&addresses, &self.uplink, CONNECT).await
    }

    /// The addresses of an endpoint, without a proxy. Names are looked up each time; `known` serves
    /// when that fails.
    pub async fn addresses(
        &self,
        endpoint: &Endpoint,
        known: &[SocketAddr],
    ) -> Result<Vec<SocketAddr>, NetError> {
        let found = network::resolve(&endpoint.host, endpoint.port, LOOKUP).await;
        match found {
            Err(error) if !known.is_empty() => {
                log::info!("{error}; trying the address that last worked");
                let port = endpoint.port;
                let known = known.iter();
                Ok(known.map(|a| SocketAddr::new(a.ip(), port)).collect())
            }
            found => found,
        }
    }
}

fn peer_of(stream: &TcpStream) -> Result<SocketAddr, NetError> {
    stream.peer_addr().map_err(NetError::Gone)
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Direct(address) => address.fmt(f),
            Peer::Through { proxy, target } => write!(f, "{target} through the proxy {proxy}"),
        }
    }
}

const LOOKUP: Duration = Duration::from_secs(5);
/// For opening a TCP connection to any address of a host.
const CONNECT: Duration = Duration::from_secs(10);
/// A proxy connects to its target before it answers.
const PROXY: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_last_good_address_serves_when_names_fail() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let way = Way::default();
        let nobody: Endpoint = format!("nobody.invalid:{}", open.port()).parse().unwrap();
        let failed = smol::block_on(way.connect(&nobody, &[])).map(|reached| reached.peer);
        assert!(failed.unwrap_err().is_lookup());
        // Of what is known only the address counts.
        let known = [SocketAddr::new(open.ip(), 1)];
        let reached = smol::block_on(way.connect(&nobody, &known)).unwrap();
        assert_eq!(reached.peer, Peer::Direct(open));
        // A name that is found counts more than what was remembered.
        let unused = ["192.0.2.7:1".parse().unwrap()];
        let own = open.to_string().parse().unwrap();
        let reached = smol::block_on(way.connect(&own, &unused)).unwrap();
        assert_eq!(reached.peer.to_string(), open.to_string());
    }

    #[test]
    fn a_proxy_that_is_down_is_named() {
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let way = Way {
            proxy: Some(format!("http://{closed}").parse().unwrap()),
            ..Way::default()
        };
        let target = "cloud.example:10000".parse().unwrap();
        let failed = smol::block_on(way.connect(&target, &[])).map(|reached| reached.peer);
        let sentence = failed.unwrap_err().to_string();
        let expected = format!("no way to the proxy at {closed}: cannot connect to {closed}");
        assert!(sentence.starts_with(&expected), "{sentence}");
    }
}
