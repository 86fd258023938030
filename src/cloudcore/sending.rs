//! How much may be on its way out at a time: large messages to all edges share it, and wait for their turn.
//!
//! A message that is written is there several times, as an object, as text and in the buffers of its tunnel. When
//! a thousand nodes are to have the same large object, they get it some after the others.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Clones are the same.
#[derive(Clone)]
pub struct Sending(Arc<Mutex<State>>);

struct State {
    left: usize,
    tickets: u64,
    /// In the order of their coming, which is that of their turns.
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    ticket: u64,
    waker: Option<Waker>,
}

/// Bytes that are on their way; given back when dropped.
pub struct Place {
    sending: Sending,
    bytes: usize,
}

impl Default for Sending {
    fn default() -> Sending {
        Sending(Arc::new(Mutex::new(State {
            left: ALL,
            tickets: 0,
            waiting: VecDeque::new(),
        })))
    }
}

impl Sending {
    /// A place for so many bytes, if there is one and nobody waits for one.
    pub fn try_take(&self, bytes: usize) -> Option<Place> {
        let mut state = self.lock();
        let bytes = cost(bytes);
        if bytes > 0 && (!state.waiting.is_empty() || state.left < bytes) {
            return None;
        }
        state.left -= bytes;
        drop(state);
        Some(self.place(bytes))
    }

    /// A place for so many bytes, when it is its turn. Rarely one waits for that, and sessions are to be small. Who
    /// does goes on polling, also while it is busy: nobody behind it gets a place before it has taken its own.
    pub async fn take(&self, bytes: usize) -> Place {
        match self.try_take(bytes) {
            Some(place) => place,
            None => Box::pin(self.wait(cost(bytes))).await,
        }
    }

    async fn wait(&self, bytes: usize) -> Place {
        let turn = self.queue();
        poll_fn(|context| {
            let mut state = self.lock();
            let first = state.waiting.front();
            if first.is_some_and(|it| it.ticket == turn.ticket) && state.left >= bytes {
                state.left -= bytes;
                return Poll::Ready(());
            }
            let mut waiting = state.waiting.iter_mut();
            if let Some(own) = waiting.find(|it| it.ticket == turn.ticket) {
                own.waker = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
        self.place(bytes)
    }

    #[cfg(test)]
    /// How many wait for their turn.
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn queue(&self) -> Turn<'_> {
        let mut state = self.lock();
        state.tickets += 1;
        let ticket = state.tickets;
        state.waiting.push_back(Waiting {
            ticket,
            waker: None,
        });
        Turn {
            sending: self,
            ticket,
        }
    }

    fn place(&self, bytes: usize) -> Place {
        Place {
            sending: self.clone(),
            bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether a message of so many bytes may go in it.
    pub fn holds(&self, bytes: usize) -> bool {
        cost(bytes) <= self.bytes
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.sending.lock();
        state.left += self.bytes;
        wake_first(state);
    }
}

/// A place in the queue, for as long as it waits.
struct Turn<'a> {
    sending: &'a Sending,
    ticket: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.sending.lock();
        state.waiting.retain(|it| it.ticket != self.ticket);
        wake_first(state);
    }
}

/// Wakes outside the lock, since a waker may run other code at once.
fn wake_first(mut state: MutexGuard<'_, State>) {
    let waker = state.waiting.front_mut().and_then(|it| it.waker.take());
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Whether a message of so many bytes goes at once.
pub fn is_small(bytes: usize) -> bool {
    bytes <= SMALL
}

/// What a message counts: nothing when it is small, and the largest goes when it is alone.
fn cost(bytes: usize) -> usize {
    if is_small(bytes) { 0 } else { bytes.min(ALL) }
}

/// Messages up to here go at once.
const SMALL: usize = 64 * 1024;

/// Larger ones, of all sessions together.
const ALL: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use smol::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn large_ones_wait_in_the_order_of_their_coming_and_small_ones_do_not() {
        let sending = Sending::default();
        let all = sending.try_take(ALL * 2).unwrap();
        assert!(sending.try_take(SMALL + 1).is_none());
        assert!(sending.try_take(SMALL).is_some());
        block_on(async {
            let mut first = Box::pin(sending.take(ALL));
            let mut second = Box::pin(sending.take(SMALL + 1));
            assert!(poll_once(&mut first).await.is_none());
            assert!(poll_once(&mut second).await.is_none());
            drop(sending.take(SMALL).await);
            drop(all);
            assert!(sending.try_take(SMALL + 1).is_none(), "others are first");
            assert!(poll_once(&mut second).await.is_none());
            let first = first.await;
            assert!(poll_once(&mut second).await.is_none());
            drop(first);
            let second = second.await;
            assert!(second.holds(SMALL + 1) && !second.holds(ALL));
        });
        assert_eq!(sending.lock().left, ALL);
    }

    #[test]
    fn who_does_not_wait_any_more_holds_up_nobody() {
        let sending = Sending::default();
        let all = sending.try_take(ALL).unwrap();
        block_on(async {
            let mut first = Box::pin(sending.take(ALL));
            let mut second = Box::pin(sending.take(ALL));
            assert!(poll_once(&mut first).await.is_none());
            assert!(poll_once(&mut second).await.is_none());
            drop(first);
            drop(all);
            drop(second.await);
        });
        let state = sending.lock();
        assert_eq!((state.left, state.waiting.len()), (ALL, 0));
    }
}
