//! The nodes on disk: an append-only file of checked lines, rewritten when most of it is old.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use log::warn;
use serde::{Deserialize, Serialize};

use super::{NodeRecord, StoreError};
use crate::pki::hash::Sha256Hash;
use crate::system::clock::Timestamp;
use crate::system::files::{Appender, Files};
use crate::system::names::NodeName;

pub type Nodes = BTreeMap<NodeName, NodeRecord>;

/// The open file. What is in it is known to its owner, who passes it in where it is needed.
pub struct Journal {
    files: Files,
    path: PathBuf,
    file: Appender,
    lines: usize,
    doubtful: bool,
}

/// A whole journal that says what is true of some nodes, and nothing else.
pub struct Contents {
    bytes: Vec<u8>,
    lines: usize,
}

impl Contents {
    pub fn of(nodes: &Nodes) -> Contents {
        let each = nodes.iter().map(|(name, record)| line(name, Some(record)));
        Contents {
            bytes: each.flatten().collect(),
            lines: nodes.len(),
        }
    }
}

impl Journal {
    /// Reads what is there. A line that a power cut tore is cut off; damaged lines are left out,
    /// and a copy of the file is kept.
    pub fn open(files: &Files, path: &Path) -> Result<(Journal, Nodes), StoreError> {
        let bytes = files.read_opt(path, MAX_BYTES)?.unwrap_or_default();
        let found = parse(&bytes);
        let file = files.appender(path, MODE)?;
        let (files, path) = (files.clone(), path.to_path_buf());
        let mut journal = Journal {
            files,
            path,
            file,
            lines: found.lines,
            doubtful: false,
        };
        if found.damaged.is_empty() {
            journal.cut(bytes.len(), found.whole)?;
        } else {
            keep_damaged(&journal.files, &journal.path, &bytes, &found.damaged)?;
            journal.rewrite(&Contents::of(&found.nodes))?;
        }
        Ok((journal, found.nodes))
    }

    /// Adds lines and makes them durable, all with one fsync.
    pub fn append(&mut self, lines: &[Vec<u8>]) -> Result<(), StoreError> {
        let written = self
            .file
            .append(&lines.concat())
            .and_then(|()| self.file.sync());
        self.doubtful = written.is_err();
        self.lines += lines.len();
        Ok(written?)
    }

    /// Whether only `rewrite` can make the file good again: an earlier write has failed, and what
    /// of it is on the disk is unknown.
    pub fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Whether more than half of the lines say nothing that is still true of `live` nodes.
    pub fn is_bloated(&self, live: usize) -> bool {
        self.lines > 2 * live + SLACK
    }

    /// Replaces the file by one that says only what is true now.
    pub fn rewrite(&mut self, contents: &Contents) -> Result<(), StoreError> {
        // Between the two steps the old handle would write to a file that has no name any more.
        self.doubtful = true;
        self.files.replace(&self.path, &contents.bytes, MODE)?;
        self.file = self.files.appender(&self.path, MODE)?;
        self.doubtful = false;
        self.lines = contents.lines;
        Ok(())
    }

    fn cut(&mut self, length: usize, whole: usize) -> Result<(), StoreError> {
        if whole < length {
            let lost = length - whole;
            warn!(
                "{}: the last {lost} bytes were torn and are cut off",
                self.path.display()
            );
            self.file.truncate(whole as u64)?;
        }
        Ok(())
    }
}

/// Keeps a copy of a file with damaged lines, whose numbers these are.
pub fn keep_damaged(
    files: &Files,
    path: &Path,
    bytes: &[u8],
    damaged: &[usize],
) -> Result<(), StoreError> {
    for number in 1..=MAX_COPIES {
        let copy = path.with_extension(format!("damaged-{number}"));
        if files.create(&copy, bytes, MODE)? {
            warn!(
                "{}: {} lines are damaged, the first is line {}; the good ones are kept, the file \
                 as it was is {}",
                path.display(),
                damaged.len(),
                damaged[0],
                copy.display()
            );
            return Ok(());
        }
    }
    warn!(
        "{}: {} more lines are damaged",
        path.display(),
        damaged.len()
    );
    Ok(())
}

/// One line: the start of its hash, a space, JSON. Without a record it says that the node is gone.
pub fn line(name: &NodeName, record: Option<&NodeRecord>) -> Vec<u8> {
    let json = text(name, record);
    format!("{} {json}\n", checksum(json.as_bytes())).into_bytes()
}

