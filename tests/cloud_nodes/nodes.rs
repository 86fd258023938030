//! Nodes that register, what they get and what they don't.

use std::collections::BTreeSet;

use crate::common::site::Cloudcore;
use crate::support::{Peer, apply, config, ctl, node};

#[test]
fn a_node_registers_and_outlives_kills_of_the_cloud() {
    let mut cloud = Cloudcore::start(&[]);
    let mut peer = Peer::start(&cloud, "edge-1", &[]);
    let mut versions = Vec::new();
    let mut uids = BTreeSet::new();
    for round in 0..4 {
        peer.online();
        versions.push(peer.version("register", "registered"));
        versions.push(peer.version("lease", "renewed"));
        versions.push(peer.version("lease", "renewed"));
        let told = node(&cloud, "edge-1");
        assert_eq!(
            (&told["ready"], &told["connected"]),
            (&true.into(), &true.into())
        );
        assert_eq!(
            (&told["condition"], &told["reason"]),
            (&"True".into(), &"EdgeReady".into())
        );
        assert_eq!(told["addresses"][0], "192.0.2.7");
        assert!(told["lease_age_ms"].as_u64().expect("a lease") < 40_000);
        let object = ctl(&cloud, &["get", "node", "edge-1", "-o", "json"])
            .ends(0)
            .json();
        uids.insert(
            object["metadata"]["uid"]
                .as_str()
                .expect("a uid")
                .to_owned(),
        );
        // In the middle of a lease, of a patch, and of nothing.
        let from = peer.seen.len();
        match round {
            0 => peer.order("lease"),
            1 => peer.order("register"),
            _ => {}
        }
        cloud.kill();
        peer.since(from, &["disconnected"]);
        if round < 2 {
            peer.since(from, &["cut", "did"]);
        }
        cloud.start_again(&[]);
        assert_eq!(
            node(&cloud, "edge-1")["ready"],
            false,
            "nothing was heard yet"
        );
    }
    assert_eq!(uids.len(), 1, "one node: {uids:?}");
    let mut sorted = versions.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(versions, sorted, "versions grow and never repeat");
}

