//! What a node is not given: what is another's, what is too much, what nobody can give at the moment.

use serde_json::{Value, json};

use super::stage::*;
use crate::kubernetes::resource::{
    LEASES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, SECRETS, SERVICE_ACCOUNTS,
    VOLUME_ATTACHMENTS,
};
use crate::kubernetes::testing::FakeCluster;

fn code(answer: &Value) -> u64 {
    answer["Err"]["ErrStatus"]["code"]
        .as_u64()
        .unwrap_or_default()
}

#[test]
fn what_another_node_has_is_neither_seen_nor_changed() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        namespace(&fake, "kubeedge");
        node(&fake, "edge-1");
        node(&fake, "edge-2");
        secret(&fake, "theirs", "Z2VoZWlt");
        put(
            &fake,
            &SECRETS,
            "kubeedge",
            "casecret",
            json!({"data": {"cakeydata": "Z2VoZWlt"}}),
        );
        pod(
            &fake,
            "other",
            "edge-2",
            json!({"imagePullSecrets": [{"name": "theirs"}]}),
        );
        put(&fake, &SERVICE_ACCOUNTS, "default", "runner", json!({}));
        put(
            &fake,
            &PERSISTENT_VOLUME_CLAIMS,
            "default",
            "disk",
            json!({}),
        );
        fake.put(
            &PERSISTENT_VOLUMES,
            None,
            json!({"metadata": {"name": "pv"},
            "spec": {"claimRef": {"namespace": "default", "name": "disk"}}}),
        );
        fake.put(
            &VOLUME_ATTACHMENTS,
            None,
            json!({"metadata": {"name": "va"},
            "spec": {"nodeName": "edge-2"}}),
        );
        let stage = Stage::running(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", false);
        peer.told(0, "update null/node/edge-1").await;
        fake.forget_calls();
        let metrics = stage.cloud.clone();
        let denied = || metrics.metrics.denied.get();
        let lease = json!({"metadata": {"name": "edge-2"}, "spec": {}});
        let mirror = json!({"metadata": {"name": "m", "namespace": "default",
            "annotations": {"kubernetes.io/config.mirror": "x"}},
            "spec": {"nodeName": "edge-1", "serviceAccountName": "admin"}});
        for (operation, resource, sent) in [
            (
                "insert",
                "null/node/edge-2",
                json!({"metadata": {"name": "edge-2"}}),
            ),
            ("patch", "null/nodepatch/edge-2", json!("{}")),
            ("query", "null/node/edge-2", Value::Null),
            ("update", "default/nodestatus/edge-2", json!({"Status": {}})),
            ("query", "kube-node-lease/lease/edge-2", Value::Null),
            ("update", "kube-node-lease/lease/edge-2", lease.clone()),
            ("insert", "default/lease/edge-1", lease),
            ("patch", "default/podpatch/other", json!("{\"status\":{}}")),
            ("insert", "default/pod/m", mirror),
            ("query", "kubeedge/secret/casecret", Value::Null),
            ("query", "kubeedge/configmap/any", Value::Null),
            ("query", "kubeedge/serviceaccounttoken/any", Value::Null),
            ("query", "default/secret/theirs", Value::Null),
            ("query", "default/persistentvolumeclaim/disk", Value::Null),
            ("query", "null/persistentvolume/pv", Value::Null),
            ("query", "null/volumeattachment/va", Value::Null),
            (
                "insert",
                "null/certificatesigningrequest/c",
                json!({"spec": {}}),
            ),
            ("query", "null/certificatesigningrequest/c", Value::Null),
            (
                "query",
                "default/serviceaccounttoken/runner",
                json!({"spec": {"boundObjectRef":
                {"kind": "Pod", "name": "other", "uid": "00000000-0000-4000-8000-000000000009"}}}),
            ),
        ] {
            let before = denied();
            let said = content(&peer.ask(operation, resource, &sent).await);
            assert!(
                denied() > before,
                "{operation} {resource} is not counted: {said}"
            );
            assert!(!said.to_string().contains("Z2VoZWlt"), "{resource}");
            assert!(said.is_string() || code(&said) >= 403, "{resource}: {said}");
        }
        let before = denied();
        let gone = peer.ask("delete", "default/pod/other", &json!({})).await;
        assert_eq!(content(&gone), "OK", "that of another is none of its");
        assert_eq!(denied(), before + 1);
        assert!(
            fake.get(&PODS, Some("default"), "other").unwrap()["metadata"]
                .get("deletionTimestamp")
                .is_none()
        );
        let event = json!({"metadata": {"name": "e"}, "involvedObject":
            {"kind": "Node", "name": "edge-2"}});
        assert!(
            peer.send(&crate::protocol::message::Message::of_edged(
                NOW,
                "insert",
                "default/event/e",
                &event
            ))
            .is_none()
        );
        until("the event is judged", || denied() == before + 2).await;
        let made: Vec<String> = calls(&fake)
            .into_iter()
            .filter(|it| !it.starts_with("GET "))
            .collect();
        assert_eq!(made, Vec::<String>::new(), "nothing reached the cluster");
    });
}

