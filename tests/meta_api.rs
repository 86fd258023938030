//! Programs on the device ask for what the cloud said, as they would ask Kubernetes: with curl, kubectl and keadm.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use common::cloud::Cloud;
use common::device::{Device, Edge};
use common::script::python;
use common::{KUBEEDGE, LIMIT, not_tried};
use serde_json::{Value, json};

const KUBECONFIG: &str = "/run/kubeedge/local.kubeconfig";

struct Site {
    cloud: Cloud,
    device: Device,
}

impl Site {
    fn new() -> Site {
        let cloud = Cloud::start(&[]);
        let mut device = Device::new("edge-1");
        device.hub_keys = vec!["heartbeat: 1".to_owned()];
        device.meta_keys = vec!["metaServer: {enable: true, server: \"127.0.0.1:0\"}".to_owned()];
        device.configure(&cloud, &cloud.token());
        Site { cloud, device }
    }
}

fn put(cloud: &mut Cloud, resource: &str, object: &Value) {
    cloud.order(&format!(
        "put {}",
        json!({"resource": resource, "object": object})
    ));
    cloud.event_where("acked", |it| it["resource"] == resource);
}

fn fill(cloud: &mut Cloud) {
    let map = |app: &str| json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"labels": {"app": app}}, "data": {"a": "b"}});
    put(cloud, "default/configmap/one", &map("web"));
    put(cloud, "default/configmap/two", &map("db"));
    put(cloud, "other/configmap/three", &map("web"));
    put(
        cloud,
        "default/secret/key",
        &json!({"kind": "Secret", "apiVersion": "v1", "data": {"word": "aGlkZGVu"}}),
    );
    put(
        cloud,
        "null/node/edge-1",
        &json!({"kind": "Node", "apiVersion": "v1"}),
    );
}

fn address(device: &Device) -> String {
    let text = device.read(KUBECONFIG);
    let server = text.split("server: http://").nth(1).expect("a server");
    server.split('/').next().expect("an address").to_owned()
}

fn token(device: &Device) -> String {
    let text = device.read(KUBECONFIG);
    text.lines()
        .last()
        .expect("lines")
        .trim_start_matches("    token: ")
        .to_owned()
}

/// Status and body, with these headers instead of the usual ones.
fn ask(device: &Device, target: &str, headers: &[(&str, &str)]) -> (u16, String) {
    ask_by("GET", device, target, headers)
}

fn ask_by(method: &str, device: &Device, target: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let address = address(device);
    let mut stream = TcpStream::connect(&address).expect("the API listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a patience");
    let host = format!("Host: {address}\r\n");
    let hosts = headers.iter().any(|(name, _)| *name == "Host");
    let mut head = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
    head += if hosts { "" } else { &host };
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream
        .write_all(format!("{head}\r\n").as_bytes())
        .expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let code = head
        .split(' ')
        .nth(1)
        .expect("a status")
        .parse()
        .expect("a number");
    let body = match head.to_lowercase().contains("transfer-encoding: chunked") {
        true => unchunked(body),
        false => body.to_owned(),
    };
    (code, body)
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        whole += &rest[..size];
        body = &rest[size + 2..];
    }
    whole
}

fn names(device: &Device, target: &str) -> Vec<String> {
    let (code, body) = ask(device, target, &[]);
    assert_eq!(code, 200, "{body}");
    let list: Value = serde_json::from_str(&body).expect("JSON");
    let items = list["items"].as_array().expect("items");
    items
        .iter()
        .map(|it| it["metadata"]["name"].as_str().expect("a name").to_owned())
        .collect()
}

/// A device at work, on which the API answers.
fn started(device: &Device) -> Edge<'_> {
    let edge = device.start();
    until_ready(device);
    edge
}

fn until_ready(device: &Device) {
    let until = Instant::now() + LIMIT;
    while ask(device, "/readyz", &[]).0 != 200 {
        assert!(Instant::now() < until, "the API does not get ready");
    }
}

