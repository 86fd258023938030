//! Jobs for many nodes, by the executable: a wave, a failure that pauses, a restart of cloudcore.

use serde_json::Value;

use crate::common::site::Cloudcore;
use crate::support::{Peer, ctl};

fn shown(cloud: &Cloudcore, name: &str) -> Value {
    let said = ctl(cloud, &["jobs", name, "--output", "json"]).ends(0);
    serde_json::from_str(&said.out).expect("JSON")
}

#[test]
fn a_job_pauses_at_a_bad_node_and_goes_on_after_a_restart() {
    let mut cloud = Cloudcore::start(&[]);
    let mut peers: Vec<Peer> = ["edge-1", "edge-2", "edge-3"]
        .map(|name| Peer::start(&cloud, name, &["--label", "role=router"]))
        .into();
    for (number, peer) in peers.iter_mut().enumerate() {
        peer.online();
        peer.tell("register");
        if number == 1 {
            peer.tell("unfit");
        }
    }
    // What the nodes' door would refuse is seen before cloudcore is asked.
    let fit = [
        "upgrade",
        "--version",
        "v1.23.2",
        "--selector",
        "role=router",
    ];
    for (words, part) in [
        (
            &["upgrade", "--version", "1.0", "--node", "none"][..],
            "1.0",
        ),
        (&fit[..3], "say for which nodes"),
        (
            &[&fit[..], &["--max-unavailable", "0"]].concat(),
            "are 1 at least",
        ),
        (&[&fit[..], &["--timeout", "0"]].concat(), "are 1 at least"),
        (&[&fit[..], &["--name", "No"]].concat(), "lower-case"),
        (&[&fit[..4], &["a=b,c=d"]].concat(), "role=router"),
        (
            &["config-update", "--name", "j", "--node", "edge-1"],
            "at least one",
        ),
        (
            &[
                "config-update",
                "--name",
                "j",
                "--set",
                "a=1",
                "--node",
                "A b",
            ],
            "contains 'A'",
        ),
    ] {
        let said = ctl(&cloud, words).ends(64);
        assert!(said.err.contains(part), "{words:?}: {}", said.err);
    }
    ctl(&cloud, &[&fit[..3], &["--node", "none"]].concat()).ends(1);
    ctl(
        &cloud,
        &["upgrade", "--version", "v1.23.2", "--node", "none"],
    )
    .ends(1);
    let words = [&fit[..], &["--pause-on-failure", "--output", "json"]].concat();
    let said = ctl(&cloud, &words).ends(1);
    let job: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(job["phase"], "Paused", "{job}");
    assert_eq!(job["nodes"]["edge-1"]["phase"], "Successful");
    assert_eq!(job["nodes"]["edge-2"]["reason"], "no room");
    assert_eq!(job["nodes"]["edge-3"]["phase"], "Waiting");
    cloud.kill();
    cloud.start_again(&[]);
    assert_eq!(shown(&cloud, "upgrade-v1.23.2")["phase"], "Paused");
    ctl(&cloud, &["jobs", "upgrade-v1.23.2", "--resume"]).ends(0);
    // Its turn comes when it is back.
    peers[2].online();
    peers[2].since_that(0, |event| event["event"] == "job");
    let name = "beat";
    let words = [
        "config-update",
        "--name",
        name,
        "--set",
        "modules.edgeHub.heartbeat=9",
        "--node",
        "edge-3",
    ];
    let said = ctl(&cloud, &words).ends(0);
    assert!(said.out.contains("Completed"), "{}", said.out);
    let later = [
        &["config-update", "--name", "later"],
        &words[3..],
        &["--detach", "-o", "json"],
    ];
    let job = ctl(&cloud, &later.concat()).ends(0).json();
    assert_eq!(
        (&job["name"], &job["kind"]),
        (&"later".into(), &"ConfigUpdateJob".into())
    );
    assert_eq!(shown(&cloud, "upgrade-v1.23.2")["phase"], "Completed");
    assert!(ctl(&cloud, &["jobs"]).ends(0).out.contains("1 failure"));
    ctl(&cloud, &["jobs", name, "--cancel"]).ends(1);
}

#[test]
fn a_node_that_knows_no_such_jobs_is_not_asked_and_stops_nobody() {
    let cloud = Cloudcore::start(&[]);
    let mut old = Peer::start(&cloud, "old", &["--generation", "v1.13"]);
    let mut new = Peer::start(&cloud, "new", &[]);
    for peer in [&mut old, &mut new] {
        peer.online();
        peer.tell("register");
    }
    let words = [
        "upgrade",
        "--version",
        "v1.23.2",
        "--node",
        "old",
        "--node",
        "new",
        "--pause-on-failure",
        "-o",
        "json",
    ];
    let job = ctl(&cloud, &words).ends(1).json();
    assert_eq!(job["phase"], "Completed", "{job}");
    assert_eq!(job["nodes"]["new"]["phase"], "Successful", "{job}");
    let why = job["nodes"]["old"]["reason"].as_str().expect("a reason");
    assert!(why.contains("v1.13.0"), "{why}");
    old.tell("lease");
    assert!(old.seen.iter().all(|event| event["event"] != "job"));
}
