//! In the place of `image` in a build without a client of registries.

use std::path::Path;

use super::error::UpgradeError;
use super::source::ImageWish;
use crate::system::host::Host;

pub fn fetch(_host: &Host, wish: &ImageWish, _into: &Path) -> Result<(), UpgradeError> {
    let name = &wish.name;
    Err(UpgradeError::NoImages(name.clone()))
}

pub fn signature(
    _host: &Host,
    wish: &ImageWish,
    _into: &Path,
) -> Result<Option<Vec<u8>>, UpgradeError> {
    let name = &wish.name;
    Err(UpgradeError::NoImages(name.clone()))
}
