//! Upgrades, cut everywhere: whatever is left, the next start has the old or the new, and ends the trial.

use std::path::Path;

use super::*;
use crate::system::clock::Clock;
use crate::system::figures::tried;
use crate::system::files::Files;
use crate::system::files::crash::{Recording, duplicate, each_fault, is_clear};
use crate::system::scratch::Scratch;

const PROGRAM: &str = "usr/local/bin/kubeedge";
const KEPT_IN_MEMORY: &str = "run/kubeedge/upgrade/kubeedge.old";
const CONFIG: &str = "etc/kubeedge/config/edgecore.yaml";

fn host(files: Files, folder: &Path) -> Host {
    Host {
        root: Root::new(Some(folder.into())),
        files,
        clock: Clock::system(),
    }
}

/// A device, with both successors staged.
fn device() -> Scratch {
    let (folder, files) = (Scratch::new(), Files::real());
    for (path, old, new, mode) in [
        (PROGRAM, "old program", "new program", 0o755),
        (CONFIG, "old: 1\n", "new: 2\n", 0o640),
    ] {
        let path = folder.path().join(path);
        files.make_dir(path.parent().unwrap(), 0o755).unwrap();
        files.replace(&path, old.as_bytes(), mode).unwrap();
        files
            .replace(&successor(&path), new.as_bytes(), mode)
            .unwrap();
    }
    folder
}

fn plan(host: &Host, keeping: Keeping) -> Result<Trial, TrialError> {
    let [config, program] = [CONFIG, PROGRAM].map(|path| host.root.at(Path::new("/").join(path)));
    let files = [(&*config, false), (&*program, true)];
    let trial = Trial::plan(host, Event::Upgrade, ("v1", "v2"), &files)?;
    Ok(trial.keeping(keeping))
}

/// What a start does: whether the hub would be started, and as what it would run.
fn start(host: &Host) -> Result<(), TrialError> {
    let Some(mut trial) = Trial::load(host)? else {
        return Ok(());
    };
    match trial.standing(host) {
        Standing::Changed if trial.count(host)? => Ok(()),
        Standing::Changed => match trial.undo(host, "no session") {
            // The new one goes on.
            Err(TrialError::Lost(_)) => Ok(()),
            undone => undone,
        },
        Standing::AsBefore => trial.undo(host, "interrupted"),
        Standing::Foreign => trial.give_up(host, "replaced"),
        Standing::Over => trial.clear(host),
    }
}

fn content(folder: &Path) -> (String, String) {
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap();
    (read(PROGRAM), read(CONFIG))
}

/// A device that boots with one of the two, whole and to be started.
fn is_whole(folder: &Path) {
    let (program, config) = content(folder);
    assert!(["old program", "new program"].contains(&&*program));
    assert!(["old: 1\n", "new: 2\n"].contains(&&*config));
    let mode = |path: &str| Files::real().mode(&folder.join(path)).unwrap();
    assert_eq!((mode(PROGRAM), mode(CONFIG)), (0o755, 0o640));
}

/// Starts until the trial is over: by a session at the `session`th start, or by the last try.
fn until_over(host: &Host, session: u32) {
    for number in 1..10 {
        start(host).unwrap();
        let Some(mut trial) = Trial::load(host).unwrap() else {
            return;
        };
        if number == session {
            trial.succeed(host).unwrap();
            return;
        }
    }
    panic!("the trial does not end");
}

fn is_over(folder: &Path) {
    let (program, config) = content(folder);
    assert_eq!(program.starts_with("old"), config.starts_with("old"));
    for path in [PROGRAM, CONFIG] {
        let path = folder.join(path);
        for name in [predecessor(&path), beside(&path, "old.gz")] {
            assert!(!name.exists(), "{}", name.display());
        }
    }
    assert!(!folder.join(KEPT_IN_MEMORY).exists());
    assert!(!folder.join(&MARKER[1..]).exists());
}

/// The way of an upgrade, to its end by a session or without any.
fn upgrade(host: &Host, keeping: Keeping, works: bool) -> Result<(), TrialError> {
    plan(host, keeping)?.begin(host)?;
    for _ in 0..TRIES {
        start(host)?;
        if works {
            break;
        }
    }
    match Trial::load(host)? {
        Some(mut trial) if works => trial.succeed(host),
        _ => start(host),
    }
}

