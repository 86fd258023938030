//! The bytes of a watch, as events: one JSON object a line.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{CallError, Event, EventKind, Status};

use crate::system::cause;

/// What has come and is no event yet.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Up to where they are taken.
    taken: usize,
    /// Up to where there is no end of a line.
    searched: usize,
}

impl Lines {
    /// Takes what has come next; take all events that are there first.
    pub fn add(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.searched -= self.taken;
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next event that is whole. After an error nothing more can be had.
    pub fn take(&mut self) -> Result<Option<Event>, CallError> {
        loop {
            let rest = &self.bytes[self.searched..];
            let end = rest.iter().position(|byte| *byte == b'\n');
            let end = end.map(|end| self.searched + end);
            let length = end.unwrap_or(self.bytes.len()) - self.taken;
            if length > MAX_EVENT {
                return Err(CallError::TooLong { limit: MAX_EVENT });
            }
            let Some(end) = end else {
                self.searched = self.bytes.len();
                return Ok(None);
            };
            let line = self.bytes[self.taken..end].trim_ascii();
            (self.taken, self.searched) = (end + 1, end + 1);
            if !line.is_empty() {
                return read(line).map(Some);
            }
        }
    }

    /// Whether an event has begun and not ended.
    pub fn is_cut(&self) -> bool {
        !self.bytes[self.taken..].trim_ascii().is_empty()
    }
}

fn read(line: &[u8]) -> Result<Event, CallError> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(rename = "type")]
        kind: String,
        object: Box<RawValue>,
    }
    let line: Line =
        serde_json::from_slice(line).map_err(|error| CallError::Strange(cause::of_json(&error)))?;
    let kind = match line.kind.as_str() {
        "ADDED" => EventKind::Added,
        "MODIFIED" => EventKind::Modified,
        "DELETED" => EventKind::Deleted,
        "BOOKMARK" => EventKind::Bookmark,
        "ERROR" => {
            let status = line.object.get().as_bytes();
            let read: Option<Status> = serde_json::from_slice(status).ok();
            let code = read.map_or(0, |status| status.code);
            let code = if code < 400 { 500 } else { code };
            return Err(CallError::Refused(Box::new(Status::read(code, status))));
        }
        other => {
            let other: String = other.chars().take(32).collect();
            return Err(CallError::Strange(format!(
                "an event of the type {other:?}"
            )));
        }
    };
    Ok(Event {
        kind,
        object: line.object,
    })
}

/// Bytes of one event. A cluster keeps no object of more than 1.5 MiB, and adds who owns which field.
pub const MAX_EVENT: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_however_they_came_in() {
        let text = b"{\"type\":\"ADDED\",\"object\":{\"a\":1}}\n\n{\"type\":\"BOOKMARK\",\"object\":{}}\r\n{\"ty";
        for step in 1..text.len() {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for chunk in text.chunks(step) {
                lines.add(chunk);
                while let Some(event) = lines.take().unwrap() {
                    found.push((event.kind, event.object.get().to_owned()));
                }
            }
            assert_eq!(found[0], (EventKind::Added, "{\"a\":1}".to_owned()));
            assert_eq!(found[1], (EventKind::Bookmark, "{}".to_owned()));
            assert!(found.len() == 2 && lines.is_cut());
        }
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        let error = |text: &[u8]| {
            let mut lines = Lines::default();
            lines.add(text);
            lines.take().unwrap_err()
        };
        let old = br#"{"type":"ERROR","object":{"code":410,"reason":"Expired","message":"too old"}}
"#;
        assert!(error(old).is_too_old());
        let odd = error(b"{\"type\":\"ERROR\",\"object\":7}\n");
        assert_eq!(odd.status().unwrap().code, 500);
        for strange in [
            "no\n",
            "{\"type\":\"NEW\",\"object\":{}}\n",
            "[]\n",
            "\u{0}\n",
        ] {
            let error = error(strange.as_bytes());
            assert!(matches!(error, CallError::Strange(_)), "{strange}");
        }
        let long = vec![b' '; MAX_EVENT + 1];
        assert!(matches!(error(&long), CallError::TooLong { .. }));
    }
}
