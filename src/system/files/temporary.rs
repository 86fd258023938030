//! Temporary files beside the file they will become.
//!
//! Each is named `.NAME.tmp-RANDOM` and locked (flock) for as long as its writer lives, so that
//! one left behind by a dead process can be told from one that is being written.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use super::folder;
use super::layer::Disk;

/// A temporary file; removed when it is dropped without having become anything.
pub(super) struct Temporary<'a> {
    disk: &'a Disk,
    file: File,
    path: PathBuf,
    spent: bool,
}

impl<'a> Temporary<'a> {
    /// In the folder of `target`.
    pub fn create(disk: &'a Disk, target: &Path) -> io::Result<Temporary<'a>> {
        for _ in 0..ATTEMPTS {
            let path = fresh_path(target)?;
            match disk.create_new(&path) {
                Ok(file) => {
                    let temporary = Temporary {
                        disk,
                        file,
                        path,
                        spent: false,
                    };
                    if temporary.claim() {
                        return Ok(temporary);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    pub fn set_mode(&mut self, mode: u32) -> io::Result<()> {
        self.disk.set_mode(&self.file, &self.path, mode)
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.write(&mut self.file, &self.path, bytes)
    }

    pub fn sync(&mut self) -> io::Result<()> {
        self.disk.sync(&self.file, &self.path)
    }

    pub fn rename_to(mut self, target: &Path) -> io::Result<()> {
        self.disk.rename(&self.path, target)?;
        self.spent = true;
        self.disk.sync_dir(folder(target))
    }

    /// False when something of that name existed.
    pub fn link_to(mut self, target: &Path) -> io::Result<bool> {
        let linked = match self.disk.link(&self.path, target) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        self.spent = self.disk.unlink(&self.path).is_ok();
        self.disk.sync_dir(folder(target))?;
        Ok(linked)
    }

    /// Locks the file; false when a sweep took it in the instant between creation and lock.
    fn claim(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        match self.file.try_lock() {
            Ok(()) => self
                .file
                .metadata()
                .is_ok_and(|metadata| metadata.nlink() > 0),
            Err(fs::TryLockError::WouldBlock) => false,
            // No locks on this file system: a sweep can't lock either, and leaves it alone.
            Err(fs::TryLockError::Error(_)) => true,
        }
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.spent {
            let _ = self.disk.unlink(&self.path);
        }
    }
}

/// Makes `link` point to `target` by a rename.
pub(super) fn symlink(disk: &Disk, target: &Path, link: &Path) -> io::Result<()> {
    let path = fresh_path(link)?;
    disk.symlink(target, &path)?;
    disk.rename(&path, link).inspect_err(|_| {
        let _ = disk.unlink(&path);
    })?;
    disk.sync_dir(folder(link))
}

/// Removes what dead processes have left; a folder that does not exist is clean.
pub(super) fn sweep(disk: &Disk, dir: &Path) -> io::Result<usize> {
    let names = match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        names => names?,
    };
    let mut removed = 0;
    for path in names
        .iter()
        .filter(|name| is_name(name))
        .map(|name| dir.join(name))
    {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if !metadata.is_file() && !metadata.is_symlink() {
            continue;
        }
        // The lock is held until the name is gone, so that no writer can claim it meanwhile.
        let lock = if metadata.is_file() {
            Some(disk.open(&path)?)
        } else {
            None
        };
        if lock.as_ref().is_some_and(|file| file.try_lock().is_err()) {
            continue;
        }
        disk.unlink(&path)?;
        removed += 1;
    }
    Ok(removed)
}

/// Whether a name in a folder is that of a temporary file.
pub(super) fn is_name(name: &str) -> bool {
    target_of(name).is_some()
}

/// The name of the file that the temporary file of this name is to become; none when it is no temporary file.
pub fn target_of(name: &str) -> Option<&str> {
    let (target, random) = name.strip_prefix('.')?.rsplit_once(MARK)?;
    let is_random = random.len() == 16 && random.bytes().all(|b| b.is_ascii_hexdigit());
    is_random.then_some(target)
}

pub(super) fn fresh_path(target: &Path) -> io::Result<PathBuf> {
    let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    // Only to avoid collisions, which O_EXCL would notice: so it need not wait for good entropy.
    let random = RandomState::new().hash_one(std::process::id());
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!("{MARK}{random:016x}"));
    Ok(folder(target).join(temporary))
}

const MARK: &str = ".tmp-";
const ATTEMPTS: usize = 16;
