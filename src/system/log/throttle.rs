//! What is written and what is held back: lines of one kind are folded, floods are cut, and of what is cut
//! the last warning or error of each kind is written all the same.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use log::Level;

use super::kind;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub level: Level,
    pub text: String,
}

pub struct Throttle {
    /// Of the kinds that were printed last, the newest first: a few, since two things that go on at the same time
    /// take turns.
    recent: VecDeque<Recent>,
    /// What the last line to be printed is of.
    said: Option<(Level, String)>,
    everything: Budget,
    /// For warnings and errors besides, so that no flood of other lines takes their place.
    urgent: Budget,
    dropped: u64,
    /// When the first of them was.
    dropped_at: Instant,
    /// The last warning or error of each kind that was dropped, and how many there were.
    held: Vec<Held>,
}

/// A line that was printed, and what came of its kind since.
struct Recent {
    line: Line,
    kind: String,
    /// How many of its kind were printed, since it was quiet last.
    shown: u32,
    repeats: u64,
    /// The latest of these, if it does not say the very same.
    latest: Option<Line>,
    /// When the line, or the count of its kind, was printed.
    printed: Instant,
}

impl Recent {
    /// What has not come for a while is news again.
    fn has_rested(&self, now: Instant) -> bool {
        self.repeats == 0 && now >= self.printed + REPEAT_REPORT
    }
}

struct Held {
    kind: String,
    line: Line,
    count: u64,
}

impl Throttle {
    pub fn new(now: Instant) -> Throttle {
        Throttle {
            recent: VecDeque::new(),
            said: None,
            everything: Budget::new(BURST, LINES_PER_SECOND, now),
            urgent: Budget::new(URGENT_BURST, URGENT_PER_SECOND, now),
            dropped: 0,
            dropped_at: now,
            held: Vec::new(),
        }
    }

    /// Takes a line, and gives what is to be printed now.
    pub fn admit(&mut self, line: Line, now: Instant) -> Vec<Line> {
        let kind = kind::of(&line.text);
        let same = |it: &Recent| it.line.level == line.level && it.kind == kind;
        let known = self.recent.iter().position(same);
        if let Some(at) = known
            && self.is_folded(at, now)
        {
            let recent = &mut self.recent[at];
            recent.repeats += 1;
            recent.latest = (recent.line != line).then_some(line);
            return match now >= recent.printed + REPEAT_REPORT {
                true => self.settle_repeats(at, now).into_iter().collect(),
                false => Vec::new(),
            };
        }
        let urgent = line.level <= Level::Warn;
        if !(self.everything.spend(now) || urgent && self.urgent.spend(now)) {
            if self.dropped == 0 {
                self.dropped_at = now;
            }
            self.dropped += 1;
            if urgent {
                self.hold(kind, line);
            }
            return Vec::new();
        }
        // What goes on beside the others is told when it is due, or its place is taken.
        let mut lines: Vec<Line> = self.settle_repeats(0, now).into_iter().collect();
        let full = known.is_none() && self.recent.len() == RECENT;
        let leaves = known.or(full.then_some(RECENT - 1));
        let mut shown = 1;
        if let Some(at) = leaves {
            lines.extend(self.settle_repeats(at, now));
            let former = self.recent.remove(at);
            let former = former.filter(|it| known.is_some() && !it.has_rested(now));
            shown += former.map_or(0, |it| it.shown);
        }
        lines.extend(self.settle_dropped());
        self.said = Some((line.level, kind.clone()));
        self.recent.push_front(Recent {
            line: line.clone(),
            kind,
            shown,
            repeats: 0,
            latest: None,
            printed: now,
        });
        lines.push(line);
        lines
    }

    /// Lines in a row are folded at once, those that take turns when they have been read a few times.
    fn is_folded(&self, at: usize, now: Instant) -> bool {
        let recent = &self.recent[at];
        self.is_said(recent) || recent.shown >= TURNS && !recent.has_rested(now)
    }

    fn is_said(&self, recent: &Recent) -> bool {
        let said = self.said.as_ref();
        said.is_some_and(|(level, kind)| (*level, kind) == (recent.line.level, &recent.kind))
    }