#[test]
fn an_upgrade_may_lose_its_power_at_any_moment() {
    let mut states = 0;
    for (keeping, works) in ways() {
        let folder = device();
        let recording = Recording::of(folder.path(), |recorder| {
            upgrade(&host(recorder.files(), folder.path()), keeping, works).unwrap();
            recorder.promise("over");
        });
        let (program, _) = content(folder.path());
        assert_eq!(program, if works { "new program" } else { "old program" });
        is_over(folder.path());
        states += recording.each_state(|state| {
            is_whole(state.root());
            let host = host(Files::real(), state.root());
            let before = content(state.root());
            let again = Scratch::new();
            duplicate(state.root(), again.path());
            until_over(&host, 1);
            is_over(state.root());
            if state.promised("over") {
                assert_eq!(content(state.root()), before);
                let report = Report::read(&host).unwrap();
                assert_eq!(report.success, works);
            }
            // Never more than the tries, and then exactly what was.
            let host = self::host(Files::real(), again.path());
            let trial = Trial::load(&host).unwrap();
            let was_tried = trial.is_some_and(|trial| trial.over.is_none());
            if keeping == Keeping::InMemory {
                let bare = Scratch::new();
                duplicate(again.path(), bare.path());
                without_memory(bare.path(), &before.0, was_tried);
            }
            until_over(&host, 9);
            is_over(again.path());
            if was_tried {
                assert_eq!(content(again.path()).0, "old program");
                assert!(!Report::read(&host).unwrap().success);
            }
        });
    }
    tried(
        "cuts-upgrade",
        "states a power cut leaves of an upgrade, its trial and its way back",
        states,
    );
}

fn ways() -> impl Iterator<Item = (Keeping, bool)> {
    let all = [
        (Keeping::Linked, true),
        (Keeping::Linked, false),
        (Keeping::Packed, false),
        (Keeping::InMemory, false),
    ];
    // A build without gzip never plans it.
    all.into_iter()
        .filter(|(keeping, _)| *keeping != Keeping::Packed || packing::pack(b"").is_some())
}

/// The power cut has emptied the memory: what is in place stays, whichever it is, and the report says why.
fn without_memory(folder: &Path, program: &str, was_tried: bool) {
    if folder.join("run").exists() {
        std::fs::remove_dir_all(folder.join("run")).unwrap();
    }
    let host = host(Files::real(), folder);
    until_over(&host, 9);
    is_over(folder);
    assert_eq!(content(folder).0, program);
    if was_tried && program == "new program" {
        let report = Report::read(&host).unwrap();
        assert!(!report.success && report.error_message.contains("was in memory"));
    }
}

#[test]
fn an_upgrade_survives_every_fault_of_the_disk() {
    let mut faults = 0;
    for (keeping, works) in ways() {
        faults += each_fault(
            device,
            |folder, files| upgrade(&host(files, folder.path()), keeping, works),
            |folder, outcome, fault| {
                if let Err(error) = outcome {
                    let sentence = error.to_string();
                    assert!(is_clear(&sentence, fault), "{fault}: {sentence}");
                }
                is_whole(folder.path());
                until_over(&host(Files::real(), folder.path()), 9);
                is_over(folder.path());
            },
        );
    }
    tried(
        "faults-upgrade",
        "faults of the disk during an upgrade, its trial and its way back",
        faults,
    );
}

#[test]
fn an_upgrade_writes_little() {
    let folder = device();
    let recording = Recording::of(folder.path(), |recorder| {
        let host = host(recorder.files(), folder.path());
        upgrade(&host, Keeping::Linked, true).unwrap();
    });
    let written = recording.written();
    let names: Vec<_> = written.iter().filter_map(|path| path.to_str()).collect();
    let marker = &MARKER[1..];
    assert_eq!(names, [marker, marker, marker, &REPORT[1..]]);
    tried(
        "wear-upgrade",
        "files written by the trial of an upgrade, besides the executable itself",
        written.len(),
    );
}

#[test]
fn what_somebody_else_has_put_there_stays() {
    let folder = device();
    let host = host(Files::real(), folder.path());
    plan(&host, Keeping::Linked).unwrap().begin(&host).unwrap();
    let other = folder.path().join(PROGRAM);
    host.files.replace(&other, b"third", 0o755).unwrap();
    start(&host).unwrap();
    assert_eq!(std::fs::read(other).unwrap(), b"third");
    assert_eq!(Trial::load(&host).unwrap(), None);
}

#[test]
fn what_a_marker_could_not_be_read_with_is_no_trial() {
    let host = Host::real(Root::new(None));
    for path in ["Cargo.toml", "./Cargo.toml", "/etc/../etc/passwd", "/"] {
        let files = [(Path::new(path), false)];
        let planned = Trial::plan(&host, Event::ConfigUpdate, ("", "v1"), &files);
        assert!(matches!(planned, Err(TrialError::NotWhole(_))), "{path}");
    }
}
