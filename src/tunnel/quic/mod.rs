//! The tunnel over QUIC: RFC 9000 with certificates on both sides, and one stream that carries what a
//! TLS connection carries otherwise (docs/protocol.md, "The tunnel over QUIC").

mod runtime;
mod stream;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, ConnectionError, Endpoint, EndpointConfig, IdleTimeout, Runtime,
    TransportConfig,
};
use rustls::{ClientConfig, ServerConfig};

use self::runtime::OurRuntime;
use self::stream::Stream;
use super::{AnyCarrier, TunnelError};
use crate::system::names::Host;

/// Whether this build has it.
pub const OFFERED: bool = true;

/// What runs beside a connection.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where such a task is run.
pub type Spawn = Arc<dyn Fn(Task) + Send + Sync>;

/// A connection to the hub at one address, with the edge's identity. The one who waits sets the limit
/// of time; a hub from which nothing comes for `idle` is gone.
pub async fn dial(
    socket: UdpSocket,
    (to, host): (SocketAddr, &Host),
    config: &ClientConfig,
    idle: Duration,
    spawn: Spawn,
) -> Result<AnyCarrier, TunnelError> {
    let mut config = config.clone();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_early_data = false;
    let crypto = QuicClientConfig::try_from(config).map_err(no_cipher)?;
    let mut client = quinn::ClientConfig::new(Arc::new(crypto));
    let mut transport = transport(EDGE_WINDOW, 0, idle);
    // A sign of life stands alone: an acknowledgement that is held back for company only brings a probe.
    let mut acknowledge = AckFrequencyConfig::default();
    acknowledge.ack_eliciting_threshold(0_u32.into());
    transport.ack_frequency_config(Some(acknowledge));
    client.transport_config(Arc::new(transport));
    let endpoint = endpoint(None, socket, &spawn).map_err(TunnelError::Lost)?;
    let connection = endpoint
        .connect_with(client, to, &host.to_string())
        .map_err(|error| TunnelError::Protocol(error.to_string()))?
        .await
        .map_err(|error| fault(error).into_tunnel())?;
    let halves = connection.open_bi().await;
    let halves = halves.map_err(|error| fault(error).into_tunnel())?;
    Ok(Box::new(Stream::new(
        connection,
        halves,
        spawn,
        Duration::ZERO,
    )))
}

/// The cloud's side.
pub struct Hub {
    endpoint: Endpoint,
    spawn: Spawn,
}

impl Hub {
    /// Accepts on this socket; the certificates on either side are the configuration's matter.
    pub fn new(socket: UdpSocket, config: &ServerConfig, spawn: Spawn) -> io::Result<Hub> {
        let mut config = config.clone();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.max_early_data_size = 0;
        let crypto = QuicServerConfig::try_from(config).map_err(io::Error::other)?;
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        server
            .transport_config(Arc::new(transport(CLOUD_WINDOW, 1, LONGEST_IDLE)))
            .max_incoming(MAX_INCOMING)
            .incoming_buffer_size(FIRST_FLIGHT)
            .incoming_buffer_size_total(FIRST_FLIGHTS);
        let endpoint = endpoint(Some(server), socket, &spawn)?;
        Ok(Hub { endpoint, spawn })
    }

    /// The next one that wants a tunnel; none when the socket has failed.
    pub async fn next(&self) -> Option<Caller> {
        let incoming = self.endpoint.accept().await?;
        Some(Caller {
            incoming,
            spawn: self.spawn.clone(),
        })
    }

    /// Takes nobody any more; returns when the last connection is gone.
    pub async fn finish(&self) {
        self.endpoint.set_server_config(None);
        self.endpoint.wait_idle().await;
    }
}

/// Somebody of whom there is one datagram yet.
pub struct Caller {
    incoming: quinn::Incoming,
    spawn: Spawn,
}

impl Caller {
    pub fn address(&self) -> SocketAddr {
        canonical(self.incoming.remote_address())
    }

    /// Whether what is sent to this address is known to arrive at who calls.
    pub fn is_validated(&self) -> bool {
        self.incoming.remote_address_validated()
    }

    /// Lets the caller prove its address first. Nothing of it is kept.
    pub fn validate(self) {
        if let Err(error) = self.incoming.retry() {
            error.into_incoming().ignore();
        }
    }

    /// There is no place for it.
    pub fn refuse(self) {
        self.incoming.refuse();
    }

