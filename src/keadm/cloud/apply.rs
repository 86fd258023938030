//! Objects of the release into the cluster, by server-side apply, one after the other.

use serde_json::Value;

use super::cluster::{Cluster, shown, text};
use super::preflight::owned;
use super::{CloudError, handover};
use crate::keadm::chart::NAMESPACE;
use crate::kubernetes::resource::NAMESPACES;
use crate::kubernetes::{Request, Resource};

/// Makes or changes each object, with the marks of the release.
pub fn all<'a>(
    cluster: &Cluster,
    objects: impl Iterator<Item = &'a Value>,
) -> Result<(), CloudError> {
    for object in objects {
        one(cluster, &owned(object))?;
    }
    Ok(())
}

/// Makes or changes an object as it is.
pub fn one(cluster: &Cluster, object: &Value) -> Result<(), CloudError> {
    let resource = cluster.resource_of(object)?;
    let name = text(&object["metadata"], "name");
    let namespace = place(&resource);
    let step = |why| CloudError::Step {
        what: shown(object),
        why,
    };
    handover::take(cluster, &resource, namespace, name).map_err(step)?;
    let apply = Request::apply(&resource, namespace, name, object);
    let answer = cluster.ask(&apply).map_err(step)?;
    for warning in answer.warnings {
        cluster.say(&format!("{}: {warning}", shown(object)));
    }
    Ok(())
}

/// The namespace of all that has one.
pub fn place(resource: &Resource) -> Option<&'static str> {
    resource.namespaced.then_some(NAMESPACE)
}

/// Makes the namespace where there is none.
pub fn namespace(cluster: &Cluster, object: &Value) -> Result<(), CloudError> {
    match cluster.ask(&Request::create(&NAMESPACES, None, object)) {
        Err(error) if error.is_taken() => Ok(()),
        Err(error) => {
            // Who may not make one may use one that is there.
            let there = cluster.get(&NAMESPACES, None, NAMESPACE);
            match there {
                Ok(Some(_)) => Ok(()),
                _ => Err(CloudError::Step {
                    what: shown(object),
                    why: error,
                }),
            }
        }
        Ok(_) => Ok(()),
    }
}
