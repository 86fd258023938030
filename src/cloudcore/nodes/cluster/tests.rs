//! Tests against a cluster in memory.

mod budget;
mod pushes;
mod refusals;
mod replay;
mod replicas;
mod requests;
mod stage;
