//! Tests of what a node is told of its reports, and an operator of his orders, when the store fails.

use serde_json::json;
use smol::block_on;
use smol::future::poll_once;

use super::*;
use crate::cloudcore::dispatch::{Answer, dispatch};
use crate::cloudcore::testing::{NOW, Peer, Stage};
use crate::protocol::jobs::Action;
use crate::system::scratch::Scratch;

fn job(name: &str) -> Fleet {
    Fleet {
        name: name.to_owned(),
        kind: Kind::NodeUpgradeJob,
        phase: Phase::Running,
        reason: String::new(),
        max_unavailable: 1,
        pause_on_failure: false,
        timeout_seconds: 300,
        created: NOW,
        spec: json!({"version": "v1.23.1"}),
        nodes: SortedMap::from([("edge-1".parse().unwrap(), Member::default())]),
    }
}

/// The node says that the first step went well.
fn say(stage: &Stage, peer: &Peer) -> Answer {
    let address = Address {
        family: Kind::NodeUpgradeJob.family(),
        job: "u".to_owned(),
        node: "edge-1".to_owned(),
    };
    let message = Report::new(Action::Check, Ok(()), NOW).message(&address, NOW);
    dispatch(&stage.cloud, &peer.registered.node, &peer.outbox, message)
}

/// A node that has begun a job.
async fn begun(stage: &Stage) -> Peer {
    let (jobs, peer) = (&stage.cloud.nodes.jobs, stage.connect("edge-1"));
    jobs.create(job("u")).await.unwrap();
    jobs.advance(&stage.cloud).await;
    peer
}

fn actions(stage: &Stage) -> usize {
    let [job] = &stage.cloud.nodes.jobs.all(&[])[..] else {
        panic!("there is one job");
    };
    job.nodes.values().map(|it| it.actions.len()).sum()
}

#[test]
fn a_report_is_acknowledged_when_it_is_written_however_often_it_is_said() {
    let fills: [fn(&Stage, bool); 2] = [Stage::fill_disk, Stage::fill_store];
    for fill in fills {
        let folder = Scratch::new();
        let stage = Stage::open(&folder, "objects.journal");
        let (cloud, jobs) = (&stage.cloud, &stage.cloud.nodes.jobs);
        block_on(async {
            let peer = begun(&stage).await;
            fill(&stage, true);
            for _ in 0..2 {
                let Answer::Later(answer) = say(&stage, &peer) else {
                    panic!("it is answered, and nothing is written");
                };
                assert_eq!(jobs.advance(cloud).await, Some(RETRY));
                assert!(answer.await.is_none());
            }
            fill(&stage, false);
            let Answer::Later(answer) = say(&stage, &peer) else {
                panic!("it is answered, and nothing is written");
            };
            assert_eq!(jobs.advance(cloud).await, Some(TICK));
            assert_eq!(answer.await.unwrap().text().as_deref(), Some("OK"));
            assert!(matches!(say(&stage, &peer), Answer::Now(Some(_))));
        });
        drop(stage);
        assert_eq!(actions(&Stage::open(&folder, "none")), 1);
    }
}

#[test]
fn a_report_that_is_being_written_is_not_acknowledged_yet() {
    let folder = Scratch::new();
    let stage = Stage::open(&folder, "objects.journal");
    let peer = block_on(begun(&stage));
    let Answer::Later(first) = say(&stage, &peer) else {
        panic!("it is answered, and nothing is written");
    };
    let held = stage.disk.gate.lock().unwrap();
    let mut writing = Box::pin(stage.cloud.nodes.jobs.advance(&stage.cloud));
    assert!(block_on(poll_once(&mut writing)).is_none());
    let Answer::Later(mut again) = say(&stage, &peer) else {
        panic!("it is answered while it is being written");
    };
    assert!(block_on(poll_once(&mut again)).is_none());
    drop(held);
    block_on(async {
        writing.await;
        assert!(first.await.is_some() && again.await.is_some());
    });
}

#[test]
fn an_order_that_is_refused_changes_nothing_and_one_that_is_not_on_disk_gets_there() {
    let folder = Scratch::new();
    let stage = Stage::open(&folder, "objects.journal");
    let (cloud, jobs) = (&stage.cloud, &stage.cloud.nodes.jobs);
    block_on(async {
        begun(&stage).await;
        stage.fill_store(true);
        assert!(jobs.order("u", Fleet::cancel).await.is_err());
        assert!(jobs.create(job("other")).await.is_err());
        assert_eq!(jobs.all(&[])[0].phase, Phase::Running);
        stage.fill_store(false);
        stage.fill_disk(true);
        let failed = jobs.order("u", Fleet::cancel).await.unwrap_err();
        assert!(failed.contains("not on disk yet"), "{failed}");
        assert!(jobs.create(job("other")).await.is_err());
        stage.fill_disk(false);
        assert_eq!(jobs.advance(cloud).await, None);
    });
    drop(stage);
    let all = Stage::open(&folder, "none").cloud.nodes.jobs.all(&[]);
    let all: Vec<_> = all.iter().map(|it| (&*it.name, it.phase)).collect();
    assert_eq!(all, [("u", Phase::Cancelled)]);
}
