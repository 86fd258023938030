//! Jobs from their first word to the last report, with a supervisor that says what it is told to say.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use smol::channel::{Receiver, bounded};

use super::errand::{Outcome, Standing};
use super::record::Place;
use crate::edgecore::edge::Edge;
use crate::edgecore::jobs;
use crate::edgecore::tests::{edge, recorded, run};
use crate::protocol::jobs::Report;
use crate::protocol::message::{Message, Route};
use crate::protocol::terms::Terms;
use crate::system::clock::{Clock, Timestamp};
use crate::system::scratch::Scratch;

const NOW: Timestamp = Timestamp::from_unix(1_795_339_363);

/// What the supervisor was asked, and what it says next when it is looked at.
#[derive(Clone, Default)]
struct Supervisor(Arc<Mutex<(Vec<String>, Answers)>>);

type Answers = VecDeque<Result<(), String>>;

impl Supervisor {
    fn hand(&self, edge: &Edge) {
        let shared = self.0.clone();
        *edge.jobs.hands.borrow_mut() = Arc::new(move |line: &str| {
            let mut shared = shared.lock().unwrap();
            shared.0.push(line.to_owned());
            let next = shared.1.pop_front();
            Some(next.unwrap_or_else(|| Err("job unknown".to_owned())))
        });
        edge.jobs.pace.set(Duration::from_millis(1));
    }

    fn says(&self, answers: &[Result<(), String>]) {
        self.0.lock().unwrap().1.extend(answers.iter().cloned());
    }

    fn asked(&self) -> Vec<String> {
        let mut asked = self.0.lock().unwrap().0.clone();
        asked.retain(|it| it != "order job-look");
        asked
    }
}

fn over(event: &str, from: &str, to: &str, failed: Option<&str>) -> Result<(), String> {
    let outcome = Outcome {
        event: event.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        failed: failed.map(str::to_owned),
    };
    Err(Standing::Over(outcome).line())
}

/// The recorded order of this job, but for what of the machine is to be looked at.
fn order(file: &str, job: &str) -> Message {
    let text = String::from_utf8(recorded::bytes(file)).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut raw = lines.filter_map(|line| Some(line["raw"].as_str()?.to_owned()));
    let found =
        raw.find(|it| it.contains(&format!("/{job}/node/")) && it.contains("\"taskmanager\""));
    let mut message = Message::from_json(found.unwrap().as_bytes()).unwrap();
    let content = message.content.as_ref().unwrap().get();
    let mut content: serde_json::Value = serde_json::from_str(content).unwrap();
    let template = content.get_mut("imagePrePullTemplate").map(|it| it.take());
    content.as_object_mut().unwrap().remove("checkItems");
    if let Some(mut template) = template {
        template.as_object_mut().unwrap().remove("checkItems");
        content["imagePrePullTemplate"] = template;
    }
    message.content = serde_json::value::to_raw_value(&content).ok();
    message
}

/// Action, success, and what else is said.
fn shown(message: &Message) -> String {
    let report = Report::read(message).unwrap();
    assert_eq!(message.route.operation, "UpdateNodeActionStatus");
    assert_eq!(report.finish_time, NOW.to_string());
    let end = if report.succ { "ok" } else { "failed" };
    let text = format!("{} {end} {}{}", report.action, report.reason, report.extend);
    text.trim().to_owned()
}

struct Stage {
    _scratch: Scratch,
    edge: std::rc::Rc<Edge>,
    supervisor: Supervisor,
    sent: Receiver<Message>,
    _attached: crate::edgecore::requests::Attached,
}

fn stage_on(scratch: Scratch) -> Stage {
    let edge = edge(&scratch, "edge-1", 1, &Clock::manual(NOW).0);
    let supervisor = Supervisor::default();
    supervisor.hand(&edge);
    edge.terms.set(Some(Terms::offer(Duration::from_secs(30))));
    let (outgoing, sent) = bounded(16);
    let attached = edge.requests.attach(outgoing);
    edge.jobs.session.raise();
    let worker = edge.clone();
    // It goes on where it was, as often as something is run.
    let work = async move { jobs::run(&worker).await };
    edge.executor.spawn(work).detach();
    Stage {
        _scratch: scratch,
        edge,
        supervisor,
        sent,
        _attached: attached,
    }
}

impl Stage {
    fn new() -> Stage {
        stage_on(Scratch::new())
    }

