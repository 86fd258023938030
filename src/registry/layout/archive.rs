//! A layout in one file of tar, written in an order that is always the same, so that a part of it can be
//! gone on with.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::super::client::Client;
use super::super::digest::Hasher;
use super::super::error::RegistryError;
use super::super::progress::Progress;
use super::super::tar::BLOCK;
use super::{CHUNK, MODE, Part, append, blob_name};
use crate::system::files::Appender;

pub fn write(
    client: &Client,
    parts: &[Part<'_>],
    path: &Path,
    progress: &mut dyn Progress,
) -> Result<(), RegistryError> {
    let files = &client.options.files;
    let partial = partial(path);
    let lock = partial.with_extension("lock");
    let held = files.lock(&lock)?;
    loop {
        let mut growing = Growing {
            file: files.appender(&partial, MODE)?,
            path: partial.clone(),
            at: 0,
            resumed: false,
        };
        let written = growing.write(client, parts, progress);
        match written {
            Ok(()) => {
                growing.file.sync()?;
                files.rename(&partial, path)?;
                files.remove(&lock)?;
                drop(held);
                return Ok(());
            }
            Err(error @ RegistryError::Digest { .. }) => {
                // What was there of it before may be what a power cut has left.
                let again = growing.resumed;
                growing.file.truncate(growing.at)?;
                if !again {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// The archive as far as it is; what is there is compared before it counts.
struct Growing {
    file: Appender,
    path: PathBuf,
    /// Where the present part begins; what is before is right.
    at: u64,
    /// Whether some of the present part was there before.
    resumed: bool,
}

impl Growing {
    fn write(
        &mut self,
        client: &Client,
        parts: &[Part<'_>],
        progress: &mut dyn Progress,
    ) -> Result<(), RegistryError> {
        for folder in ["blobs/", "blobs/sha256/"] {
            self.bytes(&head(folder, 0, b'5'))?;
        }
        for part in parts {
            match part {
                Part::Text { name, text } => {
                    self.bytes(&head(name, text.len() as u64, b'0'))?;
                    self.bytes(text)?;
                    self.pad(text.len() as u64)?;
                }
                Part::Blob {
                    reference,
                    descriptor,
                    what,
                } => {
                    let (size, name) = (descriptor.size, blob_name(&descriptor.digest));
                    self.bytes(&head(&name, size, b'0'))?;
                    let there = self.file.len().saturating_sub(self.at).min(size);
                    let (mut hasher, mut there) = self.hashed(there);
                    // A blob that is all there, and wrong, is fetched once more.
                    let is_wrong = there == size && {
                        let whole = std::mem::take(&mut hasher);
                        let is_wrong = whole.finish() != descriptor.digest;
                        if !is_wrong {
                            self.at += size;
                        }
                        is_wrong
                    };
                    if there == size && !is_wrong {
                        self.pad(size)?;
                        continue;
                    }
                    if is_wrong {
                        there = 0;
                    }
                    self.resumed = there > 0;
                    if self.file.len() != self.at + there {
                        self.file.truncate(self.at + there)?;
                    }
                    let blob = (client, *reference, *descriptor, what.as_str());
                    append(blob, (hasher, there), &mut self.file, progress)?;
                    self.at += size;
                    self.pad(size)?;
                }
            }
        }
        self.bytes(&[0; 2 * BLOCK])?;
        if self.file.len() != self.at {
            self.file.truncate(self.at)?;
        }
        Ok(())
    }

    fn pad(&mut self, size: u64) -> Result<(), RegistryError> {
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        self.bytes(&[0; BLOCK][..usize::try_from(padding).unwrap_or(0)])
    }

    /// What has to come next; written where it is not there.
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), RegistryError> {
        if !self.has(bytes).unwrap_or(false) {
            if self.file.len() != self.at {
                self.file.truncate(self.at.min(self.file.len()))?;
            }
            self.file.append(bytes)?;
        }
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn has(&self, bytes: &[u8]) -> io::Result<bool> {
        if self.file.len() < self.at + bytes.len() as u64 {
            return Ok(false);
        }
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.at))?;
        let mut there = vec![0; bytes.len()];
        file.read_exact(&mut there)?;
        Ok(there == bytes)
    }

    /// What so many bytes from here on hash to; none, when they can't be read.
    fn hashed(&self, count: u64) -> (Hasher, u64) {
        let read = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(self.at))?;
            let mut file = file.take(count);
            let mut hasher = Hasher::default();
            let (mut chunk, mut read) = (vec![0; CHUNK], 0);
            loop {
                match file.read(&mut chunk)? {
                    0 => return Ok::<_, io::Error>((hasher, read)),
                    length => {
                        hasher.update(&chunk[..length]);
                        read += length as u64;
                    }
                }
            }
        };
        read().unwrap_or_default()
    }
}

/// Beside the archive: `.images.tar.part`.
fn partial(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".part");
    path.with_file_name(name)
}

/// The head of an entry that belongs to root and has no time, so that it is always the same.
fn head(name: &str, size: u64, kind: u8) -> [u8; BLOCK] {
    let mut head = [0; BLOCK];
    let mode: &[u8] = if kind == b'5' {
        b"0000755\0"
    } else {
        b"0000644\0"
    };
    let size = match size {
        // More than eleven octal digits: in binary, as GNU has it.
        0o100_000_000_000.. => {
            let mut field = [0; 12];
            field[0] = 0x80;
            field[4..].copy_from_slice(&size.to_be_bytes());
            field
        }
        _ => {
            let mut field = [0; 12];
            field[..11].copy_from_slice(format!("{size:011o}").as_bytes());
            field
        }
    };
    let fields: [(usize, &[u8]); 10] = [
        (0, name.as_bytes()),
        (100, mode),
        (108, b"0000000\0"),
        (116, b"0000000\0"),
        (124, &size),
        (136, b"00000000000\0"),
        (148, b"        "),
        (156, &[kind]),
        (257, b"ustar\x0000"),
        (265, b"root"),
    ];
    for (at, field) in fields {
        head[at..at + field.len()].copy_from_slice(field);
    }
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::super::super::tar::{Archive, Kind};
    use super::*;

    #[test]
    fn heads_can_be_read() {
        for (size, kind) in [(0, b'5'), (7, b'0'), (1 << 40, b'0')] {
            let bytes = head("blobs/a", size, kind);
            let entry = Archive::new(&bytes[..]).entry().unwrap().unwrap();
            assert_eq!(entry.path, ["blobs", "a"]);
            let is_file = entry.kind == Kind::File;
            assert_eq!((is_file, entry.size), (kind == b'0', size));
        }
    }
}
