//! A cloud that answers wrongly in every way: the edge says what it met, takes no harm, and is back when the cloud is.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::cloud::Cloud;
use common::device::{BOOTSTRAP, CONFIG, Device, Edge};
use common::{figures, files_below};
use kubeedge::protocol::control::{EdgeState, EdgeStatus};
use serde_json::Value;

/// What a certificate API does to `GET /ca.crt` and `GET /edge.crt`, and a part of the sentence that each must cause.
const ANSWERS: &[(&str, &str, &str)] = &[
    both("html", "a portal at 127.0.0.1:"),
    ("empty", "the CA answer is empty", "the answer is empty"),
    both("redirect-http", "a portal at 127.0.0.1:80 "),
    both("redirect-host", "302, a redirect"),
    both("redirect-path", "302, a redirect"),
    both("status-500", "answers 500 (it broke)"),
    both("status-404", "answers 404"),
    (
        "status-401",
        "answers 401",
        "refuses the request (401: who are you)",
    ),
    (
        "status-403",
        "answers 403",
        "refuses the request (403: not you)",
    ),
    (
        "status-409",
        "answers 409",
        "another device holds this node name",
    ),
    both("status-204", "answers 204"),
    both("status-999", "answers 999"),
    both("busy-negative", "answers 429"),
    both("busy-words", "answers 503"),
    both("injection", "answers 500"),
    both("gzip-small", UNUSABLE),
    both("gzip-huge", UNUSABLE),
    both("length-huge", NO_ANSWER),
    both("length-overflow", UNUSABLE),
    both("length-negative", UNUSABLE),
    both("length-two", UNUSABLE),
    both("length-short", NO_ANSWER),
    both("chunk-garbage", UNUSABLE),
    both("chunk-huge", NO_ANSWER),
    both("not-http", UNUSABLE),
    both("binary", UNUSABLE),
    both("http-2", UNUSABLE),
    both("headers-many", UNUSABLE),
    both("header-nul", UNUSABLE),
    both("cut-head", NO_ANSWER),
    both("cut-at-once", NO_ANSWER),
    both("half-close", NO_ANSWER),
    both("reset", NO_ANSWER),
    both("der-truncated", UNUSABLE),
    both("der-trailing", UNUSABLE),
    both("der-twice", UNUSABLE),
    ("der-bent", "has the CA", "is not by this cloud's CA"),
    both("der-long", UNUSABLE),
    both("endless-head", UNUSABLE),
    both("endless-line", UNUSABLE),
    both("endless-body", UNUSABLE),
    both("endless-until-close", UNUSABLE),
    both("busy-for-ever", "answers 503"),
];

const UNUSABLE: &str = "no usable certificate";
const NO_ANSWER: &str = "does not answer";

/// The same sentence for either path.
const fn both(
    misdeed: &'static str,
    says: &'static str,
) -> (&'static str, &'static str, &'static str) {
    (misdeed, says, says)
}

/// These take as long as a request may take at all.
const SLOW_ANSWERS: &[&str] = &["drip-head", "drip-body", "silent", "endless-interim"];

/// Which of these it is hangs on what the other side had read by then.
const CUT: &str = "connection reset by peer|the other side ended the connection|broken pipe";

/// Before TLS, on either port.
const TLS: &[(&str, &str)] = &[
    ("tls-close", CUT),
    ("tls-reset", CUT),
    ("tls-garbage", "does not speak TLS"),
    (
        "tls-alert-internal",
        "ended the TLS handshake (InternalError)",
    ),
    ("tls-alert-version", "no TLS version or cipher in common"),
    ("tls-alert-access", "AccessDenied"),
    ("tls-alert-unknown", "ended the TLS handshake"),
    ("tls-alert-farewell", CUT),
    ("tls-plain-http", "400, in plain HTTP"),
    ("tls-half-hello", CUT),
    ("tls-endless-hello", "does not speak TLS"),
    ("tls-long-record", "does not speak TLS"),
];

