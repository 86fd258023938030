//! The table in docs/reliability.md speaks of tests that exist.

use std::fs;
use std::path::{Path, PathBuf};

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
