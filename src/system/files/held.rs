//! A folder that is held open, so that it stays this very folder, whatever is put in its place meanwhile.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;

/// Paths below [`HeldFolder::path`] lie in it, as long as this lives.
pub struct HeldFolder {
    _open: File,
    path: PathBuf,
}

impl HeldFolder {
    /// An error when the last part of `path` is a link, or no folder.
    pub fn open(path: &Path) -> io::Result<HeldFolder> {
        let open = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
            .open(path)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        Ok(HeldFolder { _open: open, path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}
