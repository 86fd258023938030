//! Every state that a power cut during a recorded flow may leave, laid out and started from.

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::disk::{Disk, Item, Tree, describe};
use super::{Operation, Recording};
use crate::system::scratch::Scratch;

/// What a power cut left, in a folder of its own.
pub struct State {
    folder: Scratch,
    /// When the power went, and what got lost.
    pub said: String,
    promised: BTreeSet<&'static str>,
}

impl State {
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Whether the flow had promised this before the power went.
    pub fn promised(&self, name: &str) -> bool {
        self.promised.contains(name)
    }
}

impl Recording {
    /// Lays out every state and starts `check` from it, each distinct one once; gives their number.
    pub fn each_state(&self, check: impl Fn(&State) + Sync) -> usize {
        let (total, distinct) = self.states();
        assert_eq!(total, expected(&self.steps), "states were left out");
        let states: Vec<_> = distinct.into_iter().collect();
        let next = AtomicUsize::new(0);
        let fault = Mutex::new(None);
        let work = || {
            while let Some((tree, (said, promised))) =
                states.get(next.fetch_add(1, Ordering::SeqCst))
            {
                let state = State {
                    folder: Scratch::new(),
                    said: said.clone(),
                    promised: promised.clone(),
                };
                tree.lay_out(state.root());
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&state))) {
                    println!("from the state {said}:\n{}", tree.lines().join("\n"));
                    fault.lock().unwrap().get_or_insert(panic);
                    next.store(states.len(), Ordering::SeqCst);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(work);
            }
        });
        if let Some(panic) = fault.into_inner().unwrap() {
            resume_unwind(panic);
        }
        println!("{total} states, {} of them distinct", states.len());
        total
    }

    /// How many there are, and the distinct ones, each with one way to it and what was promised in all ways.
    fn states(&self) -> (usize, HashMap<Tree, (String, BTreeSet<&'static str>)>) {
        let mut disk = Disk::new(&self.start);
        let (mut total, mut distinct) = (0, HashMap::new());
        for done in 0..=self.steps.len() {
            if let Some(last) = done.checked_sub(1) {
                disk.apply(&self.steps[last]);
            }
            let kept_promises = self.promises.iter().filter(|(from, _)| *from <= done);
            let promised: BTreeSet<_> = kept_promises.map(|(_, name)| *name).collect();
            let last = done.checked_sub(1).map(|last| describe(&self.steps[last]));
            let moment = format!("after step {done} ({})", last.unwrap_or_default());
            for (tree, said) in of(&disk) {
                total += 1;
                // Whoever meets the same disk after a later cut was promised more.
                let known = distinct
                    .entry(tree)
                    .or_insert_with(|| (format!("{moment}: {said}"), BTreeSet::new()));
                if known.1.len() < promised.len() {
                    *known = (format!("{moment}: {said}"), promised.clone());
                }
            }
        }
        (total, distinct)
    }
}

/// What the cache of this moment may turn into.
fn of(disk: &Disk) -> Vec<(Tree, String)> {
    let items = &disk.items;
    let all = || items.iter().map(|(item, _)| item.clone());
    let mut states = vec![
        (
            disk.with(std::iter::empty()),
            "all unsynced lost".to_owned(),
        ),
        (disk.kept(), "all kept".to_owned()),
    ];
    for (number, (item, said)) in items.iter().enumerate() {
        let others = all()
            .enumerate()
            .filter(|(it, _)| *it != number)
            .map(|(_, item)| item);
        states.push((disk.with(others), format!("only lost: {said}")));
        states.push((
            disk.with(std::iter::once(item.clone())),
            format!("only kept: {said}"),
        ));
    }
    let torn = [
        items
            .iter()
            .rposition(|(item, _)| torn_content(item).is_some()),
        items
            .iter()
            .rposition(|(item, _)| torn_rename(item).is_some()),
    ];
    for number in torn.into_iter().flatten() {
        let tear = |item: &Item| torn_content(item).or_else(|| torn_rename(item));
        let torn = items
            .iter()
            .enumerate()
            .map(|(it, (item, _))| match it == number {
                true => tear(item).unwrap_or_else(|| item.clone()),
                false => item.clone(),
            });
        states.push((disk.with(torn), format!("torn: {}", items[number].1)));
    }
    states
}

/// With half of the last write.
fn torn_content(item: &Item) -> Option<Item> {
    match item {
        Item::Content {
            node,
            now,
            torn: Some(length),
        } => Some(Item::Content {
            node: *node,
            now: now[..*length].to_vec(),
            torn: None,
        }),
        _ => None,
    }
}

/// With the new name and the old.
fn torn_rename(item: &Item) -> Option<Item> {
    match item {
        Item::Entries { folder, names } if names.len() == 2 => Some(Item::Entries {
            folder: *folder,
            names: names[..1].to_vec(),
        }),
        _ => None,
    }
}

/// The number of states, from the operations alone: whatever is not durable is known by its path.
fn expected(steps: &[Operation]) -> usize {
    #[derive(Clone, PartialEq)]
    enum Open {
        Content(PathBuf, bool),
        Mode(PathBuf),
        Entry(PathBuf, bool),
    }
    let mut open: Vec<Open> = Vec::new();
    let count = |open: &[Open]| {
        let torn = open.iter().any(|it| matches!(it, Open::Content(_, true)));
        let renamed = open.iter().any(|it| matches!(it, Open::Entry(_, true)));
        2 + 2 * open.len() + usize::from(torn) + usize::from(renamed)
    };
    let mut total = count(&open);
    let parent = |path: &Path| path.parent().unwrap().to_owned();
    for step in steps {
        match step {
            Operation::CreateNew { path }
            | Operation::MakeDir { path, .. }
            | Operation::OpenOrCreate { path }
            | Operation::RemoveDir { path }
            | Operation::Symlink { link: path, .. }
            | Operation::Link { to: path, .. }
            | Operation::Unlink { path } => open.push(Open::Entry(parent(path), false)),
            Operation::Rename { from, to } => {
                open.push(Open::Entry(parent(to), true));
                // What was not durable under the old name is not under the new one.
                for it in &mut open {
                    match it {
                        Open::Content(path, _) | Open::Mode(path) if path == from => {
                            *path = to.clone()
                        }
                        _ => {}
                    }
                }
            }
            Operation::SetMode { path, .. } => {
                open.retain(|it| *it != Open::Mode(path.clone()));
                open.push(Open::Mode(path.clone()));
            }
            Operation::Write { path, .. } | Operation::Truncate { path, .. } => {
                open.retain(|it| !matches!(it, Open::Content(known, _) if known == path));
                let torn = matches!(step, Operation::Write { .. });
                open.push(Open::Content(path.clone(), torn));
            }
            Operation::Sync { path } | Operation::SyncDir { path } => open.retain(|it| match it {
                Open::Content(known, _) | Open::Mode(known) | Open::Entry(known, _) => {
                    known != path
                }
            }),
            Operation::SyncAll { .. } => open.clear(),
            Operation::List { .. } | Operation::Open { .. } => {}
        }
        total += count(&open);
    }
    total
}

/// Most of the time of a check is spent waiting for the disk or for another process.
const WORKERS: usize = 6;
