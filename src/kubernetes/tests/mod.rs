//! The ways to a cluster, against a server on loopback that answers what tests tell it to.

mod plain;
mod server;
