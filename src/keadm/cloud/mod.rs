//! The cloud side on a cluster: what `init`, `upgrade cloud` and `reset cloud` share.

pub mod apply;
pub mod cluster;
pub mod crds;
pub mod error;
pub mod handover;
pub mod init;
pub mod install;
pub mod pods;
pub mod preflight;
pub mod ready;
pub mod records;
pub mod report;
pub mod reset;
pub mod sweep;
#[cfg(test)]
mod tests;
pub mod upgrade;

pub use error::CloudError;