    /// The next reports, of which the cloud says that it has written them down.
    fn hears(&self, count: usize) -> Vec<String> {
        let heard = self.receives(count);
        for message in &heard {
            let answer = message.answer(NOW, "taskmanager", "response", "OK");
            assert!(self.edge.jobs.heard(answer).is_none());
        }
        run(&self.edge, async {
            while self.unsent() > 0 {
                smol::Timer::after(Duration::from_millis(1)).await;
            }
        });
        heard.iter().map(shown).collect()
    }

    /// The next reports, of which the cloud says nothing.
    fn receives(&self, count: usize) -> Vec<Message> {
        let heard = async {
            let mut heard = Vec::new();
            while heard.len() < count {
                heard.push(self.sent.recv().await.unwrap());
            }
            heard
        };
        run(&self.edge, heard)
    }

    /// On the disk.
    fn unsent(&self) -> usize {
        let place = Place {
            files: self.edge.host.files.clone(),
            folder: self.edge.settings.state.folder.clone(),
        };
        place.load().unsent.len()
    }
}

/// As recorded from upgrade-5, but that our own version was before.
#[test]
fn an_upgrade_is_reported_as_upstreams_also_after_the_restart_that_it_makes() {
    let stage = Stage::new();
    assert!(
        stage
            .edge
            .jobs
            .take(order("upgrade/messages.jsonl", "upgrade-5"))
            .is_none()
    );
    let done = over("Backup", "", "v1.23.0", None);
    stage
        .supervisor
        .says(&[Ok(()), Ok(()), Err("job runs".to_owned()), done, Ok(())]);
    let heard = stage.hears(3);
    assert_eq!(
        heard,
        [
            "Check ok",
            "WaitingConfirmation ok",
            "BackUp ok v1.23.0,v1.23.1"
        ]
    );
    // The upgrade has begun; this process ends, and the new version's asks again.
    let upgrade = "upgrade v1.23.1 127.0.0.1:15000/kubeedge/installation-package - 50";
    let begun = async {
        while stage.supervisor.asked().len() < 3 {
            smol::Timer::after(Duration::from_millis(1)).await;
        }
    };
    run(&stage.edge, begun);
    assert_eq!(
        stage.supervisor.asked(),
        [
            format!("order job-may {upgrade}"),
            "order job-run backup".to_owned(),
            format!("order job-run {upgrade}"),
        ]
    );
    let stage = stage_on(stage._scratch);
    stage
        .supervisor
        .says(&[over("Upgrade", "v1.23.0", "v1.23.1", None)]);
    assert_eq!(stage.hears(1), ["Upgrade ok v1.23.0,v1.23.1"]);
    assert!(stage.supervisor.asked().is_empty(), "nothing runs twice");
    // It is told once; and again to a cloud that asks for the same job again.
    let stage = stage_on(stage._scratch);
    assert!(
        stage
            .edge
            .jobs
            .take(order("upgrade/messages.jsonl", "upgrade-5"))
            .is_none()
    );
    assert!(
        stage
            .edge
            .jobs
            .take(order("edge-full/messages.jsonl", "prepull-1"))
            .is_none()
    );
    let heard = stage.hears(3);
    assert_eq!(heard[0], "Upgrade ok v1.23.0,v1.23.1");
    assert!(stage.supervisor.asked().is_empty());
}

