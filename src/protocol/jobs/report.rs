//! What a node says of a step of a job, and how clouds read it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Action, Address};
use crate::protocol::message::{Message, Route};
use crate::protocol::resource::JobFamily;
use crate::system::clock::Timestamp;

/// The outcome of one step, in the words and the order of v1alpha2.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Report {
    #[serde(default)]
    pub action: String,
    #[serde(default)]
    pub succ: bool,
    #[serde(rename = "finishTime", default)]
    pub finish_time: String,
    #[serde(default)]
    pub reason: String,
    /// `FROM,TO` of an upgrade; a list of results, in JSON, of pulled images.
    #[serde(default)]
    pub extend: String,
}

impl Report {
    pub fn new(action: Action, done: Result<(), String>, now: Timestamp) -> Report {
        Report {
            action: action.word().to_owned(),
            succ: done.is_ok(),
            finish_time: now.to_string(),
            reason: done.err().unwrap_or_default(),
            extend: String::new(),
        }
    }

    /// The message that brings it to the cloud.
    pub fn message(&self, address: &Address, now: Timestamp) -> Message {
        let (operation, resource, content) = match address.family {
            JobFamily::OldUpgrade => ("upgrade", task(address), self.of_v1alpha1(address)),
            JobFamily::OldPrePull => ("prepull", task(address), self.of_v1alpha1(address)),
            _ => {
                // A struct of strings and flags always serialises.
                let content = serde_json::value::to_raw_value(self).ok();
                let mut message =
                    Message::new(now, route(OPERATION, address.resource()), &Value::Null);
                message.content = content;
                return message;
            }
        };
        Message::new(now, route(operation, resource), &content)
    }

    /// What an edge has reported of a job of v1alpha2.
    pub fn read(message: &Message) -> Option<Report> {
        let content = message.content.as_ref()?.get();
        if content.len() > MAX_REPORT {
            return None;
        }
        serde_json::from_str(content).ok()
    }

    /// Its edges leave the state to the cloud, which knows it.
    fn of_v1alpha1(&self, address: &Address) -> Value {
        let known = Action::ALL.into_iter().find(|it| it.word() == self.action);
        let event = match known.unwrap_or(Action::Init) {
            Action::WaitingConfirmation if self.succ => "Confirm",
            Action::Init | Action::WaitingConfirmation => "Init",
            Action::Check => "Check",
            Action::BackUp => "Backup",
            Action::Upgrade | Action::Update => "Upgrade",
            Action::Pull => "Pull",
            Action::RollBack => "Rollback",
        };
        let action = match self.succ {
            true if event == "Confirm" => "Confirmation",
            true => "Success",
            false => "Failure",
        };
        json!({
            "NodeName": address.node,
            "State": "",
            "Event": event,
            "Action": action,
            "Reason": self.reason,
            "Time": self.finish_time,
            "ExternalMessage": self.extend,
        })
    }

    /// Of an upgrade that keadm does for a job of v1alpha1: where it is told, and how.
    pub fn of_keadm(&self, job: &str, node: &str) -> (String, Value) {
        let address = Address {
            family: JobFamily::OldUpgrade,
            job: job.to_owned(),
            node: node.to_owned(),
        };
        let path = format!("/task/upgrade/name/{job}/node/{node}/status");
        (path, self.of_v1alpha1(&address))
    }

    /// How a whole upgrade has ended, as clouds before v1.16 are told by HTTPS: where, and how.
    pub fn of_the_end(&self, address: &Address, history: &str) -> (&'static str, Value) {
        let status = match (self.action == Action::Upgrade.word(), self.succ) {
            (true, true) => "upgrade_success",
            (false, false) if self.action == Action::RollBack.word() => {
                "upgrade_failed_rollback_failed"
            }
            // It is as before, be it that nothing was changed.
            _ => "upgrade_failed_rollback_success",
        };
        let (from, to) = self.extend.split_once(',').unwrap_or_default();
        let end = json!({
            "UpgradeID": address.job,
            "HistoryID": history,
            "NodeName": address.node,
            "FromVersion": from,
            "ToVersion": to,
            "Status": status,
            "Reason": self.reason,
        });
        ("/nodeupgrade", end)
    }
}

fn task(address: &Address) -> String {
    Address {
        family: JobFamily::OldReport,
        ..address.clone()
    }
    .resource()
}

fn route(operation: &str, resource: String) -> Route {
    Route {
        source: "websocket".to_owned(),
        group: "hub".to_owned(),
        operation: operation.to_owned(),
        resource,
        ..Route::default()
    }
}

pub const OPERATION: &str = "UpdateNodeActionStatus";
/// Bytes of JSON.
const MAX_REPORT: usize = 64 << 10;
