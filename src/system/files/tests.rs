//! Tests of the file layer: what is written is there or not, and every fault is survived.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;

use super::*;
use crate::system::scratch::Scratch;

/// Keeps all operations; fails the one with the number `fail_at`.
#[derive(Default)]
struct Script {
    seen: Mutex<Vec<Operation>>,
    count: AtomicUsize,
    fail: Option<(usize, Errno)>,
    no_links: bool,
}

impl Layer for Script {
    fn before(&self, operation: Operation) -> io::Result<()> {
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let refused = self.no_links && matches!(operation, Operation::Link { .. });
        self.seen.lock().unwrap().push(operation);
        match self.fail {
            Some((at, errno)) if at == number => Err(errno.into()),
            _ if refused => Err(Errno::EPERM.into()),
            _ => Ok(()),
        }
    }
}

fn recorded(run: impl FnOnce(&Files)) -> Vec<Operation> {
    let script = Arc::new(Script::default());
    run(&Files::with(script.clone()));
    script.seen.lock().unwrap().clone()
}

fn names(dir: &Path) -> Vec<String> {
    Disk::default().list(dir).unwrap()
}

#[test]
fn replace_sets_content_and_mode() {
    let dir = Scratch::new();
    let files = Files::real();
    let path = dir.path().join("server.key");
    for (content, mode) in [("old", 0o600), ("new", 0o666), ("", 0o400), ("x", 0o755)] {
        files.replace(&path, content.as_bytes(), mode).unwrap();
        assert_eq!(files.read(&path, 10).unwrap(), content.as_bytes());
        assert_eq!(files.mode(&path).unwrap(), mode);
    }
    assert_eq!(names(dir.path()), ["server.key"]);
}

#[test]
fn replace_syncs_before_and_after_the_rename() {
    let dir = Scratch::new();
    let path = dir.path().join("f");
    let seen = recorded(|files| files.replace(&path, b"data", 0o644).unwrap());
    let Operation::CreateNew { path: temporary } = seen[0].clone() else {
        panic!("{seen:?}")
    };
    assert_eq!(
        seen[1..],
        [
            Operation::SetMode {
                path: temporary.clone(),
                mode: 0o644
            },
            Operation::Write {
                path: temporary.clone(),
                bytes: b"data".into()
            },
            Operation::Sync {
                path: temporary.clone()
            },
            Operation::Rename {
                from: temporary,
                to: path
            },
            Operation::SyncDir {
                path: dir.path().into()
            },
        ]
    );
}

#[test]
fn every_fault_leaves_old_or_new_and_no_litter() {
    let steps = {
        let dir = Scratch::new();
        recorded(|files| files.replace(&dir.path().join("f"), b"new", 0o600).unwrap()).len()
    };
    for errno in [
        Errno::ENOSPC,
        Errno::EIO,
        Errno::EROFS,
        Errno::EACCES,
        Errno::EMFILE,
    ] {
        for step in 0..steps {
            let dir = Scratch::new();
            let path = dir.path().join("f");
            Files::real().replace(&path, b"old", 0o600).unwrap();
            let script = Script {
                fail: Some((step, errno)),
                ..Script::default()
            };
            let error = Files::with(Arc::new(script))
                .replace(&path, b"new", 0o600)
                .unwrap_err();
            assert!(error.to_string().contains(": "), "{error}");
            let after_rename = step == steps - 1;
            let expected: &[u8] = if after_rename { b"new" } else { b"old" };
            assert_eq!(Files::real().read(&path, 10).unwrap(), expected);
            assert_eq!(names(dir.path()), ["f"]);
        }
    }
}

