//! Deployments, DaemonSets and Services: templates with the values of their component.

use serde_json::{Map, Value, json};

use super::values::{Component, Implementation, Values};
use crate::pki::hash::Sha256Hash;

/// Labels on an object, behind those that its template has.
pub fn label(object: &mut Value, component: &Component) {
    let labels = entry(&mut object["metadata"], "labels");
    for (key, value) in &component.labels {
        labels.insert(key.clone(), value.clone());
    }
}

/// What a Deployment or DaemonSet of one container has of its component.
pub fn fill(object: &mut Value, component: &Component) {
    label(object, component);
    let spec = &mut object["spec"];
    spec["selector"] = json!({"matchLabels": component.labels});
    let pod = &mut spec["template"];
    pod["metadata"]["labels"] = component.labels.clone().into();
    let mut own = Map::new();
    for (key, value) in [
        ("affinity", Value::Object(component.affinity.clone())),
        (
            "nodeSelector",
            Value::Object(component.node_selector.clone()),
        ),
        ("tolerations", Value::Array(component.tolerations.clone())),
    ] {
        insert_some(&mut own, key, value);
    }
    if component.host_network {
        own.insert("hostNetwork".to_owned(), true.into());
    }
    let secrets = component
        .pull_secrets
        .iter()
        .map(|name| json!({"name": name}));
    insert_some(&mut own, "imagePullSecrets", secrets.collect());
    if !component.annotations.is_empty() {
        pod["metadata"]["annotations"] = component.annotations.clone().into();
    }
    let container = &mut pod["spec"]["containers"][0];
    container["image"] = component.image.clone().into();
    container["imagePullPolicy"] = component.pull_policy.clone().into();
    for (key, value) in [
        ("resources", &component.resources),
        ("securityContext", &component.security_context),
    ] {
        if !value.is_empty() {
            container[key] = value.clone().into();
        }
    }
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.extend(own);
    }
}

/// What cloudcore's Deployment has besides. `config` is the text of its configuration: other texts start other pods.
pub fn cloud_core(object: &mut Value, values: &Values, config: &str) {
    let core = &values.cloud_core;
    let spec = &mut object["spec"];
    spec["replicas"] = core.replicas.into();
    // Two pods can't have the same ports of a machine: the new one would wait for the old one for ever.
    let strategy = match values.strategy.is_empty() && core.host_network {
        true => {
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}})
        }
        false => Value::Object(values.strategy.clone()),
    };
    if strategy.as_object().is_some_and(|it| !it.is_empty()) {
        spec["strategy"] = strategy;
    }
    let pod = &mut spec["template"];
    let annotations = entry(&mut pod["metadata"], "annotations");
    let sum = Sha256Hash::of(config.as_bytes()).to_string();
    annotations.insert("checksum/config".to_owned(), sum.into());
    if core.host_network {
        pod["spec"]["dnsPolicy"] = "ClusterFirstWithHostNet".into();
    }
    let container = &mut pod["spec"]["containers"][0];
    container["ports"] = ports(values)
        .map(|port| json!({"name": port.name, "containerPort": port.number, "protocol": port.protocol}))
        .collect();
    if values.implementation == Implementation::Rust {
        for probe in ["readinessProbe", "livenessProbe"] {
            let get = &mut container[probe]["httpGet"];
            get["port"] = values.monitor.port().into();
            if !values.monitor.ip().is_unspecified() {
                get["host"] = values.monitor.ip().to_string().into();
            }
        }
    }
}

/// What cloudcore's Service has.
pub fn cloud_core_service(object: &mut Value, values: &Values) {
    label(object, &values.cloud_core);
    let service = &values.service;
    if !service.annotations.is_empty() {
        object["metadata"]["annotations"] = service.annotations.clone().into();
    }
    // A port of every machine would lead to the ports of some, which are open there already.
    let kind = match (service.kind, values.cloud_core.host_network) {
        ("NodePort", true) => "ClusterIP",
        (kind, _) => kind,
    };
    let ports = ports(values).map(|port| {
        let mut shown = json!({
            "name": port.name, "port": port.number, "protocol": port.protocol, "targetPort": port.number,
        });
        if kind == "NodePort" {
            shown["nodePort"] = service.node_ports[port.place].into();
        }
        shown
    });
    let ports: Vec<Value> = ports.collect();
    object["spec"] = json!({"type": kind, "selector": values.cloud_core.labels, "ports": ports});
}

struct Port {
    name: &'static str,
    number: u64,
    protocol: &'static str,
    /// Among the ports of machines in the values.
    place: usize,
}

/// Those that are in use; upstream's cloudcore has all.
fn ports(values: &Values) -> impl Iterator<Item = Port> {
    let all = values.implementation == Implementation::Go;
    let hub = &values.hub;
    let list = [
        ("cloudhub", hub.websocket.port, "TCP", hub.websocket.enable),
        ("cloudhub-quic", hub.quic.port, "UDP", hub.quic.enable),
        ("cloudhub-https", hub.https.port, "TCP", hub.https.enable),
        ("cloudstream", 10_003, "TCP", values.stream),
        ("tunnelport", 10_004, "TCP", values.stream),
    ];
    let list = list.into_iter().enumerate();
    list.filter(move |(_, (_, _, _, used))| all || *used).map(
        |(place, (name, number, protocol, _))| Port {
            name,
            number,
            protocol,
            place,
        },
    )
}

fn insert_some(into: &mut Map<String, Value>, key: &str, value: Value) {
    let some = match &value {
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    };
    if some {
        into.insert(key.to_owned(), value);
    }
}

/// The mapping below this key, made where there is none.
fn entry<'a>(value: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    let inner = &mut value[key];
    if !inner.is_object() {
        *inner = Value::Object(Map::new());
    }
    match inner {
        Value::Object(map) => map,
        _ => unreachable!("it was made one right above"),
    }
}
