//! What is counted while cloudcore runs.

use std::fmt::{self, Display, Formatter};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::http::End;
use super::places::Full;
use super::strikes::Limit;
use crate::system::clock::Timestamp;
use crate::system::sorted::SortedMap;
use crate::tunnel::TunnelError;

/// What is counted.
#[derive(Default)]
pub struct Metrics {
    pub messages_up: Counter,
    pub messages_down: Counter,
    pub malformed: Counter,
    /// Messages about something that has no name.
    pub unnamed: Counter,
    /// Requests for what is not the node's own.
    pub denied: Counter,
    /// What nodes wanted kept above the bounds for one.
    pub excess: Counter,
    pub events: Counter,
    /// Of them, those for which there was no room.
    pub events_dropped: Counter,
    /// Requests of nodes that had too many at a time.
    pub cluster_busy: Counter,
    /// Objects sent without being asked for, and those sent again.
    pub pushes: Counter,
    pub pushes_repeated: Counter,
    pub issued_by_token: Counter,
    pub issued_by_renewal: Counter,
    /// Among them, those whose certificate had ended.
    pub renewed_late: Counter,
    pub keys_replaced: Counter,
    pub keys_revoked: Counter,
    pub reports_taken: Counter,
    pub reports_refused: Counter,
    /// The end of the token that was made last, as Unix seconds.
    token_until: Mutex<Option<Timestamp>>,
    pub requests: [Latencies; ROUTES.len()],
    pub refused_certificates: Labelled,
    pub refused_connections: Labelled,
    pub cut_connections: Labelled,
    /// To the certificate port, and not served to their end.
    pub failed_connections: Labelled,
    pub refused_requests: Labelled,
    /// Requests whose answer was 429 or 503 for want of moderation.
    pub limited_requests: Labelled,
    pub refused_tunnels: Labelled,
    /// Callers over QUIC that had to prove their address first.
    pub validations: Counter,
    pub ended_sessions: Labelled,
}

/// Where a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    Certificates,
    Tunnels,
    Quic,
}

impl Display for Port {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Port::Certificates => "the certificate port",
            Port::Tunnels => "the hub",
            Port::Quic => "the hub over QUIC",
        })
    }
}

/// What was asked for on the certificate port.
#[derive(Clone, Copy)]
pub enum Route {
    Ca,
    Certificate,
    Node,
    Report,
    Other,
}

impl Metrics {
    pub fn issued(&self, by_token: bool) {
        let counter = if by_token {
            &self.issued_by_token
        } else {
            &self.issued_by_renewal
        };
        counter.add();
    }

    pub fn key_replaced(&self) {
        self.keys_replaced.add();
    }

    pub fn refused_certificate(&self, reason: &'static str) {
        self.refused_certificates.add(reason);
    }

    /// A connection found no place.
    pub fn refused_connection(&self, port: Port, why: Full) {
        self.refused_connections.add(bound(port, why));
    }

    /// A connection lost its place to a newer one.
    pub fn cut_connection(&self, port: Port, why: Full) {
        self.cut_connections.add(bound(port, why));
    }

    /// A connection to the certificate port ended without an answer, in or before its handshake.
    pub fn failed_handshake(&self, reason: &'static str) {
        self.failed_connections.add(reason);
    }

    pub fn failed_connection(&self, end: End) {
        match end {
            End::Left => self.failed_connections.add("left"),
            End::Malformed => self.failed_connections.add("head-malformed"),
            End::Over => {}
            End::Slow => self.failed_connections.add("head-slow"),
            End::TooLarge => self.failed_connections.add("head-too-large"),
            End::TooLong => self.failed_connections.add("too-long"),
        }
    }

    pub fn refused_request(&self, reason: &'static str) {
        self.refused_requests.add(reason);
    }

    pub fn limited(&self, limit: Limit) {
        self.limited_requests.add(match limit {
            Limit::Source => "source",
            Limit::All => "all",
        });
    }

    pub fn limited_node_check(&self) {
        self.limited_requests.add("node-checks");
    }

    pub fn ended_session(&self, reason: &'static str) {
        self.ended_sessions.add(reason);
    }