    /// Everything that is held back, or the count of it.
    pub fn settle(&mut self, now: Instant) -> Vec<Line> {
        let all = (0..self.recent.len()).rev();
        let mut lines: Vec<Line> = all.filter_map(|at| self.settle_repeats(at, now)).collect();
        lines.extend(self.settle_dropped());
        lines
    }

    /// What has been held back for long enough.
    pub fn release(&mut self, now: Instant) -> Vec<Line> {
        if self.dropped > 0 && now >= self.dropped_at + DROP_REPORT {
            // What was folded meanwhile belongs to it.
            return self.settle(now);
        }
        let all = (0..self.recent.len()).rev();
        let due = all.filter(|&at| now >= self.recent[at].printed + REPEAT_REPORT);
        let due: Vec<usize> = due.collect();
        due.into_iter()
            .filter_map(|at| self.settle_repeats(at, now))
            .collect()
    }

    /// When the next of what is held back will have been so for long enough.
    pub fn due(&self) -> Option<Instant> {
        let repeating = self.recent.iter().filter(|it| it.repeats > 0);
        let repeats = repeating.map(|it| it.printed + REPEAT_REPORT).min();
        let dropped = (self.dropped > 0).then(|| self.dropped_at + DROP_REPORT);
        [repeats, dropped].into_iter().flatten().min()
    }

    /// How many came of this kind, if any did.
    fn settle_repeats(&mut self, at: usize, now: Instant) -> Option<Line> {
        let in_a_row = self.is_said(self.recent.get(at)?);
        let recent = self.recent.get_mut(at).filter(|it| it.repeats > 0)?;
        let repeats = std::mem::take(&mut recent.repeats);
        let text = match recent.latest.take() {
            None if in_a_row => format!("last line repeated {repeats} times"),
            latest => {
                let latest = latest.as_ref().unwrap_or(&recent.line);
                format!("{repeats} more of that kind, at last: {}", latest.text)
            }
        };
        recent.printed = now;
        let level = recent.line.level;
        self.said = Some((level, recent.kind.clone()));
        Some(Line { level, text })
    }

    fn settle_dropped(&mut self) -> Vec<Line> {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped == 0 {
            return Vec::new();
        }
        let text = format!("{dropped} lines dropped: there were too many at once");
        let counted = Line {
            level: Level::Warn,
            text,
        };
        let held = std::mem::take(&mut self.held).into_iter();
        let held = held.map(|Held { line, count, .. }| match count {
            1 => line,
            _ => Line {
                text: format!("{} (the last of {count} of that kind)", line.text),
                ..line
            },
        });
        std::iter::once(counted).chain(held).collect()
    }

    /// When there are too many kinds, those that were there first stay, and the others are counted
    /// with the rest: but an error takes the place of a warning.
    fn hold(&mut self, kind: String, line: Line) {
        let same = |held: &&mut Held| held.kind == kind && held.line.level == line.level;
        if let Some(held) = self.held.iter_mut().find(same) {
            held.count += 1;
            held.line = line;
            return;
        }
        let new = Held {
            kind,
            line,
            count: 1,
        };
        let lesser = |held: &Held| held.line.level > new.line.level;
        if self.held.len() < KINDS {
            self.held.push(new);
        } else if let Some(at) = self.held.iter().rposition(lesser) {
            self.held[at] = new;
        }
    }
}

/// Lines that may be printed at once, and in the long run.
struct Budget {
    left: u32,
    burst: u32,
    per_second: u32,
    refilled: Instant,
}

impl Budget {
    fn new(burst: u32, per_second: u32, now: Instant) -> Budget {
        Budget {
            left: burst,
            burst,
            per_second,
            refilled: now,
        }
    }

