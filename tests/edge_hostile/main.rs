//! A cloud that answers wrongly in every way: the edge says what it met, takes no harm, and is back when the cloud is.
//! What each misdeed must cause in the log, in the status and in its counters stands in one table (`table.rs`).

#[path = "../common/mod.rs"]
mod common;
mod table;
mod trial;

use std::time::{Duration, Instant};

use common::cloud::Cloud;
use common::device::{BOOTSTRAP, CONFIG, Device};
use common::figures;
use kubeedge::protocol::control::{EdgeState, EdgeStatus};
use serde_json::Value;
use table::{ANSWERS, Answer, Case, ENDS, FLOODS, PACE, SLOW_ANSWERS, STAYS, WELCOMES};
use trial::{Held, LONGEST_MESSAGE_KIB, QUIET_KIB, Trial};

/// Wrong answers to one path while the device has no identity: the token is kept, and works afterwards.
fn enrolling(path: &str, case: fn(&Answer) -> Case) {
    let device = Device::new("edge-1");
    let cloud = Cloud::start(&[]);
    let token = cloud.token();
    let mut trial = Trial::new(cloud, &device, "");
    trial.cloud.order(&format!("be https silent {path}"));
    trial.device.configure(&trial.cloud, &token);
    for case in ANSWERS.iter().map(case) {
        let (misdeed, before) = (case.misdeed, trial.count(&case));
        trial.cloud.order(&format!("be https {misdeed} {path}"));
        trial.meet("https", misdeed);
        trial.caused(&case, before);
        assert_eq!(trial.identity(), [], "{misdeed}: something was written");
        assert!(
            device.read(CONFIG).contains(&token),
            "{misdeed}: the token is gone"
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
    enrolling("/ca.crt", Answer::to_ca);
    figures::tried(
        "hostile-edge-ca",
        "wrong answers of a cloud to /ca.crt",
        ANSWERS.len(),
    );
}

#[test]
fn wrong_answers_instead_of_a_certificate() {
    enrolling("/edge.crt", Answer::to_enrolment);
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
    for case in ANSWERS.iter().map(Answer::to_renewal) {
        let (misdeed, identity, before) = (case.misdeed, trial.identity(), trial.count(&case));
        trial.cloud.order(&format!("be https {misdeed} /edge.crt"));
        let said = trial
            .edge
            .order("renew")
            .error
            .expect("it can't be renewed");
        assert!(said.contains(case.says), "{misdeed}: {said}");
        trial.caused(&case, before);
        assert_eq!(trial.identity(), identity, "{misdeed} changed the identity");
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
        for case in SLOW_ANSWERS {
            scope.spawn(move || {
                let device = Device::new("edge-1");
                let mut cloud = Cloud::start(&[]);
                cloud.order(&format!("be https {} /edge.crt", case.misdeed));
                let token = cloud.token();
                let mut trial = Trial::new(cloud, &device, &token);
                trial.caused(case, 0);
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
    let cases = table::tls();
    for cases in cases.chunk_by(|one, next| one.0 == next.0) {
        for (port, case) in cases {
            let before = trial.count(case);
            trial.cloud.order(&format!("be {port} {}", case.misdeed));
            trial.meet(port, case.misdeed);
            trial.caused(case, before);
            assert_eq!(trial.edge.status().session, None, "{}", case.misdeed);
        }
        trial.good_again(cases[0].0);
        trial.edge.connected();
    }
    trial.holds_no_more(QUIET_KIB);
    trial.end();
    figures::tried("hostile-edge-tls", "ways to fail TLS", cases.len());
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
    for case in WELCOMES {
        let (misdeed, before) = (case.misdeed, trial.count(case));
        trial.cloud.order(&format!("be hub {misdeed}"));
        trial.meet("hub", misdeed);
        trial.caused(case, before);
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
    for case in ENDS {
        let (misdeed, before) = (case.misdeed, trial.count(case));
        trial.cloud.order(&format!("be hub {misdeed}"));
        trial.meet("hub", misdeed);
        trial.caused(case, before);
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
fn assert_stays(status: &EdgeStatus, number: u64, case: &Case) {
    let (misdeed, problem) = (case.misdeed, &status.last_error);
    assert_eq!(status.state, case.state, "{misdeed}: {problem:?}");
    let session = status.session.as_ref().expect("it is up");
    assert_eq!(session.generation, number, "{misdeed}");
}

/// Each on an edge of its own, whose log has room for the line: of many bad messages not all are told.
#[test]
fn messages_that_are_skipped() {
    std::thread::scope(|scope| {
        for case in STAYS {
            scope.spawn(move || {
                let device = impatient();
                let mut trial = Trial::joined(&device);
                let (before, logged) = (trial.count(case), trial.edge.log().len());
                let number = session_with(&mut trial, case.misdeed);
                trial.noted(case, before, logged);
                assert_stays(&trial.edge.status(), number, case);
                next_session(&mut trial, number);
                trial.holds_no_more(QUIET_KIB);
                trial.end();
            });
        }
    });
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
    for case in FLOODS {
        let (misdeed, before) = (case.misdeed, trial.count(case));
        let logged = trial.edge.log().len();
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
        assert_stays(&status, number, case);
        println!(
            "{misdeed}: {} bytes, {:?}",
            flooded["size"],
            Held::by(&trial.edge)
        );
        next_session(&mut trial, number);
        // What came is told when the session is over.
        trial.noted(case, before, logged);
    }
    trial.holds_no_more(LONGEST_MESSAGE_KIB);
    trial.end();
    figures::tried("hostile-edge-floods", "floods from a hub", FLOODS.len());
}

/// Nobody asks here: the edge itself must not ask too often.
#[test]
fn what_ends_at_once_is_not_asked_again_and_again() {
    const WATCHED: Duration = Duration::from_secs(6);
    std::thread::scope(|scope| {
        for (port, case, path) in PACE {
            scope.spawn(move || {
                let device = Device::new("edge-1");
                let mut cloud = Cloud::start(&[]);
                cloud.order(&format!("be {port} {} {path}", case.misdeed));
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
                    "{}: {attempts} attempts in {WATCHED:?}",
                    case.misdeed
                );
                // Each but the last, which may not have failed yet, is counted.
                trial.caused(case, attempts as u64 - 2);
                trial.cloud.order(&format!("be {port} good"));
                trial.edge.connected();
                trial.end();
            });
        }
    });
    figures::tried(
        "hostile-edge-pace",
        "clouds that end at once, watched for the pace",
        PACE.len(),
    );
}
