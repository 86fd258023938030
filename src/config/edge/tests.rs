//! edgecore.yaml: what is read of it, and the files that are printed.

use super::*;
use crate::config::{edit, path};
use serde_json::{Value, json};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");

fn recorded(name: &str) -> String {
    std::fs::read_to_string(format!("{VECTORS}/{name}")).expect(name)
}

fn value(text: &str) -> Value {
    Document::parse(text, "f").expect(text).value
}

fn load(text: &str) -> EdgeConfig {
    let (config, warnings) = EdgeConfig::load(text, "f").expect(text);
    assert_eq!(warnings, Vec::<String>::new());
    config
}

fn refusal(text: &str) -> String {
    EdgeConfig::load(text, "f").expect_err(text).to_string()
}

#[test]
fn the_default_file_is_that_of_kubeedge() {
    let ours = value(&EdgeConfig::default_yaml("vm", "192.0.2.2"));
    assert_eq!(ours, value(&recorded("config/edgecore-defaultconfig.yaml")));
}

#[test]
fn text_and_types_agree_on_the_defaults() {
    let mut expected = EdgeConfig::default();
    assert_eq!(load(""), expected);
    expected.node_name = Some("edge-1".parse().expect("a name"));
    assert_eq!(
        load(&EdgeConfig::default_yaml("edge-1", "127.0.0.1")),
        expected
    );
    assert_eq!(load(&EdgeConfig::min_yaml("edge-1", "127.0.0.1")), expected);
}

#[test]
fn the_small_file_is_part_of_the_large_one() {
    fn check(small: &Value, large: &Value) {
        match small {
            Value::Object(map) => map.iter().for_each(|(key, v)| check(v, &large[key])),
            small => assert_eq!(small, large),
        }
    }
    check(
        &value(&EdgeConfig::min_yaml("h", "192.0.2.2")),
        &value(&EdgeConfig::default_yaml("h", "192.0.2.2")),
    );
}

#[test]
fn strange_hosts_and_ipv6_fit_into_the_files() {
    for text in [
        EdgeConfig::default_yaml("on", "2001:db8::1"),
        EdgeConfig::min_yaml("on", "2001:db8::1"),
    ] {
        let config = load(&text);
        assert_eq!(config.node_name.map(String::from).as_deref(), Some("on"));
        assert_eq!(config.hub.http_server.to_string(), "[2001:db8::1]:10002");
        assert_eq!(
            config.hub.websocket.server.to_string(),
            "[2001:db8::1]:10000"
        );
    }
}

#[test]
fn files_of_go_load() {
    for version in ["", "v1.13/"] {
        let config = load(&recorded(&format!(
            "{version}config/edgecore-defaultconfig.yaml"
        )));
        let mut expected = EdgeConfig {
            node_name: Some("vm".parse().expect("a name")),
            ..EdgeConfig::default()
        };
        expected.hub.http_server = "192.0.2.2:10002".parse().expect("an endpoint");
        expected.hub.websocket.server = "192.0.2.2:10000".parse().expect("an endpoint");
        expected.hub.quic.server = "192.0.2.2:10001".parse().expect("an endpoint");
        if version == "v1.13/" {
            expected.node.address = Some("192.0.2.2".parse().expect("an address"));
            expected.node.root = "/var/lib/edged".into();
        }
        assert_eq!(config, expected, "{version}");
        let text = recorded(&format!("{version}config/edgecore-minconfig.yaml"));
        assert!(!load(&text).hub.enable, "{version}");
    }
}

#[test]
fn words_of_yaml_1_1_and_missing_keys_are_understood() {
    let config = load(
        "modules: {edgeHub: {rotateCertificates: off, websocket: {server: 'c.example:1'}, \
         token: ' t '}, edged: {hostnameOverride: 123}, taskManager: {enable: yes, allowedImages: [r.example/k/]}}",
    );
    assert_eq!(config.job_images, ["r.example/k/"]);
    assert!(!config.hub.rotate_certificates);
    assert!(config.task_manager);
    assert_eq!(config.hub.http_server.to_string(), "c.example:10002");
    assert_eq!(config.hub.token, Some(Secret::new("t")));
    assert_eq!(config.node_name.map(String::from).as_deref(), Some("123"));
}

