//! Files on trial: an executable or a configuration that takes the place of another until a session
//! with the cloud proves it, or three starts without one bring the other back.
//!
//! Beside each file lie its successor, until it has the name, and what it was, until the trial ends
//! (or that is packed, or in memory, where flash is tight: see `Keeping`).
//! The marker says what is tried; the last of the files decides whether the change has happened. So
//! after a power cut at any moment the next start knows how to go on: see `Standing`.

#[cfg(test)]
mod cuts;
mod error;
mod keeping;
#[cfg(any(feature = "kubernetes", feature = "oci"))]
mod packing;
#[cfg(not(any(feature = "kubernetes", feature = "oci")))]
#[path = "packless.rs"]
mod packing;
mod report;

use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pki::hash::Sha256Hash;
use crate::system::cause;
use crate::system::host::Host;
use crate::system::root::Root;
pub use error::TrialError;
pub use keeping::{Keeping, has_room, room};
pub use report::{Event, REPORT, Report};

/// A public key of minisign: with it only what it has signed is put on trial.
pub const KEY: &str = "/etc/kubeedge/upgrade.pub";

/// What is tried; a file as long as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    pub event: Event,
    pub from: String,
    pub to: String,
    /// Starts that may go by without a session.
    pub tries: u32,
    /// Seconds that each of them may take.
    pub patience: u64,
    /// Those that were begun.
    pub starts: u32,
    /// For the report: what there is to go back to afterwards.
    pub kept: String,
    /// Set when it is decided: empty for a success, else why it failed.
    over: Option<String>,
    /// In the order in which they are changed; the last one decides.
    files: Vec<Swap>,
}

/// One file that is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Swap {
    /// Without the root prefix.
    path: PathBuf,
    was: String,
    is: String,
    /// Whether it is the program itself.
    program: bool,
    #[serde(default)]
    keeping: Keeping,
    /// Of the file that was; for those that come back as a new one.
    #[serde(default)]
    mode: u32,
}

/// How far a change has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The new is in place and has to prove itself.
    Changed,
    /// The old is in place: it was not changed yet, or was brought back.
    AsBefore,
    /// Neither: somebody else has put another there.
    Foreign,
    /// It is decided already, and only has to be cleared away.
    Over,
}

impl Trial {
    /// Nothing is changed by it. `files` are real paths, the program last.
    pub fn plan(
        host: &Host,
        event: Event,
        (from, to): (&str, &str),
        files: &[(&Path, bool)],
    ) -> Result<Trial, TrialError> {
        let swap = |(path, program): &(&Path, bool)| {
            let inner = inside(&host.root, path)?;
            Ok(Swap {
                was: digest(path)?,
                is: digest(&successor(path))?,
                path: inner,
                program: *program,
                keeping: Keeping::default(),
                mode: host.files.mode(path)?,
            })
        };
        let files: Result<Vec<Swap>, TrialError> = files.iter().map(swap).collect();
        let files = files?;
        let is_program = files.last().is_some_and(|file| file.program);
        Ok(Trial {
            event,
            from: from.to_owned(),
            to: to.to_owned(),
            tries: if is_program { TRIES } else { 1 },
            patience: if is_program { PATIENCE } else { SHORT_PATIENCE },
            starts: 0,
            kept: String::new(),
            over: None,
            files,
        })
    }

    /// With another time for each start.
    pub fn within(mut self, seconds: Option<u64>) -> Trial {
        self.patience = seconds.unwrap_or(self.patience).clamp(1, MAX_PATIENCE);
        self
    }

    /// With the program kept in another way; for a successor that knows of it.
    pub fn keeping(mut self, keeping: Keeping) -> Trial {
        for swap in self.files.iter_mut().filter(|swap| swap.program) {
            swap.keeping = keeping;
        }
        self
    }

    /// Puts the successors in place; when it returns, the trial has begun.
    pub fn begin(&self, host: &Host) -> Result<(), TrialError> {
        let files = &host.files;
        files.make_dir(&host.root.at(FOLDER), 0o700)?;
        // First: what is made from here on is found and cleared away by the next start.
        self.write(host)?;
        for swap in &self.files {
            keeping::keep(host, swap)?;
        }
        for path in self.paths(host) {
            files.rename(&successor(&path), &path)?;
        }
        Ok(())
    }

    /// The trial that was begun, if any. What can't be understood is none of ours.
    pub fn load(host: &Host) -> Result<Option<Trial>, TrialError> {
        let path = host.root.at(MARKER);
        match host.files.read_opt(&path, MAX_MARKER)? {
            Some(bytes) => {
                let trial = Trial::parse(&bytes).map_err(|why| TrialError::Marker(path, why))?;
                Ok(Some(trial))
            }
            None => Ok(None),
        }
    }

    /// What a marker says; the error is a reason.
    pub fn parse(bytes: &[u8]) -> Result<Trial, String> {
        let mut trial: Trial =
            serde_json::from_slice(bytes).map_err(|error| cause::of_json(&error))?;
        if let Some(path) = trial.about().find(|path| !is_whole(path)) {
            return Err(format!("{:.200} is no path of a file", path.display()));
        }
        // No more than any trial of ours.
        trial.tries = trial.tries.min(TRIES);
        trial.patience = trial.patience.clamp(1, MAX_PATIENCE);
        Ok(trial)
    }

