//! The table in docs/reliability.md speaks of tests that exist, README's of what was measured in whole systems.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn text_below(folder: &Path) -> String {
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    let mut text = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                text.push_str(&fs::read_to_string(&path).expect("the file can be read"));
            }
        }
    }
    text
}

#[test]
fn every_figure_of_the_table_has_its_test() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = text_below(&top.join("src")) + &text_below(&top.join("tests"));
    let page = fs::read_to_string(top.join("docs/reliability.md")).expect("the page");
    let ids: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_suffix("` |")?.rsplit_once("| `"))
        .map(|(_, id)| id)
        .collect();
    assert!(
        ids.len() > 20,
        "the table is not there: tests/reliability.sh makes it"
    );
    let named = |id: &str| sources.contains(&format!("\"{id}\""));
    let exists = |id: &str| match id.strip_prefix("fuzz-") {
        Some(target) if !named(id) => {
            let file = format!("fuzz/fuzz_targets/{}.rs", target.replace('-', "_"));
            top.join(file).exists()
        }
        // A line of tests/long-runs.tsv, by a test that has its short form in the table too.
        _ => named(id) || id.strip_prefix("long-").is_some_and(named),
    };
    let missing: Vec<&&str> = ids.iter().filter(|id| !exists(id)).collect();
    assert!(missing.is_empty(), "no test says so any more: {missing:?}");
}

/// As qemu-tests/system/figures.py writes them.
const COLUMNS: [&str; 7] = [
    "rss_kb",
    "pss_kb",
    "boot_to_session_s",
    "join_s",
    "join_bytes",
    "rotation_bytes",
    "idle_bytes_per_day",
];

/// Whole numbers have a comma before each three digits.
fn cell(value: &Value) -> String {
    let mut text = match value {
        Value::Null => String::new(),
        number => number.to_string(),
    };
    if value.is_u64() {
        let digits = text.len();
        for at in (1..digits).rev().filter(|at| (digits - at) % 3 == 0) {
            text.insert(at, ',');
        }
    }
    text
}

fn row(machine: &Value) -> String {
    let name = |key: &str| machine[key].as_str().expect("a name").to_owned();
    let figures = &machine["figures"];
    // A minute says nothing of a day.
    let is_long = |key| {
        key != "idle_bytes_per_day" || figures["idle_seconds"].as_u64().is_some_and(|it| it >= 600)
    };
    let shown = |key| {
        if is_long(key) {
            &figures[key]
        } else {
            &Value::Null
        }
    };
    let cells = COLUMNS.map(|key| cell(shown(key)));
    format!(
        "| {} {} | {} |",
        name("arch"),
        name("system"),
        cells.join(" | ")
    )
}

#[test]
fn the_readme_has_the_figures_of_whole_systems() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = |path| fs::read_to_string(top.join(path)).expect("the file can be read");
    let machines: Vec<Value> =
        serde_json::from_str(&text("qemu-tests/results/systems.json")).expect("a list of machines");
    let measured = |machine: &&Value| machine["figures"]["rss_kb"].is_u64();
    let expected: Vec<String> = machines.iter().filter(measured).map(row).collect();
    let page = text("README.md");
    let shown: Vec<&str> = page
        .lines()
        .skip_while(|line| !line.starts_with("<!-- from qemu-tests/results/systems.json"))
        .take_while(|line| !line.starts_with("<!-- end"))
        .filter(|line| line.starts_with("| armv7 ") || line.starts_with("| aarch64 "))
        .collect();
    assert!(
        expected.len() > 3,
        "the results of a whole run are not there"
    );
    assert_eq!(shown, expected, "qemu-tests/run.sh --readme writes them");
}
