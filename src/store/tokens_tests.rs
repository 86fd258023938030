//! Tests of the token records on disk: what a store promises, restarts, bad files, bad disks.

use std::io;
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use smol::block_on;

use super::*;
use crate::store::testing::{token_record, token_use};
use crate::store::{Store, conformance, file};
use crate::system::figures;
use crate::system::files::crash::Recording;
use crate::system::files::{Layer, Operation};
use crate::system::root::Root;
use crate::system::scratch::Scratch;

/// Counts what reaches the disk, and fails it when told to.
#[derive(Default)]
struct Watcher {
    operations: AtomicUsize,
    failing: AtomicBool,
}

impl Layer for Watcher {
    fn before(&self, operation: Operation) -> io::Result<()> {
        let changes = !matches!(operation, Operation::Open { .. } | Operation::List { .. });
        if changes && self.failing.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.operations
            .fetch_add(usize::from(changes), Ordering::SeqCst);
        Ok(())
    }
}

fn open(folder: &Scratch) -> TokenFolder {
    open_with(&Files::real(), folder)
}

/// Every one with a lock of its own, so that a folder can be opened again while it is open.
fn open_with(files: &Files, folder: &Scratch) -> TokenFolder {
    let number = LOCKS.fetch_add(1, Ordering::Relaxed);
    let lock = files.lock(&folder.path().join(format!("lock-{number}")));
    TokenFolder::open(files, &folder.path().join("tokens"), &lock.unwrap().into()).unwrap()
}

static LOCKS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn the_file_store_keeps_what_a_store_promises() {
    let folder = Scratch::new();
    let root = Root::new(Some(folder.path().to_path_buf()));
    let options = file::Options {
        allow_volatile: true,
    };
    let store = file::FileStore::open(&Files::real(), &root, options).unwrap();
    // There is one writer: its clones are all the handles there can be.
    let store: Arc<dyn Store> = Arc::new(store);
    conformance::all(&store, &store.clone());
}

#[test]
fn tokens_have_a_bound() {
    // In memory only: ten thousand files are much for a test.
    let folder = Scratch::new();
    let tokens = open(&folder);
    for number in 0..MAX_TOKENS {
        let mut record = token_record(0, None);
        let bytes = u32::try_from(number).unwrap().to_be_bytes();
        record.id = TokenId::of([1, bytes[0], bytes[1], bytes[2], bytes[3]]);
        tokens.0.known().insert(record.id.clone(), record);
    }
    let error = block_on(tokens.create(token_record(9, None))).unwrap_err();
    assert!(matches!(
        error,
        StoreError::TooManyTokens { limit: MAX_TOKENS }
    ));
    assert!(error.to_string().contains("token delete"), "{error}");
}

#[test]
fn tokens_and_their_uses_outlive_the_store() {
    let folder = Scratch::new();
    let (a, b) = (token_record(1, Some(2)), token_record(2, None));
    let tokens = open(&folder);
    for record in [&a, &b] {
        assert!(block_on(tokens.create(record.clone())).unwrap());
    }
    let wanted = token_use("node", "1");
    assert_eq!(
        block_on(tokens.take(&a.id, wanted.clone())).unwrap(),
        Taken::Counted
    );
    let mode = Files::real().mode(&folder.path().join("tokens").join(a.id.as_str()));
    assert_eq!(mode.unwrap(), 0o600);
    let again = open(&folder);
    assert_eq!(again.all(), tokens.all());
    assert_eq!(again.get(&a.id).unwrap().used, slice::from_ref(&wanted));
    assert_eq!(block_on(again.take(&a.id, wanted)).unwrap(), Taken::Free);
    assert!(block_on(again.remove(&b.id)).unwrap());
    assert_eq!(open(&folder).all().len(), 1);
}

#[test]
fn what_is_no_record_is_refused_and_left_alone() {
    let folder = Scratch::new();
    let tokens = open(&folder);
    block_on(tokens.create(token_record(1, None))).unwrap();
    let path = folder.path().join("tokens");
    let good = Files::real().read(&path.join("0101010101"), 1000).unwrap();
    for (name, content) in [
        ("0202020202", &good[..]),
        ("0303030303", b"{}"),
        ("0404040404", &good[..good.len() / 2]),
        ("notes.txt", b"hello"),
    ] {
        Files::real()
            .replace(&path.join(name), content, 0o600)
            .unwrap();
    }
    let again = open(&folder);
    assert_eq!(again.all(), [token_record(1, None)]);
    let torn = TokenId::of([4; 5]);
    let taken = block_on(again.take(&torn, token_use("a", "1"))).unwrap();
    assert_eq!(taken, Taken::Unknown);
    assert_eq!(Files::real().list(&path, 10).unwrap().len(), 5);
}

