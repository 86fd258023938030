//! `debug check`: every item, good and bad.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::Value;

use super::common::cloud::Cloud;
use super::common::device::{CA, CERTIFICATE, CLOCK, CONFIG, Device, KEY};
use super::common::sign::Ca;
use super::common::site::{Cloudcore, Said, Site};
use super::common::{KUBEEDGE, LIMIT};
use super::{joined, try_examples};

/// The rows of these items.
fn rows(said: &Said) -> Vec<Value> {
    let json = said.json();
    let rows = json["rows"].as_array().expect("rows").clone();
    let failed = rows.iter().any(|row| row["state"] == "failed");
    assert_eq!(json["good"], !failed);
    assert_eq!(said.code, i32::from(failed), "{}", said.out);
    for row in &rows {
        // A remedy for each that is amiss, and for no other.
        assert_eq!(row["remedy"].is_null(), row["state"] == "good", "{row}");
        assert_ne!(row["found"], "", "{row}");
    }
    rows
}

fn check(site: &Site, items: &str) -> Vec<Value> {
    let words = format!("debug check {items} -o json");
    let words: Vec<&str> = words.split_whitespace().collect();
    rows(&site.run(&words))
}

/// State and remedy of the one row that begins so.
fn row(rows: &[Value], what: &str) -> (String, String) {
    let word = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let mut fit = rows
        .iter()
        .filter(|row| word(row, "what").starts_with(what));
    let row = fit.next().unwrap_or_else(|| panic!("no {what}: {rows:?}"));
    assert_eq!(fit.next(), None);
    (word(row, "state"), word(row, "remedy"))
}

fn bad(rows: &[Value], what: &str, part: &str) {
    let (state, remedy) = row(rows, what);
    assert!(
        state == "failed" && remedy.contains(part),
        "{what}: {rows:?}"
    );
}

fn good(rows: &[Value], what: &str) {
    assert_eq!(row(rows, what).0, "good", "{what}: {rows:?}");
}

fn replace_in_config(site: &Site, from: &str, to: &str) {
    let text = site.read(CONFIG);
    assert!(text.contains(from), "{text}");
    site.write(CONFIG, &text.replace(from, to), 0o640);
}

#[test]
fn a_device_that_works_and_one_whose_cloud_is_away() {
    let mut cloud = Cloudcore::start(&[]);
    let site = joined(&cloud);
    let all = check(&site, "");
    for what in [
        "session",
        "certificates 127",
        "hub 127",
        "CA",
        "certificate",
        "key",
        "lo 127",
        "time",
    ] {
        if what == "certificate" {
            let own = all.iter().find(|row| row["what"] == what);
            assert_eq!(own.expect("a certificate")["state"], "good");
            continue;
        }
        good(&all, what);
    }
    assert!(all.iter().all(|row| row["state"] != "failed"), "{all:?}");
    let text = site.run(&["debug", "check", "identity"]).ends(0).out;
    assert!(
        text.starts_with("ITEM") && text.contains("3 checked, 0 failed"),
        "{text}"
    );
    // What is looked at stays as it is.
    let before = site.own_files();
    try_examples(&site, "debug check", &[0, 1]);
    assert_eq!(site.own_files(), before);
    assert_eq!(cloud.sessions().len(), 1, "its session goes on");
    let hub = format!("network -s 127.0.0.1:{}", cloud.hub);
    good(&check(&site, &hub), "hub 127");
    cloud.stop();
    let away = check(&site, "network mtu");
    bad(&away, "certificates 127", "connection refused");
    bad(&away, "hub 127", "check that cloudcore runs there");
    good(&away, "packets");
    bad(&check(&site, &hub), "hub 127", "connection refused");
}

#[test]
fn a_device_that_never_joined() {
    let site = Site::new();
    let all = check(&site, "all");
    bad(&all, "edgecore.yaml", "has not joined a cloud");
    bad(&all, "session", "get a token");
    let none = all
        .iter()
        .find(|row| row["item"] == "identity")
        .expect("a row");
    assert_eq!(none["state"], "failed");
    assert_eq!(row(&all, "cloud").0, "warning");
    site.write(CONFIG, "modules: [\n", 0o644);
    bad(&check(&site, "config"), "edgecore.yaml", "edgecore.yaml:");
    site.write(CONFIG, "modules: {edgeHub: {enable: false}}\n", 0o644);
    bad(&check(&site, "config"), "edgecore.yaml", "enable: true");
    let said = site.run(&["debug", "check", "gpu"]).ends(64);
    assert!(
        said.err.contains("\"gpu\"") && said.err.contains("network"),
        "{}",
        said.err
    );
    let said = site.run(&["debug", "check", "-s", "a b"]).ends(64);
    assert!(said.err.contains("--cloud-hub-server"), "{}", said.err);
}

