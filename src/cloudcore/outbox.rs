//! What waits to be sent to one edge: bounded, because an edge may read slowly or not at all.
//!
//! Policy when full: the session ends as too slow. Nothing is dropped in silence, and what was
//! waiting is sent again after the edge has come back.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::protocol::message::Message;

/// The sending end of a session; clones are the same outbox.
#[derive(Clone, Default)]
pub struct Outbox(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    queue: VecDeque<Message>,
    bytes: usize,
    ending: Option<Ending>,
    waker: Option<Waker>,
}

/// Why a session is ended from our side, other than by what happens on the tunnel itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The CA of its certificate counts no more.
    CaRetired,
    /// A token gave the node's name to another key.
    KeyReplaced,
    /// A newer connection of the same node took its place.
    Replaced,
    /// The node's keys were revoked.
    Revoked,
    /// cloudcore stops.
    Stopping,
    /// More waits to be sent than the outbox may hold.
    TooSlow,
}

impl Outbox {
    /// Puts a message in line; false when the session ends, at the latest because of this message.
    pub fn push(&self, message: Message) -> bool {
        let mut state = self.lock();
        let bytes = weight(&message);
        let fits = state.queue.is_empty() || state.bytes + bytes <= MAX_BYTES;
        if !fits || state.queue.len() >= MAX_MESSAGES {
            state.ending.get_or_insert(Ending::TooSlow);
        }
        if state.ending.is_none() {
            state.bytes += bytes;
            state.queue.push_back(message);
        }
        let open = state.ending.is_none();
        wake(state);
        open
    }

    /// Ends the session; of several reasons the first one stays.
    pub fn end(&self, ending: Ending) {
        let mut state = self.lock();
        state.ending.get_or_insert(ending);
        wake(state);
    }

    /// The next message to send, or why there will be none any more. For one task only.
    pub async fn next(&self) -> Result<Message, Ending> {
        poll_fn(|context| {
            let mut state = self.lock();
            if let Some(ending) = state.ending {
                state.queue = VecDeque::new();
                return Poll::Ready(Err(ending));
            }
            if let Some(message) = state.queue.pop_front() {
                state.bytes = state.bytes.saturating_sub(weight(&message));
                if state.queue.is_empty() {
                    // Thousands of sessions are idle: a burst must not cost memory for ever.
                    state.queue = VecDeque::new();
                }
                return Poll::Ready(Ok(message));
            }
            state.remember(context.waker());
            Poll::Pending
        })
        .await
    }

    /// Returns when the session is to end; for the same task, while it is busy sending.
    pub async fn ended(&self) -> Ending {
        poll_fn(|context| {
            let mut state = self.lock();
            match state.ending {
                Some(ending) => Poll::Ready(ending),
                None => {
                    state.remember(context.waker());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// No code panics while it holds the lock, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remember(&mut self, waker: &Waker) {
        if !self
            .waker
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            self.waker = Some(waker.clone());
        }
    }
}

/// Wakes outside the lock, since a waker may run other code at once.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// About the bytes on the wire.
fn weight(message: &Message) -> usize {
    message
        .content
        .as_ref()
        .map_or(0, |content| content.get().len())
        + message.route.resource.len()
        + OVERHEAD
}

/// Messages that may wait in one outbox.
const MAX_MESSAGES: usize = 256;

/// Bytes that may wait in one outbox; a single larger message is taken when it is alone.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Header, route and JSON punctuation of a message.
const OVERHEAD: usize = 256;

#[cfg(test)]
mod tests {
    use smol::future::{block_on, poll_once};

    use super::*;
    use crate::protocol::message::Route;
    use crate::system::clock::Timestamp;

    fn message(bytes: usize) -> Message {
        Message::new(
            Timestamp::from_unix(1),
            Route::default(),
            &"x".repeat(bytes),
        )
    }

    #[test]
    fn messages_come_out_in_order_and_a_waiting_task_is_woken() {
        let outbox = Outbox::default();
        let (first, second) = (message(1), message(2));
        block_on(async {
            let mut next = Box::pin(outbox.next());
            assert!(poll_once(&mut next).await.is_none());
            assert!(outbox.push(first.clone()));
            assert!(outbox.push(second.clone()));
            assert_eq!(next.await.unwrap().header.id, first.header.id);
            assert_eq!(outbox.next().await.unwrap().header.id, second.header.id);
            assert!(poll_once(outbox.next()).await.is_none());
        });
        assert_eq!(outbox.lock().bytes, 0);
    }

    #[test]
    fn too_many_messages_end_the_session() {
        let outbox = Outbox::default();
        assert!((0..MAX_MESSAGES).all(|_| outbox.push(message(1))));
        assert!(!outbox.push(message(1)));
        assert_eq!(block_on(outbox.next()).unwrap_err(), Ending::TooSlow);
        assert!(outbox.lock().queue.is_empty());
    }

    #[test]
    fn too_many_bytes_end_the_session_but_one_large_message_passes() {
        let outbox = Outbox::default();
        assert!(outbox.push(message(2 * MAX_BYTES)));
        assert!(block_on(outbox.next()).is_ok());
        assert!(outbox.push(message(MAX_BYTES - 1000)));
        assert!(!outbox.push(message(1000)));
        assert_eq!(block_on(outbox.next()).unwrap_err(), Ending::TooSlow);
    }

    #[test]
    fn an_end_is_heard_while_sending() {
        let outbox = Outbox::default();
        block_on(async {
            let mut ended = Box::pin(outbox.ended());
            assert!(poll_once(&mut ended).await.is_none());
            assert!(outbox.push(message(1)));
            assert!(poll_once(&mut ended).await.is_none());
            outbox.end(Ending::Stopping);
            assert_eq!(ended.await, Ending::Stopping);
        });
    }

    #[test]
    fn the_first_reason_stays() {
        let outbox = Outbox::default();
        outbox.end(Ending::Replaced);
        outbox.end(Ending::Stopping);
        assert!(!outbox.push(message(1)));
        assert_eq!(block_on(outbox.next()).unwrap_err(), Ending::Replaced);
    }
}
