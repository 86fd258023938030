//! Tests of `commit`: shared fsyncs, a full disk, claims, callers that go away.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use smol::LocalExecutor;
use smol::future::poll_once;

use super::*;
use crate::store::testing::{name, record};
use crate::system::files::{Files, Layer, Operation};
use crate::system::scratch::Scratch;

/// Counts the fsyncs of the journal, and fails its writes when told to.
#[derive(Default)]
struct Watcher {
    syncs: AtomicUsize,
    failing: AtomicBool,
}

impl Layer for Watcher {
    fn before(&self, operation: Operation) -> io::Result<()> {
        match operation {
            Operation::Sync { path } if path.ends_with("nodes.journal") => {
                self.syncs.fetch_add(1, Ordering::SeqCst);
            }
            Operation::Write { .. } if self.failing.load(Ordering::SeqCst) => {
                return Err(io::ErrorKind::StorageFull.into());
            }
            _ => {}
        }
        Ok(())
    }
}

struct Setup {
    folder: Scratch,
    watcher: Arc<Watcher>,
    registry: Registry,
}

impl Setup {
    fn new() -> Setup {
        let (folder, watcher) = (Scratch::new(), Arc::new(Watcher::default()));
        let registry = open(&Files::with(watcher.clone()), &folder);
        Setup {
            folder,
            watcher,
            registry,
        }
    }

    fn reopened(&self) -> Vec<(NodeName, NodeRecord)> {
        let journal = Journal::open(&Files::real(), &journal_path(&self.folder));
        journal.unwrap().1.into_iter().collect()
    }
}

fn journal_path(folder: &Scratch) -> PathBuf {
    folder.path().join("nodes.journal")
}

fn open(files: &Files, folder: &Scratch) -> Registry {
    let (journal, nodes) = Journal::open(files, &journal_path(folder)).unwrap();
    Registry::new(
        journal,
        nodes,
        files.lock(&folder.path().join("lock")).unwrap().into(),
    )
}

/// Runs all at the same time, on this thread.
fn together<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let executor = LocalExecutor::new();
    let tasks: Vec<_> = futures.map(|future| executor.spawn(future)).collect();
    smol::block_on(executor.run(async {
        let mut results = Vec::new();
        for task in tasks {
            results.push(task.await);
        }
        results
    }))
}

#[test]
fn changes_at_the_same_time_share_an_fsync() {
    let setup = Setup::new();
    let before = setup.watcher.syncs.load(Ordering::SeqCst);
    let names: Vec<_> = (0..500).map(|n| name(&format!("node-{n}"))).collect();
    let changes = names
        .iter()
        .map(|n| setup.registry.change(n, Some(record("1")), Claim::Any));
    for outcome in together(changes) {
        assert_eq!(outcome.unwrap(), Recorded::Stored(None));
    }
    let syncs = setup.watcher.syncs.load(Ordering::SeqCst) - before;
    assert!((1..=50).contains(&syncs), "{syncs} fsyncs for 500 nodes");
    assert_eq!(setup.reopened(), setup.registry.all());
    assert_eq!(setup.registry.all().len(), 500);
}

#[test]
fn a_full_disk_changes_nothing_and_heals_by_itself() {
    let setup = Setup::new();
    let change = |node: &str, key: Option<&str>| {
        let (node, record) = (name(node), key.map(record));
        smol::block_on(setup.registry.change(&node, record, Claim::Any))
    };
    change("a", Some("1")).unwrap();
    setup.watcher.failing.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(change("a", Some("2")).unwrap_err().is_retryable());
        assert!(change("b", Some("2")).unwrap_err().is_retryable());
        assert!(change("a", None).unwrap_err().is_retryable());
        assert_eq!(setup.registry.all(), [(name("a"), record("1"))]);
    }
    setup.watcher.failing.store(false, Ordering::SeqCst);
    assert_eq!(change("b", Some("3")).unwrap(), Recorded::Stored(None));
    let expected = [(name("a"), record("1")), (name("b"), record("3"))];
    assert_eq!(setup.reopened(), expected);
    assert_eq!(setup.registry.all(), expected);
}

