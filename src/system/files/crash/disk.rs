//! A model of a disk with a cache: what is durable, what is seen, and the items between the two.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::Operation;

/// A folder with all that is in it, by paths from the top, which itself is the empty path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tree(pub BTreeMap<PathBuf, Thing>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Thing {
    File { content: Vec<u8>, mode: u32 },
    Folder { mode: u32 },
    Link { target: PathBuf },
    Socket,
}

impl Tree {
    pub fn read(top: &Path) -> Tree {
        let mut tree = Tree::default();
        tree.add(top, Path::new(""));
        tree
    }

    fn add(&mut self, top: &Path, inner: &Path) {
        let path = if inner.as_os_str().is_empty() {
            top.to_owned()
        } else {
            top.join(inner)
        };
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            return;
        };
        let mode = metadata.mode() & 0o7777;
        let thing = if metadata.is_symlink() {
            Thing::Link {
                target: fs::read_link(&path).unwrap(),
            }
        } else if metadata.is_dir() {
            for entry in fs::read_dir(&path).unwrap() {
                self.add(top, &inner.join(entry.unwrap().file_name()));
            }
            Thing::Folder { mode }
        } else if metadata.is_file() {
            Thing::File {
                content: fs::read(&path).unwrap(),
                mode,
            }
        } else {
            Thing::Socket
        };
        self.0.insert(inner.to_owned(), thing);
    }

    pub fn filtered(mut self, keep: impl Fn(&Path) -> bool) -> Tree {
        self.0.retain(|path, _| keep(path));
        self
    }

    /// For comparing by people.
    pub fn lines(&self) -> Vec<String> {
        let line = |(path, thing): (&PathBuf, &Thing)| match thing {
            Thing::File { content, mode } => {
                let hash = content.iter().fold(7_u32, |sum, byte| {
                    sum.wrapping_mul(31).wrapping_add(u32::from(*byte))
                });
                format!(
                    "{} {mode:o} {} bytes {hash:08x}",
                    path.display(),
                    content.len()
                )
            }
            Thing::Folder { mode } => format!("{}/ {mode:o}", path.display()),
            Thing::Link { target } => format!("{} -> {}", path.display(), target.display()),
            Thing::Socket => format!("{} socket", path.display()),
        };
        self.0.iter().map(line).collect()
    }

    /// Makes it real in an empty folder.
    pub fn lay_out(&self, top: &Path) {
        for (inner, thing) in &self.0 {
            let path = if inner.as_os_str().is_empty() {
                top.to_owned()
            } else {
                top.join(inner)
            };
            let mode = match thing {
                Thing::File { content, mode } => {
                    fs::write(&path, content).unwrap();
                    mode
                }
                Thing::Folder { mode } => {
                    fs::create_dir_all(&path).unwrap();
                    mode
                }
                Thing::Link { target } => {
                    symlink(target, &path).unwrap();
                    continue;
                }
                Thing::Socket => {
                    UnixListener::bind(&path).unwrap();
                    continue;
                }
            };
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
        }
    }
}

#[derive(Clone)]
enum Node {
    File {
        content: Vec<u8>,
        mode: u32,
    },
    Folder {
        entries: BTreeMap<String, usize>,
        mode: u32,
    },
    Link {
        target: PathBuf,
    },
    Socket,
}

/// One thing that an fsync would make durable.
#[derive(Clone)]
pub enum Item {
    /// All that was written to a file since its last fsync; behind it, how much the last write left if it was torn.
    Content {
        node: usize,
        now: Vec<u8>,
        torn: Option<usize>,
    },
    Mode {
        node: usize,
        mode: u32,
    },
    /// Names of a folder that now mean something else, or nothing.
    Entries {
        folder: usize,
        names: Vec<(String, Option<usize>)>,
    },
}

/// Both sides of the cache. Nodes have the same numbers on both; the top is 0.
#[derive(Clone)]
pub struct Disk {
    seen: Vec<Node>,
    durable: Vec<Node>,
    /// What each node was called last.
    called: Vec<PathBuf>,
    /// Oldest first, each with a description.
    pub items: Vec<(Item, String)>,
}