#[test]
fn objects_are_found_by_path_and_selector_without_the_cloud() {
    let Site { mut cloud, device } = Site::new();
    let edge = started(&device);
    edge.connected();
    fill(&mut cloud);
    cloud.order("down");
    edge.stop();
    let edge = started(&device);
    for (target, expected) in [
        ("/api/v1/configmaps", vec!["one", "two", "three"]),
        ("/api/v1/namespaces/default/configmaps", vec!["one", "two"]),
        (
            "/api/v1/configmaps?labelSelector=app%3Dweb",
            vec!["one", "three"],
        ),
        (
            "/api/v1/configmaps?labelSelector=app+notin+(web)",
            vec!["two"],
        ),
        (
            "/api/v1/configmaps?fieldSelector=metadata.namespace%3Dother",
            vec!["three"],
        ),
        ("/api/v1/nodes", vec!["edge-1"]),
        ("/api/v1/pods", vec![]),
    ] {
        assert_eq!(names(&device, target), expected, "{target}");
    }
    let (code, body) = ask(&device, "/api/v1/namespaces/default/configmaps/one", &[]);
    let object: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((code, &object["data"]["a"]), (200, &json!("b")));
    let (code, body) = ask(&device, "/api/v1/namespaces/default/configmaps/none", &[]);
    let status: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        (code, &status["reason"], &status["kind"]),
        (404, &json!("NotFound"), &json!("Status"))
    );
    edge.stop();
}

#[test]
fn secrets_need_the_token_and_browsers_are_sent_away() {
    let Site { mut cloud, device } = Site::new();
    let (device, edge) = (&device, started(&device));
    edge.connected();
    put(
        &mut cloud,
        "default/secret/key",
        &json!({"kind": "Secret", "data": {"word": "aGlkZGVu"}}),
    );
    let path = device.path(KUBECONFIG);
    let mode = std::fs::metadata(path)
        .expect("the file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let (right, wrong) = (
        format!("Bearer {}", token(device)),
        format!("Bearer {}", "0".repeat(64)),
    );
    let in_path = format!("/token/{}/api/v1/secrets", token(device));
    let secrets = "/api/v1/secrets";
    for (target, headers, expected) in [
        (secrets, vec![], 403),
        ("/api/v1/namespaces/default/secrets/key", vec![], 403),
        ("/api/v1/secrets?watch=true&timeoutSeconds=0", vec![], 403),
        (secrets, vec![("Authorization", wrong.as_str())], 401),
        ("/api/v1/pods", vec![("Authorization", wrong.as_str())], 401),
        ("/token/x/api/v1/secrets", vec![], 401),
        (secrets, vec![("Authorization", right.as_str())], 200),
        (in_path.as_str(), vec![], 200),
        ("/api/v1/pods", vec![("Origin", "http://127.0.0.1")], 403),
        ("/api/v1/pods", vec![("Host", "evil.example:10550")], 403),
        ("/api/v1/pods", vec![("Host", "localhost:1")], 200),
    ] {
        let (code, body) = ask(device, target, &headers);
        assert_eq!(code, expected, "{target} {headers:?}: {body}");
        assert_eq!(
            body.contains("aGlkZGVu"),
            target.contains("secrets") && code == 200,
            "{target}: {body}"
        );
    }
    assert_eq!(ask_by("POST", device, "/api/v1/pods", &[]).0, 405);
    assert_eq!(
        ask_by("DELETE", device, "/api/v1/namespaces/default/pods/a", &[]).0,
        405
    );
    edge.stop();
}

