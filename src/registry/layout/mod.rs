//! Whole images in a folder or an archive, laid out as OCI has it and as `docker load` reads it.

mod archive;
mod folder;
mod texts;

use std::path::PathBuf;

use serde::Serialize;

use super::blob::Blob;
use super::client::Client;
use super::digest::{Digest, Hasher};
use super::error::RegistryError;
use super::manifest::Descriptor;
use super::platform::Platform;
use super::progress::Progress;
use super::reference::Reference;
use super::resolve::{self, Image};
use crate::system::files::Appender;
use crate::system::sorted::SortedSet;

/// Where images go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One file of tar.
    Archive(PathBuf),
    Folder(PathBuf),
}

/// An image that is there now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pulled {
    pub image: String,
    /// Of the manifest for this platform.
    pub digest: String,
    pub platform: String,
    /// Bytes of its parts, whether they were fetched now or before.
    pub size: u64,
}

/// One file of the layout.
enum Part<'a> {
    Blob {
        reference: &'a Reference,
        descriptor: &'a Descriptor,
        what: String,
    },
    Text {
        name: String,
        text: Vec<u8>,
    },
}

pub fn pull(
    client: &Client,
    references: &[Reference],
    platform: &Platform,
    target: &Target,
    progress: &mut dyn Progress,
) -> Result<Vec<Pulled>, RegistryError> {
    let mut images = Vec::new();
    for reference in references {
        let image = resolve::image(client, reference, platform)?;
        check_size(client, reference, &image)?;
        images.push((reference, image));
    }
    let parts = parts(&images);
    match target {
        Target::Archive(path) => archive::write(client, &parts, path, progress)?,
        Target::Folder(path) => folder::write(client, &parts, path, progress)?,
    }
    let pulled = images.iter().map(|(reference, image)| Pulled {
        image: reference.to_string(),
        digest: image.digest.to_string(),
        platform: image.platform.to_string(),
        size: size(image),
    });
    Ok(pulled.collect())
}

fn check_size(client: &Client, reference: &Reference, image: &Image) -> Result<(), RegistryError> {
    let (size, limit) = (size(image), client.options.limits.image);
    match size > limit {
        false => Ok(()),
        true => Err(RegistryError::TooLarge {
            what: reference.to_string(),
            size,
            limit,
        }),
    }
}

/// Bytes of all parts.
fn size(image: &Image) -> u64 {
    let layers = image.manifest.layers.iter().map(|it| it.descriptor.size);
    let own = image.text.len() as u64;
    layers
        .chain([image.manifest.config.size])
        .fold(own, u64::saturating_add)
}

/// The files, in an order that only depends on the images: what can be gone on with rests on it. The
/// lists come last, so that whoever sees them sees whole images.
fn parts<'a>(images: &'a [(&'a Reference, Image)]) -> Vec<Part<'a>> {
    let mut parts = vec![Part::Text {
        name: "oci-layout".to_owned(),
        text: texts::LAYOUT.to_vec(),
    }];
    let mut known = SortedSet::new();
    for (reference, image) in images {
        let count = image.manifest.layers.len();
        let layers = image.manifest.layers.iter().enumerate().map(|(at, layer)| {
            let what = format!("layer {} of {count} of {reference}", at + 1);
            (&layer.descriptor, what)
        });
        let config = (
            &image.manifest.config,
            format!("the configuration of {reference}"),
        );
        for (descriptor, what) in [config].into_iter().chain(layers) {
            if known.insert(descriptor.digest) {
                parts.push(Part::Blob {
                    reference,
                    descriptor,
                    what,
                });
            }
        }
        if known.insert(image.digest) {
            parts.push(Part::Text {
                name: blob_name(&image.digest),
                text: image.text.clone(),
            });
        }
    }
    parts.push(Part::Text {
        name: "index.json".to_owned(),
        text: texts::index(images),
    });
    parts.push(Part::Text {
        name: "manifest.json".to_owned(),
        text: texts::manifest(images),
    });
    parts
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Fetches what is missing of a blob, of which a file has so many bytes at its end.
fn append(
    blob: (&Client, &Reference, &Descriptor, &str),
    (hasher, at): (Hasher, u64),
    file: &mut Appender,
    progress: &mut dyn Progress,
) -> Result<(), RegistryError> {
    let (client, reference, descriptor, what) = blob;
    progress.begin(what, descriptor.size);
    let what = what.to_owned();
    let mut blob = Blob::resume(client, reference, descriptor, what, progress, hasher, at);
    let mut chunk = vec![0; CHUNK];
    loop {
        match blob.next(&mut chunk)? {
            0 => return Ok(()),
            count => file.append(&chunk[..count])?,
        }
    }
}

/// What is in files is for everybody to read, as in any registry.
const MODE: u32 = 0o644;
const CHUNK: usize = 64 * 1024;