#[test]
fn replace_keeps_links_that_stay_at_home() {
    let dir = Scratch::new();
    let (home, away) = (dir.path().join("home"), dir.path().join("away"));
    let files = Files::real();
    files.make_dir(&home, 0o700).unwrap();
    files.replace(&home.join("real"), b"1", 0o600).unwrap();
    files.replace(&away, b"1", 0o600).unwrap();
    files
        .symlink(Path::new("real"), &home.join("inner"))
        .unwrap();
    files.symlink(&away, &home.join("outer")).unwrap();

    files.replace(&home.join("inner"), b"2", 0o600).unwrap();
    files.replace(&home.join("outer"), b"2", 0o600).unwrap();
    assert_eq!(files.read(&home.join("real"), 9).unwrap(), b"2");
    assert!(
        fs::symlink_metadata(home.join("inner"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(files.read(&away, 9).unwrap(), b"1");
    assert!(fs::symlink_metadata(home.join("outer")).unwrap().is_file());
}

#[test]
fn create_happens_once() {
    let dir = Scratch::new();
    let path = dir.path().join("ca.crt");
    let winners: Vec<bool> = std::thread::scope(|scope| {
        let create = |i: u8| Files::real().create(dir.path().join("ca.crt").as_path(), &[i], 0o600);
        let threads: Vec<_> = (0..8)
            .map(|i| scope.spawn(move || create(i).unwrap()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(winners.iter().filter(|won| **won).count(), 1);
    let content = Files::real().read(&path, 9).unwrap();
    assert!(winners[usize::from(content[0])]);
    assert_eq!(names(dir.path()), ["ca.crt"]);
}

#[test]
fn create_without_hard_links() {
    let dir = Scratch::new();
    let path = dir.path().join("f");
    let files = Files::with(Arc::new(Script {
        no_links: true,
        ..Script::default()
    }));
    assert!(files.create(&path, b"1", 0o640).unwrap());
    assert!(!files.create(&path, b"2", 0o640).unwrap());
    assert_eq!(files.read(&path, 9).unwrap(), b"1");
    assert_eq!(files.mode(&path).unwrap(), 0o640);
    assert_eq!(names(dir.path()), ["f"]);
}

#[test]
fn create_survives_every_fault() {
    for no_links in [false, true] {
        let mut step = 0;
        loop {
            let dir = Scratch::new();
            let path = dir.path().join("f");
            let fail = Some((step, Errno::ENOSPC));
            let script = Arc::new(Script {
                fail,
                no_links,
                ..Script::default()
            });
            let created = Files::with(script.clone()).create(&path, b"new", 0o600);
            if let Some(content) = Files::real().read_opt(&path, 9).unwrap() {
                assert_eq!(content, b"new");
            } else {
                created.unwrap_err();
            }
            if script.count.load(Ordering::SeqCst) <= step {
                break;
            }
            step += 1;
        }
        assert!(step >= 6, "{step}");
    }
}

#[test]
fn reading_is_bounded() {
    let dir = Scratch::new();
    let path = dir.path().join("f");
    let files = Files::real();
    assert_eq!(files.read_opt(&path, 1).unwrap(), None);
    assert!(files.read(&path, 1).unwrap_err().is_not_found());
    files.replace(&path, b"1234", 0o600).unwrap();
    assert_eq!(files.read(&path, 4).unwrap(), b"1234");
    let error = files.read(&path, 3).unwrap_err();
    assert!(error.to_string().contains("the allowed 3 bytes"), "{error}");
    assert!(
        files
            .read(dir.path(), 3)
            .unwrap_err()
            .to_string()
            .contains("directory")
    );
    assert!(files.read(Path::new("/dev/zero"), 100).is_err());
}

#[test]
fn folders_are_made_and_removed() {
    let dir = Scratch::new();
    let files = Files::real();
    let deep = dir.path().join("a/b/c");
    assert!(files.make_dir(&deep, 0o750).unwrap());
    assert!(!files.make_dir(&deep, 0o700).unwrap());
    assert_eq!(files.mode(&deep).unwrap(), 0o750);
    assert_eq!(files.mode(&dir.path().join("a")).unwrap(), 0o755);

    let kept = dir.path().join("kept");
    files.make_dir(&kept, 0o700).unwrap();
    files.replace(&kept.join("f"), b"", 0o600).unwrap();
    files.symlink(&kept, &deep.join("link")).unwrap();
    assert!(files.remove_tree(&dir.path().join("a")).unwrap());
    assert!(!files.remove_tree(&dir.path().join("a")).unwrap());
    assert_eq!(files.list(&kept, 9).unwrap(), ["f"]);
    assert!(files.list(dir.path(), 0).is_err());

    files.replace(&dir.path().join("file"), b"", 0o600).unwrap();
    let error = files
        .make_dir(&dir.path().join("file/sub"), 0o700)
        .unwrap_err();
    assert!(error.to_string().contains("is a file"), "{error}");
}

#[test]
fn copy_and_modes() {
    let dir = Scratch::new();
    let files = Files::real();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    let content: Vec<u8> = (0..200_000_u32).map(|i| i as u8).collect();
    files.replace(&source, &content, 0o600).unwrap();
    files.copy(&source, &target, 0o755).unwrap();
    assert_eq!(files.read(&target, 300_000).unwrap(), content);
    assert_eq!(files.mode(&target).unwrap(), 0o755);
    files.set_mode(&target, 0o600).unwrap();
    assert_eq!(files.mode(&target).unwrap(), 0o600);
    assert!(files.remove(&target).unwrap());
    assert!(!files.remove(&target).unwrap());
    assert!(
        files
            .copy(&target, &source, 0o755)
            .unwrap_err()
            .is_not_found()
    );
}

#[test]
fn a_lock_names_its_holder() {
    let dir = Scratch::new();
    let path = dir.path().join("lock");
    let files = Files::real();
    assert!(!files.is_locked(&path).unwrap() && !path.exists());
    let lock = files.lock(&path).unwrap();
    assert!(files.is_locked(&path).unwrap());
    match files.lock(&path).unwrap_err() {
        FileError::Locked { holder, .. } => assert_eq!(holder, Some(std::process::id())),
        other => panic!("{other}"),
    }
    drop(lock);
    assert!(!files.is_locked(&path).unwrap());
    files.lock(&path).unwrap();
}

#[test]
fn the_lock_of_a_dead_process_is_waited_for() {
    let dir = Scratch::new();
    let path = dir.path().join("lock");
    let held = Files::real().lock(&path).unwrap();
    // As when its holder was killed right behind a fork: no process has such a number.
    fs::write(&path, "4999999\n").unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Files::real().lock(&path));
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!waiting.is_finished());
        drop(held);
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn an_appender_never_leaves_a_part() {
    let dir = Scratch::new();
    let path = dir.path().join("log");
    let mut appender = Files::real().appender(&path, 0o600).unwrap();
    appender.append(b"one\n").unwrap();
    appender.sync().unwrap();
    drop(appender);

    let fail = Some((1, Errno::ENOSPC));
    let script = Arc::new(Script {
        fail,
        ..Script::default()
    });
    let mut appender = Files::with(script).appender(&path, 0o600).unwrap();
    assert!(appender.append(b"two\n").unwrap_err().is_retryable());
    appender.append(b"three\n").unwrap();
    assert_eq!(appender.len(), 10);
    assert_eq!(Files::real().read(&path, 99).unwrap(), b"one\nthree\n");
    appender.truncate(4).unwrap();
    appender.append(b"four\n").unwrap();
    assert_eq!(Files::real().read(&path, 99).unwrap(), b"one\nfour\n");
}

#[test]
fn a_sweep_takes_only_what_the_dead_left() {
    let dir = Scratch::new();
    let files = Files::real();
    assert_eq!(files.sweep(&dir.path().join("missing")).unwrap(), 0);
    let disk = Disk::default();
    let living = Temporary::create(&disk, &dir.path().join("f")).unwrap();
    files
        .replace(&dir.path().join(".f.tmp-0123456789abcdef"), b"", 0o600)
        .unwrap();
    files
        .replace(&dir.path().join(".f.tmp-note"), b"", 0o600)
        .unwrap();
    assert_eq!(files.sweep(dir.path()).unwrap(), 1);
    assert_eq!(names(dir.path()).len(), 2);
    assert_eq!(files.list(dir.path(), 9).unwrap(), [".f.tmp-note"]);
    living.rename_to(&dir.path().join("f")).unwrap();
    assert_eq!(files.sweep(dir.path()).unwrap(), 0);
}
