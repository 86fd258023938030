//! A layout in a folder: a blob has its name when it is whole, and another one before.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::super::client::Client;
use super::super::digest::Hasher;
use super::super::error::RegistryError;
use super::super::manifest::Descriptor;
use super::super::progress::Progress;
use super::super::reference::Reference;
use super::{CHUNK, MODE, Part, append, blob_name};

pub fn write(
    client: &Client,
    parts: &[Part<'_>],
    folder: &Path,
    progress: &mut dyn Progress,
) -> Result<(), RegistryError> {
    let files = &client.options.files;
    files.make_dir(&folder.join("blobs/sha256"), 0o755)?;
    let lock = folder.join(".pulling");
    let held = files.lock(&lock)?;
    for part in parts {
        match part {
            Part::Text { name, text } => {
                let path = folder.join(name);
                let there = files.read_opt(&path, text.len()).ok().flatten();
                if there.as_ref() != Some(text) {
                    files.replace(&path, text, MODE)?;
                }
            }
            Part::Blob {
                reference,
                descriptor,
                what,
            } => blob(client, (reference, descriptor, what), folder, progress)?,
        }
    }
    files.remove(&lock)?;
    drop(held);
    Ok(())
}

fn blob(
    client: &Client,
    (reference, descriptor, what): (&Reference, &Descriptor, &str),
    folder: &Path,
    progress: &mut dyn Progress,
) -> Result<(), RegistryError> {
    let files = &client.options.files;
    let path = folder.join(blob_name(&descriptor.digest));
    if hashed(&path, u64::MAX)
        .is_ok_and(|(digest, size)| digest.finish() == descriptor.digest && size == descriptor.size)
    {
        return Ok(());
    }
    let name = format!("blobs/sha256/.{}.part", descriptor.digest.hex());
    let partial = folder.join(name);
    loop {
        let mut file = files.appender(&partial, MODE)?;
        let (hasher, at) = hashed(&partial, descriptor.size).unwrap_or_default();
        if file.len() != at {
            file.truncate(at)?;
        }
        let fetched = append(
            (client, reference, descriptor, what),
            (hasher, at),
            &mut file,
            progress,
        );
        match fetched {
            Ok(()) => {
                file.sync()?;
                files.rename(&partial, &path)?;
                return Ok(());
            }
            Err(error @ RegistryError::Digest { .. }) => {
                files.remove(&partial)?;
                // What was there before may be what a power cut has left.
                if at == 0 {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// What the first bytes of a file hash to, and how many there are, at most `max`.
fn hashed(path: &Path, max: u64) -> io::Result<(Hasher, u64)> {
    let mut file = File::open(path)?.take(max);
    let mut hasher = Hasher::default();
    let mut size = 0;
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok((hasher, size)),
            Ok(count) => {
                hasher.update(&chunk[..count]);
                size += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
