//! The network as it is: proxies, several clouds, one port, portals, bound devices, dead lines.

#[path = "../common/mod.rs"]
mod common;
mod proxies;
mod tinyproxy;
