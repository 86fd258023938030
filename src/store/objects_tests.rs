//! Tests of the log of objects: shared fsyncs, torn and damaged files, a disk that is full, bounds.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use smol::block_on;
use smol::future::poll_once;

use super::*;
use crate::system::files::{Layer, Operation};
use crate::system::scratch::Scratch;

#[derive(Default)]
struct Watcher {
    syncs: AtomicUsize,
    failing: AtomicBool,
}

impl Layer for Watcher {
    fn before(&self, operation: Operation) -> io::Result<()> {
        match operation {
            Operation::Sync { path } if path.ends_with("log") => {
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

fn open(files: &Files, folder: &Scratch) -> ObjectLog {
    // The thread that wrote last may hold the lock a moment longer.
    let lock = loop {
        if let Ok(lock) = files.lock(&folder.path().join("lock")) {
            break Arc::new(lock);
        }
        std::thread::yield_now();
    };
    ObjectLog::open(files, &folder.path().join("log"), &lock).unwrap()
}

fn change(key: &str, text: Option<&str>) -> ObjectChange {
    ObjectChange {
        key: key.into(),
        text: text.map(Into::into),
    }
}

fn texts(log: &ObjectLog) -> Vec<(String, String)> {
    let all = log.all().into_iter();
    all.map(|it| (it.key.to_string(), it.text.to_string()))
        .collect()
}

fn pair(key: &str, text: &str) -> (String, String) {
    (key.to_owned(), text.to_owned())
}

#[test]
fn objects_and_versions_outlive_the_log() {
    let folder = Scratch::new();
    let log = open(&Files::real(), &folder);
    block_on(async {
        assert_eq!(log.reserve(10).await.unwrap(), 1);
        let two = vec![change("a", Some("{\"x\":\n1}")), change("b", Some("{}"))];
        log.write(two).unwrap().await.unwrap();
        log.write(vec![change("b", None)]).unwrap().await.unwrap();
        assert_eq!(log.reserve(5).await.unwrap(), 11);
    });
    drop(log);
    let log = open(&Files::real(), &folder);
    assert_eq!(texts(&log), [pair("a", "{\"x\": 1}")]);
    assert_eq!(block_on(log.reserve(1)).unwrap(), 16);
}

#[test]
fn changes_count_in_the_order_of_the_calls_and_share_a_sync() {
    let (folder, watcher) = (Scratch::new(), Arc::new(Watcher::default()));
    let log = open(&Files::with(watcher.clone()), &folder);
    let before = watcher.syncs.load(Ordering::SeqCst);
    block_on(async {
        let writes: Vec<_> = (0..100)
            .map(|n| log.write(vec![change("a", Some(&n.to_string()))]).unwrap())
            .collect();
        // Whoever waits first writes for all.
        for write in writes.into_iter().rev() {
            write.await.unwrap();
        }
    });
    assert_eq!(watcher.syncs.load(Ordering::SeqCst) - before, 1);
    drop(log);
    assert_eq!(texts(&open(&Files::real(), &folder)), [pair("a", "99")]);
}

#[test]
fn who_goes_away_has_not_undone_the_change() {
    let folder = Scratch::new();
    let log = open(&Files::real(), &folder);
    block_on(async {
        drop(log.write(vec![change("a", Some("1"))]).unwrap());
        let mut second = Box::pin(log.write(vec![change("b", Some("2"))]).unwrap());
        let _ = poll_once(&mut second).await;
        drop(second);
        log.write(vec![change("c", Some("3"))])
            .unwrap()
            .await
            .unwrap();
    });
    drop(log);
    let expected = [pair("a", "1"), pair("b", "2"), pair("c", "3")];
    assert_eq!(texts(&open(&Files::real(), &folder)), expected);
}

#[test]
fn a_full_disk_is_told_and_the_next_write_makes_the_file_good() {
    let (folder, watcher) = (Scratch::new(), Arc::new(Watcher::default()));
    let log = open(&Files::with(watcher.clone()), &folder);
    block_on(async {
        log.write(vec![change("a", Some("1"))])
            .unwrap()
            .await
            .unwrap();
        watcher.failing.store(true, Ordering::SeqCst);
        let failed = log.write(vec![change("b", Some("2"))]).unwrap().await;
        assert!(matches!(failed, Err(StoreError::Io(_))), "{failed:?}");
        assert!(log.reserve(100).await.is_err());
        watcher.failing.store(false, Ordering::SeqCst);
        log.write(vec![change("c", Some("3"))])
            .unwrap()
            .await
            .unwrap();
        assert_eq!(log.reserve(1).await.unwrap(), 101);
    });
    drop(log);
    let log = open(&Files::real(), &folder);
    assert!(texts(&log).contains(&pair("c", "3")) && texts(&log).contains(&pair("a", "1")));
    assert!(block_on(log.reserve(1)).unwrap() > 101);
}

#[test]
fn a_tail_torn_at_any_byte_costs_only_the_torn_line() {
    let lines = [
        versions_line(7),
        line("a", Some("{\"n\":1}")),
        line("a", None),
        line("b", Some("[]")),
    ];
    let bytes = lines.concat();
    for cut in 0..=bytes.len() {
        let folder = Scratch::new();
        let path = folder.path().join("log");
        Files::real().replace(&path, &bytes[..cut], MODE).unwrap();
        let whole = bytes[..cut]
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let expected = parse(&bytes[..whole]).known;
        let log = open(&Files::real(), &folder);
        assert_eq!(held(&log.0.known).objects, expected.objects, "cut at {cut}");
        block_on(log.write(vec![change("c", Some("3"))]).unwrap()).unwrap();
        drop(log);
        let again = open(&Files::real(), &folder);
        assert_eq!(texts(&again).len(), expected.objects.len() + 1);
        assert!(block_on(again.reserve(1)).unwrap() > expected.versions);
    }
}

#[test]
fn a_flipped_bit_costs_one_line_and_the_file_is_kept() {
    let bytes = [line("a", Some("1")), line("b", Some("2"))].concat();
    let folder = Scratch::new();
    let path = folder.path().join("log");
    let mut damaged = bytes.clone();
    damaged[12] ^= 1;
    Files::real().replace(&path, &damaged, MODE).unwrap();
    assert_eq!(texts(&open(&Files::real(), &folder)), [pair("b", "2")]);
    let copy = folder.path().join("log.damaged-1");
    assert_eq!(Files::real().read(&copy, MAX_FILE).unwrap(), damaged);
}

#[test]
fn a_file_of_old_lines_becomes_short() {
    let folder = Scratch::new();
    let log = open(&Files::real(), &folder);
    let text = format!("\"{}\"", "x".repeat(1 << 20));
    for _ in 0..8 {
        block_on(log.write(vec![change("a", Some(&text))]).unwrap()).unwrap();
    }
    let size = std::fs::metadata(folder.path().join("log")).unwrap().len();
    assert!(size < (SLACK + (3 << 20)) as u64, "{size}");
    drop(log);
    assert_eq!(texts(&open(&Files::real(), &folder)), [pair("a", &text)]);
}

#[test]
fn there_is_an_end_to_what_is_taken() {
    let mut known = Known {
        bytes: MAX_LIVE - RESERVE - 10,
        ..Known::default()
    };
    known.objects.insert("a".into(), "12345".into());
    let long = "x".repeat(100);
    let refused = known.take(vec![change("b", Some(&long))]);
    assert!(matches!(refused, Err(StoreError::TooManyObjects)));
    assert_eq!(known.objects.len(), 1, "nothing of it is taken");
    known.bytes = MAX_LIVE;
    assert!(known.take(vec![change("a", Some(&long))]).is_err());
    assert!(known.take(vec![change("a", Some("123"))]).is_ok());
    assert!(known.take(vec![change("a", None)]).is_ok());
}

#[test]
fn what_is_full_can_be_emptied_though_nodes_have_to_forget_it() {
    let mut known = Known {
        bytes: MAX_LIVE - RESERVE,
        ..Known::default()
    };
    known.objects.insert("a".into(), "1".into());
    let long = "x".repeat(1000);
    assert!(known.take(vec![change("b", Some(&long))]).is_err());
    let forgotten = vec![change("a", None), change("-gone/1", Some(&long))];
    assert!(known.take(forgotten).is_ok());
}

#[test]
fn what_is_written_of_nothing_is_written_of_all_before() {
    let (folder, watcher) = (Scratch::new(), Arc::new(Watcher::default()));
    let log = open(&Files::with(watcher.clone()), &folder);
    block_on(async {
        watcher.failing.store(true, Ordering::SeqCst);
        let failed = log.write(vec![change("a", Some("1"))]).unwrap().await;
        assert!(failed.is_err());
        assert!(log.write(Vec::new()).unwrap().await.is_err());
        watcher.failing.store(false, Ordering::SeqCst);
        log.write(Vec::new()).unwrap().await.unwrap();
    });
    drop(log);
    assert_eq!(texts(&open(&Files::real(), &folder)), [pair("a", "1")]);
}
