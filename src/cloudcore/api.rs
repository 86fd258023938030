//! The certificate API (docs/protocol.md, "Certificate API"): routes only, each a few lines.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, DATE, HeaderMap};
use hyper::{Request, StatusCode};
use log::{info, warn};
use serde::Deserialize;

use super::cloud::Cloud;
use super::http::{self, Answer, NoBody, Rest, text};
use super::outbox::Ending;
use super::pages::Page;
use super::places::Place;
use super::rotation;
use super::strikes::{Limit, RETRY_AFTER, Summary};
use crate::authority::tokens::{self, Claims, TokenRefusal};
use crate::authority::{By, IssueRequest, Issued, Refusal};
use crate::pki::certificate::Certificate;
use crate::protocol::enrollment::{NODE_NAME_HEADER, USAGES_HEADER};
use crate::system::clock::http_date;
use crate::system::names::NodeName;
use crate::tunnel::Secured;

/// Who asks, as far as the connection tells.
pub struct Caller {
    peer: SocketAddr,
    place: Place,
    /// The certificate shown, whose key the handshake has proved; nothing else is known of it.
    shown: Option<Vec<u8>>,
    parsed: OnceLock<Option<Certificate>>,
}

impl Caller {
    pub fn new(peer: SocketAddr, place: Place, secured: &Secured) -> Caller {
        let shown = secured
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first());
        let shown = shown.map(|certificate| certificate.to_vec());
        Caller {
            peer,
            place,
            shown,
            parsed: OnceLock::new(),
        }
    }

    /// An answer that refuses a request: counted, logged, and given as it is unless too many
    /// requests fail.
    fn refuse(&self, cloud: &Cloud, reason: &'static str, answer: Answer) -> Answer {
        cloud.metrics.refused_request(reason);
        let strike = cloud.strike(self.peer.ip());
        if strike.logged {
            let (status, address) = (answer.status().as_u16(), self.peer.ip());
            warn!("a request from {address} is refused ({status}): {reason}");
        }
        limited(cloud, strike.limit, answer)
    }

    fn no_body(&self, cloud: &Cloud, none: NoBody) -> Answer {
        self.refuse(cloud, none.reason(), text(none.status(), none.sentence()))
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

/// Answers one request.
pub async fn answer(
    cloud: &Cloud,
    caller: &Caller,
    mut request: Request<Incoming>,
) -> (Answer, Rest) {
    let started = Instant::now();
    let path = request.uri().path().to_owned();
    let page = Page::find(&path);
    let answered = if http::without_host(&request) {
        let status = StatusCode::BAD_REQUEST;
        Err(caller.refuse(cloud, "host", text(status, http::ONE_HOST)))
    } else if request.method() == page.method() || page == Page::Unknown {
        visit(cloud, caller, page, &mut request).await
    } else {
        Err(caller.refuse(cloud, "method", http::wrong_method(page.allowed())))
    };
    cloud.metrics.request(page.route(), started.elapsed());
    let (mut answer, rest) = match answered {
        Ok(answer) => (answer, Rest::Read),
        Err(answer) if hyper::body::Body::is_end_stream(request.body()) => (answer, Rest::Read),
        Err(answer) => (answer, Rest::Unread),
    };
    // Devices without a clock go by it, so it has to be the time that certificates are judged by.
    if let Ok(now) = http_date::show(cloud.clock.now()).parse() {
        answer.headers_mut().insert(DATE, now);
    }
    (answer, rest)
}

/// In place of an answer to a failure, when there are too many of them.
fn limited(cloud: &Cloud, limit: Option<Limit>, answer: Answer) -> Answer {
    let Some(limit) = limit else { return answer };
    cloud.metrics.limited(limit);
    let (status, who) = match limit {
        Limit::Source => (StatusCode::TOO_MANY_REQUESTS, "from your address "),
        Limit::All => (StatusCode::SERVICE_UNAVAILABLE, ""),
    };
    let said = format!("too many requests {who}failed: wait {RETRY_AFTER} s");
    http::later(status, RETRY_AFTER, said)
}

/// The error is an answer that was made without reading the body to its end.
async fn visit(
    cloud: &Cloud,
    caller: &Caller,
    page: Page<'_>,
    request: &mut Request<Incoming>,
) -> Result<Answer, Answer> {
    match page {
        Page::Authority => {
            let ca = rotation::asked(cloud, request.headers());
            Err(http::typed(StatusCode::OK, BYTES, ca.der().to_vec()))
        }
        Page::Bundle => Err(http::typed(
            StatusCode::OK,
            PEM,
            cloud.authority.standing().bundle(),
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
        Page::Unknown => {
            let none = text(StatusCode::NOT_FOUND, "there is no such page here");
            Err(caller.refuse(cloud, "page", none))
        }
    }
}

async fn certificate(
    cloud: &Cloud,
    caller: &Caller,
    request: &mut Request<Incoming>,
) -> Result<Answer, Answer> {
    let shown = identify(cloud, caller, request.headers());
    let shown = shown.map_err(|refusal| refused(cloud, caller, None, &refusal))?;
    let by = shown.by();
    let node = node_name(request.headers());
    let node = node.ok_or_else(|| refused(cloud, caller, None, &by.without_node_name()))?;
    if let By::Token(claims) = by {
        let record = cloud.authority.token_record(claims, Some(&node)).await;
        record.map_err(|refusal| refused(cloud, caller, Some(&node), &refusal))?;
    }
    // Who has a good token may be slow: only those without one are cut for others.
    let trusted = matches!(by, By::Token(_)).then(|| caller.place.busy());
    let body = http::body(request.body_mut()).await.map_err(|none| {
        cloud.metrics.refused_certificate("body");
        caller.no_body(cloud, none)
    })?;
    let _served = trusted.unwrap_or_else(|| caller.place.busy());
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

/// What a request for a certificate came with.
enum Shown<'a> {
    Token(Claims),
    Certificate(&'a Certificate),
}

impl Shown<'_> {
    fn by(&self) -> By<'_> {
        match self {
            Shown::Token(claims) => By::Token(claims),
            Shown::Certificate(certificate) => By::Certificate(certificate),
        }
    }
}

/// A certificate that was shown decides, whatever token comes with it.
fn identify<'a>(
    cloud: &Cloud,
    caller: &'a Caller,
    headers: &HeaderMap,
) -> Result<Shown<'a>, Refusal> {
    if caller.shown.is_none() {
        return Ok(Shown::Token(check_token(cloud, headers)?));
    }
    // One that can't be read names no node.
    caller
        .certificate()
        .map(Shown::Certificate)
        .ok_or(Refusal::CertificateName)
}

