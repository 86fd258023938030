//! What the cloud said, kept for when the cloud is away: one file an object, and an index in memory.
//!
//! `keep` is the only writer. A change is acknowledged when it is durable, and seen from then on.

mod door;
pub(super) mod index;
pub(super) mod keep;
pub(super) mod load;
pub(super) mod news;
mod place;
mod pods;
pub(super) mod references;
mod talk;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;

use smol::future::or;

use super::backoff::Backoff;
use super::edge::{Edge, Failure, Signal};
use super::storage::Storage;
use crate::protocol::object::Object;
use crate::protocol::resource::ObjectPath;
use crate::system::blocking::{self, Kind};
use crate::system::files::{FileError, Files};
use index::Index;
use news::News;
use pods::Pods;

/// The store of one edge.
pub struct Meta {
    files: Files,
    top: PathBuf,
    /// Bytes that all files may have together.
    limit: Option<usize>,
    index: RefCell<Index>,
    pub(super) news: News,
    pods: Pods,
    /// It is known what is stored.
    ready: Cell<bool>,
    /// Raised whenever that becomes so.
    known: Signal,
    /// The store was found empty, or in part, when there had been so many sessions, and none has made up for that.
    pub(super) lacks_since: Cell<Option<u64>>,
    /// The index may not be what is on the disk.
    stale: Cell<bool>,
    /// Between two tries to find out.
    again: RefCell<Backoff>,
    /// What was remarked of the disk the last time, so that it is not said again and again.
    remarks: RefCell<Vec<String>>,
    /// A failed batch has left changes that may be lost with the power.
    owes: Cell<bool>,
    /// The last problem of the disk, until it is over.
    trouble: RefCell<Option<String>>,
}

/// Never ends.
pub async fn run(edge: &Rc<Edge>) {
    load(edge).await;
    let pods = async {
        // Of a store that is not known yet nothing can be said.
        edge.meta.known.wait().await;
        pods::run(edge).await;
    };
    or(keep::run(edge), pods).await;
}

impl Meta {
    pub fn new(files: &Files, state: &Storage) -> Meta {
        Meta {
            files: files.clone(),
            top: state.folder.join(FOLDER),
            limit: state.limit,
            index: RefCell::default(),
            news: News::default(),
            pods: Pods::default(),
            ready: Cell::new(false),
            lacks_since: Cell::default(),
            known: Signal::default(),
            stale: Cell::new(true),
            again: RefCell::new(Backoff::tunnel()),
            remarks: RefCell::default(),
            owes: Cell::new(false),
            trouble: RefCell::default(),
        }
    }

    /// The object as the cloud sent it last; none when it is not stored.
    pub async fn get(&self, path: &ObjectPath) -> Result<Option<Object>, Failure> {
        if self.index.borrow().get(path).is_none() {
            return Ok(None);
        }
        let (files, file) = (self.files.clone(), place::file(&self.top, path));
        let read = move || files.read_opt(&file, load::MAX_OBJECT);
        let read = blocking::run(Kind::Disk, keep::PATIENCE, read).await;
        let text = read.map_err(Failure::Blocked)?.map_err(Failure::Disk)?;
        // Between the look at the index and the reading it may have gone.
        Ok(text.and_then(load::object))
    }

    /// Whether it is stored.
    pub fn has(&self, path: &ObjectPath) -> bool {
        self.index.borrow().get(path).is_some()
    }

    /// What is known of it without reading it.
    pub(super) fn entry(&self, path: &ObjectPath) -> Option<index::Entry> {
        self.index.borrow().get(path).cloned()
    }

    /// The largest version of all that is stored, or was lately.
    pub fn version(&self) -> String {
        self.news.newest().into()
    }

    /// The stored objects' paths, in order.
    pub fn paths(&self, fits: impl Fn(&ObjectPath) -> bool) -> Vec<ObjectPath> {
        let index = self.index.borrow();
        let paths = index.entries.keys().filter(|path| fits(path));
        paths.cloned().collect()
    }

    /// From now on, this is what is stored.
    pub fn fill(&self, index: Index) {
        let newest = index.newest();
        let former = self.index.replace(index);
        if !self.ready.get() {
            self.news.begin(&newest);
        } else if self.index.borrow().entries != former.entries {
            self.news.begin_anew(&newest);
        }
        self.stale.set(false);
        self.ready.set(true);
        self.known.raise();
    }

    /// Whether it is known what is stored.
    pub fn is_ready(&self) -> bool {
        self.ready.get()
    }

    /// Something that was changed may not be durable.
    pub fn owe(&self) {
        self.owes.set(true);
    }

    /// Says what the disk does not do, once, and that it does again.
    fn trouble(&self, edge: &Edge, error: Option<&FileError>) {
        let said = error.map(FileError::to_string);
        if *self.trouble.borrow() == said {
            return;
        }
        match error {
            Some(error) => edge.state.problem(&Unkept(error), true),
            None => log::info!("what the cloud sends can be stored again"),
        }
        self.trouble.replace(said);
    }
}

/// Said of an object that was not stored.
struct Unkept<'a>(&'a FileError);

impl std::fmt::Display for Unkept<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "what the cloud sends can't be stored, and is not acknowledged, so that it comes again: {}",
            self.0
        )
    }
}

/// Fills the index from the disk; false when that has to be tried again.
pub(super) async fn load(edge: &Edge) -> bool {
    let (files, top) = (edge.meta.files.clone(), edge.meta.top.clone());
    let load = move || load::all(&files, &top);
    let found = match blocking::run(Kind::Disk, keep::PATIENCE, load).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            edge.state.problem(&error, true);
            return false;
        }
        Err(blocked) => {
            edge.state.problem(&blocked, true);
            return false;
        }
    };
    let former = edge.meta.remarks.replace(found.remarks.clone());
    for remark in &found.remarks {
        if !former.contains(remark) {
            log::warn!("{remark}");
        }
    }
    let objects = found.index.entries.len();
    if objects + found.damaged > 0 {
        log::info!(
            "{objects} objects of the cloud's are kept, {} damaged",
            found.damaged
        );
    }
    if objects == 0 || found.damaged > 0 {
        edge.meta.lacks_since.set(Some(edge.state.sessions()));
    }
    edge.meta.again.borrow_mut().reset();
    edge.meta.fill(found.index);
    true
}

const FOLDER: &str = "meta";
