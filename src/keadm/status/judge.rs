//! The sentence, the advice and the exit code for what was found.

use super::gather::{Answer, Found};
use crate::keadm::device::DeviceError;
use crate::protocol::control::{EdgeState, EdgeStatus};
use crate::system::exit;

/// What it all means.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    pub connected: bool,
    pub code: u8,
    pub sentence: String,
    pub advice: Option<String>,
}

pub fn judge(found: &Found) -> Verdict {
    match &found.edgecore {
        Answer::Status(status) => of_running(status, found),
        Answer::Silent(error) => Verdict::not(
            exit::UNAVAILABLE,
            format!("This device may be connected, but edgecore does not say: {error}."),
            format!("restart edgecore{}.", restart(found)),
        ),
        Answer::NotRunning => of_stopped(found),
    }
}

fn of_running(status: &EdgeStatus, found: &Found) -> Verdict {
    let (node, cloud) = (&status.node, &status.cloud);
    let problem = status.last_error.as_ref();
    let hopeless = problem.is_some_and(|problem| !problem.retryable);
    match status.state {
        EdgeState::Connected => {
            let advice = match &found.service {
                it if it.running && !it.starts_at_boot => Some(NOT_AT_BOOT.to_owned()),
                _ => found.runs_another.then(|| ANOTHER.to_owned()),
            };
            Verdict {
                connected: true,
                code: exit::OK,
                sentence: format!("{node} is connected to {}.", status.hub()),
                advice,
            }
        }
        EdgeState::NeedsToken => Verdict::not(
            exit::UNAVAILABLE,
            format!("{node} is not connected to {cloud}: it needs a join token."),
            format!(
                "get one with `keadm gettoken` on the cloud machine, and run `kubeedge join -e \
                 {cloud} --token-file FILE` here; edgecore notices by itself."
            ),
        ),
        EdgeState::Stopping => Verdict::not(
            exit::UNAVAILABLE,
            format!("{node} is not connected to {cloud}: edgecore is stopping."),
            format!("start edgecore{}, if it should run.", start(found)),
        ),
        state => {
            let code = if hopeless {
                exit::UNAVAILABLE
            } else {
                exit::TRY_AGAIN
            };
            let advice = match problem {
                Some(problem) => format!("fix the last error: {}.", problem.message),
                None => "wait a moment and look again.".to_owned(),
            };
            let sentence = format!("{node} is not connected to {cloud}: edgecore is {state}.");
            Verdict::not(code, sentence, advice)
        }
    }
}

fn of_stopped(found: &Found) -> Verdict {
    match &found.fault {
        Some(DeviceError::Absent(_)) => Verdict::not(
            exit::UNAVAILABLE,
            "This device has not joined a cloud.".to_owned(),
            "get a token with `keadm gettoken` on the cloud machine, and run `kubeedge join -e \
             CLOUD:10000 --token-file FILE` here."
                .to_owned(),
        ),
        Some(fault) => Verdict::not(
            exit::UNAVAILABLE,
            "This device is not connected: edgecore does not run, and its configuration can't be \
             used."
                .to_owned(),
            format!("correct this first: {fault}."),
        ),
        None => {
            let node = found.node.as_deref().unwrap_or("This device");
            let log = &found.log;
            Verdict::not(
                exit::UNAVAILABLE,
                format!("{node} is not connected: edgecore does not run."),
                format!(
                    "start edgecore{}; if it ends again, {log} says why.",
                    start(found)
                ),
            )
        }
    }
}

impl Verdict {
    fn not(code: u8, sentence: String, advice: String) -> Verdict {
        Verdict {
            connected: false,
            code,
            sentence,
            advice: Some(advice),
        }
    }
}

/// How to start it, with the words around.
fn start(found: &Found) -> String {
    by_service(found, "start")
        .unwrap_or_else(|| format!(" by {} again, it goes on where it stopped", join(found)))
}

fn restart(found: &Found) -> String {
    by_service(found, "restart")
        .unwrap_or_else(|| format!(": end its process, and go on by {}", join(found)))
}

fn by_service(found: &Found, action: &str) -> Option<String> {
    match found.service.init {
        "systemd" if found.service.installed => Some(format!(": `systemctl {action} edgecore`")),
        _ if found.service.installed => Some(format!(": `kubeedge service {action}`")),
        // Without an init system there is nothing to install.
        "none" if action == "start" => Some(": `kubeedge service start`".to_owned()),
        _ => None,
    }
}

fn join(found: &Found) -> String {
    let cloud = found.cloud.as_deref().unwrap_or("CLOUD:10000");
    format!("running `kubeedge join -e {cloud}`")
}

const NOT_AT_BOOT: &str = "nothing now; but edgecore will not start when this device boots: join again \
                           with an init system, or have your boot scripts start it.";
