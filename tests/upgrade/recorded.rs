//! The recorded jobs of KubeEdge's cloud, sent by a cloud like that to our edgecore: what it reports has the form
//! of what KubeEdge's edge reported. And jobs in the forms of older clouds, of which nothing was recorded.

use std::path::Path;

use serde_json::{Value, json};

use crate::builds::{Manner, build};
use crate::common::cloud::Cloud;
use crate::common::device::Device;
use crate::common::put;
use crate::offer::Offer;
use crate::stage::{NEW, OLD, PROGRAM, Seal, address, install, is_installed, is_tidy};

/// What was recorded of a job: the order, and the reports on it.
struct Recorded {
    order: Value,
    reports: Vec<Value>,
}

fn recorded(file: &str, job: &str) -> Recorded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let text = std::fs::read_to_string(path.join(file)).expect("a recording");
    let lines = text.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        serde_json::from_str::<Value>(line["raw"].as_str()?).ok()
    });
    let part = format!("/{job}/node/edge-1");
    let about = lines.filter(|it| {
        let resource = it["route"]["resource"].as_str().unwrap_or_default();
        resource.ends_with(&part)
    });
    let (mut orders, reports): (Vec<Value>, Vec<Value>) =
        about.partition(|it| it["route"]["source"] == "taskmanager");
    Recorded {
        order: orders.remove(0),
        reports,
    }
}

/// A device that runs 1.23.0, as KubeEdge's did, with this below `modules.taskManager`.
fn device(cloud: &Cloud, task_manager: &str) -> Device {
    let mut device = Device::new("edge-1");
    install(&device, &build("1.23.0", Manner::Works(OLD)));
    device.program = Some(device.path(PROGRAM));
    // What the recorded job changes is so already, and needs no trial.
    device.hub_keys = vec!["heartbeat: 1".to_owned(), "messageQPS: 31".to_owned()];
    device.module_keys = vec![format!("taskManager: {task_manager}")];
    device.configure(cloud, &cloud.token());
    device
}

/// The next reports on a job, as they came. One that the edge could not know to have arrived comes twice.
fn reports(cloud: &mut Cloud, resource: &str, count: usize) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    while found.len() < count {
        let is_new = |it: &Value| found.iter().all(|known| known["content"] != it["content"]);
        let next = cloud.event_where("message", |it| it["resource"] == resource && is_new(it));
        found.push(next);
    }
    found
}

