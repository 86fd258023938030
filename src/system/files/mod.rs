//! The only way to the disk: what is written is either all there or not at all, and durable.
//!
//! Replacing a file takes five steps: write a temporary file in the same folder, fsync it, rename
//! it, fsync the folder; the mode is set explicitly, whatever the umask. After a power cut at any
//! point the old content or the new one is found, never a mixture.

mod appender;
mod batch;
#[cfg(test)]
pub mod crash;
mod draft;
mod error;
pub mod held;
mod layer;
mod lock;
mod moves;
mod temporary;
mod tree;

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use appender::Appender;
pub use batch::{Batch, Uncommitted};
pub use draft::Draft;
pub use error::FileError;
pub use layer::{Layer, Operation};
pub use lock::Lock;
pub use temporary::target_of;

use crate::system::secret::Secret;
use layer::Disk;
use temporary::Temporary;

/// Reads and writes files; cheap to clone. All calls block: in a task, go through
/// `system::blocking`.
#[derive(Clone, Default)]
pub struct Files {
    disk: Disk,
}

impl Files {
    pub fn real() -> Files {
        Files::default()
    }

    /// Files whose every operation passes `layer` first; for tests that record or inject faults.
    pub fn with(layer: Arc<dyn Layer>) -> Files {
        Files {
            disk: Disk::with(layer),
        }
    }

    /// The content of a file of at most `max` bytes.
    pub fn read(&self, path: &Path, max: usize) -> Result<Vec<u8>, FileError> {
        let content = self
            .read_bounded(path, max)
            .map_err(FileError::at("read", path))?;
        if content.len() > max {
            return Err(FileError::TooLarge {
                path: path.to_owned(),
                limit: max,
                unit: "bytes",
            });
        }
        Ok(content)
    }

    /// As `read`; none when there is no such file.
    pub fn read_opt(&self, path: &Path, max: usize) -> Result<Option<Vec<u8>>, FileError> {
        match self.read(path, max) {
            Err(error) if error.is_not_found() => Ok(None),
            read => read.map(Some),
        }
    }

    /// As `read_opt`, for what must not stay in memory.
    pub fn read_secret(
        &self,
        path: &Path,
        max: usize,
    ) -> Result<Option<Secret<Vec<u8>>>, FileError> {
        Ok(self.read_opt(path, max)?.map(Secret::new))
    }

    /// Puts `content` in the place of whatever is there.
    ///
    /// When `path` is a symlink to somewhere below its own folder, what it points to is replaced
    /// and the link stays; a link that leads elsewhere is itself replaced by the file.
    pub fn replace(&self, path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
        let target = inner_target(path);
        self.write_temporary(&target, mode, |temporary| temporary.write(content))
            .and_then(|temporary| temporary.rename_to(&target))
            .map_err(FileError::at("write", path))
    }

    /// Writes a file only if there is none of that name; false when there was one.
    ///
    /// Of several processes that try, exactly one gets true. A file system without hard links
    /// (vfat) can't promise completeness: there a power cut may leave a part of the file.
    pub fn create(&self, path: &Path, content: &[u8], mode: u32) -> Result<bool, FileError> {
        let created = || {
            if fs::symlink_metadata(path).is_ok() {
                // What another process has just made must be as durable as if we had.
                self.disk.sync_dir(folder(path))?;
                return Ok(false);
            }
            let temporary =
                self.write_temporary(path, mode, |temporary| temporary.write(content))?;
            match temporary.link_to(path) {
                Err(error) if has_no_hard_links(&error) => {
                    self.create_in_place(path, content, mode)
                }
                linked => linked,
            }
        };
        created().map_err(FileError::at("create", path))
    }

