//! How often an edge says that it lives, how, and when it gives up a hub that says nothing.

use std::time::Duration;

use crate::protocol::terms::Terms;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// Between two signs of life. With terms, anything that is sent is one.
    pub beat: Duration,
    pub sign: Sign,
    /// After this long without receiving, a ping asks whether the hub is there.
    pub quiet: Duration,
    /// After this long without receiving, the hub is given up.
    pub dead: Duration,
    /// After this long without an acknowledgement of the network the connection is given up; where
    /// the ordinary limit is too long.
    pub unacknowledged: Option<Duration>,
    /// So long after a sign of life it is looked whether its acknowledgement has come, where that is
    /// ours to see: it is a sign of life of the hub.
    pub listen: Option<Duration>,
}

/// How a tunnel leads to the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    /// By TCP from end to end.
    Straight,
    ThroughProxy,
    OverQuic,
}

/// What is sent to say: I live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// KubeEdge's message, which counts where nothing else does.
    Message,
    /// A frame that asks for no answer: the network acknowledges it.
    Frame,
    /// A ping: its answer is the only proof of what is behind a proxy.
    Ping,
}

impl Rhythm {
    pub fn new(heartbeat: Duration, terms: Option<Terms>, way: Leads) -> Rhythm {
        let Some(terms) = terms else {
            return Rhythm {
                beat: heartbeat,
                sign: Sign::Message,
                quiet: heartbeat.min(QUIET),
                dead: (heartbeat * 3).min(DEAD),
                unacknowledged: None,
                listen: None,
            };
        };
        let keepalive = terms.keepalive;
        let rhythm = Rhythm {
            beat: keepalive,
            sign: Sign::Frame,
            quiet: keepalive * SILENT_BEATS,
            dead: keepalive * (SILENT_BEATS + 1),
            unacknowledged: Some(terms.grace().max(SHORTEST)),
            listen: None,
        };
        // An acknowledgement is seen that late, and counts as if it came then.
        let listen = keepalive / 6;
        match way {
            Leads::Straight => rhythm,
            Leads::ThroughProxy => Rhythm {
                sign: Sign::Ping,
                quiet: keepalive,
                dead: terms.patience(),
                ..rhythm
            },
            Leads::OverQuic => Rhythm {
                quiet: terms.patience() - listen,
                dead: terms.patience() - listen,
                unacknowledged: None,
                listen: Some(listen),
                ..rhythm
            },
        }
    }
}

const QUIET: Duration = Duration::from_secs(15);
/// 45 s are promised, and timers are not exact.
const DEAD: Duration = Duration::from_secs(42);
/// A hub whose system still acknowledges, but which does nothing any more, is noticed this late.
const SILENT_BEATS: u32 = 10;
/// A lost packet is sent again after a second, and then after two.
const SHORTEST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: Duration = Duration::from_secs(15);

    #[test]
    fn a_half_open_connection_is_noticed_within_45_seconds_by_default() {
        let offered = Terms::offer(HEARTBEAT * 2);
        let terms = Some(offered);
        let direct = Rhythm::new(HEARTBEAT, terms, Leads::Straight);
        assert!(direct.beat + direct.unacknowledged.unwrap() <= DEAD);
        assert!(Rhythm::new(HEARTBEAT, terms, Leads::ThroughProxy).dead <= DEAD);
        let quic = Rhythm::new(HEARTBEAT, terms, Leads::OverQuic);
        assert!(quic.listen.unwrap() + quic.dead <= DEAD);
        assert!(Rhythm::new(HEARTBEAT, None, Leads::OverQuic).dead <= DEAD);
        assert!(offered.patience() <= DEAD);
    }

    #[test]
    fn only_kubeedges_own_message_counts_for_its_cloud() {
        let rhythm = Rhythm::new(HEARTBEAT, None, Leads::ThroughProxy);
        assert_eq!((rhythm.beat, rhythm.sign), (HEARTBEAT, Sign::Message));
    }
}