#[test]
fn a_watch_tells_what_happens_and_where_to_go_on() {
    let Site { mut cloud, device } = Site::new();
    let (device, edge) = (&device, started(&device));
    edge.connected();
    let cloud = &mut cloud;
    let put = |cloud: &mut Cloud, name: &str| {
        let object = json!({"kind": "ConfigMap", "apiVersion": "v1"});
        put(cloud, &format!("default/configmap/{name}"), &object);
    };
    put(cloud, "one");
    let address = address(device);
    let mut stream = TcpStream::connect(&address).expect("the API listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a patience");
    let request = format!("GET /api/v1/configmaps?watch=1 HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is read");
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let mut next = || {
        let line = lines
            .by_ref()
            .find(|line| line.starts_with('{'))
            .expect("an event");
        let event: Value = serde_json::from_str(&line).expect("JSON");
        let name = event["object"]["metadata"]["name"]
            .as_str()
            .expect("a name");
        (
            event["type"].as_str().expect("a type").to_owned(),
            name.to_owned(),
        )
    };
    let event = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
    assert_eq!(next(), event("ADDED", "one"));
    put(cloud, "two");
    assert_eq!(next(), event("ADDED", "two"));
    let (_, list) = ask(device, "/api/v1/configmaps", &[]);
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version")
        .to_owned();
    put(cloud, "one");
    assert_eq!(next(), event("MODIFIED", "one"));
    cloud.order("remove default/configmap/two");
    assert_eq!(next(), event("DELETED", "two"));
    // Nothing between a list and a watch gets lost.
    let target = format!(
        "/api/v1/configmaps?watch=1&timeoutSeconds=0&allowWatchBookmarks=1&resourceVersion={version}"
    );
    let (code, events) = ask(device, &target, &[]);
    let kinds: Vec<Value> = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["type"].clone())
        .collect();
    assert_eq!(
        (code, kinds),
        (
            200,
            vec![json!("MODIFIED"), json!("DELETED"), json!("BOOKMARK")]
        )
    );
    let (code, _) = ask(
        device,
        "/api/v1/configmaps?watch=1&resourceVersion=999999",
        &[],
    );
    assert_eq!(code, 410);
    edge.stop();
}

/// kubectl as setup.sh leaves it, or as the system has it.
fn kubectl() -> Option<PathBuf> {
    let ours = python().with_file_name("kubectl");
    [
        ours,
        PathBuf::from("/usr/bin/kubectl"),
        PathBuf::from("/usr/local/bin/kubectl"),
    ]
    .into_iter()
    .find(|path| path.exists())
}

