//! Which files hold nothing but tests or what they need: what the modules above them say.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// A file that another one names as its module.
#[derive(Debug, PartialEq, Eq)]
struct Child {
    /// Where it may be.
    places: Vec<PathBuf>,
    for_tests: bool,
}

/// Of the files, given with their content, those that are compiled only for tests, with all that is below them.
pub fn of_tests(sources: &[(String, String)]) -> BTreeSet<String> {
    let is_there = |place: &PathBuf| sources.iter().any(|(path, _)| Path::new(path) == place);
    let mut found = BTreeSet::new();
    let mut left: Vec<(&str, bool)> = vec![("src/lib.rs", false), ("src/main.rs", false)];
    while let Some((path, for_tests)) = left.pop() {
        let Some((path, content)) = sources.iter().find(|(it, _)| it == path) else {
            continue;
        };
        if for_tests {
            found.insert(path.clone());
        }
        for child in children(path, content) {
            // What unit tests share with the others lies in their folder.
            if child.places.iter().any(|place| has_dots(place)) {
                continue;
            }
            let place = child.places.into_iter().find(is_there);
            let place = place.unwrap_or_else(|| panic!("{path} has a module without a file"));
            let child_path = sources.iter().find(|(it, _)| Path::new(it) == place);
            let (child_path, _) = child_path.expect("it is there");
            left.push((child_path, for_tests || child.for_tests));
        }
    }
    found
}

fn has_dots(place: &Path) -> bool {
    place.components().any(|part| part == Component::ParentDir)
}

fn children(path: &str, content: &str) -> Vec<Child> {
    let path = Path::new(path);
    let folder = path.parent().expect("a folder");
    let is_top = ["mod.rs", "lib.rs", "main.rs"]
        .iter()
        .any(|name| path.ends_with(name));
    let below = match is_top {
        true => folder.to_owned(),
        false => path.with_extension(""),
    };
    let mut found = Vec::new();
    let (mut for_tests, mut given) = (false, None);
    for line in content.lines() {
        if let Some(name) = declared(line) {
            let places = match given {
                Some(place) => vec![folder.join::<&str>(place)],
                None => vec![
                    below.join(format!("{name}.rs")),
                    below.join(name).join("mod.rs"),
                ],
            };
            found.push(Child { places, for_tests });
        }
        // What stands above an item belongs to it.
        match line.strip_prefix("#[") {
            Some(attribute) if attribute.starts_with("cfg(test)") => for_tests = true,
            Some(attribute) => {
                given = attribute
                    .strip_prefix("path = \"")
                    .and_then(|it| it.strip_suffix("\"]"))
                    .or(given);
            }
            None if line.starts_with("//") => {}
            None => (for_tests, given) = (false, None),
        }
    }
    found
}

/// The name in `mod NAME;`, whoever may see it.
fn declared(line: &str) -> Option<&str> {
    let (before, name) = line.strip_suffix(';')?.rsplit_once("mod ")?;
    let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
    let is_seen = before.is_empty() || before.starts_with("pub");
    (is_name && is_seen).then_some(name)
}

#[test]
fn a_module_for_tests_takes_all_below_it_along() {
    let sources = [
        (
            "src/lib.rs",
            "pub mod a;\n#[cfg(test)]\n/// Words.\nmod b;\nmod c;\n",
        ),
        (
            "src/a.rs",
            "#[cfg(test)]\n#[path = \"../tests/shared.rs\"]\nmod shared;\n#[cfg(test)]\n#[path = \"a_cuts.rs\"]\nmod cuts;\npub(crate) mod d;\n#[cfg(test)]\nmod tests {}\n",
        ),
        ("src/a_cuts.rs", ""),
        ("src/a/d.rs", "#[cfg(feature = \"x\")]\nmod e;\n// mod f;\n"),
        ("src/a/d/e.rs", ""),
        ("src/b/mod.rs", "mod g;\n"),
        ("src/b/g.rs", ""),
        ("src/c.rs", ""),
    ];
    let sources: Vec<(String, String)> = sources
        .iter()
        .map(|(path, content)| ((*path).to_owned(), (*content).to_owned()))
        .collect();
    let found: Vec<String> = of_tests(&sources).into_iter().collect();
    assert_eq!(found, ["src/a_cuts.rs", "src/b/g.rs", "src/b/mod.rs"]);
}
