//! What was done for a service, and how it is.

use std::fmt;
use std::path::PathBuf;

/// What was done, and to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub outcome: Outcome,
    pub touched: Vec<Touch>,
}

impl Report {
    /// There was nothing to do.
    pub fn nothing() -> Report {
        Report::new(Outcome::Already)
    }

    pub(super) fn new(outcome: Outcome) -> Report {
        Report {
            outcome,
            touched: Vec::new(),
        }
    }

    pub(super) fn done(touch: Touch) -> Report {
        Report::new(Outcome::Done).with(touch)
    }

    pub(super) fn with(mut self, touch: Touch) -> Report {
        self.touched.push(touch);
        self
    }

    /// What is added was done as well.
    pub(super) fn add(&mut self, touch: Option<Touch>) {
        if let Some(touch) = touch {
            self.outcome = Outcome::Done;
            self.touched.push(touch);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was nothing to do.
    Already,
    Done,
    /// This init system, or its absence, can't do it; the sentence says what that means.
    Impossible(&'static str),
}

/// One thing that was changed, for summaries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touch {
    Changed(PathBuf),
    Ended(u32),
    Linked(PathBuf),
    Ran(String),
    Removed(PathBuf),
    Started(u32),
    Wrote(PathBuf),
}

impl fmt::Display for Touch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Touch::Changed(path) => write!(f, "changed {}", path.display()),
            Touch::Ended(pid) => write!(f, "ended process {pid}"),
            Touch::Linked(path) => write!(f, "linked {}", path.display()),
            Touch::Ran(command) => write!(f, "ran {command}"),
            Touch::Removed(path) => write!(f, "removed {}", path.display()),
            Touch::Started(pid) => write!(f, "started process {pid}"),
            Touch::Wrote(path) => write!(f, "wrote {}", path.display()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    NotInstalled,
    /// The number is missing when the init system does not tell.
    Running(Option<u32>),
    Stopped,
}
