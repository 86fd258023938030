//! The tunnel over WebSocket: the client's side of the opening, and both ends of the traffic.

use std::io;
use std::sync::Arc;

use async_tungstenite::tungstenite::client::IntoClientRequest;
use async_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use async_tungstenite::tungstenite::http::HeaderValue;
use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use async_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use async_tungstenite::tungstenite::{self};
use async_tungstenite::{WebSocketReceiver, WebSocketSender, WebSocketStream};
use rustls::ClientConfig;
use smol::future::yield_now;
use smol::net::TcpStream;
use smol::stream::StreamExt;

use super::metered::{Budget, Metered, Share};
use super::{
    AnyCarrier, CONNECTION_USE_HEADER, Event, Guarded, NODE_ID_HEADER, PROJECT_ID_HEADER,
    REPLACE_SAFE, SESSION_HEADER, Secured, Stream, TunnelError,
};
use crate::pki::hash::Sha256Hash;
use crate::pki::tls::{self, Presented};
use crate::protocol::enrollment::{self, retry_after};
use crate::protocol::message::Message;
use crate::protocol::portal::Portal;
use crate::protocol::terms::{TERMS_HEADER, Terms};
use crate::protocol::trust::{self, CloudCas};
use crate::system::clock::Timestamp;
use crate::system::names::{Endpoint, NodeName};

/// What an edge asks for.
#[derive(Clone, Debug)]
pub struct TunnelRequest {
    pub endpoint: Endpoint,
    pub project: String,
    pub node: NodeName,
    /// The CAs that the edge trusts, for the cloud to know who has followed a change.
    pub trusted: Vec<Sha256Hash>,
    /// What is offered for the session.
    pub terms: Terms,
}

/// A tunnel that was just opened.
pub struct Connected<S = AnyCarrier> {
    pub tunnel: Tunnel<S>,
    /// The hub promises that a newer session replaces an older one without harm.
    pub replace_safe: bool,
    /// The hub's time, if it says it.
    pub date: Option<Timestamp>,
    /// Which CAs the cloud has, where it says so.
    pub cas: Option<CloudCas>,
    /// What was agreed; nothing with a cloud that does not know of it.
    pub terms: Option<Terms>,
}

/// An open tunnel; the halves may live in different tasks.
pub struct Tunnel<S = AnyCarrier> {
    pub sender: Sender<S>,
    pub receiver: Receiver<S>,
}

pub struct Sender<S = AnyCarrier>(WebSocketSender<Metered<S>>);

pub struct Receiver<S = AnyCarrier> {
    messages: WebSocketReceiver<Metered<S>>,
    share: Arc<Share>,
    limit: usize,
    in_a_row: u8,
}

/// TLS on a fresh connection, with the edge's identity; `presented` is where `config` leaves the
/// hub's certificate.
pub async fn secure(
    stream: TcpStream,
    config: Arc<ClientConfig>,
    endpoint: &Endpoint,
    presented: &Presented,
) -> Result<AnyCarrier, TunnelError> {
    let name = tls::server_name(&endpoint.host).map_err(|e| TunnelError::Tls(e.to_string()))?;
    let secured = futures_rustls::TlsConnector::from(config)
        .connect(name, Guarded::open(stream))
        .into_fallible()
        .await;
    match secured {
        Ok(secured) => Ok(Box::new(Secured::from(secured))),
        Err((error, guarded)) => Err(guarded
            .portal(endpoint)
            .map_or_else(|| lost(error, endpoint, presented), TunnelError::Portal)),
    }
}

