//! What changes in the cluster reaches the nodes that it concerns, and no others.

use std::sync::Arc;

use serde_json::{Value, json};
use smol::future::poll_once;

use super::stage::*;
use crate::cloudcore::nodes::{self, Order};
use crate::cloudcore::outbox::{Ending, Item};
use crate::cloudcore::session::{in_turn, make};
use crate::kubernetes::resource::{CONFIG_MAPS, DEVICE_MODELS, DEVICES, NODES, OBJECT_SYNCS, PODS};
use crate::kubernetes::testing::{Act, FakeCluster, refusal};
use crate::protocol::resource::{Kind, ObjectPath};
use crate::system::names::NodeName;

fn needing(names: &[&str]) -> Value {
    let volumes: Vec<Value> = names
        .iter()
        .map(|name| json!({"configMap": {"name": name}}))
        .collect();
    json!({"volumes": volumes, "imagePullSecrets": [{"name": "pull"}]})
}

#[test]
fn pods_and_what_they_need_come_change_and_go() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        node(&fake, "edge-2");
        config(&fake, "app", "1");
        config(&fake, "nobodys", "1");
        secret(&fake, "pull", "cw==");
        let stage = Stage::running(&runner, &fake, "one").await;
        assert_eq!(stage.cloud.nodes.counts().0, 2, "only the nodes are kept");
        let mut peer = stage.connect("edge-1", false);
        let mut other = stage.connect("edge-2", false);
        peer.told(0, "update null/node/edge-1").await;

        pod(&fake, "p", "edge-1", needing(&["app", "late"]));
        peer.told(0, "insert default/pod/p").await;
        let app = peer.told(0, "insert default/configmap/app").await;
        assert_eq!(app.content()["kind"], "ConfigMap");
        peer.told(0, "update default/secret/pull").await;
        config(&fake, "late", "1");
        peer.told(0, "insert default/configmap/late").await;
        let from = peer.told.len();
        config(&fake, "app", "2");
        let app = peer.told(from, "update default/configmap/app").await;
        assert_eq!(app.content()["data"]["key"], "2");
        secret(&fake, "pull", "dA==");
        peer.told(from, "update default/secret/pull").await;
        pod(
            &fake,
            "p",
            "edge-1",
            json!({"volumes": [{"configMap": {"name": "app"}}]}),
        );
        peer.told(from, "update default/pod/p").await;
        peer.told(from, "delete default/secret/pull").await;
        fake.remove(&CONFIG_MAPS, Some("default"), "app");
        peer.told(from, "delete default/configmap/app").await;
        config(&fake, "app", "3");
        let from = peer.told.len();
        peer.told(from, "insert default/configmap/app").await;
        fake.remove(&PODS, Some("default"), "p");
        peer.told(from, "delete default/pod/p").await;
        peer.told(from, "delete default/configmap/app").await;
        assert_eq!(
            stage.cloud.nodes.counts().0,
            2,
            "what nobody needs is not kept"
        );

        // The other one has heard of itself only.
        pod(&fake, "q", "edge-2", json!({}));
        other.told(0, "insert default/pod/q").await;
        let told: Vec<&str> = other.told.iter().map(|told| &*told.what).collect();
        assert_eq!(told, ["update null/node/edge-2", "insert default/pod/q"]);
    });
}

#[test]
fn what_was_missed_is_told_after_a_watch_that_is_too_old() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        node(&fake, "edge-2");
        for name in ["app", "gone"] {
            config(&fake, name, "1");
            pod(&fake, name, "edge-1", needing(&[name]));
        }
        let stage = Stage::running(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", false);
        let mut other = stage.connect("edge-2", false);
        peer.told(0, "update default/pod/gone").await;
        let from = peer.told.len();
        // Nobody hears of this: the watches are cut, and what they would go on from is forgotten.
        fake.set_down(true);
        fake.remove(&PODS, Some("default"), "gone");
        fake.remove(&CONFIG_MAPS, Some("default"), "gone");
        fake.remove(&NODES, None, "edge-2");
        config(&fake, "app", "2");
        pod(&fake, "new", "edge-1", json!({}));
        fake.compact();
        fake.set_down(false);
        let app = peer.told(from, "update default/configmap/app").await;
        assert_eq!(app.content()["data"]["key"], "2");
        for what in [
            "delete default/pod/gone",
            "delete default/configmap/gone",
            "insert default/pod/new",
        ] {
            peer.told(from, what).await;
        }
        assert_eq!(other.ended().await, Ending::NodeDeleted);
    });
}

#[test]
fn pages_that_are_too_long_are_asked_for_in_parts() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        config(&fake, "app", "1");
        for number in 0..30 {
            config(&fake, &format!("c{number}"), "1");
        }
        pod(
            &fake,
            "p",
            "edge-1",
            json!({"volumes": [{"configMap": {"name": "app"}}]}),
        );
        let too_long = Act::Refuse(crate::kubernetes::CallError::TooLong { limit: 1 });
        fake.order(None, "/api/v1/configmaps", 3, too_long);
        let stage = Stage::running(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", false);
        peer.told(0, "update default/configmap/app").await;
        let lists = calls(&fake)
            .into_iter()
            .filter(|it| it.contains("/configmaps?"));
        let lists: Vec<String> = lists.collect();
        assert!(lists.len() > 8 && lists[3].contains("limit=4"), "{lists:?}");
    });
}

