//! Which node has which session: the newest connection wins, and a late end can't harm it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::outbox::{Ending, Outbox};
use crate::authority::Credential;
use crate::protocol::terms::Terms;
use crate::protocol::transport::Transport;
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;
use crate::tunnel::Line;

/// All sessions of this cloud. Share it in an `Arc`.
pub struct Registry {
    state: Mutex<State>,
    limit: usize,
}

#[derive(Default)]
struct State {
    nodes: HashMap<NodeName, Node>,
    /// Nodes with a session or a promise of one: what the limit counts.
    occupied: usize,
    sessions: usize,
    /// Counts all sessions ever begun, so that no two have the same generation.
    generation: u64,
    replaced: u64,
    closed: bool,
}

#[derive(Default)]
struct Node {
    session: Option<Session>,
    promises: usize,
    ended: Option<Instant>,
    last_gap: Option<Duration>,
}

struct Session {
    generation: u64,
    facts: SessionFacts,
    credential: Credential,
    outbox: Outbox,
}

/// What is told of a session.
#[derive(Clone, Debug)]
pub struct SessionFacts {
    pub since: Timestamp,
    /// Where the tunnel was opened from.
    pub peer: SocketAddr,
    /// Of the certificate that the session was opened with.
    pub serial: String,
    /// The edge says which CAs it trusts, and follows when they change.
    pub follows: bool,
    /// What was agreed with the edge, if it is one of ours.
    pub terms: Option<Terms>,
    pub transport: Transport,
    /// Knows where the edge is now, if it may have another address than at first.
    pub roaming: Option<Arc<dyn Line>>,
}

impl SessionFacts {
    /// Where the edge is.
    pub fn at(&self) -> SocketAddr {
        let now = self.roaming.as_ref().and_then(|line| line.peer());
        now.unwrap_or(self.peer)
    }
}

/// One line of the list of sessions.
#[derive(Clone, Debug)]
pub struct Row {
    pub node: NodeName,
    pub generation: u64,
    pub facts: SessionFacts,
    /// How long the node had no session before this one: zero when it took the place of another,
    /// none when it is the first one.
    pub last_gap: Option<Duration>,
}

/// Why a node gets no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many nodes as allowed have a session.
    Full {
        limit: usize,
    },
    Stopping,
}

impl Registry {
    /// At most `limit` nodes may have a session at the same time.
    pub fn new(limit: usize) -> Arc<Registry> {
        Arc::new(Registry {
            state: Mutex::default(),
            limit,
        })
    }

