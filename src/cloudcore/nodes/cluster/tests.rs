//! Tests against a cluster in memory.

mod budget;
mod jobs;
mod jobs_later;
mod pushes;
mod refusals;
mod replay;
mod replicas;
mod requests;
mod stage;
mod turns;
