//! The grammar of `--set`, and where a value may go.

use super::*;
use crate::config::cloud::CloudConfig;
use crate::config::edge::EdgeConfig;
use proptest::prelude::*;
use serde_json::json;

/// Where KubeEdge lists no keys.
const FREE: &str = "modules.edged.tailoredKubeletConfig.memorySwap";

fn edge(items: &str) -> Result<Value, String> {
    let text = EdgeConfig::default_yaml("h", "192.0.2.2");
    run(&text, items, Kind::Edge)
}

fn run(text: &str, items: &str, kind: Kind) -> Result<Value, String> {
    let edited = parse_items(items).and_then(|items| apply(text, &items, kind));
    let edited = edited.map_err(|error| error.to_string())?;
    Ok(Document::parse(&edited, "f").expect("YAML").value)
}

#[test]
fn values_take_the_type_of_their_key() {
    for (item, pointer, expected) in [
        (
            "modules.edgeHub.heartbeat=30",
            "/modules/edgeHub/heartbeat",
            json!(30),
        ),
        (
            "modules.edgeHub.heartbeat=\"30\"",
            "/modules/edgeHub/heartbeat",
            json!(30),
        ),
        (
            " modules . edgeHub.enable = f ",
            "/modules/edgeHub/enable",
            json!(false),
        ),
        (
            "modules.edgeHub.enable=1",
            "/modules/edgeHub/enable",
            json!(true),
        ),
        (
            "modules.edgeHub.enable=off",
            "/modules/edgeHub/enable",
            json!(false),
        ),
        (
            "modules.edgeHub.token=a=b",
            "/modules/edgeHub/token",
            json!("a=b"),
        ),
        (
            "modules.edgeHub.token=",
            "/modules/edgeHub/token",
            json!(""),
        ),
        (
            "modules.edged.hostnameOverride=0123",
            "/modules/edged/hostnameOverride",
            json!("0123"),
        ),
        (
            "modules.edged.hostnameOverride=true",
            "/modules/edged/hostnameOverride",
            json!("true"),
        ),
        (
            "modules.edged.nodeIP=10",
            "/modules/edged/nodeIP",
            json!("10"),
        ),
        (
            "modules.edged.tailoredKubeletConfig.memoryThrottlingFactor=1",
            "/modules/edged/tailoredKubeletConfig/memoryThrottlingFactor",
            json!(1.0),
        ),
        (
            "modules.edged.tailoredKubeletConfig.syncFrequency=20s",
            "/modules/edged/tailoredKubeletConfig/syncFrequency",
            json!("20s"),
        ),
        (
            "modules.edged.nodeLabels={zone: 1, \"a:b\":\"c,d\"}",
            "/modules/edged/nodeLabels",
            json!({"zone": "1", "a:b": "c,d"}),
        ),
        (
            "modules.edged.nodeLabels.kubernetes.io/zone=1",
            "/modules/edged/nodeLabels",
            json!({"kubernetes.io/zone": "1"}),
        ),
        (
            "modules.edged.tailoredKubeletConfig.evictionHard.imagefs.available=5%",
            "/modules/edged/tailoredKubeletConfig/evictionHard/imagefs.available",
            json!("5%"),
        ),
        (
            "featureGates={moduleRestart:true}",
            "/featureGates",
            json!({"moduleRestart": true}),
        ),
        (
            "modules.metaManager.metaServer.apiAudiences={https://a, 5}",
            "/modules/metaManager/metaServer/apiAudiences",
            json!(["https://a", "5"]),
        ),
        (
            "modules.metaManager.metaServer.serviceAccountIssuers={}",
            "/modules/metaManager/metaServer/serviceAccountIssuers",
            json!([]),
        ),
        (
            "modules.metaManager.metaServer.serviceAccountIssuers[0]=x",
            "/modules/metaManager/metaServer/serviceAccountIssuers",
            json!(["x"]),
        ),
        (
            "modules.edged.tailoredKubeletConfig.enforceNodeAllocatable[2]=x",
            "/modules/edged/tailoredKubeletConfig/enforceNodeAllocatable",
            json!(["pods", "", "x"]),
        ),
        (
            "modules.edged.tailoredKubeletConfig.registerWithTaints[1].key=7",
            "/modules/edged/tailoredKubeletConfig/registerWithTaints",
            json!([{}, {"key": "7"}]),
        ),
    ] {
        let value = edge(item).expect(item);
        assert_eq!(value.pointer(pointer), Some(&expected), "{item}");
    }
}