    /// Keeps a place for a session of `node`; one that replaces another needs none of its own.
    pub fn promise(self: &Arc<Self>, node: &NodeName) -> Result<Promise, Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Stopping);
        }
        let known = state.nodes.get(node).is_some_and(Node::is_occupied);
        if !known && state.occupied >= self.limit {
            return Err(Refused::Full { limit: self.limit });
        }
        state.change(node, |node| node.promises += 1);
        Ok(Promise {
            registry: self.clone(),
            node: node.clone(),
        })
    }

    /// The outboxes of all sessions whose edges follow a change of the CA.
    pub fn following(&self) -> Vec<Outbox> {
        let state = self.lock();
        let sessions = state
            .nodes
            .values()
            .filter_map(|node| node.session.as_ref());
        let following = sessions.filter(|session| session.facts.follows);
        following.map(|session| session.outbox.clone()).collect()
    }

    /// Where messages for a node go while it has a session.
    pub fn outbox(&self, node: &NodeName) -> Option<Outbox> {
        self.lock().nodes.get(node).and_then(Node::outbox)
    }

    /// Whether the node has a session in which we renew its Lease.
    pub fn keeps_lease(&self, node: &NodeName) -> bool {
        let state = self.lock();
        let session = state.nodes.get(node).and_then(|node| node.session.as_ref());
        session.is_some_and(|it| it.facts.terms.is_some_and(|terms| terms.lease))
    }

    /// Whether the node wants to know that its reports of jobs have been written down.
    pub fn acknowledges_reports(&self, node: &NodeName) -> bool {
        let state = self.lock();
        let session = state.nodes.get(node).and_then(|node| node.session.as_ref());
        session.is_some_and(|it| it.facts.terms.is_some_and(|terms| terms.reports))
    }

    /// For how long the node has had no session, if it had one before.
    pub fn ended(&self, node: &NodeName) -> Option<Duration> {
        let state = self.lock();
        Some(state.nodes.get(node)?.ended?.elapsed())
    }

    /// Ends the session of a node, if it has one.
    pub fn end(&self, node: &NodeName, ending: Ending) -> bool {
        let outbox = self.lock().nodes.get(node).and_then(Node::outbox);
        outbox.inspect(|outbox| outbox.end(ending)).is_some()
    }

    /// The generation of the session that the node has.
    pub fn generation(&self, node: &NodeName) -> Option<u64> {
        let state = self.lock();
        let session = state.nodes.get(node)?.session.as_ref()?;
        Some(session.generation)
    }

    /// Ends this session of a node, and no later one.
    pub fn end_session(&self, node: &NodeName, generation: u64, ending: Ending) {
        let state = self.lock();
        let session = state.nodes.get(node).and_then(|node| node.session.as_ref());
        let session = session.filter(|session| session.generation == generation);
        let outbox = session.map(|session| session.outbox.clone());
        drop(state);
        if let Some(outbox) = outbox {
            outbox.end(ending);
        }
    }

    /// What the session of a node was opened with, and its generation.
    pub fn credential(&self, node: &NodeName) -> Option<(u64, Credential)> {
        let state = self.lock();
        let session = state.nodes.get(node)?.session.as_ref()?;
        Some((session.generation, session.credential.clone()))
    }

    /// Ends the sessions that were opened with what counts no more; how many.
    pub fn end_where(&self, is_bad: impl Fn(&Credential) -> bool, ending: Ending) -> usize {
        let state = self.lock();
        let sessions = state
            .nodes
            .values()
            .filter_map(|node| node.session.as_ref());
        let bad = sessions.filter(|session| is_bad(&session.credential));
        let outboxes: Vec<Outbox> = bad.map(|session| session.outbox.clone()).collect();
        drop(state);
        outboxes.iter().for_each(|outbox| outbox.end(ending));
        outboxes.len()
    }

    /// The nodes that have a session.
    pub fn names(&self) -> Vec<NodeName> {
        let state = self.lock();
        let with = state
            .nodes
            .iter()
            .filter(|(_, node)| node.session.is_some());
        with.map(|(name, _)| name.clone()).collect()
    }

    /// Lets no new session begin, and gives the outboxes of those that go on.
    pub fn close(&self) -> Vec<Outbox> {
        let mut state = self.lock();
        state.closed = true;
        state.nodes.values().filter_map(Node::outbox).collect()
    }

    pub fn sessions(&self) -> usize {
        self.lock().sessions
    }

    /// How many of them run on this.
    pub fn sessions_over(&self, transport: Transport) -> usize {
        let state = self.lock();
        let sessions = state
            .nodes
            .values()
            .filter_map(|node| node.session.as_ref());
        let over = sessions.filter(|session| session.facts.transport == transport);
        over.count()
    }

    /// How many sessions took the place of one that was up.
    pub fn replaced(&self) -> u64 {
        self.lock().replaced
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The sessions of these nodes, or all when none is named, in the order of their names.
    pub fn rows(&self, nodes: &[NodeName]) -> Vec<Row> {
        let state = self.lock();
        let row = |(name, node): (&NodeName, &Node)| {
            let session = node.session.as_ref()?;
            Some(Row {
                node: name.clone(),
                generation: session.generation,
                facts: session.facts.clone(),
                last_gap: node.last_gap,
            })
        };
        let mut rows: Vec<Row> = if nodes.is_empty() {
            state.nodes.iter().filter_map(row).collect()
        } else {
            nodes
                .iter()
                .filter_map(|n| state.nodes.get_key_value(n))
                .filter_map(row)
                .collect()
        };
        drop(state);
        rows.sort_by(|a, b| a.node.cmp(&b.node));
        rows
    }

    fn leave(&self, name: &NodeName, generation: u64) {
        let mut state = self.lock();
        let of = |session: &Session| session.generation == generation;
        let current = state
            .nodes
            .get(name)
            .and_then(|node| node.session.as_ref())
            .is_some_and(of);
        if current {
            state.sessions -= 1;
            state.change(name, |node| {
                node.session = None;
                node.ended = Some(Instant::now());
            });
        }
    }

    /// No code panics while it holds the lock, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is kept while the connection is opened; given back when dropped.
pub struct Promise {
    registry: Arc<Registry>,
    node: NodeName,
}

impl Promise {
    /// Puts the session in the place of whatever the node had, in one step.
    pub fn begin(self, facts: SessionFacts, credential: Credential, outbox: Outbox) -> Registered {
        let mut state = self.registry.lock();
        state.generation += 1;
        let generation = state.generation;
        let session = Session {
            generation,
            facts,
            credential,
            outbox: outbox.clone(),
        };
        let old = state.change(&self.node, |node| {
            let old = node.session.replace(session);
            node.last_gap = match (&old, node.ended) {
                (Some(_), _) => Some(Duration::ZERO),
                (None, ended) => ended.map(|ended| ended.elapsed()),
            };
            old
        });
        match &old {
            Some(_) => state.replaced += 1,
            None => state.sessions += 1,
        }
        let stopping = state.closed;
        drop(state);
        if let Some(old) = old {
            old.outbox.end(Ending::Replaced);
        }
        if stopping {
            outbox.end(Ending::Stopping);
        }
        let (registry, node) = (self.registry.clone(), self.node.clone());
        Registered {
            registry,
            node,
            generation,
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.registry
            .lock()
            .change(&self.node, |node| node.promises -= 1);
    }
}

/// A session's entry; dropping it takes out this session and no other.
pub struct Registered {
    registry: Arc<Registry>,
    pub node: NodeName,
    pub generation: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.leave(&self.node, self.generation);
    }
}

impl State {
    /// Changes a node's entry and keeps the count of occupied ones right.
    fn change<T>(&mut self, name: &NodeName, change: impl FnOnce(&mut Node) -> T) -> T {
        let node = self.nodes.entry(name.clone()).or_default();
        let before = node.is_occupied();
        let result = change(node);
        let after = node.is_occupied();
        match (before, after) {
            (false, true) => self.occupied += 1,
            (true, false) => self.occupied -= 1,
            _ => {}
        }
        // Nodes that left are remembered for the gap, but not without bound.
        if !after && (node.ended.is_none() || self.nodes.len() > self.occupied + MAX_REMEMBERED) {
            self.nodes.remove(name);
        }
        result
    }
}

impl Node {
    fn is_occupied(&self) -> bool {
        self.session.is_some() || self.promises > 0
    }

    fn outbox(&self) -> Option<Outbox> {
        self.session.as_ref().map(|session| session.outbox.clone())
    }
}

/// Nodes without a session whose last end is remembered.
const MAX_REMEMBERED: usize = 10_000;

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
