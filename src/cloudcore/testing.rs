//! A cloudcore with a store of its own that fails when a test wants it, and nodes that ask it.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use smol::Executor;

use super::cloud::{Cloud, Standing, Stop, Stopper};
use super::dispatch::{Answer, dispatch};
use super::nodes::Nodes;
use super::outbox::Outbox;
use super::registry::{Registered, SessionFacts};
use super::settings::{Overrides, Settings};
use crate::authority::testing::credential;
use crate::authority::{self, Authority};
use crate::config::cloud::CloudConfig;
use crate::protocol::message::Message;
use crate::protocol::terms::Terms;
use crate::protocol::transport::Transport;
use crate::store::file::FileStore;
use crate::store::{self, ObjectChange, ObjectStore, StoreError, StoredObject, testing};
use crate::system::clock::{Clock, Timestamp};
use crate::system::files::{Files, Layer, Operation};
use crate::system::root::Root;
use crate::system::scratch::Scratch;

/// A disk on which files whose path has this word can't be written for a while.
pub struct Disk {
    word: &'static str,
    full: AtomicBool,
    /// Who holds it has what is written wait.
    pub gate: Mutex<()>,
}

impl Layer for Disk {
    fn before(&self, operation: Operation) -> io::Result<()> {
        let (Operation::Write { path, .. } | Operation::CreateNew { path }) = &operation else {
            return Ok(());
        };
        if !path.to_string_lossy().contains(self.word) {
            return Ok(());
        }
        drop(self.gate.lock());
        match self.full.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

/// A store that takes nothing for a while.
pub struct Bounded {
    store: Arc<FileStore>,
    full: AtomicBool,
}

impl ObjectStore for Bounded {
    fn objects(&self) -> store::Answer<'_, Vec<StoredObject>> {
        self.store.objects()
    }

    fn write_objects(
        &self,
        changes: Vec<ObjectChange>,
    ) -> Result<store::Answer<'_, ()>, StoreError> {
        match self.full.load(Ordering::SeqCst) && !changes.is_empty() {
            true => Err(StoreError::TooManyObjects),
            false => self.store.write_objects(changes),
        }
    }

    fn reserve_versions(&self, count: u64) -> store::Answer<'_, u64> {
        self.store.reserve_versions(count)
    }
}

pub struct Stage {
    pub cloud: Arc<Cloud>,
    /// Where what a cloudcore does beside is run.
    pub runner: Arc<Executor<'static>>,
    store: Arc<Bounded>,
    pub disk: Arc<Disk>,
    _stopper: Stopper,
}

impl Stage {
    /// What may fail on the disk is what has this word in its path.
    pub fn open(folder: &Scratch, word: &'static str) -> Stage {
        let full = AtomicBool::new(false);
        let gate = Mutex::default();
        let disk = Arc::new(Disk { word, full, gate });
        let files = Files::with(disk.clone());
        let (clock, _) = Clock::manual(NOW);
        let store = Arc::new(testing::open(&files, folder.path()).unwrap());
        let root = Root::new(Some(folder.path().to_owned()));
        let opening = authority::Options::default();
        let authority = Authority::open(store.clone(), &files, &root, &clock, opening);
        let authority = smol::block_on(authority).unwrap();
        let full = AtomicBool::new(false);
        let store = Arc::new(Bounded { store, full });
        let nodes = Nodes::open(store.clone(), "192.0.2.2".to_owned());
        let nodes = smol::block_on(nodes).unwrap();
        let (stop, stopper) = Stop::new();
        let settings = Settings::new(CloudConfig::default(), &Overrides::default());
        let standing = Standing {
            open_files: 1 << 16,
            confinement: Vec::new(),
        };
        let runner = Arc::default();
        let parts = (authority, nodes, None);
        Stage {
            cloud: Cloud::new(&runner, &clock, parts, settings, standing, stop),
            runner,
            store,
            disk,
            _stopper: stopper,
        }
    }

    pub fn fill_store(&self, full: bool) {
        self.store.full.store(full, Ordering::SeqCst);
    }

    pub fn fill_disk(&self, full: bool) {
        self.disk.full.store(full, Ordering::SeqCst);
    }

    /// A node connects, one of ours.
    pub fn connect(&self, node: &str) -> Peer {
        let (node, outbox) = (node.parse().unwrap(), Outbox::default());
        let terms = Terms::offer(std::time::Duration::from_secs(30));
        let facts = SessionFacts {
            since: self.cloud.clock.now(),
            peer: ([127, 0, 0, 1], 1).into(),
            serial: "01".to_owned(),
            follows: true,
            terms: Some(terms),
            transport: Transport::WebSocket,
            roaming: None,
        };
        let promise = self.cloud.registry.promise(&node).unwrap();
        let registered = promise.begin(facts, credential(), outbox.clone());
        let nodes = &self.cloud.nodes;
        nodes.begun(&self.cloud, &registered, &outbox, Some(terms));
        Peer {
            cloud: self.cloud.clone(),
            registered,
            outbox,
        }
    }
}

pub struct Peer {
    cloud: Arc<Cloud>,
    pub registered: Registered,
    pub outbox: Outbox,
}

impl Peer {
    pub fn send(&self, operation: &str, resource: &str, content: &Value) -> Answer {
        let message = Message::of_edged(NOW, operation, resource, content);
        dispatch(&self.cloud, &self.registered.node, &self.outbox, message)
    }

    /// Asks, and waits for the answer: its operation and its content.
    pub async fn ask(&self, operation: &str, resource: &str, content: &Value) -> (String, Value) {
        let answer = match self.send(operation, resource, content) {
            Answer::Now(answer) => answer.map(|answer| *answer),
            Answer::Later(answer) => answer.await,
        };
        let answer = answer.unwrap();
        let content = serde_json::from_str(answer.content.as_ref().unwrap().get()).unwrap();
        (answer.route.operation, content)
    }
}

/// Puts what a store may have had before; each key with its JSON.
pub fn stored(folder: &Path, objects: impl IntoIterator<Item = (String, Value)>) {
    let store = testing::open(&Files::real(), folder).unwrap();
    let change = |(key, text): (String, Value)| ObjectChange {
        key: key.into(),
        text: Some(text.to_string().into()),
    };
    let changes = objects.into_iter().map(change).collect();
    smol::block_on(store.write_objects(changes).unwrap()).unwrap();
}

pub const NOW: Timestamp = Timestamp::from_unix(1_795_334_583);
