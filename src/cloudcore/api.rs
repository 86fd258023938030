//! The certificate API (docs/protocol.md, "Certificate API"): routes only, each a few lines.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use futures_rustls::TlsAcceptor;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::{Request, StatusCode};
use log::{info, warn};
use serde::Deserialize;
use smol::Timer;
use smol::future::or;
use smol::net::TcpStream;

use super::cloud::Cloud;
use super::http::{self, Answer, Rest, text};
use super::listener::Listener;
use super::outbox::Ending;
use super::pages::Page;
use crate::authority::{By, IssueRequest, Issued, Refusal, tokens};
use crate::pki::certificate::Certificate;
use crate::protocol::enrollment::{NODE_NAME_HEADER, USAGES_HEADER};
use crate::system::names::NodeName;
use crate::tunnel::Secured;

/// Accepts connections until cloudcore stops.
pub async fn serve(cloud: Arc<Cloud>, listener: Listener, acceptor: TlsAcceptor) {
    loop {
        let accepted = or(async { Some(listener.accept().await) }, async {
            cloud.stop.wait().await;
            None
        });
        let Some((stream, peer)) = accepted.await else {
            return;
        };
        let place = match cloud.api_places.take(peer.ip()) {
            Ok(place) => place,
            Err(why) => {
                cloud.metrics.refused_connection("https", why);
                continue;
            }
        };
        let (shared, acceptor) = (cloud.clone(), acceptor.clone());
        cloud.spawn(async move {
            connection(&shared, &acceptor, stream, peer).await;
            drop(place);
        });
    }
}

async fn connection(cloud: &Cloud, acceptor: &TlsAcceptor, stream: TcpStream, peer: SocketAddr) {
    // Without it an answer may wait for the client's acknowledgement; that it fails does no harm.
    let _ = stream.set_nodelay(true);
    let secured = or(acceptor.accept(stream), async {
        Timer::after(HANDSHAKE_DEADLINE).await;
        Err(std::io::ErrorKind::TimedOut.into())
    });
    let Ok(secured) = secured.await else { return };
    let mut secured = Secured::from(secured);
    let caller = Caller::new(peer, &secured);
    http::serve(&mut secured, &cloud.stop, |request| {
        answer(cloud, &caller, request)
    })
    .await;
}

/// Who asks, as far as the connection tells.
struct Caller {
    peer: SocketAddr,
    /// The certificate shown, whose key the handshake has proved; nothing else is known of it.
    shown: Option<Vec<u8>>,
    parsed: OnceLock<Option<Certificate>>,
}

impl Caller {
    fn new(peer: SocketAddr, secured: &Secured) -> Caller {
        let shown = secured
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first());
        let shown = shown.map(|certificate| certificate.to_vec());
        Caller {
            peer,
            shown,
            parsed: OnceLock::new(),
        }
    }

    fn certificate(&self) -> Option<&Certificate> {
        let parse = || {
            self.shown
                .as_ref()
                .and_then(|der| Certificate::from_der(der).ok())
        };
        self.parsed.get_or_init(parse).as_ref()
    }
}

async fn answer(cloud: &Cloud, caller: &Caller, mut request: Request<Incoming>) -> (Answer, Rest) {
    let started = Instant::now();
    let path = request.uri().path().to_owned();
    let page = Page::find(&path);
    let answered = if request.method() == page.method() || page == Page::Unknown {
        visit(cloud, caller, page, &mut request).await
    } else {
        Err(http::wrong_method(page.allowed()))
    };
    cloud.metrics.request(page.route(), started.elapsed());
    match answered {
        Ok(answer) => (answer, Rest::Read),
        Err(answer) if hyper::body::Body::is_end_stream(request.body()) => (answer, Rest::Read),
        Err(answer) => (answer, Rest::Unread),
    }
}