    /// Takes the place of one line, if there is one.
    fn spend(&mut self, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.refilled).as_secs();
        if seconds > 0 {
            let earned = u32::try_from(seconds).unwrap_or(u32::MAX);
            let earned = earned.saturating_mul(self.per_second);
            self.left = self.left.saturating_add(earned).min(self.burst);
            self.refilled += Duration::from_secs(seconds);
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

const BURST: u32 = 200;
const LINES_PER_SECOND: u32 = 20;
const URGENT_BURST: u32 = 50;
const URGENT_PER_SECOND: u32 = 5;
/// Kinds of warnings and errors that are remembered while too much comes.
const KINDS: usize = 16;
/// Kinds of lines that are known again.
const RECENT: usize = 4;
/// So many lines of a kind are printed although others come between.
const TURNS: u32 = 5;
/// How often a line that goes on repeating is counted.
const REPEAT_REPORT: Duration = Duration::from_secs(60);
/// After how long it is said that lines were dropped.
const DROP_REPORT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        at(Level::Info, text)
    }

    fn at(level: Level, text: &str) -> Line {
        Line {
            level,
            text: text.to_owned(),
        }
    }

    fn texts(lines: Vec<Line>) -> Vec<String> {
        lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn repeats_are_folded() {
        let start = Instant::now();
        let mut throttle = Throttle::new(start);
        assert_eq!(texts(throttle.admit(line("a"), start)), ["a"]);
        for _ in 0..1000 {
            assert!(throttle.admit(line("a"), start).is_empty());
        }
        let next = texts(throttle.admit(line("b"), start));
        assert_eq!(next, ["last line repeated 1000 times", "b"]);
        assert!(throttle.admit(line("b"), start).is_empty());
        let later = start + REPEAT_REPORT;
        assert_eq!(
            texts(throttle.admit(line("b"), later)),
            ["last line repeated 2 times"]
        );
        assert!(throttle.admit(line("b"), later).is_empty());
        assert_eq!(
            texts(throttle.settle(later)),
            ["last line repeated 1 times"]
        );
    }

    #[test]
    fn lines_that_differ_in_numbers_are_folded_and_the_last_is_told() {
        let start = Instant::now();
        let mut throttle = Throttle::new(start);
        let failed = |port: u32| line(&format!("no way to 192.0.2.1:{port} within {port} ms"));
        assert_eq!(throttle.admit(failed(1), start).len(), 1);
        for port in 2..=50 {
            assert!(throttle.admit(failed(port), start).is_empty());
        }
        let told = "49 more of that kind, at last: no way to 192.0.2.1:50 within 50 ms";
        let next = texts(throttle.admit(line("no way to 192.0.2.2:1"), start));
        assert_eq!(next, [told, "no way to 192.0.2.2:1"]);
        // A name is no number, and another level another line.
        for (level, name) in [
            (Level::Info, "edge-1 left"),
            (Level::Info, "edge-2 left"),
            (Level::Warn, "edge-2 left"),
        ] {
            assert_eq!(texts(throttle.admit(at(level, name), start)), [name]);
        }
        // What goes on is told again and again, and what has ended once more.
        throttle.admit(failed(1), start);
        throttle.admit(failed(2), start);
        assert_eq!(throttle.due(), Some(start + REPEAT_REPORT));
        assert!(throttle.release(start).is_empty());
        let told = "1 more of that kind, at last: no way to 192.0.2.1:2 within 2 ms";
        assert_eq!(texts(throttle.release(start + REPEAT_REPORT)), [told]);
        assert_eq!(throttle.due(), None);
    }

    #[test]
    fn what_takes_turns_is_folded_too() {
        let start = Instant::now();
        let mut throttle = Throttle::new(start);
        let kinds = [
            "no way to the cloud",
            "no answer of 192.0.2.1:1",
            "the disk is slow",
        ];
        let mut printed = Vec::new();
        for number in 0..1000 {
            for kind in kinds {
                let text = kind.replace(":1", &format!(":{number}"));
                printed.extend(texts(throttle.admit(at(Level::Warn, &text), start)));
            }
        }
        assert_eq!(printed.len(), kinds.len() * TURNS as usize);
        assert_eq!(printed[1], "no answer of 192.0.2.1:0");
        assert_eq!(printed[4], "no answer of 192.0.2.1:1");
        // Each is told with its words, since others were printed between.
        assert_eq!(throttle.due(), Some(start + REPEAT_REPORT));
        assert_eq!(
            texts(throttle.release(start + REPEAT_REPORT)),
            [
                "995 more of that kind, at last: no way to the cloud",
                "995 more of that kind, at last: no answer of 192.0.2.1:999",
                "995 more of that kind, at last: the disk is slow",
            ]
        );
        assert!(throttle.settle(start + REPEAT_REPORT).is_empty());
        // What is pushed out by others is told before, and is new when it comes again.
        let then = start + REPEAT_REPORT;
        throttle.admit(at(Level::Warn, kinds[0]), then);
        let mut told = Vec::new();
        for word in ["a", "b"] {
            told.extend(texts(throttle.admit(line(word), then)));
        }
        let counted = "1 more of that kind, at last: no way to the cloud";
        assert_eq!(told, ["a", counted, "b"]);
        let again = throttle.admit(at(Level::Warn, kinds[0]), then);
        assert_eq!(texts(again), [kinds[0]]);
        // So is what was quiet for a while.
        for _ in 0..3 * TURNS {
            throttle.admit(line("a"), then);
            throttle.admit(line("b"), then);
        }
        assert!(throttle.admit(line("a"), then).is_empty());
        let later = then + REPEAT_REPORT;
        assert_eq!(throttle.release(later).len(), 2);
        let again = throttle.admit(line("a"), later + REPEAT_REPORT);
        assert_eq!(texts(again), ["a"]);
    }

    #[test]
    fn floods_are_cut_and_counted() {
        let start = Instant::now();
        let mut throttle = Throttle::new(start);
        let mut printed = 0;
        for number in 0..1000 {
            printed += throttle.admit(line(&format!("n{number}")), start).len();
        }
        assert_eq!(printed, BURST as usize);
        let later = start + Duration::from_secs(1);
        assert_eq!(throttle.due(), Some(later));
        let told = texts(throttle.admit(line("later"), later));
        assert_eq!(
            told,
            ["800 lines dropped: there were too many at once", "later"]
        );
        assert_eq!(throttle.everything.left, LINES_PER_SECOND - 1);
    }

    #[test]
    fn no_flood_hides_an_error() {
        let start = Instant::now();
        let mut throttle = Throttle::new(start);
        for number in 0..1000 {
            throttle.admit(line(&format!("n{number}")), start);
        }
        // Others have used up what there is, and an error is printed at once.
        let printed = texts(throttle.admit(at(Level::Error, "the disk is full"), start));
        assert_eq!(printed.last().unwrap(), "the disk is full");
        // A flood of more kinds of warnings in turn than are known again, and a single error at its end.
        for number in 0..1000 {
            for text in [
                format!("port {number} is closed"),
                format!("{number} tries failed"),
                format!("disk {number} is slow"),
                format!("link {number} is down"),
                format!("{number} files are lost"),
            ] {
                throttle.admit(at(Level::Warn, &text), start);
            }
        }
        throttle.admit(at(Level::Error, "the key is gone"), start);
        let told = texts(throttle.release(start + DROP_REPORT));
        for part in [
            "port 999 is closed (the last of ",
            "lines dropped",
            "999 files are lost (the last of ",
        ] {
            assert!(told.iter().any(|it| it.contains(part)), "{told:?}");
        }
        assert!(told.contains(&"the key is gone".to_owned()), "{told:?}");
        assert_eq!(told.len(), 7, "{told:?}");
        assert!(throttle.release(start + 2 * DROP_REPORT).is_empty());
    }

    #[test]
    fn what_is_remembered_has_a_bound_and_errors_come_first() {
        let start = Instant::now();
        let mut throttle = Throttle::new(start);
        for number in 0..2000 {
            throttle.admit(at(Level::Warn, &format!("kind{number}x")), start);
        }
        throttle.admit(at(Level::Error, "bad"), start);
        assert_eq!(throttle.held.len(), KINDS);
        assert!(texts(throttle.settle(start)).contains(&"bad".to_owned()));
    }
}
