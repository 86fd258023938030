//! The rules of the house that a program can check: imports, first lines, lengths, calls.

#[path = "house/imports.rs"]
mod imports;
#[path = "house/modules.rs"]
mod modules;
#[path = "house/text.rs"]
mod text;

use std::fs;
use std::path::{Path, PathBuf};

/// Every source file with its path from the repository's top and its content.
fn sources(folder: &str) -> Vec<(String, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = vec![top.join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let name = path.strip_prefix(top).expect("below the top");
                let content = fs::read_to_string(&path).expect("the file can be read");
                found.push((name.display().to_string(), content));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn imports_point_down() {
    let sources = sources("src");
    assert!(sources.len() > 20, "the sources were not found");
    let wrong: Vec<String> = sources
        .iter()
        .flat_map(|(path, content)| imports::faults(path, content))
        .collect();
    assert!(
        wrong.is_empty(),
        "imports that do not point down:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_file_says_its_job_first() {
    for (path, content) in sources("src").into_iter().chain(sources("tests")) {
        let first = content.lines().next().unwrap_or_default();
        assert!(first.starts_with("//! "), "{path} does not begin with //!");
    }
}

#[test]
fn files_are_short() {
    for (path, content) in sources("src") {
        let lines = content.lines().count();
        assert!(lines <= 500, "{path} has {lines} lines: look for two rooms");
    }
    let main = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs"));
    assert!(main.expect("src/main.rs").lines().count() <= 60);
}

/// Every test that a page names, as `path/file.rs::name`, is one; and so is every file.
#[test]
fn tests_that_the_manual_names_exist() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = 0;
    for entry in fs::read_dir(top.join("docs")).expect("the manual") {
        let page = entry.expect("an entry").path();
        let text = fs::read_to_string(&page).expect("a page");
        for (file, test) in text::tests_named(&text) {
            let source = fs::read_to_string(top.join(file)).unwrap_or_default();
            let there = source.contains(&format!("fn {test}("));
            assert!(there, "{}: there is no {file}::{test}", page.display());
            named += 1;
        }
    }
    assert!(named > 20, "only {named} tests are named");
}

/// Each rule of these parts of the page is shown by a test.
#[test]
fn every_rule_of_security_names_its_test() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md");
    let page = fs::read_to_string(page).expect("the page");
    let mut rules = 0;
    for part in [
        "Between the edge and the cloud",
        "Between us and a cluster",
        "What the cloud signs",
        "Weaknesses of KubeEdge, and what happens here",
    ] {
        let start = page.find(&format!("\n## {part}\n")).expect(part);
        let text = page[start + 4..].split("\n## ").next().unwrap_or_default();
        // Behind the head of the table.
        for row in text.lines().filter(|line| line.starts_with('|')).skip(2) {
            let shown = !text::tests_named(row).is_empty();
            assert!(shown || row.contains("there are none of these"), "{row}");
            rules += 1;
        }
    }
    assert!(rules > 50, "only {rules} rules");
}

/// What is called in one place only, and which that is.
const CALLS: &[(&str, &[&str])] = &[
    ("std::fs::write", &["src/system/files/"]),
    ("fs::write", &["src/system/files/"]),
    ("File::create", &["src/system/files/"]),
    ("SystemTime::now", &["src/system/clock.rs"]),
    ("smol::unblock", &[]),
    ("thread::spawn", &["src/system/blocking.rs"]),
    ("process::exit", &[]),
    ("println!", &[]),
    ("print!", &[]),
    ("eprintln!", &[]),
    ("eprint!", &[]),
    ("dbg!", &[]),
    ("todo!", &[]),
    ("unimplemented!", &[]),
    // `system::sorted` says why, and what these have.
    (
        "BTreeMap",
        &[
            "src/cloudcore/nodes/state",
            "src/store/journal.rs",
            "src/store/kubernetes/cache.rs",
            "src/store/objects.rs",
            "src/kubernetes/testing/",
        ],
    ),
    ("BTreeSet", &[]),
];

#[test]
fn calls_are_made_where_they_belong() {
    let mut wrong = Vec::new();
    let sources = sources("src");
    let of_tests = modules::of_tests(&sources);
    assert!(
        of_tests.len() > 50,
        "only {} files of tests",
        of_tests.len()
    );
    for (path, content) in sources {
        if of_tests.contains(&path) {
            continue;
        }
        for call in misplaced_calls(&path, &content) {
            wrong.push(format!("{path} calls {call}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "calls that belong elsewhere:\n{}",
        wrong.join("\n")
    );
}

fn misplaced_calls(path: &str, content: &str) -> Vec<&'static str> {
    if path == "src/main.rs" {
        return Vec::new();
    }
    let code = text::without_tests(&text::code_only(content));
    CALLS
        .iter()
        .filter(|(call, homes)| {
            text::has_call(&code, call) && !homes.iter().any(|home| path.starts_with(home))
        })
        .map(|(call, _)| *call)
        .collect()
}

#[test]
fn a_misplaced_call_is_noticed() {
    let code = "//! x\nfn f() { let _ = std::time::SystemTime::now(); println!(\"\"); }\n";
    assert_eq!(
        misplaced_calls("src/keadm/x.rs", code),
        ["SystemTime::now", "println!"]
    );
    assert_eq!(misplaced_calls("src/system/clock.rs", code), ["println!"]);
    let harmless = "// SystemTime::now\nfn eprintln_count() {}\nconst A: &str = \"todo!\";\n\
                    #[cfg(test)]\nmod tests { fn f() { std::fs::write(a, b); } }\n";
    assert!(misplaced_calls("src/keadm/x.rs", harmless).is_empty());
}