#[test]
fn errors_name_file_line_and_key() {
    for (key, bad, expected) in [
        (
            "heartbeat",
            json!("x"),
            "expected whole seconds, found \"x\"",
        ),
        ("heartbeat", json!(0), "expected whole seconds, found 0"),
        ("heartbeat", json!(1.5), "expected whole seconds, found 1.5"),
        ("enable", json!(1), "expected true or false, found 1"),
        (
            "messageQPS",
            json!(-1),
            "expected a whole number from 0 to 2147483647, found -1",
        ),
        (
            "tlsCaFile",
            json!("ca.crt"),
            "expected an absolute path, found \"ca.crt\"",
        ),
        (
            "projectID",
            json!("a/b"),
            "expected letters, digits, '-', '_' and '.', found",
        ),
        (
            "httpServer",
            json!("http://c:1"),
            "\"http://c:1\": expected a URL like https://",
        ),
        (
            "httpServer",
            json!("https://c:1/x"),
            "only a host and a port",
        ),
        ("httpServer", json!("https://c:x"), "\"https://c:x\": "),
        ("websocket.server", json!("c"), "\"c\": "),
        (
            "websocket",
            json!([]),
            "expected keys and values, found a list",
        ),
        ("token", json!(77), "expected text: put the token in quotes"),
    ] {
        let key = format!("modules.edgeHub.{key}");
        let text = EdgeConfig::default_yaml("h", "192.0.2.2");
        let text = edit::set(&text, &path(&key), &bad).expect(&key);
        let line = Document::parse(&text, "f").expect(&key).line(&path(&key));
        let refusal = refusal(&text);
        assert!(
            refusal.starts_with(&format!("f:{line}: {key}: ")),
            "{refusal}"
        );
        assert!(refusal.contains(expected), "{refusal}");
        assert!(!refusal.contains("77"), "{refusal}");
    }
}

#[test]
fn wrong_files_are_refused() {
    for (text, expected) in [
        (
            "kind: CloudCore",
            "f:1: kind: expected EdgeCore, found CloudCore",
        ),
        ("- a", "f:1: expected keys and values, found a list"),
        ("a: b: c", "f:1: "),
        (
            "modules:\n  edged: {hostnameOverride: A}",
            "f:2: modules.edged.hostnameOverride: \"A\"",
        ),
        (
            "modules:\n  edgeHub:\n    websocket: {enable: false}",
            "f:2: modules.edgeHub: one of",
        ),
    ] {
        let refusal = refusal(text);
        assert!(refusal.starts_with(expected), "{refusal}");
    }
}

#[test]
fn quic_alone_has_a_websocket_beside_it() {
    let load = |text: &str| EdgeConfig::load(text, "f").expect("it loads").0.hub;
    let hub = load(
        "modules: {edgeHub: {websocket: {enable: false}, quic: {enable: true, server: 'x:7'}}}",
    );
    assert_eq!(hub.websocket.server.to_string(), "x:10000");
    assert_eq!(hub.http_server.to_string(), "x:10002");
    let hub = load(
        "modules: {edgeHub: {websocket: {server: 'y:9'}, quic: {enable: true, server: 'x:7'}}}",
    );
    assert_eq!(hub.websocket.server.to_string(), "y:9");
    assert_eq!(hub.http_server.to_string(), "y:10002");
}

#[test]
fn an_old_version_is_a_warning() {
    let text = "\napiVersion: edgecore.config.kubeedge.io/v1alpha1\n";
    let (_, warnings) = EdgeConfig::load(text, "f").expect("it loads");
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("f:2: apiVersion: "), "{warnings:?}");
}

#[test]
fn the_token_is_erased_and_nothing_else() {
    let text = recorded("config/edgecore-defaultconfig.yaml")
        .replace("token: \"\"", "token: abc.def # from join\n    # mine");
    let erased = edit::set(&text, &path("modules.edgeHub.token"), &json!("")).expect("it works");
    assert_eq!(erased, text.replace("abc.def", "\"\""));
    assert_eq!(load(&text).hub.token, Some(Secret::new("abc.def")));
    assert_eq!(load(&erased).hub.token, None);
}
