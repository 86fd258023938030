//! What a test could not try on this machine: said past the harness, which shows nothing of a test that passes.
// Included by the unit tests of src/ as well: it needs nothing but std.
#![allow(dead_code)]

use std::io::Write;

/// For a test that ends without having shown what it is for; tests/all.sh counts these lines.
pub fn not_tried(why: &str) {
    let _ = writeln!(std::io::stderr(), "not tried: {why}");
}
