//! A tar.gz that is written as it comes: no more of it is in memory than one file.
//!
//! gzip's blocks are stored, not compressed: every tool opens them, and compressing would cost as many bytes of
//! program as all of `debug collect`.

use std::path::Path;

use crate::system::clock::Timestamp;
use crate::system::crc32;
use crate::system::files::{Appender, FileError, Files};

pub struct Archive {
    file: Appender,
    now: u64,
    sum: u32,
    /// Bytes of tar.
    length: u64,
    limit: u64,
}

impl Archive {
    /// In a file that is empty; at most about `limit` bytes.
    pub fn begin(
        files: &Files,
        path: &Path,
        now: Timestamp,
        limit: u64,
    ) -> Result<Archive, FileError> {
        let mut file = files.appender(path, 0o600)?;
        // No name, no time, of an unknown system.
        file.append(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])?;
        Ok(Archive {
            file,
            now: u64::try_from(now.unix()).unwrap_or(0),
            sum: 0,
            length: 0,
            limit,
        })
    }

    /// A file in it; false when there is no room for that.
    pub fn add(&mut self, name: &str, content: &[u8]) -> Result<bool, FileError> {
        let padded = content.len().next_multiple_of(BLOCK);
        let needed = (BLOCK + padded) as u64;
        if self.length + needed > self.limit || name.len() > LONGEST_NAME {
            return Ok(false);
        }
        self.write(&head(name, content.len(), self.now))?;
        self.write(content)?;
        self.write(&[0; BLOCK][..padded - content.len()])?;
        Ok(true)
    }

    pub fn finish(mut self) -> Result<u64, FileError> {
        self.write(&[0; 2 * BLOCK])?;
        // The last block, an empty one.
        self.file.append(&[1, 0, 0, 0xff, 0xff])?;
        self.file.append(&self.sum.to_le_bytes())?;
        // Modulo 2^32.
        self.file.append(&(self.length as u32).to_le_bytes())?;
        self.file.sync()?;
        Ok(self.file.len())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        for piece in bytes.chunks(usize::from(u16::MAX)) {
            // A chunk is no longer than that.
            let length = piece.len() as u16;
            let [low, high] = length.to_le_bytes();
            self.file.append(&[0, low, high, !low, !high])?;
            self.file.append(piece)?;
        }
        self.sum = crc32::more(self.sum, bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// POSIX ustar.
fn head(name: &str, size: usize, time: u64) -> [u8; BLOCK] {
    let mut head = [0; BLOCK];
    let mut put =
        |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, &format!("{:011o}\0", time & TIMES));
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\u{0}00");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    head
}

const BLOCK: usize = 512;
/// Bytes.
const LONGEST_NAME: usize = 100;
/// What 11 octal digits hold.
const TIMES: u64 = (1 << 33) - 1;