/// The error is an answer that was made without reading the body to its end.
async fn visit(
    cloud: &Cloud,
    caller: &Caller,
    page: Page<'_>,
    request: &mut Request<Incoming>,
) -> Result<Answer, Answer> {
    match page {
        Page::Authority => Err(http::typed(
            StatusCode::OK,
            BYTES,
            cloud.authority.ca().der().to_vec(),
        )),
        Page::Certificate => certificate(cloud, caller, request).await,
        Page::Health => Err(text(StatusCode::OK, "ok")),
        Page::Node(name) => Err(node(cloud, caller, name).await),
        Page::Ready if cloud.stop.is_asked() => {
            Err(text(StatusCode::SERVICE_UNAVAILABLE, "the cloud stops"))
        }
        Page::Ready => Err(text(StatusCode::OK, "ok")),
        Page::Report => report(cloud, caller, None, request).await,
        Page::TaskReport(name) => report(cloud, caller, Some(name), request).await,
        Page::Unknown => Err(text(StatusCode::NOT_FOUND, "there is no such page here")),
    }
}

async fn certificate(
    cloud: &Cloud,
    caller: &Caller,
    request: &mut Request<Incoming>,
) -> Result<Answer, Answer> {
    let by = identify(cloud, caller, request.headers());
    let by = by.map_err(|refusal| refused(cloud, caller, None, &refusal))?;
    let node = node_name(request.headers());
    let node = node.ok_or_else(|| refused(cloud, caller, None, &by.without_node_name()))?;
    let body = http::body(request.body_mut()).await.map_err(|none| {
        cloud.metrics.refused_certificate("body");
        none.answer()
    })?;
    let usages = match request
        .headers()
        .get(USAGES_HEADER)
        .map(|value| value.to_str())
    {
        None => None,
        Some(Ok(usages)) => Some(usages),
        Some(Err(_)) => return Ok(refused(cloud, caller, Some(&node), &Refusal::Usages)),
    };
    let wanted = IssueRequest {
        csr: &body,
        node: &node,
        usages,
        by,
    };
    match cloud.authority.issue(&wanted).await {
        Ok(issued) => {
            record(cloud, caller, &node, &issued, by);
            Ok(http::typed(
                StatusCode::OK,
                BYTES,
                issued.certificate.der().to_vec(),
            ))
        }
        Err(refusal) => Ok(refused(cloud, caller, Some(&node), &refusal)),
    }
}

/// A certificate that was shown decides, whatever token comes with it.
fn identify<'a>(cloud: &Cloud, caller: &'a Caller, headers: &HeaderMap) -> Result<By<'a>, Refusal> {
    if caller.shown.is_none() {
        check_token(cloud, headers)?;
        return Ok(By::Token);
    }
    // One that can't be read names no node.
    caller
        .certificate()
        .map(By::Certificate)
        .ok_or(Refusal::CertificateName)
}

fn check_token(cloud: &Cloud, headers: &HeaderMap) -> Result<(), tokens::TokenRefusal> {
    let header = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    let jwt = tokens::bearer(header)?;
    tokens::check(&cloud.authority, jwt, cloud.clock.now()).map(drop)
}

/// The name in the header, when there is one and only one.
fn node_name(headers: &HeaderMap) -> Option<NodeName> {
    let mut values = headers.get_all(NODE_NAME_HEADER).iter();
    let name = values.next()?.to_str().ok()?.trim().parse().ok()?;
    values.next().is_none().then_some(name)
}

/// What the log and the counters keep, and what follows for the old session.
fn record(cloud: &Cloud, caller: &Caller, node: &NodeName, issued: &Issued, by: By<'_>) {
    let by_token = matches!(by, By::Token);
    cloud.metrics.issued(by_token);
    let how = match issued.late {
        _ if by_token => "by token".to_owned(),
        None => "by renewal".to_owned(),
        Some(late) => {
            cloud.metrics.renewed_late.add();
            let hours = late.as_secs_f64() / 3600.0;
            format!("by renewal {hours:.1} hours after the last one ended")
        }
    };
    let (serial, end) = (issued.certificate.serial(), issued.certificate.not_after());
    info!(
        "certificate {serial} for node {node} until {end}, {how}, to {}",
        caller.peer.ip()
    );
    if by_token && issued.replaces_key() {
        cloud.metrics.key_replaced();
        warn!("a token gave the name of node {node} to another key");
        cloud.registry.end(node, Ending::KeyReplaced);
    }
}

