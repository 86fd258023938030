//! The certificate API as an edge uses it: blocking HTTPS, bounded in size and time.
//!
//! Call it through `system::blocking`. Every request has a connection of its own, made on the way that
//! the caller gives, and follows no redirect.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use ureq::http::{HeaderValue, Response, StatusCode};
use ureq::unversioned::transport::Connector;
use ureq::{Agent, Body};

pub use self::error::EnrollError;
pub use self::time::{date, take_word};
use crate::pki::PkiError;
use crate::pki::certificate::Certificate;
use crate::pki::key::PrivateKey;
use crate::pki::tls;
use crate::protocol::portal::{Beginning, Portal};
use crate::protocol::token::JoinToken;
use crate::protocol::trust::TRUST_HEADER;
use crate::system::cause;
use crate::system::clock::{Clock, Timestamp};
use crate::system::https::{self, Nowhere, Pinned, Wiped, Witness};
use crate::system::names::{Endpoint, NodeName};
use crate::system::secret::Secret;
use crate::system::way::{Reached, Way};

mod error;
mod questions;
#[cfg(feature = "upgrade")]
mod reports;
mod time;

/// Paths and headers of the certificate API (docs/protocol.md, "Certificate API").
pub const CA_PATH: &str = "/ca.crt";
pub const CERTIFICATE_PATH: &str = "/edge.crt";
pub const NODE_PATH: &str = "/node/";
pub const NODE_NAME_HEADER: &str = "NodeName";
pub const USAGES_HEADER: &str = "ExtKeyUsages";

/// One cloud's certificate API.
#[derive(Clone, Debug)]
pub struct CertificateApi {
    /// What the edge dials, and what the server's certificate must be valid for.
    pub endpoint: Endpoint,
    pub way: Way,
    /// Where it was before, for when its name can't be looked up.
    pub known: Vec<SocketAddr>,
    /// For each request, once there is a connection.
    pub deadline: Duration,
    pub clock: Clock,
}

/// What `/node/{name}` says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeCheck {
    Free,
    Taken,
    /// The cloud has no such route (before v1.20), so nothing is known.
    Unknown,
}

/// An answer, whatever it says.
pub struct Reply {
    pub status: StatusCode,
    pub date: Option<Timestamp>,
    pub retry_after: Option<Duration>,
    pub body: Vec<u8>,
}

