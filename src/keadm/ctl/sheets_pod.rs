//! What there is to tell about a pod.

use serde_json::Value;

use super::sheet::Sheet;
use super::sheets::{block, conditions, entries, list, pairs, word};

pub fn pod(sheet: &mut Sheet, item: &Value) {
    let (spec, status) = (&item["spec"], &item["status"]);
    sheet.known("Node", &word(spec, "nodeName"));
    sheet.known("Service account", &word(spec, "serviceAccountName"));
    sheet.field("Status", phase(item));
    sheet.known("Reason", &word(status, "reason"));
    sheet.known("Message", &word(status, "message"));
    sheet.known("IP", &word(status, "podIP"));
    for (title, wanted, stated) in [
        ("Init containers", "initContainers", "initContainerStatuses"),
        ("Containers", "containers", "containerStatuses"),
    ] {
        let states = list(&status[stated]);
        let mut all = Sheet::default();
        for wanted in list(&spec[wanted]) {
            let state = states.iter().find(|it| it["name"] == wanted["name"]);
            let name = word(wanted, "name");
            all.block(&name, container(wanted, state.unwrap_or(&Value::Null)));
        }
        sheet.block(title, all);
    }
    conditions(sheet, status);
    let mut volumes = Sheet::default();
    for volume in list(&spec["volumes"]) {
        for (kind, about) in entries(volume).filter(|(key, _)| *key != "name") {
            let mut sheet = Sheet::default();
            sheet.field("Type", kind.as_str());
            sheet.block("Of", block(about));
            volumes.block(&word(volume, "name"), sheet);
        }
    }
    sheet.block("Volumes", volumes);
    sheet.fields("Node selectors", pairs(&spec["nodeSelector"], "="));
    let tolerations = list(&spec["tolerations"]).iter().map(|it| {
        let (key, value, effect) = (word(it, "key"), word(it, "value"), word(it, "effect"));
        let value = match value.as_str() {
            "" => String::new(),
            value => format!("={value}"),
        };
        format!("{key}{value}:{effect}")
    });
    sheet.fields("Tolerations", tolerations.collect());
}

fn phase(item: &Value) -> String {
    match item["metadata"]["deletionTimestamp"].is_null() {
        true => word(&item["status"], "phase"),
        false => "Terminating".to_owned(),
    }
}

fn container(wanted: &Value, state: &Value) -> Sheet {
    let mut sheet = Sheet::default();
    sheet.field("Image", word(wanted, "image"));
    sheet.known("Container ID", &word(state, "containerID"));
    let ports = list(&wanted["ports"]).iter().map(|port| {
        let protocol = match word(port, "protocol") {
            empty if empty.is_empty() => "TCP".to_owned(),
            protocol => protocol,
        };
        format!("{}/{protocol}", word(port, "containerPort"))
    });
    let ports: Vec<String> = ports.collect();
    sheet.known("Ports", &ports.join(", "));
    for (title, key) in [("Command", "command"), ("Arguments", "args")] {
        let words = list(&wanted[key]).iter().filter_map(Value::as_str);
        let words: Vec<String> = words.map(str::to_owned).collect();
        if !words.is_empty() {
            sheet.fields(title, words);
        }
    }
    for (name, about) in entries(&state["state"]) {
        sheet.field("State", name.as_str());
        for (title, key) in [
            ("Reason", "reason"),
            ("Message", "message"),
            ("Exit code", "exitCode"),
            ("Started", "startedAt"),
            ("Finished", "finishedAt"),
        ] {
            sheet.known(title, &word(about, key));
        }
    }
    sheet.known("Ready", &word(state, "ready"));
    sheet.known("Restarts", &word(state, "restartCount"));
    for (title, key) in [("Limits", "limits"), ("Requests", "requests")] {
        sheet.block(title, block(&wanted["resources"][key]));
    }
    let sources = list(&wanted["envFrom"]).iter().flat_map(|from| {
        entries(from).map(|(kind, about)| format!("{} ({kind})", word(about, "name")))
    });
    let sources: Vec<String> = sources.collect();
    if !sources.is_empty() {
        sheet.fields("Environment from", sources);
    }
    let mut environment = Sheet::default();
    for variable in list(&wanted["env"]) {
        environment.field(&word(variable, "name"), value(variable));
    }
    sheet.block("Environment", environment);
    let mounts = list(&wanted["volumeMounts"]).iter().map(|mount| {
        let access = match mount["readOnly"] == true {
            true => "ro",
            false => "rw",
        };
        let (path, name) = (word(mount, "mountPath"), word(mount, "name"));
        format!("{path} from {name} ({access})")
    });
    let mounts: Vec<String> = mounts.collect();
    if !mounts.is_empty() {
        sheet.fields("Mounts", mounts);
    }
    sheet
}

