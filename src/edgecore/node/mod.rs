//! The device as a node: registers it, renews its lease, and reports what changes.

mod conditions;
mod lease;
mod object;
mod patch;
mod register;
mod report;
mod standing;
mod talk;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;
use smol::future::or;

use self::conditions::Pressures;
use self::lease::Held;
use super::edge::{Edge, Signal, pause};
use crate::config::edge::EdgeNode;
use crate::pki::hash::Sha256Hash;
use crate::protocol::object::Object;
use crate::system::clock::Timestamp;
use crate::system::facts::machine::Machine;
use crate::system::facts::usage::Room;
use crate::system::network;

/// What the cloud says of the Node without being asked, on its way to who reports.
pub struct News {
    object: RefCell<Option<Object>>,
    told: Signal,
}

impl News {
    pub fn new() -> News {
        News {
            object: RefCell::new(None),
            told: Signal::new(),
        }
    }
}

/// The cloud has sent the device's own Node, and it is stored.
pub fn news(edge: &Edge, object: &Object) {
    edge.node.object.replace(Some(object.clone()));
    edge.node.told.raise();
}

/// Never ends. Does nothing where the device is to be connected only.
pub async fn run(edge: &Rc<Edge>) {
    let settings = &edge.settings.edged;
    if !settings.enable {
        return pending().await;
    }
    let machine = loop {
        let read = || Machine::read(|bytes| *Sha256Hash::of(bytes).as_bytes());
        match edge.off_thread(read).await {
            Ok(machine) => break machine,
            Err(error) => edge.state.node_problem(&error, true),
        }
        pause(AGAIN).await;
    };
    let node = Node::new(edge, machine, Pace::of(settings));
    Box::pin(node.live()).await
}

/// One device as a node.
struct Node<'a> {
    edge: &'a Rc<Edge>,
    settings: &'a EdgeNode,
    pace: Pace,
    machine: Machine,
    /// The Node as the cloud has it.
    known: RefCell<Option<Known>>,
    held: RefCell<Option<Held>>,
    pressures: RefCell<Pressures>,
    /// Room on the disk, and when that was looked at.
    room: Cell<Option<(Instant, Option<Room>)>>,
    /// When all was last reported, and what was reported that differed.
    reported: Cell<Option<Instant>>,
    said: RefCell<Value>,
    /// This cloud lets the device change no labels and annotations.
    no_labels: Cell<bool>,
}

/// The Node as the cloud has it.
struct Known {
    value: Value,
    uid: String,
    version: String,
}

/// How often, and how long.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Between two renewals of the lease.
    renew: Duration,
    /// How long one of them may stay unanswered.
    renewal: Duration,
    look: Duration,
    report: Duration,
    /// For an answer to anything else.
    patience: Duration,
    /// Between attempts of what was refused: the longest first wait, and the longest of all.
    retry: (Duration, Duration),
}

impl Pace {
    fn of(settings: &EdgeNode) -> Pace {
        Pace {
            // As upstream: four renewals fit into the life of a lease.
            renew: settings.lease / 4,
            renewal: (settings.lease / 4).max(LEAST_PATIENCE),
            look: settings.look,
            report: settings.report,
            patience: PATIENCE,
            retry: RETRY,
        }
    }
}

impl<'a> Node<'a> {
    fn new(edge: &'a Rc<Edge>, machine: Machine, pace: Pace) -> Node<'a> {
        Node {
            edge,
            settings: &edge.settings.edged,
            pace,
            machine,
            known: RefCell::new(None),
            held: RefCell::new(None),
            pressures: RefCell::default(),
            room: Cell::new(None),
            reported: Cell::new(None),
            said: RefCell::default(),
            no_labels: Cell::new(false),
        }
    }

    /// Session after session: each begins with a look whether the cloud has the Node, since it may have
    /// been deleted meanwhile, or the cloud set up anew.
    async fn live(&self) {
        loop {
            let session = self.session().await;
            // It may be with another cloud than the last one, and under other terms.
            self.no_labels.set(false);
            self.edge.node.object.take();
            let work = async {
                loop {
                    Box::pin(self.register()).await;
                    or(Box::pin(self.keep_lease()), Box::pin(self.report())).await;
                }
            };
            or(work, self.end_of(session)).await;
        }
    }

    async fn session(&self) -> u64 {
        loop {
            match self.edge.requests.session() {
                Some(session) => return session,
                None => self.edge.session_began.wait().await,
            }
        }
    }

    /// Returns when this session is no more the newest.
    async fn end_of(&self, session: u64) {
        let edge = self.edge;
        while edge.requests.session() == Some(session) {
            or(edge.session_began.wait(), edge.session_ended.wait()).await;
        }
    }

    /// Takes what the cloud says of the Node; false when it is that of another.
    fn learn(&self, object: &Object) -> bool {
        let meta = object.meta();
        let Ok(value) = serde_json::from_str::<Value>(object.text()) else {
            return false;
        };
        if meta.name != self.edge.settings.node.as_str() {
            return false;
        }
        let made = value["metadata"]["creationTimestamp"].as_str();
        let made = made.and_then(|text| text.parse().ok());
        let ready = conditions::named(&value, "Ready")["status"].as_str();
        let ready = ready.map(str::to_owned);
        let now = self.now();
        self.edge.state.registration(|registration| {
            registration.since = made.or(registration.since).or(Some(now));
            registration.ready = ready;
            registration.address = Some(self.address().to_string());
        });
        self.known.replace(Some(Known {
            uid: meta.uid.clone(),
            version: meta.resource_version.clone(),
            value,
        }));
        self.complain_of_taints();
        true
    }

    /// Forgets the Node: the cloud has none, or nobody knows.
    fn forget(&self) {
        self.known.replace(None);
        self.said.replace(Value::Null);
        self.reported.set(None);
        self.edge.state.registration(|registration| {
            registration.since = None;
            registration.ready = None;
        });
    }

    /// That of the Node in the cloud.
    fn uid(&self) -> Option<String> {
        let known = self.known.borrow();
        let uid = known.as_ref().map(|known| known.uid.clone());
        uid.filter(|uid| !uid.is_empty())
    }

    /// Under which others find the device.
    fn address(&self) -> IpAddr {
        let configured = self.settings.address;
        configured
            .or(self.edge.address.get())
            .unwrap_or_else(network::outward_address)
    }

    fn now(&self) -> Timestamp {
        self.edge.host.clock.now()
    }

    /// It goes well: what went wrong before is over, but for what a person has to do.
    fn well(&self) {
        let lasting = self.complain_of_taints();
        if !lasting {
            self.edge
                .state
                .registration(|registration| registration.problem = None);
        }
    }
}

/// For an answer of a cloud. Upstream's edges wait a minute, but renewals can't.
const PATIENCE: Duration = Duration::from_secs(20);
/// A line may be slow however short the lease is.
const LEAST_PATIENCE: Duration = Duration::from_secs(2);
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Between attempts to look at the machine.
const AGAIN: Duration = Duration::from_secs(1);
