//! Each request becomes its call, of one's own and nobody else's, and says what became of it.

use serde_json::{Value, json};

use super::super::Options;
use super::stage::*;
use crate::kubernetes::resource::{
    CERTIFICATE_SIGNING_REQUESTS, EVENTS, NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES,
    PODS, SERVICE_ACCOUNTS, VOLUME_ATTACHMENTS,
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
