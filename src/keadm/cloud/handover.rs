//! Fields that Helm, or an older keadm, has written come into the hands of server-side apply.
//!
//! Without it a field that a new manifest leaves out would stay, since another writer seems to want it.

use serde_json::{Map, Value, json};

use super::cluster::Cluster;
use crate::kubernetes::object::{self, Object};
use crate::kubernetes::{CallError, Patch, Request, Resource};

/// Gives the fields of this object to us, where others of the release have written them.
pub fn take(
    cluster: &Cluster,
    resource: &Resource,
    namespace: Option<&str>,
    name: &str,
) -> Result<(), CallError> {
    for _ in 0..TRIES {
        let Some(live) = cluster.get(resource, namespace, name)? else {
            return Ok(());
        };
        let Some(entries) = handed_over(&live) else {
            return Ok(());
        };
        let change = json!([
            {"op": "replace", "path": "/metadata/managedFields", "value": entries},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": object::version(&live)},
        ]);
        match cluster.ask(&Request::patch(
            resource,
            namespace,
            name,
            Patch::Json,
            &change,
        )) {
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
    // Somebody writes all the time: then the fields stay where they are, and the rest is done.
    Ok(())
}

/// The list of writers as it should be; none when it is so already.
fn handed_over(live: &Object) -> Option<Vec<Value>> {
    let entries = live.get("metadata")?.get("managedFields")?.as_array()?;
    let (theirs, mut rest): (Vec<Value>, Vec<Value>) = entries.iter().cloned().partition(is_theirs);
    let first = theirs.first()?.clone();
    let ours = rest.iter().position(|entry| {
        entry["manager"] == MANAGER
            && entry["operation"] == "Apply"
            && entry.get("subresource").is_none()
    });
    let mut ours = match ours {
        Some(position) => rest.remove(position),
        None => {
            let mut entry = first;
            entry["manager"] = MANAGER.into();
            entry["operation"] = "Apply".into();
            entry
        }
    };
    let mut fields = ours["fieldsV1"].as_object().cloned().unwrap_or_default();
    for entry in &theirs {
        if let Some(more) = entry["fieldsV1"].as_object() {
            unite(&mut fields, more);
        }
    }
    ours["fieldsV1"] = fields.into();
    rest.push(ours);
    Some(rest)
}

/// Written by Helm, or by a keadm that uses its library; both sign as their executable is called. Who has put the
/// marks of the release there is one of them.
fn is_theirs(entry: &Value) -> bool {
    let manager = entry["manager"].as_str().unwrap_or_default().to_lowercase();
    let marks = &entry["fieldsV1"]["f:metadata"]["f:annotations"]["f:meta.helm.sh/release-name"];
    entry["operation"] == "Update"
        && entry.get("subresource").is_none()
        && (manager.contains(MANAGER) || manager.contains("helm") || !marks.is_null())
}

fn unite(fields: &mut Map<String, Value>, more: &Map<String, Value>) {
    for (key, value) in more {
        match (fields.get_mut(key), value) {
            (Some(Value::Object(fields)), Value::Object(more)) => unite(fields, more),
            (Some(_), _) => {}
            (None, value) => drop(fields.insert(key.clone(), value.clone())),
        }
    }
}

/// The field manager of `Request::apply`.
const MANAGER: &str = "keadm";
const TRIES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helm_wrote_is_ours_afterwards() {
        let live = json!({"metadata": {"managedFields": [
            {"manager": "keadm-v1.22", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"f:a": {"f:b": {}}}},
            {"manager": "helm", "operation": "Update", "fieldsV1": {"f:a": {"f:c": {}}, "f:d": {}}},
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "fieldsV1": {"f:s": {}}},
            {"manager": "k", "operation": "Update",
             "fieldsV1": {"f:metadata": {"f:annotations": {"f:meta.helm.sh/release-name": {}}}}},
            {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:e": {}}},
        ]}});
        let entries = handed_over(live.as_object().unwrap()).unwrap();
        assert_eq!(entries.len(), 3);
        let ours = &entries[2];
        assert_eq!(
            (&ours["manager"], &ours["operation"]),
            (&json!("keadm"), &json!("Apply"))
        );
        assert_eq!(
            ours["fieldsV1"],
            json!({
                "f:a": {"f:b": {}, "f:c": {}},
                "f:d": {},
                "f:metadata": {"f:annotations": {"f:meta.helm.sh/release-name": {}}},
            })
        );
        assert_eq!(ours["fieldsType"], "FieldsV1");
        // Once is enough.
        let live = json!({"metadata": {"managedFields": entries}});
        assert_eq!(handed_over(live.as_object().unwrap()), None);
    }
}
