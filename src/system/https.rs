//! How ureq speaks HTTP here: on a given connection, with given TLS settings or none, at a given pace.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::Error;
use ureq::config::Config;
use ureq::http::header::InvalidHeaderValue;
use ureq::http::{HeaderValue, Uri};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use zeroize::Zeroize;

use crate::system::paced::{Pace, Paced};
use crate::system::secret::Secret;

/// Names are never looked up here: the connection is there already.
#[derive(Debug)]
pub struct Nowhere;

impl Resolver for Nowhere {
    fn resolve(
        &self,
        _uri: &Uri,
        _config: &Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let mut found = self.empty();
        // ureq wants one; nobody connects to it.
        found.push(([0, 0, 0, 0], 0).into());
        Ok(found)
    }
}

/// The value of a header, wiped when the last who shares it has gone: it may be a token.
pub struct Wiped<'a>(pub &'a str);

impl TryFrom<Wiped<'_>> for HeaderValue {
    type Error = InvalidHeaderValue;

    fn try_from(Wiped(value): Wiped<'_>) -> Result<HeaderValue, InvalidHeaderValue> {
        let owner = Secret::new(value.as_bytes().to_vec());
        HeaderValue::from_maybe_shared(Bytes::from_owner(owner))
    }
}

/// Sees the first bytes that come from the other side, and says what they tell when there is no TLS.
pub trait Witness: Send + Sync {
    /// What was read next, still encrypted.
    fn note(&mut self, _bytes: &[u8]) {}

    /// The error of a handshake that failed, as the caller wants to find it.
    fn judge(&self, error: io::Error) -> io::Error {
        error
    }
}

/// Sees nothing.
impl Witness for () {}

/// TLS with the house's own settings, and so with the house's own clock; and whom to meet.
pub type Tls = (Arc<ClientConfig>, ServerName<'static>);

/// One connection that was made, to speak on once: in TLS, or plain where there is none.
pub struct Pinned {
    tls: Option<Tls>,
    socket: Mutex<Option<Watched>>,
    handshaken: Arc<OnceLock<()>>,
}

impl Pinned {
    pub fn new(
        tls: Arc<ClientConfig>,
        name: ServerName<'static>,
        witness: Box<dyn Witness>,
        socket: TcpStream,
        until: Instant,
    ) -> Pinned {
        let pace = Pace::Within(until.saturating_duration_since(Instant::now()));
        Pinned::paced(Some((tls, name)), witness, Paced::new(socket, pace))
    }

    pub fn paced(tls: Option<Tls>, witness: Box<dyn Witness>, socket: Paced) -> Pinned {
        Pinned {
            tls,
            socket: Mutex::new(Some(Watched { socket, witness })),
            handshaken: Arc::default(),
        }
    }

    /// Is set once the handshake is over: before, nothing of a request is sent.
    pub fn handshaken(&self) -> Arc<OnceLock<()>> {
        self.handshaken.clone()
    }
}

/// The same socket, to block on. Nobody else may hold it.
pub fn blocking(stream: smol::net::TcpStream) -> io::Result<TcpStream> {
    let shared = Arc::<smol::Async<TcpStream>>::from(stream);
    let alone = Arc::try_unwrap(shared).map_err(|_| io::ErrorKind::Other)?;
    let socket = alone.into_inner()?;
    socket.set_nonblocking(false)?;
    Ok(socket)
}

impl Connector<()> for Pinned {
    type Out = PinnedTransport;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _chained: Option<()>,
    ) -> Result<Option<PinnedTransport>, Error> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sock = socket.take().ok_or(Error::ConnectionFailed)?;
        let stream: Box<dyn Duplex> = match &self.tls {
            None => Box::new(sock),
            Some((config, name)) => {
                let mut conn = ClientConnection::new(config.clone(), name.clone())
                    .map_err(|e| Error::Io(io::Error::other(e)))?;
                if let Err(error) = conn.complete_io(&mut sock) {
                    return Err(Error::Io(sock.witness.judge(error)));
                }
                Box::new(StreamOwned { conn, sock })
            }
        };
        let _ = self.handshaken.set(());
        let buffers = LazyBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        Ok(Some(PinnedTransport {
            buffers,
            stream,
            is_tls: self.tls.is_some(),
        }))
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pinned")
    }
}

/// A socket whose first bytes somebody sees.
struct Watched {
    socket: Paced,
    witness: Box<dyn Witness>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.read(buffer)?;
        self.witness.note(&buffer[..count]);
        Ok(count)
    }
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

trait Duplex: Read + Write + Send + Sync {}

impl<S: Read + Write + Send + Sync> Duplex for S {}

pub struct PinnedTransport {
    buffers: LazyBuffers,
    stream: Box<dyn Duplex>,
    is_tls: bool,
}

impl Transport for PinnedTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _timeout: NextTimeout) -> Result<(), Error> {
        let output = &mut self.buffers.output()[..amount];
        let sent = self.stream.write_all(output);
        // The head of the request may hold a token or a password.
        output.zeroize();
        Ok(sent?)
    }

    fn await_input(&mut self, _timeout: NextTimeout) -> Result<bool, Error> {
        let input = self.buffers.input_append_buf();
        let amount = self.stream.read(input)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        // Each connection serves one request.
        false
    }

    fn is_tls(&self) -> bool {
        self.is_tls
    }
}

impl fmt::Debug for PinnedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PinnedTransport")
    }
}
