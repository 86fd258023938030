//! A request of ours against one of upstream's edgecore, field by field.

use std::collections::BTreeSet;

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::recorded::Request;
use crate::pki::csr::Csr;

/// Compares two requests; returns the listed headers in which they differ.
pub fn compare(what: &str, recorded: &Request, ours: &Request) -> BTreeSet<&'static str> {
    assert_eq!(ours.method, recorded.method, "{what}");
    assert_eq!(ours.path, recorded.path, "{what}");
    let known = |name: &str| DIFFERENT.iter().any(|(different, _)| *different == name);
    let relevant = |request: &Request| {
        let mut headers = request.headers.clone();
        headers.retain(|(name, _)| !known(name));
        headers
    };
    assert_eq!(relevant(ours), relevant(recorded), "{what}");
    assert_eq!(ours.body.is_empty(), recorded.body.is_empty(), "{what}");
    if !ours.body.is_empty() {
        compare_csr(what, &recorded.body, &ours.body);
    }
    let names = DIFFERENT.iter().map(|(name, _)| *name);
    names
        .filter(|name| recorded.header(name) != ours.header(name))
        .collect()
}

fn compare_csr(what: &str, recorded: &[u8], ours: &[u8]) {
    // Both signatures are verified by this.
    let (theirs, mine) = (Csr::parse(recorded).unwrap(), Csr::parse(ours).unwrap());
    if theirs.subject().is_legacy_edge() {
        // Before v1.16 every edge asked for one and the same name; we ask for our own.
        assert!(what.starts_with("v1.13"), "{what}");
    } else {
        assert_eq!(mine.subject().organization, theirs.subject().organization);
        assert_eq!(mine.subject().common_name, theirs.subject().common_name);
    }
    // Where a device stands is nobody's business, and upstream's cloud drops it.
    let subject = mine.subject();
    assert_eq!((&subject.country, &subject.locality), (&None, &None));
    assert_eq!(subject.province, None);
    let [theirs, mine] = [recorded, ours].map(|der| {
        let (rest, csr) = X509CertificationRequest::from_der(der).unwrap();
        assert!(rest.is_empty());
        csr
    });
    assert_eq!(
        mine.signature_algorithm.algorithm,
        theirs.signature_algorithm.algorithm
    );
    let algorithm = |csr: &X509CertificationRequest<'_>| {
        csr.certification_request_info
            .subject_pki
            .algorithm
            .algorithm
            .to_id_string()
    };
    assert_eq!(algorithm(&mine), algorithm(&theirs));
    let attributes = mine.certification_request_info.iter_attributes().count();
    assert_eq!(attributes, 0, "{what}: no extension is asked for");
}

/// Headers in which our requests differ, and why. Every other one is the same to the letter.
pub const DIFFERENT: &[(&str, &str)] = &[
    ("host", "the port of the test"),
    ("user-agent", "an edge need not say what it is made of"),
    ("accept", "the client library's; nothing depends on it"),
    ("accept-encoding", "no compressed answer is wanted"),
    ("content-length", "our request names no country and no town"),
    ("sec-websocket-key", "random"),
];
