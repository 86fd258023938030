//! No recording lies idle: each is replayed by a test that exists, or says why it is not.

use std::fs;
use std::path::{Path, PathBuf};

/// A line of tests/vectors/coverage.tsv.
struct Row {
    files: String,
    tests: Vec<String>,
    reason: String,
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rows() -> Vec<Row> {
    let table = fs::read_to_string(top().join("tests/vectors/coverage.tsv")).expect("the table");
    let row = |line: &str| {
        let mut cells = line.split('\t').map(str::to_owned);
        let files = cells.next().expect("a pattern");
        let tests = cells.next().expect("tests, or a dash");
        let tests = tests.split(' ').filter(|test| *test != "-");
        let row = Row {
            files,
            tests: tests.map(str::to_owned).collect(),
            reason: cells.next().unwrap_or_default(),
        };
        assert_eq!(cells.next(), None, "{line}");
        row
    };
    table.lines().skip(1).map(row).collect()
}

/// Every file below tests/vectors, from there.
fn recordings() -> Vec<String> {
    let vectors = top().join("tests/vectors");
    let mut folders: Vec<PathBuf> = vec![vectors.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&vectors).expect("below it");
                found.push(name.to_str().expect("UTF-8").to_owned());
            }
        }
    }
    found
}

/// Whether a name has the form of a pattern; a star stands for anything but a slash.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            let mut ends = ends.take_while(|at| !rest[..*at].contains('/'));
            ends.any(|at| fits(after, &rest[at..]))
        }),
    }
}

#[test]
fn every_recording_is_replayed_or_excused() {
    let (rows, recordings) = (rows(), recordings());
    assert!(recordings.len() > 400, "the recordings were not found");
    for name in &recordings {
        let covered = rows.iter().filter(|row| fits(&row.files, name)).count();
        assert!(
            covered > 0,
            "{name} is in no line of tests/vectors/coverage.tsv"
        );
    }
    for row in &rows {
        let files = &row.files;
        let used = recordings.iter().any(|name| fits(files, name));
        assert!(used, "{files}: there is no such recording");
        let excused = !row.tests.is_empty() || !row.reason.is_empty();
        assert!(excused, "{files}: neither a test nor a reason");
    }
}

#[test]
fn every_test_of_the_table_exists() {
    for row in rows() {
        for test in &row.tests {
            let (path, name) = test.split_once("::").expect("path::function");
            let code = fs::read_to_string(top().join(path)).unwrap_or_default();
            let found = code.contains(&format!("fn {name}() {{"));
            assert!(found, "{}: there is no test {test}", row.files);
        }
    }
}

#[test]
fn patterns() {
    for (pattern, name, wanted) in [
        ("a/b.c", "a/b.c", true),
        ("a/*.c", "a/b.c", true),
        ("a/*.c", "a/b.c.c", true),
        ("a/*.c", "a/b/x.c", false),
        ("a/*.c", "a/b.d", false),
        ("a/*-*.c", "a/1-2.c", true),
        ("a/b*", "a/b", true),
        ("*.c", "a/b.c", false),
    ] {
        assert_eq!(fits(pattern, name), wanted, "{pattern} {name}");
    }
}
