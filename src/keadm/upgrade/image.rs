//! The executable out of an image of a registry.

use std::path::Path;

use super::error::UpgradeError;
use super::source::ImageWish;
use crate::registry::digest::Digest;
use crate::registry::given::Given;
use crate::registry::platform::Platform;
use crate::registry::progress::Lines;
use crate::registry::reference::Reference;
use crate::registry::{Fetched, Puller, RegistryError};
use crate::system::console;
use crate::system::host::Host;

/// Writes it to `into`, checked against the digests of its layer and of the image.
pub fn fetch(host: &Host, wish: &ImageWish, into: &Path) -> Result<(), UpgradeError> {
    let fetched = take(host, wish, WANTED, into)?.map_err(failed)?;
    host.files.set_mode(into, 0o755)?;
    console::error(&format!("{} of {}", fetched.path, fetched.image));
    Ok(())
}

/// The signature that the image has beside the executable, if it has one; it lies at `into` meanwhile.
pub fn signature(
    host: &Host,
    wish: &ImageWish,
    into: &Path,
) -> Result<Option<Vec<u8>>, UpgradeError> {
    match take(host, wish, SIGNATURES, into)? {
        Ok(_) => {
            let text = host.files.read(into, MAX_SIGNATURE);
            host.files.remove(into)?;
            Ok(Some(text?))
        }
        Err(RegistryError::NoFile { .. }) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn take(
    host: &Host,
    wish: &ImageWish,
    wanted: &[&str],
    into: &Path,
) -> Result<Result<Fetched, RegistryError>, UpgradeError> {
    let usage = |why: String| UpgradeError::Image(why);
    let mut reference: Reference = wish
        .name
        .parse()
        .map_err(|error| usage(format!("--image {}: {error}", wish.name)))?;
    if !wish.digest.is_empty() {
        let digest: Digest = wish
            .digest
            .parse()
            .map_err(|error| usage(format!("--image-digest: {error}")))?;
        reference = reference.pinned(digest);
    }
    let given = Given {
        auth_file: wish.auth_file.clone(),
        ca_file: wish.ca_file.clone(),
        proxy: wish.proxy.clone(),
        plain_http: wish.plain_http,
    };
    let options = given
        .options(host)
        .map_err(|error| usage(error.to_string()))?;
    let puller = Puller::new(options).map_err(failed)?;
    let mut progress = Lines::new(console::error);
    Ok(puller.fetch_file(&reference, &Platform::here(), wanted, into, &mut progress))
}

fn failed(error: RegistryError) -> UpgradeError {
    UpgradeError::Registry {
        code: error.code(),
        why: error.to_string(),
    }
}

/// Where images have it: ours, and those made like KubeEdge's.
const WANTED: &[&str] = &[
    "usr/local/bin/kubeedge",
    "usr/bin/kubeedge",
    "kubeedge",
    "usr/local/bin/edgecore",
];
/// Beside each of them, best in a layer of its own on top: then it is fetched without the executable.
const SIGNATURES: &[&str] = &[
    "usr/local/bin/kubeedge.minisig",
    "usr/bin/kubeedge.minisig",
    "kubeedge.minisig",
    "usr/local/bin/edgecore.minisig",
];
/// Bytes.
const MAX_SIGNATURE: usize = 8 * 1024;
