//! A job as the cluster has it and as it is worked on: its spec read, its status read and written.

use serde_json::{Map, Value, json};

use super::super::super::meta::Object;
use super::choice::Choice;
use crate::cloudcore::jobs::{Fleet, Kind, Member, Phase, Stand};
use crate::kubernetes::object;
use crate::protocol::jobs::Report;
use crate::system::clock::Timestamp;
use crate::system::sorted::SortedMap;

/// An object, read.
pub struct Job {
    pub uid: String,
    pub version: u64,
    /// What is worked on, as far as the object knows it.
    pub fleet: Fleet,
    /// Nobody has chosen its nodes yet.
    pub is_new: bool,
    /// What its spec says besides, or why it can't be done.
    pub terms: Result<Terms, String>,
}

/// What counts for the job as a whole.
#[derive(Clone, Debug)]
pub struct Terms {
    pub choice: Choice,
    /// The part of the nodes that may fail.
    pub tolerate: f64,
}

/// Reads an object; none for what has no name and version.
pub fn read(kind: Kind, object: &Object, now: Timestamp) -> Option<Job> {
    let name = object::name(object).to_owned();
    let version = object::version(object).parse().ok()?;
    let mut spec = object.get("spec").cloned().unwrap_or_default();
    let inner = match kind {
        Kind::ImagePrePullJob => spec.get(TEMPLATE).cloned().unwrap_or_default(),
        _ => spec.clone(),
    };
    // How a cloud asks a registry, with a token: nothing of it is for a node.
    if let Some(Value::Object(digests)) = spec.get_mut("imageDigestGatter") {
        digests.shift_remove("registryAPI");
    }
    let number = |key: &str| inner.get(key).and_then(Value::as_u64).filter(|it| *it > 0);
    let status = object.get("status");
    let word = |key: &str| status.and_then(|it| it.get(key)?.as_str());
    let phase = word("phase").unwrap_or_default();
    let nodes = status.and_then(|it| it.get("nodeStatus")?.as_array());
    let nodes: SortedMap<_, _> = nodes.into_iter().flatten().filter_map(member).collect();
    let fleet = Fleet {
        name: Some(name).filter(|name| !name.is_empty())?,
        kind,
        phase: match phase {
            // The second is how some clouds of KubeEdge write it.
            "Completed" | "Complated" => Phase::Completed,
            "Failure" => Phase::Paused,
            _ => Phase::Running,
        },
        reason: word("reason").unwrap_or_default().to_owned(),
        max_unavailable: usize::try_from(number("concurrency").unwrap_or(1)).unwrap_or(1),
        pause_on_failure: false,
        timeout_seconds: number("timeoutSeconds").unwrap_or(TIMEOUT),
        created: now,
        spec,
        nodes,
    };
    Some(Job {
        uid: object::uid(object).to_owned(),
        version,
        is_new: fleet.phase == Phase::Running && fleet.nodes.is_empty(),
        terms: terms(&inner),
        fleet,
    })
}

fn terms(spec: &Value) -> Result<Terms, String> {
    let text = spec.get("failureTolerate").and_then(Value::as_str);
    let text = text.filter(|text| !text.is_empty()).unwrap_or(TOLERATE);
    let tolerate = text.trim().parse().ok();
    let tolerate = tolerate.filter(|it| (0.0..=1.0).contains(it));
    Ok(Terms {
        choice: Choice::read(spec)?,
        tolerate: tolerate
            .ok_or_else(|| format!("failureTolerate is {text:?}: it is a number from 0 to 1"))?,
    })
}

fn member(status: &Value) -> Option<(crate::system::names::NodeName, Member)> {
    let word = |key: &str| status.get(key).and_then(Value::as_str).unwrap_or_default();
    let actions = status.get("actionFlow").and_then(Value::as_array);
    let mut actions: Vec<Report> = actions.into_iter().flatten().map(action).collect();
    if let Some(last) = actions.last_mut() {
        let versions = [word("historicVersion"), word("currentVersion")];
        last.extend = match status.get("imageStatus") {
            Some(images) => images.to_string(),
            None if versions == ["", ""] => String::new(),
            None => versions.join(","),
        };
    }
    let member = Member {
        phase: match word("phase") {
            "" | "Pending" => Stand::Waiting,
            "InProgress" => Stand::InProgress,
            "Successful" => Stand::Successful,
            _ => Stand::Failure,
        },
        reason: word("reason").to_owned(),
        actions,
        ..Member::default()
    };
    Some((word("nodeName").parse().ok()?, member))
}

