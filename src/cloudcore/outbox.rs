//! What waits to be sent to one edge: bounded, because an edge may read slowly or not at all.
//!
//! Policy when full: the session ends as too slow. Where all outboxes together hold too much, the one that
//! holds most ends. Nothing is dropped in silence, and what was waiting is sent again after the edge has come
//! back.

mod line;
mod room;
#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Instant;

pub use line::Item;
use line::{Line, Turn};
pub use room::Room;
use smol::Timer;
use smol::future::or;

use super::sending::is_small;
use crate::protocol::message::Message;

/// The sending end of a session; clones are the same outbox.
#[derive(Clone, Default)]
pub struct Outbox(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    queue: VecDeque<Message>,
    bytes: usize,
    /// Of the message that was taken last, until the next one is, and of one that waits for its turn.
    going: usize,
    room: Room,
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
    /// The same for one that was sent before and not acknowledged; `dropped` when it is not the
    /// edge's any more.
    Again(Item, bool),
}

/// Why a session is ended from our side, other than by what happens on the tunnel itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The CA of its certificate counts no more.
    CaRetired,
    /// All outboxes together hold too much, and this one most of it.
    Crowded,
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
    /// One that shares this room with others.
    pub fn within(room: Room) -> Outbox {
        let outbox = Outbox::default();
        outbox.lock().room = room;
        outbox
    }

    /// Puts a message in line; false when the session ends, at the latest because of this message.
    pub fn push(&self, message: Message) -> bool {
        let bytes = weight(&message);
        loop {
            let mut state = self.lock();
            let fits = state.queue.is_empty() || state.bytes + bytes <= MAX_BYTES;
            if !fits || state.queue.len() >= MAX_MESSAGES {
                state.close(Ending::TooSlow);
            }
            if state.ending.is_some() {
                wake(state);
                return false;
            }
            let wanted = state.held() + bytes;
            if state.room.grow(state.address(), &self.0, wanted) {
                state.bytes += bytes;
                state.queue.push_back(message);
                wake(state);
                return true;
            }
            let room = state.room.clone();
            drop(state);
            match room.fullest() {
                Some((most, other)) if most >= room::above(wanted) => {
                    Outbox(other).end(Ending::Crowded)
                }
                _ => self.end(Ending::Crowded),
            }
        }
    }

    /// Ends the session; of several reasons the first one stays.
    pub fn end(&self, ending: Ending) {
        let mut state = self.lock();
        state.close(ending);
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

    /// Whether an object of `next` is still to be sent, as it is from now on; if it had to wait, that may have changed.
    pub fn goes(&self, item: &Item, again: bool) -> bool {
        let mut state = self.lock();
        let line = state.line.as_mut();
        line.is_none_or(|line| line.goes(item, again))
    }

    /// An object goes out in this message, which may get the id that it had before.
    pub fn sent(&self, item: Item, new: bool, message: &mut Message) {
        let mut state = self.lock();
        let line = state.line.get_or_insert_default();
        line.sent(item, new, message, Instant::now());
    }

    /// The message with this id has gone out whole; if it is an object, its acknowledgement is waited for from now on.
    pub fn written(&self, id: &str) {
        if let Some(line) = &mut self.lock().line {
            line.written(id, Instant::now());
        }
    }

    /// There is nothing to send for what was in line.
    pub fn dropped(&self, item: &Item) {
        if let Some(line) = &mut self.lock().line {
            line.dropped(item);
        }
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

    /// What may go before that which `next` gave last, and which waits for its turn among large ones to all edges:
    /// a message that need not wait, and is not about the same as one that does, lest an edge take what is older for
    /// what counts. `held`: what waits, if it is a message. For the same task.
    pub async fn passing(&self, held: Option<&Message>) -> Arc<Message> {
        poll_fn(|context| {
            let mut state = self.lock();
            match state.pass(held) {
                Some(message) => Poll::Ready(Arc::new(message)),
                None => {
                    state.remember(context.waker());
                    Poll::Pending
                }
            }
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

    #[cfg(test)]
    /// Of what waits, and of a line of objects, which is there while some are on their way.
    pub fn sizes() -> [usize; 2] {
        [size_of::<Mutex<State>>(), size_of::<Line>()]
    }

    #[cfg(test)]
    /// Messages that wait.
    pub fn queued(&self) -> usize {
        self.lock().queue.len()
    }

    #[cfg(test)]
    /// Whether an object of this name waits in line.
    pub fn waits(&self, name: &str) -> bool {
        let state = self.lock();
        state.line.as_ref().is_some_and(|line| line.waits(name))
    }

    #[cfg(test)]
    /// When an object of this name is sent again.
    pub fn due(&self, name: &str) -> Option<Instant> {
        self.lock().line.as_ref()?.due(name)
    }

    /// No code panics while it holds the lock, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What waits is of no use any more; of several reasons the first one stays.
    fn close(&mut self, ending: Ending) {
        self.ending.get_or_insert(ending);
        (self.queue, self.line) = (VecDeque::new(), None);
        (self.bytes, self.going) = (0, 0);
        self.room.shrink(self.address(), 0);
    }

    /// Bytes of messages; of objects only names wait.
    fn held(&self) -> usize {
        self.bytes + self.going
    }

    /// By which the room knows it.
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// What to send, or when to look again; neither when nothing is to be done.
    fn take(&mut self) -> (Option<Result<Next, Ending>>, Option<Instant>) {
        self.changed = false;
        self.gone_but(0);
        if let Some(ending) = self.ending {
            return (Some(Err(ending)), None);
        }
        if let Some(message) = self.queue.pop_front() {
            self.going(&message);
            return (Some(Ok(Next::Message(Arc::new(message)))), None);
        }
        let Some(line) = &mut self.line else {
            return (None, None);
        };
        match line.turn(Instant::now()) {
            Turn::Push(item, new) => (Some(Ok(Next::Push(item, new))), None),
            Turn::Again(item, new) => (Some(Ok(Next::Again(item, new))), None),
            Turn::Wait(until) => (None, Some(until)),
            Turn::Nothing => {
                self.line = None;
                (None, None)
            }
        }
    }

    /// What may go although something else waits for its turn.
    fn pass(&mut self, held: Option<&Message>) -> Option<Message> {
        if self.ending.is_some() {
            return None;
        }
        self.gone_but(held.map_or(0, weight));
        let mut waiting: HashSet<&str> = held.map(about).into_iter().collect();
        let index = self.queue.iter().position(|message| {
            let about = about(message);
            let passes = is_small(weight(message)) && !waiting.contains(about);
            if !passes {
                waiting.insert(about);
            }
            passes
        })?;
        let message = self.queue.remove(index)?;
        self.going(&message);
        Some(message)
    }

    /// This message was taken, and is held until it has gone, which may take long.
    fn going(&mut self, message: &Message) {
        let bytes = weight(message);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.going += bytes;
        if self.queue.is_empty() {
            // Thousands of sessions are idle: a burst must not cost memory for ever.
            self.queue = VecDeque::new();
        }
    }

    /// What was taken has gone, but for so many bytes.
    fn gone_but(&mut self, bytes: usize) {
        if std::mem::replace(&mut self.going, bytes) > bytes {
            self.room.shrink(self.address(), self.held());
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

impl Drop for State {
    fn drop(&mut self) {
        self.room.shrink(self.address(), 0);
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

/// The name of what it is about. A patch and what it changes are of different types, and have the same name.
fn about(message: &Message) -> &str {
    let resource = message.route.resource.as_str();
    resource.rsplit_once('/').map_or(resource, |(_, name)| name)
}

/// About the bytes on the wire.
pub fn weight(message: &Message) -> usize {
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