#[test]
fn go_names_are_aliases() {
    for (item, pointer, expected) in [
        (
            "Modules.EdgeHub.Heartbeat=30",
            "/modules/edgeHub/heartbeat",
            json!(30),
        ),
        (
            "Modules.EdgeHub.TLSCAFile=/x",
            "/modules/edgeHub/tlsCaFile",
            json!("/x"),
        ),
        (
            "Modules.EdgeHub.WebSocket.Server=c:1",
            "/modules/edgeHub/websocket/server",
            json!("c:1"),
        ),
        (
            "DataBase.DataSource=/x",
            "/database/dataSource",
            json!("/x"),
        ),
        (
            "Modules.EventBus.TLS.Enable=true",
            "/modules/eventBus/eventBusTLS/enable",
            json!(true),
        ),
        (
            "Modules.EdgeStream.TunnelServer=c:1",
            "/modules/edgeStream/server",
            json!("c:1"),
        ),
        (
            "Modules.Edged.HostnameOverride=n",
            "/modules/edged/hostnameOverride",
            json!("n"),
        ),
        (
            "Modules.Edged.TailoredKubeletFlag.ContainerRuntimeOptions.PodSandboxImage=p",
            "/modules/edged/podSandboxImage",
            json!("p"),
        ),
        (
            "Modules.Edged.NodeLabels={A:b}",
            "/modules/edged/nodeLabels",
            json!({"A": "b"}),
        ),
        (
            "Modules.Edged.TailoredKubeletConfig.ResolverConfig=/r",
            "/modules/edged/tailoredKubeletConfig/resolvConf",
            json!("/r"),
        ),
        (
            "Modules.Edged.TailoredKubeletConfig.RegisterWithTaints[0].Effect=NoExecute",
            "/modules/edged/tailoredKubeletConfig/registerWithTaints",
            json!([{"effect": "NoExecute"}]),
        ),
    ] {
        let value = edge(item).expect(item);
        assert_eq!(value.pointer(pointer), Some(&expected), "{item}");
    }
}

#[test]
fn keys_that_nobody_lists_take_what_the_value_looks_like() {
    for (value, expected) in [
        ("5", json!(5)),
        ("0x5", json!("0x5")),
        ("1.5", json!(1.5)),
        ("inf", json!("inf")),
        ("t", json!(true)),
        ("\"5\"", json!("5")),
        ("null", json!("null")),
        ("{1,2}", json!([1, 2])),
        ("{1.5,2}", json!([1.5, 2.0])),
        ("{x y, 2}", json!(["x y", "2"])),
        ("{a:1,b:true,c:\"2\"}", json!({"a": 1, "b": true, "c": "2"})),
        ("{}", json!([])),
    ] {
        let found = run("", &format!("{FREE}.my.key={value}"), Kind::Edge).expect(value);
        let key = format!("/{}/my/key", FREE.replace('.', "/"));
        assert_eq!(found.pointer(&key), Some(&expected), "{value}");
    }
}

#[test]
fn several_items_come_in_order() {
    let items = "F.a.b=1,, F.a.c={x,y},F.a.b=2,F.\"q.r\".s=\"t,u\",";
    let found = run("", &items.replace('F', FREE), Kind::Edge).expect("good");
    let expected = json!({"a": {"b": 2, "c": ["x", "y"]}, "q.r": {"s": "t,u"}});
    let key = format!("/{}", FREE.replace('.', "/"));
    assert_eq!(found.pointer(&key), Some(&expected));
    assert_eq!(parse_items(" , "), Ok(vec![]));
}

#[test]
fn the_cloud_has_keys_of_its_own() {
    let text = CloudConfig::default_yaml("192.0.2.2");
    let items = "modules.cloudHub.edgeCertLifetime=90s,Modules.CloudHub.DNSNames={a,b},\
                 modules.cloudHub.partialMessageBudget=9999999999";
    let hub = run(&text, items, Kind::Cloud).expect("good")["modules"]["cloudHub"].take();
    assert_eq!(hub["edgeCertLifetime"], json!("90s"));
    assert_eq!(hub["dnsNames"], json!(["a", "b"]));
    assert_eq!(hub["partialMessageBudget"], json!(9_999_999_999u64));
}

