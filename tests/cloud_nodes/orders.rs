//! What operators say, and what they are told.

use crate::common::site::Cloudcore;
use crate::common::wait_until;
use crate::support::{Peer, apply, config, ctl, node};

#[test]
fn orders_that_make_no_sense_say_why() {
    let mut cloud = Cloudcore::start(&[]);
    for (yaml, part) in [
        (
            "kind: Deployment\napiVersion: apps/v1\nmetadata: {name: a}\n",
            "kind \"Deployment\" is none of",
        ),
        (
            "kind: ConfigMap\napiVersion: v2\nmetadata: {name: a}\n",
            "apiVersion \"v2\"",
        ),
        ("kind: ConfigMap\napiVersion: v1\n", "no metadata.name"),
        (
            "kind: ConfigMap\napiVersion: v1\nmetadata: {name: ../a}\n",
            "\"../a\" can't be a name",
        ),
        (
            "kind: Secret\napiVersion: v1\nmetadata: {name: a, namespace: kubeedge}\n",
            "the cloud's own",
        ),
        (
            "kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec: {}\n",
            "needs a node",
        ),
    ] {
        let file = cloud.keep("bad.yaml", yaml);
        let said = ctl(&cloud, &["apply", "-f", &file]).ends(1);
        assert!(said.err.contains(part), "{yaml}: {}", said.err);
    }
    let file = cloud.keep("bad.yaml", "a: 1\na: 2\n");
    assert!(
        ctl(&cloud, &["apply", "-f", &file])
            .ends(78)
            .err
            .contains("bad.yaml:2")
    );
    let good = cloud.keep("good.yaml", &config("a", "1"));
    for label in ["x", "a=b,c=d"] {
        let said = ctl(&cloud, &["apply", "-f", &good, "--selector", label]).ends(64);
        assert!(said.err.contains("role=router"), "{}", said.err);
    }
    for words in [
        &["apply", "-f", &good, "--node", "No Node"][..],
        &["delete", "cm", "../a"],
        &["delete", "node", "No Node"],
    ] {
        ctl(&cloud, words).ends(64);
    }
    ctl(&cloud, &["apply", "-f", "/nonexistent"]).ends(78);
    ctl(&cloud, &["get", "deployment"]).ends(64);
    ctl(&cloud, &["frobnicate"]).ends(64);
    assert!(ctl(&cloud, &["--help"]).ends(0).out.contains("apply"));
    for command in ["nodes", "apply", "get", "delete"] {
        assert!(
            ctl(&cloud, &[command, "--help"])
                .ends(0)
                .out
                .contains("Example")
        );
    }
    // An object of nearly 1.5 MiB passes, a larger one does not.
    let large = |bytes: usize| {
        format!(
            r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"big"}},"data":{{"x":"{}"}}}}"#,
            "x".repeat(bytes)
        )
    };
    assert!(apply(&cloud, &large((3 << 19) - 1000), &["--node", "edge-1"]).contains("created"));
    let file = cloud.keep("large.json", &large(2 << 20));
    assert!(
        ctl(&cloud, &["apply", "-f", &file])
            .ends(1)
            .err
            .contains("1.5 MiB")
    );
    let whole = ctl(&cloud, &["get", "configmap", "big", "-o", "json"])
        .ends(0)
        .json();
    assert!(whole["data"]["x"].as_str().unwrap().len() > 1 << 19);
    cloud.stop();
    assert!(
        ctl(&cloud, &["nodes"])
            .ends(69)
            .err
            .contains("cloudcore does not run")
    );
}

#[test]
fn only_nodes_with_a_session_are_counted_as_told() {
    let cloud = Cloudcore::start(&[]);
    let mut peer = Peer::start(&cloud, "edge-1", &[]);
    peer.online();
    peer.tell("register");
    let nodes = ["--node", "edge-1", "--node", "egde-1"];
    let said = apply(&cloud, &config("app", "1"), &nodes);
    let slip = "1 node is told; no node is called egde-1 yet\n";
    assert_eq!(said, format!("configmap default/app created, {slip}"));
    peer.pushed(0, "insert", "default/configmap/app");
    // One that is known and away hears of it when it comes back.
    peer.tell("drop");
    wait_until("its end", || node(&cloud, "edge-1")["connected"] == false);
    let said = apply(&cloud, &config("app", "2"), &["--node", "edge-1"]);
    assert_eq!(said, "configmap default/app changed\n");
}

const SECRET: &str =
    "kind: Secret\napiVersion: v1\nmetadata: {name: key}\nstringData: {word: hush}\n";

