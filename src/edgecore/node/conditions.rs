//! What is the matter with the node: pressures, with hysteresis, and whether it is ready.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::config::edge::node::{Amount, Thresholds};
use crate::system::facts::usage::{Left, Room};

/// A condition as the device sees it; since when, whoever compares it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    pub kind: &'static str,
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// In KubeEdge's words, which programs read.
    pub reason: &'static str,
    pub message: &'static str,
}

/// What is left of the device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub memory: Option<Left>,
    pub room: Option<Room>,
    pub pids: Option<Left>,
}

/// When each pressure was last seen.
#[derive(Clone, Debug, Default)]
pub struct Pressures {
    last: [Option<Instant>; 3],
    known: [bool; 3],
}

impl Pressures {
    /// Takes a look at the device into account.
    pub fn see(&mut self, usage: &Usage, limits: &Thresholds, now: Instant) {
        let disk = usage.room.map(|room| {
            let inodes = room.inodes.unwrap_or_default();
            short(room.bytes, limits.disk) || short(inodes, limits.disk_inodes)
        });
        let seen = [
            usage.memory.map(|left| short(left, limits.memory)),
            disk,
            usage.pids.map(|left| short(left, limits.pids)),
        ];
        for (at, seen) in seen.into_iter().enumerate() {
            self.known[at] = seen.is_some();
            if seen == Some(true) {
                self.last[at] = Some(now);
            }
        }
    }

    /// A pressure stays for as long as `relief` after it was last seen, so that it does not come and
    /// go with every breath of the device.
    pub fn conditions(&self, relief: Duration, now: Instant) -> [Condition; 4] {
        let of = |at: usize| {
            let words = &PRESSURES[at];
            let last = self.last[at];
            let pressed = last.is_some_and(|last| now.duration_since(last) < relief);
            match (pressed, self.known[at]) {
                (true, _) => words.pressed,
                (false, true) => words.relieved,
                (false, false) => words.unknown,
            }
        };
        [of(0), of(1), of(2), READY]
    }
}

/// The condition of this type in a Node; null when it has none.
pub fn named<'a>(node: &'a Value, kind: &str) -> &'a Value {
    let conditions = node["status"]["conditions"].as_array();
    let found = conditions.and_then(|all| all.iter().find(|one| one["type"] == kind));
    found.unwrap_or(&Value::Null)
}

/// Less is left than must be. Where there is nothing to count, nothing is short.
fn short(left: Left, limit: Option<Amount>) -> bool {
    left.total > 0 && limit.is_some_and(|limit| left.left < limit.of(left.total))
}

struct Words {
    pressed: Condition,
    relieved: Condition,
    unknown: Condition,
}

const fn words(
    kind: &'static str,
    pressed: (&'static str, &'static str),
    relieved: (&'static str, &'static str),
) -> Words {
    Words {
        pressed: Condition {
            kind,
            status: "True",
            reason: pressed.0,
            message: pressed.1,
        },
        relieved: Condition {
            kind,
            status: "False",
            reason: relieved.0,
            message: relieved.1,
        },
        unknown: Condition {
            kind,
            status: "Unknown",
            reason: "NotMeasured",
            message: "this device does not tell",
        },
    }
}

const PRESSURES: [Words; 3] = [
    words(
        "MemoryPressure",
        ("KubeletHasInsufficientMemory", "little memory is left"),
        ("KubeletHasSufficientMemory", "there is memory left"),
    ),
    words(
        "DiskPressure",
        ("KubeletHasDiskPressure", "little room is left on the disk"),
        ("KubeletHasNoDiskPressure", "there is room on the disk"),
    ),
    words(
        "PIDPressure",
        ("KubeletHasInsufficientPID", "few processes can be started"),
        ("KubeletHasSufficientPID", "processes can be started"),
    ),
];

const READY: Condition = Condition {
    kind: "Ready",
    status: "True",
    reason: "EdgeReady",
    message: "edgecore is at work; this node has no container runtime",
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::edge::EdgeNode;

    fn usage(megabytes: u64, percent: u64, pids: u64) -> Usage {
        let room = Room {
            bytes: Left {
                left: percent,
                total: 100,
            },
            inodes: None,
        };
        Usage {
            memory: Some(Left {
                left: megabytes << 20,
                total: 2_048 << 20,
            }),
            room: Some(room),
            pids: Some(Left {
                left: pids,
                total: 32_768,
            }),
        }
    }

    fn statuses(pressures: &Pressures, now: Instant) -> [&'static str; 4] {
        let relief = Duration::from_secs(300);
        pressures.conditions(relief, now).map(|it| it.status)
    }

    #[test]
    fn pressures_begin_at_upstreams_thresholds_and_last_five_minutes() {
        let limits = EdgeNode::default().pressure;
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut pressures = Pressures::default();
        assert_eq!(
            statuses(&pressures, start),
            ["Unknown", "Unknown", "Unknown", "True"]
        );
        pressures.see(&usage(100, 10, 1), &limits, start);
        assert_eq!(
            statuses(&pressures, start),
            ["False", "False", "False", "True"]
        );
        pressures.see(&usage(99, 9, 0), &limits, after(10));
        assert_eq!(
            statuses(&pressures, after(10)),
            ["True", "True", "False", "True"]
        );
        pressures.see(&usage(500, 50, 9), &limits, after(20));
        assert_eq!(statuses(&pressures, after(309))[0], "True");
        assert_eq!(statuses(&pressures, after(310))[..2], ["False", "False"]);
        // Short again for a moment: the time begins anew.
        pressures.see(&usage(99, 50, 9), &limits, after(400));
        pressures.see(&usage(500, 50, 9), &limits, after(410));
        assert_eq!(statuses(&pressures, after(699))[0], "True");
        assert_eq!(statuses(&pressures, after(700))[0], "False");
    }

    #[test]
    fn files_and_processes_count_where_they_can_be_counted() {
        let mut limits = EdgeNode::default().pressure;
        let now = Instant::now();
        let mut few = usage(500, 50, 3_000);
        let inodes = |left, total| Some(Left { left, total });
        if let Some(room) = &mut few.room {
            room.inodes = inodes(4, 100);
        }
        let mut pressures = Pressures::default();
        pressures.see(&few, &limits, now);
        assert_eq!(
            statuses(&pressures, now),
            ["False", "True", "False", "True"]
        );
        limits.pids = Some(Amount::Share(0.1));
        if let Some(room) = &mut few.room {
            room.inodes = inodes(0, 0);
        }
        let mut pressures = Pressures::default();
        pressures.see(&few, &limits, now);
        assert_eq!(
            statuses(&pressures, now),
            ["False", "False", "True", "True"]
        );
    }

    #[test]
    fn what_stops_being_known_is_unknown_once_the_pressure_is_over() {
        let limits = EdgeNode::default().pressure;
        let start = Instant::now();
        let mut pressures = Pressures::default();
        pressures.see(&usage(1, 50, 9), &limits, start);
        pressures.see(&Usage::default(), &limits, start);
        assert_eq!(
            statuses(&pressures, start),
            ["True", "Unknown", "Unknown", "True"]
        );
        let later = start + Duration::from_secs(300);
        assert_eq!(statuses(&pressures, later)[0], "Unknown");
    }
}
