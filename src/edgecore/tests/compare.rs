//! A request of ours against one of upstream's edgecore, field by field.

use std::collections::BTreeSet;

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
    assert_eq!(frame(mine.spki(), ours), frame(theirs.spki(), recorded));
}

/// The bytes before the point of the key, and those between the key and the signature: the curve,
/// the attributes (none, so no extension is asked for) and the algorithm of the signature.
fn frame(spki: &[u8], csr: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let at = csr.windows(spki.len()).position(|w| w == spki).unwrap();
    let behind = &csr[at + spki.len()..];
    (spki[..CURVE].to_owned(), behind[..ALGORITHM].to_owned())
}

/// Bytes of a P-256 key's head.
const CURVE: usize = 26;
/// Bytes of an empty set of attributes and of the name of ECDSA with SHA-256.
const ALGORITHM: usize = 14;

/// Headers in which our requests differ, and why. Every other one is the same to the letter.
pub const DIFFERENT: &[(&str, &str)] = &[
    ("host", "the port of the test"),
    ("user-agent", "an edge need not say what it is made of"),
    ("accept", "the client library's; nothing depends on it"),
    ("accept-encoding", "no compressed answer is wanted"),
    ("content-length", "our request names no country and no town"),
    ("sec-websocket-key", "random"),
    (
        "kubeedge-terms",
        "ours: what the session may agree on with a cloud of ours; others ignore it",
    ),
    (
        "kubeedge-trust",
        "ours: which CAs the device knows, so that the cloud sees who has followed a change",
    ),
];
