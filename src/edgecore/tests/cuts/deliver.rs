//! A delivered folder, cut and disturbed everywhere: each file is the old one or the new one, and never a part.

use std::collections::BTreeMap;
use std::path::Path;

use crate::edgecore::deliver::folder::write;
use crate::edgecore::deliver::spool::{File, Files as Wanted};
use crate::system::figures::tried;
use crate::system::files::Files;
use crate::system::files::crash::{Recording, each_fault, is_clear};
use crate::system::scratch::Scratch;

type Given = &'static [(&'static str, &'static str)];

const OLD: Given = &[
    ("a", "old a"),
    ("b", "old b"),
    ("sub/c", "old c"),
    ("d", "same"),
];
const FLOWS: &[Given] = &[
    &[
        ("a", "new a"),
        ("b", "old b"),
        ("sub/c", "old c"),
        ("d", "same"),
    ],
    &[
        ("a", "new a"),
        ("sub/c", "new c"),
        ("sub/deep/e", "new e"),
        ("d", "same"),
    ],
    &[],
];

fn wanted(given: Given) -> Wanted {
    let file =
        |(name, text): &(&str, &str)| ((*name).to_owned(), File::new(text.as_bytes(), false));
    Wanted {
        by_path: given.iter().map(file).collect(),
        ..Wanted::default()
    }
}

fn prepared() -> Scratch {
    let folder = Scratch::new();
    assert!(write(&Files::real(), &folder.path().join("app"), &wanted(OLD)).unwrap());
    folder
}

/// What programs on the device would read, by path; temporary files and the list left out.
fn found(folder: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut folders = vec![String::new()];
    while let Some(inner) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder.join(&inner)) else {
            continue;
        };
        for entry in entries.map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            let path = format!("{inner}{name}");
            if entry.file_type().unwrap().is_dir() {
                folders.push(format!("{path}/"));
            } else if !name.starts_with('.') {
                let text = std::fs::read_to_string(entry.path()).unwrap();
                all.insert(path, text);
            }
        }
    }
    all
}

fn as_map(given: Given) -> BTreeMap<String, String> {
    let pair = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    given.iter().map(pair).collect()
}

fn each_is_old_or_new(found: &BTreeMap<String, String>, flow: Given) {
    let (old, new) = (as_map(OLD), as_map(flow));
    let names = old.keys().chain(new.keys()).chain(found.keys());
    for name in names {
        let is = found.get(name);
        assert!(
            is == old.get(name) || is == new.get(name),
            "{name} is {is:?}"
        );
    }
}

/// Written once more, it is as wanted, and nothing is left of the attempt before.
fn is_brought_to_its_end(top: &Path, flow: Given) {
    let app = top.join("app");
    write(&Files::real(), &app, &wanted(flow)).unwrap();
    assert_eq!(found(&app), as_map(flow));
    for folder in ["", "sub", "sub/deep"] {
        for entry in std::fs::read_dir(app.join(folder)).into_iter().flatten() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.contains(".tmp-"), "{name} is left");
        }
    }
    assert!(!write(&Files::real(), &app, &wanted(flow)).unwrap());
}

#[test]
fn a_delivered_folder_may_lose_its_power_at_any_moment() {
    let mut states = 0;
    for flow in FLOWS {
        let folder = prepared();
        let recording = Recording::of(folder.path(), |recorder| {
            let app = folder.path().join("app");
            assert!(write(&recorder.files(), &app, &wanted(flow)).unwrap());
            recorder.promise("written");
        });
        states += recording.each_state(|state| {
            let app = state.root().join("app");
            let found = found(&app);
            each_is_old_or_new(&found, flow);
            assert!(found == as_map(flow) || !state.promised("written"));
            is_brought_to_its_end(state.root(), flow);
        });
    }
    tried(
        "cuts-deliver",
        "states a power cut leaves of a folder that objects are delivered to",
        states,
    );
}

#[test]
fn a_delivered_folder_survives_every_fault_of_the_disk() {
    let mut faults = 0;
    for flow in FLOWS {
        faults += each_fault(
            prepared,
            |folder, files| write(&files, &folder.path().join("app"), &wanted(flow)),
            |folder, outcome, fault| {
                let found = found(&folder.path().join("app"));
                each_is_old_or_new(&found, flow);
                match outcome {
                    Ok(_) => assert_eq!(found, as_map(flow)),
                    Err(sentence) => assert!(is_clear(&sentence, fault), "{fault}: {sentence}"),
                }
                is_brought_to_its_end(folder.path(), flow);
            },
        );
    }
    tried(
        "faults-deliver",
        "faults of the disk while a folder is delivered",
        faults,
    );
}
