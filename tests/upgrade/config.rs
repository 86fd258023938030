//! `config-update`: what is good is kept, what leads nowhere is taken back, what is wrong never starts.

use std::process::{Command, Stdio};

use crate::common::device::{CONFIG, Device};
use crate::common::site::{Cloudcore, Said};
use crate::common::{KUBEEDGE, wait_until};
use crate::stage::{MARKER, device, is_tidy, report};

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
    assert_eq!(said.json()["onTrial"], false);
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

/// A command that is given in the folder of the configuration.
fn beside(device: &Device, words: &[&str]) -> Said {
    let config = device.path(CONFIG);
    let mut command = Command::new(KUBEEDGE);
    command
        .args(words)
        .env("KUBEEDGE_ROOT", device.path("/"))
        .current_dir(config.parent().expect("a folder"));
    Said::of(command.stdin(Stdio::null()).output())
}

#[test]
fn a_configuration_may_be_named_from_the_folder_one_is_in() {
    let cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "nearby");
    let edge = device.start();
    edge.connected();
    let name = "../config/edgecore.yaml";
    let set = "modules.edgeHub.heartbeat=20";
    let words = ["config-update", "--config", name, "--set", set];
    let said = beside(&device, &words).ends(0);
    assert!(said.out.contains("has a session"), "{}", said.out);
    let config = device.read(CONFIG);
    assert!(config.contains("heartbeat: 20"), "{config}");
    is_tidy(&device);
    let name = "edgecore.yaml";
    beside(&device, &["backup", "edge", "--config", name]).ends(0);
    let listed = device.run(&["backup", "edge", "--list"]).ends(0);
    assert!(listed.out.contains("nearby"), "{}", listed.out);
    device.write(CONFIG, &config.replace("# the end", "# later"), 0o640);
    beside(&device, &["rollback", "edge", "--config", name]).ends(0);
    assert_eq!(device.read(CONFIG), config);
    is_tidy(&device);
    edge.connected();
    edge.stop();
}

#[test]
fn what_nobody_has_proved_is_not_said_to_be_proven() {
    let cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "alone");
    let edge = device.start_with_flags(&["--no-supervisor"]);
    edge.connected();
    let words = ["config-update", "--set", "modules.edgeHub.heartbeat=20"];
    let said = device.run(&words).ends(0);
    assert!(said.out.contains("next start of edgecore"), "{}", said.out);
    assert!(device.path(MARKER).exists());
    edge.stop();
    let edge = device.start();
    edge.connected();
    edge.stop();
}

#[test]
fn where_no_edgecore_runs_the_next_one_proves_it() {
    let cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "resting");
    let edge = device.start();
    edge.connected();
    edge.stop();
    // The service is there, and was stopped.
    device.write("/run/kubeedge/edgecore.pid", "0\n", 0o644);
    let before = device.read(CONFIG);
    let update = |value: &str, seconds: &str| {
        let words = ["config-update", "-o", "json", "--timeout", seconds, "--set"];
        let done = device.run(&[&words[..], &[value]].concat()).ends(0).json();
        assert_eq!(
            (&done["changed"], &done["onTrial"]),
            (&true.into(), &true.into())
        );
        assert!(device.path(MARKER).exists());
        assert_eq!(device.read("/run/kubeedge/edgecore.pid"), "0\n");
    };
    // Changes that wait together are one.
    update("modules.edgeHub.websocket.server=127.0.0.1:1", "1");
    update("modules.eventBus.mqttQOS=1", "1");
    let after = device.read(CONFIG);
    assert!(
        after.contains("127.0.0.1:1") && after.contains("mqttQOS: 1"),
        "{after}"
    );
    let edge = device.start();
    edge.connected();
    assert_eq!(device.read(CONFIG), before);
    assert_eq!(report(&device)["success"], false);
    is_tidy(&device);
    edge.stop();
    update("modules.edgeHub.heartbeat=20", "120");
    update("modules.edgeHub.heartbeat=21", "120");
    let edge = device.start();
    edge.connected();
    wait_until("the end of the trial", || !device.path(MARKER).exists());
    assert!(device.read(CONFIG).contains("heartbeat: 21"));
    assert_eq!(report(&device)["success"], true);
    is_tidy(&device);
    edge.stop();
}
