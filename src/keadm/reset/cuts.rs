//! Resets, cut and disturbed everywhere: the device can be reset again, and joined again.

use std::path::Path;

use super::*;
use crate::keadm::join::cuts as joining;
use crate::keadm::testing::{Cloud, host, kill_edgecore};
use crate::pki::key::PrivateKey;
use crate::system::figures::tried;
use crate::system::files::Files;
use crate::system::files::crash::{Recording, duplicate, faults_in_turn, is_clear};
use crate::system::scratch::Scratch;

/// A device that has joined, and lost its power then.
fn joined(cloud: &Cloud, folder: &Path) {
    let (program, node) = (cloud.program(), joining::new_name());
    let joined = joining::attempt(cloud, &program, Files::real(), folder, &node);
    kill_edgecore(folder);
    joined.unwrap();
}

/// Resets as the command does; what is left, a sentence each.
fn attempt(files: Files, folder: &Path) -> Result<Vec<String>, String> {
    let flags = Flags {
        force: true,
        pre_run: String::new(),
        post_run: String::new(),
        output: Format::Json,
    };
    let outcome = loop {
        match reset(&host(files.clone(), folder), &flags) {
            Err(ResetError::Lock(error)) if joining::is_held_by_a_fork(&error) => {}
            outcome => break outcome,
        }
    };
    outcome
        .map(|outcome| outcome.left)
        .map_err(|error| error.to_string())
}

/// The key is whole or gone.
fn is_no_mixture(folder: &Path) {
    if let Ok(unit) = std::fs::read(folder.join("etc/kubeedge/certs/server.key")) {
        PrivateKey::from_pem(&unit).unwrap();
    }
}

fn is_clean(folder: &Path) {
    for path in ["etc/kubeedge", "var/lib/kubeedge", "var/log/kubeedge"] {
        assert!(!folder.join(path).exists(), "{path} is left");
    }
    // An empty folder there is nobody's trace, and in memory.
    let entries = std::fs::read_dir(folder.join("run/kubeedge"));
    assert_eq!(entries.into_iter().flatten().count(), 0);
    assert!(folder.join("usr/local/bin/kubeedge").exists());
}

#[test]
fn a_reset_may_lose_its_power_at_any_moment() {
    let (cloud, folder) = (Cloud::start(), Scratch::new());
    joined(&cloud, folder.path());
    let recording = Recording::of(folder.path(), |recorder| {
        assert_eq!(attempt(recorder.files(), folder.path()), Ok(vec![]));
        recorder.promise("reset");
    });
    let states = recording.each_state(|state| {
        is_no_mixture(state.root());
        if state.promised("reset") {
            is_clean(state.root());
        }
        // Whoever wants the device back has it; and it can be reset for good.
        joined(&cloud, state.root());
        assert_eq!(attempt(Files::real(), state.root()), Ok(vec![]));
        is_clean(state.root());
    });
    tried("cuts-reset", "states a power cut leaves of a reset", states);
}

#[test]
fn a_reset_survives_every_fault_of_the_disk() {
    let (cloud, original) = (Cloud::start(), Scratch::new());
    joined(&cloud, original.path());
    let setup = || {
        let folder = Scratch::new();
        duplicate(original.path(), folder.path());
        folder
    };
    let flow = |folder: &Scratch, files| attempt(files, folder.path());
    let faults = faults_in_turn(setup, flow, |folder, outcome, fault| {
        let sentences = outcome.unwrap_or_else(|sentence| vec![sentence]);
        for sentence in &sentences {
            assert!(is_clear(sentence, fault), "{fault}: {sentence}");
        }
        is_no_mixture(folder.path());
        assert_eq!(attempt(Files::real(), folder.path()), Ok(vec![]));
        is_clean(folder.path());
    });
    tried("faults-reset", "faults of the disk during a reset", faults);
}
