//! Every fuzz target runs on its seeds, on the inputs that once broke it, and on damaged copies of both.
//!
//! The fuzzing itself is fuzz/run.sh; here is what must hold on every run of the tests, without a fuzzer.

#[path = "../fuzz/src/bodies/mod.rs"]
mod bodies;
mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::figures;

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The files of a folder with their content, sorted; none when there is no such folder.
fn inputs(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            (
                path.clone(),
                fs::read(&path).expect("the input can be read"),
            )
        })
        .collect();
    found.sort();
    found
}

#[test]
fn what_the_long_run_found_is_replayed() {
    let ledger = fs::read_to_string(top().join("long-run.tsv")).expect("fuzz/long-run.tsv");
    for line in ledger.lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        let findings: u32 = cells[5].parse().expect("a number of findings");
        let kept = inputs(&top().join("regressions").join(cells[0]));
        assert!(findings == 0 || !kept.is_empty(), "{line}");
    }
}

#[test]
fn every_target_has_a_file_and_seeds() {
    let manifest = fs::read_to_string(top().join("Cargo.toml")).expect("fuzz/Cargo.toml");
    let named = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/"));
    let mut files: Vec<&str> = named
        .filter_map(|rest| rest.strip_suffix(".rs\""))
        .collect();
    files.retain(|name| *name != "all");
    files.sort_unstable();
    let names: Vec<&str> = bodies::ALL.iter().map(|(name, _)| *name).collect();
    assert_eq!(files, names, "fuzz/Cargo.toml and the bodies differ");
    for name in names {
        let target = fs::read_to_string(top().join(format!("fuzz_targets/{name}.rs")));
        assert!(
            target
                .expect("the target")
                .contains(&format!("named(\"{name}\")")),
            "{name}"
        );
        assert!(
            inputs(&top().join("seeds").join(name)).len() >= 2,
            "{name} has no seeds"
        );
    }
}

#[test]
fn seeds_and_what_was_once_found() {
    let mut replayed = 0;
    for (name, _) in bodies::ALL {
        let body = bodies::named(name);
        for folder in ["seeds", "regressions"] {
            for (path, data) in inputs(&top().join(folder).join(name)) {
                let outcome = std::panic::catch_unwind(|| body(&data));
                assert!(outcome.is_ok(), "{} breaks {name}", path.display());
                replayed += 1;
            }
        }
    }
    figures::tried(
        "fuzz-replayed",
        "seeds and regressions of fuzz targets replayed",
        replayed,
    );
}

/// A poor man's fuzzer, always the same: cuts, flipped bits, doubled parts, and the seeds of other targets.
#[test]
fn damaged_seeds() {
    let mut tried = 0;
    let seeds = |name: &str| inputs(&top().join("seeds").join(name));
    for (at, (name, body)) in bodies::ALL.iter().enumerate() {
        let (neighbour, _) = bodies::ALL[(at + 1) % bodies::ALL.len()];
        for (path, data) in seeds(name).into_iter().chain(seeds(neighbour)) {
            for damaged in damages(&data) {
                let outcome = std::panic::catch_unwind(|| body(&damaged));
                assert!(
                    outcome.is_ok(),
                    "{name}, from {}: {damaged:?}",
                    path.display()
                );
                tried += 1;
            }
        }
    }
    figures::tried("fuzz-damaged", "damaged seeds tried", tried);
}

fn damages(data: &[u8]) -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(data.len() as u64);
    let mut found = vec![Vec::new()];
    for _ in 0..ROUNDS {
        let (from, to) = (random.usize(..=data.len()), random.usize(..=data.len()));
        let (from, to) = (from.min(to), from.max(to));
        found.push(data[..from].to_vec());
        found.push([&data[..to], &data[from..]].concat());
        found.push([&data[..from], &data[to..]].concat());
        let mut flipped = data.to_vec();
        if let Some(byte) = flipped.get_mut(from) {
            *byte ^= 1 << random.u32(..8);
            found.push(flipped);
        }
    }
    found
}

const ROUNDS: usize = 12;
