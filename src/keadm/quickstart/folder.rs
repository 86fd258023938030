//! Where a tour keeps its files: a folder of its own, with a path short enough for sockets.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::system::exit;
use crate::system::files::{FileError, Files};

/// The folder, there and empty.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// We made it up, so it goes when nobody needs it any more.
    ours: bool,
}

impl Folder {
    pub fn prepare(files: &Files, given: Option<&Path>) -> Result<Folder, FolderError> {
        match given {
            Some(path) => take(files, path),
            None => make(files),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn is_ours(&self) -> bool {
        self.ours
    }
}

fn take(files: &Files, path: &Path) -> Result<Folder, FolderError> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if too_long(&path) {
        return Err(FolderError::TooLong(path));
    }
    let fresh = files.make_dir(&path, 0o700)?;
    if !fresh && !files.list(&path, MAX_NAMES)?.is_empty() {
        return Err(FolderError::NotEmpty(path));
    }
    Ok(Folder { path, ours: false })
}

/// Below `$TMPDIR` when sockets can live there, else below /tmp.
fn make(files: &Files) -> Result<Folder, FolderError> {
    let name = format!("kubeedge-quickstart-{}", std::process::id());
    let wanted = env::temp_dir().join(&name);
    let base = if too_long(&wanted) {
        Path::new("/tmp").join(&name)
    } else {
        wanted
    };
    for number in 0..ATTEMPTS {
        let path = match number {
            0 => base.clone(),
            number => base.with_file_name(format!("{name}-{number}")),
        };
        // Whoever makes a folder owns it: one that was there may be anybody's.
        if files.make_dir(&path, 0o700)? {
            return Ok(Folder { path, ours: true });
        }
    }
    Err(FolderError::NotEmpty(base))
}

fn too_long(path: &Path) -> bool {
    path.as_os_str().len() + LONGEST_INSIDE.len() > MAX_SOCKET_PATH
}

/// Why there is no folder to work in.
#[derive(Debug)]
pub enum FolderError {
    File(FileError),
    NotEmpty(PathBuf),
    TooLong(PathBuf),
}

impl FolderError {
    pub fn code(&self) -> u8 {
        match self {
            FolderError::File(error) if error.is_denied() => exit::DENIED,
            FolderError::File(_) => exit::FAILURE,
            FolderError::NotEmpty(_) | FolderError::TooLong(_) => exit::USAGE,
        }
    }
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FolderError::File(error) => error.fmt(f),
            FolderError::NotEmpty(path) => {
                write!(f, "{} is not empty: name a new folder", path.display())
            }
            FolderError::TooLong(path) => write!(
                f,
                "{} is too long a path for the sockets in it: name a folder of at most {} bytes",
                path.display(),
                MAX_SOCKET_PATH - LONGEST_INSIDE.len()
            ),
        }
    }
}

impl std::error::Error for FolderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FolderError::File(error) => Some(error),
            _ => None,
        }
    }
}

impl From<FileError> for FolderError {
    fn from(error: FileError) -> FolderError {
        FolderError::File(error)
    }
}

/// The kernel takes 107 bytes.
const MAX_SOCKET_PATH: usize = 100;
const LONGEST_INSIDE: &str = "/edge/run/kubeedge/edgecore-status.sock";
const MAX_NAMES: usize = 10_000;
const ATTEMPTS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scratch::Scratch;

    #[test]
    fn a_fresh_one_is_private() {
        let files = Files::real();
        let one = Folder::prepare(&files, None).unwrap();
        let other = Folder::prepare(&files, None).unwrap();
        assert_ne!(one.path(), other.path());
        assert_eq!(files.mode(one.path()).unwrap(), 0o700);
        for folder in [one, other] {
            assert!(folder.is_ours());
            files.remove_tree(folder.path()).unwrap();
        }
    }

    #[test]
    fn a_given_one_is_new_or_empty() {
        let (files, scratch) = (Files::real(), Scratch::new());
        let path = scratch.path().join("x");
        for _ in 0..2 {
            let folder = Folder::prepare(&files, Some(&path)).unwrap();
            assert_eq!(folder.path(), path);
            assert!(!folder.is_ours());
        }
        files.replace(&path.join("a"), b"", 0o600).unwrap();
        let error = Folder::prepare(&files, Some(&path)).unwrap_err();
        assert!(matches!(error, FolderError::NotEmpty(_)));
        assert!(files.exists(&path.join("a")));
    }

    #[test]
    fn long_paths_are_refused_before_anything_is_made() {
        let (files, scratch) = (Files::real(), Scratch::new());
        let path = scratch.path().join("x".repeat(80));
        let error = Folder::prepare(&files, Some(&path)).unwrap_err();
        assert!(error.to_string().contains("at most 61 bytes"), "{error}");
        assert!(!files.exists(&path));
    }
}
