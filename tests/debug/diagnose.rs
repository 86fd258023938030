//! `debug diagnose`: the likeliest reason comes first.

use kubeedge::protocol::control::{EDGE_SOCKET, EDGE_STATUS_SOCKET, EdgeState};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::common::device::{CONFIG, Device};
use super::common::mode;
use super::common::site::{Cloudcore, Site};
use super::{joined, try_examples};

const PODS: &str = "/var/lib/kubeedge/edgecore/meta/pod/default";

fn reasons(json: &Value) -> Vec<String> {
    let reasons = json["reasons"].as_array().expect("reasons");
    let words = |it: &Value| format!("{} | {} | {}", it["what"], it["found"], it["remedy"]);
    reasons.iter().map(words).collect()
}

#[test]
fn a_node_that_works_that_never_joined_and_whose_cloud_is_away() {
    let mut cloud = Cloudcore::start(&[]);
    let site = joined(&cloud);
    let said = site.run(&["debug", "diagnose", "node"]).ends(0);
    assert!(said.out.starts_with("nothing is wrong"), "{}", said.out);
    try_examples(&site, "debug diagnose", &[0, 1]);
    cloud.stop();
    let json = site
        .run(&["debug", "diagnose", "node", "-o", "json"])
        .ends(1)
        .json();
    let found = reasons(&json);
    assert!(
        found[0].contains("network: certificates") && found[0].contains("refused"),
        "{found:?}"
    );
    let never = Site::new();
    let found = reasons(
        &never
            .run(&["debug", "diagnose", "node", "-o", "json"])
            .ends(1)
            .json(),
    );
    assert!(
        found[0].contains("config: ") && found[0].contains("has not joined"),
        "{found:?}"
    );
    // An empty device can be installed, unless its folders are none.
    let install = ["debug", "diagnose", "install"];
    never.run(&install).ends(0);
    never.write("/var/log/kubeedge", "a file", 0o644);
    let said = never.run(&install).ends(1);
    assert!(
        said.out.contains("1. folders: ") && said.out.contains("edgecore writes there"),
        "{}",
        said.out
    );
    let hub = format!("127.0.0.1:{}", cloud.hub);
    let said = never.run(&[&install[..], &["-s", &hub]].concat()).ends(1);
    assert!(said.out.contains("2. network: hub"), "{}", said.out);
    for words in [
        &["pod"][..],
        &["node", "x"],
        &["house"],
        &["install", "-s", "a b"],
    ] {
        never
            .run(&[&["debug", "diagnose"], words].concat())
            .ends(64);
    }
    never.run(&["debug", "diagnose", "pod", "web"]).ends(69);
}

