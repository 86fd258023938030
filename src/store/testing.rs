//! Stores, names and records for the tests of this area.

use std::path::Path;
use std::time::{Duration, Instant};

use super::file::{self, FileStore};
use super::*;
use crate::system::blocking;
use crate::system::files::Files;
use crate::system::root::Root;
use crate::system::scratch::Scratch;

/// A store on these files.
pub fn open(files: &Files, folder: &Path) -> Result<FileStore, StoreError> {
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

/// A folder in which a store was begun.
pub fn begun() -> Scratch {
    let folder = Scratch::new();
    drop(open(&Files::real(), folder.path()).unwrap());
    folder
}

/// One thing that is done to a store.
pub type Step = fn(&FileStore) -> Result<(), StoreError>;

/// Takes the steps until one fails: how many it took, and why it ended.
pub fn live(
    folder: &Scratch,
    files: &Files,
    life: &[(&str, Step)],
) -> (usize, Result<(), StoreError>) {
    let store = match open(files, folder.path()) {
        Ok(store) => store,
        Err(error) => return (0, Err(error)),
    };
    for (done, (_, step)) in life.iter().enumerate() {
        if let Err(error) = step(&store) {
            return (done, Err(error));
        }
    }
    (life.len(), Ok(()))
}

pub fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

/// The record of a key that `key` stands for.
pub fn record(key: &str) -> NodeRecord {
    NodeRecord {
        key_hash: Sha256Hash::of(key.as_bytes()),
        previous: None,
        since: Timestamp::from_unix(1_795_335_000),
        not_after: Timestamp::from_unix(1_826_871_000),
        serial: format!("0{key}"),
        by: None,
        trusts: None,
    }
}

/// The record of a token that is good from 2026-11-22 on, for a day.
pub fn token_record(number: u8, uses: Option<u32>) -> TokenRecord {
    let created = Timestamp::from_unix(1_795_335_000);
    TokenRecord {
        id: TokenId::of([number; 5]),
        created,
        expires: Timestamp::from_unix(created.unix() + 86_400),
        nodes: None,
        uses,
        description: String::new(),
        used: Vec::new(),
    }
}

/// The use by a node with the key that `key` stands for.
pub fn token_use(node: &str, key: &str) -> TokenUse {
    TokenUse {
        node: name(node),
        key: Sha256Hash::of(key.as_bytes()),
        at: Timestamp::from_unix(1_795_335_100),
    }
}
