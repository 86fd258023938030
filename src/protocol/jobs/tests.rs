//! Recorded jobs and reports, and jobs that nobody should send.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::protocol::message::Route;
use crate::system::clock::Timestamp;

const NOW: Timestamp = Timestamp::from_unix(1_795_339_363);

fn recorded() -> Vec<Message> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut messages = Vec::new();
    for file in ["upgrade/messages.jsonl", "edge-full/messages.jsonl"] {
        let text = std::fs::read_to_string(top.join(file)).unwrap();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let raw = line["raw"].as_str().unwrap_or_default();
            let message = Message::from_json(raw.as_bytes());
            messages.extend(message.ok().filter(|it| Address::of(it).is_some()));
        }
    }
    messages
}

fn message(resource: &str, operation: &str, content: &Value) -> Message {
    let route = Route {
        source: "taskmanager".to_owned(),
        group: "taskmanager".to_owned(),
        operation: operation.to_owned(),
        resource: resource.to_owned(),
        ..Route::default()
    };
    Message::new(NOW, route, content)
}

fn read(resource: &str, operation: &str, content: &Value) -> Result<Order, BadJob> {
    let message = message(resource, operation, content);
    let address = Address::of(&message).unwrap();
    Order::read(address, &message, "arm64")
}

const UPGRADE: &str = "operations.kubeedge.io/v1alpha2/nodeupgradejob/u/node/edge-1";
const CONFIG: &str = "operations.kubeedge.io/v1alpha2/configupdatejob/c/node/edge-1";

#[test]
fn recorded_jobs_are_read_and_recorded_reports_are_written() {
    let (mut orders, mut reports) = (0, 0);
    for message in recorded() {
        let address = Address::of(&message).unwrap();
        assert_eq!(address.resource(), message.route.resource);
        if message.route.group == "taskmanager" {
            let order = Order::read(address, &message, "amd64").unwrap();
            assert_eq!(order.action, Action::Check);
            match &order.work {
                Work::Upgrade(it) => assert_eq!(it.version.as_str(), "v1.23.1"),
                Work::PrePull(images) => assert_eq!(images.len(), 2),
                Work::Check => panic!("there is more to do"),
                Work::Config(wishes) => {
                    assert_eq!(wishes[0].to_string(), "modules.edgeHub.messageQPS=31");
                }
            }
            orders += 1;
            continue;
        }
        let report = Report::read(&message).unwrap();
        let again = report.message(&address, NOW);
        assert_eq!(again.route, message.route);
        let text = |message: &Message| message.content.as_ref().unwrap().get().to_owned();
        assert_eq!(text(&again), text(&message));
        reports += 1;
    }
    assert!(orders >= 6 && reports >= 12, "{orders} {reports}");
}

#[test]
fn nodes_that_know_no_such_jobs_are_told_by_their_version() {
    for old in ["v1.22.6-kubeedge-v1.13.0", "v1.29.5-kubeedge-v1.20.2"] {
        assert!(too_old(old).is_some_and(|why| why.contains(old)), "{old}");
    }
    for new in [
        "v1.30.7-kubeedge-v1.21.0",
        "v1.32.10-kubeedge-v1.23.1",
        "v1.20.0",
        "",
        "-kubeedge-v",
    ] {
        assert_eq!(too_old(new), None, "{new}");
    }
}

#[test]
fn a_digest_is_taken_for_this_machine() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let spec = json!({"version": "v1.24.0-rc.1", "image": "r.example:5000/k/installation-package",
        "imageDigestGatter": {"amd64": "x", "arm64": digest}, "requireConfirmation": true});
    let order = read(UPGRADE, "Check", &spec).unwrap();
    let Work::Upgrade(upgrade) = order.work else {
        panic!("an upgrade")
    };
    assert!(upgrade.confirm && order.checks.is_empty());
    assert_eq!(upgrade.digest.unwrap().as_str(), digest);
}

