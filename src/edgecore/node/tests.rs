//! The node against a cloud in this process: each step, each way it can fail, and that it heals.

mod cloud;
mod figures;
mod healing;
mod moves;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use smol::channel::bounded;
use smol::future::or;

use self::cloud::{Cloud, LEASE, Misdeed};
use super::{Node, Pace, news};
use crate::config::edge::EdgeNode;
use crate::edgecore::edge::Edge;
use crate::edgecore::requests::Attached;
use crate::edgecore::tests;
use crate::protocol::control::Registration;
use crate::protocol::message::Message;
use crate::protocol::object::Object;
use crate::protocol::terms::Terms;
use crate::system::clock::{Clock, ManualClock, Timestamp};
use crate::system::facts::machine::Machine;
use crate::system::scratch::Scratch;

/// An edge whose timers run fast, and its cloud.
struct Rig {
    edge: Rc<Edge>,
    cloud: RefCell<Cloud>,
    pace: Pace,
    hand: ManualClock,
    sent: RefCell<smol::channel::Receiver<Message>>,
    session: RefCell<Option<Attached>>,
    _folder: Scratch,
}

impl Rig {
    fn new() -> Rig {
        Rig::with(EdgeNode::default())
    }

    fn with(settings: EdgeNode) -> Rig {
        let folder = Scratch::new();
        let (clock, hand) = Clock::manual(START);
        let mut edge = tests::edge(&folder, "edge-1", 1, &clock);
        let own = Rc::get_mut(&mut edge).expect("nobody else has it yet");
        own.settings.edged = EdgeNode {
            root: folder.path().to_owned(),
            ..settings
        };
        own.address.set(Some([192, 0, 2, 7].into()));
        let rig = Rig {
            edge,
            cloud: RefCell::new(Cloud::new()),
            pace: Pace {
                renew: Duration::from_millis(2),
                renewal: LONG,
                look: Duration::from_millis(5),
                report: LONG,
                patience: LONG,
                retry: (Duration::from_millis(1), Duration::from_millis(4)),
            },
            hand,
            sent: RefCell::new(bounded(1).1),
            session: RefCell::new(None),
            _folder: folder,
        };
        rig.connected()
    }

    /// A session begins; the former one ends.
    fn connected(self) -> Rig {
        self.reconnect();
        self
    }

    fn reconnect(&self) {
        let (outgoing, sent) = bounded(64);
        self.session.replace(None);
        self.session
            .replace(Some(self.edge.requests.attach(outgoing)));
        self.sent.replace(sent);
        self.edge.session_began.raise();
        self.edge.session_ended.raise();
    }

    fn machine() -> Machine {
        Machine {
            id: "3d1219c7c4c5404aaa1f6d2a48adfda4".to_owned(),
            system_uuid: "3d1219c7c4c5404aaa1f6d2a48adfda4".to_owned(),
            boot_id: "ddcac37f-398c-42d6-9a64-4e58f123e6d5".to_owned(),
            kernel: "6.18.44".to_owned(),
            os_image: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            architecture: "amd64",
            cpus: Some(2),
            memory: Some(24_684_084 << 10),
        }
    }

    fn node(&self) -> Node<'_> {
        Node::new(&self.edge, Rig::machine(), self.pace)
    }

    /// Lets the node live until the cloud has seen enough.
    fn until(&self, enough: impl Fn(&Cloud) -> bool) {
        self.until_with(&self.node(), enough);
    }

    fn until_with(&self, node: &Node<'_>, enough: impl Fn(&Cloud) -> bool) {
        let sent = self.sent.borrow().clone();
        let serving = async {
            while !enough(&self.cloud.borrow()) {
                let Ok(question) = sent.recv().await else {
                    return;
                };
                let answers = self.cloud.borrow_mut().answers(&question);
                for answer in answers {
                    // The second of two answers is nobody's.
                    let _ = self.edge.requests.answered(answer);
                }
            }
        };
        tests::run(&self.edge, or(serving, node.live()));
    }

    fn registration(&self) -> Registration {
        self.edge.state.snapshot().registration.unwrap_or_default()
    }
}

