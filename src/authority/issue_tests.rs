//! Tests of `issue`: the recorded requests, and the rules one by one.

use std::time::Duration;

use super::*;
use crate::authority::testing::{Cloud, PLAIN, recorded, recorded_at};
use crate::pki::csr;
use crate::pki::issue::Issuer;
use crate::pki::issue::new_ca;
use crate::pki::key::PrivateKey;
use crate::store::testing::name;

fn node_csr(node: &str) -> (PrivateKey, Vec<u8>) {
    let key = PrivateKey::generate().unwrap();
    let csr = csr::create(&key, &Subject::node(&name(node))).unwrap();
    (key, csr)
}

fn legacy_subject() -> Subject {
    Subject {
        organization: Some("kubeEdge".to_owned()),
        common_name: Some("kubeedge.io".to_owned()),
        ..Subject::default()
    }
}

impl Cloud {
    fn ask(&self, node: &str, csr: &[u8], by: By<'_>) -> Result<Issued, Refusal> {
        let node = name(node);
        let request = IssueRequest {
            csr,
            node: &node,
            usages: None,
            by,
        };
        smol::block_on(self.authority.issue(&request))
    }

    fn join(&self, node: &str) -> Certificate {
        self.ask(node, &node_csr(node).1, By::Token(&PLAIN))
            .unwrap()
            .certificate
    }
}

/// The parts of a recorded request that matter here.
fn request(case: &str) -> (Option<String>, Option<String>, Vec<u8>) {
    let bytes = recorded(&format!("https-cases/{case}.req.bin"));
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.to_owned())
            .next()
    };
    (
        header("NodeName"),
        header("ExtKeyUsages"),
        bytes[end + 4..].to_vec(),
    )
}

fn answer(cloud: &Cloud, case: &str, by: By<'_>) -> (u16, Option<Certificate>) {
    let (node, usages, csr) = request(case);
    let Some(node) = node else {
        return (by.without_node_name().status(), None);
    };
    let node = name(&node);
    let request = IssueRequest {
        csr: &csr,
        node: &node,
        usages: usages.as_deref(),
        by,
    };
    match smol::block_on(cloud.authority.issue(&request)) {
        Ok(issued) => (200, Some(issued.certificate)),
        Err(refusal) => (refusal.status(), None),
    }
}

#[test]
fn recorded_requests_with_a_token_get_our_answers() {
    let cloud = Cloud::recorded();
    let table = [
        ("01-ok-token", 200),
        ("23-token-wrong-nodename", 403),
        ("24-token-no-nodename", 403),
        ("25-no-csr", 400),
        ("26-garbage-csr", 400),
        ("27-pem-csr", 400),
        ("28-csr-bad-signature", 400),
        ("29-csr-trailing-data", 400),
        ("30-csr-no-cn", 400),
        ("31-csr-no-org", 400),
        ("32-csr-org-system-masters", 400),
        ("33-csr-rsa", 400),
        ("34-csr-p384", 200),
        ("35-csr-with-san-and-ca", 200),
        ("37-extkeyusages-json-1-2", 200),
        ("38-extkeyusages-server", 400),
        ("39-extkeyusages-empty-list", 400),
        ("40-extkeyusages-any-0", 400),
        ("41-extkeyusages-99", 400),
        ("42-extkeyusages-garbage", 400),
    ];
    for (case, status) in table {
        let (answered, certificate) = answer(&cloud, case, By::Token(&PLAIN));
        assert_eq!(answered, status, "{case}");
        let Some(certificate) = certificate else {
            continue;
        };
        assert_eq!(
            certificate.subject(),
            Subject::node(&name("neg-node")),
            "{case}"
        );
        assert!(certificate.allows_client_auth() && !certificate.allows_server_auth());
        assert!(!certificate.is_ca(), "{case}");
        assert!(certificate.dns_names().is_empty() && certificate.ip_addresses().is_empty());
    }
}