/// What a variable is, or where it comes from.
fn value(variable: &Value) -> String {
    let Some((kind, from)) = entries(&variable["valueFrom"]).next() else {
        return word(variable, "value");
    };
    match from["fieldPath"].as_str() {
        Some(path) => format!("({kind} {path})"),
        None => format!("({kind}: {} of {})", word(from, "key"), word(from, "name")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::sheets;
    use crate::protocol::resource::Kind;
    use crate::system::clock::Timestamp;

    #[test]
    fn a_pod_in_kubectls_words() {
        let pod = json!({
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web", "tier": "front"},
                "creationTimestamp": "2026-11-01T00:00:00Z"},
            "spec": {"nodeName": "edge-1",
                "containers": [{"name": "main", "image": "nginx:1", "args": ["-v"], "ports": [{"containerPort": 80}],
                    "env": [{"name": "A", "value": "b"},
                            {"name": "C", "valueFrom": {"secretKeyRef": {"name": "key", "key": "word"}}}],
                    "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": true}]}],
                "volumes": [{"name": "data", "configMap": {"name": "app"}}]},
            "status": {"phase": "Pending",
                "containerStatuses": [{"name": "main", "ready": false, "restartCount": 0,
                    "state": {"waiting": {"reason": "NoRuntime"}}}],
                "conditions": [{"type": "Ready", "status": "False", "reason": "NoRuntime"}]}});
        let now: Timestamp = "2026-11-02T00:00:00Z".parse().unwrap();
        let expected = "\
Name:            web
Namespace:       shop
Labels:          app=web
                 tier=front
Annotations:     <none>
Created:         2026-11-01T00:00:00Z (24 hours ago)
Node:            edge-1
Status:          Pending
Containers:
  main:
    Image:      nginx:1
    Ports:      80/TCP
    Arguments:  -v
    State:      waiting
    Reason:     NoRuntime
    Ready:      false
    Restarts:   0
    Environment:
      A:  b
      C:  (secretKeyRef: word of key)
    Mounts:     /data from data (ro)
Conditions:
  Type    Status   Reason      Message
  ----    ------   ------      -------
  Ready   False    NoRuntime
Volumes:
  data:
    Type:  configMap
    Of:
      name:  app
Node selectors:  <none>
Tolerations:     <none>
";
        assert_eq!(sheets::of(Kind::Pod, &pod, now), expected);
        // Whatever is missing or of another type, there is something to tell.
        for odd in [
            json!({}),
            json!([]),
            json!({"spec": {"containers": [7]}, "status": "x"}),
        ] {
            for kind in [Kind::Pod, Kind::Node, Kind::Device, Kind::ConfigMap] {
                assert!(sheets::of(kind, &odd, now).starts_with("Name:"));
            }
        }
    }

    #[test]
    fn the_others_have_what_they_are_for() {
        let now = Timestamp::from_unix(1_800_000_000);
        let map = json!({"metadata": {"name": "app"}, "data": {"a.conf": "x=1\ny=2\n"}, "binaryData": {"b": "AAAA"}});
        let text = sheets::of(Kind::ConfigMap, &map, now);
        assert!(text.contains("  a.conf:\n  ----\n  x=1\n  y=2\n"), "{text}");
        assert!(text.contains("b:  3 bytes"), "{text}");
        let device = json!({"metadata": {"name": "lamp"},
            "spec": {"deviceModelRef": {"name": "light"}, "protocol": {"protocolName": "modbus"},
                "properties": [{"name": "power", "desired": {"value": "on"}}, {"name": "hue"}]},
            "status": {"twins": [{"propertyName": "power", "reported": {"value": "off"}}]}});
        let text = sheets::of(Kind::Device, &device, now);
        for part in [
            "Model:",
            "light",
            "modbus",
            "Desired:   on",
            "Reported:  off",
            "  hue:\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let node = json!({"metadata": {"name": "edge-1"}, "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.7"}],
                "nodeInfo": {"kubeletVersion": "v1.32.10"}, "capacity": {"cpu": "4"}}});
        let text = sheets::of(Kind::Node, &node, now);
        for part in [
            "a=:NoSchedule",
            "InternalIP:  192.0.2.7",
            "cpu:  4",
            "kubeletVersion:  v1.32.10",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("Namespace"));
    }
}
