//! Power cuts and faults of what a cloud keeps of objects: what was answered stays, and no version is
//! given twice.

use std::path::Path;

use smol::block_on;

use super::file::FileStore;
use super::testing::{Step, begun, live, open};
use super::{ObjectChange, ObjectStore, StoredObject};
use crate::system::figures::tried;
use crate::system::files::Files;
use crate::system::files::crash::{Recording, each_fault, is_clear};
use crate::system::scratch::Scratch;

fn change(key: &str, text: Option<&str>) -> ObjectChange {
    ObjectChange {
        key: key.into(),
        text: text.map(Into::into),
    }
}

fn found(store: &FileStore) -> Vec<StoredObject> {
    block_on(store.objects()).unwrap()
}

/// The last version that a step was given is what it wrote.
const LIFE: [(&str, Step); 4] = [
    ("made", |store| {
        let version = block_on(store.reserve_versions(10))?;
        let two = vec![
            change("a", Some(&version.to_string())),
            change("b", Some("{}")),
        ];
        block_on(store.write_objects(two)?)
    }),
    ("changed", |store| {
        let large = format!("\"{}\"", "x".repeat(3000));
        block_on(store.write_objects(vec![change("b", Some(&large))])?)
    }),
    ("versions", |store| {
        let version = block_on(store.reserve_versions(10))?;
        block_on(store.write_objects(vec![change("a", Some(&version.to_string()))])?)
    }),
    ("deleted", |store| {
        block_on(store.write_objects(vec![change("b", None)])?)
    }),
];

/// The store works, and gives a version that no object has.
fn in_order(folder: &Path) {
    let store = open(&Files::real(), folder).unwrap();
    let used = found(&store)
        .into_iter()
        .filter_map(|it| it.text.parse::<u64>().ok());
    let used = used.max().unwrap_or(0);
    let next = block_on(store.reserve_versions(1)).unwrap();
    assert!(next > used, "{next} was given before, up to {used}");
    block_on(
        store
            .write_objects(vec![change("later", Some("1"))])
            .unwrap(),
    )
    .unwrap();
    drop(store);
    let store = open(&Files::real(), folder).unwrap();
    assert!(found(&store).iter().any(|it| &*it.key == "later"));
    assert!(block_on(store.reserve_versions(1)).unwrap() > next);
}

#[test]
fn objects_may_lose_their_power_at_any_moment() {
    let folder = begun();
    let mut history = vec![Vec::new()];
    let recording = Recording::of(folder.path(), |recorder| {
        let store = open(&recorder.files(), folder.path()).unwrap();
        for (name, step) in LIFE {
            step(&store).unwrap();
            recorder.promise(name);
            history.push(found(&store));
        }
    });
    let states = recording.each_state(|state| {
        let store = open(&Files::real(), state.root()).unwrap();
        let answered = LIFE.iter().filter(|(name, _)| state.promised(name)).count();
        let found = found(&store);
        // One call's changes may be cut between its lines, but not before what was answered.
        let whole = history[answered..].contains(&found);
        let partly = answered == 0 && found.iter().all(|it| history[1].contains(it));
        assert!(whole || partly, "{found:?}");
        drop(store);
        in_order(state.root());
    });
    tried(
        "cuts-objects",
        "states a power cut leaves of a cloud's objects and versions",
        states,
    );
}

#[test]
fn objects_survive_every_fault_of_the_disk() {
    let live = |folder: &Scratch, files: Files| live(folder, &files, &LIFE);
    let faults = each_fault(begun, live, |folder, (done, outcome), fault| {
        if let Err(error) = outcome {
            let sentence = error.to_string();
            assert!(is_clear(&sentence, fault), "{fault}: {sentence}");
        }
        let store = open(&Files::real(), folder.path()).unwrap();
        let b = found(&store).into_iter().find(|it| &*it.key == "b");
        let (there, long) = (b.is_some(), b.is_some_and(|it| it.text.len() > 10));
        // The step that failed may have reached the disk all the same.
        let allowed = match done {
            0 => !long,
            1 => there,
            2 => there && long,
            3 => !there || long,
            _ => !there,
        };
        assert!(allowed, "{there} {long} after {done} steps, {fault}");
        drop(store);
        in_order(folder.path());
    });
    tried(
        "faults-objects",
        "faults of the disk while objects are written and versions given",
        faults,
    );
}