#[test]
fn recorded_renewals_get_our_answers() {
    let table = [
        ("63-rotate-ok", 200),
        ("64-rotate-ok-tls12", 200),
        ("65-rotate-wrong-nodename-header", 401),
        ("66-rotate-no-nodename-header", 401),
        ("67-rotate-csr-for-another-node", 403),
        ("68-rotate-legacy-subject-kubeedge.io", 401),
        ("69-rotate-org-other", 401),
        ("70-rotate-no-org", 401),
        ("71-rotate-expired-cert", 401),
        ("72-rotate-not-yet-valid", 401),
        ("73-rotate-serverauth-only", 401),
        ("74-rotate-no-eku", 401),
        ("75-rotate-foreign-ca", 401),
        ("76-rotate-foreign-cert-with-good-token", 401),
    ];
    for (case, status) in table {
        // Each of a node that nothing is known of.
        let cloud = Cloud::recorded();
        let client = recorded(&format!("https-cases/{case}.client.pem"));
        let client = Certificate::from_pem(&client).unwrap();
        assert_eq!(
            answer(&cloud, case, By::Certificate(&client)).0,
            status,
            "{case}"
        );
    }
}

#[test]
fn a_certificate_is_backdated_and_lives_as_long_as_configured() {
    let cloud = Cloud::new(|options| options.lifetime = Duration::from_secs(7200));
    let certificate = cloud.join("a");
    assert_eq!(
        certificate.not_before(),
        recorded_at().minus(Duration::from_secs(300))
    );
    assert_eq!(
        certificate.not_after(),
        recorded_at().plus(Duration::from_secs(7200))
    );
    let record = smol::block_on(cloud.authority.store().node(&name("a")))
        .unwrap()
        .unwrap();
    assert_eq!(record.not_after, certificate.not_after());
    assert_eq!(record.serial, certificate.serial());
    assert_eq!(record.key_hash, certificate.spki_hash());
}

#[test]
fn no_certificate_outlives_the_ca() {
    let cloud = Cloud::new(|_| ());
    let end = cloud.authority.ca().not_after();
    cloud.hand.set(end.minus(Duration::from_secs(60)));
    assert_eq!(cloud.join("a").not_after(), end);
    cloud.hand.set(end);
    let refusal = cloud
        .ask("a", &node_csr("a").1, By::Token(&PLAIN))
        .unwrap_err();
    assert_eq!((refusal.status(), refusal.reason()), (500, "signing"));
}

#[test]
fn an_old_edge_gets_a_subject_of_its_own_and_renews_with_it() {
    let cloud = Cloud::new(|_| ());
    let key = PrivateKey::generate().unwrap();
    let csr = csr::create(&key, &legacy_subject()).unwrap();
    let first = cloud
        .ask("old-1", &csr, By::Token(&PLAIN))
        .unwrap()
        .certificate;
    assert_eq!(first.subject(), Subject::node(&name("old-1")));
    let renewed = cloud.ask("old-1", &csr, By::Certificate(&first)).unwrap();
    assert_eq!(renewed.certificate.subject(), Subject::node(&name("old-1")));
    let refusal = cloud
        .ask("old-2", &csr, By::Certificate(&first))
        .unwrap_err();
    assert_eq!(refusal.status(), 401);
}

#[test]
fn legacy_certificates_count_as_far_as_the_operator_says() {
    for (allowed, known, unknown) in [
        (LegacyCertificates::Refused, 401, 401),
        (LegacyCertificates::Rotate, 200, 401),
        (LegacyCertificates::Full, 200, 200),
    ] {
        let cloud = Cloud::new(|options| options.legacy = allowed);
        cloud.join("known");
        let key = PrivateKey::generate().unwrap();
        let (from, end) = (recorded_at(), recorded_at().plus(Duration::from_secs(60)));
        let standing = cloud.authority.standing();
        let issuer = &standing.issuer;
        let legacy = issuer
            .client(key.spki(), &legacy_subject(), from, end)
            .unwrap();
        let csr = csr::create(&key, &legacy_subject()).unwrap();
        for (node, expected) in [("known", known), ("unknown", unknown)] {
            let asked = cloud.ask(node, &csr, By::Certificate(&legacy));
            let status = asked.as_ref().map_or_else(Refusal::status, |_| 200);
            assert_eq!(status, expected, "{allowed:?} {node}");
        }
        cloud.hand.set(end.plus(Duration::from_secs(1)));
        let refusal = cloud
            .ask("known", &csr, By::Certificate(&legacy))
            .unwrap_err();
        assert_eq!(refusal.status(), 401, "expired");
    }
}

