//! The hub: accepts tunnels from edges, and judges who may have one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_rustls::TlsAcceptor;
use log::{debug, info, warn};
use smol::Timer;
use smol::future::or;
use smol::net::TcpStream;

use super::cloud::Cloud;
use super::listener::Listener;
use super::outbox::Outbox;
use super::places::Place;
use super::registry::{Promise, Refused, Registered, SessionFacts};
use super::session;
use crate::authority::LegacyCertificates;
use crate::pki::certificate::Certificate;
use crate::system::names::NodeName;
use crate::system::network;
use crate::tunnel::upgrade::Upgrade;
use crate::tunnel::{Secured, Tunnel, TunnelError};

/// Accepts connections until cloudcore stops.
pub async fn serve(cloud: Arc<Cloud>, listener: Listener, acceptor: TlsAcceptor) {
    loop {
        let accepted = or(async { Some(listener.accept().await) }, async {
            cloud.stop.wait().await;
            None
        });
        let Some((stream, peer)) = accepted.await else {
            return;
        };
        // Whoever finds no place is closed at once, and comes again later.
        let place = match cloud.hub_places.take(peer.ip()) {
            Ok(place) => place,
            Err(why) => {
                cloud.metrics.refused_connection("hub", why);
                continue;
            }
        };
        cloud.spawn(connection(
            cloud.clone(),
            acceptor.clone(),
            stream,
            peer,
            place,
        ));
    }
}

/// From the first byte to the session, which goes on in a task of its own: thousands of them rest,
/// and what opening a tunnel takes must not stay with them.
async fn connection(
    cloud: Arc<Cloud>,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
) {
    network::tune(&stream);
    let opened = or(open(&cloud, &acceptor, stream, peer), async {
        Timer::after(OPENING_DEADLINE).await;
        Err(TunnelError::TimedOut("opening the tunnel"))
    });
    let opened = opened.await;
    drop(place);
    match opened {
        Ok(Opened {
            tunnel,
            registered,
            outbox,
        }) => {
            let (shared, generation) = (cloud.clone(), registered.generation);
            info!(
                "session {generation} of node {} from {peer} begins",
                registered.node
            );
            cloud.spawn(session::run(shared, tunnel, registered, outbox));
        }
        Err(error) => {
            cloud.metrics.refused_tunnel(&error);
            match error {
                TunnelError::Refused { status, said } => {
                    warn!("a tunnel from {} is refused ({status}): {said}", peer.ip());
                }
                other => debug!("no tunnel from {}: {other}", peer.ip()),
            }
        }
    }
}

struct Opened {
    tunnel: Tunnel,
    registered: Registered,
    outbox: Outbox,
}

async fn open(
    cloud: &Arc<Cloud>,
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
) -> Result<Opened, TunnelError> {
    let secured = acceptor.accept(stream).await;
    let secured = secured.map_err(|error| TunnelError::Tls(error.to_string()))?;
    let upgrade = Upgrade::read(Secured::from(secured)).await?;
    let (promise, serial) = match admit(cloud, &upgrade) {
        Ok(admitted) => admitted,
        Err((status, text)) => return Err(upgrade.refuse(status, &text).await),
    };
    let tunnel = upgrade
        .accept(cloud.settings.max_message, &cloud.budget)
        .await?;
    let outbox = Outbox::default();
    let facts = SessionFacts {
        since: cloud.clock.now(),
        peer,
        serial,
    };
    // Only now, with the new tunnel up, an older session of the node ends.
    let registered = promise.begin(facts, outbox.clone());
    Ok(Opened {
        tunnel,
        registered,
        outbox,
    })
}

/// Whether this tunnel may be: the certificate, which the handshake has verified, decides who it
/// is, and everything else must agree with it.
fn admit(cloud: &Cloud, upgrade: &Upgrade) -> Result<(Promise, String), (u16, String)> {
    let refuse = |status, text: &str| Err((status, text.to_owned()));
    let certificate = upgrade.peer_certificate().map(Certificate::from_der);
    let Some(Ok(certificate)) = certificate else {
        return refuse(403, "the client certificate can't be read");
    };
    let serial = certificate.serial();
    let claimed = upgrade.head.node_id.as_deref().map(str::parse::<NodeName>);
    let Some(Ok(claimed)) = claimed else {
        return refuse(403, "the Node_id header is missing or no node name");
    };
    let subject = certificate.subject();
    let known = match subject.node_name() {
        Some(name) => name == claimed,
        None => {
            subject.is_legacy_edge()
                && cloud.authority.legacy() == LegacyCertificates::Full
                && cloud.legacy.bind(&serial, &claimed)
        }
    };
    if !known {
        return refuse(
            403,
            "the client certificate is not that of the node in Node_id",
        );
    }
    if node_in_path(&upgrade.head.path).is_some_and(|name| name != claimed.as_str()) {
        return refuse(
            403,
            "the path names another node than the client certificate",
        );
    }
    if upgrade.head.connection_use.as_deref() != Some("msg") {
        return refuse(
            400,
            "the Connectionuse header is not msg, and only that is served",
        );
    }
    match cloud.registry.promise(&claimed) {
        Ok(promise) => Ok((promise, serial)),
        Err(Refused::Full { limit }) => Err((
            503,
            format!("{limit} nodes are connected, which is the limit: raise nodeLimit"),
        )),
        Err(Refused::Stopping) => refuse(503, "the cloud stops: come again later"),
    }
}

/// Of a path of the form `/<project>/<node>/events`; other paths name no node.
fn node_in_path(path: &str) -> Option<&str> {
    let path = path.split('?').next()?;
    match path.trim_matches('/').split('/').collect::<Vec<_>>()[..] {
        [_project, node, "events"] => Some(node),
        _ => None,
    }
}

/// For TCP, TLS and the upgrade together.
const OPENING_DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_upstreams_path_names_a_node() {
        assert_eq!(
            node_in_path("/e632aba927ea4ac2b575ec1603d56f10/edge-1/events"),
            Some("edge-1")
        );
        assert_eq!(node_in_path("/p/edge-1/events/?x=1"), Some("edge-1"));
        for other in [
            "/",
            "",
            "/events",
            "/a/events",
            "/a/b/c/events",
            "/p/n/other",
        ] {
            assert_eq!(node_in_path(other), None, "{other}");
        }
    }
}
