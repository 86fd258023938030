//! A connection to a hub on its way to a session: what it is, and how long each step may take.

use smol::Timer;
use smol::future::or;

use super::edge::Edge;
use super::identity::Identity;
use super::no_tunnel::NoTunnel;
use super::roaming::Ends;
use crate::system::names::Endpoint;
use crate::system::way::Peer;
use crate::tunnel::{AnyCarrier, TunnelError};

/// A connection whose handshake is done.
pub struct Secured {
    pub identity: Identity,
    pub carrier: AnyCarrier,
    pub peer: Peer,
    /// Of a connection that can't change its address.
    pub ends: Option<Ends>,
    pub endpoint: Endpoint,
}

/// A step of opening a tunnel, at the latest until its time is over or this device has moved.
pub async fn deadline<T>(
    edge: &Edge,
    ends: Option<Ends>,
    step: &'static str,
    work: impl Future<Output = Result<T, TunnelError>>,
) -> Result<T, NoTunnel> {
    let late = async {
        Timer::after(edge.settings.handshake_deadline).await;
        Err(TunnelError::TimedOut(step))
    };
    let moved = async { Err(TunnelError::Moved(edge.roaming.leaves(ends, edge).await)) };
    Ok(or(work, or(late, moved)).await?)
}
