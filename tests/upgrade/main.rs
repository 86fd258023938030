//! Upgrades, backups, ways back and changed configurations of a running edgecore, good and bad.

#[path = "../common/mod.rs"]
mod common;

mod builds;
mod config;
mod kills;
mod refusals;
mod restore;
mod stage;
mod trials;
