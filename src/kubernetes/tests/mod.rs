//! The ways to a cluster, against a server on loopback that answers what tests tell it to.

mod plain;
#[cfg(feature = "cloud")]
mod pooled;
#[cfg(feature = "cloud")]
mod recorded;
#[cfg(feature = "cloud")]
mod reflect;
mod server;
