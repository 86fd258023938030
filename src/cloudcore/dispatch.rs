//! What becomes of a message from an edge: the door where names are read, and a table of handlers.

use std::pin::Pin;
use std::sync::Arc;

use super::cloud::Cloud;
use super::outbox::Outbox;
use crate::protocol::jobs;
use crate::protocol::message::Message;
use crate::protocol::resource::{BadResource, Kind, Resource};
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;

/// The answer to a message, if it gets one: known at once, or when the disk has what it says.
pub enum Answer {
    Now(Option<Box<Message>>),
    /// In a box, because thousands of sessions rest and each would keep room for it.
    Later(Pin<Box<dyn Future<Output = Option<Message>> + Send>>),
}

pub fn dispatch(cloud: &Arc<Cloud>, node: &NodeName, outbox: &Outbox, message: Message) -> Answer {
    let operation = message.route.operation.as_str();
    if operation == "response" {
        return acknowledged(cloud, node, outbox, &message);
    }
    if operation == jobs::OPERATION {
        return reported(cloud, node, outbox, &message);
    }
    // What these are about is for their topics to say, and is no resource.
    if QUIET.contains(&operation) {
        return Answer::Now(None);
    }
    let resource = match message.route.resource.parse::<Resource>() {
        Ok(resource) => resource,
        Err(BadResource::Kind) => {
            return Answer::Now(unhandled(&message, cloud.clock.stamp()).map(Box::new));
        }
        Err(_) => {
            cloud.metrics.unnamed.add();
            return Answer::Now(None);
        }
    };
    if cloud.nodes.is_handled(&resource, operation) && message.header.parent_id.is_empty() {
        return cloud.nodes.handle(cloud, node, outbox, resource, message);
    }
    if resource
        .object()
        .is_some_and(|path| path.kind == Kind::Event)
    {
        cloud.metrics.events.add();
    }
    Answer::Now(at_once(&resource, &message, cloud.clock.stamp()).map(Box::new))
}

/// What needs nothing but the message.
fn at_once(resource: &Resource, message: &Message, now: Timestamp) -> Option<Message> {
    let operation = message.route.operation.as_str();
    match (resource, operation) {
        (_, "ping" | "pong" | "config") => {
            // In the name of whom it was sent to.
            Some(message.answer(now, &message.route.source, "response", "ack"))
        }
        (Resource::KubernetesCa, "query") => {
            let mut answer = message.answer(now, SOURCE, "response", "");
            "resource".clone_into(&mut answer.route.group);
            Some(answer)
        }
        (Resource::Membership | Resource::DeviceReport { .. }, "get" | "update") => {
            let mut answer = message.answer(now, "devicecontroller", "response", "OK");
            "twin".clone_into(&mut answer.route.group);
            "twin".clone_into(&mut answer.route.resource);
            Some(answer)
        }
        (Resource::Object(path), _) if SILENT.contains(&path.kind) => None,
        (_, "query" | "insert" | "update" | "patch" | "delete" | "get") => unhandled(message, now),
        _ => None,
    }
}

/// A node says how a step of a job went: it keeps that until it is told that it is written down here.
fn reported(cloud: &Arc<Cloud>, node: &NodeName, outbox: &Outbox, message: &Message) -> Answer {
    let now = cloud.clock.stamp();
    let written = cloud.nodes.job_reported(node, message, now);
    if !cloud.registry.acknowledges_reports(node) {
        return Answer::Now(None);
    }
    let answer = message.answer(now, jobs::SOURCE, "response", "OK");
    let Some(written) = written else {
        return Answer::Now(Some(Box::new(answer)));
    };
    // Without a word the node says it again over its next session.
    let told = async move {
        written.recv().await.ok()?;
        Some(answer)
    };
    if !cloud.nodes.answers_beside() {
        return Answer::Later(Box::pin(told));
    }
    let (shared, outbox) = (cloud.clone(), outbox.clone());
    cloud.spawn(async move {
        let told = async { told.await.is_some_and(|answer| outbox.push(answer)) };
        let stop = async {
            shared.stop.wait().await;
            false
        };
        smol::future::or(told, stop).await;
    });
    Answer::Now(None)
}

/// An object has arrived. When that is gone now, who forgets it is noted down.
fn acknowledged(cloud: &Arc<Cloud>, node: &NodeName, outbox: &Outbox, ack: &Message) -> Answer {
    match outbox.acknowledged(&ack.header.parent_id) {
        Some((item, version)) if item.gone.is_some() || cloud.nodes.records() => {
            let (cloud, node) = (cloud.clone(), node.clone());
            Answer::Later(Box::pin(async move {
                cloud.nodes.acknowledged(&node, &item, version).await;
                None
            }))
        }
        _ => Answer::Now(None),
    }
}

