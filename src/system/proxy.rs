//! HTTP proxies: what names one, what goes past it, and the CONNECT that opens a way through it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smol::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::system::bypass::Bypass;
use crate::system::names::{Endpoint, NameError};
use crate::system::secret::Secret;

/// A proxy that is asked with CONNECT; what goes through it stays encrypted from end to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    pub endpoint: Endpoint,
    pub credentials: Option<Credentials>,
    /// What is dialled without it.
    pub bypass: Bypass,
}

/// `user:password`, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials(Secret<String>);

impl Credentials {
    /// The first line of a file; nothing when it is empty.
    pub fn from_text(text: &str) -> Option<Credentials> {
        let line = text.lines().next().unwrap_or_default().trim();
        (!line.is_empty()).then(|| Credentials(Secret::new(line.to_owned())))
    }

    /// As it is kept in a file.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl Proxy {
    /// The proxy that the environment names for HTTPS, as Go's programs and curl read it. Machines
    /// behind a proxy do not reach their own loopback through it.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Proxy>, ProxyNameError> {
        let value = |names: [&str; 2]| {
            let mut values = names.into_iter().filter_map(&variable);
            values.find(|value| !value.trim().is_empty())
        };
        let Some(url) = value(["HTTPS_PROXY", "https_proxy"]) else {
            return Ok(None);
        };
        let mut proxy: Proxy = url.trim().parse()?;
        let except = value(["NO_PROXY", "no_proxy"]).unwrap_or_default();
        proxy.bypass = Bypass::of(except.split(',').chain(LOOPBACK));
        Ok(Some(proxy))
    }

    /// The URL, without user and password.
    pub fn url(&self) -> String {
        format!("http://{}", self.endpoint)
    }

    /// Asks the proxy at the other end of `stream` for a way to `target`.
    pub async fn open(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        target: &Endpoint,
    ) -> Result<(), ProxyFault> {
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        let request = match &self.credentials {
            Some(Credentials(credentials)) => {
                let encoded = Secret::new(STANDARD.encode(credentials.as_bytes()));
                Secret::<String>::concat(&[&head, AUTHORIZATION, &encoded, "\r\n\r\n"])
            }
            None => Secret::<String>::concat(&[&head, "\r\n"]),
        };
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            // By single bytes, since what follows the head belongs to whoever is behind the proxy.
            let mut byte = [0];
            stream.read_exact(&mut byte).await?;
            head.push(byte[0]);
            if head.len() > MAX_HEAD {
                return Err(ProxyFault::NoProxy);
            }
        }
        self.judge(&head, target)
    }

    fn judge(&self, head: &[u8], target: &Endpoint) -> Result<(), ProxyFault> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut answer = httparse::Response::new(&mut headers);
        if answer.parse(head).is_err() {
            return Err(ProxyFault::NoProxy);
        }
        let said: String = answer.reason.unwrap_or_default().chars().take(80).collect();
        let target = target.clone();
        match answer.code {
            Some(200..=299) => Ok(()),
            // Some say 401 to a wrong password and 407 to none.
            Some(status @ (401 | 407)) => Err(ProxyFault::Credentials {
                given: self.credentials.is_some(),
                status,
            }),
            Some(status @ (500 | 502..=504)) => Err(ProxyFault::NoWay {
                target,
                status,
                said,
            }),
            Some(status) => Err(ProxyFault::Refused {
                target,
                status,
                said,
            }),
            None => Err(ProxyFault::NoProxy),
        }
    }
}

impl FromStr for Proxy {
    type Err = ProxyNameError;

    /// `http://user:password@host:port`; scheme, user, password and port (80) may be missing.
    fn from_str(text: &str) -> Result<Proxy, ProxyNameError> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) => {
                let known: String = scheme.chars().take(16).collect();
                return Err(ProxyNameError::Scheme(known));
            }
            None => text,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, address) = match rest.rsplit_once('@') {
            Some((credentials, address)) => (Some(decode(credentials)?), address),
            None => (None, rest),
        };
        Ok(Proxy {
            endpoint: Endpoint::parse_with_default_port(address, 80)?,
            credentials: credentials.map(|it| Credentials(Secret::new(it))),
            bypass: Bypass::default(),
        })
    }
}

/// `%40` to `@`. What comes out must fit into a header, and a user has no colon.
fn decode(text: &str) -> Result<String, ProxyNameError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let pair = behind.get(..2).filter(|_| *first == b'%');
        let pair = pair.and_then(|pair| std::str::from_utf8(pair).ok());
        if let Some(byte) = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            bytes.push(byte);
            rest = &behind[2..];
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    let decoded = String::from_utf8(bytes).map_err(|_| ProxyNameError::Credentials)?;
    if decoded.is_empty() || decoded.chars().any(char::is_control) {
        return Err(ProxyNameError::Credentials);
    }
    Ok(decoded)
}

const AUTHORIZATION: &str = "Proxy-Authorization: Basic ";

/// What is wrong with the name of a proxy. Never holds a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyNameError {
    Scheme(String),
    Credentials,
    Address(NameError),
}

impl From<NameError> for ProxyNameError {
    fn from(error: NameError) -> ProxyNameError {
        ProxyNameError::Address(error)
    }
}

impl fmt::Display for ProxyNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyNameError::Scheme(scheme) => write!(
                f,
                "a proxy of the kind {scheme:?} is not spoken to: name one as http://HOST:PORT"
            ),
            ProxyNameError::Credentials => f.write_str(
                "user and password of the proxy can't be read: write http://USER:PASSWORD@HOST:PORT, \
                 with %40 for an @",
            ),
            ProxyNameError::Address(error) => write!(f, "the proxy's address: {error}"),
        }
    }
}

impl std::error::Error for ProxyNameError {}

/// Why a proxy opened no way; continues a sentence that begins with the proxy.
#[derive(Debug)]
pub enum ProxyFault {
    Credentials {
        given: bool,
        status: u16,
    },
    Refused {
        target: Endpoint,
        status: u16,
        said: String,
    },
    /// 500 and 502 to 504: the proxy would, and can't.
    NoWay {
        target: Endpoint,
        status: u16,
        said: String,
    },
    /// What answers there is none.
    NoProxy,
    TimedOut,
    Cut(std::io::Error),
}

impl From<std::io::Error> for ProxyFault {
    fn from(error: std::io::Error) -> ProxyFault {
        ProxyFault::Cut(error)
    }
}

impl fmt::Display for ProxyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyFault::Credentials {
                given: true,
                status,
            } => write!(
                f,
                "refuses the user or the password that it was given ({status}): correct them"
            ),
            ProxyFault::Credentials {
                given: false,
                status,
            } => write!(
                f,
                "wants a user and a password ({status}): give them as http://USER:PASSWORD@HOST:PORT"
            ),
            ProxyFault::Refused {
                target,
                status,
                said,
            } => write!(
                f,
                "refuses the way to {target} ({status} {said}): have it allow CONNECT to that address \
                 and port"
            ),
            ProxyFault::NoWay {
                target,
                status,
                said,
            } => write!(
                f,
                "finds no way to {target} ({status} {said}): check the address, and where the proxy \
                 may go"
            ),
            ProxyFault::NoProxy => {
                f.write_str("does not answer as an HTTP proxy does: check its address and port")
            }
            ProxyFault::TimedOut => {
                f.write_str("opens no way in time: check where the proxy may go")
            }
            ProxyFault::Cut(error) => write!(
                f,
                "ends the connection ({error}): check its address, and who may use it"
            ),
        }
    }
}

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.0/8", "::1"];
/// Bytes of an answer's head.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

#[cfg(test)]
mod tests;
