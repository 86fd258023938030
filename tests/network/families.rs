//! A device without IPv4, and one whose cloud has an IPv6 address that nobody answers at.

use std::fs;
use std::time::{Duration, Instant};

use crate::common::cloud::Cloud;
use crate::common::device::Device;
use crate::common::figures;
use crate::common::site::{Cloudcore, Site};
use crate::namespace::{Elsewhere, here, run};

#[test]
fn ipv6_alone_is_enough() {
    run("families::without_ipv4");
}

#[test]
fn a_dead_ipv6_address_costs_little() {
    run("families::with_a_dead_address");
}

/// Takes IPv4 away, loopback's too.
fn no_ipv4(elsewhere: &Elsewhere) {
    here("ip addr del 127.0.0.1/8 dev lo");
    elsewhere.there("ip addr del 127.0.0.1/8 dev lo");
    let left = std::process::Command::new("ip")
        .args(["-4", "-o", "addr"])
        .output();
    assert!(left.expect("ip starts").stdout.is_empty(), "IPv4 is left");
}

#[test]
#[ignore = "it changes its own addresses: a test above runs it in namespaces"]
fn without_ipv4() {
    let elsewhere = Elsewhere::new();
    elsewhere.line("up1");
    elsewhere.there("ip -6 addr add fd00:77::1/64 dev up1 nodad");
    here("ip -6 addr add fd00:77::2/64 dev up1 nodad");
    no_ipv4(&elsewhere);

    // Our own cloud, and a join as a person does it.
    let cloud = Cloudcore::start_as(|words| {
        let within = elsewhere.within();
        let words = words.iter().map(|word| match *word {
            "127.0.0.1" => "fd00:77::1",
            word => word,
        });
        let mut command = std::process::Command::new(within[0]);
        command
            .args(&within[1..])
            .arg(crate::common::KUBEEDGE)
            .args(words);
        command
    });
    let site = Site::new();
    let hub = format!("[fd00:77::1]:{}", cloud.hub);
    let joined = site.join(&hub, cloud.https, &cloud.token_file(), "six", &[]);
    joined.ends(0);
    assert_eq!(site.connected().session.expect("a session").peer, hub);
    site.run(&["certs", "renew"]).ends(0);
    let said = site.run(&["status"]).ends(0);
    assert!(said.out.contains("[fd00:77::1]"), "{}", said.out);

    // KubeEdge's, which judges what it gets.
    let mut cloud = Cloud::start_within(&elsewhere.within(), &["--bind", "fd00:77::1"]);
    let device = Device::new("edge-1");
    device.configure(&cloud, &cloud.token());
    let edge = device.start();
    let event = cloud.event("connect");
    assert_eq!(event["peer"], "fd00:77::2");
    edge.connected();
    assert_eq!(edge.order("renew").error, None);
    edge.stop();
    cloud.satisfied();
    figures::tried(
        "network-ipv6",
        "clouds joined from a device without IPv4",
        2,
    );
}

/// Seconds that the dead address may cost, with everything else that a join does.
const LITTLE: Duration = Duration::from_secs(15);

#[test]
#[ignore = "it changes its own addresses: a test above runs it in namespaces"]
fn with_a_dead_address() {
    let elsewhere = Elsewhere::new();
    elsewhere.line("up1");
    elsewhere.there("ip addr add 10.77.1.1/24 dev up1");
    here("ip addr add 10.77.1.2/24 dev up1");
    here("ip -6 addr add fd00:77::2/64 dev up1 nodad");
    // Somebody has the address as far as this device can see, and nobody answers.
    here("ip -6 neigh add fd00:77::dead lladdr 02:00:00:00:00:99 dev up1");
    let folder = crate::common::Folder::new();
    let hosts = folder.path().join("hosts");
    fs::write(&hosts, "fd00:77::dead cloud.test\n10.77.1.1 cloud.test\n").expect("a file");
    here("mount --make-rprivate /");
    here(&format!("mount --bind {} /etc/hosts", hosts.display()));

    let options = ["--bind", "10.77.1.1", "--dns", "cloud.test"];
    let mut cloud = Cloud::start_within(&elsewhere.within(), &options);
    // The dead one is really there, and in the way.
    let found: Vec<_> = std::net::ToSocketAddrs::to_socket_addrs("cloud.test:1")
        .expect("the name is found")
        .collect();
    assert!(
        found.len() >= 2 && found.iter().any(|it| it.is_ipv6()),
        "{found:?}"
    );
    cloud.host = "cloud.test".to_owned();
    let device = Device::new("edge-1");
    device.configure(&cloud, &cloud.token());
    let since = Instant::now();
    let edge = device.start();
    let event = cloud.event("connect");
    let took = since.elapsed();
    assert_eq!(event["peer"], "10.77.1.2");
    assert!(took < LITTLE, "{took:?}");
    println!("enrolled and connected past a dead IPv6 address in {took:?}");
    edge.connected();
    edge.stop();
    cloud.satisfied();
    figures::tried(
        "network-dead-ipv6",
        "names with a dead IPv6 address, passed by",
        1,
    );
}