#[test]
fn a_full_disk_grants_nothing_and_costs_nothing() {
    let (folder, watcher) = (Scratch::new(), Arc::new(Watcher::default()));
    let files = Files::with(watcher.clone());
    let tokens = open_with(&files, &folder);
    let record = token_record(1, Some(1));
    block_on(tokens.create(record.clone())).unwrap();
    watcher.failing.store(true, Ordering::SeqCst);
    let wanted = token_use("a", "1");
    for _ in 0..3 {
        let error = block_on(tokens.take(&record.id, wanted.clone())).unwrap_err();
        assert!(error.is_retryable());
        assert!(block_on(tokens.create(token_record(2, None))).is_err());
    }
    assert_eq!(tokens.all(), slice::from_ref(&record));
    watcher.failing.store(false, Ordering::SeqCst);
    assert_eq!(
        block_on(tokens.take(&record.id, wanted)).unwrap(),
        Taken::Counted
    );

    // A token that could not be removed from the disk is refused all the same.
    watcher.failing.store(true, Ordering::SeqCst);
    assert!(block_on(tokens.remove(&record.id)).is_err());
    let taken = block_on(tokens.take(&record.id, token_use("a", "1"))).unwrap();
    assert_eq!(taken, Taken::Unknown);
    watcher.failing.store(false, Ordering::SeqCst);
    assert!(block_on(tokens.remove(&record.id)).unwrap());
    assert_eq!(open(&folder).all(), []);
}

#[test]
fn what_need_not_be_counted_does_not_touch_the_disk() {
    let (folder, watcher) = (Scratch::new(), Arc::new(Watcher::default()));
    let files = Files::with(watcher.clone());
    let tokens = open_with(&files, &folder);
    let (free, bound) = (token_record(1, None), token_record(2, Some(1)));
    for record in [&free, &bound] {
        block_on(tokens.create(record.clone())).unwrap();
    }
    let first = token_use("first", "0");
    block_on(tokens.take(&bound.id, first.clone())).unwrap();
    let before = watcher.operations.load(Ordering::SeqCst);
    for n in 0..100 {
        let wanted = token_use(&format!("n{n}"), "1");
        assert_eq!(
            block_on(tokens.take(&free.id, wanted.clone())).unwrap(),
            Taken::Free
        );
        assert_eq!(
            block_on(tokens.take(&bound.id, wanted)).unwrap(),
            Taken::UsedUp
        );
        assert_eq!(
            block_on(tokens.take(&bound.id, first.clone())).unwrap(),
            Taken::Free
        );
    }
    assert_eq!(watcher.operations.load(Ordering::SeqCst), before);
}

#[test]
fn the_life_of_a_token_may_lose_its_power_at_any_moment() {
    const ANSWERED: [&str; 5] = ["created", "used", "given back", "used again", "deleted"];
    let folder = Scratch::new();
    drop(open(&folder));
    let mut history = vec![Vec::new()];
    let recording = Recording::of(folder.path(), |recorder| {
        let tokens = open_with(&recorder.files(), &folder);
        let record = token_record(1, Some(1));
        let (first, second) = (token_use("a", "1"), token_use("b", "2"));
        for answered in ANSWERED {
            match answered {
                "created" => assert!(block_on(tokens.create(record.clone())).unwrap()),
                "used" => _ = block_on(tokens.take(&record.id, first.clone())).unwrap(),
                "given back" => block_on(tokens.give_back(&record.id, first.clone())).unwrap(),
                "used again" => _ = block_on(tokens.take(&record.id, second.clone())).unwrap(),
                _ => assert!(block_on(tokens.remove(&record.id)).unwrap()),
            }
            recorder.promise(answered);
            history.push(tokens.all());
        }
    });
    let states = recording.each_state(|state| {
        let lock = Files::real()
            .lock(&state.root().join("lock"))
            .unwrap()
            .into();
        let path = state.root().join("tokens");
        let tokens = TokenFolder::open(&Files::real(), &path, &lock).unwrap();
        let answered = ANSWERED.iter().filter(|it| state.promised(it)).count();
        // What was answered is there, or what was asked next.
        let found = tokens.all();
        assert!(
            history[answered..].iter().take(2).any(|it| *it == found),
            "{found:?}"
        );
        assert!(block_on(tokens.create(token_record(9, None))).unwrap());
        drop(tokens);
        let again = TokenFolder::open(&Files::real(), &path, &lock).unwrap();
        assert_eq!(again.all().len(), found.len() + 1);
    });
    let what = "states a power cut leaves of a token that is made, used, given back and deleted";
    figures::tried("tokens-cuts", what, states);
}
