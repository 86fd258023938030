//! Jobs that a cloud gives to a node: what they ask for, read once, at the door (docs/protocol.md, "Jobs").

mod old;
mod report;
mod words;

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::message::Message;
use super::resource::{JobFamily, Resource};
pub use report::{OPERATION, Report};
pub use words::{Digest, Image, Version, Wish, too_old};

/// How clouds call the part that gives jobs.
pub const SOURCE: &str = "taskmanager";

/// Which job of which node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub family: JobFamily,
    pub job: String,
    pub node: String,
}

/// One step of a job, in the words of v1alpha2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Of v1alpha1: the job was heard of.
    Init,
    Check,
    WaitingConfirmation,
    BackUp,
    Upgrade,
    Update,
    Pull,
    RollBack,
}

/// What a job is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Only whether the machine is fit for it; v1alpha1 asks for that alone.
    Check,
    Upgrade(Upgrade),
    Config(Vec<Wish>),
    PrePull(Vec<Image>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    pub version: Version,
    pub image: Option<Image>,
    /// What the image must be on a machine like this one.
    pub digest: Option<Digest>,
    pub confirm: bool,
    /// Seconds after which the cloud takes it for failed, if it says so.
    pub timeout: Option<u64>,
}

/// What of the machine is looked at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckItem {
    Cpu,
    Memory,
    Disk,
}

/// A job as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub address: Address,
    /// Where it begins. A cloud of v1alpha1 asks for every step itself.
    pub action: Action,
    /// Clouds before v1.16 ask once, for all of it, and hear of the end by another way; under this id.
    pub history: Option<String>,
    pub checks: Vec<CheckItem>,
    pub work: Work,
}

/// Why a job can't be done as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadJob {
    /// Not the JSON that a job has.
    Shape,
    Action(String),
    Version(String),
    Image(String),
    Digest(String),
    CheckItem(String),
    Wish(String),
    /// It asks for nothing, or for more than a job may.
    Amount(&'static str),
}

impl Address {
    /// The job that a message of the cloud is about, if it gives one.
    pub fn of(message: &Message) -> Option<Address> {
        match message.route.resource.parse().ok()? {
            Resource::Job {
                family: JobFamily::OldReport,
                ..
            } => None,
            Resource::Job { family, job, node } => Some(Address { family, job, node }),
            _ => None,
        }
    }

    /// The cloud asks for each step, and decides what comes next.
    pub fn is_stepwise(&self) -> bool {
        matches!(self.family, JobFamily::OldUpgrade | JobFamily::OldPrePull)
    }

    /// As resource names have it.
    pub fn resource(&self) -> String {
        let Address { family, job, node } = self.clone();
        Resource::Job { family, job, node }.to_string()
    }
}

impl Order {
    /// `machine` is what this one is called in lists of digests.
    pub fn read(address: Address, message: &Message, machine: &str) -> Result<Order, BadJob> {
        let content = message.content.as_ref().map_or("null", |it| it.get());
        if content.len() > MAX_CONTENT {
            return Err(BadJob::Shape);
        }
        // serde would read a list as a struct's fields in order.
        if !content.trim_ascii_start().starts_with('{') {
            return Err(BadJob::Shape);
        }
        match address.family {
            JobFamily::OldUpgrade | JobFamily::OldPrePull => old::read(address, content),
            _ => new(address, &message.route.operation, content, machine),
        }
    }
}

fn new(address: Address, operation: &str, content: &str, machine: &str) -> Result<Order, BadJob> {
    let action = Action::ALL.into_iter().find(|it| it.word() == operation);
    // The first one only: what comes after it is for the node to know.
    let action = action.filter(|it| *it == Action::Check);
    let action = action.ok_or_else(|| BadJob::Action(operation.to_owned()))?;
    let spec: Spec = serde_json::from_str(content).map_err(|_| BadJob::Shape)?;
    let (work, checks) = match address.family {
        JobFamily::NodeUpgrade => {
            let digests = spec.image_digest_gatter.unwrap_or_default();
            let digest = digests.get(machine).and_then(Value::as_str);
            let work = upgrade(
                &spec.version,
                &spec.image,
                digest,
                (spec.require_confirmation, spec.timeout_seconds),
            )?;
            (work, spec.check_items)
        }
        JobFamily::ConfigUpdate => (wishes(spec.update_fields.unwrap_or_default())?, None),
        _ => {
            let template = spec.image_pre_pull_template.ok_or(BadJob::Shape)?;
            (images(template.images)?, template.check_items)
        }
    };
    Ok(Order {
        address,
        action,
        history: None,
        checks: check_items(checks)?,
        work,
    })
}

