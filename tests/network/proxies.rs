//! Through an HTTP proxy: join, certificate, tunnel and renewal, and every way in which it can fail.

use std::net::TcpListener;

use kubeedge::config::{self, edit};
use serde_json::Value;

use crate::common::device::CONFIG;
use crate::common::site::{Cloudcore, Said, Site};
use crate::common::{figures, files_below, mode, not_tried};
use crate::tinyproxy::Tinyproxy;

const CREDENTIALS: &str = "/etc/kubeedge/proxy-credentials";

/// A join with our own cloud, and further words.
fn join(site: &Site, cloud: &Cloudcore, more: &[&str]) -> Said {
    let (hub, api) = (format!("127.0.0.1:{}", cloud.hub), cloud.https.to_string());
    let token = cloud.token_file();
    let words = ["join", "-e", &hub, "-s", &api, "--token-file", &token];
    site.run(&[&words, more].concat())
}

fn key(site: &Site, name: &str) -> Option<Value> {
    let path = config::path(&format!("modules.edgeHub.{name}"));
    edit::get(&site.read(CONFIG), &path).expect("YAML")
}

#[test]
fn a_device_joins_and_renews_through_a_proxy_that_wants_a_password() {
    let cloud = Cloudcore::start(&[]);
    let proxy = Tinyproxy::start("BasicAuth barn s3cretWord");
    let (api, hub) = (
        format!("127.0.0.1:{}", cloud.https),
        format!("127.0.0.1:{}", cloud.hub),
    );
    let site = Site::new();
    let url = format!("http://barn:s3cretWord@{}", proxy.address);
    let said = join(&site, &cloud, &["-i", "barn", "--proxy", &url, "-v", "4"]).ends(0);
    let status = site.connected();
    let peer = format!("{hub} through the proxy {}", proxy.address);
    assert_eq!(status.session.expect("a session").peer, peer);
    // Preflight, CA and certificate; the preflight's look at the hub, and the tunnel.
    assert!(proxy.opened(&api) >= 4, "{}", proxy.opened(&api));
    assert!(proxy.opened(&hub) >= 2, "{}", proxy.opened(&hub));

    // The password is in one place, which only root reads.
    assert_eq!(mode(&site.path(CREDENTIALS)), 0o600);
    assert_eq!(site.read(CREDENTIALS), "barn:s3cretWord\n");
    assert_eq!(
        key(&site, "proxy"),
        Some(format!("http://{}", proxy.address).into())
    );
    for (path, content) in files_below(&site.path("/")) {
        let text = String::from_utf8_lossy(&content);
        let is_home = path == site.path(CREDENTIALS);
        assert!(
            is_home || !text.contains("s3cretWord"),
            "{}",
            path.display()
        );
    }
    for file in ["cmdline", "environ"] {
        let text = std::fs::read(format!("/proc/{}/{file}", status.pid)).expect("edgecore runs");
        assert!(
            !String::from_utf8_lossy(&text).contains("s3cretWord"),
            "{file}"
        );
    }
    assert!(!said.err.contains("s3cretWord") && !said.out.contains("s3cretWord"));

    let before = (proxy.opened(&api), proxy.opened(&hub));
    site.run(&["certs", "renew"]).ends(0);
    let until = std::time::Instant::now() + crate::common::LIMIT;
    while proxy.opened(&hub) == before.1 {
        assert!(
            std::time::Instant::now() < until,
            "no tunnel with the new certificate"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(proxy.opened(&api) > before.0);

    // The same again changes nothing; another password, or none, is another way.
    let same = join(&site, &cloud, &["-i", "barn", "--proxy", &url]).ends(0);
    assert!(same.out.contains("already"), "{}", same.out);
    let wrong = format!("http://barn:other@{}", proxy.address);
    let refused = join(&site, &cloud, &["-i", "barn", "--proxy", &wrong]).ends(69);
    let fault = refused.fault("kubeedge join");
    assert!(
        fault.contains("refuses the user or the password"),
        "{fault}"
    );
    assert_eq!(site.read(CREDENTIALS), "barn:s3cretWord\n");

    let direct = join(&site, &cloud, &["-i", "barn", "--proxy", "none"]).ends(0);
    assert!(direct.out.contains("is connected"), "{}", direct.out);
    assert_eq!(site.connected().session.expect("a session").peer, hub);
    assert_eq!(key(&site, "proxy"), Some("none".into()));
}

#[test]
fn every_fault_of_a_proxy_is_one_sentence() {
    let cloud = Cloudcore::start(&[]);
    let open = Tinyproxy::start("");
    let locked = Tinyproxy::start("BasicAuth a b");
    let narrow = Tinyproxy::start("ConnectPort 443");
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").to_string()
    };
    let hub = format!("127.0.0.1:{}", cloud.hub);
    let (token, dead) = (
        cloud.token_file(),
        closed.rsplit(':').next().expect("a port"),
    );
    let mut cases = 0;
    let mut fails = |proxy: &str, api: &str, code: i32, part: String| {
        let site = Site::new();
        let words = [
            "join",
            "-e",
            &hub,
            "-s",
            api,
            "--token-file",
            &token,
            "--proxy",
            proxy,
        ];
        let fault = site.run(&words).ends(code).fault("kubeedge join");
        assert!(fault.contains(&part), "{fault}");
        assert!(!site.has("/etc/kubeedge"), "something was left");
        cases += 1;
    };
    let api = cloud.https.to_string();
    let at = |proxy: &Tinyproxy| format!("the proxy at {} ", proxy.address);
    fails(
        &closed,
        &api,
        69,
        format!("no way to the proxy at {closed}: cannot connect"),
    );
    fails(
        &locked.address,
        &api,
        69,
        at(&locked) + "wants a user and a password (407)",
    );
    fails(
        &format!("http://a:c@{}", locked.address),
        &api,
        69,
        at(&locked) + "refuses the user or the password",
    );
    fails(
        &narrow.address,
        &api,
        69,
        at(&narrow) + &format!("refuses the way to 127.0.0.1:{api} (403"),
    );
    fails(
        &open.address,
        dead,
        69,
        at(&open) + &format!("finds no way to 127.0.0.1:{dead} (50"),
    );
    // A server that is no proxy: TLS, which answers no CONNECT.
    let hub_as_proxy = format!("http://127.0.0.1:{}", cloud.https);
    fails(
        &hub_as_proxy,
        &api,
        69,
        format!("the proxy at 127.0.0.1:{api} "),
    );
    fails(
        "socks5://127.0.0.1:1",
        &api,
        64,
        "--proxy: a proxy of the kind \"socks5\"".to_owned(),
    );
    figures::tried(
        "network-proxy-faults",
        "faults of a proxy named in one sentence",
        cases,
    );
}

#[test]
fn a_password_does_not_belong_into_the_configuration() {
    let cloud = Cloudcore::start(&[]);
    let site = Site::new();
    let set = "modules.edgeHub.proxy=http://u:hidden@127.0.0.1:1";
    let refused = join(&site, &cloud, &["--set", set]).ends(78);
    let fault = refused.fault("kubeedge join");
    assert!(
        fault.contains("proxy-credentials") && !fault.contains("hidden"),
        "{fault}"
    );
}

#[test]
fn the_proxy_of_the_environment_is_kept_for_the_service() {
    // Loopback is never dialled through a proxy of the environment, so this needs another address.
    let Some(own) = kubeedge::system::network::local_addresses()
        .into_iter()
        .find(|address| address.is_ipv4() && !address.is_loopback())
    else {
        not_tried("the proxy of the environment: there is no address but loopback");
        return;
    };
    let own = own.to_string();
    let cloud = Cloudcore::start(&["--listen", &own]);
    let proxy = Tinyproxy::start("");
    let (hub, api) = (format!("{own}:{}", cloud.hub), cloud.https.to_string());
    let token = cloud.token_file();
    let words = ["join", "-e", &hub, "-s", &api, "--token-file", &token, "-i"];
    let url = format!("http://{}", proxy.address);
    let joined = |name: &str, except: &str| {
        let site = Site::new();
        let mut command = site.command(&[&words[..], &[name]].concat());
        command.env("HTTPS_PROXY", &url).env("NO_PROXY", except);
        Said::of(command.output()).ends(0);
        let peer = site.connected().session.expect("a session").peer;
        (site, peer)
    };
    let (site, peer) = joined("one", "198.51.100.0/24,.lan");
    assert_eq!(peer, format!("{hub} through the proxy {}", proxy.address));
    assert_eq!(key(&site, "proxy"), Some(url.clone().into()));
    let kept = key(&site, "noProxy").expect("a list");
    assert_eq!(kept[0], "198.51.100.0/24");
    assert_eq!(kept[1], ".lan");
    // What NO_PROXY spares goes directly, and nothing is kept.
    let (site, peer) = joined("two", &format!("{own}/32"));
    assert_eq!((peer.as_str(), key(&site, "proxy")), (hub.as_str(), None));
}
