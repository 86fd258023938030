//! What the parts say to each other: tokens, enrolment, tunnel messages and the local sockets.

pub mod control;
pub mod enrollment;
pub mod form;
pub mod jobs;
pub mod local;
pub mod message;
pub mod object;
pub mod patch;
pub mod portal;
pub mod reply;
pub mod resource;
pub mod selector;
pub mod terms;
pub mod token;
pub mod transport;
pub mod trust;
