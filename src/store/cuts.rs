//! Power cuts and faults of what a cloud keeps of its tokens: no use is granted twice, and what was
//! deleted stays so.

use std::path::Path;

use smol::block_on;

use super::file::FileStore;
use super::testing::{Step, begun, live, open, token_record, token_use};
use super::{Store, Taken, TokenRecord};
use crate::system::figures::tried;
use crate::system::files::Files;
use crate::system::files::crash::{Recording, each_fault, is_clear};
use crate::system::scratch::Scratch;

/// What is known of the token; its life: made, used once, deleted.
fn found(store: &FileStore) -> Option<TokenRecord> {
    block_on(store.token(&token_record(1, None).id)).unwrap()
}

const LIFE: [(&str, Step); 3] = [
    ("made", |store| {
        let made = block_on(store.create_token(&token_record(1, Some(2))))?;
        assert!(made);
        Ok(())
    }),
    ("used", |store| {
        let (id, wanted) = (token_record(1, None).id, token_use("edge-1", "key"));
        assert_eq!(block_on(store.take_use(&id, &wanted))?, Taken::Counted);
        Ok(())
    }),
    ("deleted", |store| {
        assert!(block_on(store.remove_token(&token_record(1, None).id))?);
        Ok(())
    }),
];

/// The store works, and nothing unfinished is left in it.
fn in_order(folder: &Path) {
    let (store, other) = (open(&Files::real(), folder).unwrap(), token_record(2, None));
    let _ = block_on(store.remove_token(&other.id)).unwrap();
    assert!(block_on(store.create_token(&other)).unwrap());
    drop(store);
    let store = open(&Files::real(), folder).unwrap();
    assert_eq!(block_on(store.token(&other.id)).unwrap(), Some(other));
    let tokens = folder.join("var/lib/kubeedge/cloudcore/tokens");
    for entry in std::fs::read_dir(tokens).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.starts_with('.'), "{name} is left");
    }
}

#[test]
fn a_token_may_lose_its_power_at_any_moment() {
    let folder = begun();
    let mut history = vec![None];
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
        assert!(history[answered..].contains(&found), "{found:?}");
        drop(store);
        in_order(state.root());
    });
    tried(
        "cuts-tokens",
        "states a power cut leaves of a token's record, made, used, deleted",
        states,
    );
}

#[test]
fn a_token_survives_every_fault_of_the_disk() {
    let live = |folder: &Scratch, files: Files| live(folder, &files, &LIFE);
    let faults = each_fault(begun, live, |folder, (done, outcome), fault| {
        if let Err(error) = outcome {
            let sentence = error.to_string();
            assert!(is_clear(&sentence, fault), "{fault}: {sentence}");
        }
        let store = open(&Files::real(), folder.path()).unwrap();
        let used = found(&store).map(|record| record.used.len());
        // The step that failed may have reached the disk all the same.
        let allowed: &[Option<usize>] = match done {
            0 => &[None, Some(0)],
            1 => &[Some(0), Some(1)],
            2 => &[Some(1), None],
            _ => &[None],
        };
        assert!(
            allowed.contains(&used),
            "{used:?} after {done} steps, {fault}"
        );
        drop(store);
        in_order(folder.path());
    });
    tried(
        "faults-tokens",
        "faults of the disk while a token is made, used, deleted",
        faults,
    );
}
