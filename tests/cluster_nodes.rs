//! Two cloudcores on one cluster, and a device that moves between them: nothing is lost on the way.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::cluster::{Cluster, kubectl};
use common::site::{Cloudcore, Site};
use common::{LIMIT, put};
use kubeedge::protocol::control::EdgeState;
use serde_json::{Value, json};

const KINDS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: app, namespace: default}
data: {value: \"@VALUE@\"}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default}
spec:
  nodeName: roamer
  containers:
  - {name: web, image: \"registry.example/web:1\", envFrom: [{configMapRef: {name: app}}]}
";

/// Waits until this gives something.
fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let patience = Instant::now() + LIMIT;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < patience, "{what}");
        // Two processes and a file, of which none tells.
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The value of the ConfigMap on the device.
fn value(site: &Site) -> Option<String> {
    let path = "/var/lib/kubeedge/edgecore/meta/configmap/default/app.json";
    let text = fs::read_to_string(site.path(path)).ok()?;
    let object: Value = serde_json::from_str(&text).ok()?;
    Some(object["data"]["value"].as_str()?.to_owned())
}

fn has_pod(site: &Site) -> bool {
    site.has("/var/lib/kubeedge/edgecore/meta/pod/default/web.json")
}

#[test]
fn a_device_moves_from_one_cloudcore_to_another_and_hears_of_all_that_changes() {
    let Some(kubectl) = kubectl() else {
        return;
    };
    let mut cluster = Cluster::start();
    let config = cluster.kubeconfig();
    let config = config.to_str().expect("UTF-8").to_owned();
    let options = ["--kube-config", &config, "--single-port", "0"];
    let mut clouds = [Cloudcore::start(&options), Cloudcore::start(&options)];
    let places = clouds.each_ref().map(|cloud| {
        let port = cloud.single.expect("one port");
        format!("127.0.0.1:{port}")
    });
    let token = clouds[0].token_file();
    let site = Site::new();
    let both = places.join(",");
    let words = ["join", "-e", &both, "--token-file", &token, "-i", "roamer"];
    site.run(&words).ends(0);
    let peer = |before: &str| {
        until("a session elsewhere", || {
            let status = site.status()?;
            let session = status
                .session
                .filter(|_| status.state == EdgeState::Connected)?;
            Some(session.peer).filter(|peer| peer != before)
        })
    };
    let first = peer("");
    until("the node registers", || cluster.object("Node", "roamer"));
    let owner = |cluster: &mut Cluster| {
        let lease = cluster.object("Lease", "roamer")?;
        let annotations = &lease["metadata"]["annotations"];
        Some(
            annotations["kubeedge.io/session-owner"]
                .as_str()?
                .to_owned(),
        )
    };
    let had = until("the Lease is made", || owner(&mut cluster));

    let manifest = site.path("/objects.yaml");
    let apply = |cluster: &Cluster, value: &str| {
        put(&manifest, KINDS.replace("@VALUE@", value), 0o600);
        let path = manifest.to_str().expect("UTF-8");
        let words = ["apply", "--validate=false", "-f", path];
        let done = cluster.kubectl(&kubectl, &words);
        assert!(done.status.success(), "{done:?}");
    };
    apply(&cluster, "1");
    until("the ConfigMap is there", || {
        value(&site).filter(|it| it == "1")
    });
    until("so is the Pod", || has_pod(&site).then_some(()));

    // Its cloudcore dies, and something changes while the device looks for another.
    let here = usize::from(first != places[0]);
    clouds[here].kill();
    apply(&cluster, "2");
    let second = peer(&first);
    assert_eq!(second, places[1 - here]);
    until("it is told of the change", || {
        value(&site).filter(|it| it == "2")
    });
    let has = until("the other one has the Lease", || {
        owner(&mut cluster).filter(|owner| *owner != had)
    });
    assert_ne!(has, had);
    apply(&cluster, "3");
    until("and of the next one", || {
        value(&site).filter(|it| it == "3")
    });

    // The API server goes and comes back: the session stays, and what was missed is told.
    let session = site.connected().session.expect("a session");
    cluster.stop();
    cluster.start_again();
    apply(&cluster, "4");
    until("what was missed is told", || {
        value(&site).filter(|it| it == "4")
    });
    let now = site.connected().session.expect("a session");
    assert_eq!((now.peer, now.since), (session.peer, session.since));

    // Every watch is cut behind each event.
    cluster.order(&json!({"do": "cut", "on": true}));
    for next in ["5", "6", "7"] {
        apply(&cluster, next);
        until("what is told between two cuts", || {
            value(&site).filter(|it| it == next)
        });
    }
    cluster.order(&json!({"do": "cut", "on": false}));

    // What is deleted is gone on the device, too.
    let words = [
        "delete",
        "pod",
        "web",
        "--wait=false",
        "--force",
        "--grace-period=0",
    ];
    let done = cluster.kubectl(&kubectl, &words);
    assert!(done.status.success(), "{done:?}");
    until("the Pod is gone", || (!has_pod(&site)).then_some(()));
    let rows = clouds[1 - here].run(&["cloudcore", "ctl", "nodes"]).ends(0);
    assert!(rows.out.contains("roamer"), "{}", rows.out);
    let refused = clouds[1 - here].run(&["cloudcore", "ctl", "delete", "node", "roamer"]);
    assert!(
        refused.code != 0 && refused.err.contains("kubectl"),
        "{}",
        refused.err
    );
}
