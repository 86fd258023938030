//! What is known of the stored objects without reading them, and what a change does to it.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::protocol::object::{Meta as Head, Object};
use crate::protocol::resource::{Kind, ObjectPath};
use crate::system::sorted::{SortedMap, SortedSet};

/// Of one stored object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub uid: Box<str>,
    pub version: Box<str>,
    /// Bytes of its text.
    pub size: usize,
    /// Of its text, to know a resend from a change; of a Node, without what every report of it changes.
    digest: u64,
}

impl Entry {
    pub fn of(kind: Kind, object: &Object) -> Entry {
        let (head, text) = (object.meta(), object.text());
        let mut hasher = DefaultHasher::new();
        match kind {
            Kind::Node => hasher.write(lasting(text).as_bytes()),
            _ => hasher.write(text.as_bytes()),
        }
        Entry {
            uid: head.uid.as_str().into(),
            version: head.resource_version.as_str().into(),
            size: text.len(),
            digest: hasher.finish(),
        }
    }

    /// Bytes that it takes on flash, with what every file costs.
    pub fn room(&self) -> usize {
        self.size + EVERY_FILE
    }
}

/// What a Node says but for when it was said. Of what can't be taken apart, all.
fn lasting(text: &str) -> String {
    let mut node: Value = serde_json::from_str(text).unwrap_or_default();
    for place in ["/metadata/resourceVersion", "/metadata/managedFields"] {
        node.pointer_mut(place).map(Value::take);
    }
    let conditions = node.pointer_mut("/status/conditions");
    for condition in conditions
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        condition.get_mut("lastHeartbeatTime").map(Value::take);
    }
    match node.is_null() {
        true => text.to_owned(),
        false => node.to_string(),
    }
}

/// Bytes of a file's name and of what the file system keeps of it.
const EVERY_FILE: usize = 512;

/// What the cloud wants.
#[derive(Debug)]
pub enum Change {
    Put(Object),
    /// Whichever it is, if none is named.
    Delete {
        uid: String,
    },
}

/// What has to be done for it.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is so already, or it comes too late: to be acknowledged all the same.
    Nothing,
    Remove,
    Write(Entry),
    /// It says what the stored one says, under another version: not worth a write.
    Confirm(Entry),
}

/// All stored objects.
#[derive(Debug, Default)]
pub struct Index {
    pub entries: SortedMap<ObjectPath, Entry>,
    /// Files and whole folders that lie there and of which nothing is known.
    pub unread: SortedSet<PathBuf>,
    /// The last that were deleted.
    gone: VecDeque<Gone>,
}

/// An object that was deleted here. That does not say that it exists no more: a Secret is taken from a
/// node with the last Pod that needs it, and comes again, as it was, with the next.
#[derive(Clone, Debug)]
pub struct Gone {
    pub uid: Box<str>,
    /// The last one known.
    pub version: Box<str>,
    /// A Pod that is gone from its node is never there again.
    pub for_good: bool,
}

impl Gone {
    /// Whether this, of an object that is gone, comes too late.
    pub fn outlives(&self, head: &Head) -> bool {
        let older = || compare(&head.resource_version, &self.version) == Ordering::Less;
        !head.uid.is_empty() && *self.uid == *head.uid && (self.for_good || older())
    }
}

impl Index {
    pub fn get(&self, path: &ObjectPath) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Whether it comes too late.
    pub fn is_gone(&self, head: &Head) -> bool {
        self.gone.iter().any(|gone| gone.outlives(head))
    }

    /// Whether something may lie there all the same, of which there is no entry.
    pub fn may_hide(&self, file: &Path) -> bool {
        file.ancestors().any(|path| self.unread.contains(path))
    }

    /// What is true of a path from now on; what was before.
    pub fn set(&mut self, path: ObjectPath, entry: Option<Entry>) -> Option<Entry> {
        match entry {
            Some(entry) => self.entries.insert(path, entry),
            None => self.entries.remove(&path),
        }
    }

    /// These were deleted.
    pub fn bury(&mut self, gone: Vec<Gone>) {
        self.gone
            .extend(gone.into_iter().filter(|it| !it.uid.is_empty()));
        let surplus = self.gone.len().saturating_sub(MAX_GONE);
        self.gone.drain(..surplus);
    }

    /// The largest version of all, as clouds count.
    pub fn newest(&self) -> String {
        let versions = self.entries.values().map(|entry| &*entry.version);
        let newest = versions.max_by(|a, b| compare(a, b));
        newest.unwrap_or("0").to_owned()
    }
}

/// What a change does to an object of which `known` is true.
pub fn judge(kind: Kind, known: Option<&Entry>, change: &Change) -> Verdict {
    match (change, known) {
        (Change::Delete { .. }, None) => Verdict::Nothing,
        (Change::Delete { uid }, Some(known)) => {
            let other = !uid.is_empty() && !known.uid.is_empty() && **uid != *known.uid;
            match other {
                true => Verdict::Nothing,
                false => Verdict::Remove,
            }
        }
        (Change::Put(object), known) => {
            let new = Entry::of(kind, object);
            let Some(known) = known.filter(|known| known.uid == new.uid) else {
                return Verdict::Write(new);
            };
            if *known == new || compare(&new.version, &known.version) == Ordering::Less {
                return Verdict::Nothing;
            }
            match known.digest == new.digest {
                true => Verdict::Confirm(new),
                false => Verdict::Write(new),
            }
        }
    }
}

