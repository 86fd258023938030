//! cloudcore as a cluster of its own: nodes that register, objects that reach them, and nothing that a
//! kill, a lost acknowledgement or a neighbour could change. The edges are peers in Python.

mod cluster_jobs;
#[path = "../common/mod.rs"]
mod common;
mod devices;
mod jobs;
mod kills;
mod nodes;
mod orders;
mod support;