/// Instead of the 101.
const WELCOMES: &[(&str, &str)] = &[
    ("accept-wrong", "broke the protocol"),
    ("accept-missing", "broke the protocol"),
    ("upgrade-missing", "broke the protocol"),
    ("welcome-200", "a portal at 127.0.0.1:"),
    ("welcome-redirect", "a portal at 127.0.0.1 answers"),
    ("welcome-403", "refuses the tunnel (403: not you)"),
    ("welcome-500", "refuses the tunnel (500: it broke)"),
    ("welcome-injection", "refuses the tunnel (500"),
    ("welcome-garbage", "broke the protocol"),
    ("welcome-cut", "broke the protocol"),
    ("welcome-endless", "Too many headers"),
    ("welcome-endless-line", "Attack attempt"),
    ("welcome-interim", "refuses the tunnel (100"),
    ("welcome-many", "Too many headers"),
    ("welcome-silent", "the hub's answer took too long"),
    ("welcome-reset", CUT),
    ("welcome-busy", "refuses the tunnel (503: later)"),
];

/// Behind the 101, and the end of the session.
const ENDS: &[(&str, &str)] = &[
    ("frame-4gib", "a message of more than"),
    ("frame-2e63", "a message of more than"),
    ("frame-top-bit", "a message of more than"),
    ("frame-masked", "broke the protocol"),
    ("frame-reserved", "broke the protocol"),
    ("frame-opcode", "broke the protocol"),
    ("not-utf8", "text that is not UTF-8"),
    ("fragments-for-ever", "a message of more than"),
    ("fragment-first", "broke the protocol"),
    ("fragment-nested", "broke the protocol"),
    ("ping-long", "broke the protocol"),
    ("ping-fragmented", "broke the protocol"),
    ("close-normal", "closed the tunnel (1000)"),
    ("close-away", "closed the tunnel (1001: going)"),
    ("close-policy", "closed the tunnel (1008)"),
    ("close-error", "closed the tunnel (1011)"),
    ("close-private", "closed the tunnel (4999: private)"),
    ("close-forbidden", "closed the tunnel (1002"),
    ("close-zero", "closed the tunnel (1002"),
    ("close-injection", "closed the tunnel (1011"),
    ("close-not-utf8", "text that is not UTF-8"),
    ("close-cut", "broke the protocol"),
    ("half-close", CUT),
    ("reset", CUT),
];

/// Behind the 101, and not worth the session.
const STAYS: &[&str] = &[
    "wrong-types",
    "not-json",
    "deep-content",
    "deep-header",
    "wrong-ids",
    "other-node",
];

/// As fast as the cloud can, for seconds; the session stays, and everything else goes on meanwhile.
const FLOODS: &[&str] = &[
    "ping-flood",
    "pong-flood",
    "message-flood",
    "question-flood",
    "garbage-flood",
    "empty-fragments",
    "big-messages",
];

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    pid: u32,
    /// KiB of its own, at most so far: without the pages of the executable, of which a debug build has many.
    peak: u64,
    descriptors: usize,
    threads: u64,
}