    /// `reason` wins over what the error alone tells.
    pub fn refused_tunnel(&self, error: &TunnelError, reason: Option<&'static str>) {
        let label = reason.unwrap_or(match error {
            TunnelError::Tls(_) => "tls",
            TunnelError::Refused { status: 403, .. } => "forbidden",
            TunnelError::Refused { status: 429, .. } => "limited",
            TunnelError::Refused { status: 503, .. } => "full",
            TunnelError::Refused { .. } => "request",
            TunnelError::TimedOut(_) => "timeout",
            _ => "lost",
        });
        self.refused_tunnels.add(label);
    }

    pub fn report(&self, taken: bool) {
        let counter = if taken {
            &self.reports_taken
        } else {
            &self.reports_refused
        };
        counter.add();
    }

    pub fn request(&self, route: Route, took: Duration) {
        self.requests[route as usize].add(took);
    }

    pub fn token_made(&self, until: Timestamp) {
        *locked(&self.token_until) = Some(until);
    }

    /// The end of the token that was made last.
    pub fn token_until(&self) -> Option<Timestamp> {
        *locked(&self.token_until)
    }

    /// Certificates issued and refused, for people.
    pub fn certificates(&self) -> (u64, u64) {
        let issued = self.issued_by_token.get() + self.issued_by_renewal.get();
        (issued, self.refused_certificates.sum())
    }
}

fn bound(port: Port, full: Full) -> &'static str {
    match (port, full) {
        (Port::Certificates, Full::Total) => "https-total",
        (Port::Certificates, Full::Source) => "https-source",
        (Port::Tunnels, Full::Total) => "hub-total",
        (Port::Tunnels, Full::Source) => "hub-source",
        (Port::Quic, Full::Total) => "quic-total",
        (Port::Quic, Full::Source) => "quic-source",
    }
}

/// A count. Under a lock, because some small processors have no atomic numbers of 64 bits.
#[derive(Default)]
pub struct Counter(Mutex<u64>);

impl Counter {
    pub fn add(&self) {
        *locked(&self.0) += 1;
    }

    pub fn get(&self) -> u64 {
        *locked(&self.0)
    }
}

/// A counter for each of a few fixed labels.
#[derive(Default)]
pub struct Labelled(Mutex<SortedMap<&'static str, u64>>);

impl Labelled {
    fn add(&self, label: &'static str) {
        *locked(&self.0).entry(label).or_default() += 1;
    }

    fn sum(&self) -> u64 {
        locked(&self.0).values().sum()
    }

    pub fn get(&self) -> SortedMap<&'static str, u64> {
        locked(&self.0).clone()
    }
}

/// How long requests took.
#[derive(Default)]
pub struct Latencies(Mutex<Histogram>);

#[derive(Clone, Copy, Default)]
pub struct Histogram {
    /// Up to each bound but above the one before; the last for what is above all.
    pub counts: [u64; BOUNDS.len() + 1],
    pub sum: Duration,
}

impl Latencies {
    fn add(&self, took: Duration) {
        let place = BOUNDS.partition_point(|bound| took.as_secs_f64() > *bound);
        let mut histogram = locked(&self.0);
        histogram.counts[place] += 1;
        histogram.sum += took;
    }

    pub fn get(&self) -> Histogram {
        *locked(&self.0)
    }
}

/// No code panics while it holds one of these locks, so a poisoned value is still whole.
fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In the order of `Route`.
pub const ROUTES: [&str; 5] = ["ca", "certificate", "node", "report", "other"];

/// Seconds.
pub const BOUNDS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_counted_at_their_bounds() {
        let latencies = Latencies::default();
        for micros in [500, 1_000, 1_001, 9_000_000] {
            latencies.add(Duration::from_micros(micros));
        }
        let Histogram { counts, sum } = latencies.get();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(sum, Duration::from_micros(9_002_501));
    }

    #[test]
    fn reasons_become_labels() {
        let metrics = Metrics::default();
        metrics.refused_certificate("csr");
        metrics.refused_certificate("csr");
        metrics.issued(true);
        assert_eq!(metrics.certificates(), (1, 2));
        assert_eq!(
            metrics.refused_certificates.get(),
            SortedMap::from([("csr", 2)])
        );
    }
}
