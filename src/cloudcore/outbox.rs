//! What waits to be sent to one edge: bounded, because an edge may read slowly or not at all.
//!
//! Policy when full: the session ends as too slow. Nothing is dropped in silence, and what was
//! waiting is sent again after the edge has come back.

mod line;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Instant;

pub use line::Item;
use line::{Line, Turn};
use smol::Timer;
use smol::future::or;

use crate::protocol::message::Message;

/// The sending end of a session; clones are the same outbox.
#[derive(Clone, Default)]
pub struct Outbox(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    queue: VecDeque<Message>,
    bytes: usize,
    /// Objects, while there are any on their way.
    line: Option<Box<Line>>,
    ending: Option<Ending>,
    /// Something has come since the line was looked at.
    changed: bool,
    waker: Option<Waker>,
}

/// What is to be sent.
#[derive(Debug)]
pub enum Next {
    Message(Arc<Message>),
    /// An object, as it is now; with whether the edge never had it. To be reported by `sent`.
    Push(Item, bool),
    /// Bytes that were sent before and not acknowledged.
    Again(Arc<Message>),
}

/// Why a session is ended from our side, other than by what happens on the tunnel itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The CA of its certificate counts no more.
    CaRetired,
    /// A token gave the node's name to another key.
    KeyReplaced,
    /// The node was deleted.
    NodeDeleted,
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

    /// Puts objects in line, each with whether the edge never had it; those that wait stay where
    /// they are.
    pub fn offer(&self, items: impl IntoIterator<Item = (Item, bool)>) {
        let mut state = self.lock();
        if state.ending.is_none() {
            let line = state.line.get_or_insert_default();
            items
                .into_iter()
                .for_each(|(item, new)| line.offer(item, new));
        }
        wake(state);
    }

    /// An object goes out in this message.
    pub fn sent(&self, item: Item, new: bool, message: &Arc<Message>) {
        let mut state = self.lock();
        let line = state.line.get_or_insert_default();
        line.sent(item, new, message.clone(), Instant::now());
    }

    /// What the edge has acknowledged by this id, if that was an object, and of which version.
    pub fn acknowledged(&self, id: &str) -> Option<(Item, u64)> {
        let mut state = self.lock();
        let item = state.line.as_mut()?.acknowledged(id)?;
        wake(state);
        Some(item)
    }

    /// What to send next, or why there will be nothing any more. For one task only.
    pub async fn next(&self) -> Result<Next, Ending> {
        loop {
            let (next, due) = poll_fn(|context| {
                let mut state = self.lock();
                let taken = state.take();
                if let (None, None) = taken {
                    state.remember(context.waker());
                    return Poll::Pending;
                }
                Poll::Ready(taken)
            })
            .await;
            if let Some(next) = next {
                return next;
            }
            let changed = poll_fn(|context| {
                let mut state = self.lock();
                if state.is_urgent() {
                    return Poll::Ready(());
                }
                state.remember(context.waker());
                Poll::Pending
            });
            or(changed, async {
                Timer::at(due.unwrap_or_else(Instant::now)).await;
            })
            .await;
        }
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

    #[cfg(test)]
    /// Of what waits, and of a line of objects, which is there while some are on their way.
    pub fn sizes() -> [usize; 2] {
        [size_of::<Mutex<State>>(), size_of::<Line>()]
    }

    /// No code panics while it holds the lock, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What to send, or when to look again; neither when nothing is to be done.
    fn take(&mut self) -> (Option<Result<Next, Ending>>, Option<Instant>) {
        self.changed = false;
        if let Some(ending) = self.ending {
            (self.queue, self.line) = (VecDeque::new(), None);
            return (Some(Err(ending)), None);
        }
        if let Some(message) = self.queue.pop_front() {
            self.bytes = self.bytes.saturating_sub(weight(&message));
            if self.queue.is_empty() {
                // Thousands of sessions are idle: a burst must not cost memory for ever.
                self.queue = VecDeque::new();
            }
            return (Some(Ok(Next::Message(Arc::new(message)))), None);
        }
        let Some(line) = &mut self.line else {
            return (None, None);
        };
        match line.turn(Instant::now()) {
            Turn::Push(item, new) => (Some(Ok(Next::Push(item, new))), None),
            Turn::Again(message) => (Some(Ok(Next::Again(message))), None),
            Turn::Wait(until) => (None, Some(until)),
            Turn::Nothing => {
                self.line = None;
                (None, None)
            }
        }
    }

    /// Whether there is something to do before any object is due again.
    fn is_urgent(&mut self) -> bool {
        let changed = std::mem::take(&mut self.changed);
        changed || self.ending.is_some() || !self.queue.is_empty()
    }

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
    state.changed = true;
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
    use crate::protocol::resource::{Kind, ObjectPath};
    use crate::system::clock::Timestamp;

    fn message(bytes: usize) -> Message {
        Message::new(
            Timestamp::from_unix(1),
            Route::default(),
            &"x".repeat(bytes),
        )
    }

    async fn next(outbox: &Outbox) -> Arc<Message> {
        match outbox.next().await {
            Ok(Next::Message(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn objects_come_when_no_message_waits_and_leave_nothing_behind() {
        let path = ObjectPath::of_cluster(Kind::Node, "edge-1");
        let item = Item {
            path: Arc::new(path),
            gone: None,
        };
        let outbox = Outbox::default();
        block_on(async {
            outbox.offer([(item.clone(), true)]);
            assert!(outbox.push(message(1)));
            next(&outbox).await;
            assert!(matches!(outbox.next().await, Ok(Next::Push(it, true)) if it == item));
            let sent = Arc::new(message(1));
            outbox.sent(item.clone(), true, &sent);
            let mut waiting = Box::pin(outbox.next());
            assert!(poll_once(&mut waiting).await.is_none());
            outbox.offer([(item.clone(), false)]);
            assert!(poll_once(&mut waiting).await.is_none(), "one at a time");
            assert_eq!(
                outbox.acknowledged(&sent.header.id),
                Some((item.clone(), 0))
            );
            assert!(matches!(waiting.await, Ok(Next::Push(_, false))));
            assert!(poll_once(outbox.next()).await.is_none());
        });
        assert!(outbox.lock().line.is_none());
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
            let sent = next.await;
            assert!(matches!(sent, Ok(Next::Message(it)) if it.header.id == first.header.id));
            assert_eq!(
                super::tests::next(&outbox).await.header.id,
                second.header.id
            );
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
