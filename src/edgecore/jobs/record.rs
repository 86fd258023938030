//! What is known of the node's job after a power cut or an upgrade: one small file, written at each step.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::protocol::jobs::{Action, Address, BadJob, Order, Report};
use crate::protocol::message::{Message, Route};
use crate::system::clock::Timestamp;
use crate::system::facts::machine;
use crate::system::files::{FileError, Files};

/// All of it. Without a job that ever came there is no file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Record {
    pub job: Option<Job>,
    /// What the cloud has not been told, in order.
    pub unsent: Vec<Said>,
    /// How the last job ended.
    pub last: Option<Said>,
}

/// The job that is being done.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Job {
    pub came: Came,
    /// What is to be done, by its word.
    pub step: String,
    /// The supervisor may have been asked for it.
    pub begun: bool,
    /// The version that the job began with.
    pub from: String,
    /// Why the job fails, once it does.
    pub failed: Option<String>,
    /// See `Course`.
    #[serde(default)]
    pub alone: bool,
    /// How often this step was begun and lost.
    #[serde(default)]
    pub lost: u32,
}

/// A job as it came, to be read again.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Came {
    pub resource: String,
    pub operation: String,
    pub content: Option<Box<RawValue>>,
}

/// A report, and of which job.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Said {
    pub resource: String,
    pub report: Report,
    /// To a cloud before v1.16 it is posted, under this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<String>,
}

impl Came {
    pub fn of(message: &Message) -> Came {
        Came {
            resource: message.route.resource.clone(),
            operation: message.route.operation.clone(),
            content: message.content.clone(),
        }
    }

    /// Whether it is this one that comes again.
    pub fn is_of(&self, message: &Message) -> bool {
        let (one, other) = (self.content.as_deref(), message.content.as_deref());
        self.resource == message.route.resource
            && self.operation == message.route.operation
            && one.map(RawValue::get) == other.map(RawValue::get)
    }

    /// The same door as for what comes from the cloud.
    pub fn order(&self) -> Result<Order, BadJob> {
        let message = self.message();
        let address = Address::of(&message).ok_or(BadJob::Shape)?;
        Order::read(address, &message, machine::architecture())
    }

    fn message(&self) -> Message {
        Message {
            route: Route {
                resource: self.resource.clone(),
                operation: self.operation.clone(),
                ..Route::default()
            },
            content: self.content.clone(),
            ..Message::default()
        }
    }
}

impl Said {
    /// As it goes to the cloud; none when the job's name can't be read any more.
    pub fn message(&self, now: Timestamp) -> Option<Message> {
        Some(self.report.message(&self.address()?, now))
    }

    pub fn address(&self) -> Option<Address> {
        let came = Came {
            resource: self.resource.clone(),
            operation: String::new(),
            content: None,
        };
        Address::of(&came.message())
    }
}

impl Job {
    pub fn step(&self) -> Option<Action> {
        Action::ALL.into_iter().find(|it| it.word() == self.step)
    }
}

/// Where it lies.
#[derive(Clone)]
pub struct Place {
    pub files: Files,
    pub folder: PathBuf,
}

impl Place {
    /// Nothing where there is nothing that can be understood.
    pub fn load(&self) -> Record {
        let bytes = match self.files.read_opt(&self.folder.join(FILE), MAX_FILE) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error) => {
                log::warn!("what is known of jobs can't be read: {error}");
                return Record::default();
            }
        };
        if bytes.is_empty() {
            return Record::default();
        }
        let mut record: Record = serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            log::warn!("what is known of jobs is damaged, and forgotten: {error}");
            Record::default()
        });
        // Of a job whose name can't be read any more nothing could be told.
        let said = |said: &Said| said.message(Timestamp::from_unix(0)).is_some();
        record.unsent.retain(said);
        record
    }

    pub fn save(&self, record: &Record) -> Result<(), FileError> {
        let text = serde_json::to_string(record).unwrap_or_default();
        self.files.make_dir(&self.folder, 0o700)?;
        self.files
            .replace(&self.folder.join(FILE), text.as_bytes(), 0o600)
    }
}

const FILE: &str = "job.json";
/// Bytes: a job, and its reports.
const MAX_FILE: usize = 1 << 20;
