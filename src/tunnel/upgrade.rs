//! The hub's side of opening a tunnel: reads the upgrade request, then accepts or refuses it.
//!
//! The WebSocket library ends a bad request without an answer; devices deserve a status and a
//! sentence, so the head is read here and the library takes over behind the 101.

use std::io;
use std::time::Duration;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::handshake::derive_accept_key;
use async_tungstenite::tungstenite::protocol::Role;
use smol::io::{AsyncReadExt, AsyncWriteExt};

use super::metered::{Budget, Metered};
use super::websocket::{Tunnel, limits};
use super::{
    CONNECTION_USE_HEADER, NODE_ID_HEADER, PROJECT_ID_HEADER, REPLACE_SAFE, SESSION_HEADER,
    Secured, Stream, TunnelError,
};
use crate::pki::hash::Sha256Hash;
use crate::protocol::terms::{TERMS_HEADER, Terms};
use crate::protocol::trust::{self, CA_HEADER, CloudCas, TRUST_HEADER};
use crate::system::clock::{Timestamp, http_date};

/// An upgrade request that is well-formed as such and waits for a verdict.
pub struct Upgrade<S = Secured> {
    pub head: Head,
    stream: S,
    rest: Vec<u8>,
}

/// What the request asks for.
pub struct Head {
    pub path: String,
    pub node_id: Option<String>,
    pub project_id: Option<String>,
    /// `msg` for the tunnel that we serve; Go repeats the header on retries of one client object.
    pub connection_use: Option<String>,
    /// The CAs that the edge trusts; edges of KubeEdge do not say.
    pub trusted: Option<Vec<Sha256Hash>>,
    /// What the edge offers for the session; edges of KubeEdge do not.
    pub terms: Option<Terms>,
    accept_key: String,
}

impl Upgrade {
    /// The certificate that the peer proved in the TLS handshake, as DER.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        let (_, connection) = self.stream.get_ref();
        connection.peer_certificates()?.first().map(AsRef::as_ref)
    }
}

impl<S: Stream> Upgrade<S> {
    /// Reads the request head. A request that is no WebSocket upgrade gets its answer here.
    /// `head` is what was read of it already.
    pub async fn read(mut stream: S, mut head: Vec<u8>) -> Result<Upgrade<S>, TunnelError> {
        let mut seen = 0_usize;
        let end = loop {
            // What was looked at is not looked at again, lest single bytes cost much.
            let new = seen.saturating_sub(3);
            if let Some(end) = head[new..].windows(4).position(|w| w == b"\r\n\r\n") {
                break new + end + 4;
            }
            seen = head.len();
            if seen > MAX_HEAD {
                let fault = "the request head is too large";
                return Err(refuse(&mut stream, 431, fault, None).await);
            }
            let mut chunk = [0; 1024];
            let count = stream.read(&mut chunk).await.map_err(TunnelError::Lost)?;
            if count == 0 {
                return Err(TunnelError::Lost(io::ErrorKind::UnexpectedEof.into()));
            }
            head.extend_from_slice(&chunk[..count]);
        };
        match Head::parse(&head[..end]) {
            Ok(parsed) => Ok(Upgrade {
                head: parsed,
                stream,
                rest: head.split_off(end),
            }),
            Err((status, text)) => Err(refuse(&mut stream, status, text, None).await),
        }
    }

    /// Answers with 101, the time and what was agreed, and hands over the tunnel; messages above `max_message` bytes
    /// are refused.
    pub async fn accept(
        mut self,
        now: Timestamp,
        max_message: usize,
        budget: &Budget,
        cas: &CloudCas,
        terms: Option<Terms>,
    ) -> Result<Tunnel<S>, TunnelError> {
        let agreed = terms.map(|terms| format!("{TERMS_HEADER}: {terms}\r\n"));
        let agreed = agreed.unwrap_or_default();
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n{SESSION_HEADER}: {REPLACE_SAFE}\r\nDate: {}\r\n\
             {CA_HEADER}: {cas}\r\n{agreed}\r\n",
            self.head.accept_key,
            http_date::show(now)
        );
        self.stream
            .write_all(answer.as_bytes())
            .await
            .map_err(TunnelError::Lost)?;
        self.stream.flush().await.map_err(TunnelError::Lost)?;
        let metered = Metered::new(self.stream, budget);
        let share = metered.share();
        let config = Some(limits(max_message));
        let socket =
            WebSocketStream::from_partially_read(metered, self.rest, Role::Server, config).await;
        Ok(Tunnel::new(socket, share, max_message))
    }

    /// Answers with an HTTP error and closes; `retry_after` says when to come again, in seconds.
    pub async fn refuse(
        mut self,
        status: u16,
        text: &str,
        retry_after: Option<u16>,
    ) -> TunnelError {
        refuse(&mut self.stream, status, text, retry_after).await
    }
}

