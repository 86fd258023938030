//! What all outboxes may hold together. Each has a share of its own that is never taken from it; what is
//! above that comes out of one room for all, and when this is full, who holds most of it loses its session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::State;

/// Clones are the same room.
#[derive(Clone, Default)]
pub struct Room(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    bytes: usize,
    /// By the address of the state, for as long as it holds anything.
    holders: HashMap<usize, (usize, Weak<Mutex<State>>)>,
}

impl Room {
    /// Bytes of all outboxes above the share of each.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// An outbox is to hold so many bytes, more than before; false when there is no room for that.
    pub(super) fn grow(&self, address: usize, of: &Arc<Mutex<State>>, bytes: usize) -> bool {
        let after = above(bytes);
        let mut held = self.lock();
        let before = held.holders.get(&address).map_or(0, |it| it.0);
        let all = held.bytes.saturating_sub(before) + after;
        if after > before && all > ROOM {
            return false;
        }
        if after > 0 {
            held.bytes = all;
            held.holders.insert(address, (after, Arc::downgrade(of)));
        }
        true
    }

    /// An outbox holds no more than so many bytes.
    pub(super) fn shrink(&self, address: usize, bytes: usize) {
        let after = above(bytes);
        let mut held = self.lock();
        let Some((before, _)) = held.holders.get(&address) else {
            return;
        };
        let less = before.saturating_sub(after);
        held.bytes = held.bytes.saturating_sub(less);
        match after {
            0 => {
                held.holders.remove(&address);
            }
            _ => {
                held.holders.entry(address).and_modify(|it| it.0 = after);
            }
        }
    }

    /// Who holds most of the room, and how much of it.
    pub(super) fn fullest(&self) -> Option<(usize, Arc<Mutex<State>>)> {
        loop {
            // Taken up outside the lock: of one that is gone this may be the end, which locks, too.
            let most = {
                let held = self.lock();
                let most = held.holders.iter().max_by_key(|(_, it)| it.0);
                most.map(|(address, it)| (*address, it.clone()))
            };
            let (address, (bytes, of)) = most?;
            match of.upgrade() {
                Some(state) => return Some((bytes, state)),
                None => self.shrink(address, 0),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of these bytes is not of the outbox's own share.
pub fn above(bytes: usize) -> usize {
    bytes.saturating_sub(SHARE)
}

/// Of each outbox, beside the room: more than ordinary answers and orders of one node.
pub const SHARE: usize = 64 * 1024;

/// For all outboxes together, above these shares.
pub const ROOM: usize = 64 << 20;
