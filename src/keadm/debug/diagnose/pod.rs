//! Why a pod is not ready: what it says itself.

use serde_json::Value;

use super::{Diagnosis, Reason};
use crate::keadm::ctl::table;
use crate::keadm::debug::fault::Fault;
use crate::keadm::debug::store::Store;
use crate::protocol::resource::Kind;
use crate::system::host::Host;

/// What keeps the node from hearing of changes is not looked at here.
pub fn pod(host: &Host, namespace: &str, name: &str) -> Result<Diagnosis, Fault> {
    let mut found = None;
    let store = Store::open(host, None)?;
    store.each(Kind::Pod, Some(namespace), |object| {
        if table::name(&object) == name {
            found = Some(object);
        }
    })?;
    let pod = found.ok_or_else(|| Fault::Missing("pod", name.to_owned()))?;
    let word = |value: &Value, key: &str| value[key].as_str().unwrap_or("-").to_owned();
    let list = |pointer: &str| {
        pod.pointer(pointer)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let conditions = || list("/status/conditions");
    let ready = conditions().any(|it| it["type"] == "Ready" && it["status"] == "True");
    let phase = word(&pod["status"], "phase");
    let good = ready || phase == "Succeeded";
    let mut reasons = Vec::new();
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        reasons.push(Reason {
            what: "deletion".to_owned(),
            found: "somebody has asked to delete it".to_owned(),
            remedy:
                "it goes once the cloud has heard that it has ended: see that the node is connected"
                    .to_owned(),
        });
    }
    for container in list("/status/initContainerStatuses").chain(list("/status/containerStatuses"))
    {
        let states = container["state"].as_object().into_iter().flatten();
        for (state, about) in states.filter(|(state, _)| *state != "running") {
            reasons.push(Reason {
                what: format!("container {}", word(container, "name")),
                found: format!("{state}: {}", word(about, "reason")),
                remedy: remedy(about, name),
            });
        }
    }
    for condition in conditions().filter(|it| it["status"] != "True" && !good) {
        reasons.push(Reason {
            what: format!("condition {}", word(condition, "type")),
            found: word(condition, "reason"),
            remedy: remedy(condition, name),
        });
    }
    let verdict = match good {
        true => format!("pod {name} is as it should be ({phase})"),
        false => format!("pod {name} is not ready ({phase})"),
    };
    Ok(Diagnosis {
        good,
        verdict,
        reasons,
        lately: Vec::new(),
    })
}

/// By the reason that a condition or a state has; else what it says, or who says more.
fn remedy(about: &Value, pod: &str) -> String {
    let reason = about["reason"].as_str().unwrap_or_default();
    let said = about["message"].as_str().filter(|said| !said.is_empty());
    let known = REMEDIES
        .iter()
        .find(|(reasons, _)| reasons.contains(&reason));
    match (known, said) {
        (Some((_, remedy)), Some(said)) if reason != "NoRuntime" => format!("{remedy} ({said})"),
        (Some((_, remedy)), _) => (*remedy).to_owned(),
        (None, Some(said)) => said.to_owned(),
        (None, None) => format!("see its events on the cloud: `kubectl describe pod {pod}`"),
    }
}

const REMEDIES: &[(&[&str], &str)] = &[
    (
        &["NoRuntime"],
        "this device runs no containers, so the Pod waits; its ConfigMaps and Secrets are kept: run \
         what should run here as a service, or give the Pod to another node",
    ),
    (
        &[
            "ErrImagePull",
            "ImagePullBackOff",
            "InvalidImageName",
            "ErrImageNeverPull",
        ],
        "its image does not come: see its name, the way to its registry, and the pull secret",
    ),
    (
        &["CrashLoopBackOff", "Error"],
        "its program ends again and again: see its log, and what it needs to start",
    ),
    (
        &["OOMKilled"],
        "it took more memory than it may: raise its limit, or have it take less",
    ),
    (
        &["CreateContainerConfigError", "CreateContainerError"],
        "what it refers to is not there: see its ConfigMaps, Secrets and volumes",
    ),
    (
        &["Evicted"],
        "this device ran short of something: see `kubeedge debug check disk mem`",
    ),
];
