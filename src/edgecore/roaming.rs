//! A device that changes networks: its tunnel starts from an address that it has no more, or that no
//! route leads from, and would be found dead only by the keepalive.
//!
//! The kernel tells of each change; then every session judges its own connection, and who waits between
//! two attempts tries at once. Without netlink the keepalive has to do, as before.

use std::cell::RefCell;
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use smol::channel::{Receiver, Sender, bounded};
use smol::net::TcpStream;

use super::edge::{Edge, pause};
use crate::system::changes::{Changes, Outlook, source_towards};

/// Who is to be told that this device stands differently in its networks.
#[derive(Default)]
pub struct Roaming(RefCell<Vec<Sender<()>>>);

impl Roaming {
    /// A channel that holds an item when something has changed since it was last read.
    pub fn listen(&self) -> Receiver<()> {
        let (sender, receiver) = bounded(1);
        let mut listeners = self.0.borrow_mut();
        // Sessions come and go for months in a network that never changes.
        listeners.retain(|it| !it.is_closed());
        listeners.push(sender);
        receiver
    }

    /// Returns when a connection that is not up yet has lost its footing, and gives its address.
    pub async fn leaves(&self, ends: Option<Ends>, edge: &Edge) -> IpAddr {
        let Some(ends) = ends else {
            return pending().await;
        };
        let changed = self.listen();
        loop {
            // The sender lives in `self`.
            let _ = changed.recv().await;
            if ends.footing(edge.settings.way.uplink.is_any()) != Footing::Firm {
                return ends.own;
            }
        }
    }

    fn tell(&self) {
        self.0.borrow_mut().retain(|it| !it.is_closed());
        for listener in self.0.borrow().iter() {
            // Full means that it will be read all the same.
            let _ = listener.try_send(());
        }
    }
}

/// Watches for as long as the edge lives.
pub async fn watch(edge: &Edge) {
    let changes = match Changes::listen() {
        Ok(changes) => changes,
        Err(error) => {
            log::debug!("changes of addresses are noticed by the keepalive alone: {error}");
            return pending().await;
        }
    };
    let mut known = Outlook::now();
    loop {
        if let Err(error) = changes.next().await {
            log::debug!("no news of addresses: {error}");
            pause(WITHOUT_NEWS).await;
        }
        let now = Outlook::now();
        if now != known {
            log::info!("the addresses or routes of this device have changed");
            known = now;
            edge.roaming.tell();
            // However often they change, attempts keep a distance.
            pause(DISTANCE).await;
        }
    }
}

/// Where a connection begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    own: IpAddr,
    peer: SocketAddr,
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Footing {
    Firm,
    /// A new one would start from elsewhere: worth asking whether the other side still hears.
    Doubtful,
    /// The address is none of this device any more.
    Gone(IpAddr),
}

impl Ends {
    pub fn of(stream: &TcpStream) -> Option<Ends> {
        Some(Ends {
            own: stream.local_addr().ok()?.ip(),
            peer: stream.peer_addr().ok()?,
        })
    }

    /// `free` when the routes alone say from where connections start.
    pub fn footing(&self, free: bool) -> Footing {
        if !Outlook::now().has(self.own) {
            Footing::Gone(self.own)
        } else if free && source_towards(self.peer) != Some(self.own) {
            Footing::Doubtful
        } else {
            Footing::Firm
        }
    }
}

/// Between two changes that are acted upon.
const DISTANCE: Duration = Duration::from_secs(2);
const WITHOUT_NEWS: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footing_is_judged_by_the_address_and_then_by_the_route() {
        let peer = "127.0.0.1:9".parse().unwrap();
        let at = |own: &str| Ends {
            own: own.parse().unwrap(),
            peer,
        };
        assert_eq!(at("127.0.0.1").footing(true), Footing::Firm);
        let gone = "192.0.2.77".parse().unwrap();
        assert_eq!(at("192.0.2.77").footing(false), Footing::Gone(gone));
        // Not listed, and no route to loopback starts there.
        assert_eq!(at("fe80::1").footing(true), Footing::Doubtful);
        assert_eq!(at("fe80::1").footing(false), Footing::Firm);
    }

    #[test]
    fn everybody_is_told_once_and_who_left_is_forgotten() {
        let roaming = Roaming::default();
        let (first, second) = (roaming.listen(), roaming.listen());
        roaming.tell();
        roaming.tell();
        for listener in [&first, &second] {
            assert!(listener.try_recv().is_ok() && listener.try_recv().is_err());
        }
        drop(second);
        roaming.tell();
        assert!(first.try_recv().is_ok());
        assert_eq!(roaming.0.borrow().len(), 1);
        drop(first);
        // Nothing has to change for that.
        (0..100).for_each(|_| drop(roaming.listen()));
        assert_eq!(roaming.0.borrow().len(), 1);
    }
}
