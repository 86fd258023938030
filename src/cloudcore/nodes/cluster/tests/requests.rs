//! Each request becomes its call, of one's own and nobody else's, and says what became of it.

use serde_json::{Value, json};

use super::super::Options;
use super::stage::*;
use crate::kubernetes::resource::{
    CERTIFICATE_SIGNING_REQUESTS, EVENTS, LEASES, NODES, PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES, PODS, SECRETS, SERVICE_ACCOUNTS, VOLUME_ATTACHMENTS,
};
use crate::kubernetes::testing::{Act, FakeCluster, refusal};
use crate::kubernetes::{CallError, Method};

fn code(answer: &Value) -> u64 {
    answer["Err"]["ErrStatus"]["code"]
        .as_u64()
        .unwrap_or_default()
}

fn away() -> CallError {
    CallError::Unreachable {
        server: "https://c".to_owned(),
        cause: "refused".to_owned(),
    }
}

#[test]
fn a_node_is_made_asked_for_changed_and_reported() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        let stage = Stage::running(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", true);
        let asked = peer.ask("query", "null/node/edge-1", &Value::Null).await;
        assert_eq!(content(&asked)["ErrStatus"]["code"], 404);
        assert_eq!(asked.route.operation, "response");

        let sent = json!({"metadata": {"name": "edge-1", "uid": "mine", "ownerReferences": [1],
            "labels": {"kubernetes.io/hostname": "edge-1", "zone": "a",
                "node-role.kubernetes.io/control-plane": "",
                "node-restriction.kubernetes.io/x": "y"}},
            "spec": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let made = content(&peer.ask("insert", "null/node/edge-1", &sent).await);
        assert_eq!(made["Err"], Value::Null);
        let metadata = &made["Object"]["metadata"];
        assert_eq!(
            metadata["labels"],
            json!({"kubernetes.io/hostname": "edge-1", "zone": "a", "node-role.kubernetes.io/edge": ""})
        );
        assert_eq!(metadata["annotations"], json!({"cloudcore": "192.0.2.2"}));
        assert_ne!(metadata["uid"], "mine");
        assert!(made["Object"].get("kind").is_none(), "as upstream answers");
        peer.told(0, "update null/node/edge-1").await;
        let again = content(&peer.ask("insert", "null/node/edge-1", &sent).await);
        assert_eq!((code(&again), &again["Object"]), (409, &Value::Null));

        // From now on it is known here.
        fake.forget_calls();
        let asked = peer.ask("query", "null/node/edge-1", &Value::Null).await;
        assert_eq!(content(&asked)["kind"], "Node");
        assert!(!asked.header.resource_version.is_empty());
        let words = json!({"metadata": {"labels": {"zone": "a"}}});
        let same = peer.ask("update", "null/node/edge-1", &words).await;
        assert_eq!(content(&same), "OK");
        assert_eq!(
            calls(&fake),
            Vec::<String>::new(),
            "nothing is asked of the cluster"
        );
        let words = json!({"metadata": {"labels": {"zone": "b", "kubernetes.io/x": "y"}}});
        peer.ask("update", "null/node/edge-1", &words).await;
        assert_eq!(calls(&fake), ["PATCH /api/v1/nodes/edge-1"]);
        let node = fake.get(&NODES, None, "edge-1").unwrap();
        assert_eq!(node["metadata"]["labels"]["zone"], "b");
        assert_eq!(node["metadata"]["labels"].get("kubernetes.io/x"), None);

        let patch = json!({"metadata": {"labels": {"$patch": "replace", "zone": null}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "False"}]}});
        let patched = peer
            .ask("patch", "null/nodepatch/edge-1", &patch.to_string().into())
            .await;
        let patched = content(&patched);
        assert_eq!(
            patched["Object"]["status"]["conditions"][0]["status"], "False",
            "{patched}"
        );
        let node = fake.get(&NODES, None, "edge-1").unwrap();
        assert_eq!(node["spec"], json!({}));
        assert_eq!(
            node["metadata"]["labels"]["kubernetes.io/hostname"],
            "edge-1"
        );
        assert_eq!(node["metadata"]["labels"].get("zone"), None);
        let bad = peer
            .ask("patch", "null/nodepatch/edge-1", &json!("[1"))
            .await;
        assert_eq!(code(&content(&bad)), 400);

        let report = json!({"UID": "x", "Status": {"phase": "Running"}});
        let said = peer
            .ask("update", "default/nodestatus/edge-1", &report)
            .await;
        assert_eq!(content(&said), "OK");
        assert_eq!(
            fake.get(&NODES, None, "edge-1").unwrap()["status"]["phase"],
            "Running"
        );
    });
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
fn leases_are_written_as_they_come_and_say_whose_session_it_is() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        let stage = Stage::running(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", false);
        let path = "kube-node-lease/lease/edge-1";
        let missing = content(&peer.ask("query", path, &Value::Null).await);
        assert_eq!((code(&missing), &missing["Object"]), (404, &Value::Null));
        assert_eq!(missing["Err"]["ErrStatus"]["details"]["kind"], "lease");
        let sent = json!({"metadata": {"name": "edge-1", "annotations": {"mine": "x"}},
            "spec": {"holderIdentity": "edge-1", "renewTime": "2026-11-22T08:00:00.000000Z"}});
        let made = content(&peer.ask("insert", path, &sent).await)["Object"].clone();
        let annotations = json!({"kubeedge.io/session-owner": stage.cluster.sessions.mark(&"edge-1".parse().unwrap()).unwrap().owner,
            "kubeedge.io/session-began": NOW.millis().to_string()});
        assert_eq!(made["metadata"]["annotations"], annotations);
        assert_eq!(code(&content(&peer.ask("insert", path, &sent).await)), 409);
        let mut next = made.clone();
        next["spec"]["renewTime"] = json!("2026-11-22T08:00:10.000000Z");
        let renewed = content(&peer.ask("update", path, &next).await);
        assert_eq!(
            renewed["Object"]["spec"]["renewTime"],
            "2026-11-22T08:00:10.000000Z"
        );
        let stale = content(&peer.ask("update", path, &made).await);
        assert_eq!((code(&stale), &stale["Object"]["spec"]), (409, &json!({})));
        assert_eq!(stale["Err"]["ErrStatus"]["reason"], "Conflict");
        next["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("resourceVersion");
        assert_eq!(code(&content(&peer.ask("update", path, &next).await)), 422);
        fake.order(
            None,
            "leases",
            1,
            Act::Refuse(refusal(403, "Forbidden", "no")),
        );
        assert_eq!(
            code(&content(&peer.ask("query", path, &Value::Null).await)),
            403
        );
        fake.order(None, "leases", 1, Act::Refuse(away()));
        let away = content(&peer.ask("query", path, &Value::Null).await);
        assert_eq!(code(&away), 500);
        assert!(
            away["Err"]["ErrStatus"]["message"]
                .as_str()
                .unwrap()
                .contains("try again")
        );
    });
}

