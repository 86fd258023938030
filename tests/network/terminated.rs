//! A box that ends TLS between a device and its cloud: named with the certificate that it shows, and told nothing.

use kubeedge::protocol::control::EdgeState;

use crate::between::Between;
use crate::common::cloud::Cloud;
use crate::common::device::{CONFIG, Device};
use crate::common::site::{Cloudcore, Site};
use crate::common::{figures, files_below};

fn named(port: u16) -> String {
    format!(
        "something terminates TLS in between: 127.0.0.1:{port} shows a certificate of \
         \"firewall.acme.example\" by \"Acme Inspection CA\", which is not by the cluster's CA"
    )
}

#[test]
fn a_join_through_a_box_that_ends_tls_says_whose_it_is() {
    let cloud = Cloudcore::start(&[]);
    let mut between = Between::start(cloud.https, cloud.hub);
    let (hub, api) = (format!("127.0.0.1:{}", between.hub), between.https);
    let token = cloud.token_file();
    let secret = std::fs::read_to_string(&token).expect("the token");
    let site = Site::new();
    let join = || site.join(&hub, api, &token, "guest", &[]);
    for (mode, port) in [
        ("terminate", between.https),
        ("terminate hub", between.hub),
        ("terminate https", between.https),
    ] {
        between.be("wire");
        between.be(mode);
        let fault = join().ends(77).fault("kubeedge join");
        assert!(fault.contains(&named(port)), "{mode}: {fault}");
        assert_eq!(site.files(), [], "{mode}");
        let heard = between.met().concat();
        assert!(
            !heard.contains("Bearer") && !heard.contains(&secret),
            "{heard}"
        );
    }
}

#[test]
fn a_device_behind_a_box_that_ends_tls_gives_nothing_away_and_recovers() {
    let cloud = Cloud::start(&[]);
    let token = cloud.token();
    let mut between = Between::start(cloud.https, cloud.hub);
    let device = Device::new("edge-1");
    between.be("terminate");
    device.configure_at(between.https, between.hub, &token);
    let edge = device.start();
    // The CA comes through, and is the one that the token pins; the box's certificate is not by it.
    let status = edge.complains(&named(between.https));
    assert_eq!(status.state, EdgeState::Enrolling);
    let heard = between.met().concat();
    assert!(
        heard.contains("GET /ca.crt"),
        "it was not in between: {heard}"
    );
    assert!(!heard.contains("Bearer") && !heard.contains(&token));
    assert!(device.read(CONFIG).contains(&token));
    assert_eq!(files_below(&device.path("/etc/kubeedge/certs")), []);

    between.be("wire");
    edge.order("reload");
    edge.connected();
    let identity = files_below(&device.path("/etc/kubeedge"));
    for mode in ["terminate", "terminate hub"] {
        between.be(mode);
        edge.order("reload");
        let status = edge.complains(&named(between.hub));
        assert_eq!(status.state, EdgeState::Connecting, "{mode}");
        assert!(status.last_error.expect("a problem").retryable);
        between.be("wire");
        edge.order("reload");
        assert_eq!(edge.connected().last_error, None, "{mode}");
    }
    between.be("terminate https");
    edge.order("reload");
    let refused = edge.order("renew").error.expect("it can't be renewed");
    assert!(refused.contains(&named(between.https)), "{refused}");
    assert_eq!(files_below(&device.path("/etc/kubeedge")), identity);
    let heard = between.met().concat();
    assert!(!heard.contains("/edge.crt"), "{heard}");
    between.be("wire");
    assert_eq!(edge.order("renew").error, None);
    edge.stop();
    cloud.satisfied();
    figures::tried(
        "network-terminated",
        "places where TLS was ended in between, each named with the certificate shown",
        7,
    );
}
