//! Kubernetes, as its clients see it: requests, answers, watches, and two ways to send them.

pub mod access;
pub mod error;
pub mod exchange;
pub mod kubeconfig;
pub mod lines;
pub mod list;
pub mod login;
pub mod object;
pub mod plain;
pub mod plugin;
#[cfg(feature = "cloud")]
pub mod pooled;
pub mod reflect;
pub mod release;
pub mod request;
pub mod resource;
pub mod rights;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;

pub use error::{CallError, Status};
pub use request::{Impersonation, Method, Patch, Request};
pub use resource::Resource;

use serde_json::value::RawValue;

use crate::system::cause;

/// An answer of the cluster, still on its way.
pub type Calling<'a, T> = Pin<Box<dyn Future<Output = Result<T, CallError>> + Send + 'a>>;

/// A way to a cluster. Every wait and every body within has a bound.
pub trait Api: Send + Sync {
    /// Sends a request. Repeats it, with back-off, where the cluster asks for that (429, 5xx) and where
    /// it can't have been done twice; an answer of 400 and above is an error.
    fn call<'a>(&'a self, request: &'a Request) -> Calling<'a, Answer>;

    /// Opens a watch, which `Request::watch` describes. Not every way can.
    fn watch<'a>(&'a self, request: &'a Request) -> Calling<'a, Box<dyn Events>>;
}

/// What a cluster answered to a request that succeeded.
#[derive(Clone, Debug)]
pub struct Answer {
    /// 200 to 299.
    pub status: u16,
    pub body: Vec<u8>,
    /// Sentences that the cluster wants people to read, without their codes.
    pub warnings: Vec<String>,
}

/// The changes that a watch tells, in their order.
pub trait Events: Send {
    /// The next one; none when the cluster has ended the watch, as it does every few minutes.
    fn next(&mut self) -> Calling<'_, Option<Event>>;
}

/// One change. What else a watch says (ERROR, with 410 for one that is too old) is a `CallError`.
#[derive(Debug)]
pub struct Event {
    pub kind: EventKind,
    /// As it is now; as it was last, when it was deleted; little more than a version in a bookmark.
    pub object: Box<RawValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
    /// Nothing has changed up to this version.
    Bookmark,
}

impl Answer {
    /// The body as a JSON object.
    pub fn object(&self) -> Result<object::Object, CallError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| CallError::Strange(cause::of_json(&error)))
    }
}
