//! What a join tells while it goes on: one line a step, with times where a person looks on.

use std::io::{self, IsTerminal};
use std::time::Instant;

use super::super::out::Format;
use crate::system::console;

/// Speaks on stderr; says nothing when the result is wanted as JSON.
pub struct Progress {
    started: Instant,
    style: Style,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Silent,
    Timed,
}

impl Progress {
    pub fn new(format: Format) -> Progress {
        let style = match format {
            Format::Json => Style::Silent,
            Format::Text if io::stderr().is_terminal() => Style::Timed,
            Format::Text => Style::Plain,
        };
        Progress {
            started: Instant::now(),
            style,
        }
    }

    /// A step that was taken, or what is waited for.
    pub fn tell(&self, sentence: &str) {
        match self.style {
            Style::Silent => {}
            Style::Plain => console::error(sentence),
            Style::Timed => console::error(&format!("{:8.3} s  {sentence}", self.seconds())),
        }
    }

    /// Since the beginning.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}
