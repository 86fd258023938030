//! Revocations, cut and disturbed everywhere: one that was answered is never forgotten, and a node that
//! came back since is not taken for the one that was revoked.

use super::*;
use crate::authority::{revocations, revoke};
use crate::system::clock::Timestamp;

/// What is known of revocations.
fn revoked(store: &dyn Store) -> Vec<(NodeName, Timestamp)> {
    let all = smol::block_on(revocations(store)).unwrap();
    all.into_iter().map(|it| (it.node, it.at)).collect()
}

fn counts(authority: &Authority, certificate: &Certificate, node: &str) -> bool {
    smol::block_on(authority.authenticate(certificate, &name(node))).is_ok()
}

fn revoke_all(authority: &Authority, nodes: &[&str]) -> Result<(), String> {
    let nodes: Vec<NodeName> = nodes.iter().map(|node| name(node)).collect();
    let revoking = revoke(&**authority.store(), &nodes, recorded_at());
    smol::block_on(revoking)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// A cloud with two nodes and their certificates.
fn two_nodes() -> (Scratch, [Certificate; 2]) {
    let folder = Scratch::new();
    let authority = open(&Files::real(), folder.path()).unwrap();
    let certificates = ["a", "b"].map(|node| join(&authority, node).unwrap());
    (folder, certificates)
}

/// Both are revoked, whatever was done before; and come back with a token, and stay.
fn both_once_more(folder: &Path, certificates: &[(&str, &Certificate)]) {
    let authority = open(&Files::real(), folder).unwrap();
    revoke_all(&authority, &["a", "b"]).unwrap();
    let back = ["a", "b"].map(|node| (node, join(&authority, node).unwrap()));
    drop(authority);
    in_order(folder);
    let authority = open(&Files::real(), folder).unwrap();
    for (node, certificate) in certificates {
        assert!(!counts(&authority, certificate, node), "{node} is back");
    }
    for (node, certificate) in &back {
        assert!(counts(&authority, certificate, node), "{node} is not back");
    }
}

#[test]
fn a_revocation_may_lose_its_power_at_any_moment() {
    const ANSWERED: [&str; 2] = ["a", "both"];
    let (folder, [a, b]) = two_nodes();
    let mut history = vec![Vec::new()];
    let mut back = None;
    let recording = Recording::of(folder.path(), |recorder| {
        let authority = open(&recorder.files(), folder.path()).unwrap();
        revoke_all(&authority, &["a"]).unwrap();
        recorder.promise(ANSWERED[0]);
        history.push(revoked(&**authority.store()));
        back = Some(join(&authority, "a").unwrap());
        recorder.promise("back");
        revoke_all(&authority, &["a", "b"]).unwrap();
        recorder.promise(ANSWERED[1]);
        history.push(revoked(&**authority.store()));
    });
    let a_again = back.unwrap();
    let states = recording.each_state(|state| {
        let authority = open(&Files::real(), state.root()).unwrap();
        let found = revoked(&**authority.store());
        let answered = ANSWERED.iter().filter(|it| state.promised(it)).count();
        let known = history.iter().position(|then| *then == found);
        let known = known.unwrap_or_else(|| panic!("a mixture: {found:?}"));
        assert!(
            known == answered || known == answered + 1,
            "lost: {found:?}"
        );
        assert_eq!(counts(&authority, &a, "a"), known == 0);
        assert_eq!(counts(&authority, &b, "b"), known < 2);
        // It is older than the last revocation, and younger than the one before.
        let is_back = known == 1 && counts(&authority, &a_again, "a");
        assert!(is_back || known == 2 || !state.promised("back"));
        assert!(known < 2 || !counts(&authority, &a_again, "a"));
        drop(authority);
        both_once_more(state.root(), &[("a", &a), ("b", &b), ("a", &a_again)]);
    });
    tried(
        "cuts-revocations",
        "states a power cut leaves of revocations, with a node that comes back between two",
        states,
    );
}

#[test]
fn a_revocation_survives_every_fault_of_the_disk() {
    let flow = |(folder, _): &(Scratch, [Certificate; 2]), files: Files| {
        let authority = open(&files, folder.path()).map_err(|error| error.to_string())?;
        revoke_all(&authority, &["a", "b"])
    };
    let faults = each_fault(two_nodes, flow, |(folder, [a, b]), outcome, fault| {
        let authority = open(&Files::real(), folder.path()).unwrap();
        let found = [counts(&authority, &a, "a"), counts(&authority, &b, "b")];
        assert_eq!(found[0], found[1], "one of two is revoked, {fault}");
        match outcome {
            Ok(()) => assert!(!found[0], "answered and forgotten, {fault}"),
            Err(sentence) => assert!(is_clear(&sentence, fault), "{fault}: {sentence}"),
        }
        drop(authority);
        both_once_more(folder.path(), &[("a", &a), ("b", &b)]);
    });
    tried(
        "faults-revocations",
        "faults of the disk while keys are revoked",
        faults,
    );
}
