//! What this executable was built from and for.

use std::env::consts;

use super::clock::Timestamp;

/// The version of this package, such as `0.1.0`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The target triple, which build.rs hands over.
pub const TARGET: &str = env!("KUBEEDGE_TARGET");

/// Before this the program did not exist: SOURCE_DATE_EPOCH of the build, which is the time of the
/// last change to the sources, so that the same sources still give the same file.
pub const TIME: Timestamp = Timestamp::from_unix(seconds(env!("KUBEEDGE_BUILT")));

/// What of it was built: features of Cargo.toml with commas between, in alphabetical order.
pub const FEATURES: &str = env!("KUBEEDGE_FEATURES");

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

/// Digits as build.rs gives them.
const fn seconds(digits: &str) -> i64 {
    let (digits, mut at, mut number) = (digits.as_bytes(), 0, 0);
    while at < digits.len() {
        number = number * 10 + (digits[at] - b'0') as i64;
        at += 1;
    }
    number
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
        assert_eq!(seconds("1767225600"), 1_767_225_600);
        assert!(TIME >= Timestamp::from_unix(1_767_225_600), "{TIME}");
    }
}
