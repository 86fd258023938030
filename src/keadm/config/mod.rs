//! `config`: what an installation is made of.

#[cfg(feature = "tools")]
mod files;
#[cfg(feature = "kubernetes")]
mod images;
#[cfg(feature = "tools")]
mod migrate;
#[cfg(all(feature = "kubernetes", feature = "oci"))]
mod pull;

#[cfg(feature = "tools")]
pub use files::{VALIDATE, VIEW};
#[cfg(feature = "kubernetes")]
pub use images::LIST;
#[cfg(feature = "tools")]
pub use migrate::COMMAND as MIGRATE;
#[cfg(all(feature = "kubernetes", feature = "oci"))]
pub use pull::PULL;
