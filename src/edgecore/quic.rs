//! The tunnel over QUIC: whether it is tried, how, and when again after it did not come up.

use std::cell::RefCell;
use std::fmt::Display;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use smol::Timer;
use smol::channel::bounded;
use smol::future::{or, pending};

use super::edge::Edge;
use super::no_tunnel::NoTunnel;
use crate::config::edge::network::CloudAt;
use crate::protocol::terms::Terms;
use crate::system::names::Endpoint;
use crate::system::way::Peer;
use crate::tunnel::quic::{self, Spawn};
use crate::tunnel::{AnyCarrier, TunnelError};

/// What is remembered of the tries, for all clouds together: it is the network here that lets UDP
/// through or not.
#[derive(Default)]
pub struct Tries(RefCell<State>);

#[derive(Default)]
struct State {
    /// Not before this, after a failure.
    again: Option<Instant>,
    pause: Duration,
    why: Option<String>,
}

impl Tries {
    /// Where to try QUIC now, if at all.
    pub fn endpoint(&self, edge: &Edge, cloud: &CloudAt) -> Option<Endpoint> {
        let endpoint = edge.settings.quic_at(cloud)?;
        let mut state = self.0.borrow_mut();
        if !quic::OFFERED {
            state.why = Some("this edgecore was built without it".to_owned());
            return None;
        }
        if let Some(proxy) = edge.settings.way.proxy_for(&endpoint) {
            let proxy = &proxy.endpoint;
            state.why = Some(format!("it does not go through the HTTP proxy {proxy}"));
            return None;
        }
        match state.again {
            Some(again) if Instant::now() < again => None,
            _ => Some(endpoint),
        }
    }

    /// No tunnel came up over QUIC: the next try is later and later.
    pub fn failed(&self, endpoint: &Endpoint, error: &dyn Display) {
        let mut state = self.0.borrow_mut();
        state.pause = (state.pause * 2).clamp(PAUSE, LONGEST_PAUSE);
        // Not all devices of a site at the same moment.
        let pause = state.pause.mul_f64(0.75 + fastrand::f64() / 4.0);
        state.again = Some(Instant::now() + pause);
        let minutes = pause.as_secs().div_ceil(60);
        let why = format!("no tunnel over QUIC to {endpoint}: {error}");
        log::warn!("{why}; a WebSocket serves, and QUIC is tried again in {minutes} min");
        state.why = Some(why);
    }

    pub fn worked(&self) {
        self.0.replace(State::default());
    }

    /// The network may have changed: the next try is at once.
    pub fn forget(&self) {
        self.0.borrow_mut().again = None;
    }

    /// Why there is no tunnel over QUIC, as far as it is known.
    pub fn why(&self) -> Option<String> {
        self.0.borrow().why.clone()
    }

    /// Returns when it is time for another try.
    pub async fn due(&self) {
        let again = self.0.borrow().again;
        match again {
            Some(again) => {
                Timer::at(again).await;
            }
            None => pending().await,
        }
    }
}

/// From nothing to a connection with this identity, within a few seconds.
pub async fn dial(
    edge: &Rc<Edge>,
    cloud: &CloudAt,
    endpoint: &Endpoint,
    config: &ClientConfig,
) -> Result<(AnyCarrier, Peer), NoTunnel> {
    let addresses = edge.addresses(cloud, endpoint).await?;
    let mut last = None;
    for address in addresses.into_iter().take(ADDRESSES) {
        let answered = async { one(edge, address, endpoint, config).await };
        let late = async {
            Timer::after(PATIENCE).await;
            Err(TunnelError::TimedOut(SILENCE).into())
        };
        match or(answered, late).await {
            Ok(carrier) => return Ok((carrier, Peer::Direct(address))),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| TunnelError::TimedOut(SILENCE).into()))
}

async fn one(
    edge: &Rc<Edge>,
    address: SocketAddr,
    endpoint: &Endpoint,
    config: &ClientConfig,
) -> Result<AnyCarrier, NoTunnel> {
    let socket = edge.settings.way.uplink.datagrams(address)?;
    // Twice what may pass between two signs of life: the session notices silence earlier.
    let idle = Terms::offer(edge.settings.keepalive).keepalive * 2;
    let to = (address, &endpoint.host);
    Ok(quic::dial(socket, to, config, idle, spawner(edge)).await?)
}

/// Runs what belongs to a connection on this edge's executor, which is of one thread.
fn spawner(edge: &Edge) -> Spawn {
    let (sender, tasks) = bounded(TASKS);
    let executor = edge.executor.clone();
    let run = async move {
        while let Ok(task) = tasks.recv().await {
            executor.spawn(task).detach();
        }
    };
    edge.spawn(run);
    // There is room for all that a connection ever has.
    Arc::new(move |task| drop(sender.try_send(task)))
}

/// For one address to answer, and how many are tried.
const PATIENCE: Duration = Duration::from_secs(3);
const ADDRESSES: usize = 2;
const SILENCE: &str = "an answer (is UDP blocked on the way?)";

/// Before the next try: a try that is not answered costs 5 kB.
const PAUSE: Duration = Duration::from_secs(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// A socket's, a connection's, and its farewell.
const TASKS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_tried_later_and_later_and_forgotten_when_it_worked() {
        let tries = Tries::default();
        let endpoint: Endpoint = "cloud.example:10001".parse().unwrap();
        let mut least = PAUSE.mul_f64(0.7);
        for _ in 0..9 {
            tries.failed(&endpoint, &TunnelError::TimedOut(SILENCE));
            let wait = tries.0.borrow().again.unwrap() - Instant::now();
            assert!(wait >= least && wait <= LONGEST_PAUSE, "{wait:?}");
            least = (least * 2).min(LONGEST_PAUSE.mul_f64(0.7));
        }
        let why = tries.why().unwrap();
        let expected = "no tunnel over QUIC to cloud.example:10001: an answer (is UDP blocked on \
                        the way?) took too long";
        assert_eq!(why, expected);
        tries.forget();
        assert!(tries.0.borrow().again.is_none() && tries.why().is_some());
        tries.worked();
        assert_eq!(tries.why(), None);
    }
}