#[test]
fn kubectl_gets_lists_and_watches() {
    let Some(kubectl) = kubectl() else {
        not_tried("kubectl: there is none here, and tests/setup.sh could not get one");
        return;
    };
    let Site { mut cloud, device } = Site::new();
    let edge = started(&device);
    edge.connected();
    fill(&mut cloud);
    put(
        &mut cloud,
        "default/pod/web",
        &json!({"kind": "Pod", "apiVersion": "v1", "spec": {"containers": []}}),
    );
    let home = device.path("/home");
    let kube = |args: &[&str]| {
        let mut command = Command::new(&kubectl);
        command
            .args(args)
            .env("HOME", &home)
            .env_remove("KUBECONFIG")
            .stdin(Stdio::null());
        command
    };
    let run = |args: &[&str]| -> Output { kube(args).output().expect("kubectl runs") };
    let server = format!("--server=http://{}", address(&device));
    let out = run(&[&server, "get", "configmaps,pods", "-A"]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    for word in [
        "NAMESPACE",
        "NAME",
        "configmap/one",
        "configmap/three",
        "pod/web",
    ] {
        assert!(text.contains(word), "{text}");
    }
    let out = run(&[
        &server,
        "get",
        "configmap",
        "one",
        "-o",
        "jsonpath={.data.a}",
    ]);
    assert_eq!(String::from_utf8_lossy(&out.stdout), "b");
    let out = run(&[&server, "get", "nodes", "-o", "name"]);
    assert_eq!(String::from_utf8_lossy(&out.stdout), "node/edge-1\n");
    let out = run(&[&server, "get", "devices", "-A"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("No resources found"));
    let out = run(&[&server, "get", "secrets"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("local.kubeconfig"));
    let out = run(&[&server, "delete", "configmap", "one", "--wait=false"]);
    assert!(!out.status.success());
    let config = format!("--kubeconfig={}", device.path(KUBECONFIG).display());
    let out = run(&[
        &config,
        "get",
        "secret",
        "key",
        "-o",
        "jsonpath={.data.word}",
    ]);
    assert_eq!(
        String::from_utf8_lossy(&out.stdout),
        "aGlkZGVu",
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );

    let mut watch = kube(&[&server, "get", "configmaps", "-w", "-o", "name"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl runs");
    let mut lines = BufReader::new(watch.stdout.take().expect("piped"))
        .lines()
        .map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("configmap/one"));
    assert_eq!(lines.next().as_deref(), Some("configmap/two"));
    cloud.order(&format!("put {}", json!({"resource": "default/configmap/late", "object": {"kind": "ConfigMap", "apiVersion": "v1"}})));
    // What came in another order than that of its versions may be told twice.
    let told_twice = |line: &String| line == "configmap/one" || line == "configmap/two";
    assert_eq!(
        lines.find(|line| !told_twice(line)).as_deref(),
        Some("configmap/late")
    );
    watch.kill().expect("it runs");
    watch.wait().expect("it ends");
    edge.stop();
    cloud.satisfied();
}

/// Exit code, stdout and stderr of a command.
fn keadm(device: &Device, words: &str) -> (i32, String, String) {
    let mut command = Command::new(KUBEEDGE);
    command
        .args(words.split(' '))
        .env("KUBEEDGE_ROOT", device.path("/"));
    let out = command.output().expect("keadm runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        out.status.code().expect("a code"),
        text(&out.stdout),
        text(&out.stderr),
    )
}

#[test]
fn keadm_tells_all_of_an_object() {
    let Site { mut cloud, device } = Site::new();
    let keadm = |words: &str| keadm(&device, words);
    let edge = started(&device);
    edge.connected();
    fill(&mut cloud);
    let (code, text, why) = keadm("ctl describe configmaps");
    assert_eq!((code, why.as_str()), (0, ""));
    let part = |name: &str| format!("Name:         {name}\nNamespace:    default\n");
    assert!(
        text.contains(&part("one")) && text.contains(&part("two")),
        "{text}"
    );
    assert!(text.contains("Data:\n  a:\n  ----\n  b\n"), "{text}");
    let (code, text, _) = keadm("ctl describe cm -A -l app=web");
    assert_eq!(code, 0);
    assert!(text.contains("three") && !text.contains("two"), "{text}");
    let (_, text, _) = keadm("ctl get cm -A -o name -l app!=web");
    assert_eq!(text, "configmap/two\n");
    let (code, text, _) = keadm("ctl describe node edge-1 --show-events");
    assert!(
        code == 0 && text.starts_with("Name:           edge-1\n"),
        "{text}"
    );
    // What is there is told, also when something else is not.
    let (code, text, why) = keadm("ctl describe configmap one none");
    assert_eq!(code, 1, "{why}");
    assert!(
        text.contains(&part("one")) && why.contains("\"none\" not found"),
        "{text}{why}"
    );
    let (code, text, _) = keadm("ctl describe devices -A");
    assert_eq!(
        (code, text.as_str()),
        (0, "the cloud has sent no devices here\n")
    );
    let (code, _, why) = keadm("ctl describe secrets");
    assert!(
        code == 64 && why.contains("pods, devices, configmaps, nodes"),
        "{code} {why}"
    );
    edge.stop();
    cloud.satisfied();
}

/// Status of an order, with this as its body.
fn order(device: &Device, target: &str, body: &str) -> (u16, Value) {
    let length = body.len().to_string();
    let target = target.to_owned();
    let mut stream = TcpStream::connect(address(device)).expect("the API listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a patience");
    let request = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let code = head.split(' ').nth(1).expect("a status");
    let said = serde_json::from_str(body).expect("JSON");
    (code.parse().expect("a number"), said)
}

#[test]
fn held_pods_are_released_as_far_as_there_are_any() {
    let Site { mut cloud, device } = Site::new();
    let edge = started(&device);
    edge.connected();
    let pod = |hold: &str, phase: &str| {
        json!({"kind": "Pod", "apiVersion": "v1", "spec": {"nodeName": "edge-1"}, "status": {"phase": phase},
            "metadata": {"annotations": {"edge.kubeedge.io/hold-upgrade": hold}}})
    };
    put(&mut cloud, "default/pod/held", &pod("true", "Pending"));
    put(&mut cloud, "default/pod/free", &pod("false", "Pending"));
    put(&mut cloud, "default/pod/over", &pod("true", "Succeeded"));
    let of_pods = "/api/v1/pods/unhold-upgrade";
    for (body, expected) in [
        ("default/held", 200),
        ("default/free", 400),
        ("default/over", 400),
        ("default/none", 404),
        ("held", 400),
        ("default/../x", 400),
        ("", 400),
        ("x".repeat(600).as_str(), 400),
    ] {
        let (code, said) = order(&device, of_pods, body);
        assert_eq!(code, expected, "{body}: {said}");
    }
    let of_nodes = "/api/v1/nodes/unhold-upgrade";
    let (code, said) = order(&device, of_nodes, "edge-1\n");
    assert_eq!((code, &said["status"]), (200, &json!("Success")));
    assert!(
        said["message"]
            .as_str()
            .expect("words")
            .starts_with("pods released: 1;"),
        "{said}"
    );
    assert_eq!(order(&device, of_nodes, "another").0, 200);
    assert_eq!(
        order(
            &device,
            "/token/x/api/v1/pods/unhold-upgrade",
            "default/held"
        )
        .0,
        401
    );
    assert_eq!(
        order(&device, "/api/v1/pods/restart", "default/held").0,
        405
    );

    let (code, text, _) = keadm(&device, "ctl unhold-upgrade pod held");
    assert!(
        code == 0 && text.contains("default/held is released"),
        "{code} {text}"
    );
    let (code, _, why) = keadm(&device, "ctl unhold-upgrade pod free -n default");
    assert!(code == 1 && why.contains("is not held"), "{code} {why}");
    let (code, text, _) = keadm(&device, "ctl unhold-upgrade node");
    assert!(
        code == 0 && text.contains("pods released: 1;"),
        "{code} {text}"
    );
    edge.stop();
    cloud.satisfied();
}

#[test]
fn what_needs_containers_says_so() {
    let device = Device::new("edge-1");
    for words in [
        "ctl logs web -n shop --tail 5 -f",
        "ctl exec web -c main -it -- ls -l /",
        "ctl restart pod web",
    ] {
        let (code, text, why) = keadm(&device, words);
        assert_eq!((code, text.as_str()), (1, ""), "{words}");
        assert!(
            why.contains("runs no containers") && why.lines().count() == 1,
            "{why}"
        );
    }
}

#[test]
fn a_device_is_edited_on_the_cloud() {
    let device = Device::new("edge-1");
    let (ended, text, why) = keadm(&device, "ctl edit device thermometer -n shop");
    assert_eq!((ended, text.as_str()), (1, ""), "{why}");
    for part in [
        "only reads",
        "`kubectl edit device",
        "`kubeedge ctl get device",
    ] {
        assert!(why.contains(part), "{why}");
    }
    assert_eq!(why.lines().count(), 1, "{why}");
}

#[test]
fn keadm_shows_what_is_kept() {
    let Site { mut cloud, device } = Site::new();
    let keadm = |words: &str| keadm(&device, words);
    let (code, _, why) = keadm("ctl get pods");
    assert_eq!(code, 69, "{why}");
    assert!(why.contains("metaServer"), "{why}");
    let edge = started(&device);
    edge.connected();
    fill(&mut cloud);
    put(
        &mut cloud,
        "default/pod/web",
        &json!({"kind": "Pod", "apiVersion": "v1", "status": {"phase": "Pending"}}),
    );
    let (code, text, _) = keadm("ctl get configmaps -A");
    assert_eq!(code, 0);
    let first: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().take(2).collect())
        .collect();
    assert_eq!(
        first,
        [
            ["NAMESPACE", "NAME"],
            ["default", "one"],
            ["default", "two"],
            ["other", "three"]
        ]
    );
    let (_, text, _) = keadm("ctl get pods");
    assert!(text.contains("web") && text.contains("Pending"), "{text}");
    assert_eq!(keadm("ctl get cm -n other -o name").1, "configmap/three\n");
    let (code, text, _) = keadm("ctl get secret key -o json");
    let secret: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, &secret["data"]["word"]), (0, &json!("aGlkZGVu")));
    assert!(
        keadm("ctl get node edge-1 -o yaml")
            .1
            .contains("kind: Node\n")
    );
    let (code, _, why) = keadm("ctl get configmap none");
    assert!(code == 1 && why.contains("not found"), "{code} {why}");
    let (code, _, why) = keadm("ctl get gizmos");
    assert!(code == 64 && why.contains("configmaps"), "{code} {why}");
    edge.stop();
    cloud.satisfied();
}
