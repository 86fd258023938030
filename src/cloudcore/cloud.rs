//! What all parts of a running cloudcore share.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use log::warn;
use smol::Executor;
use smol::channel::{Receiver, Sender, bounded};
use smol::future::FutureExt;
use smol::net::TcpStream;

use super::cluster::Cluster;
use super::descriptors::Descriptors;
use super::metrics::{Metrics, Port};
use super::nodes::Nodes;
use super::outbox::Room;
use super::places::{Cut, Full, Place, Places, Taken};
use super::quic::Cutter;
use super::rate::{Rate, Rates};
use super::registry::Registry;
use super::sending::Sending;
use super::settings::Settings;
use super::strikes::{Strike, Strikes, Summary};
use crate::authority::Authority;
use crate::system::clock::{Clock, Timestamp};
use crate::system::names::NodeName;
use crate::tunnel::Budget;

/// A running cloudcore. Tasks share it in an `Arc`; it has ended when the last one is gone.
pub struct Cloud {
    pub authority: Authority,
    /// Nodes and what they have.
    pub nodes: Nodes,
    /// What has the state, when it is not this machine.
    pub cluster: Option<Arc<Cluster>>,
    pub settings: Settings,
    pub clock: Clock,
    pub started: Timestamp,
    pub registry: Arc<Registry>,
    pub metrics: Metrics,
    /// Bytes of partly received messages, for all tunnels together.
    pub budget: Budget,
    /// What waits for all edges together, and how much of it is on its way at a time.
    pub outboxes: Room,
    pub sending: Sending,
    /// What the limit on open files leaves for connections.
    pub descriptors: Arc<Descriptors>,
    /// Connections to the certificate port.
    pub api_places: Arc<Places>,
    /// Connections to the hub that have not shown who they are.
    pub hub_places: Arc<Places>,
    /// Connections over QUIC that have not shown who they are. Their own, because the address of a
    /// datagram may be anybody's: a flood of them must not cost a place of who has connected.
    pub quic_places: Arc<Places<Cutter>>,
    /// Questions after node names.
    pub node_checks: Rates,
    /// What peers did wrong.
    pub strikes: Strikes,
    /// Held by each connection that is told to come again later.
    pub turned_away: Arc<()>,
    pub legacy: LegacyNames,
    /// What the process has given up, in words.
    pub confinement: Vec<String>,
    pub stop: Stop,
    /// Weak, because the tasks in it hold the cloud.
    executor: Weak<Executor<'static>>,
}

/// What the system lets this process do.
pub struct Standing {
    pub open_files: u64,
    /// What it has given up, in words.
    pub confinement: Vec<String>,
}

impl Cloud {
    pub fn new(
        executor: &Arc<Executor<'static>>,
        clock: &Clock,
        (authority, nodes, cluster): (Authority, Nodes, Option<Arc<Cluster>>),
        settings: Settings,
        Standing {
            open_files,
            confinement,
        }: Standing,
        stop: Stop,
    ) -> Arc<Cloud> {
        let descriptors = Descriptors::new(open_files);
        // Half for one source: it can't take all, be it by serving.
        let places = |wanted| {
            let total = descriptors.room_for_port(wanted);
            Places::new(total, (total / 2).max(1), &descriptors)
        };
        let quic = descriptors.room_for_port(QUIC_PLACES);
        Arc::new(Cloud {
            authority,
            nodes,
            cluster,
            clock: clock.clone(),
            started: clock.now(),
            confinement,
            registry: Registry::new(descriptors.room_for_tunnels(settings.node_limit)),
            metrics: Metrics::default(),
            budget: Budget::new(settings.partial_budget),
            outboxes: Room::default(),
            sending: Sending::default(),
            api_places: places(API_PLACES),
            hub_places: places(HUB_PLACES),
            quic_places: Places::new(quic, (quic / 2).max(1), &descriptors),
            descriptors,
            node_checks: Rates::new(Rate::new(NODE_CHECKS_PER_SECOND, NODE_CHECKS_AT_ONCE)),
            strikes: Strikes::new(Instant::now()),
            turned_away: Arc::default(),
            legacy: LegacyNames::default(),
            stop,
            executor: Arc::downgrade(executor),
            settings,
        })
    }

    /// Something that came from this address has failed or was refused.
    pub fn strike(&self, address: IpAddr) -> Strike {
        self.strikes.charge(address, Instant::now())
    }

    /// A place for a connection that came in at this port. Who finds none may still get a
    /// permission to be told so, of which there are few.
    pub fn place(
        &self,
        port: Port,
        address: IpAddr,
        stream: &TcpStream,
    ) -> Result<Place, Option<Arc<()>>> {
        let places = match port {
            Port::Certificates => &self.api_places,
            Port::Tunnels | Port::Quic => &self.hub_places,
        };
        self.place_among(places, port, address, stream)
    }

