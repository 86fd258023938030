//! Whatever a cloud answers, or leaves unanswered, the node gets well again when the cloud does.

use std::time::Duration;

use super::cloud::{Cloud, LEASE, Misdeed};
use super::{Rig, START, renewals};
use crate::config::edge::EdgeNode;

const STEPS: &[&str] = &[
    "query null/node/edge-1",
    "insert null/node/edge-1",
    "patch null/nodepatch/edge-1",
    "query kube-node-lease/lease/edge-1",
    "insert kube-node-lease/lease/edge-1",
    "update kube-node-lease/lease/edge-1",
];

const ANSWERS: &[Misdeed] = &[
    Misdeed::Status(400, "BadRequest"),
    Misdeed::Status(403, "Forbidden"),
    Misdeed::Status(404, "NotFound"),
    Misdeed::Status(409, "AlreadyExists"),
    Misdeed::Status(409, "Conflict"),
    Misdeed::Status(422, "Invalid"),
    Misdeed::Status(500, "InternalError"),
    Misdeed::Status(0, ""),
    Misdeed::EmptyError,
    Misdeed::Words("cannot do that"),
    Misdeed::Form("null"),
    Misdeed::Form("[]"),
    Misdeed::Form("{}"),
    Misdeed::Form("7"),
    Misdeed::Form(r#"{"Object":null,"Err":null}"#),
    Misdeed::Form(r#"{"Object":{"metadata":{"name":"edge-2"}},"Err":null}"#),
    Misdeed::Form(r#"{"metadata":{"name":"edge-2"}}"#),
];

fn is_well(cloud: &Cloud) -> bool {
    cloud.node.is_some()
        && cloud.lease.is_some()
        && cloud.count("patch") >= 1
        && cloud
            .asked
            .iter()
            .rev()
            .take(6)
            .filter(|it| it.0.starts_with("update"))
            .count()
            >= 3
}

#[test]
fn every_wrong_answer_to_every_question_is_outlived() {
    for step in STEPS {
        for misdeed in ANSWERS {
            for times in [1, 3] {
                let mut rig = Rig::new();
                rig.pace.report = Duration::from_millis(20);
                for _ in 0..times {
                    rig.cloud.borrow_mut().misdeeds.push_back((step, *misdeed));
                }
                let node = rig.node();
                // A node that is well asks some things once only, so that of three misdeeds some may wait.
                rig.until_with(&node, |cloud| {
                    cloud.misdeeds.len() < times && is_well(cloud)
                });
                let seen = rig.cloud.borrow().asked.len();
                // Nothing goes round in circles: an attempt costs a few questions.
                let asked = &rig.cloud.borrow().asked;
                let without_renewals = asked.iter().filter(|it| !it.0.starts_with("update"));
                assert!(
                    without_renewals.count() < 60,
                    "{step} {misdeed:?}: {asked:?}"
                );
                let times = renewals(&rig.cloud.borrow());
                assert!(
                    times.windows(2).all(|it| it[0] <= it[1]),
                    "{step} {misdeed:?}"
                );
                assert!(seen > 0);
            }
        }
    }
}

#[test]
fn what_was_done_without_an_answer_is_found_out() {
    for misdeed in [Misdeed::Lost, Misdeed::Silence] {
        for step in STEPS {
            let mut rig = Rig::new();
            // So short that one question in vain costs little, and so long that a slow machine keeps it.
            rig.pace.renewal = Duration::from_millis(400);
            rig.pace.patience = Duration::from_millis(400);
            rig.pace.report = Duration::from_millis(20);
            rig.cloud.borrow_mut().misdeeds.push_back((step, misdeed));
            rig.until(|cloud| cloud.misdeeds.is_empty() && is_well(cloud));
            assert_eq!(rig.edge.requests.session(), Some(1), "{step}");
        }
    }
}

#[test]
fn two_renewals_without_an_answer_end_the_session() {
    let mut rig = Rig::new();
    rig.pace.renewal = Duration::from_millis(50);
    rig.cloud.borrow_mut().deaf_to = vec!["update"];
    // The queue is closed, which ends the test's cloud.
    rig.until(|_| false);
    assert!(rig.sent.borrow().is_closed());
    let cloud = rig.cloud.borrow();
    // The second attempt begins with what the cloud has.
    assert_eq!(cloud.count("update"), 2);
    let problem = rig.registration().problem.unwrap();
    assert!(
        problem.message.contains("did not answer"),
        "{}",
        problem.message
    );
}

#[test]
fn a_cloud_that_answers_nothing_at_all_is_given_up_and_the_next_is_asked() {
    let mut rig = Rig::new();
    rig.pace.patience = Duration::from_millis(50);
    rig.cloud.borrow_mut().deaf_to = vec![""];
    let node = rig.node();
    rig.until_with(&node, |_| false);
    assert!(rig.sent.borrow().is_closed());
    drop(node);
    let mut rig = rig.connected();
    rig.pace.patience = super::LONG;
    rig.cloud.borrow_mut().deaf_to.clear();
    rig.until(|cloud| cloud.count("update") >= 2);
    assert_eq!(rig.registration().problem, None);
}

/// v1.13 never pushes the Node; here it leaves the query unanswered as well.
#[test]
fn an_old_cloud_shows_the_node_in_its_answers_to_reports() {
    let rig = Rig::new();
    rig.until(|cloud| cloud.count("update") >= 1);
    let (node, lease) = {
        let cloud = rig.cloud.borrow();
        (cloud.node.clone(), cloud.lease.clone())
    };
    let mut rig = Rig::new();
    rig.pace.patience = Duration::from_millis(400);
    rig.pace.report = Duration::from_millis(10);
    rig.cloud.borrow_mut().node = node.clone();
    rig.cloud.borrow_mut().lease = lease;
    rig.cloud.borrow_mut().deaf_to = vec!["query null/node"];
    rig.until(|cloud| cloud.count("patch") >= 3 && cloud.count("update") >= 8);
    let cloud = rig.cloud.borrow();
    assert_eq!(
        cloud.count("query null/node"),
        1,
        "it is not asked in a loop"
    );
    let patches = cloud.patches();
    // At first nothing is known, so that all is told; then the answers are.
    assert_eq!(patches[0]["status"]["capacity"]["pods"], "0");
    assert_eq!(patches[1]["status"]["capacity"], serde_json::Value::Null);
    let owner = &cloud.lease.as_ref().unwrap()["metadata"]["ownerReferences"][0]["uid"];
    assert_eq!(*owner, node.unwrap()["metadata"]["uid"]);
    assert_eq!(rig.registration().ready.as_deref(), Some("True"));
}

#[test]
fn a_strict_cluster_keeps_the_labels_and_gets_the_rest() {
    let rig = Rig::new();
    rig.until(|cloud| cloud.count("update") >= 1);
    let node = rig.cloud.borrow().node.clone();
    let mut settings = EdgeNode::default();
    settings.labels.insert("site".to_owned(), "barn".to_owned());
    let mut rig = Rig::with(settings);
    rig.pace.report = Duration::from_millis(10);
    rig.cloud.borrow_mut().node = node;
    let forbidden = ("patch", Misdeed::Status(403, "Forbidden"));
    rig.cloud.borrow_mut().misdeeds.push_back(forbidden);
    rig.until(|cloud| cloud.count("patch") >= 4);
    let patches = rig.cloud.borrow().patches();
    assert_eq!(patches[0]["metadata"]["labels"]["site"], "barn");
    for patch in &patches[1..] {
        assert_eq!(patch["metadata"], serde_json::Value::Null);
    }
}

#[test]
fn what_a_cloud_does_not_take_up_is_not_told_again_and_again() {
    let rig = Rig::new();
    rig.cloud.borrow_mut().stubborn = true;
    let node = rig.node();
    rig.until_with(&node, |cloud| cloud.count("update") >= 1);
    rig.edge.address.set(Some([192, 0, 2, 8].into()));
    rig.edge.address_changed.raise();
    rig.until_with(&node, |cloud| {
        cloud.count("patch") >= 1 && cloud.count("update") >= 40
    });
    assert_eq!(rig.cloud.borrow().count("patch"), 1);
}

#[test]
fn a_lease_whose_owner_is_refused_does_without() {
    let rig = Rig::new();
    let refused = ("insert kube", Misdeed::Status(422, "Invalid"));
    rig.cloud.borrow_mut().misdeeds.push_back(refused);
    rig.until(|cloud| cloud.count("update") >= 2);
    let sent = rig.cloud.borrow().contents(&format!("insert {LEASE}"));
    assert_eq!(sent[0]["metadata"]["ownerReferences"][0]["uid"], "uid-1");
    assert_eq!(
        sent[1]["metadata"]["ownerReferences"],
        serde_json::Value::Null
    );
    assert_eq!(rig.registration().lease_renewed, Some(START));
}

/// Who wrote which field of a lease would come back with each renewal.
#[test]
fn a_lease_forgets_who_wrote_it_and_a_cloud_that_insists_is_asked_once() {
    let rig = Rig::new();
    rig.until(|cloud| cloud.count("update") >= 6);
    let sent = rig.cloud.borrow().contents("update");
    let asks = |lease: &serde_json::Value| lease["metadata"]["managedFields"].is_array();
    assert!(asks(&sent[0]) && !sent[1..].iter().any(asks));
    let kept = rig.cloud.borrow().lease.clone().unwrap();
    assert!(kept["metadata"]["managedFields"].is_null());
}