impl Disk {
    /// Everything that is there is durable.
    pub fn new(start: &Tree) -> Disk {
        let mut nodes: Vec<Node> = Vec::new();
        let called = start.0.keys().cloned().collect();
        let mut numbers: BTreeMap<&Path, usize> = BTreeMap::new();
        // A folder comes before what is in it.
        for (path, thing) in &start.0 {
            let number = nodes.len();
            numbers.insert(path, number);
            nodes.push(match thing {
                Thing::File { content, mode } => Node::File {
                    content: content.clone(),
                    mode: *mode,
                },
                Thing::Folder { mode } => Node::Folder {
                    entries: BTreeMap::new(),
                    mode: *mode,
                },
                Thing::Link { target } => Node::Link {
                    target: target.clone(),
                },
                Thing::Socket => Node::Socket,
            });
            if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
                let name = name.to_str().unwrap().to_owned();
                entries(&mut nodes[numbers[parent]]).insert(name, number);
            }
        }
        Disk {
            seen: nodes.clone(),
            durable: nodes,
            called,
            items: Vec::new(),
        }
    }

    /// Does what the operation does; all that are given have an effect.
    pub fn apply(&mut self, step: &Operation) {
        let said = describe(step);
        match step {
            Operation::CreateNew { path } | Operation::OpenOrCreate { path } => {
                let node = self.add(Node::File {
                    content: Vec::new(),
                    mode: 0o600,
                });
                self.enter(path, vec![(path, Some(node))], said);
            }
            Operation::MakeDir { path, mode } => {
                let node = self.add(Node::Folder {
                    entries: BTreeMap::new(),
                    mode: *mode,
                });
                self.enter(path, vec![(path, Some(node))], said);
            }
            Operation::Symlink { target, link } => {
                let node = self.add(Node::Link {
                    target: target.clone(),
                });
                self.enter(link, vec![(link, Some(node))], said);
            }
            Operation::Link { from, to } => {
                let node = self.find(from);
                self.enter(to, vec![(to, Some(node))], said);
            }
            Operation::Rename { from, to } => {
                assert_eq!(from.parent(), to.parent(), "only within a folder");
                let node = self.find(from);
                self.enter(to, vec![(to, Some(node)), (from, None)], said);
            }
            Operation::Unlink { path } | Operation::RemoveDir { path } => {
                self.enter(path, vec![(path, None)], said);
            }
            Operation::SetMode { path, mode: new } => {
                let node = self.find(path);
                *mode(&mut self.seen[node]) = *new;
                self.items.retain(
                    |(item, _)| !matches!(item, Item::Mode { node: it, .. } if *it == node),
                );
                self.items.push((Item::Mode { node, mode: *new }, said));
            }
            Operation::Write { path, bytes } => {
                let node = self.find(path);
                let before = content(&mut self.seen[node]).len();
                content(&mut self.seen[node]).extend_from_slice(bytes);
                self.change(node, Some(before + bytes.len() / 2), said);
            }
            Operation::Truncate { path, length } => {
                let node = self.find(path);
                content(&mut self.seen[node]).resize(*length as usize, 0);
                self.change(node, None, said);
            }
            Operation::Sync { path } | Operation::SyncDir { path } => {
                let node = self.find(path);
                self.make_durable(node);
            }
            Operation::SyncAll { .. } => {
                for (item, _) in std::mem::take(&mut self.items) {
                    settle(&mut self.durable, item);
                }
            }
            Operation::List { .. } | Operation::Open { .. } => {}
        }
    }

    /// As it is after a cut that left these items, and lost the others.
    pub fn with(&self, kept: impl Iterator<Item = Item>) -> Tree {
        let mut nodes = self.durable.clone();
        kept.for_each(|item| settle(&mut nodes, item));
        let mut tree = Tree::default();
        collect(&nodes, 0, Path::new(""), &mut tree);
        tree
    }

    pub fn kept(&self) -> Tree {
        self.with(self.items.iter().map(|(item, _)| item.clone()))
    }

    /// The file, if what it holds is not durable.
    pub fn unsynced_content(&self, path: &Path) -> Option<usize> {
        let node = self.find(path);
        self.unsynced().find(|it| *it == node)
    }

    /// All files whose content is not durable.
    pub fn all_unsynced(&self) -> Vec<usize> {
        self.unsynced().collect()
    }

    /// Files with names whose content is not durable.
    pub fn left_unsynced(&self) -> Vec<usize> {
        let has_name = |node: &usize| self.has_name(0, *node);
        self.unsynced().filter(has_name).collect()
    }

    /// The name that a file got last.
    pub fn last_name(&self, node: usize) -> PathBuf {
        self.called[node].clone()
    }

    fn has_name(&self, folder: usize, wanted: usize) -> bool {
        match &self.seen[folder] {
            Node::Folder { entries, .. } => entries
                .values()
                .any(|node| *node == wanted || self.has_name(*node, wanted)),
            _ => false,
        }
    }

    fn unsynced(&self) -> impl Iterator<Item = usize> + '_ {
        self.items.iter().filter_map(|(item, _)| match item {
            Item::Content { node, .. } => Some(*node),
            _ => None,
        })
    }

    fn add(&mut self, node: Node) -> usize {
        self.seen.push(node.clone());
        self.durable.push(node);
        self.called.push(PathBuf::new());
        self.seen.len() - 1
    }

    fn find(&self, path: &Path) -> usize {
        path.iter()
            .fold(0, |folder, name| match &self.seen[folder] {
                Node::Folder { entries, .. } => *entries
                    .get(name.to_str().unwrap())
                    .unwrap_or_else(|| panic!("the model knows no {}", path.display())),
                _ => panic!("{}: not through a folder", path.display()),
            })
    }

    fn enter(&mut self, path: &Path, names: Vec<(&PathBuf, Option<usize>)>, said: String) {
        let folder = self.find(path.parent().unwrap());
        for (path, node) in &names {
            if let Some(node) = node {
                self.called[*node] = path.to_path_buf();
            }
        }
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let names = names
            .into_iter()
            .map(|(path, node)| (name(path), node))
            .collect();
        let item = Item::Entries { folder, names };
        settle(&mut self.seen, item.clone());
        self.items.push((item, said));
    }

    fn change(&mut self, node: usize, torn: Option<usize>, said: String) {
        let now = content(&mut self.seen[node]).clone();
        // One item a file: what an fsync makes durable together.
        self.items
            .retain(|(item, _)| !matches!(item, Item::Content { node: it, .. } if *it == node));
        self.items.push((Item::Content { node, now, torn }, said));
    }

    fn make_durable(&mut self, synced: usize) {
        let belongs = |item: &Item| match item {
            Item::Content { node, .. } | Item::Mode { node, .. } => *node == synced,
            Item::Entries { folder, .. } => *folder == synced,
        };
        let (durable, items) = std::mem::take(&mut self.items)
            .into_iter()
            .partition(|(item, _)| belongs(item));
        self.items = items;
        let durable: Vec<(Item, String)> = durable;
        durable
            .into_iter()
            .for_each(|(item, _)| settle(&mut self.durable, item));
    }
}