#[test]
fn a_default_list_that_is_not_in_the_file_is_the_one_that_changes() {
    let path = "modules.edged.tailoredKubeletConfig.enforceNodeAllocatable";
    let found = run("", &format!("{path}[1]=x"), Kind::Edge).expect("good");
    let pointer = format!("/{}", path.replace('.', "/"));
    assert_eq!(found.pointer(&pointer), Some(&json!(["pods", "x"])));
}

#[test]
fn refusals_name_the_item() {
    for (item, expected) in [
        (
            "modules.edgeHub.heartbeat",
            "modules.edgeHub.heartbeat: there is no '='",
        ),
        ("=5", ": a key is missing"),
        ("a..b=5", "a..b: a key is missing"),
        ("a.[1]=5", "a.[1]: a key is missing"),
        ("a[x]=5", "a[x]: between [ and ] must be a number"),
        ("a[256]=5", "a[256]: between [ and ]"),
        ("a[1=5", "a[1: between [ and ]"),
        ("a[1]b=5", "a[1]b: 'b' cannot stand there"),
        ("a=\"x", "a: a quote is not closed"),
        ("a={x", "a: a { is not closed"),
        ("a=x}", "a: a } has no {"),
        ("a={b:{c:1}}", "a: braces cannot stand inside braces"),
        (
            "a={x:1,y}",
            "a: y in braces has no value: write it as key:value",
        ),
        ("my={x:1,x:2}", "my: x is in the braces twice"),
        ("a={x,}", "a: an element in the braces is empty"),
        (
            "a={1,x}",
            "a: the elements of a list must be of one kind: x is no number",
        ),
        ("a={1}2", "a: something stands behind the closing brace"),
        (
            "modules.edgeHub.heartbeat=x",
            "expected a whole number from",
        ),
        (
            "modules.edgeHub.heartbeat=1.7",
            "expected a whole number from",
        ),
        (
            "modules.edgeHub.heartbeat=2147483648",
            "expected a whole number from",
        ),
        (
            "modules.eventBus.mqttQOS=300",
            "expected a whole number from 0 to 2, found 300",
        ),
        (
            "modules.serviceBus.port=65536",
            "expected a whole number from 0 to 65535",
        ),
        (
            "modules.edgeHub.enable=maybe",
            "expected true or false, found maybe",
        ),
        ("modules.edgeHub.token={a}", "expected text, found braces"),
        ("modules.edgeHub=5", "expected a mapping like {a:1,b:2}"),
        (
            "modules.edged.tailoredKubeletConfig.clusterDNS=x",
            "expected a list like {a,b}",
        ),
        (
            "modules.edgehub.heartbeat=5",
            "there is no key edgehub: did you mean edgeHub?",
        ),
        ("modules.edgeHub.heartbeat.x=5", "is not a mapping"),
        ("modules.edgeHub.heartbeat[0]=5", "is not a list"),
        ("Modules.EdgeHub.Nothing=5", "there is no field Nothing"),
        (
            "modules.edgeHub.hartbeat=5",
            "--set modules.edgeHub.hartbeat: there is no such key: did you mean heartbeat?",
        ),
        (
            "modules.edgeHub={hartbeat:5}",
            "there is no such key: did you mean heartbeat?",
        ),
        (
            "modules.metaManager.deliver[0].xyzzy=5",
            "there is no such key",
        ),
        ("my.key=5", "there is no such key"),
        (
            "Modules.Edged.TailoredKubeletFlag=5",
            "the path ends at TailoredKubeletFlag",
        ),
    ] {
        let error = edge(item).expect_err(item);
        assert!(error.starts_with("--set "), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn no_refusal_shows_a_token() {
    let token = "a".repeat(64) + ".secret.part";
    for item in [
        format!("modules.edgeHub.token={{{token}}}"),
        format!("modules.edgeHub.token=\"{token}"),
        format!("modules.edgeHub.token.x={token}"),
        token.clone(),
    ] {
        let error = edge(&item).expect_err("refused");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn comments_stay() {
    let text = "# mine\nmodules:\n  edgeHub:\n    heartbeat: 15 # slow\n";
    let items = parse_items("modules.edgeHub.heartbeat=30").expect("good");
    let edited = apply(text, &items, Kind::Edge).expect("good");
    assert_eq!(edited, text.replace("15", "30"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-zA-Z0-9.,=:{}\\[\\]\" ]{0,40}") {
        if let Ok(items) = parse_items(&text) {
            let _ = apply("", &items, Kind::Edge);
        }
    }
}
