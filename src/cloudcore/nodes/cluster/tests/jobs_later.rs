//! Jobs of the cluster that do not go straight on: restarts, deletions, conflicts, nodes that are away; recorded ones.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::jobs;
use super::jobs::*;
use super::stage::*;
use crate::kubernetes::resource::NODE_UPGRADE_JOBS;
use crate::kubernetes::testing::{Act, FakeCluster, lost, refusal};
use crate::kubernetes::{Answer, Api, Calling, Events, Method, Patch, Request};

#[test]
fn a_cloudcore_that_comes_back_goes_on_and_repeats_nothing() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        for number in 1..=3 {
            node(&fake, &format!("edge-{number}"));
        }
        // Made while there is no cloudcore; and one that was over before.
        upgrade(
            &fake,
            "u",
            json!({"nodeNames": ["edge-1", "edge-2", "edge-3"], "concurrency": 2}),
        );
        let done = json!({"kind": "NodeUpgradeJob", "apiVersion": "operations.kubeedge.io/v1alpha2",
            "metadata": {"name": "done"}, "spec": {"version": "v1.23.1", "nodeNames": ["edge-1"]},
            "status": {"phase": "Completed", "nodeStatus": [{"nodeName": "edge-1", "phase": "Pending"}]}});
        fake.put(&NODE_UPGRADE_JOBS, None, done);
        {
            let stage = replica(&runner, &fake, "one").await;
            let mut first = stage.connect("edge-1", true);
            let mut second = stage.connect("edge-2", true);
            for peer in [&mut first, &mut second] {
                given(peer).await;
                report(peer, "nodeupgradejob/u", "Check", "", "");
            }
            until("that is written", || {
                let status = status(&fake, &NODE_UPGRADE_JOBS, "u");
                status["nodeStatus"][1]["actionFlow"][0]["action"] == "Check"
            })
            .await;
            // Heard, and not written: that it ends does it.
            report(&mut second, "nodeupgradejob/u", "BackUp", "", "");
        }
        until("its last word", || {
            let status = status(&fake, &NODE_UPGRADE_JOBS, "u");
            status["nodeStatus"][1]["actionFlow"][1]["action"] == "BackUp"
        })
        .await;
        let stage = replica(&runner, &fake, "two").await;
        let mut first = stage.connect("edge-1", true);
        let mut third = stage.connect("edge-3", true);
        // What is said before the job is known again is not lost.
        for action in ["BackUp", "Upgrade"] {
            report(&mut first, "nodeupgradejob/u", action, "", "");
        }
        let job = given(&mut third).await;
        assert!(
            job.route.resource.contains("/nodeupgradejob/u/"),
            "{:?}",
            job.route
        );
        do_upgrade(&mut third, "u");
        let mut second = stage.connect("edge-2", true);
        report(&mut second, "nodeupgradejob/u", "Upgrade", "", "");
        until("all are done", || {
            is(&fake, "u", "Completed", &["Successful"; 3])
        })
        .await;
        for peer in [&mut first, &mut second] {
            while let Some(Ok(message)) = smol::future::poll_once(peer.next()).await {
                assert!(message.is_none_or(|it| !is_job(&it)));
            }
        }
    });
}

#[test]
fn a_job_that_is_deleted_stops() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        node(&fake, "edge-2");
        let stage = replica(&runner, &fake, "one").await;
        let mut first = stage.connect("edge-1", true);
        let mut second = stage.connect("edge-2", true);
        upgrade(&fake, "u", json!({"nodeNames": ["edge-1", "edge-2"]}));
        given(&mut first).await;
        fake.remove(&NODE_UPGRADE_JOBS, None, "u");
        upgrade(&fake, "v", json!({"nodeNames": ["edge-2"]}));
        do_upgrade(&mut first, "u");
        let job = given(&mut second).await;
        assert!(
            job.route.resource.contains("/nodeupgradejob/v/"),
            "{:?}",
            job.route
        );
    });
}

