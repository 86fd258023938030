//! What a cloud does wrong, and what each of it must cause at the edge: a sentence, a state, a counter that rises.

use kubeedge::protocol::control::EdgeState::{self, Connected, Connecting, Enrolling, NeedsToken};
use kubeedge::protocol::control::EdgeStatus;

/// All fields are needed: a case that leaves one out does not compile, and one with an empty sentence fails.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub misdeed: &'static str,
    /// A part of what is said in the log and, where it is a problem, in the status; of several, parted by `|`, any one.
    pub says: &'static str,
    /// Where the edge then stands.
    pub state: EdgeState,
    pub counter: Counter,
}

/// What the edge's status counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    Enrolments,
    Renewals,
    Tunnels,
    Sessions,
    Skipped,
    /// So many bytes, in what is no problem but a lot of work.
    Received(u64),
}

impl Counter {
    pub fn of(self, status: &EdgeStatus) -> u64 {
        let failures = status.failures.expect("this edgecore counts");
        let messages = status.messages.expect("this edgecore counts");
        match self {
            Counter::Enrolments => failures.enrolments,
            Counter::Renewals => failures.renewals,
            Counter::Tunnels => failures.tunnels,
            Counter::Sessions => failures.sessions,
            Counter::Skipped => messages.skipped,
            Counter::Received(_) => messages.received,
        }
    }

    /// By how much it has to rise for one case.
    pub fn at_least(self) -> u64 {
        match self {
            Counter::Received(bytes) => bytes,
            _ => 1,
        }
    }
}

impl Case {
    const fn new(
        misdeed: &'static str,
        says: &'static str,
        state: EdgeState,
        counter: Counter,
    ) -> Case {
        Case {
            misdeed,
            says,
            state,
            counter,
        }
    }

    /// Refuses a case that nothing could fail.
    pub fn is_whole(&self) {
        let named = |part: &str| part.trim().len() >= 5;
        assert!(!self.misdeed.is_empty(), "a case without a name");
        let parts = self.says.split('|').all(named);
        assert!(parts, "{}: {:?} is in any log", self.misdeed, self.says);
        assert!(self.counter.at_least() > 0, "{}", self.misdeed);
        // What is met while there is no session can't leave the edge connected, and the other way round.
        let session = matches!(
            self.counter,
            Counter::Renewals | Counter::Skipped | Counter::Received(_)
        );
        assert_eq!(self.state == Connected, session, "{}", self.misdeed);
    }
}