/// Sends the upgrade request and waits for the 101.
pub async fn upgrade<S: Stream>(
    stream: S,
    request: &TunnelRequest,
) -> Result<Connected<S>, TunnelError> {
    let url = format!(
        "wss://{}/{}/{}/events",
        request.endpoint, request.project, request.node
    );
    let mut upgrade = url
        .into_client_request()
        .map_err(|e| failed(e, &request.endpoint))?;
    let headers = upgrade.headers_mut();
    let project = HeaderValue::from_str(&request.project)
        .map_err(|_| TunnelError::Protocol("projectID holds a character no header may".into()))?;
    headers.insert(PROJECT_ID_HEADER, project);
    // A node name is ASCII letters, digits, dots and dashes, so this never fails.
    if let Ok(node) = HeaderValue::from_str(request.node.as_str()) {
        headers.insert(NODE_ID_HEADER, node);
    }
    if let Ok(trusted) = HeaderValue::from_str(&trust::trusted(&request.trusted)) {
        headers.insert(trust::TRUST_HEADER, trusted);
    }
    if let Ok(terms) = HeaderValue::from_str(&request.terms.to_string()) {
        headers.insert(TERMS_HEADER, terms);
    }
    headers.insert(CONNECTION_USE_HEADER, HeaderValue::from_static("msg"));
    let metered = Metered::new(stream, &Budget::new(MAX_DOWNSTREAM * 2));
    let share = metered.share();
    let config = Some(limits(MAX_DOWNSTREAM));
    let (socket, answer) = async_tungstenite::client_async_with_config(upgrade, metered, config)
        .await
        .map_err(|e| failed(e, &request.endpoint))?;
    let promise = answer.headers().get(SESSION_HEADER);
    let replace_safe = promise.is_some_and(|v| v.as_bytes() == REPLACE_SAFE.as_bytes());
    let date = answer.headers().get("date");
    let date = date.and_then(|value| enrollment::date(value.as_bytes()));
    let cas = answer.headers().get(trust::CA_HEADER);
    let cas = cas.and_then(|word| word.to_str().ok()?.parse().ok());
    let terms = answer.headers().get(TERMS_HEADER);
    let terms = terms.and_then(|word| word.to_str().ok()?.parse().ok());
    Ok(Connected {
        tunnel: Tunnel::new(socket, share, MAX_DOWNSTREAM),
        replace_safe,
        date,
        cas,
        terms,
    })
}

impl<S: Stream> Tunnel<S> {
    pub(super) fn new(
        socket: WebSocketStream<Metered<S>>,
        share: Arc<Share>,
        limit: usize,
    ) -> Self {
        share.settle();
        let (sender, messages) = socket.split();
        Tunnel {
            sender: Sender(sender),
            receiver: Receiver {
                messages,
                share,
                limit,
                in_a_row: 0,
            },
        }
    }
}

impl<S: Stream> Sender<S> {
    pub async fn send(&mut self, message: &Message) -> Result<(), TunnelError> {
        let frame = tungstenite::Message::text(message.to_json());
        self.0
            .send(frame)
            .await
            .map_err(|e| ended(e, MAX_DOWNSTREAM))
    }

    pub async fn ping(&mut self) -> Result<(), TunnelError> {
        let frame = tungstenite::Message::Ping(Default::default());
        self.0
            .send(frame)
            .await
            .map_err(|e| ended(e, MAX_DOWNSTREAM))
    }

    /// Says that this side lives, and asks for nothing: an answer to no question.
    pub async fn live(&mut self) -> Result<(), TunnelError> {
        let frame = tungstenite::Message::Pong(Default::default());
        self.0
            .send(frame)
            .await
            .map_err(|e| ended(e, MAX_DOWNSTREAM))
    }

    /// Says goodbye with a reason; the other side's answer is not waited for.
    pub async fn close(&mut self, code: u16, reason: &'static str) -> Result<(), TunnelError> {
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: reason.into(),
        };
        self.0
            .close(Some(frame))
            .await
            .map_err(|e| ended(e, MAX_DOWNSTREAM))
    }
}

impl<S: Stream> Receiver<S> {
    /// What tells, while `next` waits, whether anything comes at all.
    pub fn share(&self) -> Arc<Share> {
        self.share.clone()
    }

