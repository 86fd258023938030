//! Against the recording: what an idle node costs, and that ours looks like upstream's.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::Rig;
use crate::edgecore::tests::recorded;

/// A message of the recording.
struct Recorded {
    at: f64,
    up: bool,
    operation: String,
    resource: String,
    content: Value,
    length: usize,
}

fn recording() -> Vec<Recorded> {
    let bytes = recorded::bytes("edge-full/messages.jsonl");
    let text = String::from_utf8(bytes).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let messages = lines.filter_map(|line: Value| {
        let raw = line["raw"].as_str()?;
        let message: Value = serde_json::from_str(raw).unwrap();
        let word = |key: &str| {
            message["route"][key]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        Some(Recorded {
            at: line["t"].as_f64().unwrap(),
            up: line["dir"] == "edge->cloud",
            operation: word("operation"),
            resource: word("resource"),
            content: message["content"].clone(),
            length: raw.len(),
        })
    });
    messages.collect()
}

fn of(all: &[Recorded], up: bool, operation: &str, resource: &str) -> Vec<usize> {
    let fits = |it: &&Recorded| {
        it.up == up && it.operation == operation && it.resource.starts_with(resource)
    };
    let at = |it: &Recorded| {
        all.iter()
            .position(|other| std::ptr::eq(it, other))
            .unwrap()
    };
    all.iter().filter(fits).map(at).collect()
}

/// Every place in a value with what stands there: `status.capacity.cpu string`.
fn shape(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "flag",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(items) => {
            items
                .iter()
                .for_each(|it| shape(it, &format!("{path}[]"), into));
            "list"
        }
        Value::Object(map) => {
            map.iter()
                .for_each(|(key, it)| shape(it, &format!("{path}.{key}"), into));
            "map"
        }
    };
    into.insert(format!("{path} {kind}"));
}

/// Where ours is not as upstream's: which message, the beginning of the place, and why.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    (
        "insert node",
        ".metadata.creationTimestamp",
        "null says nothing; the API fills it in",
    ),
    (
        "insert node",
        ".metadata.annotations.kubeedge.io/edgecore-version",
        "our own version",
    ),
    (
        "insert node",
        ".spec.taints",
        "no pods, please: there is no runtime",
    ),
    (
        "insert node",
        ".status.capacity.hugepages",
        "no pod here could use them",
    ),
    (
        "insert node",
        ".status.allocatable.hugepages",
        "no pod here could use them",
    ),
    (
        "insert lease",
        ".metadata.creationTimestamp",
        "null says nothing; the API fills it in",
    ),
    (
        "update lease",
        ".metadata.uid",
        "the API keeps it; bytes that are not sent",
    ),
    (
        "update lease",
        ".metadata.creationTimestamp",
        "the API keeps it; bytes that are not sent",
    ),
    (
        "update lease",
        ".metadata.managedFields",
        "forgotten, so that it does not come back each time",
    ),
];

#[test]
fn registration_lease_and_reports_look_like_upstreams() {
    let recording = recording();
    let theirs = |operation: &str, resource: &str| {
        let found = of(&recording, true, operation, resource);
        recording[*found.first().unwrap()].content.clone()
    };
    let mut rig = Rig::new();
    rig.pace.report = Duration::from_millis(10);
    rig.until(|cloud| cloud.count("patch") >= 1 && cloud.count("update") >= 1);
    let cloud = rig.cloud.borrow();
    let ours = |operation: &str, resource: &str| {
        cloud.contents(&format!("{operation} {resource}"))[0].clone()
    };
    let patch = |value: Value| serde_json::from_str(value.as_str().unwrap()).unwrap();
    let mut used = BTreeSet::new();
    for (name, operation, resource, is_patch) in [
        ("insert node", "insert", "null/node/", false),
        ("insert lease", "insert", "kube-node-lease/lease/", false),
        ("update lease", "update", "kube-node-lease/lease/", false),
        ("patch", "patch", "null/nodepatch/", true),
    ] {
        let [ours, theirs] = [ours(operation, resource), theirs(operation, resource)];
        let [ours, theirs]: [Value; 2] = match is_patch {
            true => [patch(ours), patch(theirs)],
            false => [ours, theirs],
        };
        let (mut left, mut right) = (BTreeSet::new(), BTreeSet::new());
        shape(&ours, "", &mut left);
        shape(&theirs, "", &mut right);
        for place in left.symmetric_difference(&right) {
            let known = DIFFERENCES
                .iter()
                .find(|it| it.0 == name && place.starts_with(it.1));
            let known = known.unwrap_or_else(|| panic!("{name}: {place} differs"));
            used.insert(known.1);
        }
        assert!(right.len() > 4, "{name} was not found");
    }
    let named: BTreeSet<&str> = DIFFERENCES.iter().map(|it| it.1).collect();
    assert_eq!(used, named, "a difference that is none any more");
}

