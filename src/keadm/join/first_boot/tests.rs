//! A first boot's files: what is written, once, and what is left of it when the power goes.

use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::config::edge::EdgeConfig;
use crate::config::first_boot::{JOIN_FILE, find};
use crate::keadm::device::CONFIG;
use crate::keadm::testing;
use crate::system::figures::tried;
use crate::system::files::Files;
use crate::system::files::crash::{Recording, faults_in_turn, is_clear};
use crate::system::scratch::Scratch;

fn token(last: char) -> String {
    format!("{}.e30.e30.{}", "a".repeat(64), last.to_string().repeat(43))
}

fn put(folder: &Path, path: &str, text: &str) {
    let (files, path) = (Files::real(), folder.join(path.trim_start_matches('/')));
    files.make_dir(path.parent().unwrap(), 0o755).unwrap();
    files.replace(&path, text.as_bytes(), 0o600).unwrap();
}

/// A device with an image's request.
fn image() -> Scratch {
    let folder = Scratch::new();
    let request = format!(
        "cloudcore-ipport: cloud.example:10000,192.0.2.1:10000\ntoken: {}\n\
         node-name: barn-{{mac}}\nlabels: site=barn\nset: modules.edgeHub.heartbeat=30\n",
        token('s')
    );
    put(folder.path(), JOIN_FILE, &request);
    put(
        folder.path(),
        "/sys/class/net/eth0/address",
        "b8:27:eb:00:00:01\n",
    );
    folder
}

/// A program that another test starts holds what is open here, and so the lock, until it runs.
fn attempt(files: Files, folder: &Path) -> Result<Prepared, String> {
    let host = testing::host(files, folder);
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let request = find(&host).map_err(|error| error.to_string())?;
        match AT_FIRST_BOOT(&host, &request.unwrap()).map_err(|error| error.to_string())? {
            Prepared::Busy if Instant::now() < end => std::thread::yield_now(),
            prepared => return Ok(prepared),
        }
    }
}

fn in_order(folder: &Path) {
    let at = |path: &str| folder.join(path.trim_start_matches('/'));
    let text = std::fs::read_to_string(at(CONFIG)).unwrap();
    let (config, _) = EdgeConfig::load(&text, "").unwrap();
    assert_eq!(config.node_name.unwrap().as_str(), "barn-b827eb000001");
    assert_eq!(
        config.hub.websocket.server.to_string(),
        "cloud.example:10000"
    );
    assert_eq!(config.hub.http_server.to_string(), "cloud.example:10002");
    assert_eq!(config.hub.heartbeat.as_secs(), 30);
    assert_eq!(std::fs::read_to_string(at(BOOTSTRAP)).unwrap(), token('s'));
    let files = Files::real();
    assert_eq!(files.mode(&at(BOOTSTRAP)).unwrap(), 0o600);
    assert_eq!(files.mode(&at(CONFIG)).unwrap(), 0o644);
    // The request stays until the identity is safe.
    assert!(at(JOIN_FILE).exists());
    for folder in ["etc/kubeedge", "etc/kubeedge/config"] {
        for entry in std::fs::read_dir(at(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with('.'), "{name} is left");
        }
    }
}

#[test]
fn a_first_boot_may_lose_its_power_at_any_moment() {
    let folder = image();
    let recording = Recording::beside(folder.path(), &["run"], |recorder| {
        let prepared = attempt(recorder.files(), folder.path()).unwrap();
        assert!(matches!(prepared, Prepared::Written { .. }), "{prepared:?}");
        recorder.promise("prepared");
    });
    in_order(folder.path());
    let states = recording.each_state(|state| {
        let again = attempt(Files::real(), state.root()).unwrap();
        if state.promised("prepared") {
            assert_eq!(again, Prepared::AsItWas);
        }
        in_order(state.root());
    });
    tried(
        "cuts-first-boot",
        "states a power cut leaves of a first boot",
        states,
    );
    let on_flash = recording.written();
    let on_flash = on_flash.iter().filter(|path| !path.starts_with("run"));
    let names: Vec<_> = on_flash.map(|path| path.to_str().unwrap()).collect();
    assert_eq!(names, [&BOOTSTRAP[1..], &CONFIG[1..]]);
}

#[test]
fn a_first_boot_survives_every_fault_of_the_disk() {
    let flow = |folder: &Scratch, files| attempt(files, folder.path());
    let faults = faults_in_turn(image, flow, |folder, outcome, fault| {
        if let Err(sentence) = outcome {
            assert!(is_clear(&sentence, fault), "{fault}: {sentence}");
        }
        attempt(Files::real(), folder.path()).unwrap();
        in_order(folder.path());
    });
    tried(
        "faults-first-boot",
        "faults of the disk during a first boot",
        faults,
    );
}

#[test]
fn a_second_boot_writes_nothing_and_another_request_changes_what_differs() {
    let folder = image();
    attempt(Files::real(), folder.path()).unwrap();
    assert_eq!(
        attempt(Files::real(), folder.path()).unwrap(),
        Prepared::AsItWas
    );
    let request = format!(
        "cloudcore-ipport: other:443\ntoken: {}\nnode-name: pump\n",
        token('t')
    );
    put(folder.path(), JOIN_FILE, &request);
    let prepared = attempt(Files::real(), folder.path()).unwrap();
    let hub = "other:443".to_owned();
    let node = "pump".to_owned();
    assert_eq!(prepared, Prepared::Written { node, hub });
    let host = testing::host(Files::real(), folder.path());
    let text = std::fs::read_to_string(host.root.at(CONFIG)).unwrap();
    let (config, _) = EdgeConfig::load(&text, "").unwrap();
    // One port for everything, as nobody has said otherwise.
    assert_eq!(config.hub.http_server.to_string(), "other:443");
    assert_eq!(config.hub.network.servers, []);
    assert_eq!(
        std::fs::read_to_string(host.root.at(BOOTSTRAP)).unwrap(),
        token('t')
    );
    let _lock = lock::take(&host).unwrap();
    assert_eq!(
        attempt(Files::real(), folder.path()).unwrap(),
        Prepared::Busy
    );
}

#[test]
fn what_join_would_refuse_is_refused() {
    let folder = image();
    for (request, fault) in [
        ("cloudcore-ipport: a:b:c\n", "--cloudcore-ipport"),
        ("cloudcore-ipport: a\nset: nothing\n", "--set"),
        ("cloudcore-ipport: a\nhub-protocol: tcp\n", "--hub-protocol"),
        ("cloudcore-ipport: a\nnode-name: A_B\n", "node-name"),
    ] {
        put(
            folder.path(),
            JOIN_FILE,
            &format!("{request}token: {}\n", token('u')),
        );
        let sentence = attempt(Files::real(), folder.path()).unwrap_err();
        assert!(
            sentence.contains(fault) && !sentence.contains("uuu"),
            "{sentence}"
        );
    }
    put(
        folder.path(),
        JOIN_FILE,
        "cloudcore-ipport: a\ntoken: uuu\n",
    );
    let sentence = attempt(Files::real(), folder.path()).unwrap_err();
    assert!(
        sentence.contains("token") && !sentence.contains("uuu"),
        "{sentence}"
    );
    assert!(!folder.path().join(&BOOTSTRAP[1..]).exists());
}
