//! Where the edge stands, for whoever asks: one record, and a wake-up for those who watch it.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::rc::Rc;

use smol::channel::{Receiver, Sender, bounded};

use crate::protocol::control::{
    CertificateFacts, Counts, EdgeState, EdgeStatus, Failures, Problem, Registration, SessionFacts,
    VERSION,
};
use crate::protocol::transport::Transport;
use crate::system::clock::{Clock, Timestamp};
use crate::system::log::clean;
use crate::system::notify;

/// The shared record; cheap to clone, lives on the executor thread.
#[derive(Clone)]
pub struct State(Rc<Inner>);

struct Inner {
    clock: Clock,
    status: RefCell<EdgeStatus>,
    /// How many there were in this process.
    sessions: Cell<u64>,
    messages: Cell<Counts>,
    watchers: RefCell<Vec<Sender<()>>>,
}

impl State {
    pub fn new(
        clock: &Clock,
        node: &str,
        cloud: &str,
        supervisor: Option<u32>,
        sandbox: Vec<String>,
    ) -> Self {
        let own = std::process::id();
        let status = EdgeStatus {
            v: VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: supervisor.unwrap_or(own),
            hub_pid: supervisor.map(|_| own),
            sandbox,
            objects_in: None,
            node: node.to_owned(),
            cloud: cloud.to_owned(),
            state: EdgeState::Starting,
            since: clock.now(),
            now: None,
            clock_shows: None,
            last_error: None,
            certificate: None,
            next_rotation: None,
            session: None,
            registration: None,
            messages: None,
            failures: Some(Failures::default()),
        };
        State(Rc::new(Inner {
            clock: clock.clone(),
            status: RefCell::new(status),
            sessions: Cell::new(0),
            messages: Cell::default(),
            watchers: RefCell::default(),
        }))
    }

    pub fn snapshot(&self) -> EdgeStatus {
        let clock = &self.0.clock;
        EdgeStatus {
            now: Some(clock.now()),
            clock_shows: clock.shows_wrongly(),
            messages: Some(self.0.messages.get()),
            ..self.0.status.borrow().clone()
        }
    }

    /// More messages of the cloud were dealt with. Who watches is not told: there may be many.
    pub fn count(&self, more: Counts) {
        self.0.messages.update(|it| Counts {
            skipped: it.skipped + more.skipped,
            stored: it.stored + more.stored,
            acknowledged: it.acknowledged + more.acknowledged,
            received: it.received + more.received,
        });
    }

    /// A message could not be understood; how many that makes.
    pub fn skipped(&self) -> u64 {
        self.count(Counts {
            skipped: 1,
            ..Counts::default()
        });
        self.0.messages.get().skipped
    }

    /// How many sessions there were in this process.
    pub fn sessions(&self) -> u64 {
        self.0.sessions.get()
    }

    /// A channel that holds an item whenever something changed since it was last read.
    pub fn watch(&self) -> Receiver<()> {
        let (sender, receiver) = bounded(1);
        self.0.watchers.borrow_mut().push(sender);
        receiver
    }

    pub fn enter(&self, state: EdgeState) {
        let now = self.0.clock.now();
        self.change(|status| {
            if status.state != state {
                status.state = state;
                status.since = now;
                notify::status(&state.to_string());
            }
        });
    }

    /// Keeps the problem for `status`, and logs it. A part of the sentence may be a peer's words, so
    /// what could garble a terminal is escaped.
    pub fn problem(&self, error: &dyn Display, retryable: bool) {
        self.failed(|_| {}, error, retryable);
    }

    /// The same for an attempt to get a certificate for a token.
    pub fn not_enrolled(&self, error: &dyn Display, retryable: bool) {
        self.failed(|it| it.enrolments += 1, error, retryable);
    }

    pub fn not_renewed(&self, error: &dyn Display, retryable: bool) {
        self.failed(|it| it.renewals += 1, error, retryable);
    }

