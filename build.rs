//! Tells the program what only build scripts know: the triple of its target, and when it was built.

fn main() {
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=KUBEEDGE_TARGET={target}");
    // The time of the sources, not of this moment: the same sources give the same file.
    let given = std::env::var("SOURCE_DATE_EPOCH").ok();
    let built = given.and_then(|text| text.trim().parse().ok());
    let built = built.unwrap_or(0).clamp(EARLIEST, LATEST);
    println!("cargo::rustc-env=KUBEEDGE_BUILT={built}");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo::rerun-if-changed=build.rs");
}

/// 2026-01-01, before the first line of this program was written; and the end of 9999.
const EARLIEST: u64 = 1_767_225_600;
const LATEST: u64 = 253_402_300_799;
