//! Captive portals: named, never given a token, and forgotten when the network is open.

use kubeedge::protocol::control::EdgeState;

use crate::between::Between;
use crate::common::cloud::Cloud;
use crate::common::device::{BOOTSTRAP, CONFIG, Device};
use crate::common::site::{Cloudcore, Site};
use crate::common::{figures, files_below};

/// What a portal does, whether it says where it is, and a part of what it is taken for.
const PORTALS: &[(&str, bool, &str)] = &[
    ("tls-redirect", true, "302, a redirect"),
    ("tls-see-other", false, "303, a redirect"),
    ("tls-page", false, "with a page"),
    ("tls-bare-page", false, "with a page"),
    ("tls-511", false, "511, it wants a login"),
    ("plain-redirect", true, "302, in plain HTTP"),
    ("plain-page", false, "200, in plain HTTP"),
    ("plain-511", false, "511, it wants a login"),
    ("plain-400", false, "400, in plain HTTP"),
];

/// The part of a sentence that names the portal.
fn named(port: u16, elsewhere: bool) -> String {
    match elsewhere {
        true => "a portal at login.hotel.example:8080 answers instead of the cloud".to_owned(),
        false => format!("a portal at 127.0.0.1:{port} answers instead of the cloud"),
    }
}

/// Nobody in between was told a secret.
fn told_nothing(between: &mut Between, token: &str) {
    let secret = token.split('.').next_back().expect("a signature");
    for said in between.met() {
        assert!(!said.contains(secret) && !said.contains("Bearer"), "{said}");
    }
}

#[test]
fn a_join_behind_a_portal_says_so_and_changes_nothing() {
    let cloud = Cloudcore::start(&[]);
    let mut between = Between::start(cloud.https, cloud.hub);
    let site = Site::new();
    let (hub, api) = (format!("127.0.0.1:{}", between.hub), between.https);
    let token = cloud.token_file();
    let join = || site.join(&hub, api, &token, "guest", &[]);
    let secret = std::fs::read_to_string(&token).expect("the token");
    for (mode, elsewhere, how) in PORTALS {
        between.be(mode);
        let fault = join().ends(69).fault("kubeedge join");
        let name = named(between.https, *elsewhere);
        assert!(fault.contains(&name) && fault.contains(how), "{fault}");
        told_nothing(&mut between, &secret);
        assert_eq!(site.files(), [], "{mode}");
    }
    // Only in front of the hub: the API has shown the right CA by then.
    between.be("wire");
    between.be("plain-redirect hub");
    let fault = join().ends(69).fault("kubeedge join");
    assert!(fault.contains(&named(0, true)), "{fault}");
    assert_eq!(site.files(), []);
    between.be("wire");
    join().ends(0);
    site.connected();
    figures::tried(
        "network-portals-join",
        "joins behind a captive portal, which was named",
        PORTALS.len() + 1,
    );
}

#[test]
fn a_device_behind_a_portal_keeps_its_token_and_enrols_when_the_portal_is_gone() {
    let cloud = Cloud::start(&[]);
    let token = cloud.token();
    let mut between = Between::start(cloud.https, cloud.hub);
    let device = Device::new("edge-1");
    between.be("plain-page");
    device.configure_at(between.https, between.hub, &token);
    let edge = device.start();
    for (mode, elsewhere, how) in PORTALS {
        between.be(mode);
        edge.order("reload");
        between.meets("https");
        // What is said twice is said of this mode: the first may have begun before.
        edge.order("reload");
        let status = edge.complains(how);
        let problem = status.last_error.expect("a problem");
        assert!(
            problem.message.contains(&named(between.https, *elsewhere)),
            "{mode}: {problem:?}"
        );
        assert!(problem.retryable, "{mode}");
        assert_eq!(status.state, EdgeState::Enrolling, "{mode}");
        told_nothing(&mut between, &token);
        assert!(device.read(CONFIG).contains(&token), "{mode}");
        // A hidden file is one that is just being tried to be written, to know that it can be.
        let mut files = files_below(&device.path("/etc/kubeedge/certs"));
        let is_hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().first() == Some(&b'.');
        files.retain(|(path, _)| path.file_name().is_some_and(|name| !is_hidden(name)));
        assert_eq!(files, []);
    }
    let log = edge.log();
    assert!(log.contains("a portal at") && !log.contains(&token));
    between.be("wire");
    edge.order("reload");
    let status = edge.connected();
    assert_eq!(status.last_error, None);
    assert!(!device.read(CONFIG).contains(&token) && !device.path(BOOTSTRAP).exists());
    edge.stop();
    cloud.satisfied();
    figures::tried(
        "network-portals-enrol",
        "captive portals that a device without an identity met",
        PORTALS.len(),
    );
}

#[test]
fn a_device_that_moves_behind_a_portal_is_back_when_it_is_let_through() {
    let cloud = Cloud::start(&[]);
    let mut between = Between::start(cloud.https, cloud.hub);
    let device = Device::new("edge-1");
    device.configure_at(between.https, between.hub, &cloud.token());
    let edge = device.start();
    edge.connected();
    let identity = || files_below(&device.path("/etc/kubeedge/certs"));
    let before = identity();
    let mut sessions = 1;
    for (mode, elsewhere, how) in PORTALS {
        between.be(mode);
        edge.until("the end of the session", |status| status.session.is_none());
        edge.order("reload");
        between.meets("hub");
        edge.order("reload");
        let status = edge.complains(how);
        let message = status.last_error.expect("a problem").message;
        // Behind TLS it is the certificate API's port that tells; the hub's shows a certificate only.
        let port = match mode.starts_with("tls") {
            true => between.https,
            false => between.hub,
        };
        assert!(
            message.contains(&named(port, *elsewhere)),
            "{mode}: {message}"
        );
        assert_eq!(status.state, EdgeState::Connecting, "{mode}");
        let renewal = edge.order("renew").error.expect("it can't be renewed");
        assert!(
            renewal.contains(&named(between.https, *elsewhere)) && renewal.contains(how),
            "{mode}: {renewal}"
        );
        assert_eq!(identity(), before, "{mode}");
        // `keadm status` says the same.
        let said = device.run(&["status"]);
        assert!(said.out.contains("a portal at"), "{said:?}");
        between.be("wire");
        edge.order("reload");
        let status = edge.connected();
        let session = status.session.expect("it is up").generation;
        assert!(session > sessions && status.last_error.is_none(), "{mode}");
        sessions = session;
    }
    assert_eq!(edge.order("renew").error, None);
    edge.stop();
    cloud.satisfied();
    figures::tried(
        "network-portals-tunnel",
        "captive portals that came between a device and its cloud",
        PORTALS.len(),
    );
}