fn settle(nodes: &mut [Node], item: Item) {
    match item {
        Item::Content { node, now, .. } => *content(&mut nodes[node]) = now,
        Item::Mode { node, mode: new } => *mode(&mut nodes[node]) = new,
        Item::Entries { folder, names } => {
            for (name, node) in names {
                let entries = entries(&mut nodes[folder]);
                match node {
                    Some(node) => entries.insert(name, node),
                    None => entries.remove(&name),
                };
            }
        }
    }
}

fn collect(nodes: &[Node], node: usize, path: &Path, tree: &mut Tree) {
    let thing = match &nodes[node] {
        Node::File { content, mode } => Thing::File {
            content: content.clone(),
            mode: *mode,
        },
        Node::Folder { entries, mode } => {
            for (name, node) in entries {
                collect(nodes, *node, &path.join(name), tree);
            }
            Thing::Folder { mode: *mode }
        }
        Node::Link { target } => Thing::Link {
            target: target.clone(),
        },
        Node::Socket => Thing::Socket,
    };
    tree.0.insert(path.to_owned(), thing);
}

fn entries(node: &mut Node) -> &mut BTreeMap<String, usize> {
    match node {
        Node::Folder { entries, .. } => entries,
        _ => panic!("not a folder"),
    }
}

fn content(node: &mut Node) -> &mut Vec<u8> {
    match node {
        Node::File { content, .. } => content,
        _ => panic!("not a file"),
    }
}

fn mode(node: &mut Node) -> &mut u32 {
    match node {
        Node::File { mode, .. } | Node::Folder { mode, .. } => mode,
        Node::Link { .. } | Node::Socket => panic!("it has no mode of its own"),
    }
}

/// Without what was written: that may be a key.
pub fn describe(step: &Operation) -> String {
    match step {
        Operation::Write { path, bytes } => {
            format!("Write {} bytes to {}", bytes.len(), path.display())
        }
        step => format!("{step:?}"),
    }
}