#[test]
fn a_record_replaces_what_was_read_and_nothing_else() {
    let setup = Setup::new();
    let claim = |key: &str, held: Option<&str>| {
        let (node, record) = (name("a"), record(key));
        let claim = Claim::Of(held.map(crate::store::testing::record));
        smol::block_on(setup.registry.change(&node, Some(record), claim)).unwrap()
    };
    assert_eq!(claim("1", Some("0")), Recorded::Changed);
    assert_eq!(claim("1", None), Recorded::Stored(None));
    assert_eq!(claim("2", None), Recorded::Changed);
    assert_eq!(claim("2", Some("3")), Recorded::Changed);
    assert_eq!(setup.reopened(), [(name("a"), record("1"))]);
    assert_eq!(claim("2", Some("1")), Recorded::Stored(Some(record("1"))));
    assert_eq!(setup.reopened(), [(name("a"), record("2"))]);
}

#[test]
fn of_many_that_claim_a_name_one_gets_it() {
    let setup = Setup::new();
    let node = name("a");
    let keys: Vec<_> = (0..50).map(|n| n.to_string()).collect();
    let claims = keys.iter().map(|k| {
        setup
            .registry
            .change(&node, Some(record(k)), Claim::Of(None))
    });
    let outcomes = together(claims);
    let stored = outcomes
        .iter()
        .filter(|o| matches!(o, Ok(Recorded::Stored(_))))
        .count();
    assert_eq!(stored, 1);
}

#[test]
fn one_more_than_can_be_remembered_is_refused() {
    let folder = Scratch::new();
    let mut nodes: Nodes = (0..MAX_NODES)
        .map(|n| (name(&format!("n{n}")), record("1")))
        .collect();
    let (answer, _) = bounded(1);
    let mut change = Change {
        name: name("new"),
        record: Some(record("2")),
        claim: Claim::Any,
        answer,
    };
    assert!(matches!(
        apply(&mut nodes, &change),
        Err(StoreError::Full { limit: 100_000 })
    ));
    change.name = name("n5");
    assert_eq!(
        apply(&mut nodes, &change).unwrap(),
        Recorded::Stored(Some(record("1")))
    );

    let (mut journal, _) = Journal::open(&Files::real(), &journal_path(&folder)).unwrap();
    journal.rewrite(&Contents::of(&nodes)).unwrap();
    drop(journal);
    let (_, reopened) = Journal::open(&Files::real(), &journal_path(&folder)).unwrap();
    assert!(reopened == nodes);
}

#[test]
fn a_caller_that_goes_away_takes_nobody_with_it() {
    let setup = Setup::new();
    let (a, b, c) = (name("a"), name("b"), name("c"));
    let store = |node| setup.registry.change(node, Some(record("1")), Claim::Any);
    let (mut first, mut second) = (Box::pin(store(&a)), Box::pin(store(&b)));
    smol::block_on(async {
        poll_once(&mut first).await;
        poll_once(&mut second).await;
        drop(first);
        assert_eq!(second.await.unwrap(), Recorded::Stored(None));
        drop(store(&c));
        assert_eq!(store(&c).await.unwrap(), Recorded::Stored(None));
    });
    assert!(setup.reopened().contains(&(b, record("1"))));
}

#[test]
fn a_flusher_that_never_runs_leaves_nobody_waiting() {
    let setup = Setup::new();
    let (answer, answered) = bounded(1);
    let change = Change {
        name: name("a"),
        record: None,
        claim: Claim::Any,
        answer,
    };
    drop(setup.registry.shared.enqueue(change).unwrap());
    assert!(smol::block_on(answered.recv()).is_err());
    assert!(!held(&setup.registry.shared.queue).flushing);
}
