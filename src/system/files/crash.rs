//! Power cuts and faults, tried everywhere: what a flow does to the disk is recorded once, and then everything that
//! a power cut may leave behind is laid out again and started from.
//!
//! # A flow in a few lines
//!
//! ```ignore
//! let scratch = Scratch::new();
//! /* ... put the old state there ... */
//! let recording = Recording::of(scratch.path(), |recorder| {
//!     open_store(&recorder.files()).do_it();  // through `Files`, nothing else is seen
//!     recorder.promise("done");               // what was told to somebody must survive from here on
//! });
//! let states = recording.each_state(|state| {
//!     let found = open_store_at(state.root());        // the real loading code
//!     assert!(found.is_new() || (found.is_old() && !state.promised("done")));
//!     found.do_it();                                  // and it can be done again
//! });
//! figures::tried("cuts-name", "what it is", states);  // a line in docs/reliability.md
//! recording.written()                                 // for flash wear
//! let faults = each_fault(setup, flow, check);        // every errno at every operation
//! figures::tried("faults-name", "what it is", faults);
//! ```
//!
//! # What a state is
//!
//! An *item* is what one fsync makes durable: the content of one file (all that was written to it since its last
//! fsync), the mode of one file or folder, or one change to the entries of a folder (a name made, renamed, linked,
//! removed), durable by the fsync of that folder only. After every prefix of the recorded operations, with the `n` items
//! that are not durable then, there are these states: all of them lost; all kept; each alone lost; each alone kept;
//! the last unsynced write torn at half; the last unsynced rename torn, so that both names are there. Items are
//! independent: a new name may be durable while the file behind it is empty, as POSIX allows.
//!
//! How many states that makes is counted twice, by the model and from the recording alone. Equal states are started
//! from once.

mod disk;
mod faults;
mod states;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{Files, Layer, Operation};
use disk::{Disk, Tree};

pub use faults::{Fault, each_fault, faults_in_turn, is_clear};
pub use states::State;

/// Sees what a flow does below one folder.
pub struct Recorder {
    root: PathBuf,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    /// Operations that had an effect, with paths from the root.
    steps: Vec<Operation>,
    /// From this many steps on, what the name stands for must not get lost.
    promises: Vec<(usize, &'static str)>,
}

/// What a flow did, and to what.
pub struct Recording {
    start: Tree,
    pub steps: Vec<Operation>,
    promises: Vec<(usize, &'static str)>,
}

impl Recording {
    /// Runs `flow` with files below `root`, where what is there counts as durable.
    pub fn of(root: &Path, flow: impl FnOnce(&Arc<Recorder>)) -> Recording {
        Recording::beside(root, &[], flow)
    }

    /// As `of`, when other processes change what begins with `foreign` (paths from the root).
    pub fn beside(root: &Path, foreign: &[&str], flow: impl FnOnce(&Arc<Recorder>)) -> Recording {
        let start = Tree::read(root);
        let recorder = Arc::new(Recorder {
            root: root.to_owned(),
            log: Mutex::default(),
        });
        flow(&recorder);
        let log = std::mem::take(&mut *recorder.log.lock().unwrap());
        let mut model = Disk::new(&start);
        log.steps.iter().for_each(|step| model.apply(step));
        // Nothing went past the recorder, and the model is faithful.
        let is_own = |path: &Path| !foreign.iter().any(|it| path.starts_with(it));
        let (model, real) = (
            model.kept().filtered(is_own),
            Tree::read(root).filtered(is_own),
        );
        assert_eq!(model.lines(), real.lines(), "the model against the disk");
        Recording {
            start,
            steps: log.steps,
            promises: log.promises,
        }
    }