    /// The next thing that arrives; an error ends the tunnel.
    ///
    /// One read may hold thousands of the shortest frames: after some of them in a row, others on
    /// the executor get a turn.
    pub async fn next(&mut self) -> Result<Event, TunnelError> {
        self.in_a_row += 1;
        if self.in_a_row == TURN {
            self.in_a_row = 0;
            yield_now().await;
        }
        let frame = match self.messages.next().await {
            Some(Ok(frame)) => frame,
            Some(Err(e)) => return Err(ended(e, self.limit)),
            None => return Err(TunnelError::Lost(io::ErrorKind::UnexpectedEof.into())),
        };
        // Only what was received of a whole message is settled: control frames come in between.
        let parsed = match frame {
            tungstenite::Message::Text(text) => {
                self.share.settle();
                Message::from_json(text.as_bytes())
            }
            tungstenite::Message::Binary(bytes) => {
                self.share.settle();
                Message::from_json(&bytes)
            }
            tungstenite::Message::Close(frame) => {
                let (code, reason) = frame.map_or((1005, String::new()), |f| {
                    (f.code.into(), f.reason.to_string())
                });
                return Err(TunnelError::Closed { code, reason });
            }
            control => {
                self.share.give_back(control.len() + CONTROL_HEAD);
                return Ok(Event::Alive);
            }
        };
        Ok(match parsed {
            Ok(message) => Event::Message(Box::new(message)),
            Err(malformed) => Event::Malformed(malformed),
        })
    }
}

/// The library's settings: small buffers, since a hub holds thousands of tunnels.
pub(super) fn limits(max_message: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MAX_DOWNSTREAM)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message))
}

fn failed(error: Error, endpoint: &Endpoint) -> TunnelError {
    match error {
        Error::Http(answer) => {
            let header = |name| answer.headers().get(name).map(HeaderValue::as_bytes);
            let (status, body) = (answer.status().as_u16(), answer.body());
            let body = body.as_deref().unwrap_or_default();
            let (location, kind) = (header("location"), header("content-type"));
            let portal = Portal::in_head(status, location, kind, endpoint)
                .or_else(|| (status == 200).then(|| Portal::in_body(body, endpoint))?);
            if let Some(portal) = portal {
                return TunnelError::Portal(portal);
            }
            let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
            let said: String = text
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            TunnelError::Refused {
                status,
                said: match said.trim() {
                    "" => "no text".to_owned(),
                    said => said.to_owned(),
                },
                retry_after: header("retry-after").and_then(retry_after),
            }
        }
        Error::Io(e) => lost(e, endpoint, &Presented::default()),
        other => ended(other, MAX_DOWNSTREAM),
    }
}

/// An I/O error of a connection to `endpoint`; TLS faults hide inside I/O errors.
fn lost(error: io::Error, endpoint: &Endpoint, presented: &Presented) -> TunnelError {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        Some(fault) => {
            let shown = presented.certificate();
            let cause = tls::explain(fault, &endpoint.to_string(), shown.as_ref());
            if tls::is_refused_issuer(fault) {
                return TunnelError::UnknownCa(cause);
            }
            match (tls::is_about_time(fault), tls::is_unknown_issuer(fault)) {
                (true, _) => TunnelError::Time(cause),
                (_, true) => TunnelError::ForeignCa(cause),
                _ => TunnelError::Tls(cause),
            }
        }
        None => TunnelError::Lost(error),
    }
}

fn ended(error: Error, limit: usize) -> TunnelError {
    match error {
        Error::Io(e) if e.kind() == io::ErrorKind::QuotaExceeded => TunnelError::OverBudget,
        Error::Io(e) => match tls::tls_error(&e) {
            Some(fault) => TunnelError::Tls(fault.to_string()),
            None => TunnelError::Lost(e),
        },
        Error::Capacity(CapacityError::MessageTooLong { .. }) => TunnelError::TooBig { limit },
        Error::ConnectionClosed | Error::AlreadyClosed => TunnelError::Closed {
            code: 1000,
            reason: String::new(),
        },
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            TunnelError::Lost(io::ErrorKind::ConnectionReset.into())
        }
        Error::Utf8(_) => TunnelError::NotText,
        other => TunnelError::Protocol(other.to_string()),
    }
}

/// Bytes before the payload of a masked control frame.
const CONTROL_HEAD: usize = 6;

/// Events before others get a turn.
const TURN: u8 = 32;

/// Kubernetes objects have up to about 1.5 MiB; a list of them on its way down may be longer.
const MAX_DOWNSTREAM: usize = 32 * 1024 * 1024;