#[test]
fn a_token_replaces_the_key_unless_names_are_protected() {
    let cloud = Cloud::new(|_| ());
    let first = cloud.join("a");
    let issued = cloud.ask("a", &node_csr("a").1, By::Token(&PLAIN)).unwrap();
    assert!(issued.replaces_key());
    assert_eq!(issued.replaced.unwrap().key_hash, first.spki_hash());

    let cloud = Cloud::new(|options| options.protect_names = true);
    let (_, csr) = node_csr("a");
    let first = cloud.ask("a", &csr, By::Token(&PLAIN)).unwrap().certificate;
    let again = cloud.ask("a", &csr, By::Token(&PLAIN)).unwrap();
    assert!(!again.replaces_key(), "the same key may enroll again");
    let refusal = cloud
        .ask("a", &node_csr("a").1, By::Token(&PLAIN))
        .unwrap_err();
    assert_eq!((refusal.status(), refusal.reason()), (409, "name-taken"));
    let renewed = cloud
        .ask("a", &node_csr("a").1, By::Certificate(&first))
        .unwrap();
    cloud.hand.set(renewed.certificate.not_after());
    cloud.ask("a", &node_csr("a").1, By::Token(&PLAIN)).unwrap();
}

#[test]
fn what_has_ended_is_renewed_for_the_same_key_when_the_operator_allows() {
    const DAY: Duration = Duration::from_secs(86_400);
    let lenient = |options: &mut crate::authority::Options| {
        options.lifetime = DAY;
        options.renew_after_expiry = Some(30 * DAY);
    };
    let renew = |cloud: &Cloud, node: &str, certificate: &Certificate| {
        cloud.ask(node, &node_csr(node).1, By::Certificate(certificate))
    };
    let cloud = Cloud::new(lenient);
    let [a, b] = ["a", "b"].map(|node| cloud.join(node));
    let renewed = renew(&cloud, "b", &b).unwrap();
    assert_eq!(renewed.late, None);
    smol::block_on(
        cloud
            .authority
            .settle(&renewed.certificate, &name("b"), None),
    )
    .unwrap();
    cloud.hand.set(a.not_after().plus(30 * DAY));
    let refusal = renew(&cloud, "b", &b).unwrap_err();
    assert_eq!((refusal.status(), refusal.reason()), (401, "late-key"));
    let refusal = renew(&cloud, "b", &a).unwrap_err();
    assert_eq!(refusal.reason(), "certificate-name");
    let issued = renew(&cloud, "a", &a).unwrap();
    assert_eq!(issued.late, Some(30 * DAY));
    assert!(issued.certificate.not_after() > cloud.authority.clock().now());
    // The answer may not have arrived; once the new key has shown itself, the old one is done for.
    let again = renew(&cloud, "a", &a).unwrap().certificate;
    smol::block_on(cloud.authority.settle(&again, &name("a"), None)).unwrap();
    assert_eq!(renew(&cloud, "a", &a).unwrap_err().reason(), "late-key");

    let cloud = Cloud::new(lenient);
    let a = cloud.join("a");
    cloud
        .hand
        .set(a.not_after().plus(30 * DAY).plus(Duration::from_secs(1)));
    assert_eq!(renew(&cloud, "a", &a).unwrap_err().reason(), "certificate");
    cloud.hand.set(a.not_before().minus(DAY));
    assert_eq!(renew(&cloud, "a", &a).unwrap_err().reason(), "certificate");

    // A node that was forgotten needs a token, and so does everybody by default.
    let cloud = Cloud::new(lenient);
    let a = cloud.join("a");
    smol::block_on(cloud.authority.store().remove_node(&name("a"))).unwrap();
    cloud.hand.set(a.not_after().plus(DAY));
    assert_eq!(renew(&cloud, "a", &a).unwrap_err().reason(), "late-key");
    let cloud = Cloud::new(|options| options.lifetime = DAY);
    let a = cloud.join("a");
    cloud.hand.set(a.not_after().plus(Duration::from_secs(1)));
    assert_eq!(renew(&cloud, "a", &a).unwrap_err().reason(), "certificate");

    // What was revoked is not renewed, late or not.
    let cloud = Cloud::new(lenient);
    let a = cloud.join("a");
    let (store, now) = (cloud.authority.store(), cloud.authority.clock().now());
    smol::block_on(crate::authority::holder::revoke(
        &**store,
        &[name("a")],
        now,
    ))
    .unwrap();
    for later in [Duration::ZERO, 2 * DAY] {
        cloud.hand.set(now.plus(later));
        assert_eq!(renew(&cloud, "a", &a).unwrap_err().reason(), "revoked");
    }

    // Certificates that name no node, and those of others' CAs, are no better for the grace.
    let cloud = Cloud::new(|options| {
        lenient(options);
        options.legacy = LegacyCertificates::Full;
    });
    cloud.join("a");
    let (key, now) = (PrivateKey::generate().unwrap(), recorded_at());
    let (ca, ca_key) = new_ca(now).unwrap();
    let other = Issuer::new(ca, ca_key).unwrap();
    for (issuer, subject) in [
        (&cloud.authority.standing().issuer, legacy_subject()),
        (&other, Subject::node(&name("a"))),
    ] {
        let ended = issuer.client(key.spki(), &subject, now, now.plus(DAY));
        cloud.hand.set(now.plus(2 * DAY));
        let refusal = renew(&cloud, "a", &ended.unwrap()).unwrap_err();
        assert_eq!(refusal.reason(), "certificate");
    }
}

