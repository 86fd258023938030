//! A stream that counts what is only partly received, against a budget that all tunnels share.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use smol::io::{AsyncRead, AsyncWrite};

/// How many bytes of incomplete messages all tunnels together may hold.
#[derive(Clone, Debug)]
pub struct Budget(Arc<AtomicUsize>);

impl Budget {
    pub fn new(bytes: usize) -> Self {
        Budget(Arc::new(AtomicUsize::new(bytes)))
    }

    /// What is left, in bytes.
    pub fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let spend = |left: usize| left.checked_sub(bytes);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend)
            .is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What one tunnel holds of the budget; given back when a message is complete, or at the end.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    held: AtomicUsize,
    /// All that ever came; wraps, as only changes matter.
    received: AtomicUsize,
}

impl Share {
    /// Changes whenever anything came, be it a part of a message: a sign of life.
    pub fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes of a message that is not complete.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// So many of the bytes held belonged to no message.
    pub fn give_back(&self, bytes: usize) {
        let mut given = 0;
        let less = |held: usize| {
            given = bytes.min(held);
            Some(held - given)
        };
        let changed = self
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        if changed.is_ok() {
            self.budget.give_back(given);
        }
    }

    /// A message is complete: its bytes are no longer "partly received".
    pub fn settle(&self) {
        self.budget.give_back(self.held.swap(0, Ordering::Relaxed));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.settle();
    }
}

/// A stream whose reads are charged to a share.
///
/// A peer that sends faster than it is read never makes its reader wait. So after some reads in a
/// row this stream asks the reader to, and everybody else on the executor gets a turn.
#[derive(Debug)]
pub struct Metered<S> {
    stream: S,
    share: Arc<Share>,
    in_a_row: u8,
}

impl<S> Metered<S> {
    pub fn new(stream: S, budget: &Budget) -> Self {
        let share = Arc::new(Share {
            budget: budget.clone(),
            held: AtomicUsize::new(0),
            received: AtomicUsize::new(0),
        });
        Metered {
            stream,
            share,
            in_a_row: 0,
        }
    }

    pub fn share(&self) -> Arc<Share> {
        self.share.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.in_a_row == TURN {
            self.in_a_row = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.in_a_row = match polled {
            Poll::Ready(_) => self.in_a_row + 1,
            Poll::Pending => 0,
        };
        if let Poll::Ready(Ok(count)) = polled {
            if !self.share.budget.take(count) {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::QuotaExceeded, OVER)));
            }
            self.share.held.fetch_add(count, Ordering::Relaxed);
            self.share.received.fetch_add(count, Ordering::Relaxed);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// Reads in a row before others get a turn; a read has at most 4 KiB.
const TURN: u8 = 4;

const OVER: &str = "the budget for partly received messages is used up";

#[cfg(test)]
mod tests {
    use smol::io::AsyncReadExt;

    use super::*;

    #[test]
    fn a_stream_that_always_has_more_lets_others_have_a_turn() {
        let mut stream = Metered::new(smol::io::repeat(0), &Budget::new(usize::MAX));
        let reading = async {
            let mut byte = [0];
            while stream.read(&mut byte).await.is_ok() {}
        };
        let mut turns = 0;
        let others = async {
            while turns < 3 {
                turns += 1;
                smol::future::yield_now().await;
            }
        };
        smol::block_on(smol::future::or(reading, others));
        assert_eq!(turns, 3);
    }

    #[test]
    fn the_budget_is_shared_settled_and_given_back() {
        let budget = Budget::new(10);
        let mut one = Metered::new(&b"123456"[..], &budget);
        let mut two = Metered::new(&b"123456"[..], &budget);
        let mut buffer = [0; 6];
        smol::block_on(async {
            one.read_exact(&mut buffer).await.unwrap();
            assert_eq!(budget.left(), 4);
            assert_eq!(one.share().received(), 6);
            let refused = two.read_exact(&mut buffer).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::QuotaExceeded);
        });
        one.share().settle();
        assert_eq!(budget.left(), 10);
        let mut three = Metered::new(&b"12"[..], &budget);
        smol::block_on(three.read_exact(&mut buffer[..2])).unwrap();
        assert_eq!(budget.left(), 8);
        three.share().give_back(1);
        assert_eq!((budget.left(), three.share().held()), (9, 1));
        three.share().give_back(100);
        assert_eq!(budget.left(), 10);
        drop(three);
        assert_eq!(budget.left(), 10);
    }
}
