//! Jobs of the cluster, given by one cloudcore or two to edges that speak to them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::Options;
use super::stage::*;
use crate::kubernetes::Resource;
use crate::kubernetes::resource::{CONFIG_UPDATE_JOBS, IMAGE_PRE_PULL_JOBS, NODE_UPGRADE_JOBS};
use crate::kubernetes::testing::FakeCluster;
use crate::protocol::message::{Message, Route};
use crate::system::names::NodeName;

pub async fn replica(runner: &Runner, fake: &FakeCluster, name: &str) -> Stage {
    let options = Options {
        replica: name.to_owned(),
        jobs: true,
        ..Options::default()
    };
    let stage = Stage::resting(runner, fake, options);
    stage.start().await;
    stage
}

pub fn upgrade(fake: &FakeCluster, name: &str, more: Value) {
    let mut spec = json!({"version": "v1.23.2", "image": "k/i", "failureTolerate": "0.5"});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    make(fake, &NODE_UPGRADE_JOBS, name, spec);
}

fn make(fake: &FakeCluster, resource: &Resource, name: &str, spec: Value) {
    let object = json!({"kind": resource.kind, "apiVersion": resource.api_version(),
        "metadata": {"name": name}, "spec": spec});
    fake.put(resource, None, object);
}

pub fn status(fake: &FakeCluster, resource: &Resource, name: &str) -> Value {
    let object = fake.get(resource, None, name).unwrap_or_default();
    object["status"].clone()
}

/// What the job's object says: of the whole, and of each node.
pub fn phases(fake: &FakeCluster, name: &str) -> (String, Vec<String>) {
    let status = status(fake, &NODE_UPGRADE_JOBS, name);
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let nodes = status["nodeStatus"].as_array().cloned();
    let nodes = nodes.unwrap_or_default();
    (
        word(&status["phase"]),
        nodes.iter().map(|it| word(&it["phase"])).collect(),
    )
}

pub fn is(fake: &FakeCluster, name: &str, phase: &str, nodes: &[&str]) -> bool {
    phases(fake, name)
        == (
            phase.to_owned(),
            nodes.iter().map(|it| it.to_string()).collect(),
        )
}

/// The next job that an edge is given.
pub async fn given(peer: &mut Peer) -> Arc<Message> {
    loop {
        if let Some(message) = peer.next().await.unwrap()
            && is_job(&message)
        {
            return message;
        }
    }
}

/// It gives one, and does not say that a report has come.
pub fn is_job(message: &Message) -> bool {
    message.route.group == "taskmanager" && message.route.operation == "Check"
}

pub fn report(peer: &mut Peer, job: &str, action: &str, reason: &str, extend: &str) {
    let node = peer.registered.as_ref().unwrap().node.clone();
    // That it is written it is told later, or at once.
    let _ = peer.send(&said(&node, job, action, reason, extend));
}

pub fn said(node: &NodeName, job: &str, action: &str, reason: &str, extend: &str) -> Message {
    let route = Route {
        source: "websocket".to_owned(),
        group: "hub".to_owned(),
        operation: "UpdateNodeActionStatus".to_owned(),
        resource: format!("operations.kubeedge.io/v1alpha2/{job}/node/{node}"),
        ..Route::default()
    };
    let said = json!({"action": action, "succ": reason.is_empty(),
        "finishTime": "2026-11-22T08:04:30Z", "reason": reason, "extend": extend});
    Message::new(NOW, route, &said)
}

pub fn do_upgrade(peer: &mut Peer, job: &str) {
    let job = format!("nodeupgradejob/{job}");
    for action in ["Check", "BackUp", "Upgrade"] {
        let extend = if action == "Upgrade" {
            "v1.23.1,v1.23.2"
        } else {
            ""
        };
        report(peer, &job, action, "", extend);
    }
}

/// Calls on jobs that are not watches or their lists.
pub fn own_calls(fake: &FakeCluster) -> Vec<String> {
    let mut calls = calls(fake);
    calls.retain(|call| call.contains("operations.kubeedge.io") && !call.contains("limit="));
    calls
}

pub async fn turns(count: usize) {
    for _ in 0..count {
        smol::future::yield_now().await;
    }
}

