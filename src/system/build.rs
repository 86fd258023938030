//! What this executable was built from and for.

use std::env::consts;

/// The version of this package, such as `0.1.0`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The target triple, which build.rs hands over.
pub const TARGET: &str = env!("KUBEEDGE_TARGET");

/// `release`, or `dev` for builds with debug assertions.
pub fn profile() -> &'static str {
    match cfg!(debug_assertions) {
        true => "dev",
        false => "release",
    }
}

/// The platform in Go's words, such as `linux/arm64`.
pub fn go_platform() -> String {
    let arch = match consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "mips" if cfg!(target_endian = "little") => "mipsle",
        other => other,
    };
    format!("{}/{arch}", consts::OS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_triple_names_this_machine() {
        assert!(TARGET.contains("-linux-"), "{TARGET}");
        assert!(TARGET.starts_with(consts::ARCH), "{TARGET}");
        assert!(go_platform().starts_with("linux/"));
        assert_eq!(profile(), "dev");
    }
}
