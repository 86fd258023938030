//! The custom resource definitions: applied, also when they are there (K31), and waited for.

use std::time::Duration;

use serde_json::Value;

use super::cluster::{Cluster, shown, text};
use super::{CloudError, apply};
use crate::kubernetes::object;
use crate::kubernetes::resource::CUSTOM_RESOURCE_DEFINITIONS;

/// Makes or changes them. One that has versions which ours lacks is a newer one, and stays as it is.
pub fn apply(cluster: &Cluster, crds: &[Value], limit: Duration) -> Result<(), CloudError> {
    let mut names = Vec::new();
    for crd in crds {
        let name = text(&crd["metadata"], "name");
        let live = cluster.get(&CUSTOM_RESOURCE_DEFINITIONS, None, name)?;
        let more = live.map(|live| versions_beyond(&Value::Object(live), crd));
        match more {
            Some(more) if !more.is_empty() => cluster.say(&format!(
                "{} stays as it is: it has {}, which this version does not know",
                shown(crd),
                more.join(", ")
            )),
            _ => apply::one(cluster, crd)?,
        }
        names.push(name);
    }
    established(cluster, &names, limit)
}

fn versions_beyond(live: &Value, ours: &Value) -> Vec<String> {
    let versions = |crd: &Value| -> Vec<String> {
        let list = crd["spec"]["versions"].as_array().into_iter().flatten();
        list.map(|version| text(version, "name").to_owned())
            .collect()
    };
    let ours = versions(ours);
    let live = versions(live).into_iter();
    live.filter(|version| !ours.contains(version)).collect()
}

/// Objects of a type can be made once the cluster says so.
fn established(cluster: &Cluster, names: &[&str], limit: Duration) -> Result<(), CloudError> {
    let mut left = names.to_vec();
    let done = cluster.until(limit, || {
        let mut still = Vec::new();
        for name in &left {
            let live = cluster.get(&CUSTOM_RESOURCE_DEFINITIONS, None, name)?;
            if !live.is_some_and(|live| is_established(&live)) {
                still.push(*name);
            }
        }
        left = still;
        Ok(left.is_empty().then_some(()))
    })?;
    match done {
        Some(()) => Ok(()),
        None => Err(CloudError::NotReady {
            seconds: limit.as_secs(),
            reasons: vec![format!("the cluster does not serve {}", left.join(", "))],
        }),
    }
}

fn is_established(live: &object::Object) -> bool {
    let status = live
        .get("status")
        .and_then(|status| status.get("conditions"));
    let conditions = status.and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|it| text(it, "type") == "Established" && text(it, "status") == "True")
}
