//! Tests of a store that is full, a disk that fails, and of a node that wants it all.

use serde_json::{Value, json};
use smol::block_on;

use super::*;
use crate::cloudcore::outbox::Next;
use crate::cloudcore::testing::{Stage, stored};
use crate::protocol::resource::ObjectPath;
use crate::system::scratch::Scratch;

fn config(name: &str, value: &str) -> Vec<u8> {
    let object = json!({"kind": "ConfigMap", "apiVersion": "v1",
        "metadata": {"name": name}, "data": {"key": value}});
    object.to_string().into_bytes()
}

fn for_nodes(nodes: &[&str]) -> Order {
    Order {
        nodes: nodes.iter().map(|it| it.parse().unwrap()).collect(),
        ..Order::default()
    }
}

fn texts(stage: &Stage) -> Vec<(String, Value)> {
    let found = get(&stage.cloud, None, None, &[]).into_iter();
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap()["data"]["key"].clone();
    found
        .map(|(path, _, text)| (path.name.clone(), read(&text)))
        .collect()
}

fn mirror(name: &str, node: &str, bytes: usize) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "namespace": "default",
        "annotations": {"kubernetes.io/config.mirror": "x", "more": "y".repeat(bytes)}},
        "spec": {"nodeName": node, "containers": []}})
}

/// As it is in the store.
fn stored_mirror(name: &str, node: &str, bytes: usize) -> (String, Value) {
    let mut object = mirror(name, node, bytes);
    object["metadata"]["uid"] = format!("{node}-{name}").into();
    object["metadata"]["resourceVersion"] = "1".into();
    (format!("default/pod/{name}"), json!({"object": object}))
}

/// The `ErrStatus` of an answer that refuses.
fn refused(answer: &(String, Value)) -> (u64, String) {
    let status = &answer.1["Err"]["ErrStatus"];
    let code = status["code"].as_u64().unwrap_or_default();
    (
        code,
        status["message"].as_str().unwrap_or_default().to_owned(),
    )
}

#[test]
fn what_a_full_store_refuses_is_not_known_either_and_can_be_applied_later() {
    let folder = Scratch::new();
    let stage = Stage::open(&folder, "none");
    block_on(async {
        let cloud = &stage.cloud;
        let applied = apply(cloud, &config("old", "1"), for_nodes(&["edge-1"])).await;
        assert!(applied.unwrap().contains("created"));
        stage.fill_store(true);
        for order in [config("new", "1"), config("old", "2")] {
            let refused = apply(cloud, &order, for_nodes(&["edge-2"]))
                .await
                .unwrap_err();
            assert!(refused.contains("cloudcore ctl delete"), "{refused}");
        }
        let path = ObjectPath::new("default", Kind::ConfigMap, "old").unwrap();
        assert!(delete(cloud, &path, Order::default()).await.is_err());
        assert_eq!(texts(&stage), [("old".to_owned(), json!("1"))]);
        assert_eq!(
            cloud.nodes.counts(),
            (1, 0),
            "nobody has to forget anything"
        );
        let edge: NodeName = "edge-1".parse().unwrap();
        assert_eq!(cloud.nodes.lock().everything_for(&edge).len(), 1);
        stage.fill_store(false);
        for order in [config("new", "1"), config("old", "2")] {
            let applied = apply(cloud, &order, for_nodes(&["edge-2"])).await.unwrap();
            assert!(!applied.contains("unchanged"), "{applied}");
        }
    });
    drop(stage);
    let stage = Stage::open(&folder, "none");
    let expected = [("new", "1"), ("old", "2")].map(|(name, it)| (name.to_owned(), json!(it)));
    assert_eq!(texts(&stage), expected);
    assert_eq!(
        stage.cloud.nodes.counts(),
        (2, 1),
        "edge-1 has one to forget"
    );
}

#[test]
fn what_a_full_disk_did_not_keep_is_kept_and_told_when_it_is_applied_again() {
    let folder = Scratch::new();
    let stage = Stage::open(&folder, "objects.journal");
    block_on(async {
        let (cloud, peer) = (&stage.cloud, stage.connect("edge-1"));
        apply(cloud, &config("first", "1"), Order::default())
            .await
            .unwrap();
        stage.fill_disk(true);
        for _ in 0..2 {
            let refused = apply(cloud, &config("new", "1"), for_nodes(&["edge-1"])).await;
            let refused = refused.unwrap_err();
            assert!(refused.contains("try again later"), "{refused}");
        }
        stage.fill_disk(false);
        let applied = apply(cloud, &config("new", "1"), for_nodes(&["edge-1"])).await;
        assert!(applied.unwrap().contains("unchanged"));
        let Ok(Next::Push(item, true)) = peer.outbox.next().await else {
            panic!("it is told nothing");
        };
        assert_eq!(item.path.name, "new");
    });
    drop(stage);
    let stage = Stage::open(&folder, "none");
    assert_eq!(texts(&stage).len(), 2);
}

