//! One connection for one request, in TLS or plain: how ureq gets to a registry, and how long it may take.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::system::https::timed_out;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use zeroize::Zeroize;

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// All of it.
    Within(Duration),
    /// However long it is, as long as a little comes in every such time. What drips more slowly is
    /// ended, so that nobody holds us for ever.
    Steady(Duration),
}

/// A connection that was made, to speak on once.
pub struct Line {
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    socket: Mutex<Option<Paced>>,
}

impl Line {
    pub fn new(
        tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
        socket: TcpStream,
        pace: Pace,
    ) -> Line {
        let (Pace::Within(limit) | Pace::Steady(limit)) = pace;
        Line {
            tls,
            socket: Mutex::new(Some(Paced {
                socket,
                until: Instant::now() + limit,
                pace,
                earned: 0,
            })),
        }
    }
}

impl Connector<()> for Line {
    type Out = LineTransport;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _chained: Option<()>,
    ) -> Result<Option<LineTransport>, Error> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let mut socket = socket.take().ok_or(Error::ConnectionFailed)?;
        let stream = match &self.tls {
            None => Stream::Plain(socket),
            Some((config, name)) => {
                let mut conn = ClientConnection::new(config.clone(), name.clone())
                    .map_err(|error| Error::Io(io::Error::other(error)))?;
                conn.complete_io(&mut socket)?;
                Stream::Tls(Box::new(StreamOwned { conn, sock: socket }))
            }
        };
        let buffers = LazyBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        Ok(Some(LineTransport { buffers, stream }))
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

/// A socket on which nothing takes longer than its pace allows.
struct Paced {
    socket: TcpStream,
    until: Instant,
    pace: Pace,
    /// Bytes that came since the limit was last moved.
    earned: usize,
}

impl Paced {
    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(left),
        }
    }

    fn earn(&mut self, count: usize) {
        self.earned += count;
        if let Pace::Steady(limit) = self.pace
            && self.earned >= STEADY
        {
            self.earned = 0;
            self.until = Instant::now() + limit;
        }
    }
}

impl Read for Paced {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.socket.set_read_timeout(Some(self.left()?))?;
            match self.socket.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(count) => {
                    self.earn(count);
                    return Ok(count);
                }
                Err(error) => return Err(timed_out(error)),
            }
        }
    }
}

impl Write for Paced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

enum Stream {
    Plain(Paced),
    Tls(Box<StreamOwned<ClientConnection, Paced>>),
}

pub struct LineTransport {
    buffers: LazyBuffers,
    stream: Stream,
}

impl Transport for LineTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _timeout: NextTimeout) -> Result<(), Error> {
        let output = &mut self.buffers.output()[..amount];
        let sent = match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(output),
            Stream::Tls(stream) => stream.write_all(output),
        };
        // The head of the request may hold a password.
        output.zeroize();
        Ok(sent?)
    }

    fn await_input(&mut self, _timeout: NextTimeout) -> Result<bool, Error> {
        let input = self.buffers.input_append_buf();
        let amount = match &mut self.stream {
            Stream::Plain(stream) => stream.read(input)?,
            Stream::Tls(stream) => stream.read(input)?,
        };
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        // Each connection serves one request.
        false
    }

    fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }
}

impl fmt::Debug for LineTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LineTransport")
    }
}

/// Bytes that have to come within one time of `Pace::Steady`: 16 KiB in half a minute is what the
/// slowest modems carry.
const STEADY: usize = 16 * 1024;