#[test]
fn two_cloudcores_share_a_job_and_no_node_has_it_twice() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        for name in ["edge-1", "edge-2", "edge-3", "edge-4"] {
            node(&fake, name);
        }
        let one = replica(&runner, &fake, "one").await;
        let two = replica(&runner, &fake, "two").await;
        let mut peers = [
            one.connect("edge-1", true),
            two.connect("edge-2", true),
            one.connect("edge-3", true),
            two.connect("edge-4", true),
        ];
        let expression = json!({"key": "kubernetes.io/hostname", "operator": "Exists"});
        let more = json!({"labelSelector": {"matchExpressions": [expression]}, "concurrency": 4});
        upgrade(&fake, "u", more);
        for (number, peer) in peers.iter_mut().enumerate() {
            let job = given(peer).await;
            assert_eq!(job.route.operation, "Check");
            let content = content(&job);
            assert_eq!(content["version"], "v1.23.2");
            assert_eq!(
                content["nodeNames"],
                json!([format!("edge-{}", number + 1)])
            );
            match number {
                2 => report(peer, "nodeupgradejob/u", "Check", "no room", ""),
                _ => do_upgrade(peer, "u"),
            }
        }
        let nodes = ["Successful", "Successful", "Failure", "Successful"];
        until("all have an end", || is(&fake, "u", "Completed", &nodes)).await;
        let status = status(&fake, &NODE_UPGRADE_JOBS, "u");
        let flow = json!([{"action": "Check", "status": "True", "time": "2026-11-22T08:04:30Z"},
            {"action": "BackUp", "status": "True", "time": "2026-11-22T08:04:30Z"},
            {"action": "Upgrade", "status": "True", "time": "2026-11-22T08:04:30Z"}]);
        assert_eq!(
            status["nodeStatus"][3],
            json!({"nodeName": "edge-4", "phase": "Successful", "actionFlow": flow,
                "historicVersion": "v1.23.1", "currentVersion": "v1.23.2"})
        );
        assert_eq!(status["nodeStatus"][2]["reason"], "no room");
        assert!(own_calls(&fake).len() <= 24, "{:?}", own_calls(&fake));
        // It is over for both, and nobody was told more than once.
        turns(2000).await;
        for peer in &mut peers {
            let mut rest = Vec::new();
            while let Some(Ok(Some(message))) = smol::future::poll_once(peer.next()).await {
                rest.extend((is_job(&message)).then_some(message));
            }
            assert!(rest.is_empty(), "{rest:?}");
        }
        fake.forget_calls();
        one.hand.advance(Duration::from_secs(3600));
        turns(2000).await;
        assert_eq!(own_calls(&fake), [""; 0]);
    });
}

#[test]
fn one_after_the_other_whatever_the_number_of_cloudcores() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        for name in ["edge-1", "edge-2"] {
            node(&fake, name);
        }
        let one = replica(&runner, &fake, "one").await;
        let two = replica(&runner, &fake, "two").await;
        let mut peers = [one.connect("edge-1", true), two.connect("edge-2", true)];
        upgrade(&fake, "u", json!({"nodeNames": ["edge-1", "edge-2"]}));
        until("one has begun", || phases(&fake, "u").0 == "InProgress").await;
        turns(3000).await;
        let (_, nodes) = phases(&fake, "u");
        let begun = nodes.iter().position(|it| it == "InProgress").unwrap();
        assert_eq!(nodes[1 - begun], "Pending");
        for place in [begun, 1 - begun] {
            given(&mut peers[place]).await;
            do_upgrade(&mut peers[place], "u");
        }
        until("both are done", || {
            is(&fake, "u", "Completed", &["Successful", "Successful"])
        })
        .await;
    });
}

#[test]
fn too_many_failures_end_a_job_and_who_is_late_has_failed() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        for number in 1..=4 {
            node(&fake, &format!("edge-{number}"));
        }
        let stage = replica(&runner, &fake, "one").await;
        let mut peers: Vec<Peer> = (1..=4)
            .map(|it| stage.connect(&format!("edge-{it}"), true))
            .collect();
        let names: Vec<String> = (1..=4).map(|it| format!("edge-{it}")).collect();
        let more = json!({"nodeNames": names, "concurrency": 2, "failureTolerate": "0.25"});
        upgrade(&fake, "u", more);
        given(&mut peers[0]).await;
        given(&mut peers[1]).await;
        report(&mut peers[0], "nodeupgradejob/u", "Check", "no room", "");
        given(&mut peers[2]).await;
        until("one has failed", || phases(&fake, "u").1[0] == "Failure").await;
        assert_eq!(phases(&fake, "u").0, "InProgress");
        // Of the two that are left nothing more is heard.
        report(&mut peers[1], "nodeupgradejob/u", "Check", "", "");
        until("that is written", || {
            let status = status(&fake, &NODE_UPGRADE_JOBS, "u");
            status["nodeStatus"][1]["actionFlow"][0]["status"] == "True"
        })
        .await;
        stage.hand.advance(Duration::from_secs(301));
        until("all have an end", || {
            is(
                &fake,
                "u",
                "Failure",
                &["Failure", "Failure", "Failure", "Pending"],
            )
        })
        .await;
        let status = status(&fake, &NODE_UPGRADE_JOBS, "u");
        let reason = |value: &Value| value["reason"].as_str().unwrap().to_owned();
        assert!(reason(&status).starts_with("3 of its 4 nodes failed"));
        assert!(reason(&status["nodeStatus"][1]).contains("the last it reported was Check"));
    });
}