#[test]
fn pods_are_reported_mirrored_and_ended() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        pod(&fake, "p", "edge-1", json!({}));
        let stage = Stage::running(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", false);
        let told = peer.told(0, "update default/pod/p").await;
        assert_eq!(told.content()["kind"], "Pod");
        let uid = told.content()["metadata"]["uid"].clone();
        let patch = json!({"metadata": {"uid": uid}, "spec": {"nodeName": "x"},
            "status": {"phase": "Running"}});
        let patched = peer
            .ask("patch", "default/podpatch/p", &patch.to_string().into())
            .await;
        assert_eq!(content(&patched)["Object"]["status"]["phase"], "Running");
        let held = fake.get(&PODS, Some("default"), "p").unwrap();
        assert_eq!(held["spec"]["nodeName"], "edge-1");
        peer.told(1, "update default/pod/p").await;

        // One of the name that it means is gone: it is told so.
        let from = peer.told.len();
        let other = json!({"metadata": {"uid": "other"}, "status": {}});
        let answer = peer
            .ask("patch", "default/podpatch/p", &other.to_string().into())
            .await;
        assert_eq!(code(&content(&answer)), 409);
        let gone = peer.told(from, "delete default/pod/p").await;
        assert_eq!(gone.content()["metadata"]["uid"], "other");
        let none = json!({"metadata": {"uid": "u"}, "status": {}});
        let answer = peer
            .ask("patch", "default/podpatch/none", &none.to_string().into())
            .await;
        assert_eq!(code(&content(&answer)), 404);
        peer.told(from, "delete default/pod/none").await;
        let states = json!([{"UID": "v", "Name": "q", "Status": {}},
            {"UID": uid, "Name": "p", "Status": {"phase": "Failed"}}]);
        assert_eq!(
            content(&peer.ask("update", "default/podstatus", &states).await),
            "OK"
        );
        peer.told(from, "delete default/pod/q").await;
        let held = fake.get(&PODS, Some("default"), "p").unwrap();
        assert_eq!(held["status"]["phase"], "Failed");

        let mirror = json!({"metadata": {"name": "m", "namespace": "default",
            "annotations": {"kubernetes.io/config.mirror": "x"}}, "spec": {"nodeName": "edge-1"}});
        let made = content(&peer.ask("insert", "default/pod/m", &mirror).await);
        assert_eq!(made["Object"]["metadata"]["name"], "m");
        assert_eq!(
            code(&content(
                &peer.ask("insert", "default/pod/m", &mirror).await
            )),
            409
        );

        // Asked to end by the cluster, it ends; another uid or none there is as good.
        let from = peer.told.len();
        let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": "other"}});
        assert_eq!(
            content(&peer.ask("delete", "default/pod/p", &options).await),
            "OK"
        );
        assert_eq!(
            content(&peer.ask("delete", "default/pod/none", &options).await),
            "OK"
        );
        assert!(fake.get(&PODS, Some("default"), "p").is_some());
        let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
        assert_eq!(
            content(&peer.ask("delete", "default/pod/p", &options).await),
            "OK"
        );
        assert!(fake.get(&PODS, Some("default"), "p").is_none());
        peer.told(from, "delete default/pod/p").await;
        fake.set_down(true);
        let answer = peer.ask("delete", "default/pod/none", &options).await;
        assert_eq!(answer.route.operation, "error");
    });
}

