//! What the edgecore that runs remembers of its log, and what of it speaks of a fault that there is now.

use super::rules::{self, Rule};
use super::{Diagnosis, Reason};
use crate::keadm::debug::warnings;
use crate::keadm::running;
use crate::protocol::control::{ControlError, EdgeStatus};
use crate::system::clock::Timestamp;
use crate::system::host::Host;
use crate::system::log::Told;

/// Adds what the log tells to reasons that are sorted; `rank` says where an item belongs.
pub fn add(host: &Host, found: &mut Diagnosis, rank: impl Fn(&str) -> usize) {
    let lines = match warnings::ask(host) {
        Ok(lines) => lines,
        // The checks say so.
        Err(ControlError::NotRunning) => return,
        Err(error) => {
            found
                .lately
                .push(format!("edgecore's log is not known: {error}"));
            return;
        }
    };
    let status = running::status(host);
    let now = now(host, status.as_ref());
    // The latest first: of what one fault has said in different words, it is the word.
    for line in lines.iter().rev() {
        match rules::rule(line, status.as_ref(), now) {
            Some(rule) => note(found, rule, line, &rank),
            None if found.lately.len() < LATELY => found.lately.push(words(line)),
            None => {}
        }
    }
}

fn note(found: &mut Diagnosis, rule: &Rule, line: &Told, rank: impl Fn(&str) -> usize) {
    let what = format!("{}: {}", rule.item, rule.what);
    let is_known = |it: &Reason| it.what == what;
    if found.reasons.iter().any(is_known) {
        return;
    }
    let place = rank(rule.item);
    let at = found.reasons.iter().position(|it| rank(it.item()) > place);
    let at = at.unwrap_or(found.reasons.len());
    let reason = Reason {
        what,
        found: words(line),
        remedy: rule.remedy.to_owned(),
    };
    found.reasons.insert(at, reason);
    found.good = false;
}

/// `2026-01-02T03:04:05Z warn, 14 times since 2026-01-01T00:00:00Z: what it said`.
fn words(line: &Told) -> String {
    let Told {
        level, last, text, ..
    } = line;
    match line.count {
        1 => format!("{last} {level}: {text}"),
        count => format!("{last} {level}, {count} times since {}: {text}", line.first),
    }
}

/// The time that edgecore judges by.
fn now(host: &Host, status: Option<&EdgeStatus>) -> Timestamp {
    let told = status.and_then(|status| status.now);
    told.unwrap_or_else(|| host.clock.now())
}

/// Lines that no rule knows, and that are shown all the same.
const LATELY: usize = 8;
