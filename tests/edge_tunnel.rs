//! The tunnel: kept alive, opened again after every kind of loss, and civil to what arrives on it.

mod common;

use common::cloud::Cloud;
use common::device::Device;
use kubeedge::protocol::control::EdgeState;
use serde_json::{Value, json};

/// A device whose heartbeat is a second, so that silence is noticed within three.
fn quick_device(cloud: &Cloud) -> Device {
    let mut device = Device::new("edge-1");
    device.hub_keys = vec!["heartbeat: 1".to_owned()];
    device.configure(cloud, &cloud.token());
    device
}

fn generation(event: &Value) -> u64 {
    event["generation"].as_u64().expect("a number")
}

fn gap(event: &Value) -> f64 {
    event["gap"].as_f64().expect("seconds without a session")
}

#[test]
fn keepalives_come_and_a_cut_is_mended_at_once() {
    let mut cloud = Cloud::start(&["--keepalive-timeout", "20"]);
    let device = quick_device(&cloud);
    let edge = device.start();
    edge.connected();
    cloud.event("connect");
    for _ in 0..3 {
        cloud.event("keepalive");
    }
    cloud.order("drop");
    let again = cloud.event("connect");
    assert_eq!(generation(&again), 2);
    // The first retry comes within 0.8 s; the rest is for slow machines.
    assert!(gap(&again) < 5.0, "{again}");
    let status = edge.until("the second session", |status| {
        status.session.as_ref().is_some_and(|s| s.generation == 2)
    });
    assert_eq!(status.state, EdgeState::Connected);
    assert_eq!(status.last_error, None);
    edge.stop();
    cloud.satisfied();
}

/// A frame of a few bytes is the sign of life to a cloud with which that was agreed, and through a proxy a
/// ping, since what is behind it does not acknowledge anything else.
#[test]
fn with_agreed_terms_the_sign_of_life_is_a_frame() {
    let mut cloud = Cloud::start(&["--keepalive-timeout", "30", "--terms", "keepalive=1, lease"]);
    let device = quick_device(&cloud);
    let edge = device.start();
    edge.connected();
    for _ in 0..3 {
        assert_eq!(cloud.event("beat")["frame"], "pong");
    }
    cloud.order("drop");
    assert_eq!(generation(&cloud.event("connect")), 1);
    assert_eq!(generation(&cloud.event("connect")), 2);
    assert_eq!(cloud.event("beat")["frame"], "pong");
    edge.stop();
    assert_eq!(cloud.unread("keepalive"), [] as [Value; 0]);
    cloud.satisfied();
}

#[test]
fn an_outage_is_outlived() {
    let mut cloud = Cloud::start(&[]);
    let device = quick_device(&cloud);
    let edge = device.start();
    edge.connected();
    cloud.event("connect");
    cloud.order("down");
    let status = edge.complains("cannot connect to 127.0.0.1");
    assert_eq!(status.state, EdgeState::Connecting);
    assert_eq!(status.session, None);
    assert!(status.last_error.expect("a problem").retryable);
    cloud.order("up");
    edge.connected();
    assert_eq!(generation(&cloud.event("connect")), 2);
    edge.stop();
    cloud.satisfied();
}

#[test]
fn a_hub_that_falls_silent_is_given_up() {
    let mut cloud = Cloud::start(&["--silent", "tunnel"]);
    let device = quick_device(&cloud);
    let edge = device.start();
    edge.connected();
    let status = edge.complains("any sign of life from the hub took too long");
    assert_eq!(status.session, None);
    cloud.event_where("connect", |event| generation(event) == 2);
    edge.stop();
    cloud.satisfied();
}

#[test]
fn a_hub_that_never_speaks_tls_is_given_up() {
    let cloud = Cloud::start(&["--silent", "tls"]);
    let mut device = quick_device(&cloud);
    device.websocket_keys = vec!["handshakeTimeout: 1".to_owned()];
    device.configure(&cloud, &cloud.token());
    let edge = device.start();
    let status = edge.complains("the TLS handshake took too long");
    assert_eq!(status.state, EdgeState::Connecting);
    edge.stop();
    cloud.satisfied();
}

#[test]
fn hubs_that_are_others_get_no_message() {
    for (sabotage, part) in [
        ("hub-other-ca", "no secure connection to the hub"),
        ("hub-accept", "the other side broke the protocol"),
    ] {
        let cloud = Cloud::start(&["--sabotage", sabotage]);
        let device = quick_device(&cloud);
        let edge = device.start();
        let status = edge.complains(part);
        assert_eq!(status.state, EdgeState::Connecting);
        assert_eq!(status.session, None);
        edge.stop();
        cloud.satisfied();
    }
}

