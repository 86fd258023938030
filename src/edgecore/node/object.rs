//! The Node object: what the device wants the cloud to have of it.

use std::net::IpAddr;
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::Node;
use super::conditions::Condition;
use crate::config::edge::EdgeNode;
use crate::config::edge::node::{Amount, Taint};
use crate::system::clock::Timestamp;
use crate::system::facts::machine::Machine;
use crate::system::facts::usage::Room;
use crate::system::sorted::SortedMap;

/// All of a Node that is the device's to say.
pub struct Wanted {
    pub name: String,
    pub labels: SortedMap<String, String>,
    pub annotations: SortedMap<String, String>,
    pub taints: Vec<Taint>,
    pub schedulable: bool,
    pub conditions: [Condition; 4],
    pub addresses: Value,
    /// The maps of the status: capacity, allocatable, daemonEndpoints, nodeInfo.
    pub facts: Map<String, Value>,
}

impl Node<'_> {
    /// As things stand since the last look at the device.
    pub(super) fn wanted(&self) -> Wanted {
        let now = Instant::now();
        let room = self.room.get().and_then(|(_, room)| room);
        let name = self.edge.settings.node.to_string();
        let relief = self.settings.relief;
        Wanted {
            labels: labels(&name, self.settings, &self.machine),
            annotations: annotations(self.settings),
            taints: taints(self.settings),
            schedulable: self.settings.schedulable,
            conditions: self.pressures.borrow().conditions(relief, now),
            addresses: addresses(self.address(), &name),
            facts: facts(&self.machine, self.settings, room),
            name,
        }
    }
}

impl Wanted {
    /// The whole, for a cloud that has none.
    pub fn node(&self, now: Timestamp) -> Value {
        let mut spec = Map::new();
        if !self.taints.is_empty() {
            let taints = self.taints.iter().map(|taint| match taint.value.as_str() {
                "" => json!({"key": taint.key, "effect": taint.effect}),
                value => json!({"key": taint.key, "value": value, "effect": taint.effect}),
            });
            spec.insert("taints".to_owned(), taints.collect());
        }
        if !self.schedulable {
            spec.insert("unschedulable".to_owned(), true.into());
        }
        let mut status = self.facts.clone();
        let conditions = self.conditions.iter().map(|it| full(it, now));
        status.insert("conditions".to_owned(), conditions.collect());
        status.insert("addresses".to_owned(), self.addresses.clone());
        json!({
            "metadata": {
                "name": self.name,
                "labels": self.labels,
                "annotations": self.annotations,
            },
            "spec": spec,
            "status": status,
        })
    }
}

/// A condition that begins now.
pub fn full(condition: &Condition, now: Timestamp) -> Value {
    json!({
        "type": condition.kind,
        "status": condition.status,
        "lastHeartbeatTime": now.to_string(),
        "lastTransitionTime": now.to_string(),
        "reason": condition.reason,
        "message": condition.message,
    })
}

/// The device's own come last: a person may know better.
fn labels(name: &str, settings: &EdgeNode, machine: &Machine) -> SortedMap<String, String> {
    let own = [
        ("beta.kubernetes.io/arch", machine.architecture),
        ("beta.kubernetes.io/os", OS),
        ("kubernetes.io/arch", machine.architecture),
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", OS),
        ("node-role.kubernetes.io/agent", ""),
        // Clouds of KubeEdge know by this one which nodes are theirs.
        ("node-role.kubernetes.io/edge", ""),
    ];
    let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut labels = SortedMap::from(own);
    labels.extend(settings.labels.clone());
    labels
}

fn annotations(settings: &EdgeNode) -> SortedMap<String, String> {
    let own = [
        (
            "volumes.kubernetes.io/controller-managed-attach-detach",
            "true",
        ),
        (OWN_VERSION, env!("CARGO_PKG_VERSION")),
    ];
    let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut annotations = SortedMap::from(own);
    annotations.extend(settings.annotations.clone());
    for (name, given) in [
        (LABELS_SET, &settings.labels),
        (ANNOTATIONS_SET, &settings.annotations),
    ] {
        let keys: Vec<&str> = given.keys().map(String::as_str).collect();
        if !keys.is_empty() {
            annotations.insert(name.to_owned(), keys.join(","));
        }
    }
    annotations
}

fn taints(settings: &EdgeNode) -> Vec<Taint> {
    let taint = |key: &str| Taint {
        key: key.to_owned(),
        value: String::new(),
        effect: "NoSchedule".to_owned(),
    };
    let mut taints = settings.taints.clone();
    taints.push(taint(NO_RUNTIME));
    if !settings.schedulable {
        taints.push(taint(UNSCHEDULABLE));
    }
    taints.sort();
    // The API refuses a node with one twice.
    taints.dedup_by(|a, b| a.key == b.key && a.effect == b.effect);
    taints
}

