//! What peers do wrong, by their address: how much is answered in full, and how much is logged.
//!
//! Only failures are counted. Who shows a good token or certificate is served whatever else comes
//! from its address, since a whole site may stand behind one.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::warn;

use super::metrics::Port;
use super::places::source;
use super::rate::{Bucket, Rate, Rates};

/// The failures of all sources. Memory is bounded; the oldest may be forgotten.
pub struct Strikes {
    sources: Rates,
    shared: Mutex<Shared>,
    rates: Limits,
}

#[derive(Clone, Copy)]
struct Limits {
    all: Rate,
    lines: Rate,
}

struct Shared {
    all: Bucket,
    /// Log lines about single failures.
    lines: Bucket,
    /// When each of the summaries was last said.
    said: [Option<Instant>; SUMMARIES],
}

/// What is said in one line for many events, once a minute at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summary {
    /// One address fails too often.
    Source,
    /// All addresses together fail too often.
    All,
    /// There are too many failures for a line each.
    Lines,
    /// Connections of one address are cut for newer ones of the same.
    CutOfSource(Port),
    /// Connections are cut since all places are taken.
    CutOfAll(Port),
    /// Connections find no place, and nothing can be cut.
    Refused(Port),
    /// One address asks too often after node names.
    NodeChecks,
}

/// What becomes of one more failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// Set when it is one too many.
    pub limit: Option<Limit>,
    /// Whether it gets a line of its own in the log.
    pub logged: bool,
}

/// Which bound is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// That of the one address: 429.
    Source,
    /// That of all addresses together: 503.
    All,
}

impl Strikes {
    pub fn new(now: Instant) -> Strikes {
        Strikes::with(
            Rate::new(PER_SECOND, AT_ONCE),
            Limits {
                all: Rate::new(ALL_PER_SECOND, ALL_AT_ONCE),
                lines: Rate::new(LINES_PER_SECOND, LINES_AT_ONCE),
            },
            now,
        )
    }

    fn with(source: Rate, rates: Limits, now: Instant) -> Strikes {
        Strikes {
            sources: Rates::new(source),
            shared: Mutex::new(Shared {
                all: Bucket::full(now),
                lines: Bucket::full(now),
                said: [None; SUMMARIES],
            }),
            rates,
        }
    }

    /// Counts a failure of this address, and logs when a bound is passed.
    pub fn charge(&self, address: IpAddr, now: Instant) -> Strike {
        let (of_source, is_early) = self.sources.allow_and_tell(address, now, LINES_OF_SOURCE);
        let mut shared = self.lock();
        // What a source does beyond its own bound is not held against the others.
        let limit = if !of_source {
            Some(Limit::Source)
        } else if !shared.all.take(self.rates.all, now) {
            Some(Limit::All)
        } else {
            None
        };
        let logged = is_early && limit.is_none() && shared.lines.take(self.rates.lines, now);
        drop(shared);
        match limit {
            Some(Limit::Source) if self.is_due(Summary::Source, now) => warn!(
                "too many failures come from {}: they are answered with 429 and not logged one \
                 by one",
                source(address)
            ),
            Some(Limit::All) if self.is_due(Summary::All, now) => warn!(
                "too many failures come from everywhere: they are answered with 503 and not \
                 logged one by one"
            ),
            None if !logged && is_early && self.is_due(Summary::Lines, now) => {
                warn!("too many failures to log each: the metrics count them all");
            }
            _ => {}
        }
        Strike { limit, logged }
    }

    /// Whether the summary may be said again, which it then counts as.
    pub fn is_due(&self, summary: Summary, now: Instant) -> bool {
        let said = &mut self.lock().said[summary.index()];
        let due = said.is_none_or(|at| now.saturating_duration_since(at) >= SILENCE);
        if due {
            *said = Some(now);
        }
        due
    }

    /// No code panics while it holds the lock, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Summary {
    fn index(self) -> usize {
        let of_port = |first, port| match port {
            Port::Certificates => first,
            Port::Tunnels => first + 1,
            Port::Quic => first + 2,
        };
        match self {
            Summary::Source => 0,
            Summary::All => 1,
            Summary::Lines => 2,
            Summary::CutOfSource(port) => of_port(3, port),
            Summary::CutOfAll(port) => of_port(6, port),
            Summary::Refused(port) => of_port(9, port),
            Summary::NodeChecks => 12,
        }
    }
}

const SUMMARIES: usize = 13;

/// When to come back, in seconds: for the `Retry-After` of 429 and 503.
pub const RETRY_AFTER: u16 = 30;

/// Failures of one address that are answered with their reason.
const AT_ONCE: u32 = 100;
const PER_SECOND: u32 = 1;
/// Of all addresses together.
const ALL_AT_ONCE: u32 = 2000;
const ALL_PER_SECOND: u32 = 100;
/// Lines about single failures, of one address and in all.
const LINES_OF_SOURCE: u32 = 20;
const LINES_AT_ONCE: u32 = 150;
const LINES_PER_SECOND: u32 = 5;
/// Between two summaries of one kind.
const SILENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn one_address_reaches_its_own_bound_and_nobody_elses() {
        let start = Instant::now();
        let strikes = Strikes::new(start);
        let limits = |number, count: u32| {
            let charged = (0..count).map(|_| strikes.charge(address(number), start).limit);
            charged.filter(Option::is_some).count() as u32
        };
        assert_eq!(limits(1, 10_000), 10_000 - AT_ONCE);
        assert_eq!(limits(2, AT_ONCE), 0);
        let later = start + Duration::from_secs(5);
        assert_eq!(strikes.charge(address(1), later).limit, None);
    }

    #[test]
    fn many_addresses_reach_the_bound_of_all() {
        let start = Instant::now();
        let strikes = Strikes::new(start);
        let charged = |number| strikes.charge(address(number), start).limit;
        let limited = (0..10_000).filter_map(charged).collect::<Vec<_>>();
        assert_eq!(limited.len() as u32, 10_000 - ALL_AT_ONCE);
        assert!(limited.iter().all(|limit| *limit == Limit::All));
    }

    #[test]
    fn lines_are_bounded_before_answers_are() {
        let start = Instant::now();
        let strikes = Strikes::new(start);
        let logged = (0..1000).filter(|number| strikes.charge(address(*number), start).logged);
        assert_eq!(logged.count() as u32, LINES_AT_ONCE);
        // One address does not use up what there is for all.
        let strikes = Strikes::new(start);
        let logged = (0..1000).filter(|_| strikes.charge(address(1), start).logged);
        assert_eq!(logged.count() as u32, LINES_OF_SOURCE);
        assert!(strikes.charge(address(2), start).logged);
    }
}
