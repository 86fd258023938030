//! What all parts of a running cloudcore share.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use smol::Executor;
use smol::channel::{Receiver, Sender, bounded};

use super::metrics::Metrics;
use super::places::Places;
use super::rate::Rates;
use super::registry::Registry;
use super::settings::Settings;
use crate::authority::Authority;
use crate::system::clock::{Clock, Timestamp};
use crate::system::names::NodeName;
use crate::tunnel::Budget;

/// A running cloudcore. Tasks share it in an `Arc`; it has ended when the last one is gone.
pub struct Cloud {
    pub authority: Authority,
    pub settings: Settings,
    pub clock: Clock,
    pub started: Timestamp,
    pub registry: Arc<Registry>,
    pub metrics: Metrics,
    /// Bytes of partly received messages, for all tunnels together.
    pub budget: Budget,
    /// Connections to the certificate port.
    pub api_places: Arc<Places>,
    /// Connections to the hub that have not shown who they are.
    pub hub_places: Arc<Places>,
    /// Questions after node names.
    pub node_checks: Rates,
    pub legacy: LegacyNames,
    pub stop: Stop,
    /// Weak, because the tasks in it hold the cloud.
    executor: Weak<Executor<'static>>,
}

impl Cloud {
    pub fn new(
        executor: &Arc<Executor<'static>>,
        clock: &Clock,
        authority: Authority,
        settings: Settings,
        stop: Stop,
    ) -> Arc<Cloud> {
        Arc::new(Cloud {
            authority,
            clock: clock.clone(),
            started: clock.now(),
            registry: Registry::new(settings.node_limit),
            metrics: Metrics::default(),
            budget: Budget::new(settings.partial_budget),
            api_places: Places::new(API_PLACES, API_PLACES_PER_SOURCE),
            hub_places: Places::new(HUB_PLACES, HUB_PLACES_PER_SOURCE),
            node_checks: Rates::new(NODE_CHECKS_PER_SECOND, NODE_CHECKS_AT_ONCE),
            legacy: LegacyNames::default(),
            stop,
            executor: Arc::downgrade(executor),
            settings,
        })
    }

    /// Runs a task beside the others; it is not run any more when cloudcore has ended.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(executor) = self.executor.upgrade() {
            executor.spawn(task).detach();
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

/// A request takes milliseconds, so these are many; and a slow client holds only a few.
const API_PLACES: usize = 2048;
const API_PLACES_PER_SOURCE: usize = 64;

/// After an outage all edges come at once, from behind one address perhaps.
const HUB_PLACES: usize = 4096;
const HUB_PLACES_PER_SOURCE: usize = 512;

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