#[test]
fn what_pods_need_is_given_to_their_node() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        config(&fake, "app", "1");
        secret(&fake, "s", "cw==");
        put(&fake, &SERVICE_ACCOUNTS, "default", "runner", json!({}));
        put(
            &fake,
            &PERSISTENT_VOLUME_CLAIMS,
            "default",
            "disk",
            json!({"spec": {"volumeName": "pv"}}),
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
            "spec": {"nodeName": "edge-1"}}),
        );
        pod(
            &fake,
            "p",
            "edge-1",
            json!({"volumes": [{"configMap": {"name": "app"}},
            {"secret": {"secretName": "s"}}, {"configMap": {"name": "absent"}},
            {"persistentVolumeClaim": {"claimName": "disk"}}]}),
        );
        let stage = Stage::running(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", false);
        let told = peer.told(0, "update default/pod/p").await;
        fake.forget_calls();
        let found = peer
            .ask("query", "default/configmap/app", &Value::Null)
            .await;
        assert_eq!(content(&found)["data"]["key"], "1");
        assert_eq!(content(&found)["kind"], "ConfigMap");
        assert!(!found.header.resource_version.is_empty());
        let found = peer.ask("query", "default/secret/s", &Value::Null).await;
        assert_eq!(content(&found)["data"]["key"], "cw==");
        assert_eq!(calls(&fake), Vec::<String>::new(), "both are known");
        let absent = peer
            .ask("query", "default/configmap/absent", &Value::Null)
            .await;
        assert_eq!(absent.route.operation, "error");
        assert_eq!(
            calls(&fake),
            ["GET /api/v1/namespaces/default/configmaps/absent"]
        );
        for (resource, key) in [
            ("default/persistentvolumeclaim/disk", "volumeName"),
            ("null/persistentvolume/pv", "claimRef"),
            ("null/volumeattachment/va", "nodeName"),
        ] {
            let found = content(&peer.ask("query", resource, &Value::Null).await);
            assert!(found["spec"].get(key).is_some(), "{resource}: {found}");
        }
        let uid = told.content()["metadata"]["uid"].clone();
        let token = json!({"spec": {"audiences": ["a"], "expirationSeconds": 3607,
            "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid}}});
        let made = peer
            .ask("query", "default/serviceaccounttoken/runner", &token)
            .await;
        assert!(
            content(&made)["status"]["token"]
                .as_str()
                .unwrap()
                .starts_with("fake.")
        );
        assert_eq!(made.header.resource_version, "");
        let mut other = token.clone();
        other["spec"]["boundObjectRef"]["uid"] = json!("other");
        let denied = peer
            .ask("query", "default/serviceaccounttoken/runner", &other)
            .await;
        assert_eq!(denied.route.operation, "error");
        let ca = peer.ask("query", "k8s/ca.crt", &Value::Null).await;
        assert_eq!(content(&ca), "");
        put(
            &fake,
            &crate::kubernetes::resource::CONFIG_MAPS,
            "kube-system",
            "kube-root-ca.crt",
            json!({"data": {"ca.crt": "PEM"}}),
        );
        let ca = peer.ask("query", "k8s/ca.crt", &Value::Null).await;
        assert_eq!(
            (content(&ca), &*ca.route.source),
            (json!("PEM"), "cloudhub")
        );
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
fn events_are_written_in_their_order_and_nobody_waits() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        pod(&fake, "p", "edge-1", json!({}));
        let stage = Stage::running(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", false);
        peer.told(0, "update default/pod/p").await;
        let event = json!({"metadata": {"name": "e", "namespace": "x", "labels": {"a": "b"}},
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
            "source": {"host": "other", "component": "kubelet"}, "count": 1});
        let patch = json!({"event": event, "patchData": "{\"count\":2,\"reason\":\"x\"}"});
        for (operation, sent) in [("insert", &event), ("patch", &patch)] {
            let message = crate::protocol::message::Message::of_edged(
                NOW,
                operation,
                "default/event/e",
                sent,
            );
            assert!(peer.send(&message).is_none());
        }
        until("it is written", || {
            let event = fake.get(&EVENTS, Some("default"), "e");
            event.is_some_and(|event| event["count"] == 2)
        })
        .await;
        let event = fake.get(&EVENTS, Some("default"), "e").unwrap();
        assert_eq!(
            event["source"],
            json!({"host": "edge-1", "component": "kubelet"})
        );
        assert!(event.get("reason").is_none() && event["metadata"].get("labels").is_none());
    });
}

#[test]
fn in_the_name_of_the_node_where_that_is_allowed() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        let options = Options {
            replica: "one".to_owned(),
            impersonate: true,
            ..Options::default()
        };
        let stage = Stage::resting(&runner, &fake, options.clone());
        stage.start().await;
        let mut peer = stage.connect("edge-1", false);
        fake.forget_calls();
        let sent = json!({"metadata": {"name": "edge-1", "labels": {"zone": "a"}}});
        let made = content(&peer.ask("insert", "null/node/edge-1", &sent).await);
        assert_eq!(
            made["Object"]["metadata"]["labels"]["node-role.kubernetes.io/edge"],
            ""
        );
        let made: Vec<String> = calls(&fake)
            .into_iter()
            .filter(|it| it.contains("nodes"))
            .collect();
        assert_eq!(made, ["POST /api/v1/nodes", "PATCH /api/v1/nodes/edge-1"]);
        let csr = json!({"metadata": {"name": "csr-1"},
            "spec": {"signerName": "kubernetes.io/kubelet-serving", "request": "eA==", "usages": []}});
        let made = content(
            &peer
                .ask("insert", "null/certificatesigningrequest/csr-1", &csr)
                .await,
        );
        assert_eq!(made["Object"]["metadata"]["name"], "csr-1");
        let mut other = csr.clone();
        other["spec"]["signerName"] = json!("kubernetes.io/kube-apiserver-client");
        let denied = peer
            .ask("insert", "null/certificatesigningrequest/csr-2", &other)
            .await;
        assert_eq!(code(&content(&denied)), 403);
        assert!(
            fake.get(&CERTIFICATE_SIGNING_REQUESTS, None, "csr-2")
                .is_none()
        );

        // Where it is not, it is asked in our own.
        let refused = Act::Refuse(refusal(403, "Forbidden", "no"));
        fake.order(Some(Method::Post), "selfsubjectaccessreviews", 9, refused);
        let other = Stage::resting(&runner, &fake, options);
        other.start().await;
        until("it is told", || !other.cluster.is_impersonating()).await;
        assert!(stage.cluster.is_impersonating());
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
