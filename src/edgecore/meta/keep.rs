//! Stores what the cloud sends, many changes with a few syncs, and acknowledges what is durable.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use smol::Timer;
use smol::channel::Sender;
use smol::future::or;

use super::index::{Change, Entry, Gone, Index, Verdict, judge};
use super::news::{Item, What};
use super::{Meta, door, place};
use crate::edgecore::edge::{Edge, pause};
use crate::edgecore::node;
use crate::edgecore::pushes::Push;
use crate::protocol::control::Counts;
use crate::protocol::message::Message;
use crate::protocol::object::{Meta as Head, Object};
use crate::protocol::resource::{Kind, ObjectPath};
use crate::system::blocking::{self, Blocked};
use crate::system::clock::Timestamp;
use crate::system::files::{Batch, FileError, Uncommitted};
use crate::system::sorted::{SortedMap, SortedSet};

/// Never ends.
pub async fn run(edge: &Rc<Edge>) {
    loop {
        once(edge).await;
    }
}

/// Waits for something to store, and stores it.
pub async fn once(edge: &Rc<Edge>) {
    if edge.meta.stale.get() && !super::load(edge).await {
        return let_go(edge).await;
    }
    let first = edge.pushes.take(MAX_BATCH).await;
    if let Err(blocked) = group(edge, first).await {
        // What of it reached the disk is unknown, so the index is made anew.
        edge.meta.owe();
        edge.state.problem(&blocked, true);
        pause(AFTER_TROUBLE).await;
        edge.meta.stale.set(true);
    }
}

/// Waits a while in which nothing can be stored. What comes is not acknowledged, so that it comes again; were it
/// kept waiting, so would be the answers behind it.
async fn let_go(edge: &Rc<Edge>) {
    let dropped = async {
        loop {
            drop(edge.pushes.take(MAX_BATCH).await);
        }
    };
    let rest = edge.meta.again.borrow_mut().next();
    or(dropped, pause(rest)).await;
}

/// Stores what is there and what comes within a moment, all together.
async fn group(edge: &Rc<Edge>, first: Vec<Push>) -> Result<(), Blocked> {
    let meta = &edge.meta;
    let mut batch = meta.files.batch(&meta.top, meta.owes.get());
    let mut planned = Planned::default();
    let mut pushes = first;
    let mut waits = 0;
    loop {
        let came = pushes.len();
        let todo = pushes
            .into_iter()
            .flat_map(|push| planned.plan(edge, push))
            .collect();
        let refused;
        (batch, refused) = stage(meta, batch, todo).await?;
        for (path, error) in refused {
            planned.spoilt.insert(path);
            meta.trouble(edge, Some(&error));
        }
        waits += 1;
        if planned.acks.len() >= MAX_BATCH || waits > MAX_WAITS {
            break;
        }
        // One alone, as KubeEdge's cloud sends them, should not wait for others.
        let moment = if came > 1 { MOMENT } else { SHORT_MOMENT };
        let none = async {
            Timer::after(moment).await;
            Vec::new()
        };
        pushes = or(edge.pushes.take(MAX_BATCH), none).await;
        if pushes.is_empty() {
            break;
        }
    }
    let work = move || batch.commit_each();
    match blocking::run(blocking::Kind::Disk, PATIENCE, work).await? {
        Ok(refused) => {
            meta.owes.set(false);
            planned.spoil(meta, refused, edge);
            // One that was refused on the way is still a problem.
            if planned.spoilt.is_empty() {
                meta.trouble(edge, None);
            }
            planned.done(edge).await;
        }
        Err(Uncommitted { error, owes }) => {
            meta.trouble(edge, Some(&error));
            if owes {
                meta.owe();
                meta.stale.set(true);
                super::load(edge).await;
            }
        }
    }
    Ok(())
}

/// One change of the disk.
struct Todo {
    path: ObjectPath,
    /// None: it goes.
    object: Option<Object>,
}

/// Objects that the disk does not take; the batch leaves them as they are.
type Refused = Vec<(ObjectPath, FileError)>;