fn content(report: &Value) -> Value {
    let text = report["content"].as_str().expect("text");
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn keys(value: &Value) -> Vec<&String> {
    value.as_object().expect("an object").keys().collect()
}

/// As recorded, but for when it was and what only that machine had to say.
fn is_like(ours: &Value, recorded: &Value) {
    for key in ["source", "group", "operation", "resource"] {
        assert_eq!(ours[key], recorded["route"][key], "{ours}");
    }
    let (content, recorded) = (content(ours), &recorded["content"]);
    assert_eq!(keys(&content), keys(recorded));
    assert_eq!(content["action"], recorded["action"], "{content}");
    let time = content["finishTime"].as_str().expect("a time");
    assert!(
        time.len() == "2026-11-22T08:48:12Z".len() && time.ends_with('Z'),
        "{time}"
    );
    let word = content["reason"].as_str().expect("a reason");
    assert_eq!(word.is_empty(), content["succ"] == true, "{content}");
}

#[test]
fn recorded_jobs_are_reported_as_they_were() {
    let mut cloud = Cloud::start(&[]);
    let device = device(&cloud, "{enable: true}");
    let edge = device.start();
    edge.connected();
    // Its machine was too busy, and ours may be; what is no reason here is the next one.
    let first = recorded("edge-full/messages.jsonl", "upgrade-1");
    cloud.order(&format!("push {}", first.order));
    let said = reports(&mut cloud, route(&first.order), 1);
    is_like(&said[0], &first.reports[0]);
    let why = content(&said[0])["reason"]
        .as_str()
        .expect("words")
        .to_owned();
    assert!(
        why.ends_with("which exceeds the maximum allowed usage 80.00")
            || why.contains("allowedImages"),
        "{why}"
    );
    // There was a runtime, and one image that could not be pulled.
    let mut pull = recorded("edge-full/messages.jsonl", "prepull-1");
    without_checks(&mut pull.order["content"]["imagePrePullTemplate"]);
    cloud.order(&format!("push {}", pull.order));
    let said = reports(&mut cloud, route(&pull.order), 2);
    for (ours, recorded) in said.iter().zip(&pull.reports) {
        is_like(ours, recorded);
    }
    let images = |content: &Value| -> Value {
        serde_json::from_str(content["extend"].as_str().expect("text")).expect("JSON")
    };
    let (ours, theirs) = (
        images(&content(&said[1])),
        images(&pull.reports[1]["content"]),
    );
    assert_eq!(ours[0]["image"], theirs[0]["image"]);
    assert_eq!(keys(&ours[1]), keys(&theirs[1]));
    assert_eq!(ours[1]["status"], theirs[1]["status"]);
    // Theirs found no keadm.
    let change = recorded("edge-full/messages.jsonl", "conf-1");
    cloud.order(&format!("push {}", change.order));
    let said = reports(&mut cloud, route(&change.order), 3);
    for (ours, recorded) in said.iter().zip(&change.reports) {
        is_like(ours, recorded);
    }
    assert_eq!(content(&said[2])["action"], "Update");
    assert_eq!(content(&said[2])["succ"], true, "{}", said[2]);
    // With a key there is one more reason to take what the job names; from a registry of our own.
    let seal = Seal::new();
    let new = build("1.23.1", Manner::Works(NEW));
    let signature = seal.sign(&std::fs::read(&new).expect("a build"));
    let offer = Offer::of(&new, "v1.23.1", Some(&signature));
    put(
        &device.path("/etc/kubeedge/upgrade.pub"),
        seal.public(),
        0o644,
    );
    let mut upgrade = recorded("upgrade/messages.jsonl", "upgrade-5");
    let end = recorded("upgrade/messages.jsonl", "upgrade-6")
        .reports
        .pop();
    without_checks(&mut upgrade.order["content"]);
    upgrade.order["content"]["image"] = offer.image.clone().into();
    cloud.order(&format!("push {}", upgrade.order));
    let said = reports(&mut cloud, route(&upgrade.order), 4);
    for (ours, recorded) in said.iter().zip(&upgrade.reports) {
        is_like(ours, recorded);
        assert_eq!(content(ours)["succ"], recorded["content"]["succ"], "{ours}");
    }
    let backup = &upgrade.reports[2]["content"];
    assert_eq!(content(&said[2])["extend"], backup["extend"]);
    let end = end.expect("it came after the restart");
    assert_eq!(content(&said[3])["extend"], end["content"]["extend"]);
    edge.connected();
    assert_eq!(address(&edge), NEW);
    assert!(is_installed(&device, &new));
    is_tidy(&device);
    // From one like KubeEdge's nothing comes back; what it answers later shows that it has read them.
    crate::common::wait_until("reports that need not be kept", || {
        let record = device.read("/var/lib/kubeedge/edgecore/job.json");
        let record: Value = serde_json::from_str(&record).expect("JSON");
        record["unsent"] == json!([])
    });
    edge.stop();
    cloud.satisfied();
}

#[test]
fn jobs_of_older_clouds_are_done_and_told_in_their_words() {
    let mut cloud = Cloud::start(&[]);
    let device = device(&cloud, "{enable: true}");
    let edge = device.start();
    edge.connected();
    // It has no image with this tag.
    let offer = Offer::of(&build("1.23.1", Manner::Works(NEW)), "v1.23.1", None);
    let image = format!("{}:v1.24.0", offer.image);
    let item = json!({"UpgradeID": "u-1", "HistoryID": "h", "Version": "v1.23.1", "UpgradeTool": "",
        "Image": image, "ImageDigest": "", "RequireConfirmation": false});
    let mut ask = |resource: &str, state: &str, item: &Value| {
        let (kind, rest) = resource.split_once('/').expect("a kind");
        let content = json!({"TaskID": "u-1", "Type": kind, "State": state, "Item": item});
        push(&mut cloud, "taskmanager", resource, &content);
        let said = reports(&mut cloud, &format!("task/{rest}"), 1).remove(0);
        assert_eq!(
            (&said["group"], &said["operation"]),
            (&"hub".into(), &kind.into())
        );
        let content = content_of_task(&said);
        (content["Event"].clone(), content["Action"].clone(), content)
    };
    let upgrade = "upgrade/u-1/node/edge-1";
    let (event, action, said) = ask(upgrade, "", &item);
    assert_eq!((&event, &action), (&"Init".into(), &"Failure".into()));
    assert!(
        said["Reason"].to_string().contains("allowedImages"),
        "{said}"
    );
    put(
        &device.path("/etc/kubeedge/upgrade.pub"),
        Seal::new().public(),
        0o644,
    );
    let (event, action, said) = ask(upgrade, "Init", &item);
    assert_eq!(
        (&event, &action),
        (&"Init".into(), &"Success".into()),
        "{said}"
    );
    let (event, action, said) = ask(upgrade, "Checking", &json!({"CheckItem": []}));
    assert_eq!(
        (&event, &action),
        (&"Check".into(), &"Success".into()),
        "{said}"
    );
    let (event, action, said) = ask(upgrade, "BackingUp", &item);
    assert_eq!(
        (&event, &action),
        (&"Backup".into(), &"Success".into()),
        "{said}"
    );
    let (event, action, said) = ask(upgrade, "Upgrading", &item);
    assert_eq!(
        (&event, &action),
        (&"Upgrade".into(), &"Failure".into()),
        "{said}"
    );
    let (event, action, said) = ask(upgrade, "RollingBack", &item);
    assert_eq!(
        (&event, &action),
        (&"Rollback".into(), &"Success".into()),
        "{said}"
    );
    let images = json!({"Images": ["docker.io/peer/app:1"], "CheckItems": []});
    let pull = "prepull/p-1/node/edge-1";
    assert_eq!(ask(pull, "", &images).1, "Success");
    let (event, action, said) = ask(pull, "Pulling", &images);
    assert_eq!(
        (&event, &action),
        (&"Pull".into(), &"Failure".into()),
        "{said}"
    );
    let pulled = said["ExternalMessage"].as_str().expect("text");
    assert!(pulled.contains("\"state\":\"Failed\""), "{pulled}");
    // Before v1.16 it is asked for once, and the end is posted.
    let whole = json!({"UpgradeID": "u-2", "HistoryID": "h-2", "Version": "v1.23.1", "UpgradeTool": "keadm",
        "Image": image});
    push(
        &mut cloud,
        "nodeupgradejobcontroller",
        "upgrade/u-2/node/edge-1",
        &whole,
    );
    let posted = cloud.event_where("report", |it| it["path"] == "/nodeupgrade");
    let end: Value = serde_json::from_str(posted["body"].as_str().expect("text")).expect("JSON");
    assert_eq!(
        (&end["UpgradeID"], &end["HistoryID"], &end["NodeName"]),
        (&"u-2".into(), &"h-2".into(), &"edge-1".into())
    );
    assert_eq!(end["Status"], "upgrade_failed_rollback_success", "{end}");
    assert_ne!(end["Reason"], "", "{end}");
    // What KubeEdge's edge had keadm do; the report is there, and posted.
    let said = device.run(&[
        "upgrade",
        "edge",
        "--upgradeID",
        "u-3",
        "--historyID",
        "h-3",
        "--fromVersion",
        "v1.23.0",
        "--toVersion",
        "v1.23.1",
        "--config",
        device.path(CONFIG).to_str().expect("UTF-8"),
        "--image",
        &image,
    ]);
    assert_ne!(said.code, 0, "{}", said.err);
    assert_eq!(crate::stage::report(&device)["success"], false);
    let path = "/task/upgrade/name/u-3/node/edge-1/status";
    let posted = cloud.event_where("report", |it| it["path"] == path);
    assert_eq!(posted["node"], "system:node:edge-1", "{posted}");
    let end: Value = serde_json::from_str(posted["body"].as_str().expect("text")).expect("JSON");
    assert_eq!(
        (&end["Event"], &end["Action"], &end["NodeName"]),
        (&"Upgrade".into(), &"Failure".into(), &"edge-1".into())
    );
    let said = device
        .run(&["upgrade", "edge", "--upgradeID", "../x", "--image", "k/i"])
        .ends(64);
    assert!(said.err.contains("is no job's"), "{}", said.err);
    edge.stop();
    cloud.satisfied();
}

fn push(cloud: &mut Cloud, source: &str, resource: &str, content: &Value) {
    let operation = resource.split('/').next().expect("a word");
    let message = json!({
        "header": {"msg_id": resource, "timestamp": 1_795_337_289_901_i64},
        "route": {"source": source, "group": source, "operation": operation, "resource": resource},
        "content": content,
    });
    cloud.order(&format!("push {message}"));
}

fn content_of_task(report: &Value) -> Value {
    let content = content(report);
    let known = [
        "NodeName",
        "State",
        "Event",
        "Action",
        "Reason",
        "Time",
        "ExternalMessage",
    ];
    let mut found = keys(&content);
    found.sort();
    let mut known = known.to_vec();
    known.sort_unstable();
    assert_eq!(found, known);
    assert_eq!(
        (&content["NodeName"], &content["State"]),
        (&"edge-1".into(), &"".into())
    );
    content
}

fn route(order: &Value) -> &str {
    order["route"]["resource"].as_str().expect("a resource")
}

/// What of the machine is to be looked at.
fn without_checks(spec: &mut Value) {
    spec.as_object_mut().expect("a spec").remove("checkItems");
}

const CONFIG: &str = "/etc/kubeedge/config/edgecore.yaml";