/// An edge would wait a minute for what nobody here does: so it is told at once.
fn unhandled(message: &Message, now: Timestamp) -> Option<Message> {
    if !message.header.parent_id.is_empty() || !ASKING.contains(&&*message.route.operation) {
        return None;
    }
    let text = format!(
        "this cloud has nobody who handles {}",
        shown(&message.route.resource)
    );
    let mut answer = message.answer(now, SOURCE, "error", &text);
    // Edges look for answers in these two groups only, whatever group they asked in.
    let group = if message.route.group == "twin" {
        "twin"
    } else {
        "resource"
    };
    group.clone_into(&mut answer.route.group);
    Some(answer)
}

/// The resource, without what could make the sentence long or unreadable.
fn shown(resource: &str) -> String {
    resource
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_SHOWN)
        .collect()
}

/// Operations that ask for nothing (docs/protocol.md, "Messages").
const QUIET: &[&str] = &["UpdateNodeActionStatus", "error", "keepalive", "upload", ""];

/// Operations whose sender waits for an answer.
const ASKING: &[&str] = &["query", "insert", "update", "patch", "delete", "get"];

/// Types of which edges report without expecting an answer.
const SILENT: &[Kind] = &[Kind::Event, Kind::RuleStatus];

/// The name of this part in what it sends.
const SOURCE: &str = "cloudhub";

const MAX_SHOWN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(1_795_339_363);

    /// As at the door, for what needs no cloud.
    fn dispatch(message: &Message, now: Timestamp) -> Option<Message> {
        match message.route.resource.parse::<Resource>() {
            _ if QUIET.contains(&&*message.route.operation) => None,
            Ok(resource) => at_once(&resource, message, now),
            Err(_) => unhandled(message, now),
        }
    }

    fn message(operation: &str, resource: &str) -> Message {
        Message::of_edged(NOW, operation, resource, &serde_json::Value::Null)
    }

    #[test]
    fn requests_that_nobody_handles_get_an_error() {
        for operation in ["query", "insert", "update", "patch", "delete", "get"] {
            let request = message(operation, "default/podlist/all");
            let answer = dispatch(&request, NOW).unwrap();
            assert_eq!(answer.route.operation, "error", "{operation}");
            assert_eq!(answer.header.parent_id, request.header.id);
            assert_eq!(answer.route.resource, "default/podlist/all");
            assert_eq!(answer.route.group, "resource");
            assert_eq!(answer.route.source, "cloudhub");
            assert!(answer.text().unwrap().contains("default/podlist/all"));
        }
    }

    #[test]
    fn twins_are_answered_among_themselves() {
        for (operation, resource) in [
            ("get", "membership/detail"),
            ("update", "device/default/sensor-1/twin/edge_updated"),
            ("update", "device/default/sensor-1/state/update"),
        ] {
            let answer = dispatch(&message(operation, resource), NOW).unwrap();
            let route = &answer.route;
            assert_eq!((&*route.group, &*route.resource), ("twin", "twin"));
            assert_eq!(
                (&*route.source, &*route.operation),
                ("devicecontroller", "response")
            );
            assert_eq!(answer.text().as_deref(), Some("OK"));
        }
        let ca = dispatch(&message("query", "k8s/ca.crt"), NOW).unwrap();
        assert_eq!(
            (ca.text().as_deref(), &*ca.route.source),
            (Some(""), "cloudhub")
        );
    }

    #[test]
    fn what_asks_for_nothing_is_never_answered() {
        let quiet = [
            ("keepalive", "node"),
            ("error", "default/pod/p"),
            ("insert", "default/event/e"),
            ("upload", "x"),
            ("", ""),
            ("no-such-operation", "default/pod/p"),
        ];
        for (operation, resource) in quiet {
            assert!(
                dispatch(&message(operation, resource), NOW).is_none(),
                "{operation}"
            );
        }
        let mut answer = message("update", "default/pod/p");
        answer.header.parent_id = "1".to_owned();
        assert!(dispatch(&answer, NOW).is_none());
    }

    #[test]
    fn control_operations_are_acknowledged() {
        for operation in ["ping", "pong", "config"] {
            let control = message(operation, "/control/ping");
            let answer = dispatch(&control, NOW).unwrap();
            assert_eq!(answer.route.operation, "response");
            assert_eq!(answer.route.source, "edged");
            assert_eq!(answer.text().as_deref(), Some("ack"));
            assert_eq!(answer.header.parent_id, control.header.id);
        }
    }

    #[test]
    fn a_long_resource_makes_no_long_sentence() {
        let answer = dispatch(&message("query", &"x\n".repeat(10_000)), NOW).unwrap();
        assert!(answer.text().unwrap().len() < 300);
    }
}