/// As after a power cut, or a session that has ended meanwhile.
#[test]
fn a_report_is_kept_until_the_cloud_has_it() {
    let mut stage = Stage::new();
    let prepull = order("edge-full/messages.jsonl", "prepull-1");
    stage.edge.jobs.take(prepull);
    stage.supervisor.says(&[Ok(())]);
    let before = stage.receives(2);
    stage = stage_on(stage._scratch);
    let again = stage.receives(2);
    assert_eq!(before.iter().map(shown).count(), 2);
    for (before, again) in before.iter().zip(&again) {
        let text = |message: &Message| message.content.as_ref().unwrap().get().to_owned();
        assert_eq!(
            text(before),
            text(again),
            "the cloud sees that it is the same"
        );
    }
    // Over another session of the same process.
    let (outgoing, sent) = bounded(16);
    stage._attached = stage.edge.requests.attach(outgoing);
    stage.sent = sent;
    stage.edge.jobs.session.raise();
    assert_eq!(stage.hears(2).len(), 2);
    stage = stage_on(stage._scratch);
    assert_eq!(stage.unsent(), 0);
    // One of KubeEdge says nothing; but what it answers later shows that it has read the report.
    stage.edge.terms.set(None);
    let mut next = order("edge-full/messages.jsonl", "prepull-1");
    next.route.resource = next.route.resource.replace("prepull-1", "prepull-2");
    stage.edge.jobs.take(next);
    stage.supervisor.says(&[Ok(())]);
    let sent = stage.receives(4);
    let operations: Vec<&str> = sent.iter().map(|it| &*it.route.operation).collect();
    let report = "UpdateNodeActionStatus";
    assert_eq!(operations, [report, "query", report, "query"]);
    assert_eq!(stage.unsent(), 2);
    let question = &sent[3];
    let answer = question.answer(NOW, "edgecontroller", "response", "");
    assert!(stage.edge.requests.answered(answer).is_none());
    run(&stage.edge, async {
        while stage.unsent() > 0 {
            smol::Timer::after(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_cloud_of_v1alpha1_leaves_it_to_the_node_once_a_person_has_agreed() {
    let stage = Stage::new();
    let item = json!({"UpgradeID": "t", "Version": "v1.23.1", "Image": "k/i:v1.23.1", "RequireConfirmation": true});
    let task = json!({"TaskID": "t", "Type": "upgrade", "State": "Init", "Item": item});
    let route = Route {
        source: "taskmanager".to_owned(),
        operation: "upgrade".to_owned(),
        resource: "upgrade/t/node/edge-1".to_owned(),
        ..Route::default()
    };
    stage.supervisor.says(&[Ok(())]);
    stage.edge.jobs.take(Message::new(NOW, route, &task));
    let said = || -> Vec<String> {
        let message = stage.receives(1).remove(0);
        assert_eq!(message.route.resource, "task/t/node/edge-1");
        let content = message.content.unwrap();
        let content: Value = serde_json::from_str(content.get()).unwrap();
        let words = ["Event", "Action", "Reason"];
        words
            .map(|word| content[word].as_str().unwrap().to_owned())
            .into()
    };
    assert_eq!(said(), ["Confirm", "Confirmation", ""]);
    run(&stage.edge, async {
        while !stage.edge.jobs.waiting.get() {
            smol::future::yield_now().await;
        }
    });
    let backup = over("Backup", "", "v1.23.0", None);
    let upgrade = over("Upgrade", "v1.23.0", "v1.23.1", Some("bad flash"));
    stage.supervisor.says(&[Ok(()), backup, Ok(()), upgrade]);
    assert!(stage.edge.jobs.confirm());
    // What else it knows of a node in that state: that it is as before.
    assert_eq!(said(), ["Rollback", "Success", "bad flash"]);
}

#[test]
fn a_failed_upgrade_ends_with_the_version_before() {
    let stage = Stage::new();
    stage
        .edge
        .jobs
        .take(order("upgrade/messages.jsonl", "upgrade-5"));
    stage.supervisor.says(&[
        Ok(()),
        Ok(()),
        over("Backup", "", "v1.23.0", None),
        Ok(()),
        over(
            "Upgrade",
            "v1.23.0",
            "v1.23.1",
            Some("no session in three starts"),
        ),
    ]);
    let heard = stage.hears(5);
    assert_eq!(heard[3], "Upgrade failed no session in three starts");
    assert!(heard[4].starts_with("RollBack ok v"), "{}", heard[4]);
}

#[test]
fn what_the_operator_does_not_allow_fails_at_the_first_step() {
    let stage = Stage::new();
    stage
        .edge
        .jobs
        .take(order("upgrade/messages.jsonl", "upgrade-4"));
    stage
        .supervisor
        .says(&[Err("this device takes no jobs".to_owned())]);
    assert_eq!(stage.hears(1), ["Check failed this device takes no jobs"]);
    let mut wrong = order("upgrade/messages.jsonl", "upgrade-4");
    wrong.route.operation = "Upgrade".to_owned();
    stage.edge.jobs.take(wrong);
    let mut other = order("edge-full/messages.jsonl", "upgrade-1");
    other.route.resource = other.route.resource.replace("edge-1", "edge-2");
    stage.edge.jobs.take(other);
    stage
        .edge
        .jobs
        .take(order("edge-full/messages.jsonl", "prepull-1"));
    // The first is known already, the second is of another node.
    let heard = stage.hears(3);
    assert_eq!(heard[0], "Check failed this device takes no jobs");
    assert_eq!(heard[1], "Check ok");
    assert!(
        heard[2].starts_with("Pull failed there is no container runtime"),
        "{}",
        heard[2]
    );
    assert!(heard[2].ends_with("]"), "{}", heard[2]);
    assert_eq!(stage.supervisor.asked().len(), 1);
}

#[test]
fn a_change_that_fails_is_taken_back_and_one_that_does_not_is_told() {
    let stage = Stage::new();
    stage
        .edge
        .jobs
        .take(order("edge-full/messages.jsonl", "conf-1"));
    let backup = over("Backup", "", "v1.23.0", None);
    stage
        .supervisor
        .says(&[Ok(()), Ok(()), backup, Ok(()), over("", "", "", None)]);
    assert_eq!(stage.hears(3), ["Check ok", "BackUp ok", "Update ok"]);
    let wish = "config modules.edgeHub.messageQPS=31";
    assert_eq!(stage.supervisor.asked()[2], format!("order job-run {wish}"));
}

#[test]
fn a_step_of_which_nothing_is_known_is_given_up() {
    let stage = Stage::new();
    stage.edge.jobs.silence.set(Duration::from_millis(20));
    stage
        .edge
        .jobs
        .take(order("edge-full/messages.jsonl", "conf-1"));
    // Begun, and never heard of again: as after a power cut.
    stage.supervisor.says(&[Ok(()), Ok(())]);
    let heard = stage.hears(2);
    assert!(heard[1].starts_with("BackUp failed"), "{}", heard[1]);
    // The next one is not held up.
    let backup = over("Backup", "", "v1.23.0", None);
    stage
        .supervisor
        .says(&[Ok(()), Ok(()), backup, Ok(()), over("", "", "", None)]);
    let mut next = order("edge-full/messages.jsonl", "conf-1");
    next.route.resource = next.route.resource.replace("conf-1", "conf-2");
    stage.edge.jobs.take(next);
    assert_eq!(stage.hears(3), ["Check ok", "BackUp ok", "Update ok"]);
}

#[test]
fn a_step_that_a_power_cut_has_ended_is_begun_again_but_not_for_ever() {
    let stage = Stage::new();
    stage
        .edge
        .jobs
        .take(order("edge-full/messages.jsonl", "conf-1"));
    let lost = || vec![Err("job lost".to_owned()); 4];
    stage.supervisor.says(&[Ok(()), Ok(())]);
    stage.supervisor.says(&lost());
    // Once more; and this time it ends well, in spite of a look at the wrong moment.
    stage.supervisor.says(&[
        Ok(()),
        Err("job lost".to_owned()),
        over("Backup", "", "v1.23.0", None),
    ]);
    // The change takes the power away each time.
    for _ in 0..4 {
        stage.supervisor.says(&[Ok(())]);
        stage.supervisor.says(&lost());
    }
    stage
        .supervisor
        .says(&[Ok(()), over("Rollback", "", "", None)]);
    let heard = stage.hears(4);
    assert_eq!(heard[..2], ["Check ok", "BackUp ok"]);
    assert!(heard[2].starts_with("Update failed"), "{}", heard[2]);
    assert!(heard[3].starts_with("RollBack ok"), "{}", heard[3]);
    let begun = stage.supervisor.asked();
    let of = |part: &str| begun.iter().filter(|it| it.contains(part)).count();
    assert_eq!((of("job-run backup"), of("job-run config")), (2, 4));
}

#[test]
fn a_job_waits_for_a_persons_agreement_and_gives_way_to_another() {
    let stage = Stage::new();
    let wait = |job: &str| {
        stage.edge.jobs.take(order("upgrade/messages.jsonl", job));
        stage.supervisor.says(&[Ok(())]);
        assert!(!stage.edge.jobs.confirm(), "nothing waits");
        assert_eq!(stage.hears(1), ["Check ok"]);
        let waits = async {
            while !stage.edge.jobs.waiting.get() {
                smol::future::yield_now().await;
            }
        };
        run(&stage.edge, waits);
    };
    wait("upgrade-6");
    // The cloud has not heard of it, or has mistaken the node: it waits on.
    let again = order("upgrade/messages.jsonl", "upgrade-6");
    let mut astray = again.clone();
    astray.route.resource = astray.route.resource.replace("edge-1", "edge-2");
    assert_ne!(astray.route.resource, again.route.resource);
    for message in [again.clone(), astray, again] {
        stage.edge.jobs.take(message);
    }
    stage
        .edge
        .jobs
        .take(order("edge-full/messages.jsonl", "prepull-1"));
    let heard = stage.hears(3);
    assert_eq!(
        heard[0],
        "WaitingConfirmation failed another job came before this one was confirmed"
    );
    assert_eq!(heard[1], "Check ok");
    wait("upgrade-4");
    assert!(stage.edge.jobs.confirm());
    assert!(!stage.edge.jobs.confirm(), "once");
    stage.supervisor.says(&[Err("no room".to_owned())]);
    assert_eq!(
        stage.hears(2),
        ["WaitingConfirmation ok", "BackUp failed no room"]
    );
}
