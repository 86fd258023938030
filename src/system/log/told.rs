//! A warning or an error that a daemon remembers, as it tells whoever may ask.

use serde::{Deserialize, Serialize};

use crate::system::clock::Timestamp;

/// Lines of one kind are one.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Told {
    /// `error` or `warn`.
    pub level: String,
    /// When the first and the last of them were.
    pub first: Timestamp,
    pub last: Timestamp,
    pub count: u32,
    /// The last of them, cut where it is long.
    pub text: String,
}
