//! A client of OCI registries: images by name, checked byte by byte, with nothing but what was asked for
//! written to disk.
//!
//! All calls block. See docs/images.md.

mod blob;
pub mod challenge;
mod client;
pub mod credentials;
pub mod digest;
mod error;
mod fetch;
pub mod given;
mod layout;
pub mod manifest;
pub mod platform;
pub mod progress;
pub mod reference;
mod resolve;
pub mod tar;
mod token;
pub mod unpack;
mod url;

use std::path::Path;
use std::time::Duration;

pub use error::RegistryError;
pub use fetch::Fetched;
pub use layout::{Pulled, Target};

use client::Client;
use credentials::Credentials;
use platform::Platform;
use progress::Progress;
use reference::Reference;

use crate::system::clock::Clock;
use crate::system::files::Files;
use crate::system::host::Host;
use crate::system::way::Way;

/// How registries are reached, and how much is taken from them.
#[derive(Clone)]
pub struct Options {
    /// The proxy, if any.
    pub way: Way,
    /// PEM of authorities that are trusted besides those of this machine.
    pub ca: Option<Vec<u8>>,
    pub credentials: Credentials,
    /// Speak plain HTTP to any registry. To one on this machine it is spoken anyway, unless `ca` is
    /// given.
    pub plain_http: bool,
    pub limits: Limits,
    /// How long a server may take for an answer, and for 16 KiB of a blob.
    pub patience: Duration,
    /// Before something is tried again; each time twice as long.
    pub pause: Duration,
    pub files: Files,
    pub clock: Clock,
}

/// Bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of an image, as it is fetched.
    pub image: u64,
    /// Of one layer when unpacked.
    pub unpacked: u64,
    /// Of a file that is taken out of an image.
    pub file: u64,
}

impl Options {
    /// Direct, nobody, and limits that suit images for devices.
    pub fn new(host: &Host) -> Options {
        Options {
            way: Way::default(),
            ca: None,
            credentials: Credentials::default(),
            plain_http: false,
            limits: Limits {
                image: 4 << 30,
                unpacked: 8 << 30,
                file: 256 << 20,
            },
            patience: Duration::from_secs(60),
            pause: Duration::from_secs(1),
            files: host.files.clone(),
            clock: host.clock.clone(),
        }
    }
}

/// Pulls images.
pub struct Puller {
    client: Client,
}

impl Puller {
    pub fn new(options: Options) -> Result<Puller, RegistryError> {
        let client = Client::new(options)?;
        Ok(Puller { client })
    }

    /// Takes one file out of an image and writes it to `into` (mode 0700), whole or not at all. It is
    /// the first of the wanted paths, such as `usr/local/bin/edgecore`, in the newest layer that has
    /// one of them; links inside the image are followed.
    ///
    /// Nothing else is written, and layers below the one with the file are not fetched. What is there
    /// afterwards has been checked against the digests of its layer and of the manifest.
    pub fn fetch_file(
        &self,
        reference: &Reference,
        platform: &Platform,
        wanted: &[&str],
        into: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Fetched, RegistryError> {
        fetch::file(&self.client, reference, platform, wanted, into, progress)
    }

    /// Copies whole images for one platform into a folder or an archive. What was fetched before it
    /// was interrupted is not fetched again.
    pub fn pull(
        &self,
        references: &[Reference],
        platform: &Platform,
        target: &Target,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Pulled>, RegistryError> {
        layout::pull(&self.client, references, platform, target, progress)
    }
}