const ANOTHER: &str = "nothing now; but edgecore runs from /usr/local/bin, and not from the package: \
                       `/usr/bin/kubeedge service install`, then `/usr/bin/kubeedge service restart`.";

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::keadm::status::{Executable, ServiceFacts};
    use crate::protocol::control::{ControlError, Problem, VERSION};
    use crate::system::clock::Timestamp;

    fn found(edgecore: Answer) -> Found {
        Found {
            node: Some("edge-1".to_owned()),
            cloud: Some("c:10000".to_owned()),
            executable: Executable::default(),
            service: ServiceFacts {
                init: "systemd",
                installed: true,
                ..Default::default()
            },
            runs_another: false,
            edgecore,
            certificate: None,
            fault: None,
            log: "the log".to_owned(),
        }
    }

    fn running(state: EdgeState, error: Option<bool>) -> Found {
        let now = Timestamp::from_unix(1_800_000_000);
        let message = "the cloud is away".to_owned();
        let mut found = found(Answer::Status(Box::new(EdgeStatus {
            v: VERSION,
            version: "0.1.0".to_owned(),
            pid: 7,
            hub_pid: None,
            sandbox: Vec::new(),
            objects_in: None,
            node: "edge-1".to_owned(),
            cloud: "c:10000".to_owned(),
            state,
            since: now,
            now: None,
            clock_shows: None,
            last_error: error.map(|retryable| Problem {
                at: now,
                message,
                retryable,
            }),
            certificate: None,
            next_rotation: None,
            session: None,
            registration: None,
            messages: None,
            failures: None,
        })));
        found.service.running = true;
        found.service.starts_at_boot = true;
        found
    }

    #[test]
    fn every_state_has_its_code() {
        for (state, error, code) in [
            (EdgeState::Connected, None, exit::OK),
            (EdgeState::Starting, None, exit::TRY_AGAIN),
            (EdgeState::Enrolling, None, exit::TRY_AGAIN),
            (EdgeState::Connecting, None, exit::TRY_AGAIN),
            (EdgeState::Connecting, Some(true), exit::TRY_AGAIN),
            (EdgeState::Connecting, Some(false), exit::UNAVAILABLE),
            (EdgeState::NeedsToken, Some(false), exit::UNAVAILABLE),
            (EdgeState::Stopping, None, exit::UNAVAILABLE),
            (EdgeState::Other, None, exit::TRY_AGAIN),
        ] {
            let verdict = judge(&running(state, error));
            assert_eq!(verdict.code, code, "{state:?} {error:?}");
            assert_eq!(verdict.connected, code == exit::OK);
            assert_eq!(verdict.advice.is_none(), code == exit::OK);
            assert!(
                verdict.sentence.starts_with("edge-1 is "),
                "{}",
                verdict.sentence
            );
        }
        let advice = judge(&running(EdgeState::Connecting, Some(true)))
            .advice
            .unwrap();
        assert!(advice.contains("the cloud is away"), "{advice}");
    }

    #[test]
    fn a_connected_device_that_forgets_itself_at_boot_says_so() {
        let mut found = running(EdgeState::Connected, None);
        found.service.starts_at_boot = false;
        let verdict = judge(&found);
        assert_eq!(verdict.code, exit::OK);
        assert!(
            verdict
                .advice
                .unwrap()
                .contains("will not start when this device boots")
        );
    }

    #[test]
    fn a_connected_device_that_has_passed_over_its_package_says_so() {
        let mut found = running(EdgeState::Connected, None);
        found.runs_another = true;
        let verdict = judge(&found);
        assert_eq!(verdict.code, exit::OK);
        assert!(verdict.advice.unwrap().contains("not from the package"));
    }

    #[test]
    fn without_edgecore_the_next_step_is_named() {
        let verdict = judge(&found(Answer::NotRunning));
        assert_eq!(verdict.code, exit::UNAVAILABLE);
        assert!(verdict.advice.unwrap().contains("systemctl start edgecore"));
        for (init, installed, advice) in [
            (
                "none",
                false,
                ": `kubeedge service start`; if it ends again, the log says why.",
            ),
            ("openrc", true, ": `kubeedge service start`;"),
            (
                "openrc",
                false,
                " by running `kubeedge join -e c:10000` again,",
            ),
        ] {
            let mut found = found(Answer::NotRunning);
            (found.service.init, found.service.installed) = (init, installed);
            let given = judge(&found).advice.unwrap();
            assert!(given.contains(advice), "{given}");
        }
        let mut never = found(Answer::NotRunning);
        never.fault = Some(DeviceError::Absent("/x".into()));
        let verdict = judge(&never);
        assert_eq!(verdict.sentence, "This device has not joined a cloud.");
        assert!(verdict.advice.unwrap().contains("kubeedge join"));
        let silent = Answer::Silent(ControlError::Io(io::ErrorKind::TimedOut.into()));
        let verdict = judge(&found(silent));
        assert_eq!(verdict.code, exit::UNAVAILABLE);
        assert!(
            verdict
                .advice
                .unwrap()
                .contains("systemctl restart edgecore")
        );
    }
}