#[test]
fn what_can_not_be_done_says_why() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        let _stage = replica(&runner, &fake, "one").await;
        for (name, more, part) in [
            ("nobody", json!({}), "nodeNames or labelSelector"),
            (
                "fitting",
                json!({"labelSelector": {"matchLabels": {"a": "b"}}}),
                "no edge",
            ),
            (
                "version",
                json!({"nodeNames": ["edge-1"], "version": "1; id"}),
                "no version",
            ),
            (
                "ratio",
                json!({"nodeNames": ["edge-1"], "failureTolerate": "x"}),
                "from 0 to 1",
            ),
            (
                "stranger",
                json!({"nodeNames": ["edge-9"]}),
                "1 of its 1 nodes",
            ),
        ] {
            upgrade(&fake, name, more);
            until(name, || phases(&fake, name).0 == "Failure").await;
            let reason = status(&fake, &NODE_UPGRADE_JOBS, name)["reason"].clone();
            assert!(reason.as_str().unwrap().contains(part), "{reason}");
        }
        let calls = own_calls(&fake);
        assert_eq!(calls.len(), 5, "{calls:?}");
    });
}

#[test]
fn other_kinds_have_their_steps_and_their_results() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        let stage = replica(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", true);
        let template = json!({"images": ["r.example/a:1"], "nodeNames": ["edge-1", "edge-1"],
            "checkItems": ["disk"], "retryTimes": 1});
        make(
            &fake,
            &IMAGE_PRE_PULL_JOBS,
            "p",
            json!({"imagePrePullTemplate": template}),
        );
        let job = given(&mut peer).await;
        let told = &content(&job)["imagePrePullTemplate"];
        assert_eq!(told["nodeNames"], json!(["edge-1"]));
        let images = json!([{"image": "r.example/a:1", "status": "False", "reason": "no runtime"}]);
        report(&mut peer, "imageprepulljob/p", "Check", "", "");
        report(
            &mut peer,
            "imageprepulljob/p",
            "Pull",
            "some failed",
            &images.to_string(),
        );
        let of = |resource: &Resource, name: &str| status(&fake, resource, name);
        until("it has failed", || {
            of(&IMAGE_PRE_PULL_JOBS, "p")["phase"] == "Failure"
        })
        .await;
        let node = &of(&IMAGE_PRE_PULL_JOBS, "p")["nodeStatus"][0];
        assert_eq!(
            (&node["imageStatus"], &node["reason"]),
            (&images, &json!("some failed"))
        );

        let fields = json!({"modules.edgeHub.messageQPS": "31"});
        make(
            &fake,
            &CONFIG_UPDATE_JOBS,
            "c",
            json!({"updateFields": fields, "nodeNames": ["edge-1"]}),
        );
        assert_eq!(content(&*given(&mut peer).await)["updateFields"], fields);
        // One of another name, and one that is not its own.
        report(&mut peer, "nodeupgradejob/c", "Update", "", "");
        for (action, reason) in [("Check", ""), ("BackUp", ""), ("Update", "bad key")] {
            report(&mut peer, "configupdatejob/c", action, reason, "");
        }
        until("it is being taken back", || {
            of(&CONFIG_UPDATE_JOBS, "c")["nodeStatus"][0]["reason"] == "bad key"
        })
        .await;
        assert_eq!(of(&CONFIG_UPDATE_JOBS, "c")["phase"], "InProgress");
        report(&mut peer, "configupdatejob/c", "RollBack", "", "");
        until("that is done", || {
            of(&CONFIG_UPDATE_JOBS, "c")["phase"] == "Failure"
        })
        .await;
        let flow = &of(&CONFIG_UPDATE_JOBS, "c")["nodeStatus"][0]["actionFlow"];
        let words: Vec<&Value> = flow
            .as_array()
            .unwrap()
            .iter()
            .map(|it| &it["action"])
            .collect();
        assert_eq!(words, ["Check", "BackUp", "Update", "RollBack"]);
    });
}

#[test]
fn a_registrys_token_is_not_told_to_nodes() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        let stage = replica(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", true);
        let digest = format!("sha256:{}", "a".repeat(64));
        let digests = json!({"arm64": digest, "registryAPI": {"host": "r", "token": "geheim"}});
        upgrade(
            &fake,
            "u",
            json!({"nodeNames": ["edge-1"], "imageDigestGatter": digests}),
        );
        let told = content(&*given(&mut peer).await);
        assert_eq!(told["imageDigestGatter"], json!({"arm64": digest}));
    });
}
