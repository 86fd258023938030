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

    fn of_v1alpha1(&self, address: &Address) -> Value {
        let action = Action::ALL.into_iter().find(|it| it.word() == self.action);
        let (state, event) = action.unwrap_or(Action::Init).of_v1alpha1();
        json!({
            "NodeName": address.node,
            "State": state,
            "Event": event,
            "Action": if self.succ { "Success" } else { "Failure" },
            "Reason": self.reason,
            "Time": self.finish_time,
            "ExternalMessage": self.extend,
        })
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
