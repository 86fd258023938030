//! Few open files: what they allow is said, clients beyond it are told to come again, and what must go on goes on.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::At;
use crate::common::figures::tried;
use crate::common::{Folder, KUBEEDGE};
use crate::peer::{Client, Sees, config, dial};
use crate::requests::{self, authorization, get, join, node};
use crate::support::{Cloud, until};

/// 300 open files: 150 are kept, 90 are for tunnels, 27 for each port.
#[test]
fn a_flood_at_the_limit_leaves_a_cloud_that_serves() {
    let mut cloud = Cloud::start("", Some(300));
    let log = cloud.log();
    assert!(
        log.contains("300 open files allowed: room for 90 sessions, 27 connections to the hub"),
        "{log}"
    );
    assert!(
        log.contains("nodeLimit is 500, but 300 open files are enough for 90 nodes"),
        "{log}"
    );
    assert_eq!(cloud.status()["node_limit"], 90);
    assert_eq!(cloud.status()["connection_limit"], 150);
    let before = cloud.open_files();

    let flood: Vec<TcpStream> = (0..1000)
        .map(|number| {
            let from = crate::next_address();
            dial(
                from,
                if number % 2 == 0 {
                    cloud.https
                } else {
                    cloud.hub
                },
            )
            .unwrap()
        })
        .collect();
    // All of this while it is held.
    let site = At::new(&cloud);
    assert_eq!(join(&site, "honest"), Sees::Status(200));
    drop(requests::tunnel(&site));
    assert_eq!(cloud.status()["v"], 1);
    assert!(cloud.metric("kubeedge_connections_cut_total{reason=\"https-total\"}") > 400);
    assert!(cloud.metric("kubeedge_connections_cut_total{reason=\"hub-total\"}") > 400);
    assert!(cloud.open_files() < 290);
    let used = cloud.processor_time();
    thread::sleep(Duration::from_secs(2));
    let used = cloud.processor_time() - used;
    assert!(
        used < Duration::from_secs(1),
        "{used:?} of 2 s went into a flood that rests"
    );

    drop(flood);
    until("all descriptors are back", || {
        cloud.open_files() <= before + 1
    });
    assert_eq!(join(&site, "honest"), Sees::Status(200));
    assert!(!cloud.log().contains("can be accepted"), "{}", cloud.log());
    cloud.is_well();
}

#[test]
fn tunnels_beyond_the_limit_are_told_to_come_again() {
    let mut cloud = Cloud::start("", Some(300));
    let edges: Vec<_> = (0..90)
        .map(|_| requests::tunnel(&At::new(&cloud)))
        .collect();
    let late = At::new(&cloud);
    let full = "kubeedge_tunnels_refused_total{reason=\"full\"}";
    assert_eq!(requests::ask_changed(&late, &[]), Sees::Later(503));
    until("it is counted", || cloud.metric(full) == 1);
    let line = format!("a tunnel from {} is refused (503)", late.from);
    until("it is logged", || cloud.log().contains(&line));
    // There is room for certificates all the time.
    assert_eq!(join(&late, "honest"), Sees::Status(200));
    drop(edges);
    until("the sessions have ended", || {
        cloud.metric("kubeedge_sessions") == 0
    });
    drop(requests::tunnel(&late));
    cloud.is_well();
}

/// 64 open files: three connections from one address, all held by requests with a good token.
#[test]
fn who_finds_no_place_is_told_when_to_come_again() {
    let mut cloud = Cloud::start("", Some(64));
    let site = At::new(&cloud);
    // The server says "continue" when it waits for the body, and not before.
    let headers = format!(
        "{}NodeName: {}\r\nContent-Length: 300\r\nExpect: 100-continue\r\n",
        authorization(&site),
        node(&site)
    );
    let head = get("/edge.crt", &headers);
    let mut slow: Vec<Client> = (0..3)
        .map(|_| {
            let mut client = Client::dial(site.from, cloud.https, config(None)).unwrap();
            client.send(&head);
            assert_eq!(client.sees(), Sees::Status(100));
            client
        })
        .collect();
    // They are not cut, so there is no place for more until their time is over.
    let refused = "kubeedge_connections_refused_total{reason=\"https-source\"}";
    assert_eq!(
        requests::ask(&site, None, &get("/ca.crt", "")),
        Sees::Later(503)
    );
    assert!(cloud.metric(refused) > 0);
    let line = format!("from {} finds no place", site.from);
    until("it is logged", || cloud.log().contains(&line));
    // Another address does.
    assert_eq!(join(&At::new(&cloud), "honest"), Sees::Status(200));
    for client in &mut slow {
        assert_eq!(client.sees(), Sees::Status(408));
    }
    drop(slow);
    until("the site is served again", || {
        join(&site, "honest") == Sees::Status(200)
    });
    cloud.is_well();
}

/// Our own edge waits as long as it is told, and not for ever.
#[test]
fn an_edge_that_is_told_to_wait_waits() {
    let mut cloud = Cloud::start("modules: {cloudHub: {nodeLimit: 1}}", None);
    let first = requests::tunnel(&At::new(&cloud));
    let device = Edge::start(&cloud);
    let full = "kubeedge_tunnels_refused_total{reason=\"full\"}";
    until("the edge was told to wait", || cloud.metric(full) > 0);
    drop(first);
    // Left to itself it would come again within a second, or two, or four; it was told 30 s.
    thread::sleep(Duration::from_secs(6));
    assert_eq!(cloud.metric(full), 1, "{}", device.log());
    assert_eq!(cloud.metric("kubeedge_sessions"), 0);
    until("it comes in time", || {
        cloud.metric("kubeedge_sessions") == 1
    });
    drop(device);
    cloud.is_well();
    tried(
        "hostile-cloud-waits",
        "edges that waited as long as a full cloud told them",
        1,
    );
}

/// An edgecore process; ended when dropped.
struct Edge {
    folder: Folder,
    child: Child,
}

impl Edge {
    fn start(cloud: &Cloud) -> Edge {
        let folder = Folder::new();
        let config = folder.path().join("edgecore.yaml");
        let (token, https, hub) = (cloud.ca.token(3600), cloud.https, cloud.hub);
        let yaml = format!(
            "modules:\n  edged:\n    hostnameOverride: waits\n  edgeHub:\n    token: {token}\n    \
             httpServer: https://127.0.0.1:{https}\n    websocket:\n      enable: true\n      \
             server: 127.0.0.1:{hub}\n"
        );
        fs::write(&config, yaml).unwrap();
        let child = Command::new(KUBEEDGE)
            .args(["edgecore", "--config"])
            .arg(&config)
            .env("KUBEEDGE_ROOT", folder.path())
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .expect("edgecore starts");
        Edge { folder, child }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("edgecore:\n{}", self.log());
        }
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}
