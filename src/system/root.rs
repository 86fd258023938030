//! The folder that stands for `/`, so that all can be tried without being root.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Puts an optional prefix before absolute paths, at the moment when they are used.
///
/// Files never contain the prefix: a configuration written under one root works under another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Root {
    prefix: Option<PathBuf>,
}

impl Root {
    /// The prefix of `KUBEEDGE_ROOT`; none when it is unset, empty or `/`.
    pub fn from_env() -> Root {
        Root::new(env::var_os(VARIABLE).map(PathBuf::from))
    }

    /// A relative prefix counts from the current folder.
    pub fn new(prefix: Option<PathBuf>) -> Root {
        let prefix = prefix
            .filter(|prefix| !prefix.as_os_str().is_empty())
            .map(|prefix| std::path::absolute(&prefix).unwrap_or(prefix))
            .filter(|prefix| prefix != Path::new("/"));
        Root { prefix }
    }

    /// The path to use for `path`: prefixed when it is absolute, else unchanged.
    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        match (&self.prefix, path.strip_prefix("/")) {
            (Some(prefix), Ok(inside)) => prefix.join(inside),
            _ => path.to_path_buf(),
        }
    }

    pub fn prefix(&self) -> Option<&Path> {
        self.prefix.as_deref()
    }

    /// Has a process of ours use the same one, wherever this one has it from.
    pub fn hand_on(&self, command: &mut Command) {
        match &self.prefix {
            Some(prefix) => command.env(VARIABLE, prefix),
            None => command.env_remove(VARIABLE),
        };
    }
}

/// The environment variable that names the prefix.
pub const VARIABLE: &str = "KUBEEDGE_ROOT";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_prefix_paths_stay() {
        for none in [None, Some(PathBuf::new()), Some(PathBuf::from("/"))] {
            let root = Root::new(none);
            assert_eq!(root.prefix(), None);
            assert_eq!(root.at("/etc/kubeedge"), Path::new("/etc/kubeedge"));
        }
    }

    #[test]
    fn a_prefix_goes_before_absolute_paths_only() {
        let root = Root::new(Some(PathBuf::from("/tmp/try")));
        assert_eq!(root.at("/etc/kubeedge"), Path::new("/tmp/try/etc/kubeedge"));
        assert_eq!(root.at("/"), Path::new("/tmp/try/"));
        assert_eq!(root.at("edgecore.yaml"), Path::new("edgecore.yaml"));
    }

    #[test]
    fn a_relative_prefix_is_made_absolute() {
        let root = Root::new(Some(PathBuf::from("try")));
        assert!(root.at("/etc").is_absolute());
        assert!(root.at("/etc").ends_with("try/etc"));
    }
}