#[test]
fn a_deletion_does_not_wait_for_a_cloudcore_of_kubeedge() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        let _stage = replica(&runner, &fake, "one").await;
        // The first try fails, and no watch is cut.
        let ill = refusal(500, "InternalError", "etcd has no leader");
        fake.order(
            Some(Method::Patch),
            "nodeupgradejobs/u",
            1,
            Act::Refuse(ill),
        );
        let object = json!({"kind": "NodeUpgradeJob", "apiVersion": "operations.kubeedge.io/v1alpha2",
            "metadata": {"name": "u", "deletionTimestamp": "2026-11-22T08:04:30Z",
                "finalizers": ["kubeedge.io/nodeupgradejob-controller", "example.org/mine"]},
            "spec": {}, "status": {"phase": "InProgress"}});
        fake.put(&NODE_UPGRADE_JOBS, None, object);
        until("only the other one is left", || {
            let object = fake.get(&NODE_UPGRADE_JOBS, None, "u").unwrap();
            object["metadata"]["finalizers"] == json!(["example.org/mine"])
        })
        .await;
    });
}

#[test]
fn conflicts_and_lost_answers_heal_and_are_few() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        let stage = replica(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", true);
        let conflict = refusal(409, "Conflict", "the object has been modified");
        fake.order(
            Some(Method::Patch),
            "nodeupgradejobs",
            3,
            Act::Refuse(conflict),
        );
        fake.order(Some(Method::Patch), "nodeupgradejobs", 1, Act::Lose(lost()));
        upgrade(&fake, "u", json!({"nodeNames": ["edge-1"]}));
        // Whether it was given before the answer was lost nobody knows: after a while it is.
        given(&mut peer).await;
        let conflict = refusal(409, "Conflict", "the object has been modified");
        fake.order(
            Some(Method::Patch),
            "nodeupgradejobs",
            2,
            Act::Refuse(conflict),
        );
        fake.order(Some(Method::Patch), "nodeupgradejobs", 1, Act::Lose(lost()));
        do_upgrade(&mut peer, "u");
        until("it is done", || {
            is(&fake, "u", "Completed", &["Successful"])
        })
        .await;
        turns(2000).await;
        let flow = &status(&fake, &NODE_UPGRADE_JOBS, "u")["nodeStatus"][0]["actionFlow"];
        assert_eq!(flow.as_array().unwrap().len(), 3);
        assert!(own_calls(&fake).len() <= 16, "{:?}", own_calls(&fake));
    });
}

#[test]
fn a_cluster_without_such_objects_is_seldom_asked() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        let none = refusal(
            404,
            "NotFound",
            "the server could not find the requested resource",
        );
        fake.order(
            None,
            "operations.kubeedge.io",
            usize::MAX,
            Act::Refuse(none),
        );
        let _stage = replica(&runner, &fake, "one").await;
        let asked = || {
            let calls = fake.calls().into_iter();
            calls
                .filter(|it| it.1.contains("operations.kubeedge.io"))
                .count()
        };
        until("each kind is looked for", || asked() == 3).await;
        turns(3000).await;
        assert_eq!(asked(), 3);
    });
}

#[test]
fn a_job_that_waits_for_nodes_costs_nothing() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        let stage = replica(&runner, &fake, "one").await;
        upgrade(&fake, "u", json!({"nodeNames": ["edge-1"]}));
        until("it waits", || is(&fake, "u", "InProgress", &["Pending"])).await;
        fake.forget_calls();
        for _ in 0..10 {
            stage.hand.advance(Duration::from_secs(600));
            turns(300).await;
        }
        assert_eq!(own_calls(&fake), [""; 0]);
        let mut peer = stage.connect("edge-1", true);
        given(&mut peer).await;
    });
}

