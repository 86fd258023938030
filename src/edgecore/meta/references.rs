//! Which ConfigMaps and Secrets a Pod names, wherever it may.

use serde_json::Value;

use crate::protocol::resource::{Kind, ObjectPath};
use crate::system::sorted::SortedSet;

/// What is read of a stored Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    pub uid: String,
    pub deleting: bool,
    /// Its containers have run to their end, wherever that was.
    pub is_over: bool,
    /// The cloud knows that it waits for a runtime.
    pub is_reported: bool,
    pub references: SortedSet<ObjectPath>,
}

impl Pod {
    pub fn read(namespace: &str, text: &str) -> Option<Pod> {
        let pod: Value = serde_json::from_str(text).ok()?;
        let (metadata, status) = (&pod["metadata"], &pod["status"]);
        let conditions = list(&status["conditions"]);
        Some(Pod {
            uid: metadata["uid"].as_str().unwrap_or_default().to_owned(),
            deleting: !metadata["deletionTimestamp"].is_null(),
            is_over: matches!(status["phase"].as_str(), Some("Succeeded" | "Failed")),
            is_reported: conditions
                .iter()
                .any(|condition| condition["reason"] == NO_RUNTIME),
            references: references(namespace, &pod["spec"]),
        })
    }
}

fn references(namespace: &str, spec: &Value) -> SortedSet<ObjectPath> {
    let mut named: Vec<(Kind, &Value)> = Vec::new();
    for volume in list(&spec["volumes"]) {
        named.push((Kind::ConfigMap, &volume["configMap"]["name"]));
        named.push((Kind::Secret, &volume["secret"]["secretName"]));
        for source in list(&volume["projected"]["sources"]) {
            named.push((Kind::ConfigMap, &source["configMap"]["name"]));
            named.push((Kind::Secret, &source["secret"]["name"]));
        }
    }
    let containers = ["containers", "initContainers", "ephemeralContainers"];
    for container in containers.iter().flat_map(|key| list(&spec[*key])) {
        for from in list(&container["envFrom"]) {
            named.push((Kind::ConfigMap, &from["configMapRef"]["name"]));
            named.push((Kind::Secret, &from["secretRef"]["name"]));
        }
        for variable in list(&container["env"]) {
            let from = &variable["valueFrom"];
            named.push((Kind::ConfigMap, &from["configMapKeyRef"]["name"]));
            named.push((Kind::Secret, &from["secretKeyRef"]["name"]));
        }
    }
    for secret in list(&spec["imagePullSecrets"]) {
        named.push((Kind::Secret, &secret["name"]));
    }
    let paths = named
        .into_iter()
        .filter_map(|(kind, name)| ObjectPath::new(namespace, kind, name.as_str()?).ok());
    paths.take(MAX_REFERENCES).collect()
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The reason of the condition that says why the containers don't run.
pub const NO_RUNTIME: &str = "NoRuntime";
/// A Pod that names more has most of them.
const MAX_REFERENCES: usize = 1024;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_way_to_name_an_object_is_known() {
        let container = |name: &str| {
            json!({
                "envFrom": [{"configMapRef": {"name": format!("{name}-all")}},
                            {"secretRef": {"name": format!("{name}-secrets")}}],
                "env": [{"name": "A", "value": "b"},
                        {"name": "B", "valueFrom": {"configMapKeyRef": {"name": format!("{name}-one")}}},
                        {"name": "C", "valueFrom": {"secretKeyRef": {"name": format!("{name}-key")}}},
                        {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            })
        };
        let pod = json!({"spec": {
            "volumes": [
                {"name": "a", "configMap": {"name": "volume"}},
                {"name": "b", "secret": {"secretName": "hidden"}},
                {"name": "c", "projected": {"sources": [
                    {"configMap": {"name": "projected"}}, {"secret": {"name": "projected-secret"}},
                    {"serviceAccountToken": {"path": "token"}}]}},
                {"name": "d", "configMap": {"name": "volume"}},
                {"name": "e", "configMap": {"name": "../x"}},
                {"name": "f", "emptyDir": {}},
            ],
            "containers": [container("main"), {}],
            "initContainers": [container("init")],
            "ephemeralContainers": [container("debug")],
            "imagePullSecrets": [{"name": "registry"}, {}],
        }});
        let read = Pod::read("default", &pod.to_string()).unwrap();
        let names: Vec<String> = read.references.iter().map(ToString::to_string).collect();
        let mut expected = Vec::new();
        for name in [
            "volume",
            "projected",
            "main-all",
            "main-one",
            "init-all",
            "init-one",
            "debug-all",
            "debug-one",
        ] {
            expected.push(format!("default/configmap/{name}"));
        }
        for name in [
            "hidden",
            "projected-secret",
            "main-secrets",
            "main-key",
            "init-secrets",
            "init-key",
            "debug-secrets",
            "debug-key",
            "registry",
        ] {
            expected.push(format!("default/secret/{name}"));
        }
        expected.sort();
        let mut names = names;
        names.sort();
        assert_eq!(names, expected);
    }

    #[test]
    fn the_state_of_a_pod_is_read() {
        let read = |text: &str| Pod::read("default", text).unwrap();
        assert_eq!(read("{}"), Pod::default());
        let pod = read(
            r#"{"metadata":{"uid":"u","deletionTimestamp":"2026-11-22T08:02:53Z"},
                "status":{"phase":"Failed","conditions":[{"type":"Ready","reason":"NoRuntime"}]}}"#,
        );
        assert!(pod.deleting && pod.is_over && pod.is_reported && pod.uid == "u");
        assert_eq!(Pod::read("default", "no JSON"), None);
        let odd = read(r#"{"metadata":[],"spec":{"volumes":{},"containers":[1,null]},"status":7}"#);
        assert!(odd.references.is_empty());
    }
}
