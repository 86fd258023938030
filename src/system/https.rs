//! How ureq speaks HTTPS here: on a given connection, with given TLS settings, until a given moment.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

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

/// One connection, wrapped in TLS with the house's own settings, and so with the house's own clock.
pub struct Pinned {
    tls: Arc<ClientConfig>,
    name: ServerName<'static>,
    socket: Mutex<Option<Timed>>,
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
        Pinned {
            tls,
            name,
            socket: Mutex::new(Some(Timed {
                socket,
                until,
                witness,
            })),
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
    type Out = TlsTransport;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _chained: Option<()>,
    ) -> Result<Option<TlsTransport>, Error> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sock = socket.take().ok_or(Error::ConnectionFailed)?;
        let mut conn = ClientConnection::new(self.tls.clone(), self.name.clone())
            .map_err(|e| Error::Io(io::Error::other(e)))?;
        if let Err(error) = conn.complete_io(&mut sock) {
            return Err(Error::Io(sock.witness.judge(error)));
        }
        let _ = self.handshaken.set(());
        let buffers = LazyBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        Ok(Some(TlsTransport {
            buffers,
            stream: StreamOwned { conn, sock },
        }))
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pinned")
    }
}

/// A socket on which nothing takes longer than until a given moment, however little comes at a time.
struct Timed {
    socket: TcpStream,
    until: Instant,
    witness: Box<dyn Witness>,
}

impl Timed {
    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(left),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.socket.set_read_timeout(Some(self.left()?))?;
            match self.socket.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(count) => {
                    self.witness.note(&buffer[..count]);
                    return Ok(count);
                }
                Err(error) => return Err(timed_out(error)),
            }
        }
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// A socket's own limit of time shows as "would block".
pub fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

pub struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, Timed>,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _timeout: NextTimeout) -> Result<(), Error> {
        let output = &mut self.buffers.output()[..amount];
        let sent = self.stream.write_all(output);
        // The head of the request holds the token.
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
        true
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}