#[test]
fn a_pod_that_is_not_known_yet_is_waited_for() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        config(&fake, "app", "1");
        let stage = Stage::running(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", false);
        let message = crate::protocol::message::Message::of_edged(
            NOW,
            "query",
            "default/configmap/app",
            &Value::Null,
        );
        assert!(
            peer.send(&message).is_none(),
            "it is asked beside the session"
        );
        smol::future::yield_now().await;
        pod(
            &fake,
            "p",
            "edge-1",
            json!({"volumes": [{"configMap": {"name": "app"}}]}),
        );
        let answer = loop {
            if let Some(answer) = peer.next().await.unwrap() {
                break answer;
            }
        };
        assert_eq!(content(&answer)["data"]["key"], "1");
    });
}

#[test]
fn a_cluster_that_is_away_costs_an_error_and_no_session() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        let stage = Stage::running(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", true);
        peer.told(0, "update null/node/edge-1").await;
        fake.set_down(true);
        let patch = json!("{\"status\":{\"phase\":\"x\"}}");
        let answer = content(&peer.ask("patch", "null/nodepatch/edge-1", &patch).await);
        assert_eq!(code(&answer), 500);
        let known = peer.ask("query", "null/node/edge-1", &Value::Null).await;
        assert_eq!(content(&known)["kind"], "Node", "what is known is told");
        fake.set_down(false);
        let answer = content(&peer.ask("patch", "null/nodepatch/edge-1", &patch).await);
        assert_eq!(code(&answer), 0, "{answer}");
        peer.told(1, "update null/node/edge-1").await;
        until("the Lease is made", || {
            fake.get(&LEASES, Some("kube-node-lease"), "edge-1")
                .is_some()
        })
        .await;
    });
}

#[test]
fn a_node_that_asks_for_too_much_is_told_so_and_others_are_served() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        node(&fake, "edge-2");
        let stage = Stage::running(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", false);
        let mut other = stage.connect("edge-2", false);
        let pause = fake.pause("leases/edge-1");
        let path = "kube-node-lease/lease/edge-1";
        let question =
            || crate::protocol::message::Message::of_edged(NOW, "query", path, &Value::Null);
        for _ in 0..super::super::gate::REQUESTS {
            assert!(peer.send(&question()).is_none());
        }
        let refused = peer.send(&question()).unwrap();
        assert_eq!(code(&content(&refused)), 429);
        assert_eq!(stage.cloud.metrics.cluster_busy.get(), 1);
        let served = other
            .ask("query", "kube-node-lease/lease/edge-2", &Value::Null)
            .await;
        assert_eq!(code(&content(&served)), 404);
        drop(pause);
        let mut answers = 0;
        while answers < super::super::gate::REQUESTS {
            answers += usize::from(peer.next().await.unwrap().is_some());
        }
    });
}

#[test]
fn names_that_are_none_hold_nobody_up() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        node(&fake, "edge-2");
        let stage = Stage::running(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", false);
        let mut other = stage.connect("edge-2", false);
        fake.forget_calls();
        let sent = json!({"metadata": {"name": "edge-1"}, "spec": {}});
        for number in 0..600 {
            let operation = ["query", "insert", "update"][number % 3];
            let path = match number / 3 % 3 {
                0 => format!("/lease/n{number}"),
                1 => format!("null/lease/n{number}"),
                _ => format!("kube-node-lease/lease/N{number}"),
            };
            let message = crate::protocol::message::Message::of_edged(NOW, operation, &path, &sent);
            let answer = peer.send(&message);
            assert!(answer.is_none(), "{answer:?}");
        }
        assert_eq!(stage.cloud.metrics.unnamed.get(), 600);
        assert_eq!(
            calls(&fake),
            Vec::<String>::new(),
            "nothing is asked of the cluster"
        );
        for (peer, node) in [(&mut other, "edge-2"), (&mut peer, "edge-1")] {
            let path = format!("kube-node-lease/lease/{node}");
            let lease = json!({"metadata": {"name": node}, "spec": {"holderIdentity": node,
                "renewTime": "2026-11-22T08:00:00.000000Z"}});
            let made = content(&peer.ask("insert", &path, &lease).await)["Object"].clone();
            let mut next = made.clone();
            next["spec"]["renewTime"] = json!("2026-11-22T08:00:10.000000Z");
            peer.ask("update", &path, &next).await;
            let held = fake.get(&LEASES, Some("kube-node-lease"), node).unwrap();
            assert_eq!(held["spec"]["renewTime"], "2026-11-22T08:00:10.000000Z");
        }
    });
}
