//! The network as it is: proxies, several clouds, one port, portals, bound devices, dead lines.

mod between;
mod clouds;
#[path = "../common/mod.rs"]
mod common;
mod families;
mod half_open;
mod namespace;
mod one_port;
mod portals;
mod proxies;
mod roaming;
mod terminated;
mod tinyproxy;
mod uplinks;
mod wall;