fn action(entry: &Value) -> Report {
    let word = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
    Report {
        action: word("action").to_owned(),
        succ: word("status") == "True",
        finish_time: word("time").to_owned(),
        reason: word("reason").to_owned(),
        extend: String::new(),
    }
}

/// How it has ended, for people.
pub fn said(fleet: &Fleet) -> String {
    match (&*fleet.reason, fleet.count(Stand::Failure)) {
        ("", 0) => "all went well".to_owned(),
        ("", failed) => format!("{failed} of {} nodes failed", fleet.nodes.len()),
        (reason, _) => reason.to_owned(),
    }
}

/// The status that the object is to have, as a merge patch has it.
pub fn status(fleet: &Fleet) -> Value {
    let phase = match fleet.phase {
        Phase::Running => "InProgress",
        Phase::Completed => "Completed",
        Phase::Paused | Phase::Cancelled => "Failure",
    };
    // A patch takes away what is null.
    let reason = Some(&fleet.reason).filter(|reason| !reason.is_empty());
    let room = (MAX_TEXT / fleet.nodes.len().max(1)).clamp(MIN_REASON, MAX_REASON);
    let nodes = fleet.nodes.iter().map(|(node, member)| {
        let mut entry = Map::new();
        entry.insert("nodeName".to_owned(), node.as_str().into());
        let phase = match member.phase {
            Stand::Waiting => "Pending",
            Stand::InProgress => "InProgress",
            Stand::Successful => "Successful",
            Stand::Failure => "Failure",
        };
        entry.insert("phase".to_owned(), phase.into());
        if !member.reason.is_empty() {
            entry.insert("reason".to_owned(), short(&member.reason, room).into());
        }
        let flow: Vec<Value> = member.actions.iter().map(|it| flow(it, room)).collect();
        if !flow.is_empty() {
            entry.insert("actionFlow".to_owned(), flow.into());
        }
        extend(fleet.kind, member, room, &mut entry);
        Value::from(entry)
    });
    json!({"phase": phase, "reason": reason, "nodeStatus": nodes.collect::<Vec<_>>()})
}

fn flow(report: &Report, room: usize) -> Value {
    let status = if report.succ { "True" } else { "False" };
    let mut entry = json!({"action": report.action, "status": status});
    for (key, text) in [("reason", &report.reason), ("time", &report.finish_time)] {
        if !text.is_empty() {
            entry[key] = short(text, room).into();
        }
    }
    entry
}

/// What the last step has brought: versions, or what became of each image.
fn extend(kind: Kind, member: &Member, room: usize, entry: &mut Map<String, Value>) {
    let said = member.actions.iter().rev().find(|it| !it.extend.is_empty());
    let Some(said) = said else {
        return;
    };
    if kind == Kind::ImagePrePullJob {
        let images = serde_json::from_str::<Vec<Map<String, Value>>>(&said.extend);
        let images = images.unwrap_or_default().into_iter().take(MAX_IMAGES);
        let images = images.map(|image| {
            let mut told = Map::new();
            for key in ["image", "status", "reason"] {
                if let Some(text) = image.get(key).and_then(Value::as_str) {
                    told.insert(key.to_owned(), short(text, room).into());
                }
            }
            Value::from(told)
        });
        entry.insert("imageStatus".to_owned(), images.collect());
    } else if let Some((from, to)) = said.extend.split_once(',') {
        for (key, version) in [("historicVersion", from), ("currentVersion", to)] {
            if !version.is_empty() {
                entry.insert(key.to_owned(), short(version, MIN_REASON).into());
            }
        }
    }
}

fn short(text: &str, room: usize) -> String {
    match text.char_indices().nth(room) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What of a spec for images says how it is done.
pub const TEMPLATE: &str = "imagePrePullTemplate";
/// KubeEdge's, where a spec says nothing.
const TIMEOUT: u64 = 300;
const TOLERATE: &str = "0.1";

/// Characters of all reasons together: an object may have a megabyte and a half.
const MAX_TEXT: usize = 400_000;
/// Of one.
const MIN_REASON: usize = 64;
const MAX_REASON: usize = 1000;
const MAX_IMAGES: usize = 64;