/// What a certificate API does to `GET /ca.crt` and to `GET /edge.crt`.
pub struct Answer {
    misdeed: &'static str,
    /// The sentence and the state.
    ca: (&'static str, EdgeState),
    certificate: (&'static str, EdgeState),
}

impl Answer {
    /// Instead of the CA.
    pub fn to_ca(&self) -> Case {
        let (says, state) = self.ca;
        Case::new(self.misdeed, says, state, Counter::Enrolments)
    }

    /// Instead of the first certificate.
    pub fn to_enrolment(&self) -> Case {
        let (says, state) = self.certificate;
        Case::new(self.misdeed, says, state, Counter::Enrolments)
    }

    /// Instead of the next one: the present one is good, whatever the answer.
    pub fn to_renewal(&self) -> Case {
        Case::new(
            self.misdeed,
            self.certificate.0,
            Connected,
            Counter::Renewals,
        )
    }
}

/// The same sentence for either path, and waiting may help.
const fn both(misdeed: &'static str, says: &'static str) -> Answer {
    Answer {
        misdeed,
        ca: (says, Enrolling),
        certificate: (says, Enrolling),
    }
}

/// Before the CA is pinned it is no verdict; behind that, it is one on the token.
const fn verdict(misdeed: &'static str, ca: &'static str, certificate: &'static str) -> Answer {
    Answer {
        misdeed,
        ca: (ca, Enrolling),
        certificate: (certificate, NeedsToken),
    }
}

pub const ANSWERS: &[Answer] = &[
    both("html", "a portal at 127.0.0.1:"),
    Answer {
        misdeed: "empty",
        ca: ("the CA answer is empty", Enrolling),
        certificate: ("the answer is empty", Enrolling),
    },
    both("redirect-http", "a portal at 127.0.0.1:80 "),
    both("redirect-host", "302, a redirect"),
    both("redirect-path", "302, a redirect"),
    both("status-500", "answers 500 (it broke)"),
    both("status-404", "answers 404"),
    verdict(
        "status-401",
        "answers 401",
        "refuses the request (401: who are you)",
    ),
    verdict(
        "status-403",
        "answers 403",
        "refuses the request (403: not you)",
    ),
    verdict(
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
    Answer {
        misdeed: "der-bent",
        ca: ("has the CA", NeedsToken),
        certificate: ("is not by this cloud's CA", Enrolling),
    },
    both("der-long", UNUSABLE),
    both("endless-head", UNUSABLE),
    both("endless-line", UNUSABLE),
    both("endless-body", UNUSABLE),
    both("endless-until-close", UNUSABLE),
    both("busy-for-ever", "answers 503"),
];

const UNUSABLE: &str = "no usable certificate";
const NO_ANSWER: &str = "does not answer";

/// These take as long as a request may take at all.
pub const SLOW_ANSWERS: &[Case] = &[
    Case::new("drip-head", NO_ANSWER, Enrolling, Counter::Enrolments),
    Case::new("drip-body", NO_ANSWER, Enrolling, Counter::Enrolments),
    Case::new("silent", NO_ANSWER, Enrolling, Counter::Enrolments),
    Case::new("endless-interim", NO_ANSWER, Enrolling, Counter::Enrolments),
];

/// Which of these it is hangs on what the other side had read by then.
const CUT: &str = "connection reset by peer|the other side ended the connection|broken pipe";
const NO_TLS: &str = "does not speak TLS";

/// Before TLS, on either port.
const TLS: &[(&str, &str)] = &[
    ("tls-close", CUT),
    ("tls-reset", CUT),
    ("tls-garbage", NO_TLS),
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
    ("tls-endless-hello", NO_TLS),
    ("tls-long-record", NO_TLS),
];

/// The port, and what happens there.
pub fn tls() -> Vec<(&'static str, Case)> {
    let ports = [
        ("https", Enrolling, Counter::Enrolments),
        ("hub", Connecting, Counter::Tunnels),
    ];
    let on = |(port, state, counter)| {
        let case = move |&(misdeed, says)| (port, Case::new(misdeed, says, state, counter));
        TLS.iter().map(case)
    };
    ports.into_iter().flat_map(on).collect()
}

/// Instead of the 101.
pub const WELCOMES: &[Case] = &[
    welcome("accept-wrong", BROKE),
    welcome("accept-missing", BROKE),
    welcome("upgrade-missing", BROKE),
    welcome("welcome-200", "a portal at 127.0.0.1:"),
    welcome("welcome-redirect", "a portal at 127.0.0.1 answers"),
    Case::new(
        "welcome-403",
        "refuses the tunnel (403: not you)",
        NeedsToken,
        Counter::Tunnels,
    ),
    welcome("welcome-500", "refuses the tunnel (500: it broke)"),
    welcome("welcome-injection", "refuses the tunnel (500"),
    welcome("welcome-garbage", BROKE),
    welcome("welcome-cut", BROKE),
    welcome("welcome-endless", "Too many headers"),
    welcome("welcome-endless-line", "Attack attempt"),
    welcome("welcome-interim", "refuses the tunnel (100"),
    welcome("welcome-many", "Too many headers"),
    welcome("welcome-silent", "the hub's answer took too long"),
    welcome("welcome-reset", CUT),
    welcome("welcome-busy", "refuses the tunnel (503: later)"),
];

const fn welcome(misdeed: &'static str, says: &'static str) -> Case {
    Case::new(misdeed, says, Connecting, Counter::Tunnels)
}

const BROKE: &str = "broke the protocol";

/// Behind the 101, and the end of the session.
pub const ENDS: &[Case] = &[
    end("frame-4gib", TOO_BIG),
    end("frame-2e63", TOO_BIG),
    end("frame-top-bit", TOO_BIG),
    end("frame-masked", BROKE),
    end("frame-reserved", BROKE),
    end("frame-opcode", BROKE),
    end("not-utf8", "text that is not UTF-8"),
    end("fragments-for-ever", TOO_BIG),
    end("fragment-first", BROKE),
    end("fragment-nested", BROKE),
    end("ping-long", BROKE),
    end("ping-fragmented", BROKE),
    end("close-normal", "closed the tunnel (1000)"),
    end("close-away", "closed the tunnel (1001: going)"),
    end("close-policy", "closed the tunnel (1008)"),
    end("close-error", "closed the tunnel (1011)"),
    end("close-private", "closed the tunnel (4999: private)"),
    end("close-forbidden", "closed the tunnel (1002"),
    end("close-zero", "closed the tunnel (1002"),
    end("close-injection", "closed the tunnel (1011"),
    end("close-not-utf8", "text that is not UTF-8"),
    end("close-cut", BROKE),
    end("half-close", CUT),
    end("reset", CUT),
];

const fn end(misdeed: &'static str, says: &'static str) -> Case {
    Case::new(misdeed, says, Connecting, Counter::Sessions)
}

const TOO_BIG: &str = "a message of more than";

/// Behind the 101, and not worth the session.
pub const STAYS: &[Case] = &[
    skipped("wrong-types", "expected a boolean at line"),
    skipped("not-json", "EOF while parsing an object"),
    skipped(
        "deep-content",
        "about \"default/configmap/deep\": its content is no object",
    ),
    skipped("deep-header", "a frame holds one JSON object"),
    skipped("wrong-ids", "about \"a/b/c\": "),
    skipped(
        "other-node",
        "about \"default/node/another\": its content is no object",
    ),
];

const fn skipped(misdeed: &'static str, says: &'static str) -> Case {
    Case::new(misdeed, says, Connected, Counter::Skipped)
}

/// As fast as the cloud can, for seconds; the session stays, and everything else goes on meanwhile. What is in order,
/// however much, is named by its size when the session is over.
pub const FLOODS: &[Case] = &[
    flood("ping-flood", BROUGHT),
    flood("pong-flood", BROUGHT),
    Case::new(
        "message-flood",
        "skipped a bad message",
        Connected,
        Counter::Skipped,
    ),
    flood("question-flood", BROUGHT),
    Case::new(
        "garbage-flood",
        "skipped a frame",
        Connected,
        Counter::Skipped,
    ),
    flood("empty-fragments", BROUGHT),
    flood("big-messages", BROUGHT),
];

const fn flood(misdeed: &'static str, says: &'static str) -> Case {
    Case::new(misdeed, says, Connected, Counter::Received(100_000))
}

const BROUGHT: &str = "a session with the hub is over: it brought ";

/// What ends at once, each time: the port, what happens there, and to which path.
pub const PACE: &[(&str, Case, &str)] = &[
    (
        "https",
        Case::new("tls-reset", CUT, Enrolling, Counter::Enrolments),
        "",
    ),
    (
        "https",
        Case::new("cut-at-once", NO_ANSWER, Enrolling, Counter::Enrolments),
        "/ca.crt",
    ),
    ("hub", end("close-normal", "closed the tunnel (1000)"), ""),
];

#[test]
fn every_case_names_what_it_must_cause() {
    let answers = ANSWERS.iter();
    let answers = answers.flat_map(|it| [it.to_ca(), it.to_enrolment(), it.to_renewal()]);
    let ports = tls().into_iter().map(|(_, case)| case);
    let pace = PACE.iter().map(|(_, case, _)| *case);
    let others = [SLOW_ANSWERS, WELCOMES, ENDS, STAYS, FLOODS].concat();
    let all: Vec<Case> = answers.chain(ports).chain(pace).chain(others).collect();
    assert!(all.len() > 200);
    for case in all {
        case.is_whole();
    }
}

#[test]
#[should_panic(expected = "is in any log")]
fn a_case_that_says_nothing_is_refused() {
    end("close-normal", "closed the tunnel|").is_whole();
}