fn refused(cloud: &Cloud, caller: &Caller, node: Option<&NodeName>, refusal: &Refusal) -> Answer {
    cloud.metrics.refused_certificate(refusal.reason());
    let node = node
        .map(|node| format!(" for node {node}"))
        .unwrap_or_default();
    let said = refusal.to_string();
    // What is our fault is told to the log only.
    let hidden = std::error::Error::source(refusal).map(ToString::to_string);
    let hidden = hidden.filter(|cause| !said.contains(cause.as_str()));
    let hidden = hidden
        .map(|cause| format!(" ({cause})"))
        .unwrap_or_default();
    warn!(
        "no certificate{node} to {}: {said}{hidden}",
        caller.peer.ip()
    );
    let status = StatusCode::from_u16(refusal.status());
    text(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), said)
}

/// Says whether another key holds the name. The two texts are what upstream's keadm compares.
async fn node(cloud: &Cloud, caller: &Caller, name: &str) -> Answer {
    if !cloud.node_checks.allow(caller.peer.ip(), Instant::now()) {
        return text(
            StatusCode::TOO_MANY_REQUESTS,
            "too many questions after nodes: wait a second",
        );
    }
    // What is no name belongs to nobody.
    let Ok(name) = name.parse() else {
        return text(StatusCode::NOT_FOUND, FREE);
    };
    match cloud.authority.is_taken(&name, caller.certificate()).await {
        Ok(true) => text(StatusCode::OK, TAKEN),
        Ok(false) => text(StatusCode::NOT_FOUND, FREE),
        Err(error) => {
            warn!("node {name} can't be looked up: {error}");
            text(
                StatusCode::SERVICE_UNAVAILABLE,
                "nodes can't be looked up now: try later",
            )
        }
    }
}

/// A report on a job: counted and dropped, as there is no task manager yet.
async fn report(
    cloud: &Cloud,
    caller: &Caller,
    node: Option<&str>,
    request: &mut Request<Incoming>,
) -> Result<Answer, Answer> {
    let denied = || {
        cloud.metrics.report(false);
        text(
            StatusCode::UNAUTHORIZED,
            "a report needs the certificate of its node, or a token",
        )
    };
    let by_token = check_token(cloud, request.headers()).is_ok();
    if !by_token {
        let may_be = match node {
            Some(node) => is_of(cloud, caller, node),
            None => caller.certificate().is_some(),
        };
        if !may_be {
            return Err(denied());
        }
    }
    let body = http::body(request.body_mut())
        .await
        .map_err(http::NoBody::answer)?;
    let report = serde_json::from_slice::<Report>(&body).ok();
    if !by_token && node.is_none() {
        let named = report.as_ref().and_then(|report| report.node.as_deref());
        if !named.is_some_and(|named| is_of(cloud, caller, named)) {
            return Ok(denied());
        }
    }
    if report.is_none() {
        return Ok(text(
            StatusCode::BAD_REQUEST,
            "the report is not a JSON object",
        ));
    }
    cloud.metrics.report(true);
    Ok(text(StatusCode::OK, "ok"))
}

/// Whether the caller has shown the certificate of this node.
fn is_of(cloud: &Cloud, caller: &Caller, node: &str) -> bool {
    let Ok(node) = node.parse() else { return false };
    let now = cloud.clock.now();
    let judge = |certificate| {
        cloud
            .authority
            .authorize_certificate(certificate, &node, now)
    };
    caller
        .certificate()
        .is_some_and(|certificate| judge(certificate).is_ok())
}

/// What is looked at in a report.
#[derive(Deserialize)]
struct Report {
    #[serde(rename = "NodeName", alias = "nodeName", default)]
    node: Option<String>,
}

const BYTES: &str = "application/octet-stream";
const FREE: &str = "Node not found";
const TAKEN: &str = "Node founded";
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_name_is_taken_and_not_two() {
        let mut headers = HeaderMap::new();
        assert!(node_name(&headers).is_none());
        headers.append("Nodename", "edge-1".parse().unwrap());
        assert_eq!(node_name(&headers).unwrap().as_str(), "edge-1");
        headers.append("Nodename", "edge-2".parse().unwrap());
        assert!(node_name(&headers).is_none());
        headers.insert("Nodename", "Not A Name".parse().unwrap());
        assert!(node_name(&headers).is_none());
    }
}
