//! What takes minutes: a fleet, hours of work in short, and a month's traffic. They wait most of the time, so they run
//! beside each other.

#[path = "../common/mod.rs"]
mod common;
mod fleet;
#[allow(dead_code)]
#[path = "../network/namespace.rs"]
mod namespace;
mod soak;
#[path = "../../benches/support/mod.rs"]
mod support;
mod traffic;
