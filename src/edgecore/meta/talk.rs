//! What is said to the cloud about Pods: questions for what they name, their state, their end.

use std::rc::Rc;
use std::time::Duration;

use serde_json::json;

use super::references::{NO_RUNTIME, Pod};
use crate::edgecore::edge::Edge;
use crate::edgecore::pushes::Push;
use crate::edgecore::requests::Unanswered;
use crate::protocol::message::Message;
use crate::protocol::reply::{Refusal, bare_object, object_of_both};
use crate::protocol::resource::{Kind, ObjectPath};

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To be tried again later.
    Again,
    Done,
    NoSession,
}

/// Asks for an object and has it stored.
pub async fn fetch(edge: &Rc<Edge>, path: &ObjectPath) -> Outcome {
    let question = Message::of_edged(
        edge.host.clock.stamp(),
        "query",
        &path.to_string(),
        &serde_json::Value::Null,
    );
    let answer = match asked(edge, question, path).await {
        Ok(answer) => answer,
        Err(outcome) => return outcome,
    };
    match bare_object(&answer) {
        Ok(object) if object.meta().name == path.name => {}
        Ok(_) => {
            log::warn!("the cloud's answer for {path} is another object: it is not stored");
            return Outcome::Again;
        }
        Err(refusal) => return refused(path, &refusal),
    }
    // In line with what the cloud pushes, and acknowledged like it.
    let Some(acks) = edge.requests.outgoing() else {
        return Outcome::NoSession;
    };
    let mut message = answer;
    message.route.group = "resource".to_owned();
    message.route.resource = path.to_string();
    edge.pushes.add(Push { message, acks }).await;
    Outcome::Done
}

/// Says that a Pod waits, and why. Never that it failed: controllers would make it anew for ever.
pub async fn report(edge: &Rc<Edge>, path: &ObjectPath, pod: &Pod) -> Outcome {
    let now = edge.host.clock.stamp().to_string();
    let condition = |kind: &str| {
        json!({"type": kind, "status": "False", "reason": NO_RUNTIME, "message": WAITS,
            "lastProbeTime": null, "lastTransitionTime": now})
    };
    let patch = json!({
        "metadata": {"uid": pod.uid},
        "status": {"phase": "Pending",
            "conditions": [condition("Ready"), condition("ContainersReady")]},
    });
    let resource = related(path, Kind::PodPatch);
    let question = Message::of_edged(
        edge.host.clock.stamp(),
        "patch",
        &resource,
        &patch.to_string(),
    );
    match asked(edge, question, path).await {
        Ok(answer) => match object_of_both(&answer) {
            Ok(_) => Outcome::Done,
            Err(refusal) => refused(path, &refusal),
        },
        Err(outcome) => outcome,
    }
}

/// Nothing of it runs here, so that it can go at once.
pub async fn delete(edge: &Rc<Edge>, path: &ObjectPath, pod: &Pod) -> Outcome {
    let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": pod.uid}});
    let question = Message::of_edged(
        edge.host.clock.stamp(),
        "delete",
        &path.to_string(),
        &options,
    );
    match asked(edge, question, path).await {
        Ok(answer) if answer.text().as_deref() == Some("OK") => Outcome::Done,
        Ok(_) => {
            log::warn!("the cloud does not delete {path}: it is asked again");
            Outcome::Again
        }
        Err(outcome) => outcome,
    }
}

async fn asked(edge: &Edge, question: Message, path: &ObjectPath) -> Result<Message, Outcome> {
    edge.requests
        .ask(question, PATIENCE)
        .await
        .map_err(|why| match why {
            Unanswered::NoSession => Outcome::NoSession,
            why => {
                log::warn!("asked the cloud about {path}: {why}");
                Outcome::Again
            }
        })
}

fn refused(path: &ObjectPath, refusal: &Refusal) -> Outcome {
    log::warn!("asked about {path}: {refusal}");
    Outcome::Again
}

fn related(path: &ObjectPath, kind: Kind) -> String {
    let ObjectPath {
        namespace, name, ..
    } = path;
    format!("{namespace}/{kind}/{name}")
}

const WAITS: &str =
    "this device runs no containers: the Pod waits, its ConfigMaps and Secrets are kept";
/// As KubeEdge's edges have.
const PATIENCE: Duration = Duration::from_secs(60);