    /// The files that were written, from the root, once for each time: where content was made durable, and where a
    /// file was left behind with content that will be.
    pub fn written(&self) -> Vec<PathBuf> {
        let mut model = Disk::new(&self.start);
        let mut nodes = Vec::new();
        for step in &self.steps {
            match step {
                Operation::Sync { path } => nodes.extend(model.unsynced_content(path)),
                Operation::SyncAll { .. } => nodes.extend(model.all_unsynced()),
                _ => {}
            }
            model.apply(step);
        }
        nodes.extend(model.left_unsynced());
        let mut names: Vec<PathBuf> = nodes.iter().map(|node| model.last_name(*node)).collect();
        names.sort();
        names
    }
}

/// Makes an empty folder the same as another.
pub fn duplicate(from: &Path, to: &Path) {
    Tree::read(from).lay_out(to);
}

impl Recorder {
    pub fn files(self: &Arc<Self>) -> Files {
        Files::with(self.clone())
    }

    /// What `name` stands for has been told to somebody: it must survive from now on.
    pub fn promise(&self, name: &'static str) {
        let mut log = self.log.lock().unwrap();
        let steps = log.steps.len();
        log.promises.push((steps, name));
    }
}

impl Layer for Recorder {
    fn before(&self, operation: Operation) -> io::Result<()> {
        let mut log = self.log.lock().unwrap();
        if operation.is_change() && has_effect(&operation) {
            let step = relative(&operation, &self.root);
            log.steps.push(step);
        }
        Ok(())
    }
}

/// Whether the operation, about to be done, will change anything: many are tried to see whether they are needed.
fn has_effect(operation: &Operation) -> bool {
    let there = |path: &Path| path.symlink_metadata().is_ok();
    let free = |path: &Path| !there(path) && path.parent().is_some_and(Path::is_dir);
    match operation {
        Operation::CreateNew { path }
        | Operation::MakeDir { path, .. }
        | Operation::OpenOrCreate { path } => free(path),
        Operation::Symlink { link, .. } => free(link),
        Operation::Link { from, to } => there(from) && free(to),
        Operation::Rename { from, to } => there(from) && to.parent().is_some_and(Path::is_dir),
        Operation::Unlink { path } => there(path) && (path.is_symlink() || !path.is_dir()),
        Operation::RemoveDir { path } => {
            std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
        }
        Operation::SetMode { .. }
        | Operation::Sync { .. }
        | Operation::SyncAll { .. }
        | Operation::SyncDir { .. }
        | Operation::Truncate { .. }
        | Operation::Write { .. } => true,
        Operation::List { .. } | Operation::Open { .. } => false,
    }
}

/// The same with paths from the root; what lies elsewhere could not be laid out again.
fn relative(operation: &Operation, root: &Path) -> Operation {
    let mut operation = operation.clone();
    let shorten = |path: &mut PathBuf| {
        let real = behind(path);
        let inner = real.strip_prefix(root);
        *path = inner
            .unwrap_or_else(|_| panic!("{} is outside", path.display()))
            .to_owned();
    };
    match &mut operation {
        Operation::CreateNew { path }
        | Operation::List { path }
        | Operation::MakeDir { path, .. }
        | Operation::Open { path }
        | Operation::OpenOrCreate { path }
        | Operation::RemoveDir { path }
        | Operation::SetMode { path, .. }
        | Operation::Sync { path }
        | Operation::SyncAll { path }
        | Operation::SyncDir { path }
        | Operation::Truncate { path, .. }
        | Operation::Unlink { path }
        | Operation::Write { path, .. } => shorten(path),
        Operation::Link { from, to } | Operation::Rename { from, to } => {
            shorten(from);
            shorten(to);
        }
        Operation::Symlink { link, .. } => shorten(link),
    }
    operation
}

/// The real path of one through a folder that is held open.
fn behind(path: &Path) -> PathBuf {
    let Ok(inner) = path.strip_prefix("/proc/self/fd") else {
        return path.to_owned();
    };
    let mut parts = inner.components();
    let held = parts.next().map(|fd| Path::new("/proc/self/fd").join(fd));
    let folder = held.and_then(|held| std::fs::read_link(held).ok());
    folder.map_or_else(|| path.to_owned(), |folder| folder.join(parts.as_path()))
}

#[cfg(test)]
mod tests;