fn renewals(cloud: &Cloud) -> Vec<Timestamp> {
    let sent = cloud.contents(&format!("update {LEASE}"));
    let time = |lease: &Value| {
        lease["spec"]["renewTime"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    };
    sent.iter().map(time).collect()
}

#[test]
fn a_new_device_is_registered_and_its_lease_renewed() {
    let mut settings = EdgeNode::default();
    settings.labels.insert("site".to_owned(), "barn".to_owned());
    let rig = Rig::with(settings);
    rig.until(|cloud| cloud.count("update") >= 3);
    let cloud = rig.cloud.borrow();
    let first: Vec<&str> = cloud.asked.iter().take(5).map(|it| it.0.as_str()).collect();
    let lease = |operation: &str| format!("{operation} {LEASE}");
    let expected = [
        "query null/node/edge-1",
        "insert null/node/edge-1",
        &lease("query"),
        &lease("insert"),
        &lease("update"),
    ];
    assert_eq!(first, expected);
    // What was just registered needs no report.
    assert_eq!(cloud.count("patch"), 0);
    let node = cloud.node.as_ref().unwrap();
    assert_eq!(node["metadata"]["labels"]["site"], "barn");
    assert_eq!(
        node["metadata"]["labels"]["node-role.kubernetes.io/edge"],
        ""
    );
    assert_eq!(
        node["metadata"]["labels"]["kubernetes.io/hostname"],
        "edge-1"
    );
    let taint = json!([{"key": "node.kubeedge.io/no-runtime", "effect": "NoSchedule"}]);
    assert_eq!(node["spec"]["taints"], taint);
    let status = &node["status"];
    assert_eq!(status["capacity"]["pods"], "0");
    assert_eq!(status["allocatable"]["memory"], "24581684Ki");
    assert_eq!(status["addresses"][0]["address"], "192.0.2.7");
    let version = &status["nodeInfo"]["kubeletVersion"];
    assert_eq!(version, "v1.32.10-kubeedge-v1.23.1");
    let kept = cloud.lease.as_ref().unwrap();
    assert_eq!(
        kept["metadata"]["ownerReferences"][0]["uid"],
        node["metadata"]["uid"]
    );
    assert_eq!(kept["spec"]["leaseDurationSeconds"], 40);
    let known = rig.registration();
    assert_eq!(known.since, "2026-11-22T08:02:53Z".parse().ok());
    assert_eq!(known.ready.as_deref(), Some("True"));
    assert_eq!(known.lease_renewed, Some(START));
    assert_eq!(known.address.as_deref(), Some("192.0.2.7"));
    assert_eq!(known.problem, None);
}

#[test]
fn a_device_that_starts_again_finds_its_node_and_reports_once() {
    let rig = Rig::new();
    rig.until(|cloud| cloud.count("update") >= 2);
    let inserts = rig.cloud.borrow().count("insert");
    rig.until(|cloud| cloud.count("patch") == 1 && cloud.count("update") >= 20);
    let cloud = rig.cloud.borrow();
    assert_eq!(cloud.count("insert"), inserts);
    let patch = &cloud.patches()[0];
    // Nothing is new, so nothing but the look itself is told.
    assert_eq!(patch["status"]["conditions"].as_array().unwrap().len(), 4);
    let ready = json!({"lastHeartbeatTime": START.to_string(), "type": "Ready"});
    assert_eq!(patch["status"]["conditions"][3], ready);
    assert_eq!(patch.as_object().unwrap().len(), 1);
    assert_eq!(patch["status"].as_object().unwrap().len(), 2);
}

#[test]
fn a_node_deleted_while_away_is_registered_anew() {
    let rig = Rig::new();
    let node = rig.node();
    rig.until_with(&node, |cloud| cloud.count("update") >= 2);
    drop(node);
    // As the cloud does: the session ends with the deletion.
    rig.cloud.borrow_mut().node = None;
    rig.cloud.borrow_mut().lease = None;
    rig.cloud.borrow_mut().asked.clear();
    let rig = rig.connected();
    rig.until(|cloud| cloud.count("update") >= 2);
    let cloud = rig.cloud.borrow();
    assert_eq!(cloud.count("insert null/node/edge-1"), 1);
    let uid = cloud.node.as_ref().unwrap()["metadata"]["uid"].clone();
    let renewed = cloud.lease.as_ref().unwrap();
    assert_eq!(renewed["metadata"]["ownerReferences"][0]["uid"], uid);
}

#[test]
fn a_node_deleted_under_the_session_is_registered_anew() {
    for of_lease in [true, false] {
        let mut rig = Rig::new();
        rig.pace.report = Duration::from_millis(1);
        let node = rig.node();
        rig.until_with(&node, |cloud| cloud.count("update") >= 2);
        {
            let mut cloud = rig.cloud.borrow_mut();
            cloud.node = None;
            cloud.asked.clear();
            if of_lease {
                cloud.lease = None;
            }
        }
        rig.until_with(&node, |cloud| {
            cloud.count("insert null/node/edge-1") == 1 && cloud.count("update") >= 2
        });
        assert_eq!(rig.registration().problem, None);
    }
}

#[test]
fn renewals_never_go_back_whatever_the_clock_does() {
    let rig = Rig::new();
    let node = rig.node();
    rig.hand
        .set(START.plus(Duration::from_secs(10 * 365 * 86_400)));
    rig.until_with(&node, |cloud| cloud.count("update") >= 3);
    // The time is set right.
    rig.hand.set(START);
    rig.until_with(&node, |cloud| cloud.count("update") >= 8);
    // Another process knows no more than what the cloud says.
    rig.until(|cloud| cloud.count("update") >= 12);
    let times = renewals(&rig.cloud.borrow());
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    assert!(times[0] > START.plus(Duration::from_secs(86_400)));
}

#[test]
fn another_address_is_reported_at_once() {
    let mut rig = Rig::new();
    rig.pace.look = LONG;
    let node = rig.node();
    rig.until_with(&node, |cloud| cloud.count("update") >= 2);
    rig.edge.address.set(Some("2001:db8::7".parse().unwrap()));
    rig.edge.address_changed.raise();
    rig.until_with(&node, |cloud| cloud.count("patch") == 1);
    let patch = &rig.cloud.borrow().patches()[0];
    let expected = json!([
        {"type": "InternalIP", "address": "2001:db8::7"},
        {"type": "Hostname", "address": "edge-1"},
        {"$patch": "replace"},
    ]);
    assert_eq!(patch["status"]["addresses"], expected);
    assert_eq!(patch["status"]["capacity"], Value::Null);
    assert_eq!(rig.registration().address.as_deref(), Some("2001:db8::7"));
}

#[test]
fn a_pressure_is_reported_when_it_begins_with_the_time_of_its_beginning() {
    let mut settings = EdgeNode::default();
    // More than any machine has: short from the first look.
    settings.pressure.memory = Some(crate::config::edge::node::Amount::Of(u64::MAX));
    let rig = Rig::new();
    rig.until(|cloud| cloud.count("update") >= 1);
    let before = rig.cloud.borrow().node.clone();
    let pressed = Rig::with(settings);
    pressed.cloud.borrow_mut().node = before;
    pressed.hand.advance(Duration::from_secs(60));
    pressed.until(|cloud| cloud.count("patch") == 1);
    let patch = &pressed.cloud.borrow().patches()[0];
    let now = START.plus(Duration::from_secs(60)).to_string();
    let memory = &patch["status"]["conditions"][0];
    assert_eq!(memory["status"], "True");
    assert_eq!(memory["reason"], "KubeletHasInsufficientMemory");
    assert_eq!(memory["lastTransitionTime"], now.as_str());
    let disk = json!({"lastHeartbeatTime": now, "type": "DiskPressure"});
    assert_eq!(patch["status"]["conditions"][1], disk);
}

#[test]
fn what_the_cloud_says_of_the_node_is_heard_and_set_right_at_once() {
    let mut rig = Rig::new();
    rig.pace.look = LONG;
    let node = rig.node();
    rig.until_with(&node, |cloud| cloud.count("update") >= 1);
    let mut lost = rig.cloud.borrow().node.clone().unwrap();
    let old = lost.clone();
    lost["status"]["conditions"][3]["status"] = "Unknown".into();
    lost["status"]["conditions"][3]["reason"] = "NodeStatusUnknown".into();
    rig.cloud.borrow_mut().touch(&mut lost);
    rig.cloud.borrow_mut().node = Some(lost.clone());
    let object = |value: &Value| {
        let text = serde_json::value::to_raw_value(value).unwrap();
        Object::read(text).unwrap()
    };
    news(&rig.edge, &object(&lost));
    rig.hand.advance(Duration::from_secs(100));
    rig.until_with(&node, |cloud| cloud.count("patch") == 1);
    let patch = &rig.cloud.borrow().patches()[0]["status"]["conditions"][3];
    assert_eq!(
        (&patch["status"], &patch["reason"]),
        (&"True".into(), &"EdgeReady".into())
    );
    let now = START.plus(Duration::from_secs(100)).to_string();
    assert_eq!(patch["lastTransitionTime"], now.as_str());
    rig.until_with(&node, |cloud| cloud.count("update") >= 3);
    assert_eq!(rig.registration().ready.as_deref(), Some("True"));
    // What is older than what is known, and what is of another node, changes nothing.
    let mut foreign = lost.clone();
    foreign["metadata"]["name"] = "edge-2".into();
    let mut deleted = old.clone();
    deleted["metadata"]["uid"] = "uid-before".into();
    for unheard in [&old, &deleted, &foreign] {
        news(&rig.edge, &object(unheard));
        let seen = rig.cloud.borrow().count("update");
        rig.until_with(&node, |cloud| cloud.count("update") >= seen + 5);
        assert_eq!(rig.cloud.borrow().count("patch"), 1);
    }
}

#[test]
fn a_device_that_may_not_register_waits_for_its_node() {
    let settings = EdgeNode {
        register: false,
        ..EdgeNode::default()
    };
    let rig = Rig::with(settings);
    let node = rig.node();
    rig.until_with(&node, |cloud| cloud.count("query") >= 3);
    let problem = rig.registration().problem.unwrap();
    assert!(
        problem.message.contains("registerNode is false"),
        "{}",
        problem.message
    );
    assert!(!problem.retryable);
    let made = json!({"metadata": {"name": "edge-1", "uid": "by-hand", "resourceVersion": "7"}});
    rig.cloud.borrow_mut().node = Some(made);
    rig.until_with(&node, |cloud| {
        cloud.count("update") >= 2 && cloud.count("patch") >= 1
    });
    assert_eq!(rig.cloud.borrow().count("insert null/node"), 0);
    // It may give itself no taint.
    let remedy = "kubectl taint nodes edge-1 node.kubeedge.io/no-runtime:NoSchedule";
    let problem = rig.registration().problem.unwrap();
    assert!(
        problem.message.ends_with(remedy) && !problem.retryable,
        "{}",
        problem.message
    );
    {
        let mut cloud = rig.cloud.borrow_mut();
        let mut node = cloud.node.clone().unwrap();
        node["spec"]["taints"] =
            json!([{"key": "node.kubeedge.io/no-runtime", "effect": "NoSchedule"}]);
        cloud.touch(&mut node);
        cloud.node = Some(node.clone());
        let text = serde_json::value::to_raw_value(&node).unwrap();
        news(&rig.edge, &Object::read(text).unwrap());
    }
    rig.until_with(&node, |cloud| cloud.count("update") >= 4);
    assert_eq!(rig.registration().problem, None);
    let cloud = rig.cloud.borrow();
    let node = cloud.node.as_ref().unwrap();
    assert_eq!(node["status"]["capacity"]["pods"], "0");
    assert_eq!(
        node["metadata"]["labels"]["node-role.kubernetes.io/edge"],
        ""
    );
}

#[test]
fn where_the_cloud_keeps_the_lease_the_device_is_silent() {
    let mut rig = Rig::new();
    let terms = Terms::offer(Duration::from_secs(30));
    rig.edge.terms.set(Some(terms));
    rig.pace.report = Duration::from_millis(1);
    let node = rig.node();
    rig.until_with(&node, |cloud| cloud.count("insert") == 1);
    for change in 1..5 {
        rig.edge.address.set(Some([192, 0, 2, 10 + change].into()));
        rig.edge.address_changed.raise();
        rig.until_with(&node, |cloud| cloud.count("patch") == usize::from(change));
    }
    let cloud = rig.cloud.borrow();
    let told = cloud.patches();
    assert!(
        told.iter()
            .all(|patch| patch["status"]["addresses"].is_array())
    );
    assert!(cloud.asked.iter().all(|it| !it.0.contains("lease")));
}

#[test]
fn an_answer_given_twice_is_taken_once() {
    let rig = Rig::new();
    let steps = [
        "query null",
        "insert null",
        "query kube",
        "insert kube",
        "update",
    ];
    for step in steps {
        rig.cloud
            .borrow_mut()
            .misdeeds
            .push_back((step, Misdeed::Twice));
    }
    rig.until(|cloud| cloud.count("update") >= 3);
    assert_eq!(rig.cloud.borrow().count("insert"), 2);
    assert_eq!(rig.registration().problem, None);
}

const START: Timestamp = Timestamp::from_unix(1_795_334_573);
/// Longer than any test.
const LONG: Duration = Duration::from_secs(3_600);
