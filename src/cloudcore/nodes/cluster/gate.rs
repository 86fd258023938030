//! How much is asked of the cluster at a time: bounds for each node and for all, and a time for each call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::or;
use smol::lock::Semaphore;

use crate::cloudcore::rate::{Bucket, Rate};
use crate::kubernetes::{Answer, Api, CallError, Request};
use crate::system::names::NodeName;

pub struct Gate {
    nodes: Mutex<HashMap<NodeName, Place>>,
    calls: Semaphore,
    rate: Rate,
}

/// What a node does at the moment.
struct Place {
    requests: usize,
    bucket: Bucket,
}

impl Gate {
    pub fn new() -> Arc<Gate> {
        Arc::new(Gate {
            nodes: Mutex::default(),
            calls: Semaphore::new(CALLS),
            rate: Rate::new(PER_SECOND, AT_ONCE),
        })
    }

    /// A place for one request of the node; none when it has asked for too much already.
    pub fn enter(self: &Arc<Gate>, node: &NodeName, now: Instant) -> Option<Entered> {
        let mut nodes = self.lock();
        if nodes.len() >= MAX_NODES && !nodes.contains_key(node) {
            nodes.retain(|_, place| place.requests > 0);
        }
        let place = nodes.entry(node.clone()).or_insert_with(|| Place {
            requests: 0,
            bucket: Bucket::full(now),
        });
        if place.requests >= REQUESTS || !place.bucket.take(self.rate, now) {
            return None;
        }
        place.requests += 1;
        Some(Entered {
            gate: self.clone(),
            node: node.clone(),
        })
    }

    /// Sends a request when its turn comes; whatever happens, an answer is there in time.
    pub async fn call(
        &self,
        api: &dyn Api,
        request: Request,
        patience: Duration,
    ) -> Result<Answer, CallError> {
        let request = request.within(patience);
        let called = async {
            let _turn = self.calls.acquire().await;
            api.call(&request).await
        };
        or(called, async {
            Timer::after(patience).await;
            Err(CallError::Unknown {
                server: "the API server".to_owned(),
                cause: format!("nothing came within {} s", patience.as_secs()),
            })
        })
        .await
    }

    /// As if no node had asked for anything yet.
    #[cfg(test)]
    pub fn forget(&self) {
        self.lock().clear();
    }

    /// No code panics while it holds the lock, so a poisoned map is still whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<NodeName, Place>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request of a node, which ends when this is dropped.
pub struct Entered {
    gate: Arc<Gate>,
    node: NodeName,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(place) = self.gate.lock().get_mut(&self.node) {
            place.requests = place.requests.saturating_sub(1);
        }
    }
}

/// Of one node at a time. A kubelet asks for its lease, its status and some pods beside each other.
pub const REQUESTS: usize = 8;

/// Of one node: a start with many pods, and then what a kubelet does in the worst minute.
const AT_ONCE: u32 = 200;
const PER_SECOND: u32 = 10;

/// On their way to the cluster at a time. Those that wait are bounded by the nodes' own bound.
const CALLS: usize = 256;

/// For one call, from the line to the last byte. Edges of KubeEdge wait 60 s, a lease ends after 40 s.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// For a page of a list.
pub const LIST_PATIENCE: Duration = Duration::from_secs(60);

/// Nodes that are remembered for their rate.
const MAX_NODES: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_so_many_requests_at_a_time_and_so_many_a_second() {
        let (gate, now) = (Gate::new(), Instant::now());
        let (a, b): (NodeName, NodeName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let held: Vec<Entered> = (0..REQUESTS)
            .map(|_| gate.enter(&a, now).unwrap())
            .collect();
        assert!(gate.enter(&a, now).is_none());
        assert!(gate.enter(&b, now).is_some(), "another is not concerned");
        drop(held);
        let passed = (0..1000).filter(|_| gate.enter(&a, now).is_some()).count();
        assert_eq!(passed, AT_ONCE as usize - REQUESTS);
        let later = now + Duration::from_secs(2);
        let passed = (0..1000)
            .filter(|_| gate.enter(&a, later).is_some())
            .count();
        assert_eq!(passed, 2 * PER_SECOND as usize);
    }
}
