//! `config`: what an installation is made of.

mod images;
#[cfg(feature = "oci")]
mod pull;

pub use images::LIST;
#[cfg(feature = "oci")]
pub use pull::PULL;