fn upgrade(
    version: &str,
    image: &str,
    digest: Option<&str>,
    (confirm, timeout): (bool, Option<u64>),
) -> Result<Work, BadJob> {
    let image = Some(image).filter(|it| !it.is_empty());
    Ok(Work::Upgrade(Upgrade {
        version: version.parse()?,
        image: image.map(str::parse).transpose()?,
        digest: digest.map(str::parse).transpose()?,
        confirm,
        timeout,
    }))
}

fn wishes(fields: Map<String, Value>) -> Result<Work, BadJob> {
    if fields.is_empty() || fields.len() > MAX_ITEMS {
        return Err(BadJob::Amount("keys"));
    }
    let mut wishes = Vec::new();
    for (key, value) in fields {
        let value = value.as_str().ok_or(BadJob::Shape)?;
        wishes.push(Wish::new(&key, value)?);
    }
    // As KubeEdge's edges hand them on.
    wishes.sort_by(|one, other| one.key().cmp(other.key()));
    Ok(Work::Config(wishes))
}

fn images(images: Vec<String>) -> Result<Work, BadJob> {
    if images.is_empty() || images.len() > MAX_ITEMS {
        return Err(BadJob::Amount("images"));
    }
    let images: Result<Vec<Image>, BadJob> = images.iter().map(|it| it.parse()).collect();
    images.map(Work::PrePull)
}

fn check_items(words: Option<Vec<String>>) -> Result<Vec<CheckItem>, BadJob> {
    let item = |word: String| match word.as_str() {
        "cpu" => Ok(CheckItem::Cpu),
        "mem" => Ok(CheckItem::Memory),
        "disk" => Ok(CheckItem::Disk),
        _ => Err(BadJob::CheckItem(word)),
    };
    words.unwrap_or_default().into_iter().map(item).collect()
}

/// All that a spec of v1alpha2 may say and that counts here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    version: String,
    #[serde(default)]
    image: String,
    #[serde(default)]
    image_digest_gatter: Option<Map<String, Value>>,
    #[serde(default)]
    check_items: Option<Vec<String>>,
    #[serde(default)]
    require_confirmation: bool,
    #[serde(default)]
    timeout_seconds: Option<u64>,
    #[serde(default)]
    update_fields: Option<Map<String, Value>>,
    #[serde(default)]
    image_pre_pull_template: Option<Template>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Template {
    #[serde(default)]
    images: Vec<String>,
    #[serde(default)]
    check_items: Option<Vec<String>>,
}

impl Action {
    pub const ALL: [Action; 8] = [
        Action::Init,
        Action::Check,
        Action::WaitingConfirmation,
        Action::BackUp,
        Action::Upgrade,
        Action::Update,
        Action::Pull,
        Action::RollBack,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Action::Init => "Init",
            Action::Check => "Check",
            Action::WaitingConfirmation => "WaitingConfirmation",
            Action::BackUp => "BackUp",
            Action::Upgrade => "Upgrade",
            Action::Update => "Update",
            Action::Pull => "Pull",
            Action::RollBack => "RollBack",
        }
    }
}

impl fmt::Display for BadJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadJob::Shape => f.write_str("the job is not of the form that jobs have"),
            BadJob::Action(word) => write!(f, "a job does not begin with {:?}", short(word)),
            BadJob::Version(word) => {
                write!(f, "{:?} is no version: write it like v1.23.1", short(word))
            }
            BadJob::Image(word) => write!(
                f,
                "{:?} is no image: write it with its repository, like kubeedge/installation-package",
                short(word)
            ),
            BadJob::Digest(word) => write!(
                f,
                "{:?} is no digest: write it as sha256: and 64 hexadecimal digits",
                short(word)
            ),
            BadJob::CheckItem(word) => {
                write!(
                    f,
                    "{:?} can't be checked: there are cpu, mem, disk",
                    short(word)
                )
            }
            BadJob::Wish(key) => write!(
                f,
                "{:?} can't be changed by a job: change it on the device",
                short(key)
            ),
            BadJob::Amount(what) => {
                write!(f, "a job names at least one and at most {MAX_ITEMS} {what}")
            }
        }
    }
}

impl std::error::Error for BadJob {}

fn short(word: &str) -> String {
    word.chars().take(MAX_SHOWN).collect()
}

/// Bytes of JSON.
const MAX_CONTENT: usize = 256 << 10;
const MAX_ITEMS: usize = 64;
/// Characters of a peer's words in a sentence.
const MAX_SHOWN: usize = 120;

#[cfg(test)]
mod tests;
