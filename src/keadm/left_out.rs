//! What this build has no part for, so that whoever asks for it hears where it is instead of "unknown command".

/// By its first words.
const NAMES: &[&str] = &[
    #[cfg(not(feature = "cloud"))]
    "cloudcore",
    #[cfg(not(feature = "cloud"))]
    "gettoken",
    #[cfg(not(feature = "cloud"))]
    "token",
    #[cfg(not(feature = "cloud"))]
    "certs revoke",
    #[cfg(not(feature = "cloud"))]
    "quickstart",
    #[cfg(not(feature = "kubernetes"))]
    "init",
    #[cfg(not(feature = "kubernetes"))]
    "manifest",
    #[cfg(not(feature = "kubernetes"))]
    "upgrade cloud",
    #[cfg(not(feature = "kubernetes"))]
    "reset cloud",
    #[cfg(not(feature = "kubernetes"))]
    "config images",
    #[cfg(not(feature = "upgrade"))]
    "upgrade edge",
    #[cfg(not(feature = "upgrade"))]
    "rollback",
    #[cfg(not(feature = "upgrade"))]
    "backup",
    #[cfg(not(feature = "upgrade"))]
    "config-update",
    #[cfg(not(feature = "upgrade"))]
    "ctl confirm",
    #[cfg(not(feature = "tools"))]
    "batch",
    #[cfg(not(feature = "tools"))]
    "config view",
    #[cfg(not(feature = "tools"))]
    "config validate",
    #[cfg(not(feature = "tools"))]
    "config migrate",
    #[cfg(not(feature = "tools"))]
    "ctl describe",
    #[cfg(not(feature = "tools"))]
    "ctl edit",
    #[cfg(not(feature = "tools"))]
    "debug get",
    #[cfg(not(feature = "tools"))]
    "debug diagnose",
    #[cfg(not(feature = "tools"))]
    "debug collect",
];

pub fn has(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Whether a command that begins with this word is among them.
pub fn has_group(word: &str) -> bool {
    let mut words = NAMES.iter().filter_map(|name| name.split(' ').next());
    words.any(|first| first == word)
}

pub fn sentence(name: &str) -> String {
    format!(
        "\"{name}\" is left out of this program, which is built for devices: use kubeedge-VERSION-MACHINE, without \
         \"device\" or \"edge\" in its name"
    )
}
