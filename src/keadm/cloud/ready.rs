//! Waits until what was deployed works, tells how it goes, and why when it does not.

use std::time::Duration;

use serde_json::Value;

use super::cluster::{Cluster, shown, text};
use super::{CloudError, apply, pods};
use crate::kubernetes::CallError;

/// Waits for the Deployments, DaemonSets and Services among the objects.
pub fn wait<'a>(
    cluster: &Cluster,
    objects: impl Iterator<Item = &'a Value>,
    limit: Duration,
) -> Result<(), CloudError> {
    let mut left: Vec<&Value> = objects.filter(|object| is_waited_for(object)).collect();
    let mut said = String::new();
    let done = cluster.until(limit, || {
        let mut still = Vec::new();
        let mut standing = Vec::new();
        for object in &left {
            if let Some(sentence) = lacks(cluster, object)? {
                standing.push(format!("{} {sentence}", shown(object)));
                still.push(*object);
            }
        }
        left = still;
        let sentence = standing.join(", ");
        if !sentence.is_empty() && sentence != said {
            cluster.say(&format!("waiting: {sentence}"));
            said = sentence;
        }
        Ok(left.is_empty().then_some(()))
    })?;
    match done {
        Some(()) => Ok(()),
        None => Err(CloudError::NotReady {
            seconds: limit.as_secs(),
            reasons: reasons(cluster, &left)?,
        }),
    }
}

fn is_waited_for(object: &Value) -> bool {
    ["Deployment", "DaemonSet", "Service"].contains(&text(object, "kind"))
}

/// What an object has not got yet; none when it is ready.
fn lacks(cluster: &Cluster, object: &Value) -> Result<Option<String>, CloudError> {
    let resource = cluster.resource_of(object)?;
    let name = text(&object["metadata"], "name");
    let live = cluster.get(&resource, apply::place(&resource), name)?;
    let Some(live) = live.map(Value::Object) else {
        return Ok(Some("is not there".to_owned()));
    };
    Ok(standing(&live))
}

/// A sentence about what is missing; none when nothing is.
fn standing(live: &Value) -> Option<String> {
    let status = &live["status"];
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let kind = text(live, "kind");
    if kind == "Service" {
        let is_served = !text(&live["spec"], "clusterIP").is_empty();
        return (!is_served).then(|| "has no address".to_owned());
    }
    if number(&status["observedGeneration"]) < number(&live["metadata"]["generation"]) {
        return Some("is not looked at yet".to_owned());
    }
    let (wanted, updated, available) = match kind {
        "DaemonSet" => (
            number(&status["desiredNumberScheduled"]),
            number(&status["updatedNumberScheduled"]),
            number(&status["numberAvailable"]),
        ),
        _ => (
            live["spec"]["replicas"].as_u64().unwrap_or(1),
            number(&status["updatedReplicas"]),
            number(&status["availableReplicas"]),
        ),
    };
    if updated < wanted {
        return Some(format!("has {updated} of {wanted} new pods"));
    }
    (available < wanted).then(|| format!("has {available} of {wanted} pods that work"))
}

fn reasons(cluster: &Cluster, left: &[&Value]) -> Result<Vec<String>, CallError> {
    let mut reasons = Vec::new();
    for object in left {
        let name = text(&object["metadata"], "name");
        let labels = &object["spec"]["selector"]["matchLabels"];
        match labels.is_object() {
            true => reasons.extend(pods::reasons(cluster, name, text(object, "kind"), labels)?),
            false => reasons.push(format!("{} has no address", shown(object))),
        }
    }
    Ok(reasons)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn deployments_are_ready_when_all_their_new_pods_work() {
        let mut live =
            json!({"kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 2}});
        assert_eq!(standing(&live).unwrap(), "is not looked at yet");
        live["status"] = json!({"observedGeneration": 2, "replicas": 2, "availableReplicas": 2, "updatedReplicas": 1});
        assert_eq!(standing(&live).unwrap(), "has 1 of 2 new pods");
        live["status"]["updatedReplicas"] = 2.into();
        live["status"]["availableReplicas"] = 1.into();
        assert_eq!(standing(&live).unwrap(), "has 1 of 2 pods that work");
        live["status"]["availableReplicas"] = 2.into();
        assert_eq!(standing(&live), None);
    }

    #[test]
    fn a_daemon_set_without_machines_is_ready() {
        let live = json!({"kind": "DaemonSet", "metadata": {"generation": 1}, "status": {
            "observedGeneration": 1, "desiredNumberScheduled": 0}});
        assert_eq!(standing(&live), None);
        let service = json!({"kind": "Service", "spec": {}});
        assert_eq!(standing(&service).unwrap(), "has no address");
    }
}
