//! How often one source may ask: a token bucket for each.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::places::source;

/// Token buckets by source.
pub struct Rates {
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
    /// What one token costs in time, and what a full bucket is worth.
    interval: Duration,
    full: Duration,
}

/// A bucket as the moment until which it is owed time: in the past it is full.
struct Bucket {
    owed_until: Instant,
}

impl Rates {
    /// `at_once` questions, and then `per_second` of them.
    pub fn new(per_second: u32, at_once: u32) -> Rates {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Rates {
            buckets: Mutex::default(),
            interval,
            full: interval * at_once.max(1),
        }
    }

    /// Whether one more is allowed at this moment.
    pub fn allow(&self, address: IpAddr, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_SOURCES {
            buckets.retain(|_, bucket| bucket.owed_until > now);
            // With that many busy sources a bound per source means nothing: all start anew.
            if buckets.len() >= MAX_SOURCES {
                buckets.clear();
            }
        }
        let bucket = buckets
            .entry(source(address))
            .or_insert(Bucket { owed_until: now });
        let owed = bucket.owed_until.max(now) + self.interval;
        let allowed = owed <= now + self.full;
        if allowed {
            bucket.owed_until = owed;
        }
        allowed
    }
}

const MAX_SOURCES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_steady_rate_for_each_source() {
        let rates = Rates::new(10, 3);
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
        let rates = Rates::new(1, 1);
        let now = Instant::now();
        for number in 0..2 * MAX_SOURCES as u32 {
            assert!(rates.allow(IpAddr::from(number.to_be_bytes()), now));
        }
        assert!(rates.buckets.lock().unwrap().len() <= MAX_SOURCES);
    }
}
