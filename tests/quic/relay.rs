//! A network device between edge and hub that passes datagrams on, and can change where they come from.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Its threads end with it.
pub struct Relay {
    shared: Arc<Shared>,
    hub: SocketAddr,
    pub port: u16,
}

struct Shared {
    front: UdpSocket,
    back: Mutex<UdpSocket>,
    edge: Mutex<Option<SocketAddr>>,
    cut: AtomicBool,
    over: AtomicBool,
}

impl Relay {
    /// To the hub at this port.
    pub fn to(port: u16) -> Relay {
        let hub = SocketAddr::from(([127, 0, 0, 1], port));
        let front = bound("127.0.0.1");
        let port = front.local_addr().expect("an address").port();
        let back = bound("127.0.0.1");
        let shared = Arc::new(Shared {
            front,
            back: Mutex::new(back.try_clone().expect("a socket")),
            edge: Mutex::default(),
            cut: AtomicBool::new(false),
            over: AtomicBool::new(false),
        });
        let relay = Relay { shared, hub, port };
        let shared = relay.shared.clone();
        thread::spawn(move || shared.up(hub));
        relay.bring_down(back);
        relay
    }

    /// From now on the hub sees the edge at another address and port; what is sent to the former is lost.
    pub fn move_to(&self, address: &str) -> SocketAddr {
        let back = bound(address);
        let at = back.local_addr().expect("an address");
        *self.shared.back.lock().unwrap() = back.try_clone().expect("a socket");
        self.bring_down(back);
        at
    }

    /// Passes nothing on any more.
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::Relaxed);
    }

    pub fn mend(&self) {
        self.shared.cut.store(false, Ordering::Relaxed);
    }

    /// Where the edge was last heard of.
    pub fn edge(&self) -> SocketAddr {
        let edge = *self.shared.edge.lock().unwrap();
        edge.expect("it was heard of")
    }

    fn bring_down(&self, back: UdpSocket) {
        let (shared, hub) = (self.shared.clone(), self.hub);
        thread::spawn(move || shared.down(&back, hub));
    }
}

impl Shared {
    fn up(&self, hub: SocketAddr) {
        let mut datagram = [0; 2048];
        while !self.over.load(Ordering::Relaxed) {
            let Ok((length, from)) = self.front.recv_from(&mut datagram) else {
                continue;
            };
            *self.edge.lock().unwrap() = Some(from);
            if !self.cut.load(Ordering::Relaxed) {
                let _ = self.back.lock().unwrap().send_to(&datagram[..length], hub);
            }
        }
    }

    /// Until another socket has taken the place of this one.
    fn down(&self, back: &UdpSocket, hub: SocketAddr) {
        let own = back.local_addr().ok();
        let is_current = || self.back.lock().unwrap().local_addr().ok() == own;
        let mut datagram = [0; 2048];
        while !self.over.load(Ordering::Relaxed) && is_current() {
            let Ok((length, from)) = back.recv_from(&mut datagram) else {
                continue;
            };
            let edge = *self.edge.lock().unwrap();
            if let (Some(edge), true, true) = (edge, from == hub, is_current())
                && !self.cut.load(Ordering::Relaxed)
            {
                let _ = self.front.send_to(&datagram[..length], edge);
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

fn bound(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).expect("a socket");
    // Now and then its thread looks whether it is still needed.
    let set = socket.set_read_timeout(Some(Duration::from_millis(100)));
    set.expect("a patience can be set");
    socket
}
