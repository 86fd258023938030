//! What this executable was built from and for.

use std::env::consts;

/// The version of this package, such as `0.1.0`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The target triple.
///
/// `KUBEEDGE_TARGET` at build time says it exactly; else it is put together from what the compiler
/// tells, where the CPU version of a 32-bit ARM is not always known.
pub fn target() -> String {
    match option_env!("KUBEEDGE_TARGET") {
        Some(target) => target.to_owned(),
        None => format!("{}-unknown-linux-{}{}", arch(), ENVIRONMENT, abi()),
    }
}

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

fn arch() -> &'static str {
    match consts::ARCH {
        "arm" if cfg!(target_feature = "v7") => "armv7",
        "mips" if cfg!(target_endian = "little") => "mipsel",
        "riscv64" => "riscv64gc",
        "x86" => "i686",
        other => other,
    }
}

fn abi() -> &'static str {
    match (consts::ARCH, cfg!(target_abi = "eabihf")) {
        ("arm", true) => "eabihf",
        ("arm", false) => "eabi",
        _ => "",
    }
}

const ENVIRONMENT: &str = match cfg!(target_env = "musl") {
    true => "musl",
    false => "gnu",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_triple_names_this_machine() {
        let target = target();
        assert!(target.contains("-linux-"), "{target}");
        assert!(target.starts_with(arch()), "{target}");
        assert!(go_platform().starts_with("linux/"));
        assert_eq!(profile(), "dev");
    }
}
