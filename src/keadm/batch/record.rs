//! The log of a batch, a line for each device, and beside it what each device has said.

use std::path::{Path, PathBuf};

use super::report::Outcome;
use crate::system::clock::Clock;
use crate::system::console;
use crate::system::files::{Appender, FileError, Files};
use crate::system::host::Host;

pub struct Record {
    files: Files,
    clock: Clock,
    log: Appender,
    /// For what the devices say.
    folder: PathBuf,
}

impl Record {
    /// Goes on with the log that is there.
    pub fn open(host: &Host, path: &Path) -> Result<Record, FileError> {
        let folder = path.with_extension("d");
        host.files.make_dir(&folder, 0o700)?;
        Ok(Record {
            files: host.files.clone(),
            clock: host.clock.clone(),
            log: host.files.appender(path, 0o600)?,
            folder,
        })
    }

    /// What cannot be written is said: the devices go on.
    pub fn note(&mut self, outcome: &Outcome, said: &[u8]) {
        let file = self.folder.join(format!("{}.log", outcome.node));
        let Outcome {
            node,
            state,
            fingerprint,
            reason,
            ..
        } = outcome;
        let reason = reason.as_deref().unwrap_or_default();
        let (now, state) = (self.clock.now(), state.word());
        let line = format!("{now} {node} {state} {fingerprint} {reason}");
        let line = format!("{}\n", line.trim_end());
        let write = self.files.replace(&file, said, 0o600);
        let write = write.and_then(|()| self.log.append(line.as_bytes()));
        if let Err(error) = write.and_then(|()| self.log.sync()) {
            console::complain("kubeedge batch", &error.to_string());
        }
        console::error(&outcome.line());
    }
}

/// Which nodes are done, by the last that is said of each, with the fingerprints of what was done.
pub fn done(files: &Files, path: &Path) -> Result<Vec<(String, String)>, FileError> {
    let text = files.read_opt(path, MAX_LOG)?.unwrap_or_default();
    Ok(read(&String::from_utf8_lossy(&text)))
}

fn read(text: &str) -> Vec<(String, String)> {
    let mut done: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ').skip(1);
        let (Some(node), Some(state), Some(fingerprint)) =
            (words.next(), words.next(), words.next())
        else {
            continue;
        };
        done.retain(|(name, _)| name != node);
        if state == "done" {
            done.push((node.to_owned(), fingerprint.to_owned()));
        }
    }
    done
}

const MAX_LOG: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts() {
        let text = "2026-11-27T07:00:00Z a done 11\n2026-11-27T07:00:00Z b failed 22 no route\n\
                    2026-11-27T07:00:00Z c done 33\n2026-11-27T07:01:00Z c failed 33 gone\n\
                    2026-11-27T07:01:00Z b done 22\n2026-11-27T07:01:00Z d do";
        let pair = |name: &str, print: &str| (name.to_owned(), print.to_owned());
        assert_eq!(read(text), [pair("a", "11"), pair("b", "22")]);
        assert!(read("").is_empty());
    }
}