/// Versions are decimal numbers of any length; what is none can't be older than anything.
pub fn compare(one: &str, other: &str) -> Ordering {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.trim_start_matches('0').to_owned())
    };
    match (number(one), number(other)) {
        (Some(one), Some(other)) => (one.len(), one).cmp(&(other.len(), other)),
        _ => Ordering::Equal,
    }
}

const MAX_GONE: usize = 256;

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn object(uid: &str, version: &str, rest: &str) -> Change {
        let text = format!(
            r#"{{"metadata":{{"name":"a","uid":"{uid}","resourceVersion":"{version}"}},"x":"{rest}"}}"#
        );
        Change::Put(Object::read(RawValue::from_string(text).unwrap()).unwrap())
    }

    fn entry(change: &Change) -> Entry {
        match change {
            Change::Put(object) => Entry::of(Kind::Pod, object),
            Change::Delete { .. } => unreachable!(),
        }
    }

    fn delete(uid: &str) -> Change {
        let uid = uid.to_owned();
        Change::Delete { uid }
    }

    #[test]
    fn versions_are_numbers() {
        for (one, other, expected) in [
            ("9", "10", Ordering::Less),
            ("010", "10", Ordering::Equal),
            (
                "18446744073709551616",
                "18446744073709551615",
                Ordering::Greater,
            ),
            ("", "5", Ordering::Equal),
            ("x", "5", Ordering::Equal),
        ] {
            assert_eq!(compare(one, other), expected, "{one} {other}");
            assert_eq!(compare(other, one), expected.reverse(), "{one} {other}");
        }
    }

    #[test]
    fn resends_and_what_is_late_change_nothing() {
        let known = entry(&object("u", "10", "ten"));
        let nothing = [
            object("u", "10", "ten"),
            object("u", "9", "nine"),
            delete("v"),
        ];
        for change in nothing {
            assert_eq!(
                judge(Kind::Pod, Some(&known), &change),
                Verdict::Nothing,
                "{change:?}"
            );
        }
        assert_eq!(judge(Kind::Pod, None, &delete("u")), Verdict::Nothing);
        // A new object of the name, the same one newer or different, and one of a cloud that counts anew.
        for change in [
            object("u", "11", "ten"),
            object("u", "10", "other"),
            object("v", "9", "nine"),
            object("u", "", "none"),
        ] {
            let new = entry(&change);
            assert_eq!(
                judge(Kind::Pod, Some(&known), &change),
                Verdict::Write(new),
                "{change:?}"
            );
        }
        for change in [delete("u"), delete("")] {
            assert_eq!(judge(Kind::Pod, Some(&known), &change), Verdict::Remove);
        }
    }

    /// A Node with these words, as a cloud sends it after a report.
    fn node(uid: &str, version: &str, ready: &str, at: &str) -> Change {
        let node = serde_json::json!({
            "metadata": {"name": "a", "uid": uid, "resourceVersion": version, "managedFields": [{"time": at}]},
            "status": {"conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": at}]},
        });
        let raw = RawValue::from_string(node.to_string()).unwrap();
        Change::Put(Object::read(raw).unwrap())
    }

    #[test]
    fn a_node_that_is_only_confirmed_is_not_written() {
        let entry = |change: &Change| match change {
            Change::Put(object) => Entry::of(Kind::Node, object),
            Change::Delete { .. } => unreachable!(),
        };
        let known = entry(&node("u", "10", "True", "2026"));
        let again = node("u", "11", "True", "2026-11");
        let confirmed = entry(&again);
        let judge = |known, change: &Change| judge(Kind::Node, Some(known), change);
        assert_eq!(judge(&known, &again), Verdict::Confirm(entry(&again)));
        for late in [&again, &node("u", "9", "False", "")] {
            assert_eq!(judge(&confirmed, late), Verdict::Nothing);
        }
        for other in [
            node("u", "12", "False", "2026"),
            node("v", "12", "True", "2026"),
        ] {
            assert_eq!(judge(&confirmed, &other), Verdict::Write(entry(&other)));
        }
        // Of everything else each word counts.
        let (one, two) = (node("u", "1", "", ""), node("u", "2", "", ""));
        let verdict = super::judge(Kind::Pod, Some(&super::tests::entry(&one)), &two);
        assert!(matches!(verdict, Verdict::Write(_)));
    }

    #[test]
    fn the_last_that_are_gone_are_remembered() {
        let mut index = Index::default();
        let gone = |uid: &str, for_good| Gone {
            uid: uid.into(),
            version: "5".into(),
            for_good,
        };
        for number in 0..=MAX_GONE {
            index.bury(vec![gone(&number.to_string(), true), gone("", true)]);
        }
        let late = |index: &Index, uid, version| {
            let Change::Put(object) = object(uid, version, "") else {
                unreachable!();
            };
            index.is_gone(object.meta())
        };
        assert!(!late(&index, "0", "1") && late(&index, "1", "9") && !late(&index, "", "1"));
        assert_eq!(index.newest(), "0");
        // What was taken from the node, and not deleted, may come again as it was.
        index.bury(vec![gone("taken", false)]);
        let taken = |version| late(&index, "taken", version);
        assert!(taken("4") && !taken("5") && !taken("10") && !taken(""));
    }
}
