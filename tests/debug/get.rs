//! `debug get`: the objects on a device's storage, with edgecore and without.

use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::{Value, json};

use super::common::KUBEEDGE;
use super::common::cloud::Cloud;
use super::common::device::Device;
use super::common::site::{Said, Site};
use super::examples;

const META: &str = "/var/lib/kubeedge/edgecore/meta";

fn get(device: &Device, words: &str) -> Said {
    let words: Vec<&str> = ["debug", "get"]
        .into_iter()
        .chain(words.split(' '))
        .collect();
    device.run(&words)
}

fn put(cloud: &mut Cloud, resource: &str, object: &Value) {
    let order = json!({"resource": resource, "object": object});
    cloud.order(&format!("put {order}"));
    cloud.event_where("acked", |it| it["resource"] == resource);
}

fn fill(cloud: &mut Cloud) {
    let map = |app: &str| {
        json!({"kind": "ConfigMap", "apiVersion": "v1",
        "metadata": {"labels": {"app": app}}, "data": {"a": "b"}})
    };
    put(cloud, "default/configmap/one", &map("web"));
    put(cloud, "default/configmap/two", &map("db"));
    put(cloud, "shop/configmap/app", &map("web"));
    let secret = json!({"kind": "Secret", "apiVersion": "v1", "type": "Opaque", "data": {"word": "aGlkZGVu"}});
    put(cloud, "default/secret/key", &secret);
    let pod = json!({"kind": "Pod", "apiVersion": "v1", "spec": {"nodeName": "edge-1"},
        "status": {"phase": "Pending", "podIP": "192.0.2.9"}});
    put(cloud, "default/pod/web", &pod);
}

fn columns(text: &str, count: usize) -> Vec<Vec<&str>> {
    text.lines()
        .map(|line| line.split_whitespace().take(count).collect())
        .collect()
}

#[test]
fn objects_are_shown_with_edgecore_and_without() {
    let mut cloud = Cloud::start(&[]);
    let mut device = Device::new("edge-1");
    device.hub_keys = vec!["heartbeat: 1".to_owned()];
    device.configure(&cloud, &cloud.token());
    let never = get(&device, "pods").ends(69);
    assert!(never.err.contains("no edgecore has kept"), "{}", never.err);
    let edge = device.start();
    edge.connected();
    fill(&mut cloud);
    for runs in [true, false] {
        let text = get(&device, "configmaps -A").ends(0).out;
        let expected = [
            ["NAMESPACE", "NAME", "DATA"],
            ["default", "one", "1"],
            ["default", "two", "1"],
            ["shop", "app", "1"],
        ];
        assert_eq!(columns(&text, 3), expected, "{runs}");
        if runs {
            // Looking at the storage disturbs nobody.
            edge.connected();
            let pid = i32::try_from(edge.pid()).expect("a number");
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            )
            .expect("it is there");
        }
    }
    let text = get(&device, "po -o wide").ends(0).out;
    assert_eq!(columns(&text, 2)[1], ["web", "Pending"]);
    assert!(
        text.contains("192.0.2.9") && text.contains("edge-1"),
        "{text}"
    );
    let name = |words: &str| get(&device, words).ends(0).out;
    assert_eq!(name("cm -o name"), "configmap/one\nconfigmap/two\n");
    assert_eq!(
        name("cm -l app=web -A -o name"),
        "configmap/one\nconfigmap/app\n"
    );
    assert_eq!(name("cm -l app!=web -o name"), "configmap/two\n");
    assert_eq!(
        name("cm two one -o jsonpath={.items[*].metadata.name}"),
        "one two"
    );
    assert_eq!(name("secret key -o jsonpath={.data.word}"), "aGlkZGVu");
    assert_eq!(name("cm app -n shop -o jsonpath={.data.a}"), "b");
    let one = get(&device, "cm one -o json").json();
    assert_eq!(
        (&one["kind"], &one["data"]["a"]),
        (&json!("ConfigMap"), &json!("b"))
    );
    let list = get(&device, "cm -o json").json();
    assert_eq!(
        (&list["kind"], list["items"].as_array().map(Vec::len)),
        (&json!("List"), Some(2))
    );
    assert!(name("cm one -o yaml").contains("kind: ConfigMap\n"));
    let all = name("all -A");
    for part in ["configmaps:\n", "secrets:\n", "pods:\n", "nodes:\n"] {
        assert!(all.contains(part), "{all}");
    }
    assert!(name("services").contains("no services"));
    assert!(name("pvc").contains("no persistentvolumeclaims"));
    assert_eq!(
        get(&device, "svc -o json").ends(0).json()["items"],
        json!([])
    );
    for words in examples(&Site::new(), "debug get") {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(device.run(&words).code, 0, "{words:?}");
    }
}

#[test]
fn what_can_not_be_shown_is_said_why() {
    let device = Device::new("edge-1");
    for (words, part) in [
        ("gizmos", "there are all, configmaps"),
        ("cm -l =", "a selector is like"),
        ("cm -o xml", "jsonpath=PATH"),
        ("cm -o jsonpath={.a[}", "is no JSONPath"),
    ] {
        let said = get(&device, words).ends(64);
        assert!(said.err.contains(part), "{words}: {}", said.err);
    }
    let cut = format!("{META}/configmap/default/cut.json");
    device.write(&cut, "{\"metadata\": {\"na", 0o600);
    let said = get(&device, "cm").ends(1);
    assert!(said.err.contains("cut.json is damaged"), "{}", said.err);
    assert_eq!(get(&device, "cm -o json").json()["exitCode"], 1);
    device.write(&cut, "{\"metadata\": {\"name\": \"cut\"}}", 0o600);
    device.write(&format!("{META}/stray"), "a file", 0o600);
    let said = get(&device, "cm none").ends(1);
    assert!(said.err.contains("no configmap \"none\""), "{}", said.err);
    let path = device.path(META).display().to_string();
    let elsewhere = device.run(&["debug", "get", "cm", "-p", &path, "-o", "name"]);
    assert_eq!(elsewhere.ends(0).out, "configmap/cut\n");
    let file = device.path(&cut).display().to_string();
    device.run(&["debug", "get", "cm", "-p", &file]).ends(69);
    let mut command = Command::new(KUBEEDGE);
    command
        .args(["debug", "get", "cm"])
        .env("KUBEEDGE_ROOT", device.path("/"));
    std::fs::set_permissions(
        device.path("/var/lib/kubeedge"),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .expect("a mode");
    Said::of(command.uid(65534).gid(65534).output()).ends(77);
}
