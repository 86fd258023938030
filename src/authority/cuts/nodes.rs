//! Changes to the nodes a cloud knows, cut and disturbed everywhere: in the journal, while it is written anew, and while
//! what was damaged is repaired.

use super::*;

fn journal(folder: &Scratch) -> std::path::PathBuf {
    folders(folder.path())[1].join("nodes.journal")
}

/// One line more and it is written anew, without what is old.
fn long_journal() -> Scratch {
    let folder = Scratch::new();
    drop(open(&Files::real(), folder.path()).unwrap());
    let store = store(&Files::real(), folder.path()).unwrap();
    smol::block_on(store.record_node(&name("a"), record("0"), Claim::Any)).unwrap();
    drop(store);
    let (files, path) = (Files::real(), journal(&folder));
    let line = files.read(&path, 1024).unwrap();
    files.replace(&path, &line.repeat(1002), 0o600).unwrap();
    folder
}

fn is_short(folder: &Scratch) -> bool {
    Files::real().read(&journal(folder), 1024).is_ok()
}

/// Of three nodes, with a torn end or a flipped bit in the middle: two are left.
fn damaged_journal(is_torn: bool) -> Scratch {
    let folder = Scratch::new();
    let store = store(&Files::real(), folder.path()).unwrap();
    for (node, key) in [("a", "1"), ("b", "2"), ("c", "3")] {
        let node = name(node);
        smol::block_on(store.record_node(&node, record(key), Claim::Any)).unwrap();
    }
    drop(store);
    let (files, path) = (Files::real(), journal(&folder));
    let mut bytes = files.read(&path, 4096).unwrap();
    match is_torn {
        true => bytes.truncate(bytes.len() - 5),
        false => bytes[20] ^= 1,
    }
    files.replace(&path, &bytes, 0o600).unwrap();
    folder
}

/// Records changes to nodes one by one; every one that was answered is kept, in order.
fn cut_changes(folder: &Path, changes: &[(&'static str, Option<&str>)]) -> usize {
    // Each a promise: a name of its own for the first ones.
    const ANSWERED: [&str; 4] = ["1", "2", "3", "4"];
    let mut history = vec![nodes(&store(&Files::real(), folder).unwrap())];
    let recording = Recording::of(folder, |recorder| {
        let store = store(&recorder.files(), folder).unwrap();
        for (answered, (node, key)) in ANSWERED.iter().zip(changes) {
            let node = name(node);
            match key {
                Some(key) => {
                    let stored = store.record_node(&node, record(key), Claim::Any);
                    smol::block_on(stored).unwrap();
                }
                None => assert!(smol::block_on(store.remove_node(&node)).unwrap()),
            }
            recorder.promise(answered);
            history.push(nodes(&store));
        }
    });
    recording.each_state(|state| {
        let store = store(&Files::real(), state.root()).unwrap();
        let found = nodes(&store);
        let answered = ANSWERED.iter().filter(|it| state.promised(it)).count();
        assert!(history[answered..].contains(&found), "lost: {found:?}");
        let later = name("z");
        smol::block_on(store.record_node(&later, record("9"), Claim::Any)).unwrap();
        drop(store);
        in_order(state.root());
        let store = self::store(&Files::real(), state.root()).unwrap();
        assert_eq!(nodes(&store).len(), found.len() + 1);
    })
}

#[test]
fn a_change_of_nodes_may_lose_its_power_at_any_moment() {
    let changes = [
        ("a", Some("1")),
        ("b", Some("2")),
        ("a", Some("3")),
        ("b", None),
    ];
    let plain = Scratch::new();
    drop(open(&Files::real(), plain.path()).unwrap());
    let mut states = cut_changes(plain.path(), &changes);

    let long = long_journal();
    states += cut_changes(long.path(), &changes[..2]);
    assert!(is_short(&long), "it was written anew");
    tried(
        "cuts-nodes",
        "states a power cut leaves of changes to the nodes a cloud knows",
        states,
    );
}

#[test]
fn a_repair_of_the_nodes_may_lose_its_power_at_any_moment() {
    let mut states = 0;
    for is_torn in [true, false] {
        let folder = damaged_journal(is_torn);
        let mut repaired = Nodes::new();
        let recording = Recording::of(folder.path(), |recorder| {
            repaired = nodes(&self::store(&recorder.files(), folder.path()).unwrap());
        });
        assert_eq!(repaired.len(), 2);
        states += recording.each_state(|state| {
            let store = self::store(&Files::real(), state.root()).unwrap();
            assert_eq!(nodes(&store), repaired);
        });
    }
    tried(
        "cuts-repair",
        "states a power cut leaves of the repair of a damaged journal",
        states,
    );
}

#[test]
fn the_journal_of_the_nodes_survives_every_fault_of_the_disk() {
    let changing = |folder: &Scratch, files: Files| -> Result<(), String> {
        let store = store(&files, folder.path()).map_err(|error| error.to_string())?;
        // The first finds a journal that is too long.
        let a = name("a");
        for key in ["1", "2"] {
            let stored = store.record_node(&a, record(key), Claim::Any);
            smol::block_on(stored).map_err(|error| error.to_string())?;
        }
        Ok(())
    };
    let rewritten = each_fault(long_journal, changing, |folder, outcome, fault| {
        let store = store(&Files::real(), folder.path()).unwrap();
        let found = nodes(&store).remove(&name("a")).unwrap();
        assert!(["0", "1", "2"].map(record).contains(&found), "{fault}");
        match outcome {
            Ok(()) => assert!(found == record("2") && is_short(&folder), "{fault}"),
            Err(sentence) => assert!(is_clear(&sentence, fault), "{fault}: {sentence}"),
        }
        drop(store);
        changing(&folder, Files::real()).unwrap();
        assert!(is_short(&folder), "{fault}");
        in_order(folder.path());
    });
    let mut repaired = 0;
    for is_torn in [true, false] {
        let setup = || damaged_journal(is_torn);
        let opening = |folder: &Scratch, files: Files| store(&files, folder.path()).map(drop);
        repaired += each_fault(setup, opening, |folder, outcome, fault| {
            if let Err(error) = outcome {
                let sentence = error.to_string();
                assert!(is_clear(&sentence, fault), "{fault}: {sentence}");
            }
            let store = store(&Files::real(), folder.path()).unwrap();
            assert_eq!(nodes(&store).len(), 2, "{fault}");
            drop(store);
            in_order(folder.path());
        });
    }
    tried(
        "faults-nodes",
        "faults of the disk while the journal of the nodes is written anew, or repaired",
        rewritten + repaired,
    );
}
