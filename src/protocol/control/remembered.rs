//! What a daemon remembers of its log.

use serde::{Deserialize, Serialize};

use super::VERSION;
use crate::system::log::Told;

/// The answer to `log`: warnings and errors of the edgecore that runs, those of one kind folded, the latest last.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Remembered {
    pub v: u32,
    /// An older edgecore knows no such question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub lines: Vec<Told>,
}

impl Remembered {
    pub fn of(lines: Vec<Told>) -> Remembered {
        Remembered {
            v: VERSION,
            error: None,
            lines,
        }
    }
}
