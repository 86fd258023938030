//! What a program on the device may have done: held Pods are released, as far as there is anything to release.
//!
//! A Pod is held by its annotation until somebody at the device agrees to its upgrade. Here no Pod is started, so that
//! none is held back either: what is asked is judged, and the answer says what it comes to.

use std::pin::Pin;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use serde_json::Value;
use smol::Timer;
use smol::future::{or, poll_fn};

use super::Desk;
use super::answer::{Answer, done, refusal};
use crate::protocol::local::KUBECONFIG;
use crate::protocol::local::request::Order;
use crate::protocol::resource::{Kind, ObjectPath};

/// `known` is whether the asker has shown the token.
pub async fn follow(desk: &Desk, order: Order, known: bool, body: &mut Incoming) -> Answer {
    let late = async {
        Timer::after(BODY_DEADLINE).await;
        None
    };
    let Some(said) = or(text(body), late).await else {
        return bad("the body is no name, or it does not come");
    };
    if !desk.edge.meta.is_ready() {
        let message = "what is stored is not known yet: try again in a moment";
        return refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            message,
        );
    }
    match order {
        Order::UnholdPod => pod(desk, said.trim()).await,
        Order::UnholdNode => node(desk, said.trim()).await,
        Order::ConfirmUpgrade => confirm(desk, known),
    }
}

/// A person agrees to the upgrade that waits for that: one who may read the token's file.
fn confirm(desk: &Desk, known: bool) -> Answer {
    if !known {
        let message = format!("only who has the token in {KUBECONFIG} may confirm");
        return refusal(StatusCode::UNAUTHORIZED, "Unauthorized", &message);
    }
    match desk.edge.jobs.confirm() {
        true => done("agreed: the upgrade begins"),
        false => bad("no job waits for a confirmation"),
    }
}

/// Of one Pod, `namespace/name`.
async fn pod(desk: &Desk, said: &str) -> Answer {
    let path = said
        .split_once('/')
        .and_then(|(namespace, name)| ObjectPath::new(namespace, Kind::Pod, name).ok());
    let Some(path) = path else {
        return bad("say NAMESPACE/NAME of a pod");
    };
    let Some(pod) = read(desk, &path).await else {
        let message = format!("pods {:?} not found", path.name);
        return refusal(StatusCode::NOT_FOUND, "NotFound", &message);
    };
    match standing(&pod) {
        Standing::Free => bad(&format!(
            "pod {said} is not held: it has no annotation {HOLD}=true"
        )),
        Standing::Begun => bad(&format!(
            "pod {said} is not held: it is not Pending any more"
        )),
        Standing::Held => {
            log::info!("pod {said} is released");
            done(&format!("pod {said} is released, and waits: {WAITS}"))
        }
    }
}

/// Of all Pods of a node.
async fn node(desk: &Desk, name: &str) -> Answer {
    let mut released = 0;
    for path in desk.edge.meta.paths(|path| path.kind == Kind::Pod) {
        let pod = read(desk, &path).await.unwrap_or_default();
        if pod["spec"]["nodeName"] == *name && standing(&pod) == Standing::Held {
            released += 1;
        }
    }
    log::info!("pods of node {name:?} released: {released}");
    match released {
        0 => done(&format!("no pod of node {name:?} is held here")),
        _ => done(&format!("pods released: {released}; they wait: {WAITS}")),
    }
}

async fn read(desk: &Desk, path: &ObjectPath) -> Option<Value> {
    match desk.edge.meta.get(path).await {
        Ok(object) => serde_json::from_str(object?.text()).ok(),
        Err(failure) => {
            log::warn!("{failure}");
            None
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Held,
    /// Nobody wants it to be held.
    Free,
    /// It is past what it could be held back from.
    Begun,
}

fn standing(pod: &Value) -> Standing {
    let phase = pod["status"]["phase"].as_str();
    match (
        pod["metadata"]["annotations"][HOLD] == "true",
        matches!(phase, None | Some("" | "Pending")),
    ) {
        (false, _) => Standing::Free,
        (true, false) => Standing::Begun,
        (true, true) => Standing::Held,
    }
}

/// None when it is too long, breaks off or is no text.
async fn text(body: &mut Incoming) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        let Some(frame) = frame else {
            return String::from_utf8(bytes).ok();
        };
        if let Ok(data) = frame.ok()?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > MAX_BODY {
            return None;
        }
    }
}

fn bad(message: &str) -> Answer {
    refusal(StatusCode::BAD_REQUEST, "BadRequest", message)
}

/// The annotation by which a Pod is held; KubeEdge's.
const HOLD: &str = "edge.kubeedge.io/hold-upgrade";
const WAITS: &str = "this device runs no containers";
/// Bytes: a namespace and a name.
const MAX_BODY: usize = 512;
const BODY_DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_held_by_its_annotation_until_it_runs() {
        let pod = |hold: &str, phase: Value| json!({"metadata": {"annotations": {HOLD: hold}}, "status": {"phase": phase}});
        assert_eq!(standing(&pod("true", json!("Pending"))), Standing::Held);
        assert_eq!(standing(&pod("true", Value::Null)), Standing::Held);
        assert_eq!(standing(&pod("true", json!("Running"))), Standing::Begun);
        assert_eq!(standing(&pod("false", json!("Pending"))), Standing::Free);
        assert_eq!(standing(&json!({})), Standing::Free);
    }
}
