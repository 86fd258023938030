//! A file that is written a piece at a time, and is there when it is whole.

use std::path::{Path, PathBuf};

use super::error::FileError;
use super::layer::Disk;
use super::temporary::Temporary;

/// What will be a file; nothing of it is left when it is dropped before.
pub struct Draft<'a> {
    temporary: Temporary<'a>,
    target: PathBuf,
}

impl<'a> Draft<'a> {
    pub(super) fn begin(disk: &'a Disk, target: &Path, mode: u32) -> Result<Draft<'a>, FileError> {
        let begun = || {
            let mut temporary = Temporary::create(disk, target)?;
            temporary.set_mode(mode)?;
            Ok(temporary)
        };
        Ok(Draft {
            temporary: begun().map_err(FileError::at("write", target))?,
            target: target.to_owned(),
        })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        let written = self.temporary.write(bytes);
        written.map_err(FileError::at("write", &self.target))
    }

    /// Puts it in the place of whatever is there; durable when it returns.
    pub fn commit(mut self) -> Result<(), FileError> {
        let synced = self.temporary.sync();
        synced
            .and_then(|()| self.temporary.rename_to(&self.target))
            .map_err(FileError::at("write", &self.target))
    }
}