#[test]
fn a_node_that_moves_has_time_to_say_that_it_has_the_job() {
    let object = json!({"metadata": {"name": "u", "uid": "1", "resourceVersion": "7"},
        "spec": {"version": "v1.23.2", "nodeNames": ["edge-1"]},
        "status": {"phase": "InProgress", "nodeStatus": [{"nodeName": "edge-1", "phase": "InProgress"}]}});
    let read = || {
        jobs::object::read(
            crate::cloudcore::jobs::Kind::NodeUpgradeJob,
            object.as_object().unwrap(),
            NOW,
        )
        .unwrap()
    };
    let start = Instant::now();
    let node = "edge-1".parse().unwrap();
    let mut held = jobs::held::Held::new(read(), start);
    let told = |held: &jobs::held::Held, after| {
        let at = start + after;
        let plan = held.plan(NOW, at, None, |_| true).unwrap();
        assert!(plan.status.is_none());
        plan.told.len()
    };
    let patience = jobs::held::PATIENCE;
    assert_eq!(told(&held, patience / 2), 0);
    assert_eq!(
        told(&held, patience),
        1,
        "it may be the other's session that has it"
    );
    let plan = held.plan(NOW, start + patience, None, |_| true).unwrap();
    held.done(plan, None, start + patience);
    assert_eq!(told(&held, patience * 9), 0, "once over one session");
    held.begun(&node, start + patience * 9);
    assert_eq!(told(&held, patience * 9), 0);
    assert_eq!(told(&held, patience * 10), 1);
}

#[test]
fn a_report_of_a_node_that_has_not_begun_waits_until_it_is_known_to_have() {
    let report = || crate::protocol::jobs::Report {
        action: "Check".to_owned(),
        succ: true,
        finish_time: NOW.to_string(),
        ..Default::default()
    };
    let job = |version: &str, of_first: &str| {
        let nodes = json!([{"nodeName": "edge-1", "phase": of_first},
            {"nodeName": "edge-2", "phase": "InProgress"}]);
        let object = json!({"metadata": {"name": "u", "uid": "1", "resourceVersion": version},
            "spec": {"version": "v1.23.2", "nodeNames": ["edge-1", "edge-2"], "concurrency": 1},
            "status": {"phase": "InProgress", "nodeStatus": nodes}});
        let kind = crate::cloudcore::jobs::Kind::NodeUpgradeJob;
        jobs::object::read(kind, object.as_object().unwrap(), NOW).unwrap()
    };
    let (node, start) = ("edge-1".parse().unwrap(), Instant::now());
    let nothing_is_written = |held: &mut jobs::held::Held| {
        let plan = held.plan(NOW, start, None, |_| true).unwrap();
        assert!(plan.status.is_none());
        held.done(plan, None, start);
    };
    let mut held = jobs::held::Held::new(job("7", "Pending"), start);
    let heard = held.hear(&node, report(), start).unwrap();
    nothing_is_written(&mut held);
    assert!(heard.try_recv().is_err(), "nothing is written");
    // The cluster is asked, and does not answer; then its watch tells.
    let late = held.doubt().unwrap();
    assert_eq!(late, start + jobs::held::EARLY);
    held.settle(false, late);
    assert_eq!(held.doubt(), Some(late + jobs::held::EARLY));
    held.take(job("8", "InProgress"), start);
    assert!(heard.try_recv().is_err() && held.doubt().is_none());
    let plan = held.plan(NOW, start, None, |_| true).unwrap();
    let status = plan.status.as_ref().unwrap();
    assert_eq!(status["nodeStatus"][0]["actionFlow"][0]["action"], "Check");
    held.done(plan, Some(job("9", "InProgress")), start);
    assert!(heard.try_recv().is_ok());
    // It has indeed not begun: that is told when the cluster says so.
    let mut held = jobs::held::Held::new(job("7", "Pending"), start);
    let heard = held.hear(&node, report(), start).unwrap();
    nothing_is_written(&mut held);
    held.settle(true, start);
    assert!(heard.try_recv().is_err(), "it is early");
    held.settle(true, late);
    assert!(heard.try_recv().is_ok());
    // Another has chosen the nodes, of which nothing is known here.
    let mut unchosen = job("6", "Pending");
    (unchosen.is_new, unchosen.fleet.nodes) = (true, Default::default());
    let mut held = jobs::held::Held::new(unchosen, start);
    let heard = held.hear(&node, report(), start).unwrap();
    held.take(job("8", "InProgress"), start);
    assert!(heard.try_recv().is_err());
    let plan = held.plan(NOW, start, None, |_| true).unwrap();
    assert!(plan.status.is_some());
}

