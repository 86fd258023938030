//! What a role gets of the machine it runs on.

use crate::system::clock::Clock;
use crate::system::files::Files;
use crate::system::root::Root;

/// The machine, or what a test puts in its place.
#[derive(Clone)]
pub struct Host {
    pub root: Root,
    pub files: Files,
    pub clock: Clock,
}

impl Host {
    /// The real one, below `root`.
    pub fn real(root: Root) -> Host {
        Host {
            root,
            files: Files::real(),
            clock: Clock::system(),
        }
    }
}