#[test]
fn what_could_be_more_than_a_word_is_refused() {
    let versions = [
        "",
        "1.23.1",
        "v1.23",
        "v1.23.1-",
        "v1.23.1 --force",
        "v1.23.1;id",
        "v1.23.1-$(id)",
        "v1.23.1\n",
        "v1..1",
        "--version",
    ];
    for version in versions {
        let spec = json!({"version": version, "image": "k/i"});
        assert!(
            matches!(read(UPGRADE, "Check", &spec), Err(BadJob::Version(_))),
            "{version:?}"
        );
    }
    for image in [
        "image", "-k/i", "k/i;id", "k/i `id`", "/k", "k/", "k/../i", "k/i\n",
    ] {
        let spec = json!({"version": "v1.23.1", "image": image});
        assert!(
            matches!(read(UPGRADE, "Check", &spec), Err(BadJob::Image(_))),
            "{image:?}"
        );
    }
    for digest in ["x", "sha256:", "md5:0", "sha256:zz"] {
        let spec = json!({"version": "v1.23.1", "imageDigestGatter": {"arm64": digest}});
        assert!(
            matches!(read(UPGRADE, "Check", &spec), Err(BadJob::Digest(_))),
            "{digest:?}"
        );
    }
    for action in ["", "Upgrade", "RollBack", "check", "exec"] {
        let spec = json!({"version": "v1.23.1"});
        assert!(
            matches!(read(UPGRADE, action, &spec), Err(BadJob::Action(_))),
            "{action:?}"
        );
    }
    for content in [
        json!(null),
        json!([]),
        json!({"version": 1}),
        json!({"checkItems": "x"}),
    ] {
        assert!(
            matches!(read(UPGRADE, "Check", &content), Err(BadJob::Shape)),
            "{content}"
        );
    }
    let spec = json!({"version": "v1.23.1", "checkItems": ["gpu"]});
    assert_eq!(
        read(UPGRADE, "Check", &spec),
        Err(BadJob::CheckItem("gpu".into()))
    );
}

#[test]
fn keys_that_would_give_away_the_device_are_not_a_jobs_to_change() {
    let spec = |key: &str, value: &str| json!({"updateFields": {key: value}});
    let good = [
        ("modules.edgeHub.messageQPS", "31"),
        ("modules.edgeHub.websocket.server", "192.0.2.1:10000"),
        ("modules.edged.tailoredKubeletConfig.maxPods", "20"),
        ("modules.taskManagers.enable", "x"),
    ];
    for (key, value) in good {
        let order = read(CONFIG, "Check", &spec(key, value)).unwrap();
        let wish = &Wish::new(key, value).unwrap();
        assert_eq!(order.work, Work::Config(vec![wish.clone()]));
        assert_eq!(wish.to_string().parse(), Ok(wish.clone()));
    }
    let bad = [
        ("modules", "x"),
        ("modules.metaManager", "x"),
        ("database.dataSource", "/etc/passwd"),
        ("modules.taskManager.enable", "true"),
        ("modules.taskManager.allowedImages[0]", "x/"),
        ("modules.metaManager.deliver[0].hook[0]", "/bin/sh"),
        ("modules.metaManager.deliver.x", "x"),
        ("modules.metaManager.stateDir", "/etc"),
        ("modules.edgeHub.sandbox", "false"),
        ("modules.edgeHub.tlsPrivateKeyFile", "/etc/shadow"),
        ("Modules.TaskManager.Enable", "true"),
        (
            "modules.edgeHub.messageQPS",
            "31,modules.taskManager.enable=true",
        ),
        ("modules.edgeHub.messageQPS", "{1}"),
        ("modules.edgeHub.messageQPS", "1\n"),
        ("modules.edgeHub.messageQPS=1,a", "1"),
        ("modules.edgeHub.\"x\"", "1"),
        ("modules..x", "1"),
        ("--set", "1"),
    ];
    for (key, value) in bad {
        let read = read(CONFIG, "Check", &spec(key, value));
        assert!(
            matches!(read, Err(BadJob::Wish(_))),
            "{key} {value:?}: {read:?}"
        );
    }
    assert!(matches!(
        read(CONFIG, "Check", &json!({"updateFields": {}})),
        Err(BadJob::Amount(_))
    ));
}

