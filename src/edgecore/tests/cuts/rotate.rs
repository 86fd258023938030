//! Renewal, cut and disturbed everywhere.

use super::*;
use crate::edgecore::rotate::renew;
use crate::system::figures::tried;
use crate::system::files::crash::{Recording, each_fault, is_clear};

/// An enrolled device with an identity of this cloud.
fn enrolled(cloud: &Cloud) -> (Scratch, Identity) {
    let folder = Scratch::new();
    let files = Files::real();
    let path = folder.path().join("edgecore.yaml");
    files
        .replace(&path, config(None).as_bytes(), 0o640)
        .unwrap();
    let edge = cloud.edge(files.clone(), folder.path());
    let identity = run(&edge, enroll(&edge, &cloud.token())).unwrap();
    (folder, identity)
}

/// Starts with what is on the disk, and renews.
fn renewed(edge: &Rc<Edge>) -> Result<Identity, Failure> {
    let (files, place, node) = (&edge.host.files, &edge.settings.place, &edge.settings.node);
    edge.adopt(Identity::load(files, place, node).map_err(Failure::Identity)?);
    run(edge, renew(edge))
}

fn record(cloud: &Cloud, folder: &Path) -> (Recording, Identity) {
    let mut new = None;
    let recording = Recording::of(folder, |recorder| {
        new = Some(renewed(&cloud.edge(recorder.files(), folder)).unwrap());
        recorder.promise("renewed");
    });
    (recording, new.unwrap())
}

#[test]
fn a_renewal_may_lose_its_power_at_any_moment() {
    let cloud = Cloud::start();
    let mut states = 0;
    for is_split in [false, true] {
        let (folder, old) = enrolled(&cloud);
        if is_split {
            split(folder.path(), &old);
        }
        let (recording, new) = record(&cloud, folder.path());
        states += recording.each_state(|state| {
            let edge = cloud.edge(Files::real(), state.root());
            let found = nothing_is_lost(&edge, &[&old, &new]).unwrap();
            assert!(is(&found, &new) || !state.promised("renewed"));
            let started = begin(&edge);
            assert!(is(&started, &found));
            in_order(&edge, &started);
            let newest = renewed(&edge).unwrap();
            assert!(!is(&newest, &found));
            in_order(&edge, &newest);
        });
    }
    tried(
        "cuts-rotate",
        "states a power cut leaves of a renewal",
        states,
    );
}

#[test]
fn a_renewal_survives_every_fault_of_the_disk() {
    let cloud = Cloud::start();
    let flow = |(folder, _): &(Scratch, Identity), files| {
        let edge = cloud.edge(files, folder.path());
        renewed(&edge).map_err(|failure| failure.to_string())
    };
    let faults = each_fault(
        || enrolled(&cloud),
        flow,
        |(folder, old), outcome, fault| {
            let edge = cloud.edge(Files::real(), folder.path());
            let found = nothing_is_lost(&edge, &[]).unwrap();
            match outcome {
                Ok(new) => assert!(is(&found, &new)),
                Err(sentence) => assert!(is_clear(&sentence, fault), "{fault}: {sentence}"),
            }
            assert_eq!(found.ca.der(), old.ca.der());
            begin(&edge);
            let newest = renewed(&edge).unwrap();
            in_order(&edge, &newest);
        },
    );
    tried(
        "faults-rotate",
        "faults of the disk during a renewal",
        faults,
    );
}

#[test]
fn a_renewal_writes_two_files() {
    let cloud = Cloud::start();
    let (folder, _) = enrolled(&cloud);
    let written = record(&cloud, folder.path()).0.written();
    let names: Vec<_> = written.iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(names, ["certs/server.crt", "certs/server.key"]);
    tried("wear-rotate", "files written by a renewal", names.len());
}

#[test]
fn a_start_of_an_enrolled_device_writes_nothing() {
    let cloud = Cloud::start();
    let (folder, _) = enrolled(&cloud);
    let recording = Recording::of(folder.path(), |recorder| {
        let edge = cloud.edge(recorder.files(), folder.path());
        begin(&edge);
    });
    assert_eq!(recording.steps, []);
}
