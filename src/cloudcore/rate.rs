//! How often one source may ask: a token bucket for each.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::places::source;

/// So much at once, and then so much a second.
#[derive(Clone, Copy)]
pub struct Rate {
    /// What one token costs in time, and what a full bucket is worth.
    interval: Duration,
    full: Duration,
}

impl Rate {
    pub fn new(per_second: u32, at_once: u32) -> Rate {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Rate {
            interval,
            full: interval * at_once.max(1),
        }
    }
}

/// A bucket as the moment until which it is owed time: in the past it is full.
#[derive(Clone, Copy)]
pub struct Bucket {
    owed_until: Instant,
}

impl Bucket {
    pub fn full(now: Instant) -> Bucket {
        Bucket { owed_until: now }
    }

    /// Whether there was a token to take.
    pub fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let owed = self.owed_until.max(now) + rate.interval;
        let allowed = owed <= now + rate.full;
        if allowed {
            self.owed_until = owed;
        }
        allowed
    }

    /// Whether no more than so many tokens are missing.
    fn lacks_at_most(&self, tokens: u32, rate: Rate, now: Instant) -> bool {
        self.owed_until <= now + rate.interval * tokens
    }
}

/// A bucket for each source, of which there may be a bounded number.
pub struct Rates {
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
    rate: Rate,
}

impl Rates {
    pub fn new(rate: Rate) -> Rates {
        Rates {
            buckets: Mutex::default(),
            rate,
        }
    }

    /// Whether one more is allowed at this moment.
    pub fn allow(&self, address: IpAddr, now: Instant) -> bool {
        self.allow_and_tell(address, now, 0).0
    }

    /// Whether one more is allowed, and whether it is one of the first `few`.
    pub fn allow_and_tell(&self, address: IpAddr, now: Instant, few: u32) -> (bool, bool) {
        let mut buckets = self.lock();
        if buckets.len() >= MAX_SOURCES {
            buckets.retain(|_, bucket| bucket.owed_until > now);
            // With that many busy sources a bound per source means nothing: all start anew.
            if buckets.len() >= MAX_SOURCES {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(source(address));
        let bucket = bucket.or_insert_with(|| Bucket::full(now));
        let allowed = bucket.take(self.rate, now);
        (allowed, bucket.lacks_at_most(few, self.rate, now))
    }

    /// No code panics while it holds the lock, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MAX_SOURCES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_steady_rate_for_each_source() {
        let rates = Rates::new(Rate::new(10, 3));
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let start = Instant::now();
        let count = |who, now| (0..5).filter(|_| rates.allow(who, now)).count();
        assert_eq!(count(a, start), 3);
        assert_eq!(count(b, start), 3);
        assert_eq!(count(a, start + Duration::from_millis(100)), 1);
        assert_eq!(count(a, start + Duration::from_secs(60)), 3);
    }

    #[test]
    fn the_number_of_sources_is_bounded() {
        let rates = Rates::new(Rate::new(1, 1));
        let now = Instant::now();
        for number in 0..2 * MAX_SOURCES as u32 {
            assert!(rates.allow(IpAddr::from(number.to_be_bytes()), now));
        }
        assert!(rates.lock().len() <= MAX_SOURCES);
    }
}
