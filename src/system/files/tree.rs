//! Folders: made with the ones above them, removed with all that is in them.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::error::FileError;
use super::folder;
use super::layer::Disk;

/// True when the last one was made.
pub(super) fn make_dir(disk: &Disk, path: &Path, mode: u32) -> io::Result<bool> {
    // With its mode from the start: a folder that exists keeps the one it has, so one that a power
    // cut left with another would stay so.
    match disk.make_dir(path, mode) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound && folder(path) != path => {
            make_dir(disk, folder(path), PARENT_MODE)?;
            match disk.make_dir(path, mode) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
                made => made?,
            }
        }
        Err(error) => {
            // A read-only file system says so even of folders that exist.
            return if path.is_dir() { Ok(false) } else { Err(error) };
        }
    }
    if fs::metadata(path)?.mode() & 0o7777 != mode {
        let dir = disk.open(path)?;
        disk.set_mode(&dir, path, mode)?;
        disk.sync(&dir, path)?;
    }
    disk.sync_dir(folder(path))?;
    Ok(true)
}

/// Whatever `path` is; false when it is nothing.
pub(super) fn remove(disk: &Disk, path: &Path) -> Result<bool, FileError> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        metadata => metadata.map_err(FileError::at("remove", path))?,
    };
    remove_below(disk, path, &metadata, metadata.dev(), MAX_DEPTH)?;
    disk.sync_dir(folder(path))
        .map_err(FileError::at("remove", path))?;
    Ok(true)
}

fn remove_below(
    disk: &Disk,
    path: &Path,
    metadata: &Metadata,
    device: u64,
    depth: usize,
) -> Result<(), FileError> {
    let failed = |error| FileError::at("remove", path)(error);
    if !metadata.is_dir() {
        return disk.unlink(path).map_err(failed);
    }
    if metadata.dev() != device {
        let message = "another file system is mounted there: unmount it first";
        return Err(failed(io::Error::other(message)));
    }
    if depth == 0 {
        return Err(failed(io::Error::other("folders are nested too deeply")));
    }
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let metadata = entry
            .metadata()
            .map_err(FileError::at("remove", &entry.path()))?;
        remove_below(disk, &entry.path(), &metadata, device, depth - 1)?;
    }
    disk.remove_dir(path).map_err(failed)
}

const PARENT_MODE: u32 = 0o755;
const MAX_DEPTH: usize = 64;