/// The status and the sentence of a refusal.
pub type Fault = (u16, &'static str);

impl Head {
    /// Reads a whole request head, up to and with its empty line.
    pub fn parse(head: &[u8]) -> Result<Head, Fault> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(head) {
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Err((431, "too many headers")),
            _ => return Err((400, "this is no HTTP request")),
        }
        if request.method != Some("GET") {
            return Err((405, "a tunnel is opened with GET"));
        }
        let all = |name: &str| -> Vec<&str> {
            let named = request
                .headers
                .iter()
                .filter(|h| h.name.eq_ignore_ascii_case(name));
            named
                .filter_map(|h| std::str::from_utf8(h.value).ok())
                .map(str::trim)
                .collect()
        };
        let has_word = |name: &str, word: &str| {
            let mut words = all(name).into_iter().flat_map(|value| value.split(','));
            words.any(|w| w.trim().eq_ignore_ascii_case(word))
        };
        if !has_word("connection", "upgrade") || !has_word("upgrade", "websocket") {
            return Err((400, "this port opens WebSocket tunnels only"));
        }
        if all("sec-websocket-version") != ["13"] {
            return Err((400, "only WebSocket version 13 is spoken here"));
        }
        let accept_key = match all("sec-websocket-key")[..] {
            [key] if key.len() == 24 => derive_accept_key(key.as_bytes()),
            _ => return Err((400, "the Sec-WebSocket-Key is missing or malformed")),
        };
        // Browsers send Origin, devices do not: a page must not be able to open a tunnel.
        if let Some(origin) = all("origin").first() {
            let host = origin.split_once("://").map_or(*origin, |(_, host)| host);
            if all("host").first() != Some(&host) {
                return Err((403, "the Origin is not this host"));
            }
        }
        let only = |name: &str| -> Result<Option<String>, Fault> {
            let values = all(name);
            let Some(first) = values.first() else {
                return Ok(None);
            };
            if values.iter().any(|value| value != first) {
                return Err((400, "a header is given twice with different values"));
            }
            Ok(Some((*first).to_owned()))
        };
        Ok(Head {
            path: request.path.unwrap_or_default().to_owned(),
            node_id: only(NODE_ID_HEADER)?,
            project_id: only(PROJECT_ID_HEADER)?,
            connection_use: only(CONNECTION_USE_HEADER)?,
            trusted: all(TRUST_HEADER)
                .first()
                .map(|word| trust::read_trusted(word)),
            terms: all(TERMS_HEADER).first().and_then(|word| word.parse().ok()),
            accept_key,
        })
    }
}

async fn refuse(
    stream: &mut impl Stream,
    status: u16,
    text: &str,
    retry_after: Option<u16>,
) -> TunnelError {
    let reason = match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        405 => "Method Not Allowed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Refused",
    };
    let again = retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n"));
    let again = again.unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\n{again}\
         Content-Length: {}\r\nConnection: close\r\n\r\n{text}\n",
        text.len() + 1
    );
    // The peer may be gone already; the refusal stands all the same.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.close().await;
    TunnelError::Refused {
        status,
        said: text.to_owned(),
        retry_after: retry_after.map(|seconds| Duration::from_secs(seconds.into())),
    }
}

/// Upstream's head has about 350 bytes.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "GET /e632aba927ea4ac2b575ec1603d56f10/edge1/events HTTP/1.1\r\n\
        Host: 192.0.2.1:10000\r\nUser-Agent: Go-http-client/1.1\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nNode_id: edge1\r\n\
        Project_id: e632aba927ea4ac2b575ec1603d56f10\r\nConnectionuse: msg\r\n\
        Connectionuse: msg\r\n\r\n";

    #[test]
    fn upstreams_request_is_understood() {
        let parsed = Head::parse(GOOD.as_bytes()).ok().unwrap();
        assert_eq!(
            parsed.path,
            "/e632aba927ea4ac2b575ec1603d56f10/edge1/events"
        );
        assert_eq!(parsed.node_id.as_deref(), Some("edge1"));
        assert_eq!(parsed.connection_use.as_deref(), Some("msg"));
        assert_eq!(parsed.accept_key, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_is_no_upgrade_gets_its_status() {
        let cases = [
            ("GET", "POST", 405),
            ("Connection: Upgrade", "Connection: close", 400),
            ("Upgrade: websocket", "Upgrade: h2c", 400),
            ("Version: 13", "Version: 8", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "short", 400),
            ("HTTP/1.1", "nonsense", 400),
            (
                "User-Agent: Go-http-client/1.1",
                "Origin: https://evil.example",
                403,
            ),
            (
                "Project_id: e632",
                "Node_id: other\r\nProject_id: e632",
                400,
            ),
        ];
        for (from, to, status) in cases {
            let head = GOOD.replacen(from, to, 1);
            assert_eq!(
                Head::parse(head.as_bytes()).err().map(|f| f.0),
                Some(status),
                "{to}"
            );
        }
        let own = GOOD.replace("User-Agent: x", "Origin: https://192.0.2.1:10000");
        assert!(Head::parse(own.as_bytes()).is_ok());
    }
}
