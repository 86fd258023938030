//! How many connections the limit on open files leaves room for.
//!
//! The rest is kept for what must go on however many clients there are: the store, the admin
//! socket, metrics, and telling those who find no place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The descriptors that connections may have, all ports together.
pub struct Descriptors {
    limit: usize,
    used: AtomicUsize,
}

impl Descriptors {
    /// `open_files` is how many this process may have in all.
    pub fn new(open_files: u64) -> Arc<Descriptors> {
        let open_files = usize::try_from(open_files).unwrap_or(usize::MAX);
        // With very few there is no good share, and some service is better than none.
        let limit = open_files.saturating_sub(RESERVE.min(open_files / 2));
        Arc::new(Descriptors {
            limit: limit.max(1),
            used: AtomicUsize::new(0),
        })
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many connections there are.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How many of `wanted` tunnels there is room for.
    pub fn room_for_tunnels(&self, wanted: usize) -> usize {
        wanted.min(self.limit / 8 * 5).max(1)
    }

    /// How many of `wanted` connections to one of the two ports, beside the tunnels and the other's.
    pub fn room_for_port(&self, wanted: usize) -> usize {
        wanted.min(self.limit / 16 * 3).max(1)
    }

    pub fn take(self: &Arc<Self>) -> Option<Descriptor> {
        self.take_below(self.limit)
    }

    /// One from the reserve, in place of another that is about to come back.
    pub fn take_beyond(self: &Arc<Self>) -> Option<Descriptor> {
        let most = self.limit + (RESERVE / 2).min(self.limit);
        self.take_below(most)
    }

    fn take_below(self: &Arc<Self>, limit: usize) -> Option<Descriptor> {
        let one_more = |used| (used < limit).then_some(used + 1);
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| Descriptor(self.clone()))
    }
}

/// One connection's descriptor, given back when dropped.
pub struct Descriptor(Arc<Descriptors>);

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Descriptors that connections do not get: about 30 are open all the time, the admin socket has 16
/// clients and metrics 16 readers, 32 clients are told that there is no place, and the rest is for
/// files being written and for connections that were cut and are not yet closed.
pub const RESERVE: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_always_kept_and_some_always_given() {
        assert_eq!(Descriptors::new(1024).limit(), 1024 - RESERVE);
        assert_eq!(Descriptors::new(64).limit(), 32);
        assert_eq!(Descriptors::new(0).limit(), 1);
        assert_eq!(Descriptors::new(1024).room_for_tunnels(500), 500);
        assert_eq!(Descriptors::new(1024).room_for_tunnels(5000), 540);
        assert_eq!(Descriptors::new(1024).room_for_port(2048), 162);
        assert!(Descriptors::new(u64::MAX).limit() > 1 << 30);
    }

    #[test]
    fn they_come_back() {
        let descriptors = Descriptors::new(4);
        let first = descriptors.take().unwrap();
        let second = descriptors.take();
        assert!(second.is_some() && descriptors.take().is_none());
        let beyond = descriptors.take_beyond();
        assert_eq!(descriptors.used(), 3);
        drop((first, beyond));
        assert!(descriptors.take().is_some());
        let all: Vec<Descriptor> = std::iter::from_fn(|| descriptors.take_beyond()).collect();
        assert_eq!((all.len(), descriptors.used()), (3, 4));
    }
}
