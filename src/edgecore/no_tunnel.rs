//! Why no tunnel came up, and what follows from that.

use std::time::{Duration, Instant};

use super::edge::Failure;
use crate::tunnel::TunnelError;

pub enum NoTunnel {
    Failure(Failure),
    Tunnel(TunnelError),
    /// Of several clouds none gave one.
    Each(Vec<NoTunnel>),
}

impl<E: Into<Failure>> From<E> for NoTunnel {
    fn from(error: E) -> Self {
        NoTunnel::Failure(error.into())
    }
}

impl From<TunnelError> for NoTunnel {
    fn from(error: TunnelError) -> Self {
        NoTunnel::Tunnel(error)
    }
}

impl NoTunnel {
    /// A single one stands for itself.
    pub fn each(mut failures: Vec<NoTunnel>) -> NoTunnel {
        match failures.len() {
            1 => failures.remove(0),
            _ => NoTunnel::Each(failures),
        }
    }

    /// Whether another cloud may give one.
    pub fn is_of_one_cloud(&self) -> bool {
        match self {
            NoTunnel::Failure(failure) => failure.is_of_one_cloud(),
            NoTunnel::Tunnel(_) | NoTunnel::Each(_) => true,
        }
    }

    /// Whether this very identity is refused; of several hubs by each, or by one since `first`, which is long ago. The
    /// others may be down for a while, and the one that refuses may have an old view; but they may be down for good.
    pub fn is_denial_by_now(&self, first: &mut Option<Instant>, now: Instant) -> bool {
        let is_denial = |it: &NoTunnel| matches!(it, NoTunnel::Tunnel(error) if error.is_denial());
        let NoTunnel::Each(failures) = self else {
            return is_denial(self);
        };
        if !failures.iter().any(is_denial) {
            return false;
        }
        let first = *first.get_or_insert(now);
        failures.iter().all(is_denial) || now.saturating_duration_since(first) >= LONG
    }

    /// Whether a hub has answered the request, with a refusal.
    pub fn is_refusal(&self) -> bool {
        matches!(self, NoTunnel::Tunnel(TunnelError::Refused { .. }))
    }

    /// Whether the hub's certificate is by no CA that is trusted here; of several, each one's.
    pub fn is_foreign(&self) -> bool {
        match self {
            NoTunnel::Failure(_) => false,
            NoTunnel::Tunnel(error) => matches!(error, TunnelError::ForeignCa(_)),
            NoTunnel::Each(failures) => failures.iter().all(NoTunnel::is_foreign),
        }
    }

    pub fn is_about_time(&self) -> bool {
        match self {
            NoTunnel::Failure(_) => false,
            NoTunnel::Tunnel(error) => matches!(error, TunnelError::Time(_)),
            NoTunnel::Each(failures) => failures.iter().any(NoTunnel::is_about_time),
        }
    }

    /// Whether there was a connection to a hub.
    pub fn is_from_a_hub(&self) -> bool {
        match self {
            NoTunnel::Failure(_) => false,
            NoTunnel::Tunnel(_) => true,
            NoTunnel::Each(failures) => failures.iter().any(NoTunnel::is_from_a_hub),
        }
    }

    /// When the hub wants to be asked again, if it says so; of several the first.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            NoTunnel::Tunnel(TunnelError::Refused { retry_after, .. }) => *retry_after,
            NoTunnel::Each(failures) => {
                let each = failures.iter().map(NoTunnel::retry_after);
                each.collect::<Option<Vec<_>>>()?.into_iter().min()
            }
            _ => None,
        }
    }

    pub fn sentence(&self, expired: bool) -> String {
        let sentence = self.cause();
        if expired {
            return format!(
                "the certificate has expired, and the cloud says: {sentence}; \
                 join the device again with a fresh token"
            );
        }
        sentence
    }

    fn cause(&self) -> String {
        match self {
            NoTunnel::Failure(e) => e.to_string(),
            NoTunnel::Tunnel(e) => e.to_string(),
            NoTunnel::Each(failures) => {
                let causes: Vec<String> = failures.iter().map(NoTunnel::cause).collect();
                let count = causes.len();
                format!(
                    "none of {count} clouds gives a tunnel: {}",
                    causes.join("; ")
                )
            }
        }
    }
}

/// For one of several hubs to refuse what others might take.
const LONG: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn of_several_hubs_each_has_to_refuse_or_one_for_long() {
        let refused = |status| {
            NoTunnel::Tunnel(TunnelError::Refused {
                status,
                said: String::new(),
                retry_after: None,
            })
        };
        let lost = || NoTunnel::Tunnel(TunnelError::Lost(io::ErrorKind::BrokenPipe.into()));
        let now = Instant::now();
        let mut first = None;
        let mut is_denial = |failures, after| {
            let each = NoTunnel::each(failures);
            each.is_denial_by_now(&mut first, now + after)
        };
        assert!(is_denial(vec![refused(403)], Duration::ZERO));
        assert!(is_denial(vec![refused(403), refused(401)], Duration::ZERO));
        assert!(!is_denial(vec![refused(403), lost()], LONG / 2));
        assert!(!is_denial(vec![lost(), lost()], LONG));
        assert!(!is_denial(vec![refused(503), lost()], LONG));
        assert!(is_denial(vec![lost(), refused(403)], LONG));
        assert!(!is_denial(Vec::new(), LONG));
    }
}
