//! The model itself: it finds what is wrong, and leaves nothing out.

use std::sync::Mutex;

use super::*;
use crate::system::scratch::Scratch;

/// The contents that a file can have after a cut of `flow`, in order of their first appearance.
fn outcomes(flow: impl FnOnce(&Files, &Path)) -> Vec<Option<Vec<u8>>> {
    let scratch = Scratch::new();
    let path = scratch.path().join("f");
    Files::real().replace(&path, b"old-old-", 0o600).unwrap();
    let recording = Recording::of(scratch.path(), |recorder| flow(&recorder.files(), &path));
    let seen = Mutex::new(std::collections::BTreeSet::new());
    recording.each_state(|state| {
        let found = Files::real().read_opt(&state.root().join("f"), 99).unwrap();
        seen.lock().unwrap().insert(found);
    });
    seen.into_inner().unwrap().into_iter().collect()
}

fn some(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(bytes.to_vec())
}

#[test]
fn a_careful_replacement_leaves_old_or_new() {
    let found = outcomes(|files, path| files.replace(path, b"new-new-", 0o600).unwrap());
    assert_eq!(found, [some(b"new-new-"), some(b"old-old-")]);
}

#[test]
fn a_rename_before_the_sync_is_found_out() {
    let found = outcomes(|files, path| {
        let temporary = path.with_extension("tmp");
        let disk = &files.disk;
        let mut file = disk.create_new(&temporary).unwrap();
        disk.write(&mut file, &temporary, b"new-new-").unwrap();
        disk.rename(&temporary, path).unwrap();
        disk.sync(&file, path).unwrap();
        disk.sync_dir(path.parent().unwrap()).unwrap();
    });
    let torn = [
        some(b""),
        some(b"new-"),
        some(b"new-new-"),
        some(b"old-old-"),
    ];
    assert_eq!(found, torn);
}

#[test]
fn a_file_rewritten_in_place_is_found_out() {
    let found = outcomes(|files, path| {
        let mut appender = files.appender(path, 0o600).unwrap();
        appender.truncate(0).unwrap();
        appender.append(b"new-new-").unwrap();
        appender.sync().unwrap();
    });
    let torn = [
        some(b""),
        some(b"new-"),
        some(b"new-new-"),
        some(b"old-old-"),
    ];
    assert_eq!(found, torn);
}

#[test]
fn a_promise_without_the_sync_of_the_folder_is_found_out() {
    let scratch = Scratch::new();
    let path = scratch.path().join("f");
    let broken = |synced: bool| {
        let path = path.clone();
        let recording = Recording::of(scratch.path(), |recorder| {
            let files = recorder.files();
            let file = files.disk.create_new(&path).unwrap();
            files.disk.sync(&file, &path).unwrap();
            if synced {
                files.disk.sync_dir(path.parent().unwrap()).unwrap();
            }
            recorder.promise("made");
        });
        Files::real().remove(&path).unwrap();
        let broken = Mutex::new(0);
        recording.each_state(|state| {
            let kept = state.root().join("f").exists() || !state.promised("made");
            *broken.lock().unwrap() += usize::from(!kept);
        });
        broken.into_inner().unwrap()
    };
    assert_eq!(broken(true), 0);
    assert_eq!(broken(false), 1);
}

#[test]
fn writes_are_counted_by_the_name_that_stays() {
    let scratch = Scratch::new();
    let at = |name: &str| scratch.path().join(name);
    let recording = Recording::of(scratch.path(), |recorder| {
        let files = recorder.files();
        files.replace(&at("a"), b"1", 0o600).unwrap();
        files.replace(&at("a"), b"2", 0o600).unwrap();
        files.create(&at("b"), b"1", 0o600).unwrap();
        let _lock = files.lock(&at("lock")).unwrap();
        files.symlink(Path::new("a"), &at("c")).unwrap();
        files.make_dir(&at("d"), 0o755).unwrap();
    });
    let names: Vec<_> = recording
        .written()
        .iter()
        .map(|it| it.display().to_string())
        .collect();
    assert_eq!(
        names.iter().filter(|name| *name == "b").count(),
        1,
        "{names:?}"
    );
    assert_eq!(names.len(), 4, "{names:?}");
}
