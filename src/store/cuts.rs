//! Power cuts and faults of what a cloud keeps of its tokens: no use is granted twice, and what was
//! deleted stays so.

use std::path::Path;
use std::time::{Duration, Instant};

use smol::block_on;

use super::file::{self, FileStore};
use super::testing::{token_record, token_use};
use super::{Store, StoreError, Taken, TokenRecord};
use crate::system::blocking;
use crate::system::figures::tried;
use crate::system::files::Files;
use crate::system::files::crash::{Recording, each_fault, is_clear};
use crate::system::root::Root;
use crate::system::scratch::Scratch;

fn open(files: &Files, folder: &Path) -> Result<FileStore, StoreError> {
    // Many clouds in one process want more than one may.
    blocking::set_limit(64);
    let root = Root::new(Some(folder.to_owned()));
    let options = file::Options {
        allow_volatile: true,
    };
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        match FileStore::open(files, &root, options) {
            // A thread of the store before this one is about to end.
            Err(StoreError::Locked { .. }) if Instant::now() < patience => {
                std::thread::yield_now();
            }
            opened => return opened,
        }
    }
}

/// What is known of the token; its life: made, used once, deleted.
fn found(store: &FileStore) -> Option<TokenRecord> {
    block_on(store.token(&token_record(1, None).id)).unwrap()
}

type Step = fn(&FileStore) -> Result<(), StoreError>;

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
    let folder = Scratch::new();
    drop(open(&Files::real(), folder.path()).unwrap());
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
    let setup = || {
        let folder = Scratch::new();
        drop(open(&Files::real(), folder.path()).unwrap());
        folder
    };
    let live = |folder: &Scratch, files: Files| -> (usize, Result<(), StoreError>) {
        let mut done = 0;
        let store = match open(&files, folder.path()) {
            Ok(store) => store,
            Err(error) => return (done, Err(error)),
        };
        for (_, step) in LIFE {
            if let Err(error) = step(&store) {
                return (done, Err(error));
            }
            done += 1;
        }
        (done, Ok(()))
    };
    let faults = each_fault(setup, live, |folder, (done, outcome), fault| {
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
