//! Objects of the release out of the cluster: those that it owns, and no others.

use std::time::Duration;

use serde_json::Value;

use super::CloudError;
use super::apply::place;
use super::cluster::{Cluster, shown, text};
use super::preflight::is_owned;
use crate::kubernetes::{Request, Resource, object};

/// An object that was asked to go.
pub struct Going {
    resource: Resource,
    name: String,
    uid: String,
    /// For people.
    pub shown: String,
}

/// What became of objects that were to go.
#[derive(Default)]
pub struct Swept {
    pub going: Vec<Going>,
    /// Not the release's, or to be kept by their own word.
    pub kept: Vec<String>,
}

/// Asks each object to go that the release owns.
pub fn all<'a>(
    cluster: &Cluster,
    objects: impl Iterator<Item = &'a Value>,
) -> Result<Swept, CloudError> {
    let swept = find(cluster, objects)?;
    go(cluster, &swept.going)?;
    Ok(swept)
}

/// Which of the objects are there, and which of them the release owns.
pub fn find<'a>(
    cluster: &Cluster,
    objects: impl Iterator<Item = &'a Value>,
) -> Result<Swept, CloudError> {
    let mut swept = Swept::default();
    for object in objects {
        let shown = shown(object);
        let resource = match cluster.resource_of(object) {
            Ok(resource) => resource,
            // Its type is gone, and so is it.
            Err(CloudError::UnknownKind(_)) => continue,
            Err(error) => return Err(error),
        };
        let name = text(&object["metadata"], "name").to_owned();
        let Some(live) = cluster.get(&resource, place(&resource), &name)? else {
            continue;
        };
        let uid = object::uid(&live).to_owned();
        let policy = object::annotation(&live, "helm.sh/resource-policy").to_owned();
        if !is_owned(&Value::Object(live)) || policy == "keep" {
            swept.kept.push(shown);
            continue;
        }
        swept.going.push(Going {
            resource,
            name,
            uid,
            shown,
        });
    }
    Ok(swept)
}

/// Asks them to go.
pub fn go(cluster: &Cluster, going: &[Going]) -> Result<(), CloudError> {
    going.iter().try_for_each(|going| ask_to_go(cluster, going))
}

/// An object that may go, whosever it is; none when there is none.
pub fn one(
    cluster: &Cluster,
    resource: &Resource,
    name: &str,
) -> Result<Option<Going>, CloudError> {
    let live = cluster.get(resource, place(resource), name)?;
    Ok(live.map(|live| Going {
        resource: resource.clone(),
        name: name.to_owned(),
        uid: object::uid(&live).to_owned(),
        shown: format!("{}/{name}", resource.kind),
    }))
}

fn ask_to_go(cluster: &Cluster, going: &Going) -> Result<(), CloudError> {
    let delete = Request::delete(&going.resource, place(&going.resource), &going.name)
        .only_uid(&going.uid)
        .with("propagationPolicy", "Background");
    match cluster.ask(&delete) {
        Err(error) if error.is_not_found() => Ok(()),
        Err(why) => Err(CloudError::Step {
            what: going.shown.clone(),
            why,
        }),
        Ok(_) => Ok(()),
    }
}

/// Waits until all are gone; those that are left when the time is up.
pub fn wait(
    cluster: &Cluster,
    going: &[Going],
    limit: Duration,
) -> Result<Vec<String>, CloudError> {
    let mut left: Vec<&Going> = going.iter().collect();
    let mut said = 0;
    let done = cluster.until(limit, || {
        let mut still = Vec::new();
        for going in &left {
            let live = cluster.get(&going.resource, place(&going.resource), &going.name)?;
            // One of the same name with another uid is somebody else's.
            if live.is_some_and(|live| object::uid(&live) == going.uid) {
                still.push(*going);
            }
        }
        left = still;
        if !left.is_empty() && left.len() != said {
            said = left.len();
            let names: Vec<_> = left.iter().map(|it| it.shown.as_str()).collect();
            cluster.say(&format!("waiting for the end of {}", names.join(", ")));
        }
        Ok(left.is_empty().then_some(()))
    })?;
    match done {
        Some(()) => Ok(Vec::new()),
        None => Ok(left.iter().map(|it| it.shown.clone()).collect()),
    }
}