/// A cluster of which the watches of jobs tell nothing.
struct Silent(FakeCluster);

impl Api for Silent {
    fn call<'a>(&'a self, request: &'a Request) -> Calling<'a, Answer> {
        self.0.call(request)
    }

    fn watch<'a>(&'a self, request: &'a Request) -> Calling<'a, Box<dyn Events>> {
        Box::pin(async move {
            let events = self.0.watch(request).await?;
            if request.path.contains("nodeupgradejobs") {
                smol::future::pending::<()>().await;
            }
            Ok(events)
        })
    }
}

#[test]
fn no_report_counts_as_written_because_a_watch_is_dead() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        for name in ["edge-1", "edge-2"] {
            node(&fake, name);
        }
        let status_of = |phases: [&str; 2]| {
            let nodes = json!([{"nodeName": "edge-1", "phase": phases[0]},
                {"nodeName": "edge-2", "phase": phases[1]}]);
            json!({"phase": "InProgress", "nodeStatus": nodes})
        };
        let put = |name: &str, phases| {
            let object = json!({"kind": "NodeUpgradeJob", "apiVersion": "operations.kubeedge.io/v1alpha2",
                "metadata": {"name": name}, "status": status_of(phases),
                "spec": {"version": "v1.23.2", "nodeNames": ["edge-1", "edge-2"]}});
            fake.put(&NODE_UPGRADE_JOBS, None, object);
        };
        put("u", ["Pending", "InProgress"]);
        let options = super::super::Options {
            jobs: true,
            ..Default::default()
        };
        let api = std::sync::Arc::new(Silent(fake.clone()));
        let stage = Stage::with_api(&runner, api, options);
        stage.start().await;
        let is_watch =
            |target: &str| target.contains("nodeupgradejobs?") && target.contains("watch=true");
        until("it listens", || {
            fake.calls().iter().any(|it| is_watch(&it.1))
        })
        .await;
        // Another has one begin, and a job of which nothing is known here.
        let begun = ["InProgress", "Pending"];
        put("v", begun);
        let change = json!({"status": status_of(begun)});
        let patch = Request::patch(&NODE_UPGRADE_JOBS, None, "u", Patch::Merge, &change);
        fake.call(&patch.part("status")).await.unwrap();
        let node = "edge-1".parse().unwrap();
        let heard = ["u", "v", "w"].map(|name| {
            let report = said(&node, &format!("nodeupgradejob/{name}"), "Check", "", "");
            (name, stage.cluster.jobs.hear(&node, &report, NOW).unwrap())
        });
        for (name, heard) in heard {
            assert!(heard.recv().await.is_ok(), "{name}");
            let status = status(&fake, &NODE_UPGRADE_JOBS, name);
            let flow = &status["nodeStatus"][0]["actionFlow"];
            // There is no third one.
            assert_eq!(
                flow[0]["action"] == "Check",
                name != "w",
                "{name}: {status}"
            );
        }
    });
}

