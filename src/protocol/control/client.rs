//! The client's end of a local socket, for keadm and for cloudcore's own commands.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::{MAX_BODY, MAX_LINE, Request};

/// Why a local socket gave no answer.
#[derive(Debug)]
pub enum ControlError {
    /// Nothing listens there: the daemon does not run.
    NotRunning,
    Denied(io::Error),
    Io(io::Error),
    Unreadable(serde_json::Error),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControlError::NotRunning => f.write_str("the daemon does not run: start it first"),
            ControlError::Denied(_) => {
                f.write_str("the daemon's socket refuses this user: run it as root")
            }
            ControlError::Io(e) => write!(f, "the daemon did not answer on its socket: {e}"),
            ControlError::Unreadable(_) => {
                f.write_str("the daemon's answer can't be read: is its version very different?")
            }
        }
    }
}

impl std::error::Error for ControlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ControlError::NotRunning => None,
            ControlError::Denied(e) | ControlError::Io(e) => Some(e),
            ControlError::Unreadable(e) => Some(e),
        }
    }
}

/// A blocking connection to a daemon's socket, for keadm.
#[derive(Debug)]
pub struct Client {
    lines: BufReader<UnixStream>,
}

impl Client {
    /// Connects and sends the request; every later wait lasts at most `patience`.
    pub fn ask(socket: &Path, request: &Request, patience: Duration) -> Result<Self, ControlError> {
        let mut stream = UnixStream::connect(socket).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NotRunning,
            io::ErrorKind::PermissionDenied => ControlError::Denied(e),
            _ => ControlError::Io(e),
        })?;
        stream
            .set_read_timeout(Some(patience))
            .map_err(ControlError::Io)?;
        stream
            .set_write_timeout(Some(patience))
            .map_err(ControlError::Io)?;
        let mut line = serde_json::to_vec(request).map_err(ControlError::Unreadable)?;
        line.push(b'\n');
        stream.write_all(&line).map_err(ControlError::Io)?;
        Ok(Client {
            lines: BufReader::new(stream),
        })
    }

    /// The same with a body behind the line.
    pub fn ask_with(
        socket: &Path,
        request: &Request,
        body: &[u8],
        patience: Duration,
    ) -> Result<Self, ControlError> {
        let request = Request {
            body: Some(body.len() as u64),
            ..request.clone()
        };
        let mut client = Client::ask(socket, &request, patience)?;
        let sent = client.lines.get_mut().write_all(body);
        // When it was not read to its end there is an answer that says why.
        if let Err(error) = sent
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(ControlError::Io(error));
        }
        Ok(client)
    }

    /// The body behind the line that was read last.
    pub fn body(&mut self, length: u64) -> Result<Vec<u8>, ControlError> {
        if length > MAX_BODY {
            return Err(ControlError::Io(io::ErrorKind::FileTooLarge.into()));
        }
        let mut body = vec![0; length as usize];
        self.lines.read_exact(&mut body).map_err(ControlError::Io)?;
        Ok(body)
    }

    /// The next line; `None` when the daemon closed, or when nothing came within the patience.
    pub fn line<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ControlError> {
        let mut line = String::new();
        match self.lines.by_ref().take(MAX_LINE).read_line(&mut line) {
            Ok(0) => Ok(None),
            Ok(_) => serde_json::from_str(&line)
                .map(Some)
                .map_err(ControlError::Unreadable),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                Ok(None)
            }
            Err(e) => Err(ControlError::Io(e)),
        }
    }
}

/// Asks once and reads one answer.
pub fn call<T: DeserializeOwned>(
    socket: &Path,
    request: &Request,
    patience: Duration,
) -> Result<T, ControlError> {
    let silent = || ControlError::Io(io::ErrorKind::TimedOut.into());
    Client::ask(socket, request, patience)?
        .line()?
        .ok_or_else(silent)
}
