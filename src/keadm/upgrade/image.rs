//! The executable out of an image of a registry.

use std::path::Path;

use super::error::UpgradeError;
use super::source::ImageWish;
use crate::registry::digest::Digest;
use crate::registry::given::Given;
use crate::registry::platform::Platform;
use crate::registry::progress::Lines;
use crate::registry::reference::Reference;
use crate::registry::{Puller, RegistryError};
use crate::system::console;
use crate::system::host::Host;

/// Writes it to `into`, checked against the digests of its layer and of the image.
pub fn fetch(host: &Host, wish: &ImageWish, into: &Path) -> Result<(), UpgradeError> {
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
    let failed = |error: RegistryError| UpgradeError::Registry {
        code: error.code(),
        why: error.to_string(),
    };
    let puller = Puller::new(options).map_err(failed)?;
    let mut progress = Lines::new(console::error);
    let fetched = puller
        .fetch_file(&reference, &Platform::here(), WANTED, into, &mut progress)
        .map_err(failed)?;
    host.files.set_mode(into, 0o755)?;
    console::error(&format!("{} of {}", fetched.path, fetched.image));
    Ok(())
}

/// Where images have it: ours, and those made like KubeEdge's.
const WANTED: &[&str] = &[
    "usr/local/bin/kubeedge",
    "usr/bin/kubeedge",
    "kubeedge",
    "usr/local/bin/edgecore",
];
