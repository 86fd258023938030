//! The last warnings and errors of a daemon, in its memory alone, for `debug diagnose` and `debug collect`.
//!
//! Nothing is allocated before there is one, and never more than 8 KiB.

use std::collections::VecDeque;
use std::env;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use log::Level;

use super::kind;
use super::told::Told;
use crate::system::clock::{Clock, Timestamp};

/// Remembers from now on. A child has what its parent knew when it started it.
pub fn begin(is_child: bool) {
    let inherited = env::var(VARIABLE).ok().filter(|_| is_child);
    let mut ring = Ring::default();
    for told in inherited
        .and_then(|text| serde_json::from_str::<Vec<Told>>(&text).ok())
        .into_iter()
        .flatten()
    {
        ring.put(Line::of(&told));
    }
    *lock() = Some(ring);
}

/// A line of the log, already clean; one that is no warning is nothing here.
pub fn note(level: Level, text: &str) {
    if level > Level::Warn {
        return;
    }
    if let Some(ring) = lock().as_mut() {
        let now = Clock::system().now();
        ring.note(level == Level::Error, text, now);
    }
}

/// The oldest first; none where nothing is remembered.
pub fn told() -> Option<Vec<Told>> {
    let ring = lock();
    let lines = ring.as_ref()?.lines.iter();
    Some(lines.map(Line::told).collect())
}

/// An environment variable and its value, for a child that goes on with what this process knows.
pub fn passed_on() -> Option<(&'static str, String)> {
    let told = told().filter(|told| !told.is_empty())?;
    Some((VARIABLE, serde_json::to_string(&told).ok()?))
}

fn lock() -> std::sync::MutexGuard<'static, Option<Ring>> {
    RING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// By the time of the last of each kind, the oldest first.
#[derive(Default)]
struct Ring {
    lines: VecDeque<Line>,
    /// Bytes of all texts.
    size: usize,
}

struct Line {
    is_error: bool,
    first: Timestamp,
    last: Timestamp,
    count: u32,
    /// Of its kind; lines of one kind are folded.
    hash: u64,
    text: Box<str>,
}

impl Ring {
    fn note(&mut self, is_error: bool, text: &str, now: Timestamp) {
        let mut line = Line::new(is_error, text, now);
        let same = |it: &Line| (it.hash, it.is_error) == (line.hash, line.is_error);
        if let Some(known) = self
            .lines
            .iter()
            .position(same)
            .and_then(|at| self.lines.remove(at))
        {
            self.size -= known.text.len();
            line.first = known.first;
            line.count = known.count.saturating_add(1);
        }
        self.put(line);
    }

    fn put(&mut self, line: Line) {
        while self.lines.len() >= LINES || self.size + line.text.len() > TEXT {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.size -= oldest.text.len();
        }
        self.size += line.text.len();
        self.lines.push_back(line);
    }
}

impl Line {
    fn new(is_error: bool, text: &str, now: Timestamp) -> Line {
        let end = (0..=MAX_TEXT.min(text.len())).rfind(|at| text.is_char_boundary(*at));
        let text = &text[..end.unwrap_or(0)];
        let mut hasher = DefaultHasher::new();
        kind::of(text).hash(&mut hasher);
        Line {
            is_error,
            first: now,
            last: now,
            count: 1,
            hash: hasher.finish(),
            text: text.into(),
        }
    }

    fn of(told: &Told) -> Line {
        Line {
            first: told.first,
            count: told.count,
            ..Line::new(told.level == ERROR, &told.text, told.last)
        }
    }

    fn told(&self) -> Told {
        Told {
            level: if self.is_error { ERROR } else { WARN }.to_owned(),
            first: self.first,
            last: self.last,
            count: self.count,
            text: self.text.to_string(),
        }
    }
}

static RING: Mutex<Option<Ring>> = Mutex::new(None);

const VARIABLE: &str = "KUBEEDGE_LOG_BEFORE";
const ERROR: &str = "error";
const WARN: &str = "warn";
/// With 48 bytes each besides their texts, and what the allocator takes for these.
const LINES: usize = 48;
/// Bytes of all texts, and of one.
const TEXT: usize = 4 * 1024;
const MAX_TEXT: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds)
    }

    fn texts(ring: &Ring) -> Vec<(u32, &str)> {
        ring.lines.iter().map(|it| (it.count, &*it.text)).collect()
    }

    #[test]
    fn lines_of_one_kind_are_one_and_the_latest_is_last() {
        let mut ring = Ring::default();
        ring.note(false, "no way to 192.0.2.1:1000 in 5 s", at(1));
        ring.note(false, "the disk is full", at(2));
        ring.note(false, "no way to 192.0.2.1:1001 in 7 s", at(3));
        ring.note(true, "the disk is full", at(4));
        let wanted = [
            (1, "the disk is full"),
            (2, "no way to 192.0.2.1:1001 in 7 s"),
            (1, "the disk is full"),
        ];
        assert_eq!(texts(&ring), wanted);
        let told = ring.lines[1].told();
        assert_eq!(
            (told.first, told.last, told.level.as_str()),
            (at(1), at(3), "warn")
        );
        // What a parent passes on is the same in its child.
        let mut child = Ring::default();
        for line in &ring.lines {
            child.put(Line::of(&line.told()));
        }
        assert_eq!(texts(&child), wanted);
        child.note(false, "no way to 192.0.2.1:1002 in 1 s", at(5));
        assert_eq!(texts(&child).last().unwrap().0, 3);
    }

    #[test]
    fn it_has_a_bound() {
        let mut ring = Ring::default();
        for number in 0..1000 {
            let text = format!("kind{number}x {}", "é".repeat(number % 3000));
            ring.note(number % 2 == 0, &text, at(0));
            assert!(ring.lines.len() <= LINES && ring.size <= TEXT);
            let sum: usize = ring.lines.iter().map(|it| it.text.len()).sum();
            assert_eq!(ring.size, sum);
        }
        assert!(ring.lines.back().unwrap().text.starts_with("kind999x "));
        for number in 0..100 {
            ring.note(true, &format!("kind{number}y"), at(0));
        }
        assert_eq!(ring.lines.len(), LINES);
        let all = LINES.next_power_of_two() * size_of::<Line>() + TEXT;
        assert!(all <= 8 * 1024, "{all}");
    }
}
