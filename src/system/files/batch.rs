//! Many files at once: each of them whole or not at all, and all made durable together.
//!
//! The temporary files are written as they come and synced when all are there; then they get their
//! names, and then the names are synced. Where that is more than a few files, it is done by two calls
//! for the whole file system instead of two for every file. See docs/decisions.md, "Objects on the
//! edge's disk".

use std::io;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};

use super::error::FileError;
use super::layer::Disk;
use super::{folder, temporary};
use crate::system::facts::kernel_is_before;

/// Changes to files below one folder that belongs to one process alone. What is not committed
/// leaves nothing behind.
pub struct Batch {
    disk: Disk,
    top: PathBuf,
    written: Vec<Written>,
    removed: Vec<PathBuf>,
    /// Names were changed without having been made durable.
    owes: bool,
}

struct Written {
    temporary: PathBuf,
    target: PathBuf,
    spent: bool,
}

/// Files that were not changed, and why.
pub type Refused = Vec<(PathBuf, FileError)>;

/// What a failed commit leaves.
#[derive(Debug)]
pub struct Uncommitted {
    pub error: FileError,
    /// Some of the changes are there, and may be lost with the power: the next batch has to owe.
    pub owes: bool,
}

impl Batch {
    pub(super) fn new(disk: &Disk, top: &Path, owes: bool) -> Batch {
        Batch {
            disk: disk.clone(),
            top: top.to_owned(),
            written: Vec::new(),
            removed: Vec::new(),
            owes,
        }
    }

    /// Writes what will be the file `target`, in a folder that exists; takes the place of an earlier
    /// change to it.
    pub fn write(&mut self, target: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
        let temporary = self.temporary(target, content, mode);
        let temporary = temporary.map_err(FileError::at("write", target))?;
        self.withdraw(target);
        self.written.push(Written {
            temporary,
            target: target.to_owned(),
            spent: false,
        });
        Ok(())
    }

    /// The file will not be there; takes the place of an earlier change to it.
    pub fn remove(&mut self, target: &Path) {
        self.withdraw(target);
        self.removed.push(target.to_owned());
    }

    /// Does it, and returns when all of it is durable.
    pub fn commit(self) -> Result<(), Uncommitted> {
        match self.commit_each()?.into_iter().next() {
            Some((_, error)) => Err(Uncommitted { error, owes: false }),
            None => Ok(()),
        }
    }

    /// Does what can be done, and returns when that is durable: the files that stay as they are, since the disk
    /// gives nothing that name, or does not take it away.
    pub fn commit_each(mut self) -> Result<Refused, Uncommitted> {
        if self.written.is_empty() && self.removed.is_empty() && !self.owes {
            return Ok(Vec::new());
        }
        let committed = self.all();
        committed.map_err(|error| Uncommitted {
            error,
            owes: self.owes,
        })
    }

    fn all(&mut self) -> Result<Refused, FileError> {
        let mut refused = Vec::new();
        let folders = self.folders();
        let together = self.owes || self.written.len() + folders.len() > FEW;
        let together = together && is_trusted(&self.top);
        if together && !self.written.is_empty() {
            self.sync_all()?;
        } else {
            for Written { temporary, .. } in &self.written {
                let synced = self.disk.open(temporary);
                let synced = synced.and_then(|file| self.disk.sync(&file, temporary));
                synced.map_err(FileError::at("write", temporary))?;
            }
        }
        for file in &mut self.written {
            self.owes = true;
            let target = &file.target;
            match self.disk.rename(&file.temporary, target) {
                Ok(()) => file.spent = true,
                Err(error) => refused.push((target.clone(), FileError::at("write", target)(error))),
            }
        }
        for path in &self.removed {
            self.owes = true;
            match self.disk.unlink(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    refused.push((path.clone(), FileError::at("remove", path)(error)));
                }
                _ => {}
            }
        }
        if together {
            self.sync_all()?;
        } else {
            for path in &folders {
                let synced = self.disk.sync_dir(path);
                synced.map_err(FileError::at("write", path))?;
            }
        }
        self.owes = false;
        Ok(refused)
    }

    /// Those whose names change, each once; all of them when an earlier batch owes.
    fn folders(&self) -> Vec<PathBuf> {
        let targets = self.written.iter().map(|file| &file.target);
        let changed = targets.chain(&self.removed).map(|path| folder(path));
        let mut folders: Vec<PathBuf> = changed.map(Path::to_owned).collect();
        if self.owes {
            folders.extend(folders_below(&self.top));
        }
        folders.sort();
        folders.dedup();
        folders
    }

    fn sync_all(&self) -> Result<(), FileError> {
        let synced = self.disk.sync_all(&self.top);
        synced.map_err(FileError::at("write", &self.top))
    }

    fn temporary(&self, target: &Path, content: &[u8], mode: u32) -> io::Result<PathBuf> {
        let path = temporary::fresh_path(target)?;
        let mut file = self.disk.create_new(&path)?;
        let written = self
            .disk
            .set_mode(&file, &path, mode)
            .and_then(|()| self.disk.write(&mut file, &path, content));
        match written {
            Ok(()) => Ok(path),
            Err(error) => {
                let _ = self.disk.unlink(&path);
                Err(error)
            }
        }
    }

    /// The file will be as it is.
    pub fn withdraw(&mut self, target: &Path) {
        self.removed.retain(|path| path != target);
        let disk = &self.disk;
        self.written.retain(|file| {
            let other = file.target != target;
            if !other {
                let _ = disk.unlink(&file.temporary);
            }
            other
        });
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        for file in self.written.iter().filter(|file| !file.spent) {
            let _ = self.disk.unlink(&file.temporary);
        }
    }
}

/// Whether the call for a whole file system says so when it fails. Before 5.8 Linux did not, and
/// overlayfs, the root of many routers, not before 5.17.
fn is_trusted(top: &Path) -> bool {
    let overlay = statfs(top).map(|facts| facts.filesystem_type() == OVERLAYFS_SUPER_MAGIC);
    match overlay {
        Ok(false) => !kernel_is_before(5, 8),
        Ok(true) => !kernel_is_before(5, 17),
        Err(_) => false,
    }
}

fn folders_below(top: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(top).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|it| it.is_dir()));
    let below = folders.flat_map(|entry| folders_below(&entry.path()));
    std::iter::once(top.to_owned()).chain(below).collect()
}

/// So many files and folders are synced one by one, which leaves other programs' files alone.
const FEW: usize = 3;