/// Writes what can be written.
async fn stage(
    meta: &Meta,
    mut batch: Batch,
    todo: Vec<Todo>,
) -> Result<(Batch, Refused), Blocked> {
    if todo.is_empty() {
        return Ok((batch, Vec::new()));
    }
    let (files, top) = (meta.files.clone(), meta.top.clone());
    let stage = move || {
        let mut refused: Refused = Vec::new();
        for Todo { path, object } in todo {
            let file = place::file(&top, &path);
            if refused.iter().any(|(other, _)| *other == path) {
                continue;
            }
            let Some(object) = object else {
                // There may be no such folder where nothing is known of the one above.
                if file.parent().is_some_and(Path::is_dir) {
                    batch.remove(&file);
                }
                continue;
            };
            let made = folders(&top, &path)
                .iter()
                .try_for_each(|folder| files.make_dir(folder, 0o700).map(drop));
            let written = made.and_then(|()| batch.write(&file, object.text().as_bytes(), 0o600));
            if let Err(error) = written {
                batch.withdraw(&file);
                refused.push((path, error));
            }
        }
        (batch, refused)
    };
    blocking::run(blocking::Kind::Disk, PATIENCE, stage).await
}

/// From the top on down.
fn folders(top: &Path, path: &ObjectPath) -> [PathBuf; 3] {
    let kind = top.join(path.kind.as_str());
    [top.to_owned(), kind, place::folder(top, path)]
}

/// What will be true when the batch is committed, and who is told then.
#[derive(Default)]
struct Planned {
    /// None: it is gone.
    entries: SortedMap<ObjectPath, Option<Entry>>,
    gone: Vec<(ObjectPath, Gone)>,
    acks: Vec<(ObjectPath, Ack)>,
    /// The disk refuses a change of theirs: nothing about them is done or acknowledged.
    spoilt: SortedSet<ObjectPath>,
}

struct Ack {
    message: Message,
    to: Sender<Message>,
}

impl Planned {
    /// What has to be done to the disk for a message, if anything.
    fn plan(&mut self, edge: &Edge, push: Push) -> Vec<Todo> {
        let Some(todo) = self.plan_one(edge, push) else {
            return Vec::new();
        };
        let is_pod = todo.path.kind == Kind::Pod;
        let mut all = vec![todo];
        if let (true, Some(object)) = (is_pod, &all[0].object) {
            edge.meta.pods.comes(&all[0].path, object.text());
        } else if is_pod {
            // What only this Pod needed goes with it.
            let goes = |path: &ObjectPath| matches!(self.entries.get(path), Some(None));
            for path in edge.meta.pods.only_of(&all[0].path, goes) {
                let planned = self.entries.get(&path);
                if planned.is_none() && edge.meta.has(&path) {
                    self.entries.insert(path.clone(), None);
                    all.push(Todo { path, object: None });
                }
            }
        }
        all
    }

    fn plan_one(&mut self, edge: &Edge, push: Push) -> Option<Todo> {
        let ack = Ack {
            message: acknowledgement(&push.message, edge.host.clock.stamp()),
            to: push.acks,
        };
        let (path, change) = understood(edge, push.message)?;
        if self.spoilt.contains(&path) {
            return None;
        }
        self.acks.push((path.clone(), ack));
        let index = edge.meta.index.borrow();
        let known = match self.entries.get(&path) {
            Some(planned) => planned.as_ref(),
            None => index.get(&path),
        };
        let file = place::file(&edge.meta.top, &path);
        let verdict = match &change {
            Change::Delete { .. } if known.is_none() && index.may_hide(&file) => Verdict::Remove,
            Change::Put(object) if self.is_gone(&index, object.meta()) => Verdict::Nothing,
            change => judge(path.kind, known, change),
        };
        let (entry, object) = match (verdict, change) {
            // Every report of the device comes back like this: it would wear out the flash.
            (Verdict::Confirm(entry), Change::Put(object)) if !self.entries.contains_key(&path) => {
                drop(index);
                edge.meta.index.borrow_mut().set(path, Some(entry));
                node::news(edge, &object);
                return None;
            }
            (Verdict::Write(entry) | Verdict::Confirm(entry), Change::Put(object)) => {
                let before = known.map_or(0, Entry::room);
                if let Some(limit) = edge.meta.limit
                    && entry.room() > before
                    && self.used(&index) - before + entry.room() > limit
                {
                    let top = edge.meta.top.clone();
                    drop(index);
                    self.acks.pop();
                    self.spoilt.insert(path.clone());
                    let full = FileError::Full { path: top, limit };
                    log::warn!("{path} is not stored: {full}");
                    edge.meta.trouble(edge, Some(&full));
                    return None;
                }
                (Some(entry), Some(object))
            }
            (Verdict::Remove, _) => {
                let gone = known.map(|known| Gone {
                    uid: known.uid.clone(),
                    version: known.version.clone(),
                    for_good: path.kind == Kind::Pod,
                });
                self.gone.extend(gone.map(|gone| (path.clone(), gone)));
                (None, None)
            }
            _ => return None,
        };
        self.entries.insert(path.clone(), entry);
        Some(Todo { path, object })
    }

