//! One edge at a cloud with misdeeds: what it met, what that caused, and what it holds.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::cloud::Cloud;
use crate::common::device::{Device, Edge};
use crate::common::{LIMIT, files_below};
use crate::table::{Case, Counter};

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pid: u32,
    /// KiB of its own, at most so far: without the pages of the executable, of which a debug build has many.
    peak: u64,
    descriptors: usize,
    threads: u64,
}

impl Held {
    pub fn by(edge: &Edge<'_>) -> Held {
        let status = edge.status();
        let pid = status.hub_pid.unwrap_or(status.pid);
        let process = format!("/proc/{pid}");
        let status = fs::read_to_string(format!("{process}/status")).expect("it runs");
        let number = |key: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let words = line.map(str::split_whitespace);
            let word = words.and_then(|mut words| words.next());
            word.and_then(|word| word.parse().ok()).expect("a number")
        };
        Held {
            pid,
            peak: number("VmHWM:").saturating_sub(number("RssFile:")),
            descriptors: fs::read_dir(format!("{process}/fd"))
                .expect("it runs")
                .count(),
            threads: number("Threads:"),
        }
    }
}

/// One edge at a cloud with misdeeds.
pub struct Trial<'a> {
    pub cloud: Cloud,
    pub edge: Edge<'a>,
    pub device: &'a Device,
    before: Held,
}

impl<'a> Trial<'a> {
    pub fn new(cloud: Cloud, device: &'a Device, token: &str) -> Trial<'a> {
        device.configure(&cloud, token);
        let edge = device.start();
        let before = Held::by(&edge);
        Trial {
            cloud,
            edge,
            device,
            before,
        }
    }

    /// The edge has enrolled and has its session.
    pub fn joined(device: &'a Device) -> Trial<'a> {
        let cloud = Cloud::start(&[]);
        let token = cloud.token();
        let trial = Trial::new(cloud, device, &token);
        trial.edge.connected();
        trial
    }

    /// The cloud does right again, and the edge looks at once.
    pub fn good_again(&mut self, port: &str) {
        self.cloud.order(&format!("be {port} good"));
        self.edge.order("reload");
    }

    /// The edge meets this twice: by then it has said what it thinks of the first time.
    pub fn meet(&mut self, port: &str, misdeed: &str) {
        let fits = |event: &Value| event["name"] == misdeed && event["port"] == port;
        for _ in 0..2 {
            self.edge.order("reload");
            self.cloud.event_where("misdeed", fits);
        }
    }

    /// How far the case's counter is.
    pub fn count(&self, case: &Case) -> u64 {
        case.counter.of(&self.edge.status())
    }

    /// All three that the case must cause, since its counter was at `before`: the last problem says it, in words that are
    /// safe to print and to log, the edge stands where it must, and it was counted.
    pub fn caused(&self, case: &Case, before: u64) {
        let says = |message: &str| case.says.split('|').any(|part| message.contains(part));
        let status = self.edge.until(&format!("{case:?}"), |status| {
            let problem = status.last_error.as_ref();
            problem.is_some_and(|problem| says(&problem.message))
                && status.state == case.state
                && case.counter.of(status) >= before + case.counter.at_least()
        });
        let message = status.last_error.expect("it was just seen").message;
        assert!(
            !message.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{message:?}"
        );
        // What differs from the line before in numbers only is folded.
        let bare = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
        assert!(
            bare(&self.edge.log()).contains(&bare(&message)),
            "{}: {message:?} is not in the log",
            case.misdeed
        );
        self.log_is_clean(case.misdeed);
    }

    /// The same for what is no problem: waits for the counter, and for a line of the log behind its first `logged` bytes.
    /// Where bytes are counted, that line has their number.
    pub fn noted(&self, case: &Case, before: u64, logged: usize) {
        let many = case.counter.at_least();
        let is_it = |line: &str| match (line.split_once(case.says), case.counter) {
            (Some((_, rest)), Counter::Received(bytes)) => {
                let number = rest.split_whitespace().next();
                let number = number.and_then(|word| word.parse::<u64>().ok());
                number.is_some_and(|kilobytes| kilobytes >= bytes / 1000)
            }
            (it, _) => it.is_some(),
        };
        let until = Instant::now() + LIMIT;
        loop {
            let count = self.count(case);
            let said = self.edge.log()[logged..].lines().any(is_it);
            if count >= before + many && said {
                break;
            }
            assert!(
                Instant::now() < until,
                "{case:?}: said: {said}; from {before} to {count}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        self.log_is_clean(case.misdeed);
    }

    fn log_is_clean(&self, misdeed: &str) {
        let log = self.edge.log();
        assert!(
            !log.contains(['\x1b', '\u{202e}']),
            "{misdeed}: the log has an escape in it"
        );
        assert!(
            !log.contains("\nerror hub: INJECTED"),
            "a line of the log was forged"
        );
    }

    /// Nothing has grown: not the memory, not the descriptors, not the threads.
    pub fn holds_no_more(&self, kib: u64) -> Held {
        let now = Held::by(&self.edge);
        // Else the supervisor would have hidden a panic by a new process.
        assert_eq!(
            now.pid,
            self.before.pid,
            "another process: {}",
            self.edge.log()
        );
        assert!(now.peak < kib, "{now:?} is more than {kib} KiB");
        assert!(
            now.descriptors <= self.before.descriptors + 12,
            "{:?}, then {now:?}",
            self.before
        );
        assert!(
            now.threads <= self.before.threads + 8,
            "{:?}, then {now:?}",
            self.before
        );
        let log = self.edge.log().len();
        assert!(log < 400_000, "the log has {log} bytes");
        now
    }

    /// The same, and prints what it holds.
    pub fn held_after(&self, count: usize, what: &str, kib: u64) {
        let (now, before) = (self.holds_no_more(kib), self.before);
        println!("after {count} {what}: {now:?}, before {before:?}");
    }

    pub fn identity(&self) -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let mut files = files_below(&self.device.path("/etc/kubeedge/certs"));
        files.extend(files_below(&self.device.path("/etc/kubeedge/ca")));
        // Each attempt tries first whether the disk takes anything.
        files.retain(|(path, _)| !path.to_string_lossy().contains(".tmp-"));
        files
    }

    pub fn end(self) {
        self.edge.stop();
        self.cloud.satisfied();
    }
}

/// What edgecore may reach in any of these.
pub const QUIET_KIB: u64 = 10 * 1024;

/// As much, and the longest message there may be.
pub const LONGEST_MESSAGE_KIB: u64 = QUIET_KIB + 48 * 1024;