#[test]
fn pods_say_what_keeps_them() {
    let device = Device::new("edge-1");
    device.write(CONFIG, "modules: {edgeHub: {enable: false}}\n", 0o644);
    let put = |name: &str, status: Value| {
        let pod = json!({"metadata": {"name": name, "namespace": "default"}, "status": status});
        device.write(&format!("{PODS}/{name}.json"), &pod.to_string(), 0o600);
    };
    let waits = json!({"type": "Ready", "status": "False", "reason": "NoRuntime", "message": "m"});
    put("waits", json!({"phase": "Pending", "conditions": [waits]}));
    let ready = json!({"type": "Ready", "status": "True"});
    put("works", json!({"phase": "Running", "conditions": [ready]}));
    put("done", json!({"phase": "Succeeded"}));
    let crash = json!({"name": "app", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "again"}}});
    put(
        "crashes",
        json!({"phase": "Running", "containerStatuses": [crash, {"name": "side", "state": {"running": {}}}],
        "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}]}),
    );
    put("odd", json!([1, {"conditions": 5}]));
    let ask = |name: &str| device.run(&["debug", "diagnose", "pod", name, "-o", "json"]);
    for good in ["works", "done"] {
        assert_eq!(reasons(&ask(good).ends(0).json()), [""; 0], "{good}");
    }
    let found = reasons(&ask("waits").ends(1).json());
    assert!(
        found[0].contains("NoRuntime") && found[0].contains("as a service"),
        "{found:?}"
    );
    assert!(
        found.iter().any(|it| it.contains("edgeHub is off")),
        "{found:?}"
    );
    let found = reasons(&ask("crashes").ends(1).json());
    assert!(
        found[0].contains("container app") && found[0].contains("CrashLoopBackOff"),
        "{found:?}"
    );
    assert!(!found.iter().any(|it| it.contains("side")), "{found:?}");
    ask("odd").ends(1);
    let none = ask("none").ends(1);
    assert!(
        none.json()["error"]
            .as_str()
            .expect("an error")
            .contains("no pod \"none\"")
    );
}

#[test]
fn what_edgecore_has_met_is_told_with_its_remedy() {
    let mut cloud = Cloudcore::start(&[]);
    let device = Device::new("edge-1");
    device.configure_for(&cloud, &cloud.token());
    let edge = device.start();
    let ask = || device.run(&["debug", "diagnose", "node", "-o", "json"]);
    let about = |wanted: &str| {
        let found = reasons(&ask().ends(1).json());
        let reason = found.iter().find(|it| it.contains(wanted)).cloned();
        reason.unwrap_or_else(|| panic!("{wanted}: {found:?}"))
    };
    // How a hub ended is known to the one after it.
    let first = edge.connected().hub_pid.expect("a hub");
    let number = i32::try_from(first).expect("a process");
    kill(Pid::from_raw(number), Signal::SIGKILL).expect("it is there");
    edge.until("another hub", |now| {
        now.hub_pid.is_some_and(|pid| pid != first) && now.state == EdgeState::Connected
    });
    let killed = about("mem: edgecore was killed");
    assert!(
        killed.contains("signal 9") && killed.contains("dmesg"),
        "{killed}"
    );
    cloud.stop();
    edge.complains("cannot connect");
    let away = about("network: the cloud is not reached");
    assert!(
        away.contains("cannot connect to 127.0.0.1") && away.contains("cloudcore runs"),
        "{away}"
    );
    // Only root is told, and each line once however often it came.
    let refused = edge.say(EDGE_STATUS_SOCKET, b"{\"v\":1,\"op\":\"log\"}\n");
    assert!(refused.contains("edgecore.sock"), "{refused}");
    assert_eq!(mode(&device.path(EDGE_SOCKET)), 0o600);
    let told = edge.say(EDGE_SOCKET, b"{\"v\":1,\"op\":\"log\"}\n");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let lines = told["lines"].as_array().expect("lines").len();
    assert!((2..=48).contains(&lines), "{told}");
    edge.stop();
    let stopped = reasons(&ask().ends(1).json());
    assert!(
        stopped.iter().any(|it| it.contains("edgecore: session")),
        "{stopped:?}"
    );
    assert!(!stopped.iter().any(|it| it.contains("was killed")));
}

#[test]
fn a_token_of_another_cloud_comes_first() {
    let cloud = Cloudcore::start(&[]);
    let device = Device::new("edge-1");
    let token = cloud.token();
    let digit = if token.starts_with('0') { "1" } else { "0" };
    let foreign = format!("{digit}{}", &token[1..]);
    device.configure_for(&cloud, &foreign);
    let edge = device.start();
    edge.complains("this token pins");
    let said = device.run(&["debug", "diagnose", "node"]).ends(1);
    let identity = said.out.find("the token is of another cloud");
    let session = said.out.find("edgecore: session").expect("no session");
    assert!(identity.is_some_and(|at| at < session), "{}", said.out);
    assert!(said.out.contains("keadm gettoken"), "{}", said.out);
    assert!(
        !said
            .out
            .contains(foreign.rsplit('.').next().expect("a part"))
    );
    edge.stop();
}
