//! The ways to a cluster, against a server on loopback that answers what tests tell it to.

mod login;
mod plain;
#[cfg(feature = "cloud")]
mod pooled;
mod proxy;
#[cfg(feature = "cloud")]
mod recorded;
#[cfg(feature = "cloud")]
mod reflect;
mod server;
