//! The fuzz targets' bodies as a library; fuzz_targets/ has a few lines for each.

pub mod bodies;
