//! What upgrades read from disks and servers: lists of digests, manifests of backups, the marker and the report of a trial.

use std::path::{Component, Path};

use kubeedge::keadm::backup::Kept;
use kubeedge::pki::sums;
use kubeedge::trial::{Report, Trial};

use super::assert_sentence;

/// A name, a line end, and a list: what is found stands in it, on a line with the name.
pub fn sums(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n');
    let (name, list) = data.split_at(at.unwrap_or(data.len()));
    let Ok(name) = std::str::from_utf8(name) else {
        return;
    };
    let list = list.get(1..).unwrap_or_default();
    if let Some(digest) = sums::find(list, name) {
        let text = String::from_utf8_lossy(list).to_lowercase();
        let line = format!("{digest} ");
        let mut lines = text.lines().filter(|it| it.starts_with(&line));
        assert!(
            lines.any(|it| it.ends_with(&name.to_lowercase())),
            "{digest}"
        );
        // One that is added behind changes nothing.
        let longer = [
            list,
            b"\n",
            "0".repeat(64).as_bytes(),
            b"  ",
            name.as_bytes(),
        ]
        .concat();
        assert_eq!(sums::find(&longer, name), Some(digest));
    }
}

/// The manifest of a backup: it names files in its folder, and whole paths where they belong.
pub fn manifest(data: &[u8]) {
    match Kept::parse(data) {
        Ok(kept) => {
            for entry in &kept.files {
                let inside = Path::new("/top").join(&entry.name);
                assert_eq!(inside.parent(), Some(Path::new("/top")), "{entry:?}");
                leads_down(&entry.path);
            }
            let again = serde_json::to_vec(&kept).expect("it is JSON");
            assert_eq!(Kept::parse(&again), Ok(kept));
        }
        Err(why) => assert_sentence(&why),
    }
}

/// The marker of a trial, and the report of one: what is read ends, and is written again to the same.
pub fn trial(data: &[u8]) {
    if let Ok(report) = serde_json::from_slice::<Report>(data) {
        let again = serde_json::to_vec(&report).expect("it is JSON");
        assert_eq!(serde_json::from_slice::<Report>(&again).ok(), Some(report));
    }
    match Trial::parse(data) {
        Ok(trial) => {
            assert!(trial.tries <= 3 && trial.patience().as_secs() <= 86_400);
            trial.about().for_each(leads_down);
            let again = serde_json::to_vec(&trial).expect("it is JSON");
            assert_eq!(Trial::parse(&again), Ok(trial));
        }
        Err(why) => assert_sentence(&why),
    }
}

fn leads_down(path: &Path) {
    let mut steps = path.components();
    assert_eq!(steps.next(), Some(Component::RootDir), "{path:?}");
    assert!(path.file_name().is_some(), "{path:?}");
    assert!(
        steps.all(|step| matches!(step, Component::Normal(_))),
        "{path:?}"
    );
}