fn addresses(address: IpAddr, name: &str) -> Value {
    json!([
        {"type": "InternalIP", "address": address},
        {"type": "Hostname", "address": name},
    ])
}

fn facts(machine: &Machine, settings: &EdgeNode, room: Option<Room>) -> Map<String, Value> {
    let mut capacity = SortedMap::new();
    let mut allocatable = SortedMap::new();
    if let Some(cpus) = machine.cpus {
        capacity.insert("cpu", cpus.to_string());
        allocatable.insert("cpu", cpus.to_string());
    }
    let kept = |limit: Option<Amount>, total: u64| {
        total.saturating_sub(limit.map_or(0, |limit| limit.of(total)))
    };
    if let Some(total) = machine.memory {
        capacity.insert("memory", binary(total));
        allocatable.insert("memory", binary(kept(settings.pressure.memory, total)));
    }
    if let Some(total) = room.map(|room| room.bytes.total) {
        capacity.insert("ephemeral-storage", binary(total));
        let left = decimal(kept(settings.pressure.disk, total));
        allocatable.insert("ephemeral-storage", left);
    }
    // There is nothing here that could run one.
    capacity.insert("pods", "0".to_owned());
    allocatable.insert("pods", "0".to_owned());
    let facts = json!({
        "capacity": capacity,
        "allocatable": allocatable,
        // Nothing listens, and 0 says so.
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
        "nodeInfo": {
            "machineID": machine.id,
            "systemUUID": machine.system_uuid,
            "bootID": machine.boot_id,
            "kernelVersion": machine.kernel,
            "osImage": machine.os_image,
            "containerRuntimeVersion": "none",
            "kubeletVersion": KUBELET_VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": OS,
            "architecture": machine.architecture,
        },
    });
    match facts {
        Value::Object(facts) => facts,
        _ => Map::new(),
    }
}

/// A quantity as the API writes it, so that what it gives back is what it was given: with the largest
/// unit that leaves a whole number.
fn binary(bytes: u64) -> String {
    scaled(bytes, 1_024, &["", "Ki", "Mi", "Gi", "Ti", "Pi"])
}

fn decimal(number: u64) -> String {
    scaled(number, 1_000, &["", "k", "M", "G", "T", "P"])
}

fn scaled(mut number: u64, step: u64, units: &[&str]) -> String {
    let mut unit = 0;
    while number > 0 && number.is_multiple_of(step) && unit + 1 < units.len() {
        number /= step;
        unit += 1;
    }
    format!("{number}{}", units[unit])
}

const OS: &str = "linux";
/// By this clouds know what an edge can do: that of KubeEdge's edge of the version whose protocol this
/// is.
pub const KUBELET_VERSION: &str = "v1.32.10-kubeedge-v1.23.1";
/// The annotation that tells which edgecore it is.
pub const OWN_VERSION: &str = "kubeedge.io/edgecore-version";
pub const NO_RUNTIME: &str = "node.kubeedge.io/no-runtime";
pub const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Annotations that name, with commas between, which labels and annotations of the Node the configuration has set, so
/// that one that it sets no more is taken away.
pub const LABELS_SET: &str = "kubeedge.io/labels-set";
pub const ANNOTATIONS_SET: &str = "kubeedge.io/annotations-set";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_as_the_api_writes_them() {
        for (bytes, text) in [
            (0, "0"),
            (5, "5"),
            (24_684_084 << 10, "24684084Ki"),
            (2 << 30, "2Gi"),
            (1_536 << 10, "1536Ki"),
        ] {
            assert_eq!(binary(bytes), text);
        }
        assert_eq!(decimal(243_497_856_212), "243497856212");
        assert_eq!(decimal(243_497_856_000), "243497856k");
        assert_eq!(decimal(5_000_000), "5M");
    }

    #[test]
    fn taints_are_there_once() {
        let mut settings = EdgeNode::default();
        let only: Vec<_> = taints(&settings).into_iter().map(|it| it.key).collect();
        assert_eq!(only, [NO_RUNTIME]);
        settings.schedulable = false;
        settings.taints = vec![Taint {
            key: NO_RUNTIME.to_owned(),
            value: "by-hand".to_owned(),
            effect: "NoSchedule".to_owned(),
        }];
        let all: Vec<_> = taints(&settings).into_iter().map(|it| it.key).collect();
        assert_eq!(all, [NO_RUNTIME, "node.kubernetes.io/unschedulable"]);
    }
}