#[test]
fn a_certificate_that_has_ended() {
    let cloud = Cloud::start(&[]);
    let mut device = Device::new("edge-1");
    device.hub_keys = vec!["heartbeat: 1".to_owned()];
    device.configure(&cloud, "");
    let ca = Ca::of(cloud.path());
    let (key, certificate) = ca.node("edge-1", -7200, -3600);
    let (pem, ca) = (certificate.to_pem(), ca.certificate.to_pem());
    device.write(KEY, &format!("{}{pem}{ca}", &*key.to_sec1_pem()), 0o600);
    device.write(CERTIFICATE, &pem, 0o644);
    device.write(CA, &ca, 0o644);
    let rows = rows(&device.run(&["debug", "check", "identity", "-o", "json"]));
    let own = rows.iter().find(|row| row["what"] == "certificate");
    let own = own.expect("a certificate");
    let remedy = own["remedy"].as_str().expect("a remedy");
    assert!(
        own["state"] == "failed" && remedy.contains("expired"),
        "{own}"
    );
}

#[test]
fn a_clock_that_shows_1970() {
    let cloud = Cloudcore::start(&[]);
    let site = joined(&cloud);
    site.write(CLOCK, "-1760000000", 0o644);
    // Whether edgecore says so or not: the cloud is asked.
    let rows = check(&site, "network clock identity");
    bad(&rows, "time", "NTP");
    good(&rows, "certificates 127");
    good(&rows, "hub 127");
    let own = rows.iter().find(|row| row["what"] == "certificate");
    assert_eq!(own.expect("a certificate")["state"], "good", "{rows:?}");
}

#[test]
fn a_name_that_the_cloud_does_not_know_as_its_own() {
    let cloud = Cloudcore::start(&["--listen", "0.0.0.0"]);
    let site = joined(&cloud);
    replace_in_config(&site, "127.0.0.1:", "127.0.0.2:");
    let rows = check(&site, "network");
    bad(&rows, "certificates 127.0.0.2", "is valid for");
    bad(&rows, "hub 127.0.0.2", "dnsNames in cloudcore.yaml");
}

#[test]
fn no_room_and_a_folder_that_is_none() {
    let site = Site::new();
    let state = site.path("/var/lib/kubeedge");
    fs::create_dir_all(&state).expect("a folder");
    site.write("/var/log/kubeedge", "a file", 0o644);
    let script = "mount -t tmpfs -o size=64k tmpfs \"$1\" && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(&state)
        .args([KUBEEDGE, "debug", "check", "disk", "folders", "-o", "json"])
        .env("KUBEEDGE_ROOT", site.path("/"));
    let rows = rows(&Said::of(command.output()));
    let of = |item: &str| -> Vec<Value> {
        rows.iter()
            .filter(|row| row["item"] == item)
            .cloned()
            .collect()
    };
    let state = state.display().to_string();
    let full: Vec<Value> = of("disk")
        .into_iter()
        .filter(|row| row["what"] == *state)
        .collect();
    assert_eq!(full[0]["state"], "failed", "{full:?}");
    assert!(full[1]["found"] == "in memory only", "{full:?}");
    let log = site.path("/var/log/kubeedge").display().to_string();
    bad(&of("folders"), &log, "edgecore writes there");
}

#[test]
fn a_user_who_may_read_nothing_is_told_to_be_root() {
    let cloud = Cloudcore::start(&[]);
    let site = joined(&cloud);
    let mut command = Command::new(KUBEEDGE);
    command.args(["debug", "check", "identity", "folders", "-o", "json"]);
    command
        .env("KUBEEDGE_ROOT", site.path("/"))
        .uid(65534)
        .gid(65534);
    let rows = rows(&Said::of(command.output()));
    let key = rows.iter().find(|row| row["what"] == "key").expect("a key");
    assert_eq!(key["state"], "failed", "{rows:?}");
    let folder = rows.iter().find(|row| row["item"] == "folders");
    let folder = folder.expect("a folder");
    assert_eq!(folder["state"], "warning");
    assert!(
        folder["remedy"]
            .as_str()
            .expect("a remedy")
            .contains("as root")
    );
}