#[test]
fn a_cloud_of_v1alpha1_asks_for_each_step_and_reads_its_own_words() {
    let item = json!({"UpgradeID": "t", "HistoryID": "h", "Version": "v1.15.0", "UpgradeTool": "",
        "Image": "kubeedge/installation-package:v1.15.0", "ImageDigest": "", "RequireConfirmation": true});
    let task = |state: &str, item: &Value| json!({"TaskID": "t", "Type": "upgrade", "State": state, "Item": item});
    let order = |state: &str, item: &Value| {
        read("upgrade/t/node/edge-1", "upgrade", &task(state, item)).unwrap()
    };
    assert_eq!(order("", &item).action, Action::Init);
    assert!(
        matches!(
            order("Init", &item).work,
            Work::Upgrade(Upgrade { confirm: true, .. })
        ),
        "a person is asked first"
    );
    // Nothing but this is said at that step.
    let check = order("Checking", &json!({"CheckItem": ["disk", "mem"]}));
    assert_eq!((check.action, check.work), (Action::Check, Work::Check));
    assert_eq!(check.checks, [CheckItem::Disk, CheckItem::Memory]);
    let order = order("BackingUp", &item);
    assert_eq!((order.action, &order.history), (Action::BackUp, &None));
    assert!(order.address.is_stepwise());
    let said = |action: Action, done: Result<(), String>| {
        let said = Report::new(action, done, NOW).message(&order.address, NOW);
        assert_eq!(said.route.resource, "task/t/node/edge-1");
        assert_eq!(
            (&*said.route.operation, &*said.route.group),
            ("upgrade", "hub")
        );
        said.content.unwrap().get().to_owned()
    };
    assert_eq!(
        said(Action::BackUp, Err("no room".to_owned())),
        "{\"NodeName\":\"edge-1\",\"State\":\"\",\"Event\":\"Backup\",\"Action\":\"Failure\",\
         \"Reason\":\"no room\",\"Time\":\"2026-11-22T09:22:43Z\",\"ExternalMessage\":\"\"}"
    );
    for (action, done, event, came) in [
        (Action::Init, Ok(()), "Init", "Success"),
        (
            Action::WaitingConfirmation,
            Ok(()),
            "Confirm",
            "Confirmation",
        ),
        (
            Action::WaitingConfirmation,
            Err(String::new()),
            "Init",
            "Failure",
        ),
        (Action::RollBack, Ok(()), "Rollback", "Success"),
        (Action::Pull, Err(String::new()), "Pull", "Failure"),
    ] {
        let part = format!("\"Event\":\"{event}\",\"Action\":\"{came}\"");
        assert!(said(action, done).contains(&part), "{part}");
    }
    let content = json!({"State": "Resting", "Item": {"Version": "v1.15.0"}});
    let read = read("upgrade/t/node/edge-1", "upgrade", &content);
    assert_eq!(read, Err(BadJob::Action("Resting".into())));
}

#[test]
fn a_cloud_before_v1_16_asks_once_and_hears_of_the_end() {
    let content = json!({"UpgradeID": "u", "HistoryID": "h-1", "Version": "v1.14.0", "UpgradeTool": "keadm",
        "Image": "kubeedge/installation-package:v1.14.0"});
    let order = read("upgrade/u/node/edge-1", "upgrade", &content).unwrap();
    assert_eq!(order.action, Action::Check);
    let history = order.history.clone().unwrap();
    for (action, done, status) in [
        (Action::Upgrade, Ok(()), "upgrade_success"),
        (Action::RollBack, Ok(()), "upgrade_failed_rollback_success"),
        (
            Action::RollBack,
            Err("x".to_owned()),
            "upgrade_failed_rollback_failed",
        ),
        (
            Action::Check,
            Err("x".to_owned()),
            "upgrade_failed_rollback_success",
        ),
    ] {
        let report = Report {
            extend: "v1.13.0,v1.14.0".to_owned(),
            ..Report::new(action, done, NOW)
        };
        let reason = report.reason.clone();
        let (path, end) = report.of_the_end(&order.address, &history);
        assert_eq!(path, "/nodeupgrade");
        assert_eq!(
            end,
            json!({"UpgradeID": "u", "HistoryID": "h-1", "NodeName": "edge-1", "FromVersion": "v1.13.0",
                "ToVersion": "v1.14.0", "Status": status, "Reason": reason})
        );
    }
}
