//! Whole files under other names: what is on the disk already is not written again.

use std::fs;
use std::path::Path;

use super::error::FileError;
use super::{Files, folder, has_no_hard_links};

impl Files {
    /// Keeps what is at `path` under the name `second` as well, whatever becomes of `path`: without a
    /// byte written where the file system knows hard links, else as a copy.
    pub fn keep(&self, path: &Path, second: &Path) -> Result<(), FileError> {
        let kept = || {
            match self.disk.unlink(second) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            self.disk.link(path, second)?;
            self.disk.sync_dir(folder(second))
        };
        match kept() {
            Err(error) if has_no_hard_links(&error) => {
                let mode = self.mode(path)?;
                self.copy(path, second, mode)
            }
            kept => kept.map_err(FileError::at("write", second)),
        }
    }

    /// How many bytes a file has.
    pub fn size(&self, path: &Path) -> Result<u64, FileError> {
        let metadata = fs::metadata(path).map_err(FileError::at("read", path))?;
        Ok(metadata.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scratch::Scratch;

    #[test]
    fn a_kept_file_outlives_its_first_name() {
        let (dir, files) = (Scratch::new(), Files::real());
        let at = |name: &str| dir.path().join(name);
        files.replace(&at("new"), b"new", 0o755).unwrap();
        for round in ["one", "two"] {
            files.replace(&at("file"), round.as_bytes(), 0o700).unwrap();
            files.keep(&at("file"), &at("old")).unwrap();
        }
        files.rename(&at("new"), &at("file")).unwrap();
        assert_eq!(files.read(&at("file"), 9).unwrap(), b"new");
        assert_eq!(files.read(&at("old"), 9).unwrap(), b"two");
        assert_eq!(
            (
                files.mode(&at("old")).unwrap(),
                files.size(&at("old")).unwrap()
            ),
            (0o700, 3)
        );
        assert!(!files.exists(&at("new")));
        assert!(files.keep(&at("nothing"), &at("old")).is_err());
    }
}
