//! Removes folders as far as it can, and keeps account of what went, what stayed, and why.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::system::files::{FileError, Files};

pub struct Sweep<'a> {
    files: &'a Files,
    /// Stay, with all that is in them.
    keep: &'a [PathBuf],
    pub removed: Vec<PathBuf>,
    pub kept: Vec<PathBuf>,
    /// Mount points: empty now, but they can't go.
    pub emptied: Vec<PathBuf>,
    /// What should have gone, a sentence each.
    pub left: Vec<String>,
}

impl<'a> Sweep<'a> {
    pub fn new(files: &'a Files, keep: &'a [PathBuf]) -> Sweep<'a> {
        Sweep {
            files,
            keep,
            removed: Vec::new(),
            kept: Vec::new(),
            emptied: Vec::new(),
            left: Vec::new(),
        }
    }

    /// Removes a file, or a folder with all that is in it; what is not there is no fault.
    ///
    /// No other file system is entered, and no link followed but `path` itself.
    pub fn remove(&mut self, path: &Path) {
        if let (true, Ok(target)) = (path.is_symlink(), fs::canonicalize(path)) {
            self.remove(&target);
        }
        match fs::symlink_metadata(path) {
            Ok(found) if self.clear(path, &found, found.dev(), MAX_DEPTH) => {
                self.removed.push(path.to_owned());
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => self.left.push(sentence("look at", path, source)),
        }
    }

    /// Whether nothing is left of it.
    fn clear(&mut self, path: &Path, found: &Metadata, device: u64, depth: usize) -> bool {
        if self.keep.iter().any(|kept| kept == path) {
            self.kept.push(path.to_owned());
            return false;
        }
        if !found.is_dir() {
            let removed = self.files.remove(path);
            return removed
                .map_err(|error| self.left.push(error.to_string()))
                .is_ok();
        }
        if found.dev() != device || depth == 0 {
            let path = path.display();
            self.left
                .push(format!("{path} is another file system: unmount it first"));
            return false;
        }
        let holds_kept = self
            .keep
            .iter()
            .any(|kept| kept.starts_with(path) && kept.exists());
        if !holds_kept {
            match self.files.remove_tree(path) {
                Ok(_) => return true,
                // It is gone, but a power cut could bring it back.
                Err(error) if fs::symlink_metadata(path).is_err() => {
                    self.left.push(error.to_string());
                    return false;
                }
                Err(_) => {}
            }
        }
        self.clear_folder(path, device, depth)
    }

    /// Piece by piece: what can't go must not hold up the rest.
    fn clear_folder(&mut self, path: &Path, device: u64, depth: usize) -> bool {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(source) => {
                self.left.push(sentence("list", path, source));
                return false;
            }
        };
        let mut gone = Vec::new();
        let mut is_empty = true;
        for entry in entries.flatten() {
            let inside = entry.path();
            match entry.metadata() {
                Ok(found) if self.clear(&inside, &found, device, depth - 1) => gone.push(inside),
                Ok(_) => is_empty = false,
                Err(source) => {
                    self.left.push(sentence("look at", &inside, source));
                    is_empty = false;
                }
            }
        }
        if is_empty {
            match self.files.remove_tree(path) {
                Ok(_) => return true,
                Err(FileError::Io { source, .. }) if stays(&source) => {
                    self.emptied.push(path.to_owned());
                }
                Err(error) => self.left.push(error.to_string()),
            }
        }
        self.removed.extend(gone);
        false
    }
}

/// Of an empty folder: it is a mount point, or stands in a folder of a root that can't be written to.
fn stays(error: &std::io::Error) -> bool {
    let error = error.raw_os_error().map(Errno::from_raw);
    matches!(error, Some(Errno::EBUSY | Errno::EROFS))
}

fn sentence(action: &'static str, path: &Path, source: std::io::Error) -> String {
    let path = path.to_owned();
    FileError::Io {
        action,
        path,
        source,
    }
    .to_string()
}

