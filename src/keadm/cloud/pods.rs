//! Why pods do not run: what their containers, their conditions and the cluster's events say.

use serde_json::Value;

use super::cluster::{Cluster, text};
use crate::keadm::chart::NAMESPACE;
use crate::kubernetes::object::{self, Object};
use crate::kubernetes::resource::{EVENTS, PODS};
use crate::kubernetes::{CallError, Request};

/// A sentence for each pod with these labels that is not ready; for the workload itself where it has no pods.
pub fn reasons(
    cluster: &Cluster,
    workload: &str,
    kind: &str,
    labels: &Value,
) -> Result<Vec<String>, CallError> {
    let pairs = labels.as_object().into_iter().flatten();
    let selector: Vec<String> = pairs
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let list = Request::list(&PODS, Some(NAMESPACE)).with("labelSelector", selector.join(","));
    let pods = cluster.list(&list)?;
    let waiting: Vec<&Object> = pods.iter().filter(|pod| !is_ready(pod)).collect();
    let mut reasons = Vec::new();
    for pod in waiting.iter().take(MOST) {
        let name = object::name(pod);
        let own = own_reason(&Value::Object((*pod).clone()));
        let reason = match own {
            Some(reason) => Some(reason),
            None => last_warning(cluster, "Pod", name)?,
        };
        let reason = reason.unwrap_or_else(|| "it has not started yet".to_owned());
        reasons.push(format!("pod {name}: {reason}"));
    }
    if pods.is_empty() {
        let reason = last_warning(cluster, kind, workload)?;
        let reason = reason.unwrap_or_else(|| "no pod has been made".to_owned());
        reasons.push(format!("{kind}/{workload}: {reason}"));
    }
    Ok(reasons)
}

fn is_ready(pod: &Object) -> bool {
    let conditions = pod.get("status").and_then(|it| it.get("conditions"));
    let conditions = conditions.and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|it| text(it, "type") == "Ready" && text(it, "status") == "True")
}

/// What a pod says of itself.
fn own_reason(pod: &Value) -> Option<String> {
    let status = &pod["status"];
    let containers = ["initContainerStatuses", "containerStatuses"];
    let containers = containers
        .iter()
        .flat_map(|key| status[*key].as_array().into_iter().flatten());
    for container in containers {
        let before = &container["lastState"]["terminated"];
        let (state, more) = (&container["state"], text(before, "reason"));
        for kind in ["waiting", "terminated"] {
            let reason = text(&state[kind], "reason");
            if reason.is_empty()
                || ["ContainerCreating", "PodInitializing", "Completed"].contains(&reason)
            {
                continue;
            }
            let mut sentence = reason.to_owned();
            match text(&state[kind], "message") {
                "" => {}
                message => sentence += &format!(": {}", line(message)),
            }
            if !more.is_empty() {
                let code = before["exitCode"].as_i64().unwrap_or_default();
                sentence += &format!(" (it ended with {code}, {more})");
            }
            return Some(sentence);
        }
    }
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let mut conditions =
        conditions.filter(|it| text(it, "status") == "False" && !text(it, "message").is_empty());
    let scheduled = conditions.find(|it| text(it, "type") == "PodScheduled");
    scheduled.map(|it| format!("{}: {}", text(it, "reason"), line(text(it, "message"))))
}

/// The newest warning of the cluster about an object.
fn last_warning(cluster: &Cluster, kind: &str, name: &str) -> Result<Option<String>, CallError> {
    let selector = format!("involvedObject.kind={kind},involvedObject.name={name},type=Warning");
    let list = Request::list(&EVENTS, Some(NAMESPACE)).with("fieldSelector", selector);
    let events = match cluster.list(&list) {
        Ok(events) => events,
        // It only would have been nice to know.
        Err(error) if error.is_forbidden() => return Ok(None),
        Err(error) => return Err(error),
    };
    let newest = events.into_iter().map(Value::Object).max_by_key(|event| {
        let times = [text(event, "lastTimestamp"), text(event, "eventTime")];
        times.into_iter().max().unwrap_or_default().to_owned()
    });
    Ok(newest.map(|event| {
        format!(
            "{}: {}",
            text(&event, "reason"),
            line(text(&event, "message"))
        )
    }))
}

/// The first line, shortened.
fn line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.chars().take(LONGEST).collect()
}

/// Pods that are told of.
const MOST: usize = 3;
/// Characters of a reason.
const LONGEST: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_say_why_they_do_not_run() {
        let pull = json!({"status": {"containerStatuses": [{"state": {"waiting": {
            "reason": "ImagePullBackOff", "message": "Back-off pulling image \"x\"\nmore"}}}]}});
        assert_eq!(
            own_reason(&pull).unwrap(),
            "ImagePullBackOff: Back-off pulling image \"x\""
        );
        let crash = json!({"status": {"containerStatuses": [{
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"reason": "Error", "exitCode": 78}}}]}});
        assert_eq!(
            own_reason(&crash).unwrap(),
            "CrashLoopBackOff (it ended with 78, Error)"
        );
        let pending = json!({"status": {"conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]}});
        assert_eq!(own_reason(&pending).unwrap(), "Unschedulable: 0/1 nodes");
        let creating = json!({"status": {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}});
        assert_eq!(own_reason(&creating), None);
    }
}