#[test]
fn a_proxy_that_is_away_and_quic_that_nobody_answers() {
    let cloud = Cloudcore::start(&[]);
    let site = joined(&cloud);
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let proxy = closed.local_addr().expect("an address");
    drop(closed);
    let quic = format!("\n  edgeHub:\n    quic: {{enable: true, server: \"127.0.0.1:{port}\"}}\n");
    let text = site.read(CONFIG);
    let at = text.find("\n    quic:").expect("a default");
    let end = text[at + 5..].find("\n    w").expect("what follows") + at + 5;
    let inner = quic.split("edgeHub:").nth(1).expect("a part").trim_end();
    let changed = format!("{}{inner}{}", &text[..at], &text[end..]);
    site.write(CONFIG, &changed, 0o640);
    let rows = check(&site, "network");
    good(&rows, "certificates 127");
    let quic = row(&rows, &format!("hub 127.0.0.1:{port}, QUIC"));
    assert!(
        quic.0 == "warning" && quic.1.contains("WebSocket serves"),
        "{rows:?}"
    );
    let hub = "\n  edgeHub:\n";
    replace_in_config(&site, hub, &format!("{hub}    proxy: http://{proxy}\n"));
    let rows = check(&site, "proxy network");
    bad(&rows, "http://127", "connection refused");
    bad(&rows, "certificates 127", "proxy");
    bad(&rows, &format!("hub 127.0.0.1:{}", cloud.hub), "proxy");
}

#[test]
#[cfg(feature = "quic")]
fn quic_that_works() {
    let config = "modules: {cloudHub: {quic: {enable: true, address: 127.0.0.1, port: 0}}}";
    let cloud = Cloudcore::start_with(config, &[]);
    let mut device = Device::new("edge-1");
    let port = cloud.quic.expect("a port");
    device.hub_keys = vec![format!(
        "quic: {{enable: true, server: '127.0.0.1:{port}'}}"
    )];
    device.configure_for(&cloud, &cloud.token());
    let edge = device.start();
    edge.connected();
    let rows = rows(&device.run(&["debug", "check", "network", "-o", "json"]));
    good(&rows, &format!("hub 127.0.0.1:{port}, QUIC"));
    assert_eq!(cloud.sessions().len(), 1);
    edge.stop();
}

#[test]
fn names_are_asked_of_the_server_that_is_named() {
    let site = Site::new();
    let server = format!(
        "127.0.{}.{}",
        std::process::id() / 250 % 250,
        std::process::id() % 250 + 2
    );
    let socket = UdpSocket::bind((server.as_str(), 53)).expect("the port of DNS, as root");
    socket.set_read_timeout(Some(LIMIT)).expect("a patience");
    let answers = std::thread::spawn(move || {
        // One answer, no such name, refused, and nonsense before what is right.
        for (code, count, before) in [(0, 1, false), (3, 0, false), (5, 0, false), (0, 2, true)] {
            let mut query = [0; 512];
            let (length, from) = socket.recv_from(&mut query).expect("a question");
            assert!(query[..length].ends_with(b"\x01a\x07example\x00\x00\x01\x00\x01"));
            if before {
                socket.send_to(b"x", from).expect("it is sent");
                socket.send_to(&[0; 600], from).expect("it is sent");
            }
            let mut answer = query[..length].to_vec();
            (answer[2], answer[3], answer[7]) = (0x80, code, count);
            socket.send_to(&answer, from).expect("it is sent");
        }
    });
    let ask = || check(&site, &format!("dns --domain a.example -D {server}"));
    good(&ask(), "a.example");
    bad(&ask(), "a.example", "no such name");
    bad(&ask(), "a.example", "code 5");
    good(&ask(), "a.example");
    answers.join().expect("all were asked");
    let none = check(&site, "dns --domain none.invalid");
    bad(&none, "none.invalid", "resolv.conf");
}

#[test]
fn pings_are_answered_here_and_not_where_nobody_is() {
    let site = Site::new();
    good(&check(&site, "network --ip 127.0.0.1"), "ping");
    good(&check(&site, "network --ip ::1"), "ping");
    // A network without any card that is up.
    let mut command = Command::new("unshare");
    let words = "debug check network --ip 192.0.2.1 -o json";
    command
        .args(["-n", KUBEEDGE])
        .args(words.split(' '))
        .env("KUBEEDGE_ROOT", site.path("/"));
    bad(&rows(&Said::of(command.output())), "ping", "unreachable");
}
