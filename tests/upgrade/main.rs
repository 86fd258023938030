//! Upgrades, backups, ways back and changed configurations of a running edgecore, good and bad.

#[path = "../common/mod.rs"]
mod common;

mod builds;
mod by_script;
mod config;
#[path = "../registry/debian.rs"]
mod debian;
mod fleet;
#[path = "../registry/image.rs"]
#[allow(dead_code, reason = "the tests of registries use all of it")]
mod image;
mod images;
mod jobs;
mod kills;
mod offer;
mod recorded;
mod refusals;
mod restore;
mod stage;
mod tight;
mod trials;
mod web;