#[test]
fn watches_end_and_go_on_where_they_were() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        let stage = Stage::running(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", false);
        peer.told(0, "update null/node/edge-1").await;
        fake.bookmark();
        fake.forget_calls();
        for number in 0..5 {
            fake.end_watches();
            pod(&fake, &format!("p{number}"), "edge-1", json!({}));
            peer.told(0, &format!("insert default/pod/p{number}")).await;
        }
        let listed = calls(&fake);
        assert_eq!(listed, Vec::<String>::new(), "nothing is listed again");
    });
}

#[test]
fn a_node_that_becomes_an_edge_gets_the_pods_that_it_has() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        fake.put(&NODES, None, json!({"metadata": {"name": "plain"}}));
        pod(&fake, "p", "plain", json!({}));
        pod(&fake, "gone", "plain", json!({}));
        let stage = Stage::running(&runner, &fake, "one").await;
        assert_eq!(stage.cloud.nodes.counts().0, 0);
        fake.remove(&PODS, Some("default"), "gone");
        let mut peer = stage.connect("plain", false);
        node(&fake, "plain");
        peer.told(0, "insert default/pod/p").await;
        assert!(!peer.told.iter().any(|told| told.what.contains("gone")));
    });
}

#[test]
fn devices_and_their_models_are_told_and_may_be_missing() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        put(
            &fake,
            &DEVICE_MODELS,
            "default",
            "thermometer",
            json!({"spec": {}}),
        );
        put(
            &fake,
            &DEVICE_MODELS,
            "default",
            "other",
            json!({"spec": {}}),
        );
        let stage = Stage::running(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", false);
        let device =
            json!({"spec": {"nodeName": "edge-1", "deviceModelRef": {"name": "thermometer"}}});
        put(&fake, &DEVICES, "default", "sensor", device.clone());
        peer.told(0, "insert default/device/sensor").await;
        let model = peer.told(0, "insert default/devicemodel/thermometer").await;
        assert_eq!(model.content()["apiVersion"], "devices.kubeedge.io/v1beta1");
        assert!(peer.told.iter().any(|told| told.what == "membership"));
        let from = peer.told.len();
        let mut changed = device;
        changed["spec"]["properties"] = json!([1]);
        put(&fake, &DEVICES, "default", "sensor", changed);
        peer.told(from, "update default/device/sensor").await;
        fake.remove(&DEVICES, Some("default"), "sensor");
        peer.told(from, "delete default/device/sensor").await;
        peer.told(from, "delete default/devicemodel/thermometer")
            .await;

        // A cluster without these types has the others all the same.
        let bare = FakeCluster::new();
        let missing = refusal(404, "NotFound", "404 page not found");
        bare.order(None, "devices.kubeedge.io", 100, Act::Refuse(missing));
        node(&bare, "edge-1");
        pod(&bare, "p", "edge-1", json!({}));
        let other = Stage::resting(&runner, &bare, super::super::Options::default());
        crate::cloudcore::nodes::elsewhere::Elsewhere::start(other.cluster.clone(), &other.cloud);
        until("it is ready", || other.cloud.nodes.is_ready()).await;
        let mut peer = other.connect("edge-1", false);
        peer.told(0, "update default/pod/p").await;
    });
}

#[test]
fn a_deleted_node_loses_its_session_and_may_come_anew() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        let stage = Stage::running(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", true);
        fake.remove(&NODES, None, "edge-1");
        assert_eq!(peer.ended().await, Ending::NodeDeleted);
        let mut peer = stage.connect("edge-1", true);
        let sent = json!({"metadata": {"name": "edge-1"}});
        let made = content(&peer.ask("insert", "null/node/edge-1", &sent).await);
        assert_eq!(made["Err"], Value::Null);
        peer.told(0, "update null/node/edge-1").await;
    });
}

#[test]
fn what_is_fetched_does_not_bring_back_what_is_gone_meanwhile() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        config(&fake, "app", "1");
        let stage = Stage::running(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", false);
        peer.told(0, "update null/node/edge-1").await;
        // The answer is on its way while the watch tells that it is gone.
        let old = fake.get(&CONFIG_MAPS, Some("default"), "app").unwrap();
        let path = ObjectPath::new("default", Kind::ConfigMap, "app").unwrap();
        let pause = fake.pause("configmaps/app");
        pod(
            &fake,
            "p",
            "edge-1",
            json!({"volumes": [{"configMap": {"name": "app"}}]}),
        );
        peer.told(0, "insert default/pod/p").await;
        fake.remove(&CONFIG_MAPS, Some("default"), "app");
        config(&fake, "mark", "1");
        pod(
            &fake,
            "mark",
            "edge-1",
            json!({"volumes": [{"configMap": {"name": "mark"}}]}),
        );
        peer.told(0, "insert default/pod/mark").await;
        until("the deletion is told", || {
            let cache = stage.cluster.cache();
            cache.next_wanted(None).is_some()
        })
        .await;
        let news = stage.cluster.told(&stage.cloud, |cache, state| {
            let gone = old.as_object().unwrap().clone();
            let mut last = gone.clone();
            let version = fake.version().to_string();
            last["metadata"]["resourceVersion"] = version.into();
            cache.delete(state, &CONFIG_MAPS, Kind::ConfigMap, last);
            cache.fetched(state, &CONFIG_MAPS, &path, Some(gone))
        });
        assert!(news.pushes.is_empty());
        assert!(stage.cloud.nodes.lock().get(&path).is_none());
        drop(pause);
    });
}