    /// The same among these places.
    pub fn place_among<S: Cut>(
        &self,
        places: &Arc<Places<S>>,
        port: Port,
        address: IpAddr,
        stream: &S,
    ) -> Result<Place<S>, Option<Arc<()>>> {
        let due = |summary| self.strikes.is_due(summary, Instant::now());
        match places.take(address, stream) {
            Ok(Taken { place, cut }) => {
                if let Some(why) = cut {
                    self.metrics.cut_connection(port, why);
                }
                match cut {
                    Some(Full::Source) if due(Summary::CutOfSource(port)) => warn!(
                        "{address} has as many connections to {port} as one address may: those \
                         that keep us waiting longest are cut for new ones"
                    ),
                    Some(Full::Total) if due(Summary::CutOfAll(port)) => warn!(
                        "there are as many connections to {port} as there may be: those that keep \
                         us waiting longest are cut for new ones"
                    ),
                    _ => {}
                }
                Ok(place)
            }
            Err(why) => {
                self.metrics.refused_connection(port, why);
                if due(Summary::Refused(port)) {
                    warn!("a connection to {port} from {address} finds no place and is refused");
                }
                let few = Arc::strong_count(&self.turned_away) <= MAX_TURNED_AWAY;
                Err(few.then(|| self.turned_away.clone()))
            }
        }
    }

    /// Runs a task beside the others; it is not run any more when cloudcore has ended.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(executor) = self.executor.upgrade() {
            // In a box all are alike: the executor's part is compiled once.
            executor.spawn(task.boxed()).detach();
        }
    }
}

/// Tells that cloudcore stops. As long as there is one, not everything has ended.
pub struct Stop {
    asked: Receiver<()>,
    _alive: Sender<()>,
}

/// The other end of `Stop`.
pub struct Stopper {
    ask: Sender<()>,
    ended: Receiver<()>,
}

impl Stop {
    pub fn new() -> (Stop, Stopper) {
        let ((ask, asked), (alive, ended)) = (bounded(1), bounded(1));
        (
            Stop {
                asked,
                _alive: alive,
            },
            Stopper { ask, ended },
        )
    }

    /// Returns when cloudcore stops.
    pub async fn wait(&self) {
        // Nothing is ever sent: only the end is told.
        let _ = self.asked.recv().await;
    }

    pub fn is_asked(&self) -> bool {
        self.asked.is_closed()
    }
}

impl Stopper {
    pub fn ask(&self) {
        self.ask.close();
    }

    /// Returns when the `Stop` is gone, and so everything that shared it.
    pub async fn all_gone(&self) {
        let _ = self.ended.recv().await;
    }
}

/// Which node a legacy certificate, which names none, was first used by.
#[derive(Default)]
pub struct LegacyNames(Mutex<HashMap<String, NodeName>>);

impl LegacyNames {
    /// Whether the certificate may speak for this node: it may for the first one, and no other.
    pub fn bind(&self, serial: &str, node: &NodeName) -> bool {
        let mut bound = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if bound.len() >= MAX_LEGACY && !bound.contains_key(serial) {
            return false;
        }
        bound
            .entry(serial.to_owned())
            .or_insert_with(|| node.clone())
            == node
    }
}

/// Connections to the certificate port, and to the hub before they are sessions. A request takes
/// milliseconds and a handshake not much longer, so these are many; each costs memory.
const API_PLACES: usize = 2048;
const HUB_PLACES: usize = 2048;
/// The memory of a QUIC handshake is ours, not the kernel's.
const QUIC_PLACES: usize = 256;

const MAX_TURNED_AWAY: usize = 32;

const NODE_CHECKS_PER_SECOND: u32 = 5;
const NODE_CHECKS_AT_ONCE: u32 = 50;

const MAX_LEGACY: usize = 100_000;

#[cfg(test)]
mod tests {
    use smol::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn stopping_is_told_to_all_and_waits_for_all() {
        let (stop, stopper) = Stop::new();
        block_on(async {
            assert!(poll_once(stop.wait()).await.is_none());
            assert!(!stop.is_asked());
            stopper.ask();
            stop.wait().await;
            assert!(stop.is_asked());
            assert!(poll_once(stopper.all_gone()).await.is_none());
            drop(stop);
            stopper.all_gone().await;
        });
    }

    #[test]
    fn a_legacy_certificate_speaks_for_one_node() {
        let (names, one, two) = (LegacyNames::default(), "one".parse(), "two".parse());
        let (one, two): (NodeName, NodeName) = (one.unwrap(), two.unwrap());
        assert!(names.bind("01", &one));
        assert!(names.bind("01", &one));
        assert!(!names.bind("01", &two));
        assert!(names.bind("02", &two));
    }
}
