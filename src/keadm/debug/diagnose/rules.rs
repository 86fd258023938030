//! What a line of edgecore's log means: of which fault it is the trace, and what to do about that.

use std::time::Duration;

use crate::protocol::control::EdgeStatus;
use crate::system::clock::Timestamp;
use crate::system::log::Told;

/// One fault, by the sentences that edgecore has for it.
pub struct Rule {
    /// Any of these is in the line.
    marks: &'static [&'static str],
    /// The item of a check that it belongs to, or a place of its own among these.
    pub item: &'static str,
    pub what: &'static str,
    pub remedy: &'static str,
    holds: Holds,
}

/// How long a line speaks of what is wrong now.
enum Holds {
    /// Until a session begins.
    UntilSession,
    /// As long as this edgecore runs, for a day.
    ForADay,
    /// When it comes again and again, at least once an hour, and has done so lately.
    WhenOften,
}

/// The rule for a line, if it speaks of what is wrong now. More special rules come first.
pub fn rule(line: &Told, status: Option<&EdgeStatus>, now: Timestamp) -> Option<&'static Rule> {
    let is_meant = |rule: &&Rule| rule.marks.iter().any(|mark| line.text.contains(mark));
    RULES
        .iter()
        .find(is_meant)
        .filter(|rule| rule.holds.still(line, status, now))
}

