//! Tells the program the triple of the target it is compiled for, which only build scripts know.

fn main() {
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=KUBEEDGE_TARGET={target}");
    println!("cargo::rerun-if-changed=build.rs");
}
