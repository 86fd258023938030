//! The names of the one executable, as links in a folder.

use std::fs;
use std::path::{Path, PathBuf};

use super::ROLES;
use crate::system::files::{FileError, Files};

/// What was found, or made, under one name.
#[derive(Debug, PartialEq, Eq)]
pub enum Link {
    Made,
    AlreadyThere,
    /// A link that led elsewhere, to this.
    Redirected(PathBuf),
    /// A file or folder of somebody else, kept as it was.
    Kept,
    /// A file of somebody else that had to go, because it was asked for.
    Replaced,
}

/// Makes a link for every role, and `kubeedge` itself, in `dir`.
///
/// `executable` is a path that exists. A link is relative when the executable is in the same
/// folder. What is no link stays, unless `force` says that files may be replaced.
pub fn make(
    files: &Files,
    dir: &Path,
    executable: &Path,
    force: bool,
) -> Result<Vec<(&'static str, Link)>, FileError> {
    files.make_dir(dir, 0o755)?;
    let target = target_from(dir, executable);
    let mut made = Vec::new();
    for name in ROLES.iter().map(|(name, _)| *name).chain(["kubeedge"]) {
        let path = dir.join(name);
        if same_file(&path, executable) && !path.is_symlink() {
            continue;
        }
        made.push((name, one(files, &path, &target, force)?));
    }
    Ok(made)
}

fn one(files: &Files, path: &Path, target: &Path, force: bool) -> Result<Link, FileError> {
    let link = match (fs::symlink_metadata(path), fs::read_link(path)) {
        (Err(_), _) => Link::Made,
        (Ok(_), Ok(old)) if old == target => return Ok(Link::AlreadyThere),
        (Ok(_), Ok(old)) => Link::Redirected(old),
        (Ok(what), Err(_)) if force && what.is_file() => Link::Replaced,
        (Ok(_), Err(_)) => return Ok(Link::Kept),
    };
    files.symlink(target, path)?;
    Ok(link)
}

/// The shortest honest target: only the file's name when both are in one folder.
fn target_from(dir: &Path, executable: &Path) -> PathBuf {
    let canonical = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let executable = canonical(executable);
    match (executable.parent(), executable.file_name()) {
        (Some(parent), Some(name)) if parent == canonical(dir) => PathBuf::from(name),
        _ => executable,
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    matches!((fs::canonicalize(one), fs::canonicalize(other)), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scratch::Scratch;

    fn executable(dir: &Path, name: &str) -> PathBuf {
        let path = dir.join(name);
        let files = Files::real();
        files.replace(&path, b"#!", 0o755).expect("a file");
        path
    }

    fn links(dir: &Path, executable: &Path, force: bool) -> Vec<(&'static str, Link)> {
        make(&Files::real(), dir, executable, force).expect("links")
    }

    #[test]
    fn relative_in_the_same_folder_and_idempotent() {
        let scratch = Scratch::new();
        let file = executable(scratch.path(), "kubeedge-0.1.0-armv7");
        let made = links(scratch.path(), &file, false);
        assert_eq!(made.len(), ROLES.len() + 1);
        assert!(made.iter().all(|(_, link)| *link == Link::Made), "{made:?}");
        let target = fs::read_link(scratch.path().join("keadm")).expect("a link");
        assert_eq!(target, Path::new("kubeedge-0.1.0-armv7"));
        let again = links(scratch.path(), &file, false);
        assert!(
            again.iter().all(|(_, link)| *link == Link::AlreadyThere),
            "{again:?}"
        );
    }

    #[test]
    fn the_executable_itself_is_no_link() {
        let scratch = Scratch::new();
        let file = executable(scratch.path(), "kubeedge");
        let made = links(scratch.path(), &file, true);
        assert!(made.iter().all(|(name, _)| *name != "kubeedge"), "{made:?}");
        assert!(!file.is_symlink());
        // Through one of its links the executable is found as well.
        let again = links(scratch.path(), &scratch.path().join("keadm"), true);
        assert!(
            again.iter().all(|(_, link)| *link == Link::AlreadyThere),
            "{again:?}"
        );
    }

    #[test]
    fn elsewhere_the_target_is_absolute_and_old_links_are_redirected() {
        let scratch = Scratch::new();
        let file = executable(scratch.path(), "kubeedge");
        let bin = scratch.path().join("usr/bin");
        let files = Files::real();
        files.make_dir(&bin, 0o755).expect("a folder");
        let old = Path::new("/nowhere/keadm");
        files.symlink(old, &bin.join("keadm")).expect("a link");
        let made = links(&bin, &file, false);
        assert_eq!(made[0], ("keadm", Link::Redirected(old.to_path_buf())));
        let target = fs::read_link(bin.join("keadm")).expect("a link");
        assert_eq!(target, fs::canonicalize(&file).expect("a file"));
    }

    #[test]
    fn a_foreign_file_is_kept_unless_forced() {
        let scratch = Scratch::new();
        let file = executable(scratch.path(), "kubeedge");
        let foreign = executable(scratch.path(), "keadm");
        assert_eq!(
            links(scratch.path(), &file, false)[0],
            ("keadm", Link::Kept)
        );
        assert!(!foreign.is_symlink());
        assert_eq!(
            links(scratch.path(), &file, true)[0],
            ("keadm", Link::Replaced)
        );
        assert!(foreign.is_symlink());
    }
}