#[test]
fn a_node_makes_no_more_mirrors_than_a_node_has() {
    let folder = Scratch::new();
    let many = (0..999).map(|n| stored_mirror(&format!("a{n}"), "many", 10));
    let large = (0..33).map(|n| stored_mirror(&format!("b{n}"), "large", 62_000));
    stored(folder.path(), many.chain(large));
    let stage = Stage::open(&folder, "none");
    let ask = async |node: &str, name: &str, bytes| {
        let peer = stage.connect(node);
        let resource = format!("default/pod/{name}");
        peer.ask("insert", &resource, &mirror(name, node, bytes))
            .await
    };
    block_on(async {
        let (before, excess) = (stage.cloud.nodes.counts(), &stage.cloud.metrics.excess);
        assert_eq!(refused(&ask("many", "last", 10).await), (0, String::new()));
        for (node, bytes, why) in [
            ("many", 10, "at most 1000 mirrors"),
            ("large", 62_000, "at most 2 MiB"),
            ("other", 1 << 20, "at most 64 KiB"),
        ] {
            let (code, message) = refused(&ask(node, "more", bytes).await);
            assert!(code == 403 && message.contains(why), "{code} {message}");
        }
        assert_eq!(excess.get(), 3);
        let after = (before.0 + 1, before.1);
        assert_eq!(stage.cloud.nodes.counts(), after, "nothing of it is kept");
        assert_eq!(refused(&ask("other", "own", 60_000).await).0, 0);
        let peer = stage.connect("other");
        let node = json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "other"}});
        let registered = peer.ask("insert", "default/node/other", &node).await;
        assert_eq!(refused(&registered), (0, String::new()));
        // What it reports of one counts too.
        let report = |bytes: usize| {
            let patch = json!({"status": {"message": "z".repeat(bytes)}});
            json!(patch.to_string())
        };
        let patched = peer
            .ask("patch", "default/podpatch/own", &report(100))
            .await;
        assert_eq!(refused(&patched), (0, String::new()));
        let patched = peer
            .ask("patch", "default/podpatch/own", &report(10_000))
            .await;
        assert_eq!(refused(&patched).0, 403);
    });
}

#[test]
fn what_is_reported_of_a_given_pod_has_a_bound_of_its_own() {
    let folder = Scratch::new();
    let stage = Stage::open(&folder, "none");
    block_on(async {
        let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"},
            "spec": {"containers": []}});
        let pod = pod.to_string().into_bytes();
        apply(&stage.cloud, &pod, for_nodes(&["edge-1"]))
            .await
            .unwrap();
        let peer = stage.connect("edge-1");
        for (bytes, code) in [(100_000, 0), (140_000, 403)] {
            let patch = json!({"status": {"message": "z".repeat(bytes)}}).to_string();
            let patched = peer.ask("patch", "default/podpatch/p", &json!(patch)).await;
            assert_eq!(refused(&patched).0, code, "{bytes}");
        }
    });
}

#[test]
fn pods_that_a_node_makes_up_are_not_remembered_without_end() {
    let folder = Scratch::new();
    let gone = |n: usize| {
        let text = json!({"resource": format!("default/pod/p{n}"), "kind": "Pod",
            "apiVersion": "v1", "version": 1, "owed": ["edge-1"]});
        (format!("-gone/uid-{n}"), text)
    };
    let own = stored_mirror("own", "edge-1", 10);
    stored(folder.path(), (0..998).map(gone).chain([own]));
    let stage = Stage::open(&folder, "none");
    let states = |from: usize| -> Value {
        let state = |n: usize| json!({"Name": format!("q{n}"), "UID": format!("uid-{n}")});
        (from..from + 10).map(state).collect()
    };
    block_on(async {
        let peer = stage.connect("edge-1");
        let told = peer.ask("update", "default/podstatus", &states(2000)).await;
        assert_eq!(told.0, "response", "{told:?}");
        assert_eq!(stage.cloud.nodes.counts(), (1, 1000));
        assert_eq!(stage.cloud.metrics.excess.get(), 8);
        // Those that it knows already are no more.
        peer.ask("update", "default/podstatus", &states(0)).await;
        assert_eq!(stage.cloud.metrics.excess.get(), 8);
        // An end that it could not be told of waits.
        let ended = peer.ask("delete", "default/pod/own", &json!("")).await;
        assert_eq!(ended.0, "error", "{ended:?}");
        assert_eq!(stage.cloud.nodes.counts(), (1, 1000));
        let other = stage.connect("edge-2");
        other
            .ask("update", "default/podstatus", &states(3000))
            .await;
        assert_eq!(
            stage.cloud.nodes.counts(),
            (1, 1010),
            "others are not its concern"
        );
        let item = Item {
            path: Arc::new(ObjectPath::new("default", Kind::Pod, "p1").unwrap()),
            gone: Some("uid-1".into()),
        };
        let node = &peer.registered.node;
        stage.cloud.nodes.acknowledged(node, &item, 1).await;
        let ended = peer.ask("delete", "default/pod/own", &json!("")).await;
        assert_eq!(ended.0, "response", "{ended:?}");
    });
}
