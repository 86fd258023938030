//! What a node costs the cluster: calls in an hour in which nothing happens.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::{Options, sessions};
use super::stage::*;
use crate::kubernetes::Method;
use crate::kubernetes::testing::FakeCluster;

const HOUR: Duration = Duration::from_secs(3600);

/// Writes of leases, other calls.
fn counted(fake: &FakeCluster) -> (usize, usize) {
    let calls = fake.calls();
    let of_lease =
        |(method, target): &&(Method, String)| *method != Method::Get && target.contains("/leases");
    let leases = calls.iter().filter(of_lease).count();
    (leases, calls.len() - leases)
}

#[test]
fn one_of_our_edges_costs_a_write_in_ten_seconds_and_nothing_else() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        let stage = Stage::resting(&runner, &fake, Options::default());
        for number in 0..20 {
            let name = format!("edge-{number}");
            node(&fake, &name);
            stage.learn(&fake, &name);
        }
        let mut peers: Vec<Peer> = (0..20)
            .map(|it| stage.connect(&format!("edge-{it}"), true))
            .collect();
        // The first round finds and makes the Leases.
        let begun = Instant::now();
        for node in stage.cluster.sessions.due(begun) {
            sessions::renew(&stage.cloud, &stage.cluster, &node, begun).await;
        }
        fake.forget_calls();
        let mut passed = Duration::ZERO;
        let mut at_once = 0;
        while passed < HOUR {
            passed += Duration::from_millis(500);
            let now = begun + passed;
            let due = stage.cluster.sessions.due(now);
            at_once = at_once.max(due.len());
            for node in due {
                sessions::renew(&stage.cloud, &stage.cluster, &node, now).await;
            }
        }
        let (leases, others) = counted(&fake);
        assert!(
            (20 * 300..=20 * 360).contains(&leases),
            "{leases} writes of Leases"
        );
        assert_eq!(others, 0);
        assert!(at_once < 20, "they come apart in time");
        peers.clear();
    });
}

#[test]
fn an_edge_of_kubeedge_costs_its_leases_and_six_reports_an_hour() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        let stage = Stage::resting(&runner, &fake, Options::default());
        stage.learn(&fake, "edge-1");
        let mut peer = stage.connect("edge-1", false);
        let path = "kube-node-lease/lease/edge-1";
        let sent = json!({"metadata": {"name": "edge-1"}, "spec": {"renewTime": "0"}});
        let made = content(&peer.ask("insert", path, &sent).await);
        let mut lease = made["Object"].clone();
        fake.forget_calls();
        let begun = Instant::now();
        let mut written: Option<Duration> = None;
        for second in (0..3600).step_by(10) {
            // Its rate is that of an hour, and the test takes no time.
            stage.cluster.gate.forget();
            lease["spec"]["renewTime"] = json!(second.to_string());
            let renewed = content(&peer.ask("update", path, &lease).await);
            assert_eq!(renewed["Err"], Value::Null);
            lease = renewed["Object"].clone();
            if second % 300 == 0 {
                // The clock of the test goes with the recorded moment.
                let passed = Duration::from_secs(second);
                if let Some(at) = written {
                    let seems = Instant::now().checked_sub(passed - at).unwrap_or(begun);
                    let node = "edge-1".parse().unwrap();
                    let version = stage.cloud.nodes.lock().node(&node).unwrap().version;
                    stage.cluster.reported(&node, version, seems);
                }
                let before = counted(&fake).1;
                let patch = json!({"status": {"conditions":
                    [{"type": "Ready", "status": "True", "lastHeartbeatTime": second.to_string()}]}});
                let text = Value::from(patch.to_string());
                let said = content(&peer.ask("patch", "null/nodepatch/edge-1", &text).await);
                let conditions = &said["Object"]["status"]["conditions"];
                assert_eq!(conditions[0]["lastHeartbeatTime"], second.to_string());
                if counted(&fake).1 > before {
                    written = Some(passed);
                    stage.learn(&fake, "edge-1");
                }
            }
        }
        let (leases, others) = counted(&fake);
        // What the test itself read of the Node is not the edge's.
        let reports = fake
            .calls()
            .iter()
            .filter(|it| it.1.contains("/status"))
            .count();
        assert_eq!((leases, reports), (360, 6), "{others} others");
        // What is not as it was is written at once.
        let patch =
            json!("{\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"False\"}]}}");
        peer.ask("patch", "null/nodepatch/edge-1", &patch).await;
        let now = fake
            .calls()
            .iter()
            .filter(|it| it.1.contains("/status"))
            .count();
        assert_eq!(now, 7);
    });
}

#[test]
fn a_report_is_not_taken_for_old_news_while_the_watch_lags() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        node(&fake, "edge-1");
        // Nothing watches: what is known stays as it was.
        let stage = Stage::resting(&runner, &fake, Options::default());
        let mut peer = stage.connect("edge-1", false);
        let report = |status: &str| {
            let conditions = json!([{"type": "Ready", "status": status}]);
            Value::from(json!({"status": {"conditions": conditions}}).to_string())
        };
        let path = "null/nodepatch/edge-1";
        peer.ask("patch", path, &report("True")).await;
        stage.learn(&fake, "edge-1");
        for status in ["False", "True"] {
            peer.ask("patch", path, &report(status)).await;
            let node = fake.get(&crate::kubernetes::resource::NODES, None, "edge-1");
            let node = node.unwrap();
            assert_eq!(node["status"]["conditions"][0]["status"], status);
        }
    });
}

#[test]
fn a_node_that_does_not_register_costs_nothing() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        let stage = Stage::resting(&runner, &fake, Options::default());
        let _peer = stage.connect("edge-1", true);
        let begun = Instant::now();
        for second in 0..600 {
            let now = begun + Duration::from_secs(second);
            for node in stage.cluster.sessions.due(now) {
                sessions::renew(&stage.cloud, &stage.cluster, &node, now).await;
            }
        }
        assert_eq!(fake.calls().len(), 0);
    });
}