/// All names of fields that upstream's lists of labels have are ours too: the values are this device's.
#[test]
fn what_clouds_select_nodes_by_is_what_upstream_says() {
    let recording = recording();
    let insert = of(&recording, true, "insert", "null/node/")[0];
    let theirs = &recording[insert].content["metadata"]["labels"];
    let rig = Rig::new();
    rig.until(|cloud| cloud.count("update") >= 1);
    let ours = &rig.cloud.borrow().contents("insert null/node")[0]["metadata"]["labels"];
    assert_eq!(ours, theirs);
}

#[test]
fn an_idle_node_moves_little() {
    let recording = recording();
    let length = |at: &usize| recording[*at].length as f64;
    let mean = |all: &[usize]| all.iter().map(length).sum::<f64>() / all.len() as f64;
    let sizes = |up, operation, resource| mean(&of(&recording, up, operation, resource));
    // As upstream's: a renewal with its answer and the answer's acknowledgement; a keepalive; a
    // question after devices; a report with its answer, and the push of the Node that follows.
    let updates = of(&recording, true, "update", "kube-node-lease/");
    let (first, last) = (updates[0], updates[updates.len() - 1]);
    let every = (recording[last].at - recording[first].at) / (updates.len() - 1) as f64;
    let renewal = mean(&updates)
        + sizes(false, "response", "kube-node-lease/")
        + sizes(true, "response", "kube-node-lease/");
    let keepalive = sizes(true, "keepalive", "node") * 240.0;
    let devices = sizes(true, "get", "membership/detail") * 60.0;
    let late = |up: bool, operation, resource| {
        let all = of(&recording, up, operation, resource);
        length(all.last().unwrap())
    };
    let push = late(false, "update", "null/node/") + late(true, "response", "null/node/");
    let answer = late(false, "response", "null/nodepatch/");
    let report = late(true, "patch", "null/nodepatch/") + answer + push;
    let theirs = renewal * 3_600.0 / every + keepalive + devices + report * 12.0;

    // Ours with the same cloud, whose answers to renewals no more tell who wrote the lease.
    let mut rig = Rig::new();
    rig.pace.report = Duration::from_millis(10);
    rig.until(|cloud| cloud.count("patch") >= 1 && cloud.count("update") >= 4);
    let cloud = rig.cloud.borrow();
    let last = |what: &str| {
        let found = cloud.asked.iter().rposition(|it| it.0.starts_with(what));
        cloud.lengths[found.unwrap()] as f64
    };
    let answers = of(&recording, false, "response", "kube-node-lease/");
    let answered = &recording[*answers.last().unwrap()];
    let tracked = answered.content["Object"]["metadata"]["managedFields"].to_string();
    let tracked = tracked.len() + r#""managedFields":,"#.len();
    let renewal = last("update") + (answered.length - tracked) as f64;
    let every = 10.0 * (1.0 + super::super::lease::JITTER / 2.0);
    let report = last("patch") + answer + push;
    let ours = renewal * 3_600.0 / every + keepalive + report * 12.0;
    println!("an idle node: {ours:.0} bytes an hour, upstream's {theirs:.0}");
    assert!(
        (850_000.0..1_100_000.0).contains(&theirs),
        "0.6 to 0.8 GB a month: {theirs}"
    );
    assert!(ours <= 0.6 * theirs, "{ours} of {theirs}");
}
