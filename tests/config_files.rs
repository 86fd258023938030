//! `keadm config view`, `validate` and `migrate` on files as they are found on devices.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::{Folder, KUBEEDGE, mode, put};
use kubeedge::system::exit;
use serde_json::Value;

const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.e30.e30.\
                     abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ";

fn config(words: &[&str], path: &Path) -> Output {
    Command::new(KUBEEDGE)
        .arg("config")
        .args(words)
        .arg("--config")
        .arg(path)
        .output()
        .expect("it starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("a code")
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr]
        .map(String::from_utf8_lossy)
        .concat()
}

#[test]
fn a_file_that_is_not_there_is_told_for_devices_and_clouds() {
    let folder = Folder::new();
    let own = Command::new(KUBEEDGE)
        .args(["config", "view", "--root"])
        .arg(folder.path())
        .output()
        .expect("it starts");
    let named = config(&["view"], &folder.path().join("edgecore.yaml"));
    for (output, is_own) in [(own, true), (named, false)] {
        assert_eq!(code(&output), i32::from(exit::CONFIG));
        let told = said(&output);
        assert!(told.contains("edgecore.yaml"), "{told}");
        assert_eq!(told.contains("once it has joined"), is_own, "{told}");
        assert_eq!(told.contains("cloudcore --defaultconfig"), is_own, "{told}");
    }
}

#[test]
fn faults_have_lines_and_an_exit_code() {
    let folder = Folder::new();
    let path = folder.path().join("edgecore.yaml");
    let text = format!(
        "modules:\n  edgeHub:\n    token: {TOKEN}\n    hartbeat: 15\n    websocket:\n      server: 7\n  edged:\n    \
         hostnameOverride: Edge_1\n    registerSchedulable: [yes]\n"
    );
    put(&path, &text, 0o600);
    let output = config(&["validate"], &path);
    assert_eq!(code(&output), i32::from(exit::CONFIG));
    let told = said(&output);
    for part in [
        ":4: modules.edgeHub.hartbeat: there is no such key: did you mean heartbeat?",
        ":9: ",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let output = config(&["validate", "--output", "json"], &path);
    assert_eq!(code(&output), i32::from(exit::CONFIG));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["valid"], false);
    assert_eq!(told["faults"][0]["line"], 4);
    assert!(
        !told.to_string().contains("abcdefghijklmnop"),
        "the token is shown"
    );
    put(
        &path,
        "modules: {edged: {hostnameOverride: edge-1}}\n",
        0o600,
    );
    let output = config(&["validate"], &path);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(said(&output).contains("is good"));
    for (name, text, part) in [
        (
            "cloudcore.yaml",
            "kind: CloudCore\nmodules: {cloudHub: {nodeLimits: 7}}\n",
            "nodeLimit?",
        ),
        ("x.yaml", "a: [", ":"),
        ("y.yaml", "\u{fffd}: 1\n", "no such key"),
    ] {
        let path = folder.path().join(name);
        put(&path, text, 0o644);
        let output = config(&["validate"], &path);
        assert_eq!(code(&output), i32::from(exit::CONFIG), "{name}");
        assert!(said(&output).contains(part), "{name}: {}", said(&output));
    }
    let output = config(&["validate"], &folder.path().join("nowhere"));
    assert_eq!(code(&output), i32::from(exit::CONFIG));
}

#[test]
fn what_is_shown_is_whole_and_holds_no_secret() {
    let folder = Folder::new();
    let path = folder.path().join("edgecore.yaml");
    let text = format!(
        "modules:\n  edgeHub:\n    heartbeat: 20\n    token: {TOKEN}\n    proxy: http://p.example:3128\n  \
         eventBus: {{mqttPassword: geheim}}\n"
    );
    put(&path, &text, 0o600);
    let output = config(&["view"], &path);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let told = said(&output);
    assert!(
        told.contains("heartbeat: 20") && told.contains("messageBurst: 60"),
        "{told}"
    );
    assert!(
        !told.contains("geheim") && !told.contains("abcdefghijklmnop"),
        "{told}"
    );
    let output = config(&["view", "-o", "json"], &path);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let hub = &told["modules"]["edgeHub"];
    assert_eq!(
        (hub["token"].as_str(), hub["heartbeat"].as_u64()),
        (Some("***"), Some(20))
    );
    assert_eq!(hub["proxy"], "http://p.example:3128");
}

#[test]
fn an_old_file_is_brought_to_the_present_and_kept() {
    let folder = Folder::new();
    let path = folder.path().join("edgecore.yaml");
    let text = format!(
        "apiVersion: edgecore.config.kubeedge.io/v1alpha1\nkind: EdgeCore\nmodules:\n  edgeHub:\n    token: {TOKEN}\n  \
         edged:\n    labels: {{a: b}}  # ours\n    runtimeType: remote\n    nodeStatusUpdateFrequency: 10\n"
    );
    put(&path, &text, 0o600);
    let before = config(&["validate"], &path);
    assert_eq!(code(&before), i32::from(exit::CONFIG), "{}", said(&before));
    let dry = config(&["migrate", "--dry-run"], &path);
    assert_eq!(code(&dry), 0, "{}", said(&dry));
    assert!(
        said(&dry).contains("modules.edged.labels is modules.edged.nodeLabels now"),
        "{}",
        said(&dry)
    );
    assert!(!said(&dry).contains("abcdefghijklmnop"));
    assert_eq!(fs::read_to_string(&path).expect("the file"), text);
    let done = config(&["migrate", "-o", "json"], &path);
    assert_eq!(code(&done), 0, "{}", said(&done));
    let kept = folder.path().join("edgecore.yaml.before-migrate");
    assert_eq!(fs::read_to_string(&kept).expect("the old file"), text);
    assert_eq!((mode(&path), mode(&kept)), (0o600, 0o600));
    let now = fs::read_to_string(&path).expect("the file");
    assert!(now.contains(TOKEN), "the token is lost");
    let after = config(&["validate"], &path);
    assert_eq!(code(&after), 0, "{}", said(&after));
    let again = config(&["migrate"], &path);
    assert!(
        said(&again).contains("is as it should be"),
        "{}",
        said(&again)
    );
    assert_eq!(fs::read_to_string(&path).expect("the file"), now);
}

#[test]
fn every_old_file_is_kept() {
    let folder = Folder::new();
    let path = folder.path().join("edgecore.yaml");
    let text = |label: &str| {
        format!(
            "apiVersion: edgecore.config.kubeedge.io/v1alpha1\nkind: EdgeCore\nmodules:\n  edged:\n    labels: {{a: {label}}}\n"
        )
    };
    // The third is the first again, as after a power cut in the midst of it.
    for (label, end) in [("one", ""), ("two", "-2"), ("one", ""), ("three", "-3")] {
        put(&path, text(label), 0o600);
        let done = config(&["migrate", "-o", "json"], &path);
        assert_eq!(code(&done), 0, "{}", said(&done));
        let told: Value = serde_json::from_slice(&done.stdout).expect("JSON");
        let kept = format!("{}.before-migrate{end}", path.display());
        assert_eq!(told["kept"], kept.as_str());
        assert_eq!(fs::read_to_string(&kept).ok(), Some(text(label)));
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 4);
}