#[test]
fn objects_reach_their_nodes_whatever_happens() {
    let mut cloud = Cloudcore::start(&[]);
    let said = apply(&cloud, &config("app", "1"), &["--selector", "role=router"]);
    assert_eq!(said, "configmap default/app created\n");
    let mut peer = Peer::start(&cloud, "edge-1", &["--label", "role=router"]);
    peer.online();
    peer.tell("register");
    // It joins later and gets what its label is given.
    let app = "default/configmap/app";
    let first = peer.pushed(0, "insert", app);
    assert_eq!(first["content"]["data"]["key"], "1");

    // The latest counts, in order.
    let from = peer.seen.len();
    for value in 2..6 {
        let said = apply(&cloud, &config("app", &value.to_string()), &[]);
        assert_eq!(said, "configmap default/app changed, 1 node is told\n");
    }
    peer.until(|event| event["content"]["data"]["key"] == "5");
    let versions: Vec<u64> = peer.seen[from..]
        .iter()
        .filter(|event| event["resource"] == app)
        .map(|event| event["version"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(versions.is_sorted(), "{versions:?}");
    let said = apply(&cloud, &config("app", "5"), &[]);
    assert_eq!(said, "configmap default/app unchanged\n");

    // A lost acknowledgement: the same bytes again, and others are not held up.
    peer.tell("acks lose 1");
    let from = peer.seen.len();
    apply(&cloud, &config("app", "lost"), &[]);
    let lost = peer.pushed(from, "update", app);
    apply(&cloud, &config("other", "x"), &["--node", "edge-1"]);
    peer.pushed(from, "insert", "default/configmap/other");
    let again = peer.until(|event| event["event"] == "push" && event["resource"] == app);
    assert_eq!(
        (&again["id"], &again["version"]),
        (&lost["id"], &lost["version"])
    );
    assert_eq!(
        (&lost["acked"], &again["acked"]),
        (&false.into(), &true.into())
    );

    // What vanishes while it is away, and a cloud that dies between any two of these.
    peer.tell("drop");
    ctl(&cloud, &["delete", "configmap", "other"]).ends(0);
    cloud.kill();
    cloud.start_again(&[]);
    apply(&cloud, &config("app", "6"), &[]);
    cloud.kill();
    cloud.start_again(&[]);
    let from = peer.seen.len();
    peer.online();
    peer.pushed(from, "update", "null/node/edge-1");
    assert_eq!(
        peer.pushed(from, "update", app)["content"]["data"]["key"],
        "6"
    );
    peer.pushed(from, "delete", "default/configmap/other");
    peer.tell("ping");
    assert_eq!(
        cloud.metric("kubeedge_objects_gone"),
        0,
        "it was acknowledged"
    );
    let from = peer.seen.len();
    peer.tell("drop");
    peer.online();
    peer.pushed(from, "update", app);
    peer.tell("ping");
    let again = peer.seen[from..]
        .iter()
        .any(|event| event["op"] == "delete");
    assert!(!again, "what is forgotten is forgotten");

    // Given to another one, it is taken from the first.
    let from = peer.seen.len();
    apply(&cloud, &config("app", "6"), &["--node", "edge-2"]);
    peer.pushed(from, "delete", app);
    peer.tell("held");
    let held = peer
        .seen
        .iter()
        .rfind(|event| event["event"] == "held")
        .unwrap();
    assert_eq!(
        held["objects"].as_object().unwrap().len(),
        1,
        "only the Node: {held}"
    );
}

#[test]
fn a_node_neither_sees_nor_changes_what_is_anothers() {
    let cloud = Cloudcore::start(&[]);
    let mut one = Peer::start(&cloud, "edge-1", &[]);
    let mut two = Peer::start(&cloud, "edge-2", &[]);
    for peer in [&mut one, &mut two] {
        peer.online();
        peer.tell("register");
        peer.tell("lease");
    }
    let secret = "kind: Secret\napiVersion: v1\nmetadata: {name: key}\nstringData: {word: hush}\n";
    apply(&cloud, secret, &["--node", "edge-1"]);
    one.pushed(0, "update", "default/secret/key");
    let mine = one.ask("query default/secret/key");
    assert_eq!(mine["content"]["data"]["word"], "aHVzaA==");
    assert_eq!(
        mine["version"],
        mine["content"]["metadata"]["resourceVersion"]
    );

    for (question, code) in [
        ("query kube-node-lease/lease/edge-1", 403),
        ("query default/lease/edge-2", 403),
        (
            r#"insert null/node/edge-1 {"metadata":{"name":"edge-1"}}"#,
            403,
        ),
        (r#"patch null/nodepatch/edge-1 "{}""#, 403),
        (r#"patch null/nodepatch/edge-2 "[1""#, 400),
        (r#"patch default/podpatch/none "{}""#, 404),
        (
            r#"insert default/pod/spy {"metadata":{"name":"spy","namespace":"default","annotations":{"kubernetes.io/config.mirror":"x"}},"spec":{"nodeName":"edge-2","volumes":[{"secret":{"secretName":"key"}}]}}"#,
            403,
        ),
        (
            r#"update kube-node-lease/lease/edge-2 {"metadata":{"name":"edge-2"},"spec":{}}"#,
            422,
        ),
        (
            r#"update kube-node-lease/lease/edge-2 {"metadata":{"name":"edge-2","resourceVersion":"1"},"spec":{}}"#,
            409,
        ),
        (
            r#"insert kube-node-lease/lease/edge-2 {"metadata":{"name":"edge-2","ownerReferences":[{"uid":""}]},"spec":{}}"#,
            422,
        ),
        (
            r#"insert kube-node-lease/lease/edge-2 {"metadata":{"name":"edge-2"},"spec":{}}"#,
            409,
        ),
    ] {
        let answer = two.ask(question);
        let error = &answer["content"]["Err"]["ErrStatus"];
        assert_eq!(error["code"], code, "{question}: {answer}");
        assert_eq!(error["status"], "Failure");
    }
    for question in [
        "query default/secret/key",
        "query default/secret/none",
        "query kubeedge/secret/casecret",
        "query null/node/edge-1",
        "query default/serviceaccounttoken/default",
        "query default/persistentvolumeclaim/data",
    ] {
        let answer = two.ask(question);
        assert_eq!(answer["operation"], "error", "{question}");
        assert!(answer["content"].is_string(), "{answer}");
    }
    let names = |peer: &mut Peer| {
        peer.tell("ping");
        let pushes = peer.seen.iter().filter(|event| event["event"] == "push");
        pushes
            .map(|event| event["resource"].as_str().unwrap().to_owned())
            .collect()
    };
    let pushed: BTreeSet<String> = names(&mut two);
    assert_eq!(pushed, BTreeSet::from(["null/node/edge-2".to_owned()]));
    assert!(cloud.metric("kubeedge_requests_denied_total") >= 5);
    assert!(!cloud.log().contains("hush") && !cloud.log().contains("aHVzaA"));
}

#[test]
fn a_pod_is_delivered_reported_and_ended() {
    let cloud = Cloudcore::start(&[]);
    let mut peer = Peer::start(&cloud, "edge-1", &[]);
    peer.online();
    peer.tell("register");
    let yaml = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers: [{name: web, image: web:1, \
                envFrom: [{configMapRef: {name: app}}]}]\n---\n"
        .to_owned()
        + &config("app", "1");
    apply(&cloud, &yaml, &["--node", "edge-1"]);
    let pod = peer.pushed(0, "insert", "default/pod/web");
    assert_eq!(pod["content"]["spec"]["nodeName"], "edge-1");
    let uid = pod["uid"].as_str().unwrap().to_owned();
    assert_eq!(
        peer.ask("query default/configmap/app")["content"]["data"]["key"],
        "1"
    );
    let patch = format!(r#"{{"metadata":{{"uid":"{uid}"}},"status":{{"phase":"Running"}}}}"#);
    let patch = serde_json::to_string(&patch).unwrap();
    let patched = peer.ask(&format!("patch default/podpatch/web {patch}"));
    assert_eq!(patched["content"]["Object"]["status"]["phase"], "Running");
    let from = peer.seen.len();
    ctl(&cloud, &["delete", "pod", "web"]).ends(0);
    // The patch was pushed, too.
    peer.since_that(from, |event| {
        event["resource"] == "default/pod/web"
            && event["content"]["metadata"]["deletionTimestamp"].is_string()
    });
    let options =
        |uid: &str| format!(r#"{{"gracePeriodSeconds":0,"preconditions":{{"uid":"{uid}"}}}}"#);
    let other = peer.ask(&format!("delete default/pod/web {}", options("other")));
    assert_eq!(other["content"], "OK");
    ctl(&cloud, &["get", "pod", "web"]).ends(0);
    let from = peer.seen.len();
    let done = peer.ask(&format!("delete default/pod/web {}", options(&uid)));
    assert_eq!(done["content"], "OK");
    assert_eq!(
        peer.pushed(from, "delete", "default/pod/web")["uid"],
        uid.as_str()
    );
    assert!(
        ctl(&cloud, &["get", "pod", "web"])
            .ends(1)
            .err
            .contains("there is no pod web")
    );
}

#[test]
fn a_node_that_is_deleted_is_out_and_may_come_again() {
    let cloud = Cloudcore::start(&[]);
    let mut peer = Peer::start(&cloud, "edge-1", &[]);
    peer.online();
    peer.tell("register");
    let uid = |cloud: &Cloudcore| {
        let node = ctl(cloud, &["get", "node", "edge-1", "-o", "json"])
            .ends(0)
            .json();
        node["metadata"]["uid"].as_str().unwrap().to_owned()
    };
    let first = uid(&cloud);
    let said = ctl(&cloud, &["delete", "node", "edge-1"]).ends(0).out;
    assert_eq!(
        said,
        "node edge-1 deleted, and its session ended; its certificate still counts and it may register anew: `keadm certs revoke edge-1` keeps it out\n"
    );
    peer.until(|event| event["event"] == "disconnected");
    assert!(
        ctl(&cloud, &["delete", "node", "edge-1"])
            .ends(1)
            .err
            .contains("not found")
    );
    peer.online();
    peer.tell("register");
    assert_ne!(uid(&cloud), first, "it is another node now");
}
