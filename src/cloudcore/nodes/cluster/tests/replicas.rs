//! Two cloudcores on one cluster, and a device that moves between them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::sessions::renew;
use super::stage::*;
use crate::cloudcore::outbox::Ending;
use crate::kubernetes::Method;
use crate::kubernetes::resource::{CONFIG_MAPS, LEASES, PODS};
use crate::kubernetes::testing::{Act, FakeCluster, lost};
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;

fn lease(fake: &FakeCluster) -> Value {
    let lease = fake.get(&LEASES, Some("kube-node-lease"), "edge-1");
    lease.unwrap_or_default()
}

fn owner(fake: &FakeCluster) -> String {
    let annotations = &lease(fake)["metadata"]["annotations"];
    let owner = annotations["kubeedge.io/session-owner"].as_str();
    let owner = owner.and_then(|owner| owner.split_once('_'));
    owner.map_or_else(String::new, |owner| owner.0.to_owned())
}

/// Time passes, for all of them.
fn pass(stages: &[&Stage], seconds: u64) {
    for stage in stages {
        stage.hand.advance(Duration::from_secs(seconds));
    }
}

#[test]
fn the_old_one_lets_go_and_nothing_is_lost() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        for name in ["app", "gone"] {
            config(&fake, name, "1");
            pod(
                &fake,
                name,
                "edge-1",
                json!({"volumes": [{"configMap": {"name": name}}]}),
            );
        }
        let one = Stage::running(&runner, &fake, "one").await;
        let two = Stage::running(&runner, &fake, "two").await;
        let mut first = one.connect("edge-1", true);
        first.told(0, "update default/pod/gone").await;
        until("the first one has the Lease", || owner(&fake) == "one").await;

        // Neither has the device when this happens, and the first one does not know that it left.
        fake.remove(&PODS, Some("default"), "gone");
        fake.remove(&CONFIG_MAPS, Some("default"), "gone");
        config(&fake, "app", "2");
        pod(&fake, "new", "edge-1", json!({}));
        let gone = |stage: &Stage| stage.cloud.nodes.counts().1;
        until("both know", || gone(&one) == 2 && gone(&two) == 2).await;

        pass(&[&one, &two], 20);
        let mut second = two.connect("edge-1", true);
        for what in [
            "delete default/pod/gone",
            "delete default/configmap/gone",
            "update default/configmap/app",
            "update default/pod/new",
        ] {
            second.told(0, what).await;
        }
        assert_eq!(gone(&two), 0, "it has told and forgotten that");
        until("the second one has the Lease", || owner(&fake) == "two").await;
        // Its next renewal shows it.
        let name: NodeName = "edge-1".parse().unwrap();
        renew(&one.cloud, &one.cluster, &name, Instant::now()).await;
        assert_eq!(first.ended().await, Ending::Replaced);
        assert_eq!(owner(&fake), "two");
        let version = lease(&fake)["metadata"]["resourceVersion"].clone();
        renew(&one.cloud, &one.cluster, &name, Instant::now()).await;
        assert_eq!(
            lease(&fake)["metadata"]["resourceVersion"],
            version,
            "it writes no more"
        );
        // The second one goes on, and what changes reaches it.
        renew(&two.cloud, &two.cluster, &name, Instant::now()).await;
        let from = second.told.len();
        config(&fake, "app", "3");
        second.told(from, "update default/configmap/app").await;
    });
}

#[test]
fn who_writes_late_does_not_take_the_node_back() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        let options = |replica: &str| super::super::Options {
            replica: replica.to_owned(),
            ..Default::default()
        };
        let one = Stage::resting(&runner, &fake, options("one"));
        one.learn(&fake, "edge-1");
        let two = Stage::running(&runner, &fake, "two").await;
        // It begins first and is slow; the other one has the device by now.
        let mut first = one.connect("edge-1", true);
        pass(&[&one, &two], 1);
        let _second = two.connect("edge-1", true);
        until("the second one has the Lease", || owner(&fake) == "two").await;
        renew(
            &one.cloud,
            &one.cluster,
            &"edge-1".parse().unwrap(),
            Instant::now(),
        )
        .await;
        assert_eq!(first.ended().await, Ending::Replaced);
        assert_eq!(owner(&fake), "two");
    });
}

#[test]
fn renewals_never_go_back_whatever_the_clock_does() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        let object = json!({"metadata": {"name": "edge-1"},
            "spec": {"holderIdentity": "edge-1", "renewTime": AHEAD.rfc3339_micros()}});
        fake.put(&LEASES, Some("kube-node-lease"), object);
        let stage = Stage::running(&runner, &fake, "one").await;
        let _peer = stage.connect("edge-1", true);
        until("it has the Lease", || owner(&fake) == "one").await;
        let mut last = AHEAD;
        let mut renewed = |fake: &FakeCluster| {
            let text = lease(fake)["spec"]["renewTime"].to_string();
            let time: Timestamp = text.trim_matches('"').parse().unwrap();
            assert!(time > last, "{time} is not after {last}");
            last = time;
        };
        renewed(&fake);
        let name: NodeName = "edge-1".parse().unwrap();
        let renew = || renew(&stage.cloud, &stage.cluster, &name, Instant::now());
        for _ in 0..2 {
            renew().await;
            renewed(&fake);
        }
        // Another one writes meanwhile, with a clock that is further ahead still.
        let mut other = lease(&fake);
        let later = AHEAD.plus(Duration::from_secs(60));
        other["spec"]["renewTime"] = json!(later.rfc3339_micros());
        fake.put(&LEASES, Some("kube-node-lease"), other);
        renewed(&fake);
        renew().await;
        renewed(&fake);
        stage.hand.set(NOW.minus(Duration::from_secs(3600)));
        renew().await;
        renewed(&fake);
    });
}