fn check_token(cloud: &Cloud, headers: &HeaderMap) -> Result<Claims, TokenRefusal> {
    let header = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    let jwt = tokens::bearer(header)?;
    tokens::check(&cloud.authority, jwt, cloud.clock.now())
}

/// The name in the header, when there is one and only one.
fn node_name(headers: &HeaderMap) -> Option<NodeName> {
    let mut values = headers.get_all(NODE_NAME_HEADER).iter();
    let name = values.next()?.to_str().ok()?.trim().parse().ok()?;
    values.next().is_none().then_some(name)
}

/// What the log and the counters keep, and what follows for the old session.
fn record(cloud: &Cloud, caller: &Caller, node: &NodeName, issued: &Issued, by: By<'_>) {
    let by_token = matches!(by, By::Token(_));
    cloud.metrics.issued(by_token);
    let how = match (by, issued.late) {
        (By::Token(Claims { id: Some(id), .. }), _) => format!("by token {id}"),
        (By::Token(_), _) => "by token".to_owned(),
        (By::Certificate(_), None) => "by renewal".to_owned(),
        (By::Certificate(_), Some(late)) => {
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
    let said = refusal.to_string();
    let status = StatusCode::from_u16(refusal.status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // What is our fault is held against nobody, and told to the log only.
    let strike = status
        .is_client_error()
        .then(|| cloud.strike(caller.peer.ip()));
    if strike.is_none_or(|strike| strike.logged) {
        let node = node
            .map(|node| format!(" for node {node}"))
            .unwrap_or_default();
        let hidden = std::error::Error::source(refusal).map(ToString::to_string);
        let hidden = hidden.filter(|cause| !said.contains(cause.as_str()));
        let hidden = hidden
            .map(|cause| format!(" ({cause})"))
            .unwrap_or_default();
        warn!(
            "no certificate{node} to {}: {said}{hidden}",
            caller.peer.ip()
        );
    }
    limited(
        cloud,
        strike.and_then(|strike| strike.limit),
        text(status, said),
    )
}

/// Says whether another key holds the name. The two texts are what upstream's keadm compares.
async fn node(cloud: &Cloud, caller: &Caller, name: &str) -> Answer {
    let (address, now) = (caller.peer.ip(), Instant::now());
    if !cloud.node_checks.allow(address, now) {
        if cloud.strikes.is_due(Summary::NodeChecks, now) {
            warn!("{address} asks too often after node names, and is told to wait");
        }
        cloud.metrics.limited_node_check();
        return http::later(
            StatusCode::TOO_MANY_REQUESTS,
            1,
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
        let denied = text(
            StatusCode::UNAUTHORIZED,
            "a report needs the certificate of its node, or a token",
        );
        caller.refuse(cloud, "report", denied)
    };
    let by_token = match check_token(cloud, request.headers()) {
        Ok(claims) => {
            let node = node.and_then(|node| node.parse().ok());
            let record = cloud.authority.token_record(&claims, node.as_ref()).await;
            record.is_ok()
        }
        Err(_) => false,
    };
    if !by_token {
        let may_be = match node {
            Some(node) => is_of(cloud, caller, node).await,
            None => caller.certificate().is_some(),
        };
        if !may_be {
            return Err(denied());
        }
    }
    let body = http::body(request.body_mut()).await;
    let body = body.map_err(|none| caller.no_body(cloud, none))?;
    let report = serde_json::from_slice::<Report>(&body).ok();
    if !by_token && node.is_none() {
        let named = report.as_ref().and_then(|report| report.node.as_deref());
        let of_it = match named {
            Some(named) => is_of(cloud, caller, named).await,
            None => false,
        };
        if !of_it {
            return Ok(denied());
        }
    }
    if report.is_none() {
        let malformed = text(StatusCode::BAD_REQUEST, "the report is not a JSON object");
        return Ok(caller.refuse(cloud, "report", malformed));
    }
    cloud.metrics.report(true);
    Ok(text(StatusCode::OK, "ok"))
}

/// Whether the caller has shown the certificate of this node.
async fn is_of(cloud: &Cloud, caller: &Caller, node: &str) -> bool {
    match (node.parse(), caller.certificate()) {
        (Ok(node), Some(certificate)) => {
            let judged = cloud.authority.authenticate(certificate, &node).await;
            judged.is_ok()
        }
        _ => false,
    }
}

/// What is looked at in a report.
#[derive(Deserialize)]
struct Report {
    #[serde(rename = "NodeName", alias = "nodeName", default)]
    node: Option<String>,
}

const PEM: &str = "application/x-pem-file";
const BYTES: &str = "application/octet-stream";
const FREE: &str = "Node not found";
const TAKEN: &str = "Node founded";

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
