//! `config-update`: what is good is kept, what leads nowhere is taken back, what is wrong never starts.

use crate::common::device::CONFIG;
use crate::common::site::Cloudcore;
use crate::stage::{device, is_tidy, report};

#[test]
fn a_configuration_proves_itself_or_is_taken_back() {
    let cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "changed");
    let edge = device.start();
    let first = edge.connected();
    let before = device.read(CONFIG);
    let update = |words: &[&str]| device.run(&[&["config-update"], words].concat());
    let said = update(&["--set", "modules.edgeHub.heartbeat=20", "-o", "json"]).ends(0);
    assert_eq!(said.json()["restarted"], true);
    let good = device.read(CONFIG);
    assert!(good.contains("heartbeat: 20") && good.contains("# the gateway in the barn"));
    is_tidy(&device);
    assert_eq!(report(&device)["event"], "ConfigUpdate");
    assert_eq!(report(&device)["success"], true);
    let second = edge.connected();
    assert_ne!(second.hub_pid, first.hub_pid);
    assert_eq!(second.pid, first.pid);
    // What edgecore does not act on needs no new start, and what is there already nothing at all.
    let said = update(&["--set", "modules.eventBus.mqttQOS=1", "-o", "json"]).ends(0);
    assert_eq!(said.json()["restarted"], false);
    let said = update(&["--set", "modules.edgeHub.heartbeat=20", "-o", "json"]).ends(0);
    assert_eq!(said.json()["changed"], false);
    assert_eq!(edge.connected().hub_pid, second.hub_pid);
    let kept = device.read(CONFIG);
    // A hub that is not there.
    let server = "modules.edgeHub.websocket.server=127.0.0.1:1";
    let said = update(&["--set", server, "--timeout", "1"]).ends(69);
    assert!(said.err.contains("it was taken back"), "{}", said.err);
    assert_eq!(device.read(CONFIG), kept);
    assert_eq!(report(&device)["success"], false);
    is_tidy(&device);
    edge.connected();
    for (value, code) in [
        ("modules.edgeHub.heartbeat=soon", 78),
        ("modules.edgeHub.enable=false", 78),
        ("modules.edgeHub.heartbeat", 78),
        ("modules.edgeHub.hartbeat=3", 78),
        ("", 64),
    ] {
        update(&["--set", value]).ends(code);
        assert_eq!(device.read(CONFIG), kept, "{value}");
    }
    assert_ne!(before, kept);
    edge.stop();
}
