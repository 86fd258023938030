//! One question to the API of the edgecore on this device.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::protocol::local::file::{self, Access};
use crate::protocol::local::{ADDRESS, KUBECONFIG};
use crate::system::cause;
use crate::system::exit;
use crate::system::files::FileError;
use crate::system::host::Host;

/// Where to ask, and with which token, if this user may read it.
pub struct Client {
    address: SocketAddr,
    token: Option<String>,
}

/// Why there is no answer to show.
#[derive(Debug)]
pub enum Fault {
    Kind {
        given: String,
        known: Vec<&'static str>,
    },
    NameOfAll,
    File(FileError),
    NoApi(io::Error),
    /// What the API says, with its status.
    Refused(u16, String),
    Answer,
}

impl Client {
    pub fn of(host: &Host) -> Result<Client, Fault> {
        let path = host.root.at(KUBECONFIG);
        let text = match host.files.read_opt(&path, MAX_FILE) {
            // Whoever may not read it is shown all but Secrets.
            Err(error) if error.is_denied() => None,
            text => text.map_err(Fault::File)?,
        };
        let access = text.and_then(|text| file::read(&String::from_utf8_lossy(&text)));
        let (address, token) = match access {
            Some(Access { address, token }) => (address, Some(token)),
            None => (ADDRESS.to_owned(), None),
        };
        let address = address.parse().map_err(|_| Fault::Answer)?;
        Ok(Client { address, token })
    }

    pub fn get(&self, path: &str) -> Result<Value, Fault> {
        self.send("GET", path, "")
    }

    /// Has something done; what is said of it.
    pub fn post(&self, path: &str, body: &str) -> Result<String, Fault> {
        let said = self.send("POST", path, body)?;
        Ok(said["message"].as_str().unwrap_or("done").to_owned())
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Result<Value, Fault> {
        let answer = self.ask(method, path, body).map_err(Fault::NoApi)?;
        let (code, body) = answer.ok_or(Fault::Answer)?;
        let value: Value = serde_json::from_slice(&body).map_err(|_| Fault::Answer)?;
        match code {
            200 => Ok(value),
            _ => {
                let message = value["message"].as_str().unwrap_or("it does not say why");
                Err(Fault::Refused(code, message.to_owned()))
            }
        }
    }

    /// Status and body. HTTP/1.0: the body ends with the connection.
    fn ask(&self, method: &str, path: &str, body: &str) -> io::Result<Option<(u16, Vec<u8>)>> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let token = self.token.as_ref();
        let token = token.map_or_else(String::new, |it| format!("Authorization: Bearer {it}\r\n"));
        let address = self.address;
        let length = match body.len() {
            0 => String::new(),
            length => format!("Content-Type: text/plain\r\nContent-Length: {length}\r\n"),
        };
        let request =
            format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n{token}{length}\r\n{body}");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
        Ok(parted(answer))
    }
}

fn parted(mut answer: Vec<u8>) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let body = answer.split_off(end + 4);
    let head = String::from_utf8(answer).ok()?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, body))
}

impl Fault {
    pub fn code(&self) -> u8 {
        match self {
            Fault::Kind { .. } | Fault::NameOfAll => exit::USAGE,
            Fault::NoApi(_) => exit::UNAVAILABLE,
            Fault::File(error) if error.is_denied() => exit::DENIED,
            Fault::Refused(401 | 403, _) => exit::DENIED,
            Fault::Refused(503, _) => exit::TRY_AGAIN,
            _ => exit::FAILURE,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Kind { given, known } => {
                write!(
                    f,
                    "nothing is called {given:?}: there are {}",
                    known.join(", ")
                )
            }
            Fault::NameOfAll => {
                f.write_str("one object lives in one namespace: say which with --namespace")
            }
            Fault::File(error) => error.fmt(f),
            Fault::NoApi(error) => write!(
                f,
                "edgecore can't be asked: {}: see that it runs, and that modules.metaManager.metaServer.enable \
                 is true in edgecore.yaml",
                cause::of(error)
            ),
            Fault::Refused(_, message) => f.write_str(message),
            Fault::Answer => {
                f.write_str("the answer is not one of edgecore's: see what listens on its port")
            }
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Fault::File(error) => Some(error),
            Fault::NoApi(error) => Some(error),
            _ => None,
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes.
const MAX_FILE: usize = 64 * 1024;
const MAX_ANSWER: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_parted() {
        let answer = b"HTTP/1.0 404 Not Found\r\na: b\r\n\r\n{}\r\n\r\n".to_vec();
        assert_eq!(parted(answer), Some((404, b"{}\r\n\r\n".to_vec())));
        for broken in ["", "HTTP/1.0 200", "\r\n\r\n", "HTTP/1.0 x\r\n\r\n"] {
            assert_eq!(parted(broken.as_bytes().to_vec()), None, "{broken}");
        }
    }
}
