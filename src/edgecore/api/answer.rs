//! Answers: JSON that is there, JSON that is made while it is sent, and errors as Kubernetes says them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use smol::channel::{Receiver, Sender, bounded};
use smol::stream::Stream;

pub type Answer = Response<Content>;

/// What is sent.
pub enum Content {
    Whole(Option<Bytes>),
    Made(Made),
}

/// Made by a future that gets on only as fast as the client takes it.
pub struct Made {
    work: Option<Pin<Box<dyn Future<Output = ()>>>>,
    pieces: Pin<Box<Receiver<Bytes>>>,
}

/// Where the future puts what it made; an error when nobody takes it any more.
pub struct Pieces(Sender<Bytes>);

impl Pieces {
    pub async fn send(&self, piece: impl Into<Bytes>) -> Result<(), Gone> {
        self.0.send(piece.into()).await.map_err(|_| Gone)
    }
}

/// The client is gone.
pub struct Gone;

pub fn json_of(status: StatusCode, value: &Value) -> Answer {
    let text = format!("{value}\n");
    typed(status, Content::Whole(Some(text.into())))
}

pub fn text(text: String) -> Answer {
    typed(StatusCode::OK, Content::Whole(Some(text.into())))
}

pub fn plain(text: &'static str) -> Answer {
    let mut answer = Response::new(Content::Whole(Some(Bytes::from_static(text.as_bytes()))));
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// Sends what the work puts into the pieces.
pub fn made<F: Future<Output = ()> + 'static>(work: impl FnOnce(Pieces) -> F) -> Answer {
    let (sender, receiver) = bounded(1);
    let content = Content::Made(Made {
        work: Some(Box::pin(work(Pieces(sender)))),
        pieces: Box::pin(receiver),
    });
    typed(StatusCode::OK, content)
}

fn typed(status: StatusCode, content: Content) -> Answer {
    let mut answer = Response::new(content);
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// Why there is no object, in Kubernetes' words.
pub fn refusal(code: StatusCode, reason: &str, message: &str) -> Answer {
    let mut answer = json_of(code, &status(code, reason, message));
    if code == StatusCode::TOO_MANY_REQUESTS {
        let wait = HeaderValue::from_static("5");
        answer.headers_mut().insert(RETRY_AFTER, wait);
    }
    answer
}

/// What was done, likewise.
pub fn done(message: &str) -> Answer {
    let said = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "message": message, "code": 200});
    json_of(StatusCode::OK, &said)
}

pub fn status(code: StatusCode, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16()})
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = |bytes: Option<Bytes>| bytes.map(|bytes| Ok(Frame::data(bytes)));
        match self.get_mut() {
            Content::Whole(bytes) => Poll::Ready(frame(bytes.take())),
            Content::Made(made) => made.poll(context).map(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Content::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Content::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Made(_) => SizeHint::default(),
        }
    }
}

impl Made {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Poll::Ready(piece) = self.pieces.as_mut().poll_next(context) {
                return Poll::Ready(piece);
            }
            // When it is through, its end of the channel is gone, which ends the pieces as well.
            let Some(work) = &mut self.work else {
                return Poll::Pending;
            };
            match work.as_mut().poll(context) {
                Poll::Ready(()) => self.work = None,
                Poll::Pending => return self.pieces.as_mut().poll_next(context),
            }
        }
    }
}