impl Holds {
    fn still(&self, line: &Told, status: Option<&EdgeStatus>, now: Timestamp) -> bool {
        let session = status.and_then(|status| status.session.as_ref());
        let age = now.since(line.last);
        match self {
            Holds::UntilSession => session.is_none_or(|session| session.since < line.last),
            Holds::ForADay => age < DAY,
            Holds::WhenOften => {
                let whole = line.last.since(line.first);
                line.count >= OFTEN && age < HOUR && whole < HOUR * (line.count - 1)
            }
        }
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Times, at least.
const OFTEN: u32 = 3;

static RULES: &[Rule] = &[
    Rule {
        marks: &["but this token pins"],
        item: "identity",
        what: "the token is of another cloud, or somebody stands between",
        remedy: "get a token with `keadm gettoken` on the machine of this very cloud, and join with it; if \
                 it is from there, look for a proxy that opens TLS",
        holds: Holds::UntilSession,
    },
    Rule {
        marks: &["refuses the request ("],
        item: "identity",
        what: "the cloud does not take the token",
        remedy: "it has expired, was used up or withdrawn, or the clock is wrong: get a fresh one with `keadm \
                 gettoken` on the cloud machine, and run `kubeedge join` with it here",
        holds: Holds::UntilSession,
    },
    Rule {
        marks: &["another device holds this node name"],
        item: "identity",
        what: "another device has this node's name",
        remedy: "give this one another name with `kubeedge join --edgenode-name NAME`, or free this one with \
                 `keadm certs revoke NAME` on the cloud first",
        holds: Holds::UntilSession,
    },
    Rule {
        marks: &["refuses the tunnel (401", "refuses the tunnel (403"],
        item: "identity",
        what: "the cloud does not let this certificate in",
        remedy: "it was revoked, or is of another cloud: join again with a fresh token from `keadm gettoken`",
        holds: Holds::UntilSession,
    },
    Rule {
        marks: &[
            "does not belong to the certificate",
            "the certificate is for ",
            "is not by the CA beside it",
            "): join the device again",
        ],
        item: "identity",
        what: "key and certificates of this device do not fit together",
        remedy: "join again with a fresh token from `keadm gettoken`; if this comes back, the storage fails: \
                 look at dmesg",
        holds: Holds::UntilSession,
    },
    Rule {
        marks: &["for which none that this device knows vouches"],
        item: "identity",
        what: "the cloud has a CA that this device has no reason to trust",
        remedy: "see on the cloud machine whether its CA was replaced; then join again with a fresh token",
        holds: Holds::UntilSession,
    },
    Rule {
        marks: &["the clock here says"],
        item: "clock",
        what: "the clocks of device and cloud differ",
        remedy: "have NTP keep the clock of this device right, and see to the cloud's: certificates are judged \
                 by the cloud's time meanwhile",
        holds: Holds::ForADay,
    },
    Rule {
        marks: &["the proxy at ", "no way to the proxy"],
        item: "proxy",
        what: "the proxy does not open the way",
        remedy: "have its operator allow CONNECT to this cloud's ports, and correct address, user and password \
                 with `kubeedge join --proxy`",
        holds: Holds::UntilSession,
    },
    Rule {
        marks: &["a portal at "],
        item: "network",
        what: "this network wants a login first",
        remedy: "log in to it, or have its operator let this device through",
        holds: Holds::UntilSession,
    },
    Rule {
        marks: &["cannot find the address of "],
        item: "dns",
        what: "the cloud's name is not found",
        remedy: "see /etc/resolv.conf and the DNS server, or give the cloud by its address",
        holds: Holds::UntilSession,
    },
    Rule {
        marks: &["no secure connection to "],
        item: "network",
        what: "TLS with the cloud does not come about",
        remedy: "see the clock first; then whether a firewall or proxy opens TLS, and whether the address is \
                 that of this device's own cloud",
        holds: Holds::UntilSession,
    },
    Rule {
        marks: &[
            "cannot connect to ",
            "cannot connect from ",
            "does not answer (",
            "there is no way from ",
        ],
        item: "network",
        what: "the cloud is not reached",
        remedy: "see that cloudcore runs, that its ports are open, and that this device has a route to it",
        holds: Holds::UntilSession,
    },
    Rule {
        marks: &["has no randomness yet"],
        item: "kernel",
        what: "the kernel has no randomness yet",
        remedy: "wait; if it stays so, give this device a source of it, such as rngd or a saved seed",
        holds: Holds::UntilSession,
    },
    Rule {
        marks: &["was ended by signal 9", "no sign of life for "],
        item: "mem",
        what: "edgecore was killed",
        remedy: "most often memory is short, and dmesg tells of it: give this device more, or run less here",
        holds: Holds::ForADay,
    },
    Rule {
        marks: &[
            "the hub was ended by signal",
            "the hub ended with exit code",
        ],
        item: "edgecore",
        what: "edgecore's work has ended by itself, and was started again",
        remedy: "it should not: `kubeedge debug collect` gathers what those need who mend it",
        holds: Holds::ForADay,
    },
    Rule {
        marks: &[
            "there is no more room for it in ",
            "no space left",
            "No space left",
        ],
        item: "disk",
        what: "there is no room for what the cloud sends",
        remedy: "free some, remove objects from this node, or give them another folder with \
                 modules.metaManager.stateDir",
        holds: Holds::ForADay,
    },
    // What systemd does not allow looks like a disk that the kernel trusts no more.
    Rule {
        marks: &["in ReadWritePaths= by "],
        item: "disk",
        what: "its unit allows no writing there, or the disk can't be written to",
        remedy: "make the folder, name it in ReadWritePaths= by `systemctl edit edgecore`, and restart edgecore; one of \
                 its own is writable, unless the disk fails: look at dmesg",
        holds: Holds::ForADay,
    },
    Rule {
        marks: &[
            "was set aside in ",
            "read-only file system",
            "Read-only file system",
        ],
        item: "disk",
        what: "the storage of this device fails",
        remedy: "look at dmesg for its errors, and replace it: what it lost comes from the cloud again",
        holds: Holds::ForADay,
    },
    Rule {
        marks: &["and registerNode is false"],
        item: "node",
        what: "the cloud has no such node, and this device may not register",
        remedy: "create the node there, or set modules.edged.tailoredKubeletConfig.registerNode to true",
        holds: Holds::ForADay,
    },
    Rule {
        marks: &["the cloud refuses: "],
        item: "node",
        what: "the cloud refuses what this node asks of it",
        remedy: "see cloudcore's log and its rights on the cluster",
        holds: Holds::WhenOften,
    },
    Rule {
        marks: &["no API for programs on this device"],
        item: "api",
        what: "programs on this device get no answer, and `kubeedge ctl` does not either",
        remedy: "see which program has that address, or give another with modules.metaManager.metaServer.server",
        holds: Holds::ForADay,
    },
    Rule {
        marks: &["cannot accept on "],
        item: "pid",
        what: "edgecore may open no more files",
        remedy: "raise its limit on open files, and see which program opens so many connections to it",
        holds: Holds::ForADay,
    },
    Rule {
        marks: &["the other side closed the tunnel"],
        item: "line",
        what: "the cloud ends the connection again and again",
        remedy: "see whether another device runs with the same node name, and whether cloudcore restarts",
        holds: Holds::WhenOften,
    },
    Rule {
        marks: &[
            "the tunnel was cut",
            "took too long",
            "the connection ended at once",
            "the tunnel started from ",
        ],
        item: "line",
        what: "the connection breaks again and again",
        remedy: "see the signal or cable, and `kubeedge debug check mtu network`; where something ends idle \
                 connections, a lower modules.edgeHub.heartbeat keeps them open",
        holds: Holds::WhenOften,
    },
    Rule {
        marks: &["skipped a bad message", "skipped a frame from the hub"],
        item: "messages",
        what: "the cloud sends what edgecore does not understand",
        remedy: "see that both are of versions that fit, and tell those who maintain this edgecore",
        holds: Holds::ForADay,
    },
];

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::protocol::enrollment::EnrollError;
    use crate::system::files::FileError;
    use crate::system::network::NetError;
    use crate::system::proxy::ProxyFault;
    use crate::tunnel::TunnelError;

    fn line(text: &str, count: u32, first: i64, last: i64) -> Told {
        Told {
            level: "warn".to_owned(),
            first: Timestamp::from_unix(first),
            last: Timestamp::from_unix(last),
            count,
            text: text.to_owned(),
        }
    }

    /// A status with a session since then.
    fn session(since: i64) -> EdgeStatus {
        let since = Timestamp::from_unix(since);
        let text = format!(
            r#"{{"v":1,"version":"1","pid":1,"node":"n","cloud":"c:1","state":"connected","since":"{since}",
            "session":{{"generation":1,"since":"{since}","peer":"p","serial":"1"}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn holds(line: &Told, status: Option<&EdgeStatus>, now: i64) -> bool {
        rule(line, status, Timestamp::from_unix(now)).is_some()
    }

    #[test]
    fn the_sentences_of_faults_are_known() {
        let endpoint = || "192.0.2.1:10000".parse().unwrap();
        let address = ([192, 0, 2, 1], 10000).into();
        let no_way = |source| EnrollError::NoWay {
            endpoint: endpoint(),
            source,
        };
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let denied = EnrollError::Denied {
            endpoint: endpoint(),
            status: 401,
            said: "no".to_owned(),
        };
        let taken = EnrollError::NameTaken {
            endpoint: endpoint(),
            said: "no".to_owned(),
        };
        let pinned = EnrollError::CaMismatch {
            endpoint: endpoint(),
            pinned: "a".to_owned(),
            met: "b".to_owned(),
        };
        let tunnel = TunnelError::Refused {
            status: 403,
            said: "revoked".to_owned(),
            retry_after: None,
        };
        let connect = NetError::Connect {
            address,
            source: refused(),
        };
        let lookup = NetError::Lookup {
            name: "cloud".to_owned(),
            source: refused(),
        };
        let proxy = NetError::Proxy {
            proxy: endpoint(),
            fault: Box::new(ProxyFault::NoProxy),
        };
        let full = FileError::Full {
            path: "/x".into(),
            limit: 1,
        };
        for (sentence, item) in [
            (pinned.to_string(), "identity"),
            (denied.to_string(), "identity"),
            (taken.to_string(), "identity"),
            (tunnel.to_string(), "identity"),
            (no_way(proxy).to_string(), "proxy"),
            (no_way(lookup).to_string(), "dns"),
            (no_way(connect).to_string(), "network"),
            (TunnelError::Tls("bad".to_owned()).to_string(), "network"),
            (full.to_string(), "disk"),
        ] {
            let found = rule(&line(&sentence, 1, 5, 5), None, Timestamp::from_unix(9));
            assert_eq!(found.map(|rule| rule.item), Some(item), "{sentence}");
        }
        let often = line(&TunnelError::Lost(refused()).to_string(), 9, 1, 5);
        let found = rule(&often, None, Timestamp::from_unix(9));
        assert_eq!(found.map(|rule| rule.item), Some("line"));
        // With systemd's part in it, though the kernel's is there too.
        let unit = "read-only file system: the unit may not allow it: make the folder, name it in ReadWritePaths= by `systemctl";
        let found = rule(&line(unit, 1, 5, 5), None, Timestamp::from_unix(9));
        assert!(found.unwrap().what.contains("its unit"));
    }

    /// Those of edgecore's own files, which are above this one's floor.
    #[test]
    fn every_mark_is_in_some_sentence() {
        let sources = [
            include_str!("../../../edgecore/identity.rs"),
            include_str!("../../../edgecore/edge.rs"),
            include_str!("../../../edgecore/daemon.rs"),
            include_str!("../../../edgecore/session.rs"),
            include_str!("../../../edgecore/control.rs"),
            include_str!("../../../edgecore/meta/keep.rs"),
            include_str!("../../../edgecore/meta/load.rs"),
            include_str!("../../../edgecore/node/talk.rs"),
            include_str!("../../../edgecore/supervisor/mod.rs"),
            include_str!("../../../protocol/enrollment/error.rs"),
            include_str!("../../../protocol/portal.rs"),
            include_str!("../../../protocol/reply.rs"),
            include_str!("../../../system/clock.rs"),
            include_str!("../../../system/files/error.rs"),
            include_str!("../../../system/network.rs"),
            include_str!("../../../tunnel/mod.rs"),
        ];
        // What the kernel says, what a number follows, and what is put together.
        let composed = [
            "space left",
            "read-only",
            "Read-only",
            "refuses the tunnel (40",
            "the hub was ended",
            "the hub ended",
            "signal 9",
        ];
        for mark in RULES.iter().flat_map(|rule| rule.marks) {
            let is_there = sources.iter().any(|source| source.contains(mark));
            let is_composed = composed.iter().any(|it| mark.contains(it));
            assert!(is_there || is_composed, "nobody says {mark:?}");
        }
        for part in [
            "the hub {}: it is started again",
            "was ended by signal {signal}",
            "ended with exit code {code}",
        ] {
            assert!(sources.iter().any(|source| source.contains(part)), "{part}");
        }
    }

    #[test]
    fn what_is_over_is_no_reason() {
        let cut = "state: cannot connect to 192.0.2.1:1: connection refused";
        assert!(holds(&line(cut, 1, 10, 10), None, 20));
        assert!(holds(&line(cut, 1, 10, 10), Some(&session(5)), 20));
        assert!(!holds(&line(cut, 1, 10, 10), Some(&session(15)), 20));
        // Once a day is no fault, nor is what was so last week.
        let lost = "state: the tunnel was cut: connection reset by peer";
        let (hour, day) = (3600, 86_400);
        assert!(holds(&line(lost, 3, 0, 100), Some(&session(150)), 200));
        assert!(!holds(&line(lost, 2, 0, 100), Some(&session(150)), 200));
        assert!(!holds(
            &line(lost, 3, 0, 3 * day),
            Some(&session(9)),
            3 * day
        ));
        assert!(!holds(
            &line(lost, 9, 0, 100),
            Some(&session(150)),
            2 * hour
        ));
        let full = "keep: pod/a/b is not stored: there is no more room for it in /x";
        assert!(holds(&line(full, 1, 0, 0), Some(&session(5)), day - 1));
        assert!(!holds(&line(full, 1, 0, 0), Some(&session(5)), day));
        assert!(!holds(&line("state: all is well", 9, 0, 0), None, 0));
    }
}
