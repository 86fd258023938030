//! What the operating system gives us, behind names that tests can replace.

pub mod args;
pub mod blocking;
#[cfg(feature = "cloud")]
pub mod body;
pub mod build;
pub mod bypass;
pub mod cause;
pub mod changes;
pub mod clock;
pub mod console;
pub mod counted;
pub mod crc32;
pub mod exit;
pub mod facts;
#[cfg(test)]
#[path = "../../tests/common/figures.rs"]
pub mod figures;
pub mod files;
#[cfg(any(feature = "kubernetes", feature = "oci"))]
pub mod gzip;
pub mod host;
pub mod https;
pub mod lifeline;
pub mod limits;
pub mod log;
pub mod names;
pub mod network;
#[cfg(test)]
#[path = "../../tests/common/not_tried.rs"]
pub mod not_tried;
pub mod notify;
pub mod paced;
pub mod pattern;
pub mod processes;
pub mod proxy;
pub mod randomness;
pub mod root;
pub mod sandbox;
#[cfg(test)]
pub mod scratch;
pub mod secret;
pub mod service;
pub mod signals;
pub mod socket;
pub mod sorted;
pub mod threads;
pub mod uci;
#[cfg(feature = "edge")]
pub mod unheld;
pub mod uplink;
pub mod way;
pub mod yaml;
