//! One connection to a cluster: opened, and what goes over it in hyper's terms.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;

use futures_rustls::TlsConnector;
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{HOST, HeaderValue, RETRY_AFTER, WARNING};
use hyper::{Method as Verb, Request as Message, Response};
use smol_hyper::rt::FuturesIo;

use super::Spawn;
use crate::kubernetes::access::Access;
use crate::kubernetes::exchange::{self, Fault, Raw, headers};
use crate::kubernetes::login::{Shown, Tls};
use crate::kubernetes::{Method, Request};
use crate::pki::tls::{self, Presented};
use crate::system::body::Whole;
use crate::system::cause;
use crate::system::https::Wiped;
use crate::system::names::Endpoint;
use crate::system::way::Way;

pub type Sender = SendRequest<Whole>;

/// Connects; what goes on in the connection does so beside.
pub async fn open(
    way: &Way,
    endpoint: &Endpoint,
    tls: &Tls,
    spawn: &Spawn,
) -> Result<Sender, Fault> {
    let reached = way.connect(endpoint, &[]).await;
    let reached = reached.map_err(|error| Fault::of_network(&error))?;
    let connector = TlsConnector::from(tls.config.clone());
    let stream = connector.connect(tls.name.clone(), reached.stream).await;
    let stream = stream.map_err(|error| match tls::tls_error(&error) {
        Some(fault) => Fault::of_tls(fault, &tls.presented, false),
        None => Fault::NotSent(cause::of(&error)),
    })?;
    let opened = Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(FuturesIo::new(stream))
        .await;
    let (sender, connection) = opened.map_err(|error| Fault::NotSent(error.to_string()))?;
    spawn(Box::pin(async move {
        // Whoever waits for an answer hears how it ended.
        let _ = connection.await;
    }));
    Ok(sender)
}

/// A request as hyper sends it.
pub fn message(request: &Request, shown: &Shown, access: &Access) -> Result<Message<Whole>, Fault> {
    let body = request.body.as_ref().map(|body| body.bytes.clone().into());
    let build = || -> Result<Message<Whole>, hyper::http::Error> {
        let mut message = Message::builder()
            .method(match request.method {
                Method::Delete => Verb::DELETE,
                Method::Get => Verb::GET,
                Method::Patch => Verb::PATCH,
                Method::Post => Verb::POST,
                Method::Put => Verb::PUT,
            })
            .uri(format!("{}{}", access.server.prefix, request.target()))
            .header(HOST, access.server.endpoint.to_string());
        for (name, value) in headers(request, shown, access.impersonation.as_ref()) {
            message = message.header(name, HeaderValue::try_from(Wiped(&value))?);
        }
        message.body(Whole(body))
    };
    build().map_err(|error| {
        Fault::Credentials(format!(
            "what is to be sent fits into no request ({error}): see `as`, `username` and `token` of \
             the kubeconfig"
        ))
    })
}

/// An answer with all of its body, of at most `limit` bytes.
pub async fn raw(
    response: Response<Incoming>,
    limit: usize,
    presented: &Presented,
) -> Result<Raw, Fault> {
    let (head, mut body) = response.into_parts();
    let retry_after = head.headers.get(RETRY_AFTER).map(HeaderValue::as_bytes);
    let warnings = head.headers.get_all(WARNING).iter();
    let mut raw = Raw {
        status: head.status.as_u16(),
        retry_after: retry_after.and_then(exchange::retry_after),
        warnings: exchange::warnings(warnings.map(HeaderValue::as_bytes)),
        body: Vec::new(),
    };
    while let Some(bytes) = data(&mut body, presented).await? {
        if raw.body.len() + bytes.len() > limit {
            return Err(Fault::TooLong { limit });
        }
        raw.body.extend_from_slice(&bytes);
    }
    Ok(raw)
}

/// What comes next of a body; none at its end.
pub async fn data(body: &mut Incoming, presented: &Presented) -> Result<Option<Bytes>, Fault> {
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(fault(&error, presented)),
            // Trailers say nothing to us.
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

/// What went wrong after something was sent.
pub fn fault(error: &hyper::Error, presented: &Presented) -> Fault {
    if error.is_parse() {
        return Fault::Strange(error.to_string());
    }
    let mut inner: Option<&(dyn Error + 'static)> = error.source();
    while let Some(now) = inner {
        if let Some(io) = now.downcast_ref::<io::Error>() {
            return match tls::tls_error(io) {
                Some(fault) => Fault::of_tls(fault, presented, true),
                None => Fault::Broken(cause::of(io)),
            };
        }
        inner = now.source();
    }
    Fault::Broken("the other side ended the connection".to_owned())
}

/// Bytes of an answer's head, and of what is read at a time.
const MAX_HEAD: usize = 64 * 1024;
