//! Upgrades, backups, ways back and changed configurations of a running edgecore, good and bad.

#[path = "../common/mod.rs"]
mod common;

mod builds;
mod config;
mod fleet;
// Each test program uses a part of it.
#[allow(dead_code)]
#[path = "../registry/image.rs"]
mod image;
mod jobs;
mod kills;
mod offer;
mod recorded;
mod refusals;
mod restore;
mod stage;
mod trials;
