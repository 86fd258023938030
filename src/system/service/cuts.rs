//! The files of every init system, cut and disturbed everywhere: the next one puts them in order, or takes them away.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::system::figures::tried;
use crate::system::files::Files;
use crate::system::files::crash::{Recording, each_fault, is_clear};
use crate::system::root::Root;
use crate::system::scratch::Scratch;

const KINDS: [Choice; 5] = [
    Choice::BusyBox,
    Choice::OpenRc,
    Choice::Procd,
    Choice::Rcs,
    Choice::Systemd,
];
const INITTAB: &str =
    "::sysinit:/etc/init.d/rcS\n# of the barn\nttyS0::respawn:/sbin/getty 9600 ttyS0\n";
const UCI: &str = "config edgecore\n\toption enabled '0'\n\toption server 'a' # of the barn\n";

/// A machine with what the operator has there.
fn machine() -> Scratch {
    let folder = Scratch::new();
    let files = Files::real();
    for (path, text, mode) in [
        ("etc/inittab", INITTAB, 0o640),
        ("etc/config/kubeedge", UCI, 0o600),
    ] {
        let path = folder.path().join(path);
        files.make_dir(path.parent().unwrap(), 0o755).unwrap();
        files.replace(&path, text.as_bytes(), mode).unwrap();
    }
    folder
}

fn host(files: Files, folder: &Path) -> Host {
    Host {
        files,
        ..Host::real(Root::new(Some(folder.to_owned())))
    }
}

/// As join has it.
fn put(files: Files, folder: &Path, kind: Choice) -> Result<(), ServiceError> {
    let host = host(files, folder);
    let service = detect(&host, Daemon::edgecore(&host.root), kind);
    service.install()?;
    service.enable()?;
    Ok(())
}

/// As reset has it.
fn take(files: Files, folder: &Path) -> Result<(), ServiceError> {
    let host = host(files, folder);
    let taken = give_up(&host, &Daemon::edgecore(&host.root), None);
    taken.into_iter().try_for_each(|report| report.map(drop))
}

/// Until it is so: a program that another test starts holds what is open here, and so what is half written, until
/// it runs.
fn ends_as(wanted: &BTreeMap<String, String>, folder: &Path, again: impl Fn()) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        again();
        let found = tree(folder);
        if found == *wanted {
            return;
        }
        let is_left = |name: &String| name.contains(".tmp-");
        let may_end = found.keys().any(is_left) && Instant::now() < end;
        assert!(may_end, "{found:#?} instead of {wanted:#?}");
        std::thread::yield_now();
    }
}

/// Every file and link with its content and mode; what is left half written as well.
fn tree(folder: &Path) -> BTreeMap<String, String> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(inner).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            if let Ok(target) = path.read_link() {
                found.insert(name, format!("-> {}", target.display()));
            } else if path.is_dir() {
                folders.push(path);
            } else {
                let mode = Files::real().mode(&path).unwrap();
                let text = fs::read_to_string(&path).unwrap();
                found.insert(name, format!("{mode:o} {text}"));
            }
        }
    }
    found
}

/// No state has less of the operator's than this.
fn has_the_operators(folder: &Path) {
    let found = tree(folder);
    for (path, kept) in [
        ("etc/inittab", INITTAB),
        ("etc/config/kubeedge", "of the barn"),
    ] {
        // What procd's share of the file was made of goes with it.
        if let Some(text) = found.get(path) {
            assert!(text.contains(kept), "{path}: {text}");
        }
    }
    assert!(found["etc/inittab"].starts_with("640 "), "{found:?}");
}

/// What it is with the service, and without it again.
fn ends(kind: Choice) -> [BTreeMap<String, String>; 2] {
    let folder = machine();
    put(Files::real(), folder.path(), kind).unwrap();
    let with = tree(folder.path());
    take(Files::real(), folder.path()).unwrap();
    [with, tree(folder.path())]
}

#[test]
fn files_of_an_init_system_may_lose_their_power_at_any_moment() {
    let mut states = 0;
    for kind in KINDS {
        let [with, without] = ends(kind);
        assert_ne!(with, without);
        let folder = machine();
        let recording = Recording::of(folder.path(), |recorder| {
            put(recorder.files(), folder.path(), kind).unwrap();
            recorder.promise("put");
        });
        states += recording.each_state(|state| {
            has_the_operators(state.root());
            let is_there = tree(state.root()) == with;
            assert!(is_there || !state.promised("put"));
            put(Files::real(), state.root(), kind).unwrap();
            assert_eq!(tree(state.root()), with);
            take(Files::real(), state.root()).unwrap();
            assert_eq!(tree(state.root()), without);
        });
        let recording = Recording::of(folder.path(), |recorder| {
            take(recorder.files(), folder.path()).unwrap();
            recorder.promise("taken");
        });
        states += recording.each_state(|state| {
            has_the_operators(state.root());
            let is_gone = tree(state.root()) == without;
            assert!(is_gone || !state.promised("taken"));
            take(Files::real(), state.root()).unwrap();
            assert_eq!(tree(state.root()), without);
        });
    }
    tried(
        "cuts-init",
        "states a power cut leaves of the files of five init systems, put there or taken away",
        states,
    );
}

#[test]
fn files_of_an_init_system_survive_every_fault_of_the_disk() {
    let mut faults = 0;
    for kind in KINDS {
        let [with, without] = ends(kind);
        let putting = |folder: &Scratch, files| put(files, folder.path(), kind);
        faults += each_fault(machine, putting, |folder, outcome, fault| {
            has_the_operators(folder.path());
            if let Err(error) = outcome {
                assert!(is_clear(&error.to_string(), fault), "{fault}: {error}");
            }
            let again = || put(Files::real(), folder.path(), kind).unwrap();
            ends_as(&with, folder.path(), again);
        });
        let there = || {
            let folder = machine();
            put(Files::real(), folder.path(), kind).unwrap();
            folder
        };
        let taking = |folder: &Scratch, files| take(files, folder.path());
        faults += each_fault(there, taking, |folder, outcome, fault| {
            has_the_operators(folder.path());
            if let Err(error) = outcome {
                assert!(is_clear(&error.to_string(), fault), "{fault}: {error}");
            }
            let again = || take(Files::real(), folder.path()).unwrap();
            ends_as(&without, folder.path(), again);
        });
    }
    tried(
        "faults-init",
        "faults of the disk while files of five init systems are put there or taken away",
        faults,
    );
}
