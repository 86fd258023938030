//! A file that grows at its end: all of a record, or nothing of it.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::error::FileError;
use super::folder;
use super::layer::Disk;

/// The only writer of its file. What is appended is durable after `sync`.
pub struct Appender {
    disk: Disk,
    file: File,
    path: PathBuf,
    length: u64,
}

impl Appender {
    pub(super) fn open(disk: &Disk, path: &Path, mode: u32) -> Result<Appender, FileError> {
        let open = || {
            let existed = path.exists();
            let file = disk.open_or_create(path)?;
            if !existed {
                disk.set_mode(&file, path, mode)?;
                disk.sync(&file, path)?;
                disk.sync_dir(folder(path))?;
            }
            let length = file.metadata()?.len();
            Ok(Appender {
                disk: disk.clone(),
                file,
                path: path.to_owned(),
                length,
            })
        };
        open().map_err(FileError::at("open", path))
    }

    /// When it fails, the file is as long as before.
    pub fn append(&mut self, record: &[u8]) -> Result<(), FileError> {
        if let Err(error) = self.disk.write(&mut self.file, &self.path, record) {
            // Some of it may have been written. If this fails too, the reader finds a torn
            // record at the end, as after a power cut.
            let _ = self.disk.truncate(&self.file, &self.path, self.length);
            return Err(FileError::at("append to", &self.path)(error));
        }
        self.length += record.len() as u64;
        Ok(())
    }

    pub fn sync(&mut self) -> Result<(), FileError> {
        self.disk
            .sync(&self.file, &self.path)
            .map_err(FileError::at("write", &self.path))
    }

    /// In bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Cuts the file to `length` bytes; durable when it returns.
    pub fn truncate(&mut self, length: u64) -> Result<(), FileError> {
        self.disk
            .truncate(&self.file, &self.path, length)
            .and_then(|()| self.disk.sync(&self.file, &self.path))
            .map_err(FileError::at("shorten", &self.path))?;
        self.length = length;
        Ok(())
    }
}
