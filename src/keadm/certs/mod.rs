//! `certs`: looks after the certificates of this machine, those of a device and those of a cloud.

pub mod check;
pub mod inspect;
pub mod renew;
#[cfg(feature = "cloud")]
pub mod revoke;
mod sides;

#[cfg(test)]
mod tests;
