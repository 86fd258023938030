//! Terms of a session between our own ends, agreed when the tunnel is opened: how often the edge
//! says that it lives, and who renews the node's Lease.
//!
//! The edge offers in its upgrade request, the cloud answers with what it grants. Peers that do not
//! know the header are served as KubeEdge serves them (docs/protocol.md, "Terms of a session").

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Of the upgrade request, and of the 101.
pub const TERMS_HEADER: &str = "kubeedge-terms";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The edge sends something at least this often. Whole seconds.
    pub keepalive: Duration,
    /// The cloud renews the Lease as long as the session lives, so that the edge need not.
    pub lease: bool,
    /// The cloud acknowledges reports of jobs once it has written them down.
    pub reports: bool,
}

/// A header that says nothing of use: then there are no terms.
#[derive(Debug, PartialEq, Eq)]
pub struct NoTerms;

impl Terms {
    /// What an edge offers that has to be heard of this often.
    pub fn offer(keepalive: Duration) -> Terms {
        let seconds = Duration::from_secs(keepalive.as_secs());
        Terms {
            keepalive: seconds.clamp(SHORTEST, LONGEST),
            lease: true,
            reports: true,
        }
    }

    /// What a cloud gives to who offers this.
    pub fn granted(self) -> Terms {
        Terms {
            // One that does not know of it takes an acknowledgement for an object.
            reports: self.reports,
            ..Terms::offer(self.keepalive)
        }
    }

    /// After so long without any sign the edge is gone.
    pub fn patience(&self) -> Duration {
        self.keepalive + self.grace()
    }

    /// For a sign of life on its way, and for its acknowledgement: what the network had to carry two
    /// or three times still comes in time. With 30 s it makes 42 s for both together, which leaves a
    /// reserve to the 45 s that are promised.
    pub fn grace(&self) -> Duration {
        self.keepalive * 2 / 5
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keepalive={}", self.keepalive.as_secs())?;
        if self.lease {
            f.write_str(", lease")?;
        }
        if self.reports {
            f.write_str(", reports")?;
        }
        Ok(())
    }
}

impl FromStr for Terms {
    type Err = NoTerms;

    /// Words that are not known are what a later version added.
    fn from_str(text: &str) -> Result<Terms, NoTerms> {
        let (mut keepalive, mut lease, mut reports) = (None, false, false);
        for word in text.split(',').map(str::trim).take(MAX_WORDS) {
            match word.split_once('=') {
                Some(("keepalive", seconds)) => {
                    let seconds: u32 = seconds.parse().map_err(|_| NoTerms)?;
                    keepalive = Some(Duration::from_secs(seconds.into()));
                }
                None if word == "lease" => lease = true,
                None if word == "reports" => reports = true,
                _ => {}
            }
        }
        let keepalive = keepalive.filter(|time| (SHORTEST..=LONGEST).contains(time));
        let keepalive = keepalive.ok_or(NoTerms)?;
        Ok(Terms {
            keepalive,
            lease,
            reports,
        })
    }
}

/// Below this, keepalives would be a load; above it, network devices forget the connection.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(600);
const MAX_WORDS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_round_trip_and_unknown_words_are_ignored() {
        let terms = Terms::offer(Duration::from_secs(30));
        assert_eq!(terms.to_string(), "keepalive=30, lease, reports");
        assert_eq!(terms.to_string().parse(), Ok(terms));
        let newer: Terms = "zip, keepalive=300,colour=red".parse().unwrap();
        assert_eq!((newer.keepalive.as_secs(), newer.lease), (300, false));
        assert!(!newer.reports && !newer.granted().reports && newer.granted().lease);
        assert_eq!(newer.patience(), Duration::from_secs(420));
    }

    #[test]
    fn what_is_offered_lies_within_what_is_taken() {
        for seconds in [0, 1, 600, 601, u64::MAX] {
            let terms = Terms::offer(Duration::from_secs(seconds));
            assert_eq!(terms.to_string().parse(), Ok(terms.granted()));
        }
    }

    #[test]
    fn nonsense_is_no_terms() {
        for text in [
            "",
            "lease",
            "keepalive=",
            "keepalive=0",
            "keepalive=601",
            "keepalive=-1",
            "keepalive=1e9",
        ] {
            assert_eq!(text.parse::<Terms>(), Err(NoTerms), "{text:?}");
        }
    }
}