/// JSON that says so.
pub fn text(name: &NodeName, record: Option<&NodeRecord>) -> String {
    let entry = Entry {
        node: name.clone(),
        key: record.map(|record| record.key_hash.to_string()),
        previous: record.and_then(|record| record.previous.map(|key| key.to_string())),
        since: record.map(|record| record.since.unix()),
        until: record.map(|record| record.not_after.unix()),
        serial: record.map(|record| record.serial.clone()),
        by: record.and_then(|record| record.by.map(|ca| ca.to_string())),
        trusts: record.and_then(|record| record.trusts.map(|ca| ca.to_string())),
    };
    // Strings and a number: there is nothing in it that JSON can't hold.
    serde_json::to_string(&entry).unwrap_or_default()
}

#[derive(Serialize, Deserialize)]
struct Entry {
    node: NodeName,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
    /// Missing in lines of before there was one: any certificate counts as a later one then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trusts: Option<String>,
}

/// What a journal's bytes say.
pub struct Found {
    pub nodes: Nodes,
    /// Good lines, old ones too.
    pub lines: usize,
    /// Bytes up to and with the last line end.
    pub whole: usize,
    /// The numbers of the lines that end as they should and yet are not good.
    pub damaged: Vec<usize>,
}

/// Reads a journal; nothing in it is worth an error, since what is good must be kept.
pub fn parse(bytes: &[u8]) -> Found {
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let mut found = Found {
        nodes: Nodes::new(),
        lines: 0,
        whole,
        damaged: Vec::new(),
    };
    let text = bytes[..whole].strip_suffix(b"\n");
    for (index, line) in text
        .into_iter()
        .flat_map(|t| t.split(|b| *b == b'\n'))
        .enumerate()
    {
        match parse_line(line) {
            Some((name, Some(record))) => _ = found.nodes.insert(name, record),
            Some((name, None)) => _ = found.nodes.remove(&name),
            None => {
                found.damaged.push(index + 1);
                continue;
            }
        }
        found.lines += 1;
    }
    found
}

fn parse_line(line: &[u8]) -> Option<(NodeName, Option<NodeRecord>)> {
    let (sum, json) = (line.get(..CHECKSUM)?, line.get(CHECKSUM + 1..)?);
    if line[CHECKSUM] != b' ' || sum != checksum(json).as_bytes() {
        return None;
    }
    parse_text(json)
}

/// Reads what `text` has written.
pub fn parse_text(json: &[u8]) -> Option<(NodeName, Option<NodeRecord>)> {
    let entry: Entry = serde_json::from_slice(json).ok()?;
    let Some(key) = entry.key else {
        return Some((entry.node, None));
    };
    let key_hash: Sha256Hash = key.parse().ok()?;
    let hash = |text: Option<String>| text.map(|text| text.parse()).transpose().ok();
    let previous = hash(entry.previous)?;
    let (by, trusts) = (hash(entry.by)?, hash(entry.trusts)?);
    let not_after = Timestamp::from_unix(entry.until?);
    Some((
        entry.node,
        Some(NodeRecord {
            key_hash,
            previous,
            since: Timestamp::from_unix(entry.since.unwrap_or(0)),
            not_after,
            serial: entry.serial?,
            by,
            trusts,
        }),
    ))
}

pub fn checksum(json: &[u8]) -> String {
    let mut hash = Sha256Hash::of(json).to_string();
    hash.truncate(CHECKSUM);
    hash
}

const MODE: u32 = 0o600;

/// Hexadecimal digits of a line's checksum.
pub const CHECKSUM: usize = 8;

/// 100,000 nodes take 40 MB at most, twice that before the file is rewritten.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// Old lines that are never worth a rewrite.
const SLACK: usize = 1000;