    /// The handshake, and the stream that the edge opens after it.
    pub async fn accept(self) -> Result<AnyCarrier, TunnelError> {
        let Caller { incoming, spawn } = self;
        let connection = incoming.await.map_err(|error| fault(error).into_tunnel())?;
        let halves = connection.accept_bi().await;
        let halves = halves.map_err(|error| fault(error).into_tunnel())?;
        Ok(Box::new(Stream::new(connection, halves, spawn, COURTESY)))
    }
}

fn endpoint(
    server: Option<quinn::ServerConfig>,
    socket: UdpSocket,
    spawn: &Spawn,
) -> io::Result<Endpoint> {
    let runtime = Arc::new(OurRuntime(spawn.clone()));
    let socket = runtime.wrap_udp_socket(socket)?;
    Endpoint::new_with_abstract_socket(EndpointConfig::default(), server, socket, runtime)
}

/// One stream at most, no datagrams, windows of a stated size, and no probing for larger packets,
/// which would cost a metered line more than it gives.
fn transport(window: u32, streams: u32, idle: Duration) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(streams.into())
        .max_concurrent_uni_streams(0_u32.into())
        .stream_receive_window(window.into())
        .receive_window(window.into())
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(None)
        .enable_segmentation_offload(false)
        .max_idle_timeout(IdleTimeout::try_from(idle).ok());
    config
}

fn no_cipher(error: impl std::fmt::Display) -> TunnelError {
    TunnelError::Tls(error.to_string())
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Why a connection is no more.
enum Fault {
    /// TLS was refused by either side.
    Tls(String),
    Lost(io::Error),
    Protocol(String),
}

fn fault(error: ConnectionError) -> Fault {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, TimedOut};
    match error {
        ConnectionError::TransportError(error) if is_tls(error.code.into()) => {
            Fault::Tls(error.reason)
        }
        ConnectionError::ConnectionClosed(close) if is_tls(close.error_code.into()) => {
            Fault::Tls(format!("the other side says: {close}"))
        }
        ConnectionError::ConnectionClosed(close) if u64::from(close.error_code) == REFUSED => {
            Fault::Lost(ConnectionRefused.into())
        }
        ConnectionError::ApplicationClosed(_) | ConnectionError::Reset => {
            Fault::Lost(ConnectionReset.into())
        }
        ConnectionError::TimedOut => Fault::Lost(TimedOut.into()),
        ConnectionError::LocallyClosed => Fault::Lost(ConnectionAborted.into()),
        other => Fault::Protocol(other.to_string()),
    }
}

impl Fault {
    fn into_tunnel(self) -> TunnelError {
        match self {
            Fault::Tls(cause) => TunnelError::Tls(cause),
            Fault::Lost(error) => TunnelError::Lost(error),
            Fault::Protocol(what) => TunnelError::Protocol(what),
        }
    }

    fn into_io(self) -> io::Error {
        match self {
            Fault::Lost(error) => error,
            Fault::Tls(cause) | Fault::Protocol(cause) => io::Error::other(cause),
        }
    }
}

/// TLS alerts are told as codes of their own (RFC 9001, section 4.8).
fn is_tls(code: u64) -> bool {
    (0x100..0x200).contains(&code)
}

/// CONNECTION_REFUSED (RFC 9000, section 20.1).
const REFUSED: u64 = 2;

/// Of version 1 of what runs on the stream.
const ALPN: &[u8] = b"kubeedge/1";

/// Bytes that the other side may send before they are read, and so bytes of memory for each tunnel.
const EDGE_WINDOW: u32 = 64 * 1024;
const CLOUD_WINDOW: u32 = 128 * 1024;
/// Bytes that may wait for their acknowledgement.
const SEND_WINDOW: u64 = 128 * 1024;

/// Callers that wait to be taken; after an outage all edges come at once. And the bytes that are kept
/// behind the first datagram of each, and of all.
const MAX_INCOMING: usize = 1024;
const FIRST_FLIGHT: u64 = 8 * 1024;
const FIRST_FLIGHTS: u64 = 1024 * 1024;

/// The edge says which is the limit, by what it offers for the session; this is the highest.
const LONGEST_IDLE: Duration = Duration::from_secs(1200);

/// For the edge to end the connection when it has read what was written last.
const COURTESY: Duration = Duration::from_secs(1);