    /// What all objects take when this is done. Only asked where there is a limit, and so not many objects.
    fn used(&self, index: &Index) -> usize {
        let stored = index.entries.iter();
        let stored = stored.filter(|(path, _)| !self.entries.contains_key(path));
        let planned = self.entries.values().flatten().map(Entry::room);
        stored.map(|(_, entry)| entry.room()).chain(planned).sum()
    }

    fn is_gone(&self, index: &Index, head: &Head) -> bool {
        let mut gone = self.gone.iter();
        gone.any(|(_, gone)| gone.outlives(head)) || index.is_gone(head)
    }

    /// These are as they were.
    fn spoil(&mut self, meta: &Meta, refused: Vec<(PathBuf, FileError)>, edge: &Edge) {
        for (file, error) in refused {
            let paths = self.entries.keys();
            let path = paths.filter(|path| place::file(&meta.top, path) == file);
            for path in path {
                self.spoilt.insert(path.clone());
            }
            meta.trouble(edge, Some(&error));
        }
    }

    /// All of it is durable.
    async fn done(self, edge: &Edge) {
        let own = ObjectPath::of_cluster(Kind::Node, edge.settings.node.as_str());
        let spoilt = self.spoilt;
        let mut counts = Counts::default();
        for (path, entry) in self.entries {
            if spoilt.contains(&path) {
                continue;
            }
            counts.stored += 1;
            let file = place::file(&edge.meta.top, &path);
            edge.meta.index.borrow_mut().unread.remove(&file);
            if path.kind == Kind::Pod && entry.is_none() {
                edge.meta.pods.goes(&path);
            }
            let is_own = path == own && entry.is_some();
            tell(&edge.meta, path, entry);
            if is_own && let Ok(Some(object)) = edge.meta.get(&own).await {
                node::news(edge, &object);
            }
        }
        let gone = self.gone.into_iter();
        let gone = gone.filter(|(path, _)| !spoilt.contains(path));
        let gone = gone.map(|(_, gone)| gone).collect();
        edge.meta.index.borrow_mut().bury(gone);
        let acks = self.acks.into_iter();
        let acks: Vec<_> = acks.filter(|(path, _)| !spoilt.contains(path)).collect();
        counts.acknowledged = acks.len() as u64;
        edge.state.count(counts);
        for (_, ack) in acks {
            // A session that ended meanwhile has no use for it: the cloud sends it all again.
            let _ = ack.to.send(ack.message).await;
        }
    }
}

/// What a message asks for. One that can't be understood is counted.
fn understood(edge: &Edge, message: Message) -> Option<(ObjectPath, Change)> {
    let resource: String = message.route.resource.chars().take(MAX_SAID).collect();
    match door::read(message) {
        Ok(Some(asked)) => Some(asked),
        Ok(None) => {
            log::debug!("nothing here wants a message about {resource:?}");
            None
        }
        Err(bad) => {
            let count = edge.state.skipped();
            // A cloud that sends nothing else shall not fill the log.
            if count.is_power_of_two() {
                log::warn!("skipped a bad message (number {count}), about {resource:?}: {bad}");
            }
            None
        }
    }
}

/// Makes a change seen.
fn tell(meta: &Meta, path: ObjectPath, entry: Option<Entry>) {
    let former = meta.index.borrow_mut().set(path.clone(), entry.clone());
    let (what, said) = match (former, entry) {
        (None, Some(entry)) => (What::Added, entry),
        (Some(former), Some(entry)) if former != entry => (What::Modified, entry),
        (Some(former), None) => (What::Deleted, former),
        _ => return,
    };
    meta.news.add(Item {
        what,
        path,
        uid: said.uid,
        version: said.version,
    });
}

/// Clouds look at the operation and the parent only; the rest is a copy, as edges send it.
fn acknowledgement(message: &Message, now: Timestamp) -> Message {
    message.answer(now, &message.route.source, "response", "OK")
}

/// Messages that are acknowledged together.
const MAX_BATCH: usize = 256;
/// How often a batch waits for more.
const MAX_WAITS: usize = 64;
const SHORT_MOMENT: Duration = Duration::from_millis(2);
const MOMENT: Duration = Duration::from_millis(10);
/// A storage that takes longer is broken; until then nothing else can be done with it.
pub const PATIENCE: Duration = Duration::from_secs(3600);
const AFTER_TROUBLE: Duration = Duration::from_secs(1);
/// Characters of a peer's words.
const MAX_SAID: usize = 200;