#[test]
fn labels_that_only_operators_give_decide_who_gets_a_secret() {
    let cloud = Cloudcore::start(&[]);
    let (reserved, key) = (
        "node-restriction.kubernetes.io/site=berlin",
        "default/secret/key",
    );
    let label = |words: &[&str]| ctl(&cloud, &[&["label"], words].concat());
    let said = label(&["edge-1", reserved]).ends(1);
    assert!(said.err.contains("\"edge-1\" not found"), "{}", said.err);
    // A node that says it is one of those.
    let mut liar = Peer::start(&cloud, "edge-2", &["--label", reserved]);
    let mut peer = Peer::start(&cloud, "edge-1", &["--label", "role=router"]);
    for peer in [&mut liar, &mut peer] {
        peer.online();
        peer.tell("register");
    }
    let file = cloud.keep("secret.yaml", SECRET);
    let said = ctl(&cloud, &["apply", "-f", &file, "--selector", reserved]).ends(0);
    assert_eq!(
        (said.out.as_str(), said.err.as_str()),
        ("secret default/key created\n", "")
    );
    let said = label(&["edge-1", reserved, "site=x"]).ends(0).out;
    assert_eq!(said, "node edge-1 labelled, it gets 1 object\n");
    peer.pushed(0, "update", key);
    assert_eq!(
        label(&["edge-1", reserved]).ends(0).out,
        "node edge-1 unchanged\n"
    );
    // What the node says of itself later takes nothing of it away, nor does a start of the cloud.
    peer.tell("register");
    let patch = r#""{\"metadata\":{\"labels\":{\"node-restriction.kubernetes.io/site\":null}}}""#;
    peer.ask(&format!("patch null/nodepatch/edge-1 {patch}"));
    let names = |words: &[&str]| {
        ctl(&cloud, &[&["get", "nodes", "-o", "name"], words].concat())
            .ends(0)
            .out
    };
    assert_eq!(names(&["-l", reserved]), "node/edge-1\n");
    let from = peer.seen.len();
    let said = label(&["edge-1", "node-restriction.kubernetes.io/site-", "none-"]).ends(0);
    assert_eq!(said.out, "node edge-1 labelled, it loses 1 object\n");
    peer.pushed(from, "delete", key);
    liar.tell("ping");
    assert!(liar.seen.iter().all(|event| event["resource"] != key));
    assert_eq!(names(&["-l", "site=x,role in (router)"]), "node/edge-1\n");

    // A label that nodes give themselves is trusted, but not without a word.
    let said = ctl(&cloud, &["apply", "-f", &file, "--selector", "role=router"]).ends(0);
    assert_eq!(said.out, "secret default/key changed, 1 node is told\n");
    let warned: Vec<&str> = said.err.lines().collect();
    assert!(
        warned.len() == 1 && warned[0].contains("any node may give itself the label \"role\""),
        "{warned:?}"
    );
    let plain = cloud.keep("config.yaml", &config("app", "1"));
    let said = ctl(
        &cloud,
        &["apply", "-f", &plain, "--selector", "role=router"],
    )
    .ends(0);
    assert_eq!(said.err, "");
    // Deleted, it is nobody's friend any more.
    label(&["edge-1", reserved]).ends(0);
    ctl(&cloud, &["delete", "node", "edge-1"]).ends(0);
    peer.until(|event| event["event"] == "disconnected");
    peer.online();
    peer.tell("register");
    assert_eq!(names(&["-l", reserved]), "");
    for words in [&["edge-1"][..], &["edge-1", "role"], &["No Node", "a=b"]] {
        let said = label(words).ends(64);
        assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    }
    label(&[]).ends(64);
}

#[test]
fn objects_are_shown_as_they_are_asked_for() {
    let cloud = Cloudcore::start(&[]);
    for name in ["a", "b"] {
        apply(&cloud, &config(name, "1"), &["--node", "edge-1"]);
    }
    let labelled = config("c", "1").replace("name: c", "name: c\n  labels: {app: web}");
    apply(&cloud, &labelled, &["-n", "shop"]);
    let get = |words: &[&str]| ctl(&cloud, &[&["get"], words].concat());
    let out = |words: &[&str]| get(words).ends(0).out;
    let named = |words: &[&str]| out(&[words, &["-o", "name"]].concat());
    assert_eq!(named(&["cm"]), "configmap/a\nconfigmap/b\n");
    assert_eq!(
        named(&["configmaps", "-A"]),
        "configmap/a\nconfigmap/b\nconfigmap/c\n"
    );
    assert_eq!(named(&[]), named(&["cm", "-A"]));
    assert_eq!(named(&["ConfigMap", "-n", "shop"]), "configmap/c\n");
    assert_eq!(named(&["cm", "-A", "-l", "app=web"]), "configmap/c\n");
    assert_eq!(named(&["cm", "b", "a"]), "configmap/a\nconfigmap/b\n");
    assert_eq!(out(&["pods"]), "there are no objects\n");
    let text = out(&["cm", "a"]);
    let cells: Vec<Vec<&str>> = text
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(
        cells[0],
        ["NAMESPACE", "TYPE", "NAME", "VERSION", "GIVEN", "TO"]
    );
    assert_eq!(cells[1][..3], ["default", "configmap", "a"]);
    assert_eq!(cells[1][4], "edge-1");
    let one = get(&["cm", "a", "-o", "json"]).ends(0).json();
    assert_eq!(one["metadata"]["name"], "a");
    let list = get(&["cm", "-A", "-o", "json"]).ends(0).json();
    let items = list["items"].as_array().expect("a list");
    assert_eq!((&list["kind"], items.len()), (&"List".into(), 3));
    // YAML can be given back.
    let yaml = cloud.keep("back.yaml", &out(&["cm", "-A", "-o", "yaml"]));
    let said = ctl(&cloud, &["apply", "-f", &yaml]).ends(0).out;
    assert_eq!(said.matches(" unchanged\n").count(), 3, "{said}");
    // One of two is there: it is shown, and the other one missed.
    let said = get(&["cm", "a", "x", "-o", "name"]).ends(1);
    assert_eq!(said.out, "configmap/a\n");
    assert!(said.err.contains("there is no configmap x"), "{}", said.err);
    let said = get(&["cm", "x", "-o", "json"]).ends(1);
    assert_eq!(said.json()["exitCode"], 1);
    for words in [
        &["cm", "-A", "-n", "shop"][..],
        &["cm", "a", "-A"],
        &["cm", "a", "-l", "app"],
        &["cm", "-l", "a b"],
        &["cm", "-o", "xml"],
    ] {
        get(words).ends(64);
    }
}
