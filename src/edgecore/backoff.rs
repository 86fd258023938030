//! Waits between attempts: full jitter, growing to a cap, so that a fleet does not retry in step.

use std::time::Duration;

/// The next wait is drawn evenly from zero to a ceiling that doubles up to the cap.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    attempts: u32,
}

impl Backoff {
    pub fn new(first: Duration, cap: Duration) -> Self {
        Backoff {
            first,
            cap,
            attempts: 0,
        }
    }

    /// For the tunnel: first retry within 0.8 s, later ones within 30 s.
    pub fn tunnel() -> Self {
        Backoff::new(Duration::from_millis(800), Duration::from_secs(30))
    }

    pub fn next(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.attempts = self.attempts.saturating_add(1);
        ceiling.mul_f64(fastrand::f64())
    }

    /// The next wait where the other side has asked for one: not less, and up to a quarter more.
    pub fn next_asked(&mut self, asked: Option<Duration>) -> Duration {
        let own = self.next();
        let asked = asked.unwrap_or_default();
        own.max(asked.mul_f64(1.0 + fastrand::f64() / 4.0))
    }

    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    fn ceiling(&self) -> Duration {
        self.first
            .saturating_mul(1 << self.attempts.min(20))
            .min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wait_is_short_and_the_cap_holds() {
        for _ in 0..200 {
            let mut backoff = Backoff::tunnel();
            assert!(backoff.next() < Duration::from_secs(1));
            for _ in 0..40 {
                assert!(backoff.next() <= Duration::from_secs(30));
            }
            backoff.reset();
            assert!(backoff.next() < Duration::from_secs(1));
        }
    }

    #[test]
    fn who_asks_for_time_gets_it() {
        let mut backoff = Backoff::tunnel();
        let asked = Duration::from_secs(60);
        for _ in 0..100 {
            let wait = backoff.next_asked(Some(asked));
            assert!(wait >= asked && wait <= asked.mul_f64(1.25));
        }
        backoff.reset();
        assert!(backoff.next_asked(None) < Duration::from_secs(1));
    }

    #[test]
    fn waits_are_spread_over_the_whole_range() {
        let draw = || {
            let mut backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(10));
            backoff.next().as_secs_f64()
        };
        let waits: Vec<f64> = (0..400).map(|_| draw()).collect();
        assert!(waits.iter().any(|w| *w < 2.0) && waits.iter().any(|w| *w > 8.0));
    }
}