impl Held {
    fn by(edge: &Edge<'_>) -> Held {
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
struct Trial<'a> {
    cloud: Cloud,
    edge: Edge<'a>,
    device: &'a Device,
    before: Held,
}

impl<'a> Trial<'a> {
    fn new(cloud: Cloud, device: &'a Device, token: &str) -> Trial<'a> {
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
    fn joined(device: &'a Device) -> Trial<'a> {
        let cloud = Cloud::start(&[]);
        let token = cloud.token();
        let trial = Trial::new(cloud, device, &token);
        trial.edge.connected();
        trial
    }

    /// The cloud does right again, and the edge looks at once.
    fn good_again(&mut self, port: &str) {
        self.cloud.order(&format!("be {port} good"));
        self.edge.order("reload");
    }

    /// The edge meets this twice: by then it has said what it thinks of the first time.
    fn meet(&mut self, port: &str, misdeed: &str) {
        let fits = |event: &Value| event["name"] == misdeed && event["port"] == port;
        for _ in 0..2 {
            self.edge.order("reload");
            self.cloud.event_where("misdeed", fits);
        }
    }

    /// The last problem has this in it, in words that are safe to print and to log.
    fn complains(&self, misdeed: &str, part: &str) -> String {
        let status = self
            .edge
            .until(&format!("{misdeed} with {part:?}"), |status| {
                let problem = status.last_error.as_ref();
                problem.is_some_and(|problem| {
                    part.split('|').any(|part| problem.message.contains(part))
                })
            });
        let message = status.last_error.expect("it was just seen").message;
        assert!(!message.is_empty(), "{misdeed}: nothing is said");
        assert!(
            !message.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{message:?}"
        );
        let log = self.edge.log();
        // What differs from the line before in numbers only is folded.
        let bare = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
        assert!(
            bare(&log).contains(&bare(&message)),
            "{misdeed}: {message:?} is not in the log"
        );
        assert!(
            !log.contains(['\x1b', '\u{202e}']),
            "{misdeed}: the log has an escape in it"
        );
        assert!(
            !log.contains("\nerror hub: INJECTED"),
            "a line of the log was forged"
        );
        message
    }

    /// Nothing has grown: not the memory, not the descriptors, not the threads.
    fn holds_no_more(&self, kib: u64) -> Held {
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
    fn held_after(&self, count: usize, what: &str, kib: u64) {
        let (now, before) = (self.holds_no_more(kib), self.before);
        println!("after {count} {what}: {now:?}, before {before:?}");
    }

    fn identity(&self) -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let mut files = files_below(&self.device.path("/etc/kubeedge/certs"));
        files.extend(files_below(&self.device.path("/etc/kubeedge/ca")));
        // Each attempt tries first whether the disk takes anything.
        files.retain(|(path, _)| !path.to_string_lossy().contains(".tmp-"));
        files
    }

    fn end(self) {
        self.edge.stop();
        self.cloud.satisfied();
    }
}

/// Wrong answers to one path while the device has no identity: the token is kept, and works afterwards.
fn enrolling(path: &str, says: impl Fn(&(&str, &'static str, &'static str)) -> &'static str) {
    let device = Device::new("edge-1");
    let cloud = Cloud::start(&[]);
    let token = cloud.token();
    let mut trial = Trial::new(cloud, &device, "");
    trial.cloud.order(&format!("be https silent {path}"));
    trial.device.configure(&trial.cloud, &token);
    for case in ANSWERS {
        trial.cloud.order(&format!("be https {} {path}", case.0));
        trial.meet("https", case.0);
        trial.complains(case.0, says(case));
        let status = trial.edge.status();
        let denied =
            matches!(case.0, "status-401" | "status-403" | "status-409") && path == "/edge.crt";
        let denied = denied || case.0 == "der-bent" && path == "/ca.crt";
        let states = match denied {
            true => [EdgeState::NeedsToken, EdgeState::Enrolling],
            false => [EdgeState::Enrolling, EdgeState::Enrolling],
        };
        assert!(
            states.contains(&status.state),
            "{}: {:?}",
            case.0,
            status.state
        );
        assert_eq!(trial.identity(), [], "{}: something was written", case.0);
        assert!(
            device.read(CONFIG).contains(&token),
            "{}: the token is gone",
            case.0
        );
    }
    trial.held_after(ANSWERS.len(), &format!("answers to {path}"), QUIET_KIB);
    trial.good_again("https");
    trial.edge.connected();
    assert!(
        !trial.edge.log().contains(&token),
        "the token is in the log"
    );
    assert!(!device.path(BOOTSTRAP).exists());
    trial.end();
}

#[test]
fn wrong_answers_instead_of_the_ca() {
    enrolling("/ca.crt", |case| case.1);
    figures::tried(
        "hostile-edge-ca",
        "wrong answers of a cloud to /ca.crt",
        ANSWERS.len(),
    );
}

#[test]
fn wrong_answers_instead_of_a_certificate() {
    enrolling("/edge.crt", |case| case.2);
    figures::tried(
        "hostile-edge-enrol",
        "wrong answers of a cloud to an enrolment",
        ANSWERS.len(),
    );
}

#[test]
fn wrong_answers_to_a_renewal() {
    let device = Device::new("edge-1");
    let mut trial = Trial::joined(&device);
    for (misdeed, _, part) in ANSWERS {
        let before = trial.identity();
        trial.cloud.order(&format!("be https {misdeed} /edge.crt"));
        let said = trial
            .edge
            .order("renew")
            .error
            .expect("it can't be renewed");
        assert!(said.contains(part), "{misdeed}: {said}");
        assert_eq!(trial.identity(), before, "{misdeed} changed the identity");
        assert_eq!(trial.edge.status().state, EdgeState::Connected, "{misdeed}");
    }
    // All that time there was one session.
    assert_eq!(trial.edge.status().session.expect("it is up").generation, 1);
    trial.held_after(ANSWERS.len(), "answers to renewals", QUIET_KIB);
    trial.cloud.order("be https good");
    assert_eq!(trial.edge.order("renew").error, None);
    trial.end();
    figures::tried(
        "hostile-edge-renew",
        "wrong answers of a cloud to a renewal",
        ANSWERS.len(),
    );
}

/// Each on an edge of its own, all at once: they take half a minute.
#[test]
fn answers_that_never_end() {
    std::thread::scope(|scope| {
        for misdeed in SLOW_ANSWERS {
            scope.spawn(move || {
                let device = Device::new("edge-1");
                let mut cloud = Cloud::start(&[]);
                cloud.order(&format!("be https {misdeed} /edge.crt"));
                let token = cloud.token();
                let mut trial = Trial::new(cloud, &device, &token);
                trial.complains(misdeed, "does not answer");
                assert_eq!(trial.identity(), []);
                trial.holds_no_more(QUIET_KIB);
                trial.good_again("https");
                trial.edge.connected();
                trial.end();
            });
        }
    });
    let many = SLOW_ANSWERS.len();
    figures::tried("hostile-edge-slow", "answers that never end", many);
}

#[test]
fn no_tls_on_either_port() {
    let device = Device::new("edge-1");
    let cloud = Cloud::start(&[]);
    let token = cloud.token();
    let mut trial = Trial::new(cloud, &device, "");
    trial.cloud.order("be https tls-close");
    trial.device.configure(&trial.cloud, &token);
    for port in ["https", "hub"] {
        for (misdeed, part) in TLS {
            trial.cloud.order(&format!("be {port} {misdeed}"));
            trial.meet(port, misdeed);
            trial.complains(misdeed, part);
            let status = trial.edge.status();
            assert_eq!(status.session, None, "{misdeed}");
            assert_ne!(status.state, EdgeState::NeedsToken, "{misdeed}");
        }
        trial.good_again(port);
        trial.edge.connected();
    }
    trial.holds_no_more(QUIET_KIB);
    trial.end();
    figures::tried("hostile-edge-tls", "ways to fail TLS", 2 * TLS.len());
}

/// A device with an identity and with little patience.
fn impatient() -> Device {
    let mut device = Device::new("edge-1");
    device.websocket_keys = vec!["handshakeTimeout: 3".to_owned()];
    device
}

#[test]
fn wrong_welcomes() {
    let device = impatient();
    let mut trial = Trial::joined(&device);
    let identity = trial.identity();
    for (misdeed, part) in WELCOMES {
        trial.cloud.order(&format!("be hub {misdeed}"));
        trial.meet("hub", misdeed);
        trial.complains(misdeed, part);
        assert_eq!(trial.edge.status().session, None, "{misdeed}");
        trial.good_again("hub");
        trial.edge.connected();
        assert_eq!(trial.identity(), identity, "{misdeed} changed the identity");
    }
    trial.held_after(WELCOMES.len(), "welcomes", QUIET_KIB);
    trial.end();
    figures::tried(
        "hostile-edge-welcome",
        "wrong answers of a hub to the upgrade",
        WELCOMES.len(),
    );
}

#[test]
fn frames_that_end_a_session() {
    let device = impatient();
    let mut trial = Trial::joined(&device);
    let identity = trial.identity();
    for (misdeed, part) in ENDS {
        trial.cloud.order(&format!("be hub {misdeed}"));
        trial.meet("hub", misdeed);
        trial.complains(misdeed, part);
        trial.good_again("hub");
        trial.edge.until("a good session", |status| {
            status.state == EdgeState::Connected && status.last_error.is_none()
        });
        assert_eq!(trial.identity(), identity, "{misdeed} changed the identity");
    }
    trial.held_after(ENDS.len(), "ends", LONGEST_MESSAGE_KIB);
    trial.end();
    figures::tried("hostile-edge-ends", "frames that end a session", ENDS.len());
}

/// Goes over to a hub with this misdeed; returns the number of the session.
fn session_with(trial: &mut Trial<'_>, misdeed: &str) -> u64 {
    trial.cloud.order(&format!("be hub {misdeed}"));
    trial.edge.order("reload");
    trial
        .cloud
        .event_where("misdeed", |event| event["name"] == misdeed);
    let status = trial.edge.connected();
    status.session.expect("it is up").generation
}

/// Goes over to a hub without misdeeds.
fn next_session(trial: &mut Trial<'_>, number: u64) {
    trial.good_again("hub");
    trial.edge.until("the next session", |status| {
        let session = status.session.as_ref();
        session.is_some_and(|session| session.generation > number)
    });
}

/// It is the same session still.
#[track_caller]
fn assert_stays(status: &EdgeStatus, number: u64, misdeed: &str) {
    let (state, problem) = (status.state, &status.last_error);
    assert_eq!(state, EdgeState::Connected, "{misdeed}: {problem:?}");
    let session = status.session.as_ref().expect("it is up");
    assert_eq!(session.generation, number, "{misdeed}");
}

#[test]
fn messages_that_are_skipped() {
    let device = impatient();
    let mut trial = Trial::joined(&device);
    for misdeed in STAYS {
        let number = session_with(&mut trial, misdeed);
        trial.edge.order("reload");
        let status = trial.edge.status();
        assert_stays(&status, number, misdeed);
        next_session(&mut trial, number);
    }
    let log = trial.edge.log();
    assert!(log.contains("skipped a frame from the hub"), "{log}");
    trial.holds_no_more(QUIET_KIB);
    trial.end();
    figures::tried(
        "hostile-edge-skipped",
        "messages that are skipped",
        STAYS.len(),
    );
}

#[test]
fn floods_starve_nobody() {
    let device = impatient();
    let mut trial = Trial::joined(&device);
    for misdeed in FLOODS {
        let number = session_with(&mut trial, misdeed);
        // The local socket is answered while the flood goes on.
        let asked = Instant::now();
        let status = trial.edge.status();
        let early = trial.cloud.unread("flooded").is_empty();
        assert!(
            early,
            "{misdeed}: no answer on the local socket for {:?}",
            asked.elapsed()
        );
        assert_eq!(
            status.session.expect("it is up").generation,
            number,
            "{misdeed}"
        );
        let flooded = trial.cloud.event("flooded");
        let status = trial.edge.status();
        assert_stays(&status, number, misdeed);
        println!(
            "{misdeed}: {} bytes, {:?}",
            flooded["size"],
            Held::by(&trial.edge)
        );
        next_session(&mut trial, number);
    }
    trial.holds_no_more(LONGEST_MESSAGE_KIB);
    trial.end();
    figures::tried("hostile-edge-floods", "floods from a hub", FLOODS.len());
}

/// Nobody asks here: the edge itself must not ask too often.
#[test]
fn what_ends_at_once_is_not_asked_again_and_again() {
    const WATCHED: Duration = Duration::from_secs(6);
    let deeds = [
        ("https", "tls-reset", ""),
        ("https", "cut-at-once", "/ca.crt"),
        ("hub", "close-normal", ""),
    ];
    std::thread::scope(|scope| {
        for (port, misdeed, path) in deeds {
            scope.spawn(move || {
                let device = Device::new("edge-1");
                let mut cloud = Cloud::start(&[]);
                cloud.order(&format!("be {port} {misdeed} {path}"));
                let token = cloud.token();
                let mut trial = Trial::new(cloud, &device, &token);
                let first = trial.cloud.event("misdeed")["t"].as_f64().expect("a time");
                std::thread::sleep(WATCHED);
                let times = trial.cloud.unread("misdeed");
                let within = |event: &&Value| event["t"].as_f64().is_some_and(|t| t < first + 6.0);
                let attempts = 1 + times.iter().filter(within).count();
                // Waits drawn from 0.8 s, 1.6 s, 3.2 s, …: five on average.
                assert!(
                    attempts <= 16,
                    "{misdeed}: {attempts} attempts in {WATCHED:?}"
                );
                trial.cloud.order(&format!("be {port} good"));
                trial.edge.connected();
                trial.end();
            });
        }
    });
    figures::tried(
        "hostile-edge-pace",
        "clouds that end at once, watched for the pace",
        deeds.len(),
    );
}

/// What edgecore may reach in any of these.
const QUIET_KIB: u64 = 10 * 1024;

/// As much, and the longest message there may be.
const LONGEST_MESSAGE_KIB: u64 = QUIET_KIB + 48 * 1024;