/// Folders in folders.
const MAX_DEPTH: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::system::files::{Layer, Operation};
    use crate::system::scratch::Scratch;

    fn tree(dir: &Scratch, names: &[&str]) {
        for name in names {
            let path = dir.path().join(name);
            Files::real()
                .make_dir(path.parent().unwrap(), 0o755)
                .unwrap();
            Files::real().replace(&path, b"x", 0o600).unwrap();
        }
    }

    #[test]
    fn all_goes_but_what_is_kept() {
        let dir = Scratch::new();
        tree(
            &dir,
            &["top/a", "top/b/c", "top/b/keep/d", "top/.e.tmp", "other"],
        );
        let at = |name: &str| dir.path().join(name);
        let (files, keep) = (Files::real(), [at("top/b/keep"), at("top/not-there")]);
        let mut sweep = Sweep::new(&files, &keep);
        sweep.remove(&at("top"));
        sweep.remove(&at("never-was"));
        assert_eq!(sweep.kept, [at("top/b/keep")]);
        assert_eq!(sweep.left, [""; 0]);
        assert!(at("top/b/keep/d").exists() && at("other").exists());
        assert!(!at("top/a").exists() && !at("top/.e.tmp").exists() && !at("top/b/c").exists());
        sweep.removed.sort();
        assert_eq!(
            sweep.removed,
            [at("top/.e.tmp"), at("top/a"), at("top/b/c")]
        );
        let mut second = Sweep::new(&files, &[]);
        second.remove(&at("top"));
        assert_eq!(second.removed, [at("top")]);
        assert!(!at("top").exists());
    }

    #[test]
    fn a_link_goes_with_what_it_leads_to_but_links_inside_are_not_followed() {
        let dir = Scratch::new();
        tree(&dir, &["data/a", "far/b"]);
        let at = |name: &str| dir.path().join(name);
        let files = Files::real();
        files.symlink(&at("data"), &at("top")).unwrap();
        files.symlink(&at("far"), &at("data/link")).unwrap();
        let mut sweep = Sweep::new(&files, &[]);
        sweep.remove(&at("top"));
        assert_eq!(sweep.left, [""; 0]);
        assert!(!at("top").is_symlink() && !at("data").exists());
        assert!(at("far/b").exists());
    }

    /// What ends with this name can't be taken away, for this reason.
    struct Stubborn(&'static str, Errno);

    impl Layer for Stubborn {
        fn before(&self, operation: Operation) -> std::io::Result<()> {
            match operation {
                Operation::Unlink { path } | Operation::RemoveDir { path }
                    if path.ends_with(self.0) =>
                {
                    Err(std::io::Error::from_raw_os_error(self.1 as i32))
                }
                _ => Ok(()),
            }
        }
    }

    #[test]
    fn a_folder_that_has_to_stay_is_emptied() {
        let dir = Scratch::new();
        tree(&dir, &["top/a", "top/b/c"]);
        let files = Files::with(Arc::new(Stubborn("top", Errno::EROFS)));
        let mut sweep = Sweep::new(&files, &[]);
        let top = dir.path().join("top");
        sweep.remove(&top);
        assert_eq!((sweep.left, sweep.emptied), (vec![], vec![top.clone()]));
        assert!(fs::read_dir(&top).unwrap().next().is_none());
    }

    #[test]
    fn what_can_not_go_does_not_hold_up_the_rest() {
        let dir = Scratch::new();
        tree(&dir, &["top/a", "top/b/stuck", "top/b/c", "top/z"]);
        let files = Files::with(Arc::new(Stubborn("stuck", Errno::EPERM)));
        let mut sweep = Sweep::new(&files, &[]);
        sweep.remove(&dir.path().join("top"));
        assert_eq!(sweep.left.len(), 1, "{:?}", sweep.left);
        assert!(sweep.left[0].contains("top/b/stuck"), "{:?}", sweep.left);
        let rest = ["top/a", "top/b/c", "top/z"];
        assert!(rest.iter().all(|name| !dir.path().join(name).exists()));
    }
}