    /// Begins a file of any size that is written a piece at a time; atomic like `replace`.
    pub fn draft(&self, path: &Path, mode: u32) -> Result<Draft<'_>, FileError> {
        Draft::begin(&self.disk, path, mode)
    }

    /// Gives a file another name in the same file system; what was there is replaced.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        let renamed = self.disk.rename(from, to);
        renamed
            .and_then(|()| self.disk.sync_dir(folder(to)))
            .map_err(FileError::at("write", to))
    }

    /// Writes `size` bytes beside `path` and removes them: whether the disk would take them.
    ///
    /// Nothing is made durable, so that flash is not worn by it.
    pub fn trial(&self, path: &Path, size: usize) -> Result<(), FileError> {
        let tried = || {
            let mut temporary = Temporary::create(&self.disk, path)?;
            temporary.write(&vec![0; size])
        };
        tried().map_err(FileError::at("write", path))
    }

    /// Makes a folder, and the ones above it (0755) where they are missing.
    ///
    /// True when it was made; one that existed keeps its mode.
    pub fn make_dir(&self, path: &Path, mode: u32) -> Result<bool, FileError> {
        tree::make_dir(&self.disk, path, mode).map_err(FileError::at("create the folder", path))
    }

    /// Copies a file of any size, such as an executable; atomic like `replace`.
    pub fn copy(&self, source: &Path, target: &Path, mode: u32) -> Result<(), FileError> {
        let mut from = self
            .disk
            .open(source)
            .map_err(FileError::at("read", source))?;
        let mut chunk = vec![0; COPY_CHUNK];
        let copied = self.write_temporary(target, mode, |temporary| {
            loop {
                match from.read(&mut chunk) {
                    Ok(0) => return Ok(()),
                    Ok(length) => temporary.write(&chunk[..length])?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        });
        copied
            .and_then(|temporary| temporary.rename_to(target))
            .map_err(FileError::at("write", target))
    }

    /// Makes `link` point to `target`, in place of whatever `link` was.
    pub fn symlink(&self, target: &Path, link: &Path) -> Result<(), FileError> {
        temporary::symlink(&self.disk, target, link).map_err(FileError::at("write the link", link))
    }

    /// Removes a file or link; false when there was none.
    pub fn remove(&self, path: &Path) -> Result<bool, FileError> {
        let removed = match self.disk.unlink(path) {
            Ok(()) => self.disk.sync_dir(folder(path)).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        };
        removed.map_err(FileError::at("remove", path))
    }

    /// Removes a folder and all below it; links are not followed, mount points not entered.
    ///
    /// False when there was nothing.
    pub fn remove_tree(&self, path: &Path) -> Result<bool, FileError> {
        tree::remove(&self.disk, path)
    }

    /// Whether something of that name is there; a dangling link counts as nothing.
    pub fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    /// The names in a folder, in order; at most `max` of them, else an error.
    ///
    /// Temporary files are left out.
    pub fn list(&self, path: &Path, max: usize) -> Result<Vec<String>, FileError> {
        let names = self.disk.list(path).map_err(FileError::at("list", path))?;
        let names: Vec<_> = names
            .into_iter()
            .filter(|n| !temporary::is_name(n))
            .collect();
        if names.len() > max {
            return Err(FileError::TooLarge {
                path: path.to_owned(),
                limit: max,
                unit: "names",
            });
        }
        Ok(names)
    }

    /// The permission bits, such as `0o600`.
    pub fn mode(&self, path: &Path) -> Result<u32, FileError> {
        let metadata = fs::metadata(path).map_err(FileError::at("read the mode of", path))?;
        Ok(metadata.mode() & 0o7777)
    }

    /// Repairs the permission bits of a file or folder.
    pub fn set_mode(&self, path: &Path, mode: u32) -> Result<(), FileError> {
        let set = || {
            let file = self.disk.open(path)?;
            self.disk.set_mode(&file, path, mode)?;
            self.disk.sync(&file, path)
        };
        set().map_err(FileError::at("set the mode of", path))
    }

    /// Takes the lock that the file `path` stands for, until the result is dropped or the process
    /// ends; waits a moment when its holder has ended, and never for one that lives.
    pub fn lock(&self, path: &Path) -> Result<Lock, FileError> {
        lock::take(&self.disk, path)
    }

    /// Whether somebody holds that lock at this moment; changes nothing.
    pub fn is_locked(&self, path: &Path) -> Result<bool, FileError> {
        lock::is_held(&self.disk, path)
    }

    /// Opens a file to add to its end; makes it when there is none.
    pub fn appender(&self, path: &Path, mode: u32) -> Result<Appender, FileError> {
        Appender::open(&self.disk, path, mode)
    }

    /// Changes to many files below `top`, which no other process changes; `owes` when an earlier
    /// batch has left some that are not durable.
    pub fn batch(&self, top: &Path, owes: bool) -> Batch {
        Batch::new(&self.disk, top, owes)
    }

    /// Removes temporary files that dead processes have left in a folder; returns how many.
    pub fn sweep(&self, dir: &Path) -> Result<usize, FileError> {
        temporary::sweep(&self.disk, dir).map_err(FileError::at("clean up", dir))
    }

    fn read_bounded(&self, path: &Path, max: usize) -> io::Result<Vec<u8>> {
        let file = self.disk.open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let mut content = Vec::with_capacity(metadata.len().min(max as u64) as usize);
        file.take((max as u64).saturating_add(1))
            .read_to_end(&mut content)?;
        Ok(content)
    }

    fn write_temporary(
        &self,
        target: &Path,
        mode: u32,
        fill: impl FnOnce(&mut Temporary<'_>) -> io::Result<()>,
    ) -> io::Result<Temporary<'_>> {
        let mut temporary = Temporary::create(&self.disk, target)?;
        temporary.set_mode(mode)?;
        fill(&mut temporary)?;
        temporary.sync()?;
        Ok(temporary)
    }

    fn create_in_place(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<bool> {
        let mut file = match self.disk.create_new(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(error),
        };
        let written = self
            .disk
            .set_mode(&file, path, mode)
            .and_then(|()| self.disk.write(&mut file, path, content))
            .and_then(|()| self.disk.sync(&file, path))
            .and_then(|()| self.disk.sync_dir(folder(path)));
        if written.is_err() {
            let _ = self.disk.unlink(path);
        }
        written.map(|()| true)
    }
}

/// The path with more at the end of its name.
pub fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut longer = path.as_os_str().to_owned();
    longer.push(end);
    longer.into()
}

/// The folder that holds `path`.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Where a file written to `path` has to go, when `path` may be a link: see `Files::replace`.
fn inner_target(path: &Path) -> PathBuf {
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    if is_link
        && let (Ok(target), Ok(home)) = (path.canonicalize(), folder(path).canonicalize())
        && target.starts_with(home)
    {
        return target;
    }
    path.to_owned()
}

fn has_no_hard_links(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let codes = [
        Errno::EPERM,
        Errno::EOPNOTSUPP,
        Errno::ENOSYS,
        Errno::EMLINK,
        Errno::EXDEV,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| codes.contains(&Errno::from_raw(code)))
}

fn permissions(mode: u32) -> fs::Permissions {
    fs::Permissions::from_mode(mode)
}

/// Bytes at a time.
const COPY_CHUNK: usize = 64 * 1024;

#[cfg(test)]
mod tests;