#[test]
fn a_session_that_began_in_the_future_does_not_count() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        let words = json!({"kubeedge.io/session-owner": "gone_0123abcd",
            "kubeedge.io/session-began": AHEAD.millis().to_string()});
        let object = json!({"metadata": {"name": "edge-1", "annotations": words},
            "spec": {"holderIdentity": "edge-1", "renewTime": AHEAD.rfc3339_micros()}});
        // As the cloudcore left it whose clock was ten years ahead.
        let leave = || fake.put(&LEASES, Some("kube-node-lease"), object.clone());
        leave();
        let stage = Stage::running(&runner, &fake, "one").await;
        let name: NodeName = "edge-1".parse().unwrap();
        let generation = || stage.cloud.registry.generation(&name);
        let _peer = stage.connect("edge-1", true);
        let first = generation();
        until("it has the Lease", || owner(&fake) == "one").await;
        // The same where the edge writes the Lease itself.
        leave();
        let mut peer = stage.connect("edge-1", false);
        assert_ne!(generation(), first);
        let path = "kube-node-lease/lease/edge-1";
        let sent = lease(&fake);
        let answer = peer.ask("update", path, &sent).await;
        assert_eq!(content(&answer)["Err"], Value::Null);
        assert_eq!(owner(&fake), "one");
        assert!(generation() > first, "the session goes on");
        let again = content(&peer.ask("query", path, &Value::Null).await);
        assert_eq!(again["Err"], Value::Null);
    });
}

#[test]
fn an_edge_that_keeps_its_lease_itself_shows_it_too() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        let one = Stage::running(&runner, &fake, "one").await;
        let two = Stage::running(&runner, &fake, "two").await;
        let mut first = one.connect("edge-1", false);
        let sent = json!({"metadata": {"name": "edge-1"}, "spec": {}});
        let path = "kube-node-lease/lease/edge-1";
        let made = content(&first.ask("insert", path, &sent).await)["Object"].clone();
        assert_eq!(owner(&fake), "one");
        pass(&[&one, &two], 1);
        let mut second = two.connect("edge-1", false);
        let moved = content(&second.ask("update", path, &made).await)["Object"].clone();
        assert_eq!(owner(&fake), "two");
        let message = crate::protocol::message::Message::of_edged(NOW, "update", path, &moved);
        first.send(&message);
        assert_eq!(first.ended().await, Ending::Replaced);
    });
}

#[test]
fn a_renewal_whose_answer_is_lost_is_no_reason_to_let_go() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        let stage = Stage::running(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", true);
        until("it has the Lease", || owner(&fake) == "one").await;
        peer.told(0, "update null/node/edge-1").await;
        let name: NodeName = "edge-1".parse().unwrap();
        fake.order(Some(Method::Patch), "leases", 1, Act::Lose(lost()));
        let before = lease(&fake)["metadata"]["resourceVersion"].clone();
        for _ in 0..2 {
            stage.hand.advance(Duration::from_secs(10));
            renew(&stage.cloud, &stage.cluster, &name, Instant::now()).await;
        }
        assert_ne!(lease(&fake)["metadata"]["resourceVersion"], before);
        assert!(stage.cloud.registry.generation(&name).is_some());
        // Somebody deletes it: it is made again.
        fake.remove(&LEASES, Some("kube-node-lease"), "edge-1");
        renew(&stage.cloud, &stage.cluster, &name, Instant::now()).await;
        assert_eq!(owner(&fake), "one");
        let owners = lease(&fake)["metadata"]["ownerReferences"].clone();
        assert_eq!(owners[0]["name"], "edge-1");
    });
}

#[test]
fn what_is_owed_to_a_node_that_is_ready_elsewhere_is_forgotten_in_time() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "ready");
        node(&fake, "away");
        for name in ["ready", "away"] {
            pod(&fake, name, name, json!({}));
            let mut node = fake
                .get(&crate::kubernetes::resource::NODES, None, name)
                .unwrap();
            let status = if name == "ready" { "True" } else { "Unknown" };
            node["status"] = json!({"conditions": [{"type": "Ready", "status": status}]});
            let patch = json!({"status": node["status"]});
            let request = crate::kubernetes::Request::patch(
                &crate::kubernetes::resource::NODES,
                None,
                name,
                crate::kubernetes::Patch::Merge,
                &patch,
            );
            fake.api().call(&request.part("status")).await.unwrap();
        }
        let stage = Stage::running(&runner, &fake, "one").await;
        for name in ["ready", "away"] {
            fake.remove(&PODS, Some("default"), name);
        }
        until("it knows", || stage.cloud.nodes.counts().1 == 2).await;
        let sweep = |after| {
            let now = Instant::now() + Duration::from_secs(after);
            super::super::sweep_once(&stage.cloud, &stage.cluster, now);
            stage.cloud.nodes.counts().1
        };
        assert_eq!(sweep(60), 2);
        assert_eq!(sweep(3600), 1);
        let mut peer = stage.connect("away", false);
        peer.told(0, "delete default/pod/away").await;
    });
}

/// Ten years after `NOW`.
const AHEAD: Timestamp = Timestamp::from_unix(1_795_334_583 + 10 * 365 * 86_400);
