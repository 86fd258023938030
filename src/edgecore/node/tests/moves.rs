//! Another cloud, and another configuration: what is undone of what was.

use std::time::Duration;

use serde_json::json;

use super::Rig;
use crate::config::edge::EdgeNode;
use crate::protocol::terms::Terms;

/// From one of KubeEdge's to ours and back, as a device with several clouds may go.
#[test]
fn the_lease_is_kept_as_the_present_session_has_it() {
    let rig = Rig::new();
    let node = rig.node();
    rig.until_with(&node, |cloud| cloud.count("update") >= 3);
    assert!(rig.registration().lease_renewed.is_some());
    // The hub sets the terms before the session begins.
    rig.edge
        .terms
        .set(Some(Terms::offer(Duration::from_secs(30))));
    rig.cloud.borrow_mut().asked.clear();
    drop(node);
    let rig = rig.connected();
    let node = rig.node();
    for change in 1..5 {
        rig.edge.address.set(Some([192, 0, 2, 10 + change].into()));
        rig.edge.address_changed.raise();
        rig.until_with(&node, |cloud| cloud.count("patch") == usize::from(change));
    }
    assert!(
        rig.cloud
            .borrow()
            .asked
            .iter()
            .all(|it| !it.0.contains("lease"))
    );
    assert_eq!(rig.registration().lease_renewed, None);
    rig.edge.terms.set(None);
    rig.reconnect();
    rig.until_with(&node, |cloud| cloud.count("update") >= 3);
    assert!(rig.registration().lease_renewed.is_some());
    // And once more, by the same life of the node.
    rig.edge
        .terms
        .set(Some(Terms::offer(Duration::from_secs(30))));
    rig.reconnect();
    rig.edge.address.set(Some([192, 0, 2, 99].into()));
    rig.edge.address_changed.raise();
    let before = rig.cloud.borrow().count("patch");
    rig.until_with(&node, |cloud| cloud.count("patch") > before);
    let renewals = rig.cloud.borrow().count("update");
    rig.edge.address.set(Some([192, 0, 2, 98].into()));
    rig.edge.address_changed.raise();
    rig.until_with(&node, |cloud| cloud.count("patch") > before + 1);
    assert_eq!(rig.cloud.borrow().count("update"), renewals);
}

#[test]
fn labels_that_the_configuration_sets_no_more_are_taken_away() {
    let labelled = |label: Option<&str>| {
        let mut settings = EdgeNode::default();
        for (key, all) in [
            ("site", &mut settings.labels),
            ("owner", &mut settings.annotations),
        ] {
            all.extend(label.map(|value| (key.to_owned(), value.to_owned())));
        }
        settings
    };
    let rig = Rig::with(labelled(Some("barn")));
    rig.until(|cloud| cloud.count("update") >= 1);
    let mut node = rig.cloud.borrow().node.clone();
    let head = &node.as_ref().unwrap()["metadata"];
    assert_eq!(head["annotations"]["kubeedge.io/labels-set"], "site");
    assert_eq!(head["annotations"]["owner"], "barn");
    // Somebody else's stay.
    node.as_mut().unwrap()["metadata"]["labels"]["by-hand"] = "x".into();
    let rig = Rig::with(labelled(None));
    rig.cloud.borrow_mut().node = node;
    rig.until(|cloud| cloud.count("patch") == 1 && cloud.count("update") >= 5);
    let cloud = rig.cloud.borrow();
    let told = &cloud.patches()[0]["metadata"];
    assert_eq!(told["labels"], json!({"site": null}));
    let gone =
        json!({"owner": null, "kubeedge.io/labels-set": null, "kubeedge.io/annotations-set": null});
    assert_eq!(told["annotations"], gone);
}
