//! The certificate API's HTTP: requests as cloudcore gets them, answers as edgecore gets them.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use kubeedge::cloudcore::Stop;
use kubeedge::cloudcore::http::{Answering, Rest, body, serve, text};
use kubeedge::protocol::enrollment::CertificateApi;
use kubeedge::protocol::portal::Beginning;
use kubeedge::system::bypass::Bypass;
use kubeedge::system::clock::Clock;
use kubeedge::system::proxy::Proxy;
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use super::assert_sentence;
use super::memory::Peer;

const MAX_BODY: usize = 64 * 1024;

/// Requests, one behind another: each gets one whole answer, and a body within the bound or none.
pub fn head(data: &[u8]) {
    let (stop, _stopper) = Stop::new();
    let mut peer = Peer::new(data);
    let read = |mut request: Request<Incoming>| -> Answering {
        Box::pin(async move {
            match body(request.body_mut()).await {
                Ok(whole) => {
                    assert!(whole.len() <= MAX_BODY, "{} bytes", whole.len());
                    (text(StatusCode::OK, "read"), Rest::Read)
                }
                Err(_) => (text(StatusCode::BAD_REQUEST, "unread"), Rest::Unread),
            }
        })
    };
    smol::block_on(serve(&mut peer, &stop, &read));
    let said = String::from_utf8(peer.written).expect("we answer with text");
    let answers = said.matches("HTTP/1.").count();
    assert!(said.is_empty() || said.starts_with("HTTP/1."), "{said:?}");
    assert!(
        answers <= 1 + data.len() / 16,
        "{answers} answers to {} bytes",
        data.len()
    );
}

/// Whatever a cloud, or who poses as one, answers to an edge: a status and a body within the bound, or a sentence.
pub fn answer(data: &[u8]) {
    let api = CertificateApi {
        endpoint: "192.0.2.1:10002".parse().expect("an endpoint"),
        way: kubeedge::system::way::Way::default(),
        known: Vec::new(),
        deadline: Duration::from_secs(5),
        clock: Clock::system(),
    };
    match api.exchange(
        Said(data.to_vec()),
        "/edge.crt",
        &[("NodeName", "edge-1")],
        b"request",
    ) {
        Ok(reply) => {
            let size = reply.body.len();
            assert!(size <= MAX_BODY && size <= data.len(), "{size} bytes");
            let status = reply.status.as_str();
            let said = data.windows(3).any(|part| part == status.as_bytes());
            assert!(said, "{status} was never said");
            let wait = reply.retry_after.unwrap_or_default();
            assert!(
                wait <= Duration::from_secs(3600),
                "{wait:?} is no wait but an end"
            );
        }
        Err(error) => {
            assert_sentence(&error.to_string());
            assert!(error.retryable(), "no answer is no refusal: {error}");
        }
    }
}

/// What answers where TLS is expected, in pieces as they come: a portal that is named by one plain host, or none.
pub fn portal(data: &[u8]) {
    let dialled = "192.0.2.1:10002".parse().expect("an endpoint");
    let mut beginning = Beginning::default();
    for piece in data.chunks(if data.len().is_multiple_of(2) {
        7
    } else {
        1500
    }) {
        beginning.note(piece);
    }
    let Some(portal) = beginning.portal(&dialled) else {
        return;
    };
    assert!(data.starts_with(b"HTTP/"), "{portal}");
    let said = portal.to_string();
    assert_sentence(&said);
    assert!(
        said.is_ascii() && !said.contains(['@', '\n', '\x1b']),
        "{said:?}"
    );
}

/// A proxy's URL, what goes past it, and its answer to CONNECT, with a line end between.
pub fn proxy(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let mut text = || std::str::from_utf8(parts.next().unwrap_or_default());
    let (Ok(url), Ok(except)) = (text(), text()) else {
        return;
    };
    let mut proxy = match url.parse::<Proxy>() {
        Ok(proxy) => proxy,
        Err(error) => return assert_sentence(&error.to_string()),
    };
    assert_eq!(
        proxy.url().parse::<Proxy>().map(|it| it.endpoint),
        Ok(proxy.endpoint.clone())
    );
    if let Some(credentials) = &proxy.credentials {
        // What is sent in a header cannot end the header, and no log shows it.
        assert!(!credentials.expose().contains(char::is_control));
        assert_eq!(format!("{credentials:?}"), "Credentials");
    }
    proxy.bypass = Bypass::of(except.split(','));
    let target = "cloud.example:10000".parse().expect("an endpoint");
    let _ = proxy.bypass.spares(&target);
    let answer = parts.next().unwrap_or_default();
    let mut peer = Peer::new(answer);
    match smol::block_on(proxy.open(&mut peer, &target)) {
        Ok(()) => {
            let head = answer.windows(4).position(|part| part == b"\r\n\r\n");
            let head = &answer[..head.expect("a whole head")];
            assert!(
                head.windows(2).any(|part| part == b" 2"),
                "{head:?} opens no way"
            );
        }
        Err(fault) => assert_sentence(&fault.to_string()),
    }
    let asked = String::from_utf8(peer.written).expect("a request is text");
    assert!(asked.starts_with("CONNECT cloud.example:10000 HTTP/1.1\r\n"));
    assert!(asked.lines().count() <= 4, "{asked:?}");
}

/// Connects to one who says these bytes and closes.
#[derive(Debug)]
struct Said(Vec<u8>);

impl<In: Transport> Connector<In> for Said {
    type Out = Connection;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<In>,
    ) -> Result<Option<Connection>, Error> {
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(Connection {
            buffers,
            said: self.0.clone(),
            read: 0,
        }))
    }
}

struct Connection {
    buffers: LazyBuffers,
    said: Vec<u8>,
    read: usize,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, _: usize, _: NextTimeout) -> Result<(), Error> {
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        let room = self.buffers.input_append_buf();
        let rest = &self.said[self.read..];
        let piece = if self.read.is_multiple_of(2) { 7 } else { 1500 };
        let count = rest.len().min(room.len()).min(piece);
        room[..count].copy_from_slice(&rest[..count]);
        self.buffers.input_appended(count);
        self.read += count;
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        true
    }

    fn is_tls(&self) -> bool {
        true
    }
}