    /// The files that it is about, without the root prefix.
    pub fn about(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|swap| swap.path.as_path())
    }

    pub fn standing(&self, host: &Host) -> Standing {
        match self.over {
            Some(_) => Standing::Over,
            None => self.found(host),
        }
    }

    /// What is in place, whatever was decided: never `Over`.
    pub fn found(&self, host: &Host) -> Standing {
        let Some(last) = self.files.last() else {
            return Standing::Foreign;
        };
        match digest(&host.root.at(&last.path)) {
            Ok(found) if found == last.is => Standing::Changed,
            Ok(found) if found == last.was => Standing::AsBefore,
            _ => Standing::Foreign,
        }
    }

    /// Whether nothing but this file is tried, and no start has begun with it.
    pub fn waits(&self, host: &Host, path: &Path) -> bool {
        let mut all = self.paths(host).into_iter();
        let is_alone = (all.next().as_deref(), all.next()) == (Some(path), None);
        is_alone && self.starts == 0 && self.standing(host) == Standing::Changed
    }

    /// Whether the program is what is tried, and where it is.
    pub fn program(&self, host: &Host) -> Option<PathBuf> {
        let program = self.files.iter().find(|file| file.program)?;
        Some(host.root.at(&program.path))
    }

    /// One more start; false when there were enough of them without a session.
    pub fn count(&mut self, host: &Host) -> Result<bool, TrialError> {
        if self.starts >= self.tries {
            return Ok(false);
        }
        self.starts += 1;
        self.write(host)?;
        Ok(true)
    }

    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }

    /// What was tried works.
    pub fn succeed(&mut self, host: &Host) -> Result<(), TrialError> {
        self.end(host, "")
    }

    /// Brings back what was, as far as that has not happened; `why` goes into the report. Once it
    /// returns, nothing is left of the trial.
    pub fn undo(&mut self, host: &Host, why: &str) -> Result<(), TrialError> {
        for swap in self.files.iter().rev() {
            let path = host.root.at(&swap.path);
            if digest(&path).is_ok_and(|found| found == swap.was) {
                continue;
            }
            if keeping::restore(host, swap)? {
                continue;
            }
            let how = match swap.keeping {
                Keeping::InMemory => "was in memory and is gone",
                Keeping::Linked | Keeping::Packed => "is gone",
            };
            let why = format!("{why}; what was before {how}: {} stays", path.display());
            self.end(host, &why)?;
            return Err(TrialError::Lost(path));
        }
        self.end(host, why)
    }

    /// Forgets the trial; what somebody else has put in place stays.
    pub fn give_up(&mut self, host: &Host, why: &str) -> Result<(), TrialError> {
        self.end(host, why)
    }

    /// Clears away what is left of a trial that is decided.
    pub fn clear(&self, host: &Host) -> Result<(), TrialError> {
        let why = self.over.clone().unwrap_or_default();
        let report = Report {
            event: self.event,
            success: why.is_empty(),
            from_version: self.from.clone(),
            to_version: self.to.clone(),
            error_message: why,
            kept: self.kept.clone(),
        };
        report.write(host)?;
        for swap in &self.files {
            // The marker says where they are, so it goes last.
            host.files.remove(&successor(&host.root.at(&swap.path)))?;
            keeping::forget(host, swap)?;
        }
        host.files.remove(&host.root.at(MARKER))?;
        Ok(())
    }

    fn end(&mut self, host: &Host, why: &str) -> Result<(), TrialError> {
        // Before anything that was kept for the other decision goes.
        self.over = Some(why.to_owned());
        self.write(host)?;
        self.clear(host)
    }

    fn paths(&self, host: &Host) -> Vec<PathBuf> {
        self.files
            .iter()
            .map(|file| host.root.at(&file.path))
            .collect()
    }

    fn write(&self, host: &Host) -> Result<(), TrialError> {
        let text = serde_json::to_string(self).unwrap_or_default();
        let path = host.root.at(MARKER);
        Ok(host.files.replace(&path, text.as_bytes(), 0o600)?)
    }
}

/// Where the successor of a file waits for its turn.
pub fn successor(path: &Path) -> PathBuf {
    beside(path, "new")
}

/// Where what a file was is kept meanwhile.
pub fn predecessor(path: &Path) -> PathBuf {
    beside(path, "old")
}

fn beside(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{what}"))
}

/// Whether a path from a file leads from the top to a file, and nowhere else on its way.
pub fn is_whole(path: &Path) -> bool {
    let mut steps = path.components();
    let is_absolute = steps.next() == Some(Component::RootDir);
    let is_step = |step: Component<'_>| matches!(step, Component::Normal(_));
    is_absolute && path.file_name().is_some() && steps.all(is_step)
}

/// The digest of a file of any size, as text.
pub fn digest(path: &Path) -> Result<String, TrialError> {
    let found = File::open(path).and_then(Sha256Hash::of_all);
    found
        .map(|hash| hash.to_string())
        .map_err(|source| TrialError::Unreadable(path.to_owned(), source))
}

/// The path as it is without the root prefix; one that the marker could not be read with is refused.
fn inside(root: &Root, path: &Path) -> Result<PathBuf, TrialError> {
    if !is_whole(path) {
        return Err(TrialError::NotWhole(path.to_owned()));
    }
    let Some(prefix) = root.prefix() else {
        return Ok(path.to_owned());
    };
    let inner = path.strip_prefix(prefix);
    let inner = inner.map_err(|_| TrialError::Outside(path.to_owned()))?;
    Ok(Path::new("/").join(inner))
}

pub const FOLDER: &str = "/etc/kubeedge/upgrade";
pub const MARKER: &str = "/etc/kubeedge/upgrade/trial.json";
/// Starts of a new executable, and the seconds that each may take: what a cloud may be away for.
const TRIES: u32 = 3;
const PATIENCE: u64 = 300;
/// Of a configuration, which no second start changes.
const SHORT_PATIENCE: u64 = 120;
/// A day.
const MAX_PATIENCE: u64 = 86_400;
/// Bytes.
const MAX_MARKER: usize = 64 * 1024;
