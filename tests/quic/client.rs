//! The edge's side of a tunnel over QUIC, without an edge: for what an edge would not do.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use kubeedge::pki::certificate::Certificate;
use kubeedge::pki::key::PrivateKey;
use kubeedge::pki::tls;
use kubeedge::protocol::terms::Terms;
use kubeedge::system::clock::Clock;
use kubeedge::system::names::Host;
use kubeedge::tunnel::websocket::{TunnelRequest, upgrade};
use kubeedge::tunnel::{Connected, TunnelError, quic};
use rustls::ClientConfig;
use smol::{Executor, Timer};

use crate::common::device::{CA, CERTIFICATE, KEY};
use crate::common::site::Site;

/// What a device has of its own.
pub struct Files {
    ca: Certificate,
    own: Option<(Certificate, PrivateKey)>,
}

impl Files {
    pub fn of(site: &Site) -> Files {
        let certificate = |path| Certificate::from_pem(site.read(path).as_bytes()).expect("PEM");
        let key = PrivateKey::from_pem(site.read(KEY).as_bytes()).expect("PEM");
        Files {
            ca: certificate(CA),
            own: Some((certificate(CERTIFICATE), key)),
        }
    }

    /// The same, without what would show who it is.
    pub fn without_identity(self) -> Files {
        Files { own: None, ..self }
    }

    fn config(&self) -> Arc<ClientConfig> {
        let own = self
            .own
            .as_ref()
            .map(|(certificate, key)| (certificate, key));
        let ca = std::slice::from_ref(&self.ca);
        tls::client(ca, own, &Clock::system()).expect("a configuration")
    }

    /// Asks for a tunnel of this node, and gives it up at once.
    pub fn tunnel(&self, port: u16, node: &str) -> Result<(), TunnelError> {
        let executor = Arc::new(Executor::new());
        smol::block_on(executor.run(async {
            let carrier = self.dial(&executor, port).await?;
            let request = TunnelRequest {
                endpoint: format!("127.0.0.1:{port}").parse().expect("an endpoint"),
                project: "e632aba927ea4ac2b575ec1603d56f10".to_owned(),
                node: node.parse().expect("a name"),
                trusted: vec![self.ca.hash()],
                terms: Terms::offer(Duration::from_secs(30)),
            };
            let Connected { tunnel, .. } = upgrade(carrier, &request).await?;
            drop(tunnel);
            Ok(())
        }))
    }

    /// What the first datagram of so many edges has in it.
    pub fn first_datagrams(&self, count: usize) -> Vec<Vec<u8>> {
        let listener = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        let executor = Arc::new(Executor::new());
        smol::block_on(executor.run(async {
            let mut datagrams = Vec::new();
            for _ in 0..count {
                let received = async {
                    let listener = listener.try_clone().expect("a socket");
                    let mut datagram = vec![0; 2048];
                    let length = smol::unblock(move || {
                        let length = listener.recv(&mut datagram).expect("a datagram");
                        datagram.truncate(length);
                        datagram
                    });
                    length.await
                };
                let dialled = async {
                    let _ = self.dial(&executor, port).await;
                    unreachable!("nobody answers")
                };
                datagrams.push(smol::future::or(received, dialled).await);
            }
            datagrams
        }))
    }

    async fn dial(
        &self,
        executor: &Arc<Executor<'static>>,
        port: u16,
    ) -> Result<kubeedge::tunnel::AnyCarrier, TunnelError> {
        let shared = executor.clone();
        let spawn: quic::Spawn = Arc::new(move |task| shared.spawn(task).detach());
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let host = Host::Ip([127, 0, 0, 1].into());
        let to = (([127, 0, 0, 1], port).into(), &host);
        let idle = Duration::from_secs(60);
        let config = self.config();
        let dialled = quic::dial(socket, to, &config, idle, spawn);
        smol::future::or(dialled, async {
            Timer::after(Duration::from_secs(30)).await;
            Err(TunnelError::TimedOut("the test"))
        })
        .await
    }
}
