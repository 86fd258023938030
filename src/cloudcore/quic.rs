//! The hub over QUIC: the same tunnels on UDP, from the first datagram to the session.
//!
//! The address of a first datagram may be anybody's. As long as few handshakes go on, that costs
//! little and honest edges a round trip less; above that, a caller must prove its address first, which
//! takes no memory. Nothing is held against an address that was not proved.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use log::debug;
use smol::channel::{Receiver, Sender, bounded};
use smol::future::{or, yield_now};
use smol::{Executor, Timer};

use super::cloud::Cloud;
use super::hub::{self, Proof};
use super::metrics::Port;
use super::places::{Cut, Place};
use crate::tunnel::TunnelError;
use crate::tunnel::quic::{Caller, Hub, Spawn};
use crate::tunnel::upgrade::Upgrade;

/// Ends the handshake of a connection whose place another one gets.
#[derive(Clone)]
pub struct Cutter(Sender<()>);

impl Cut for Cutter {
    fn cut(&self) {
        self.0.close();
    }
}

/// Runs what belongs to connections beside everything else, as long as that runs.
pub fn spawner(executor: &Arc<Executor<'static>>) -> Spawn {
    let executor = Arc::downgrade(executor);
    Arc::new(move |task| {
        if let Some(executor) = executor.upgrade() {
            executor.spawn(task).detach();
        }
    })
}

/// Accepts callers until cloudcore stops, and then waits until the sessions have said goodbye.
pub async fn serve(cloud: Arc<Cloud>, hub: Hub) {
    loop {
        let stopped = async {
            cloud.stop.wait().await;
            None
        };
        let Some(caller) = or(hub.next(), stopped).await else {
            break;
        };
        answer(&cloud, caller);
        // Those that were accepted go first.
        yield_now().await;
    }
    if !cloud.stop.is_asked() {
        log::error!("the UDP socket has failed: there are no more tunnels over QUIC");
        return;
    }
    or(hub.finish(), async {
        Timer::after(FAREWELL).await;
    })
    .await;
}

fn answer(cloud: &Arc<Cloud>, caller: Caller) {
    let places = &cloud.quic_places;
    if !caller.is_validated() && places.taken() >= TRUSTING {
        cloud.metrics.validations.add();
        return caller.validate();
    }
    let peer = caller.address();
    let (sender, cut) = bounded(1);
    match cloud.place_among(places, Port::Quic, peer.ip(), &Cutter(sender)) {
        Ok(place) => cloud.spawn(connection(cloud.clone(), caller, peer, place, cut)),
        Err(_) => caller.refuse(),
    }
}

async fn connection(
    cloud: Arc<Cloud>,
    caller: Caller,
    peer: SocketAddr,
    place: Place<Cutter>,
    cut: Receiver<()>,
) {
    let proved = AtomicBool::new(caller.is_validated());
    let proof = Proof::Handshake(Instant::now());
    let opened = async {
        let carrier = caller.accept().await?;
        proved.store(true, Ordering::Relaxed);
        let upgrade = Upgrade::read(carrier, Vec::new()).await?;
        hub::open(&cloud, upgrade, peer, proof).await
    };
    let cut = async {
        // Nothing is ever sent.
        let _ = cut.recv().await;
        Err(TunnelError::Lost(std::io::ErrorKind::ConnectionAborted.into()).into())
    };
    match or(hub::in_time(opened), cut).await {
        Err(none) if !proved.load(Ordering::Relaxed) => {
            cloud.metrics.refused_tunnel(&none.error, None);
            debug!("no tunnel over QUIC from {peer}: {}", none.error);
        }
        opened => hub::begin(cloud, opened, peer, place),
    }
}

/// Handshakes at a time for which an address need not be proved.
const TRUSTING: usize = 32;

/// For the sessions' farewells to be acknowledged.
const FAREWELL: Duration = Duration::from_secs(4);
