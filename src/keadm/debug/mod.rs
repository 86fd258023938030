//! `debug`: shows what is wrong with a device, from what is on it and what it reaches.

pub mod check;
pub mod collect;
pub mod diagnose;
pub mod get;
mod store;
