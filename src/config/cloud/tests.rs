//! Tests of the configuration of cloudcore.

use super::*;
use crate::config::{edit, path};
use serde_json::json;

fn recorded(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
    std::fs::read_to_string(format!("{folder}/{name}")).expect(name)
}

fn load(text: &str) -> CloudConfig {
    let (config, warnings) = CloudConfig::load(text, "f").expect(text);
    assert_eq!(warnings, Vec::<String>::new());
    config
}

#[test]
fn the_default_file_is_that_of_kubeedge_with_our_keys() {
    let mut ours = CloudConfig::default_yaml("192.0.2.2");
    for key in [
        "impersonateNodes",
        "legacyCertificates",
        "maxMessageSize",
        "objectSync",
        "partialMessageBudget",
        "protectNames",
        "renewAfterExpiry",
        "sandbox",
    ] {
        let key = path(&format!("modules.cloudHub.{key}"));
        assert!(edit::get(&ours, &key).expect("good").is_some());
        ours = edit::remove(&ours, &key).expect("removable");
    }
    let value = |text: &str| Document::parse(text, "f").expect(text).value;
    let theirs = recorded("config/cloudcore-defaultconfig.yaml");
    assert_eq!(value(&ours), value(&theirs));
}

#[test]
fn text_and_types_agree_on_the_defaults() {
    let mut expected = CloudConfig::default();
    assert_eq!(load(""), expected);
    expected.hub.advertise_address = vec!["2001:db8::1".parse().expect("an address")];
    assert_eq!(load(&CloudConfig::default_yaml("2001:db8::1")), expected);
    assert_eq!(load(&CloudConfig::min_yaml("2001:db8::1")), expected);
}

#[test]
fn files_of_go_load() {
    for version in ["", "v1.13/"] {
        let config = load(&recorded(&format!(
            "{version}config/cloudcore-defaultconfig.yaml"
        )));
        let mut expected = CloudConfig::default();
        expected.hub.advertise_address = vec![Ipv4Addr::new(192, 0, 2, 2).into()];
        expected.hub.node_limit = config.hub.node_limit;
        assert_eq!(config, expected, "{version}");
        let text = recorded(&format!("{version}config/cloudcore-minconfig.yaml"));
        assert!(!load(&text).hub.enable, "{version}");
    }
}

#[test]
fn our_keys_are_read() {
    let config = load(
        "modules: {cloudHub: {legacyCertificates: rotate, protectNames: on, \
         edgeCertSigningDuration: 10, edgeCertLifetime: 90s, maxMessageSize: 65536, \
         partialMessageBudget: 1000000, impersonateNodes: on, objectSync: on, dnsNames: ['', c.example], websocket: {port: 0}}, taskManager: {enable: on}}\n\
         commonConfig: {monitorServer: {bindAddress: 'localhost:1'}}\n\
         kubeAPIConfig: {kubeConfig: /root/.kube/config, master: '', qps: 5}",
    );
    assert_eq!(config.kube_config.as_deref(), Some("/root/.kube/config"));
    assert_eq!(config.master, None);
    assert_eq!(config.hub.legacy_certificates, LegacyCertificates::Rotate);
    assert!(config.hub.protect_names && config.jobs);
    assert!(config.hub.impersonate_nodes && config.hub.object_sync);
    assert_eq!(config.hub.edge_cert_lifetime, Duration::from_secs(90));
    assert_eq!(config.hub.max_message_size, 65_536);
    assert_eq!(config.hub.partial_message_budget, 1_000_000);
    assert_eq!(config.hub.dns_names, ["c.example"]);
    assert_eq!(config.hub.websocket.socket().to_string(), "0.0.0.0:0");
    assert_eq!(config.monitor, "127.0.0.1:1".parse().ok());
}

#[test]
fn the_metrics_can_be_anywhere_or_nowhere() {
    for (text, expected) in [
        (":1", Some(Some("0.0.0.0:1"))),
        ("[::1]:1", Some(Some("[::1]:1"))),
        ("", Some(None)),
        ("c.example:1", None),
        ("127.0.0.1", None),
        ("localhost:x", None),
    ] {
        let expected = expected.map(|found| found.map(|t| t.parse().expect(t)));
        assert_eq!(bind_address(&json!(text)), expected, "{text}");
    }
}

#[test]
fn errors_name_file_line_and_key() {
    for (key, bad, expected) in [
        (
            "nodeLimit",
            json!(0),
            "expected a whole number from 1 to 2147483647, found 0",
        ),
        (
            "keepaliveInterval",
            json!("30s"),
            "expected whole seconds, found \"30s\"",
        ),
        (
            "tokenRefreshDuration",
            json!(0),
            "expected whole hours, found 0",
        ),
        (
            "edgeCertSigningDuration",
            json!(-1),
            "expected whole days, found -1",
        ),
        (
            "edgeCertLifetime",
            json!("0s"),
            "expected a duration longer than zero",
        ),
        (
            "edgeCertLifetime",
            json!(90),
            "expected a duration longer than zero",
        ),
        (
            "advertiseAddress",
            json!(["c.example"]),
            "\"c.example\" is not an IP address",
        ),
        (
            "advertiseAddress",
            json!("192.0.2.1"),
            "expected a list of texts",
        ),
        (
            "dnsNames",
            json!([["x"]]),
            "expected a list of texts, found a list",
        ),
        (
            "websocket.port",
            json!(65_536),
            "expected a whole number from 0 to 65535",
        ),
        (
            "https.address",
            json!("c"),
            "expected an IP address, found \"c\"",
        ),
        (
            "legacyCertificates",
            json!(true),
            "expected false, rotate or full, found true",
        ),
        (
            "renewAfterExpiry",
            json!("a while"),
            "expected a duration like 30d or 12h",
        ),
        (
            "maxMessageSize",
            json!(1),
            "expected a whole number from 65536",
        ),
        (
            "partialMessageBudget",
            json!(70_000),
            "must be at least modules.cloudHub.maxMessage",
        ),
        (
            "authorization",
            json!(true),
            "expected keys and values, found true",
        ),
    ] {
        let key = format!("modules.cloudHub.{key}");
        let text = CloudConfig::default_yaml("192.0.2.2");
        let text = edit::set(&text, &path(&key), &bad).expect(&key);
        let line = Document::parse(&text, "f").expect(&key).line(&path(&key));
        let refusal = CloudConfig::load(&text, "f").expect_err(&key).to_string();
        assert!(
            refusal.starts_with(&format!("f:{line}: {key}: ")),
            "{refusal}"
        );
        assert!(refusal.contains(expected), "{refusal}");
    }
}
