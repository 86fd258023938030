//! Jobs that are objects of a cluster: two cloudcores, a node that is not fit, and a cloudcore that dies at it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::LIMIT;
use crate::common::cluster::{Cluster, kubectl};
use crate::common::site::Cloudcore;
use crate::support::Peer;

const CONFIG: &str = "modules: {taskManager: {enable: true}}\n";
const API: &str = "operations.kubeedge.io/v1alpha2";

/// What `keadm init` brings: the types of jobs.
fn define(cluster: &mut Cluster) {
    for kind in ["NodeUpgradeJob", "ConfigUpdateJob", "ImagePrePullJob"] {
        let (singular, plural) = (kind.to_lowercase(), format!("{}s", kind.to_lowercase()));
        let names = json!({"kind": kind, "plural": plural, "singular": singular});
        let spec = json!({"group": "operations.kubeedge.io", "scope": "Cluster", "names": names,
            "versions": [{"name": "v1alpha2", "served": true, "storage": true}]});
        let object = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.operations.kubeedge.io")}, "spec": spec});
        let resource = ["apiextensions.k8s.io", "v1", "customresourcedefinitions"];
        cluster.order(&json!({"do": "put", "resource": resource, "object": object}));
    }
}

fn make(cluster: &mut Cluster, kind: &str, name: &str, spec: Value) {
    let object = json!({"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec});
    let plural = format!("{}s", kind.to_lowercase());
    let resource = ["operations.kubeedge.io", "v1alpha2", &plural];
    cluster.order(&json!({"do": "put", "resource": resource, "object": object}));
}

/// Waits until the object's status is so; what it is.
fn until(
    cluster: &mut Cluster,
    (kind, name): (&str, &str),
    fits: impl Fn(&Value) -> bool,
) -> Value {
    let patience = Instant::now() + LIMIT;
    loop {
        let object = cluster.object(kind, name).unwrap_or_default();
        if fits(&object["status"]) {
            return object["status"].clone();
        }
        assert!(Instant::now() < patience, "{name}: {}", object["status"]);
        // A cluster tells nobody but those who watch it.
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn jobs(peer: &Peer) -> usize {
    peer.seen.iter().filter(|it| it["event"] == "job").count()
}

#[test]
fn cloudcores_give_a_clusters_jobs_to_their_nodes_and_one_dies_at_it() {
    let mut cluster = Cluster::start();
    define(&mut cluster);
    let config = cluster.kubeconfig();
    let options = ["--kube-config", config.to_str().expect("UTF-8")];
    let mut clouds = [
        Cloudcore::start_with(CONFIG, &options),
        Cloudcore::start_with(CONFIG, &options),
    ];
    let router = ["--label", "role=router"];
    let mut good = Peer::start(&clouds[0], "edge-1", &router);
    let mut unfit = Peer::start(&clouds[1], "edge-2", &router);
    let mut away = Peer::start(&clouds[1], "edge-3", &router);
    for peer in [&mut good, &mut unfit, &mut away] {
        peer.online();
        peer.tell("register");
    }
    unfit.tell("unfit");
    away.tell("drop");

    // One node after the other, over two cloudcores; one does not fit, and one is away.
    let selector = json!({"matchLabels": {"role": "router"}});
    let spec = json!({"version": "v1.23.2", "image": "kubeedge/installation-package",
        "labelSelector": selector, "failureTolerate": "0.5"});
    make(&mut cluster, "NodeUpgradeJob", "wave", spec);
    let wave = ("NodeUpgradeJob", "wave");
    let status = until(&mut cluster, wave, |status| {
        let phase = |place: usize| &status["nodeStatus"][place]["phase"];
        phase(0) == "Successful" && phase(1) == "Failure"
    });
    assert_eq!(status["phase"], "InProgress", "{status}");
    let bad = &status["nodeStatus"][1];
    assert_eq!(
        (&bad["nodeName"], &bad["reason"]),
        (&json!("edge-2"), &json!("no room"))
    );
    assert_eq!(bad["actionFlow"][0]["status"], "False");
    assert_eq!(
        status["nodeStatus"][2],
        json!({"nodeName": "edge-3", "phase": "Pending"})
    );

    // cloudcore's own list is of another kind of job, and says where these are.
    let said = clouds[0].run(&["cloudcore", "ctl", "jobs"]);
    assert!(
        said.code != 0 && said.err.contains("see them there, with kubectl"),
        "{said:?}"
    );

    // kubectl shows the same.
    if let Some(kubectl) = kubectl() {
        let path = "jsonpath={.status.nodeStatus[?(@.phase==\"Failure\")].nodeName}";
        let words = ["get", "nodeupgradejobs", "wave", "-o", path];
        let shown = cluster.kubectl(&kubectl, &words);
        assert_eq!(
            String::from_utf8_lossy(&shown.stdout),
            "edge-2",
            "{shown:?}"
        );
    }

    // The cloudcore of the node that is away dies; its place is taken by another that knows nothing.
    clouds[1].kill();
    make(
        &mut cluster,
        "ConfigUpdateJob",
        "beat",
        json!({"nodeNames": ["edge-3"],
        "updateFields": {"modules.edgeHub.heartbeat": "9"}}),
    );
    clouds[1].start_again(&options);
    away.online();
    for (kind, name) in [wave, ("ConfigUpdateJob", "beat")] {
        let status = until(&mut cluster, (kind, name), |status| {
            status["phase"] == "Completed"
        });
        let nodes = status["nodeStatus"].as_array().expect("nodes");
        assert_eq!(
            nodes.last().expect("edge-3")["phase"],
            "Successful",
            "{status}"
        );
    }
    away.tell("ping");
    assert_eq!(jobs(&away), 2);

    // When all is done nothing is done again, and nothing written.
    cluster.requests();
    clouds[0].kill();
    clouds[0].start_again(&options);
    good.online();
    good.tell("ping");
    unfit.tell("ping");
    let logs = clouds.each_ref().map(Cloudcore::log).join("\n");
    assert_eq!((jobs(&good), jobs(&unfit)), (1, 1), "{logs}");
    let writes = cluster.requests();
    let of_jobs = |it: &&Value| {
        it["target"]
            .as_str()
            .is_some_and(|it| it.contains("operations"))
    };
    let mut writes = writes.iter().filter(of_jobs);
    assert!(writes.all(|it| it["method"] == "GET"));
}