    /// The same for an attempt to open a tunnel.
    pub fn no_tunnel(&self, error: &dyn Display, retryable: bool) {
        self.failed(|it| it.tunnels += 1, error, retryable);
    }

    /// The session is over, and no other has its place.
    pub fn session_lost(&self, end: &dyn Display) {
        self.disconnected();
        self.failed(|it| it.sessions += 1, end, true);
    }

    fn failed(&self, count: impl FnOnce(&mut Failures), error: &dyn Display, retryable: bool) {
        let message = clean(&error.to_string());
        log::warn!("{message}");
        let at = self.0.clock.now();
        self.change(|status| {
            count(status.failures.get_or_insert_default());
            status.last_error = Some(Problem {
                at,
                message,
                retryable,
            })
        });
    }

    pub fn certificate(&self, facts: CertificateFacts, next_rotation: Option<Timestamp>) {
        self.change(|status| {
            status.certificate = Some(facts);
            status.next_rotation = next_rotation;
        });
    }

    /// A session is up with a hub, host:port as configured, and what answers there: earlier problems are over.
    /// Returns the session's number.
    pub fn connected(
        &self,
        (hub, peer): (String, String),
        serial: String,
        tunnel: Transport,
        no_quic: Option<String>,
    ) -> u64 {
        let generation = self.0.sessions.get() + 1;
        self.0.sessions.set(generation);
        let session = SessionFacts {
            generation,
            since: self.0.clock.now(),
            hub: Some(hub),
            peer,
            serial,
            tunnel,
            no_quic,
        };
        self.change(|status| {
            status.session = Some(session);
            status.last_error = None;
        });
        self.enter(EdgeState::Connected);
        generation
    }

    pub fn disconnected(&self) {
        self.change(|status| status.session = None);
        self.enter(EdgeState::Connecting);
    }

    /// How the device stands as a node has changed.
    pub fn registration(&self, edit: impl FnOnce(&mut Registration)) {
        let mut registration = self
            .0
            .status
            .borrow()
            .registration
            .clone()
            .unwrap_or_default();
        edit(&mut registration);
        if self.0.status.borrow().registration.as_ref() != Some(&registration) {
            self.change(|status| status.registration = Some(registration));
        }
    }

    /// The lease was renewed; for who asks, and nothing that those who watch are told each time but
    /// the first.
    pub fn lease_renewed(&self, at: Timestamp) {
        let status = self.0.status.borrow();
        let known = status.registration.as_ref();
        if known.is_none_or(|registration| registration.lease_renewed.is_none()) {
            drop(status);
            return self.registration(|registration| registration.lease_renewed = Some(at));
        }
        drop(status);
        if let Some(registration) = &mut self.0.status.borrow_mut().registration {
            registration.lease_renewed = Some(at);
        }
    }

    /// As `problem`, of the device as a node; logged when it is another one.
    pub fn node_problem(&self, error: &dyn Display, retryable: bool) {
        let message = clean(&error.to_string());
        let at = self.0.clock.now();
        self.registration(|registration| {
            let known = registration.problem.as_ref().map(|it| it.message.as_str());
            if known != Some(&message) {
                log::warn!("{message}");
            }
            registration.problem = Some(Problem {
                at,
                message,
                retryable,
            });
        });
    }

    /// Where the cloud's objects are kept.
    pub fn keeps_objects_in(&self, words: &str) {
        self.change(|status| status.objects_in = Some(words.to_owned()));
    }

    pub fn belongs_to(&self, node: &str, cloud: &str) {
        self.change(|status| {
            node.clone_into(&mut status.node);
            cloud.clone_into(&mut status.cloud);
            status.registration = None;
        });
    }

    fn change(&self, edit: impl FnOnce(&mut EdgeStatus)) {
        edit(&mut self.0.status.borrow_mut());
        // A full channel has its wake-up already; a closed one belongs to a watcher that left.
        self.0
            .watchers
            .borrow_mut()
            .retain(|watcher| !watcher.is_closed());
        for watcher in self.0.watchers.borrow().iter() {
            let _ = watcher.try_send(());
        }
    }
}
