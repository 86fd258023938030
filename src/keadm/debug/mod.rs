//! `debug`: shows what is wrong with a device, from what is on it and what it reaches.

pub mod check;
#[cfg(feature = "tools")]
pub mod collect;
#[cfg(feature = "tools")]
pub mod diagnose;
#[cfg(feature = "tools")]
mod fault;
#[cfg(feature = "tools")]
pub mod get;
#[cfg(feature = "tools")]
mod store;
#[cfg(feature = "tools")]
mod warnings;