#[test]
fn what_is_acknowledged_is_recorded_where_that_is_wanted() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        let options = super::super::Options {
            object_sync: true,
            ..Default::default()
        };
        // Where it is not wanted, an acknowledgement costs no call.
        node(&fake, "edge-2");
        let other = Stage::running(&runner, &fake, "other").await;
        let mut unrecorded = other.connect("edge-2", false);
        pod(&fake, "q", "edge-2", json!({}));
        unrecorded.told(0, "insert default/pod/q").await;
        let stage = Stage::resting(&runner, &fake, options);
        stage.start().await;
        let mut peer = stage.connect("edge-1", false);
        pod(&fake, "p", "edge-1", json!({}));
        let told = peer.told(0, "insert default/pod/p").await.content();
        let uid = told["metadata"]["uid"].as_str().unwrap();
        let name = format!("edge-1.{uid}");
        let version = || {
            let record = fake.get(&OBJECT_SYNCS, Some("default"), &name)?;
            assert_eq!(record["spec"]["objectKind"], "Pod");
            Some(record["status"]["objectResourceVersion"].clone())
        };
        until("it is recorded", || {
            version().as_ref() == Some(&told["metadata"]["resourceVersion"])
        })
        .await;
        let has = |part: &str| fake.calls().iter().any(|it| it.1.contains(part));
        assert!(has("syncs/edge-1.") && !has("syncs/edge-2."));
        assert_eq!(fake.all(&OBJECT_SYNCS).len(), 1);
        fake.remove(&PODS, Some("default"), "p");
        peer.told(0, "delete default/pod/p").await;
        until("the record is gone", || version().is_none()).await;
    });
}

#[test]
fn objects_are_for_kubectl_to_change() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        let stage = Stage::running(&runner, &fake, "one").await;
        let name = "edge-1".parse().unwrap();
        let cloud = &stage.cloud;
        for refused in [
            nodes::apply(cloud, b"{}", Order::default()).await,
            nodes::delete_node(cloud, &name).await,
            nodes::label(cloud, &name, &["a=b".parse().unwrap()]).await,
        ] {
            assert!(refused.unwrap_err().contains("kubectl"));
        }
        let rows = nodes::rows(cloud);
        assert_eq!((rows.len(), rows[0].registered), (1, true));
        assert_eq!(nodes::get(cloud, Some(Kind::Node), None, &[]).len(), 1);
    });
}

#[test]
fn a_large_object_waits_for_its_turn_as_a_name() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        config(&fake, "large", &"x".repeat(100_000));
        let volumes = json!({"volumes": [{"configMap": {"name": "large"}}]});
        pod(&fake, "app", "edge-1", volumes);
        let stage = Stage::running(&runner, &fake, "one").await;
        let cached = || stage.cloud.nodes.counts().0 == 3;
        until("all three are known", cached).await;
        let name: NodeName = "edge-1".parse().unwrap();
        let all = stage.cloud.sending.try_take(usize::MAX).unwrap();
        let peer = stage.connect("edge-1", false);
        let mut others = 0;
        let later = loop {
            let next = peer.outbox.next().await.unwrap();
            let is_large = format!("{next:?}").contains("\"large\"");
            match make(&stage.cloud, &peer.outbox, &name, next, None) {
                Ok(made) => assert!(made.is_some() && !is_large),
                Err(later) => break later,
            }
            others += 1;
        };
        let mut waiting = Box::pin(in_turn(&stage.cloud, &peer.outbox, &name, later));
        assert!(others > 0, "small ones go at once");
        assert!(poll_once(&mut waiting).await.is_none());
        // What it is by then counts.
        config(&fake, "large", &"y".repeat(100_001));
        until("the change is known", || {
            let item = Item {
                path: Arc::new(ObjectPath::new("default", Kind::ConfigMap, "large").unwrap()),
                gone: None,
            };
            let message = stage.cloud.nodes.message(&name, &item, false, NOW);
            content(&message.unwrap())["data"]["key"] == "y".repeat(100_001)
        })
        .await;
        drop(all);
        let (message, _place) = waiting.await.unwrap();
        assert_eq!(content(&message)["data"]["key"], "y".repeat(100_001));
        assert!(stage.cloud.sending.try_take(usize::MAX).is_none());
    });
}
