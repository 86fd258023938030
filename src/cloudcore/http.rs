//! HTTP/1 on one connection, with every length and every wait bounded; what is answered is not
//! its business.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use smol::Timer;
use smol::future::or;
use smol::io::AsyncReadExt;
use smol_hyper::rt::{FuturesIo, SmolTimer};

use super::cloud::Stop;
use crate::system::body::Whole;
use crate::tunnel::Stream;

/// An answer that is complete when it is made.
pub type Answer = Response<Whole>;

/// The answer to one request, on its way.
pub type Answering<'a> = Pin<Box<dyn Future<Output = (Answer, Rest)> + Send + 'a>>;

/// Serves requests until the connection ends, breaks a bound, or cloudcore stops.
pub async fn serve<'a>(
    stream: &mut (dyn Stream + Send),
    stop: &Stop,
    answer: &(dyn Fn(Request<Incoming>) -> Answering<'a> + Sync),
) -> End {
    let (unread, any) = (AtomicBool::new(false), AtomicBool::new(false));
    let service = service_fn(|request: Request<Incoming>| {
        any.store(true, Ordering::Relaxed);
        let answered = answer(request);
        let unread = &unread;
        async move {
            let (answer, rest) = answered.await;
            if matches!(rest, Rest::Unread) {
                unread.store(true, Ordering::Relaxed);
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let served = {
        let connection = Builder::new()
            .timer(SmolTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .max_buf_size(MAX_HEAD)
            .serve_connection(FuturesIo::new(&mut *stream), service);
        let mut connection = pin!(connection);
        let whole = async {
            let first = or(async { Some(connection.as_mut().await) }, async {
                stop.wait().await;
                None
            });
            match first.await {
                Some(ended) => ended,
                None => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        };
        let whole = async { whole.await.map_or_else(End::of, |()| End::Over) };
        or(whole, async {
            Timer::after(CONNECTION_DEADLINE).await;
            End::TooLong
        })
        .await
    };
    if matches!(served, End::Malformed | End::TooLarge) || unread.into_inner() {
        linger(stream).await;
    }
    match served {
        // To rest after an answer until the deadline is what a client may do.
        End::Slow if any.into_inner() => End::Over,
        other => other,
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In the middle of something, by the client.
    Left,
    /// What came was no HTTP.
    Malformed,
    /// In order.
    Over,
    /// No head came in time.
    Slow,
    /// The head was too large.
    TooLarge,
    /// It lasted longer than any connection may.
    TooLong,
}

impl End {
    fn of(error: hyper::Error) -> End {
        if error.is_parse_too_large() {
            End::TooLarge
        } else if error.is_parse() {
            End::Malformed
        } else if error.is_timeout() {
            End::Slow
        } else {
            End::Left
        }
    }
}

/// What became of the request's body.
pub enum Rest {
    Read,
    /// It was not read to its end, so that the connection can't go on.
    Unread,
}

/// Why a body is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBody {
    Broken,
    TooLarge,
    TooSlow,
}

/// The whole body, if it comes in time and is not too large.
pub async fn body(incoming: &mut Incoming) -> Result<Vec<u8>, NoBody> {
    let announced = incoming.size_hint().lower();
    if announced > MAX_BODY as u64 {
        return Err(NoBody::TooLarge);
    }
    let mut whole = Vec::with_capacity(announced as usize);
    let read = async {
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut *incoming).poll_frame(cx)).await {
            let frame = frame.map_err(|_| NoBody::Broken)?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            if whole.len() + data.len() > MAX_BODY {
                return Err(NoBody::TooLarge);
            }
            whole.extend_from_slice(data);
        }
        Ok(())
    };
    let late = async {
        Timer::after(BODY_DEADLINE).await;
        Err(NoBody::TooSlow)
    };
    or(read, late).await?;
    Ok(whole)
}

impl NoBody {
    pub fn status(self) -> StatusCode {
        match self {
            NoBody::Broken => StatusCode::BAD_REQUEST,
            NoBody::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            NoBody::TooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// A short label for counters.
    pub fn reason(self) -> &'static str {
        match self {
            NoBody::Broken => "body-broken",
            NoBody::TooLarge => "body-too-large",
            NoBody::TooSlow => "body-slow",
        }
    }

    pub fn sentence(self) -> &'static str {
        match self {
            NoBody::Broken => "the body is broken off or malformed",
            NoBody::TooLarge => "the body is larger than 64 KiB",
            NoBody::TooSlow => "the body took too long",
        }
    }
}

/// A sentence for people.
pub fn text(status: StatusCode, sentence: impl Into<Bytes>) -> Answer {
    typed(status, "text/plain; charset=utf-8", sentence)
}

pub fn typed(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Whole(Some(body.into())));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// An answer that says when to come again.
pub fn later(status: StatusCode, seconds: u16, sentence: impl Into<Bytes>) -> Answer {
    let mut answer = text(status, sentence);
    answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    answer
}

/// The answer to a method that the page does not have.
pub fn wrong_method(allowed: &'static str) -> Answer {
    let mut answer = text(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("only {allowed} works here"),
    );
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// HTTP/1.1 has a Host header, exactly one; its value does not matter here.
pub fn without_host(request: &Request<Incoming>) -> bool {
    let hosts = request.headers().get_all(HOST).iter().count();
    hosts > 1 || hosts == 0 && request.version() == Version::HTTP_11
}

/// Takes in what a client still sends, so that it gets to read our answer and not a reset.
async fn linger(stream: &mut (dyn Stream + Send)) {
    let discard = async {
        let mut chunk = [0; 2048];
        let mut left = MAX_DISCARDED;
        while let Ok(count) = stream.read(&mut chunk).await {
            left = left.saturating_sub(count);
            if count == 0 || left == 0 {
                return;
            }
        }
    };
    or(discard, async {
        Timer::after(LINGERING).await;
    })
    .await;
}

pub const ONE_HOST: &str = "one Host header is needed";

/// Bytes of a request head; above it the answer is 431.
const MAX_HEAD: usize = 16 * 1024;

/// Bytes of a request body; above it the answer is 413. A certificate request has about 300.
const MAX_BODY: usize = 64 * 1024;

/// From the moment we wait for a head until it is there: of a resting connection too.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// For a connection with all its requests.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(120);

const LINGERING: Duration = Duration::from_secs(2);

/// Bytes.
const MAX_DISCARDED: usize = 8 * 1024 * 1024;