/// The wait that a `Retry-After` header asks for, in seconds and within reason; dates are not read.
pub fn retry_after(value: &[u8]) -> Option<Duration> {
    let seconds: u64 = std::str::from_utf8(value).ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

impl CertificateApi {
    /// Fetches the CA certificate and accepts it only when it is the one the token pins.
    pub fn fetch_ca(&self, token: &JoinToken) -> Result<Certificate, EnrollError> {
        let config = tls::client_unverified(&self.clock).map_err(|e| self.no_tls(e))?;
        // During a rotation a cloud of ours has two, and gives the one that the token pins.
        let pinned = token.ca_hash().to_string();
        let headers = [(TRUST_HEADER, pinned.as_str())];
        let answer = self.get(config, CA_PATH, &headers, b"")?;
        // Whoever answers is not known yet, so nothing but the CA itself is taken as its word.
        if answer.status != StatusCode::OK {
            return Err(self.unexpected(&answer));
        }
        let body = answer.body;
        let unusable = |cause: String| EnrollError::Unusable {
            endpoint: self.endpoint.clone(),
            cause,
        };
        if body.is_empty() {
            return Err(unusable("the CA answer is empty".to_owned()));
        }
        // A page of something in between is no other CA.
        let ca = Certificate::from_der(&body).map_err(|e| unusable(fault(e)))?;
        let met = ca.hash();
        if met != *token.ca_hash() {
            return Err(EnrollError::CaMismatch {
                endpoint: self.endpoint.clone(),
                pinned: token.ca_hash().to_string(),
                met: met.to_string(),
            });
        }
        Ok(ca)
    }

    /// Sends a CSR with the token; the answer is a certificate, not yet judged.
    pub fn apply(
        &self,
        trusted: &[Certificate],
        token: &JoinToken,
        node: &NodeName,
        csr: &[u8],
    ) -> Result<Certificate, EnrollError> {
        let bearer = Secret::<String>::concat(&["Bearer ", token.jwt()]);
        let headers = [
            ("Authorization", bearer.as_str()),
            (NODE_NAME_HEADER, node.as_str()),
        ];
        self.certificate(trusted, None, &headers, csr)
    }

    /// Sends a CSR with the present certificate instead of a token.
    pub fn renew(
        &self,
        trusted: &[Certificate],
        identity: (&Certificate, &PrivateKey),
        node: &NodeName,
        csr: &[u8],
    ) -> Result<Certificate, EnrollError> {
        self.certificate(
            trusted,
            Some(identity),
            &[(NODE_NAME_HEADER, node.as_str())],
            csr,
        )
    }

    fn certificate(
        &self,
        trusted: &[Certificate],
        identity: Option<(&Certificate, &PrivateKey)>,
        headers: &[(&str, &str)],
        csr: &[u8],
    ) -> Result<Certificate, EnrollError> {
        let answer = self.ask(trusted, identity, CERTIFICATE_PATH, headers, csr)?;
        let body = self.success(answer)?;
        Certificate::from_der(&body).map_err(|e| EnrollError::Unusable {
            endpoint: self.endpoint.clone(),
            cause: if body.is_empty() {
                "the answer is empty".to_owned()
            } else {
                fault(e)
            },
        })
    }

    fn unusable(&self, error: PkiError) -> EnrollError {
        EnrollError::Unusable {
            endpoint: self.endpoint.clone(),
            cause: error.to_string(),
        }
    }

    fn no_tls(&self, error: PkiError) -> EnrollError {
        EnrollError::Tls {
            endpoint: self.endpoint.clone(),
            cause: error.to_string(),
        }
    }

    fn get(
        &self,
        tls: Arc<ClientConfig>,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Reply, EnrollError> {
        self.exchange(self.connector(tls)?, path, headers, body)
    }

    fn connector(&self, tls: Arc<ClientConfig>) -> Result<Pinned, EnrollError> {
        let name = tls::server_name(&self.endpoint.host).map_err(|e| self.no_tls(e))?;
        let socket = self.connect()?;
        Ok(Pinned::new(
            tls,
            name,
            Box::new(Dialled {
                endpoint: self.endpoint.clone(),
                beginning: Beginning::default(),
            }),
            socket,
            Instant::now() + self.deadline,
        ))
    }

    /// One request and its answer over what `connector` makes: the network, or bytes in memory
    /// where this is tested. Nothing of the answer is believed yet; its body has a bound.
    pub fn exchange(
        &self,
        connector: impl Connector,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Reply, EnrollError> {
        let agent = self.agent(connector);
        let mut request = agent.get(format!("https://{}{path}", self.endpoint));
        for (name, value) in headers {
            request = request.header(*name, Wiped(value));
        }
        let sent = if body.is_empty() {
            request.call()
        } else {
            request.force_send_body().send(body)
        };
        self.read(sent.map_err(|e| self.failed(e))?)
    }

    fn agent(&self, connector: impl Connector) -> Agent {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .https_only(true)
            .max_idle_connections(0)
            .timeout_global(Some(self.deadline))
            .build();
        Agent::with_parts(config, connector, Nowhere)
    }

    fn read(&self, mut response: Response<Body>) -> Result<Reply, EnrollError> {
        let status = response.status();
        let header = |name| response.headers().get(name).map(HeaderValue::as_bytes);
        let (location, kind) = (header("location"), header("content-type"));
        let portal = Portal::in_head(status.as_u16(), location, kind, &self.endpoint);
        if let Some(portal) = portal {
            return Err(self.portal(portal));
        }
        let date = header("date").and_then(date);
        let retry_after = header("retry-after").and_then(retry_after);
        let body = response.body_mut().with_config().limit(MAX_BODY);
        let body = body.read_to_vec().map_err(|e| self.failed(e))?;
        match Portal::in_body(&body, &self.endpoint) {
            Some(portal) if status == StatusCode::OK => Err(self.portal(portal)),
            _ => Ok(Reply {
                status,
                date,
                retry_after,
                body,
            }),
        }
    }

    fn portal(&self, portal: Portal) -> EnrollError {
        EnrollError::Portal {
            endpoint: self.endpoint.clone(),
            portal,
        }
    }

    fn connect(&self) -> Result<TcpStream, EnrollError> {
        let reached = smol::block_on(self.way.connect(&self.endpoint, &self.known));
        let Reached { stream, .. } = reached.map_err(|source| EnrollError::NoWay {
            endpoint: self.endpoint.clone(),
            source,
        })?;
        https::blocking(stream).map_err(|error| self.failed(error.into()))
    }

    fn success(&self, answer: Reply) -> Result<Vec<u8>, EnrollError> {
        if answer.status == StatusCode::OK {
            Ok(answer.body)
        } else {
            Err(self.refused(&answer))
        }
    }

    fn refused(&self, answer: &Reply) -> EnrollError {
        let endpoint = self.endpoint.clone();
        let said = printable(&answer.body);
        match answer.status.as_u16() {
            status @ (400 | 401 | 403) => EnrollError::Denied {
                endpoint,
                status,
                said,
            },
            409 => EnrollError::NameTaken { endpoint, said },
            _ => self.unexpected(answer),
        }
    }

    /// A status that says nothing about the token or the certificate.
    fn unexpected(&self, answer: &Reply) -> EnrollError {
        EnrollError::Status {
            endpoint: self.endpoint.clone(),
            status: answer.status.as_u16(),
            said: printable(&answer.body),
            retry_after: answer.retry_after,
        }
    }

    fn failed(&self, error: ureq::Error) -> EnrollError {
        let endpoint = self.endpoint.clone();
        if let ureq::Error::Io(io) = &error {
            let inside = io.get_ref().and_then(|inside| inside.downcast_ref());
            if let Some(portal) = inside {
                return self.portal(Portal::clone(portal));
            }
            if let Some(fault) = tls::tls_error(io) {
                let cause = tls::explain(fault, &endpoint.to_string(), None);
                return match (tls::is_about_time(fault), tls::is_unknown_issuer(fault)) {
                    (true, _) => EnrollError::Time { endpoint, cause },
                    (_, true) => EnrollError::Foreign { endpoint, cause },
                    _ => EnrollError::Tls { endpoint, cause },
                };
            }
        }
        let cause = match &error {
            ureq::Error::Io(io) if io.kind() == io::ErrorKind::TimedOut => {
                format!("nothing within {} s", self.deadline.as_secs())
            }
            ureq::Error::Io(io) => cause::of(io),
            other => other.to_string(),
        };
        match error {
            ureq::Error::Io(_)
            | ureq::Error::Timeout(_)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed => EnrollError::Unreachable { endpoint, cause },
            // Something did answer, and not as a cloud does.
            _ => EnrollError::Unusable { endpoint, cause },
        }
    }
}

/// Notices a portal that answers in plain HTTP.
struct Dialled {
    endpoint: Endpoint,
    beginning: Beginning,
}

impl Witness for Dialled {
    fn note(&mut self, bytes: &[u8]) {
        self.beginning.note(bytes);
    }

    fn judge(&self, error: io::Error) -> io::Error {
        let portal = self.beginning.portal(&self.endpoint);
        portal.map_or(error, io::Error::other)
    }
}

/// What is wrong with a certificate that came over the network: there is no file to put in order.
fn fault(error: PkiError) -> String {
    match error {
        PkiError::Malformed { why, .. } => why,
        other => other.to_string(),
    }
}

/// The beginning of a body, as one line that is safe to print.
fn printable(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(SENTENCE)]);
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let line = line.trim();
    if line.is_empty() {
        "no text".to_owned()
    } else {
        line.to_owned()
    }
}

/// However long a cloud asks a device to wait, it looks again after this.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Bytes of what a cloud says that are shown; names may be long.
const SENTENCE: usize = 600;

/// Certificates have about 400 bytes; a CA bundle a few thousand.
const MAX_BODY: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read_and_bounded() {
        let seconds = |text: &str| retry_after(text.as_bytes()).map(|wait| wait.as_secs());
        assert_eq!(seconds("30"), Some(30));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("86400"), Some(300));
        assert_eq!(seconds("18446744073709551615"), Some(300));
        for other in ["", "-1", "1.5", "soon", "Fri, 31 Dec 1999 23:59:59 GMT"] {
            assert_eq!(seconds(other), None, "{other}");
        }
        assert_eq!(retry_after(b"\xff"), None);
    }
}