#[test]
fn what_another_has_begun_while_nodes_were_chosen_stands() {
    let object = |version: &str, status: Value| {
        let object = json!({"metadata": {"name": "u", "uid": "1", "resourceVersion": version},
            "spec": {"version": "v1.23.2", "nodeNames": ["edge-1", "edge-2"]}, "status": status});
        let kind = crate::cloudcore::jobs::Kind::NodeUpgradeJob;
        jobs::object::read(kind, object.as_object().unwrap(), NOW).unwrap()
    };
    let status = json!({"phase": "InProgress", "nodeStatus": [
        {"nodeName": "edge-1", "phase": "Pending"}, {"nodeName": "edge-2", "phase": "InProgress"}]});
    let at = Instant::now();
    let mut held = jobs::held::Held::new(object("7", json!({})), at);
    assert!(held.wanted().is_some());
    let chosen: crate::system::sorted::SortedMap<_, _> = ["edge-1", "edge-2"]
        .map(|node| (node.parse().unwrap(), Default::default()))
        .into();
    // The watch comes in between.
    held.take(object("8", status), at);
    let plan = held.plan(NOW, at, Some(chosen.clone()), |_| true).unwrap();
    assert!(plan.status.is_none() && plan.told.is_empty());
    // And the other way round: it was made anew meanwhile.
    let held = jobs::held::Held::new(object("9", json!({})), at);
    assert!(held.plan(NOW, at, None, |_| true).is_none());
    assert!(held.next(at).is_some());
    assert!(
        held.plan(NOW, at, Some(chosen), |_| true)
            .unwrap()
            .status
            .is_some()
    );
}

#[test]
fn a_report_counts_as_heard_when_it_is_written() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        let stage = replica(&runner, &fake, "one").await;
        let mut peer = stage.connect("edge-1", true);
        upgrade(&fake, "u", json!({"nodeNames": ["edge-1"]}));
        given(&mut peer).await;
        let hear = |job: &str, action: &str| {
            let node = "edge-1".parse().unwrap();
            let message = said(&node, &format!("nodeupgradejob/{job}"), action, "", "");
            let heard = stage.cluster.jobs.hear(&node, &message, NOW);
            heard.map(|heard| async move { heard.recv().await.is_ok() })
        };
        let away = fake.pause("nodeupgradejobs");
        let first = hear("u", "Check").unwrap();
        // It is said again over another session; who has asked first hears nothing.
        let again = hear("u", "Check").unwrap();
        assert!(!first.await);
        let mut again = Box::pin(again);
        turns(300).await;
        assert!(smol::future::poll_once(again.as_mut()).await.is_none());
        drop(away);
        assert!(again.await);
        let status = status(&fake, &NODE_UPGRADE_JOBS, "u");
        assert_eq!(status["nodeStatus"][0]["actionFlow"][0]["action"], "Check");
        assert!(hear("u", "Check").is_none(), "that is written");
        // It is told over its session, beside which that was waited for.
        let node = "edge-1".parse().unwrap();
        let last = said(&node, "nodeupgradejob/u", "Upgrade", "", "");
        let told = peer.answer_to(&last).await;
        assert_eq!(told.route.operation, "response");
        // It is over, which a watch might only not have told yet.
        assert!(hear("u", "BackUp").unwrap().await);
    });
}

#[test]
fn recorded_objects_are_read_and_written_as_they_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/objects/jobs.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let mut count = 0;
    for line in text.lines() {
        let object: Value = serde_json::from_str(line).unwrap();
        let kind = serde_json::from_value(object["kind"].clone()).unwrap();
        let job = jobs::object::read(kind, object.as_object().unwrap(), NOW).unwrap();
        assert!(!job.is_new && job.terms.is_ok());
        let mut written = jobs::object::status(&job.fleet);
        if written["reason"].is_null() {
            written.as_object_mut().unwrap().shift_remove("reason");
        }
        assert_eq!(written, object["status"], "{}", object["metadata"]["name"]);
        // None is begun again: but one has a node of which no end was heard.
        let held = jobs::held::Held::new(job, Instant::now());
        let late = Instant::now() + Duration::from_secs(3600);
        let plan = held.plan(NOW, late, None, |_| true);
        assert!(plan.is_none_or(|plan| plan.told.is_empty() && plan.status.is_none()));
        count += 1;
    }
    assert_eq!(count, 7);
}
