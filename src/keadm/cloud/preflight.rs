//! Before anything is changed: does the cluster answer, is it new enough, and may we do all of this?

use serde_json::{Value, json};

use super::CloudError;
use super::cluster::{Cluster, shown, text};
use crate::keadm::chart::{NAMESPACE, RELEASE};
use crate::kubernetes::resource::{
    CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, SECRETS, SELF_SUBJECT_ACCESS_REVIEWS,
};
use crate::kubernetes::{Method, Request, Resource};

/// The version of the cluster, which is one that has all we need.
pub fn version(cluster: &Cluster) -> Result<String, CloudError> {
    let answer = cluster.object(&Request::new(Method::Get, "/version"))?;
    let answer = Value::Object(answer);
    let version = text(&answer, "gitVersion").to_owned();
    let number = |key: &str| {
        let digits: String = text(&answer, key)
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse::<u32>().unwrap_or(0)
    };
    match (number("major"), number("minor")) >= OLDEST {
        true => Ok(version),
        false => Err(CloudError::Old(version)),
    }
}

/// What is done with objects of a type.
pub struct Need {
    pub resource: Resource,
    pub verbs: &'static [&'static str],
}

/// What it takes to make or change these objects.
pub fn needs<'a>(
    cluster: &Cluster,
    objects: impl Iterator<Item = &'a Value>,
) -> Result<Vec<Need>, CloudError> {
    let mut needs = vec![
        Need {
            resource: SECRETS,
            verbs: &["get", "list", "create", "update", "delete"],
        },
        Need {
            resource: CUSTOM_RESOURCE_DEFINITIONS,
            verbs: &["get", "create", "patch"],
        },
    ];
    for object in objects {
        let resource = cluster.resource_of(object)?;
        if !needs.iter().any(|need| need.resource == resource) {
            needs.push(Need {
                resource,
                verbs: CHANGE,
            });
        }
    }
    if cluster.get(&NAMESPACES, None, NAMESPACE)?.is_none() {
        needs.push(Need {
            resource: NAMESPACES,
            verbs: &["create"],
        });
    }
    Ok(needs)
}

/// Asks the cluster about each right, so that nothing is begun that can't be ended.
pub fn permissions(cluster: &Cluster, needs: &[Need]) -> Result<(), CloudError> {
    // Most are administrators: one question instead of forty.
    if may(cluster, "*", "*", "*", true)? && may(cluster, "*", "*", "*", false)? {
        return Ok(());
    }
    let mut missing = Vec::new();
    for need in needs {
        let resource = &need.resource;
        let (group, plural) = (&resource.group, &resource.plural);
        let mut verbs = Vec::new();
        for verb in need.verbs {
            if !may(cluster, verb, group, plural, resource.namespaced)? {
                verbs.push(*verb);
            }
        }
        if !verbs.is_empty() {
            missing.push(format!("{} {resource}", verbs.join("/")));
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(CloudError::Denied(missing)),
    }
}

fn may(
    cluster: &Cluster,
    verb: &str,
    group: &str,
    plural: &str,
    namespaced: bool,
) -> Result<bool, CloudError> {
    let mut attributes = json!({"verb": verb, "group": group, "resource": plural});
    if namespaced {
        attributes["namespace"] = NAMESPACE.into();
    }
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    });
    match cluster.object(&Request::create(
        &SELF_SUBJECT_ACCESS_REVIEWS,
        None,
        &review,
    )) {
        Ok(answer) => {
            let status = answer.get("status");
            let allowed = status.and_then(|status| status.get("allowed"));
            Ok(allowed.and_then(Value::as_bool).unwrap_or(false))
        }
        // Who does not answer this will say no later, if it has to.
        Err(error) if error.status().is_some_and(|status| status.code != 401) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Objects that are there and are not the release's may not be taken over in silence.
pub fn adoption<'a>(
    cluster: &Cluster,
    objects: impl Iterator<Item = &'a Value>,
) -> Result<(), CloudError> {
    let mut foreign = Vec::new();
    for object in objects {
        let resource = cluster.resource_of(object)?;
        let name = text(&object["metadata"], "name");
        let live = cluster.get(&resource, Some(NAMESPACE), name)?;
        if live.is_some_and(|live| !is_owned(&Value::Object(live))) {
            foreign.push(shown(object));
        }
    }
    match foreign.is_empty() {
        true => Ok(()),
        false => Err(CloudError::Foreign(foreign)),
    }
}

/// Whether an object says that it is of the release, as Helm marks it.
pub fn is_owned(object: &Value) -> bool {
    let metadata = &object["metadata"];
    metadata["labels"][MANAGED_BY] == HELM
        && metadata["annotations"][RELEASE_NAME] == RELEASE
        && metadata["annotations"][RELEASE_NAMESPACE] == NAMESPACE
}

/// The object with the marks of the release.
pub fn owned(object: &Value) -> Value {
    let mut object = object.clone();
    let metadata = &mut object["metadata"];
    metadata["labels"][MANAGED_BY] = HELM.into();
    metadata["annotations"][RELEASE_NAME] = RELEASE.into();
    metadata["annotations"][RELEASE_NAMESPACE] = NAMESPACE.into();
    object
}

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const HELM: &str = "Helm";
const RELEASE_NAME: &str = "meta.helm.sh/release-name";
const RELEASE_NAMESPACE: &str = "meta.helm.sh/release-namespace";
const CHANGE: &[&str] = &["get", "create", "patch", "delete"];
/// The first with server-side apply for good.
const OLDEST: (u32, u32) = (1, 22);