#[test]
fn what_arrives_is_answered_or_skipped() {
    let mut cloud = Cloud::start(&[]);
    let device = quick_device(&cloud);
    let edge = device.start();
    edge.connected();
    cloud.event("keepalive");
    let message = |id: &str, operation: &str, resource: &str, content: Value| {
        json!({
            "header": {"msg_id": id, "timestamp": 1},
            "route": {"source": "cloudhub", "group": "resource",
                "operation": operation, "resource": resource},
            "content": content,
        })
    };
    let pushes = [
        // No message at all: skipped, where upstream closes.
        json!({"header": {"msg_id": "m1", "timestamp": "1"}}),
        json!({"header": {"msg_id": 1}, "route": []}),
        // Nobody keeps these, so they are not acknowledged.
        message("m3", "dance", "somewhere", Value::Null),
        message("m4", "keepalive", "node", json!("ping")),
        // More than one frame of a Go cloud.
        message(
            "m5",
            "update",
            "default/configmap/x",
            json!("x".repeat(100_000)),
        ),
        json!({"header": {"msg_id": "m6", "new": 1}, "new": {"deep": [[]]}}),
        message("p1", "ping", "/control/ping", json!("")),
        message("p2", "config", "/control/config", json!("")),
    ];
    for push in &pushes {
        cloud.order(&format!("push {push}"));
    }
    for id in ["p1", "p2"] {
        // The edge may acknowledge its own Node meanwhile.
        let answer = cloud.event_where("message", |it| it["parent"] == id);
        assert_eq!(answer["operation"], "response");
        assert_eq!(answer["content"], "\"ack\"");
    }
    // All of it went over one and the same session.
    let session = edge.status().session.expect("a session");
    assert_eq!(session.generation, 1);
    edge.stop();
    // It acknowledges its own Node's Lease and Node at any time, and nothing of what was pushed.
    let pushed: Vec<_> = pushes.iter().map(|it| &it["header"]["msg_id"]).collect();
    let answers = cloud.unread("message");
    let unasked = |it: &&Value| pushed.contains(&&it["parent"]);
    assert_eq!(answers.iter().find(unasked), None);
    cloud.satisfied();
}

#[test]
fn a_changed_configuration_moves_the_session() {
    let mut cloud = Cloud::start(&[]);
    let device = quick_device(&cloud);
    let edge = device.start();
    edge.connected();
    cloud.event("connect");
    // Nothing changed, nothing happens: the answer to the order says only that it was heard.
    assert_eq!(edge.order("reload").error, None);
    device.write(
        common::device::CONFIG,
        &device
            .yaml(&cloud, "")
            .replace("heartbeat: 1", "heartbeat: x"),
        0o640,
    );
    edge.order("reload");
    edge.complains("heartbeat");
    assert_eq!(edge.status().session.expect("the old one").generation, 1);
    device.write(
        common::device::CONFIG,
        &device
            .yaml(&cloud, "")
            .replace("heartbeat: 1", "heartbeat: 2"),
        0o640,
    );
    edge.order("reload");
    let fits = |event: &Value| generation(event) == 2;
    assert!(gap(&cloud.event_where("connect", fits)) < 5.0);
    let second = edge.until("the second session", |status| {
        status.session.as_ref().is_some_and(|s| s.generation == 2)
    });
    assert_eq!(second.last_error, None);
    edge.stop();
    cloud.satisfied();
}

#[test]
fn many_watchers_do_no_harm() {
    let cloud = Cloud::start(&[]);
    let device = quick_device(&cloud);
    let edge = device.start();
    edge.connected();
    let watchers: Vec<_> = (0..40).map(|_| edge.watch()).collect();
    let served = watchers.into_iter().filter_map(|mut watcher| {
        watcher
            .line::<kubeedge::protocol::control::EdgeStatus>()
            .ok()
            .flatten()
    });
    assert!(served.count() >= 8, "a few at least are served");
    // Those that left make room.
    edge.connected();
    edge.stop();
    cloud.satisfied();
}

/// How long an edge that stops may take is asserted by `Edge::stop`; here the hub is deaf.
#[test]
fn a_deaf_hub_does_not_delay_the_end() {
    let mut cloud = Cloud::start(&["--silent", "tunnel"]);
    let mut device = Device::new("edge-1");
    device.hub_keys = vec!["heartbeat: 15".to_owned()];
    device.configure(&cloud, &cloud.token());
    let edge = device.start();
    edge.connected();
    let connected = cloud.event("connect");
    assert_eq!(generation(&connected), 1);
    edge.stop();
    cloud.satisfied();
}