#[test]
fn a_name_is_taken_for_all_but_its_key() {
    let cloud = Cloud::new(|_| ());
    let taken = |node: &str, caller: Option<&Certificate>| {
        smol::block_on(cloud.authority.is_taken(&name(node), caller)).unwrap()
    };
    assert!(!taken("a", None));
    let (a, b) = (cloud.join("a"), cloud.join("b"));
    assert!(taken("a", None));
    assert!(taken("a", Some(&b)));
    assert!(!taken("a", Some(&a)));
}

#[test]
fn a_certificate_of_another_ca_with_the_same_name_proves_nothing() {
    let cloud = Cloud::new(|_| ());
    let (ca, key) = new_ca(recorded_at()).unwrap();
    let other = Issuer::new(ca, key).unwrap();
    let end = recorded_at().plus(Duration::from_secs(60));
    let key = PrivateKey::generate().unwrap();
    let subject = Subject::node(&name("a"));
    let foreign = other
        .client(key.spki(), &subject, recorded_at(), end)
        .unwrap();
    let authorize =
        |certificate: &Certificate, now| cloud.authority.check_name(certificate, &name("a"), now);
    assert!(matches!(
        authorize(&foreign, recorded_at()),
        Err(Refusal::Certificate(_))
    ));
    let ours = cloud.join("a");
    assert!(authorize(&ours, recorded_at()).is_ok());
    let late = ours.not_after().plus(Duration::from_secs(1));
    assert!(matches!(
        authorize(&ours, late),
        Err(Refusal::Certificate(_))
    ));
    assert!(matches!(
        authorize(&cloud.join("b"), recorded_at()),
        Err(Refusal::CertificateName)
    ));
}
