//! The network as it is: proxies, several clouds, one port, portals, bound devices, dead lines.

mod between;
mod clouds;
#[path = "../common/mod.rs"]
mod common;
mod one_port;
mod portals;
mod proxies;
mod terminated;
mod tinyproxy;
