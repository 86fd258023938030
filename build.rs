//! Tells the program what only build scripts know: the triple of its target, its features, when it was built, and all of manifests/.

use std::env::var;
use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    let target = var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=KUBEEDGE_TARGET={target}");
    println!("cargo::rustc-env=KUBEEDGE_FEATURES={}", features());
    // The time of the sources, not of this moment: the same sources give the same file.
    let given = var("SOURCE_DATE_EPOCH").ok();
    let built = given.and_then(|text| text.trim().parse().ok());
    let built = built.unwrap_or(0).clamp(EARLIEST, LATEST);
    println!("cargo::rustc-env=KUBEEDGE_BUILT={built}");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=manifests");
    pack();
}

/// Those that Cargo has been asked for, without the names of sets of them.
fn features() -> String {
    let names = std::env::vars().filter_map(|(name, _)| {
        let name = name.strip_prefix("CARGO_FEATURE_")?.to_lowercase();
        (!["default", "device"].contains(&name.as_str())).then_some(name)
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.join(",")
}

/// The files of manifests/ as one deflated text: before each a line with its name, which begins with a
/// character that no YAML has.
fn pack() {
    let top = Path::new("manifests");
    let mut text = String::new();
    for path in files(top) {
        let name = path.strip_prefix(top).expect("below the top");
        let content = fs::read_to_string(&path).expect("a text");
        text.push_str(&format!("\u{1e}{}\n{content}", name.display()));
    }
    let packed = miniz_oxide::deflate::compress_to_vec(text.as_bytes(), 10);
    let out = Path::new(&var("OUT_DIR").expect("cargo names it")).join("manifests.deflate");
    #[expect(clippy::disallowed_methods, reason = "a build that fails is repeated")]
    fs::write(out, packed).expect("the folder of the build is writable");
}

/// All below a folder, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|it| it == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// 2026-01-01, before the first line of this program was written; and the end of 9999.
const EARLIEST: u64 = 1_767_225_600;
const LATEST: u64 = 253_402_300_799;
