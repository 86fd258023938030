//! What tests count, for the table in docs/reliability.md (tests/reliability.sh makes it).
// Included by the unit tests of src/ as well: it needs nothing but std.
#![allow(dead_code)]

use std::fmt::Display;
use std::path::PathBuf;

/// Says how many times something was tried, in a test that fails when even one went wrong.
///
/// `id` is `<section>-<name>`, in lower case; sections are those of the table. Printed always; kept as a file of its
/// own, with what and how many, when `KUBEEDGE_FIGURES` names a folder.
pub fn tried(id: &str, what: &str, how_many: impl Display) {
    println!("figure {id}: {what}: {how_many}");
    if let Some(folder) = std::env::var_os("KUBEEDGE_FIGURES") {
        let line = format!("{what}\t{how_many}\n");
        std::fs::write(PathBuf::from(folder).join(id), line).expect("the figure is kept");
    }
}