/// Copies of damaged files that are kept; the first ones tell the most.
const MAX_COPIES: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{name, record};
    use crate::system::scratch::Scratch;

    fn open(folder: &Scratch) -> (Journal, Nodes) {
        Journal::open(&Files::real(), &folder.path().join("nodes.journal")).unwrap()
    }

    /// Some lines, and where each of them ends.
    fn lines() -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for (node, key) in [
            ("a", Some("1")),
            ("b", Some("2")),
            ("a", Some("3")),
            ("b", None),
        ] {
            bytes.extend_from_slice(&line(&name(node), key.map(record).as_ref()));
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn write_raw(folder: &Scratch, bytes: &[u8]) -> PathBuf {
        let path = folder.path().join("nodes.journal");
        Files::real().replace(&path, bytes, MODE).unwrap();
        path
    }

    #[test]
    fn a_tail_torn_at_any_byte_costs_only_the_torn_line() {
        let (bytes, ends) = lines();
        let folder = Scratch::new();
        for cut in 0..=bytes.len() {
            let path = write_raw(&folder, &bytes[..cut]);
            let whole = *ends.iter().rfind(|end| **end <= cut).unwrap();
            let (mut journal, mut nodes) = open(&folder);
            assert_eq!(nodes, parse(&bytes[..whole]).nodes, "cut at {cut}");
            assert_eq!(
                Files::real().read(&path, MAX_BYTES).unwrap(),
                &bytes[..whole]
            );

            nodes.insert(name("new"), record("9"));
            let change = line(&name("new"), Some(&record("9")));
            journal.append(&[change]).unwrap();
            assert_eq!(open(&folder).1, nodes, "written after a cut at {cut}");
        }
        assert!(!folder.path().join("nodes.damaged-1").exists());
    }

    #[test]
    fn a_line_of_before_there_was_a_moment_is_read() {
        let json = format!(
            r#"{{"node":"a","key":"{}","until":1826871000,"serial":"01"}}"#,
            record("1").key_hash
        );
        let old = format!("{} {json}\n", checksum(json.as_bytes()));
        let nodes = parse(old.as_bytes()).nodes;
        let since = Timestamp::from_unix(0);
        let expected = NodeRecord {
            since,
            ..record("1")
        };
        assert_eq!(nodes[&name("a")], expected);
        let full = NodeRecord {
            previous: Some(record("2").key_hash),
            by: Some(record("3").key_hash),
            trusts: Some(record("4").key_hash),
            ..record("1")
        };
        let new = line(&name("a"), Some(&full));
        assert_eq!(parse(&new).nodes[&name("a")], full);
    }

    #[test]
    fn zeros_behind_the_last_line_are_cut_off() {
        let (mut bytes, _) = lines();
        let nodes = parse(&bytes).nodes;
        bytes.extend_from_slice(&[0; 700]);
        let folder = Scratch::new();
        write_raw(&folder, &bytes);
        assert_eq!(open(&folder).1, nodes);
    }

    #[test]
    fn a_flipped_bit_costs_one_line_and_the_file_is_kept() {
        let (good, ends) = lines();
        for at in (0..good.len()).step_by(3) {
            let mut bytes = good.clone();
            bytes[at] ^= 0x40;
            let folder = Scratch::new();
            write_raw(&folder, &bytes);
            let (_, nodes) = open(&folder);
            if at == good.len() - 1 {
                continue; // The end of the last line is gone: that is a torn tail.
            }
            let copy = folder.path().join("nodes.damaged-1");
            assert_eq!(
                Files::real().read(&copy, MAX_BYTES).unwrap(),
                bytes,
                "byte {at}"
            );
            assert_eq!(open(&folder).1, nodes, "the rewritten file is good");
            if at >= ends[2] && at < ends[3] - 1 {
                assert_eq!(
                    nodes[&name("a")],
                    record("1"),
                    "the line before counts again"
                );
            }
        }
    }

    #[test]
    fn a_journal_of_old_lines_is_rewritten() {
        let folder = Scratch::new();
        let (mut journal, mut nodes) = open(&folder);
        nodes.insert(name("a"), record("1"));
        let change = line(&name("a"), Some(&record("1")));
        while !journal.is_bloated(nodes.len()) {
            journal.append(&vec![change.clone(); 100]).unwrap();
        }
        journal.rewrite(&Contents::of(&nodes)).unwrap();
        assert!(!journal.is_bloated(nodes.len()));
        journal
            .append(&[line(&name("b"), Some(&record("2")))])
            .unwrap();
        let bytes = Files::real()
            .read(&folder.path().join("nodes.journal"), MAX_BYTES)
            .unwrap();
        assert_eq!(parse(&bytes).lines, 2);
        assert_eq!(open(&folder).1.len(), 2);
    }
}
