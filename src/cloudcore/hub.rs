//! The hub: accepts tunnels from edges, and judges who may have one.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_rustls::TlsAcceptor;
use log::{debug, info, warn};
use smol::Timer;
use smol::future::{or, yield_now};
use smol::net::TcpStream;

use super::cloud::Cloud;
use super::listener::Listener;
use super::metrics::Port;
use super::outbox::{Ending, Outbox};
use super::places::{Cut, Place};
use super::registry::{Promise, Refused, Registered, SessionFacts};
use super::strikes::{Limit, RETRY_AFTER, Strike};
use super::{rotation, session};
use crate::authority::{self, Credential, LegacyCertificates};
use crate::pki::certificate::Certificate;
use crate::pki::hash::Sha256Hash;
use crate::pki::tls;
use crate::protocol::terms::Terms;
use crate::protocol::transport::Transport;
use crate::system::names::NodeName;
use crate::system::network;
use crate::tunnel::upgrade::Upgrade;
use crate::tunnel::{self, AnyCarrier, Line, Secured, Tunnel, TunnelError};

/// Accepts connections until cloudcore stops.
pub async fn serve(cloud: Arc<Cloud>, listener: Listener, acceptor: TlsAcceptor) {
    while let Some((stream, peer)) = listener.accept_until(&cloud.stop).await {
        let (shared, acceptor) = (cloud.clone(), acceptor.clone());
        match cloud.place(Port::Tunnels, peer.ip(), &stream) {
            Ok(place) => cloud.spawn(connection(shared, acceptor, stream, peer, place)),
            Err(Some(permission)) => cloud.spawn(async move {
                turn_away(&acceptor, stream).await;
                drop(permission);
            }),
            Err(None) => {}
        }
        // Those that were accepted go first: who comes waits in the kernel, and is not cut here.
        yield_now().await;
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
    let proof = Proof::Handshake(Instant::now());
    let opened = async {
        let secured = tunnel::accept(&acceptor, stream).await;
        let secured = secured.map_err(unsecured)?;
        let upgrade = Upgrade::read(carrier(secured), Vec::new()).await?;
        open(&cloud, upgrade, peer, proof).await
    };
    let opened = in_time(opened).await;
    begin(cloud, opened, peer, place);
}

/// The same for a connection of a port that serves others too: of the request `read` was read already.
pub async fn enter(
    cloud: Arc<Cloud>,
    secured: Secured,
    read: Vec<u8>,
    peer: SocketAddr,
    place: Place,
) {
    let opened = async {
        let upgrade = Upgrade::read(carrier(secured), read).await?;
        open(&cloud, upgrade, peer, Proof::OfKeyOnly).await
    };
    let opened = in_time(opened).await;
    begin(cloud, opened, peer, place);
}

/// Why a handshake came to nothing. Who shows no certificate has seen ours, which is what every `join` and
/// `debug check` comes for before the device has one.
fn unsecured(error: io::Error) -> NoTunnel {
    let looked = tls::tls_error(&error).is_some_and(tls::is_without_certificate);
    let error = match error.kind() {
        io::ErrorKind::InvalidData => TunnelError::Tls(error.to_string()),
        _ => TunnelError::Lost(error),
    };
    NoTunnel {
        reason: looked.then_some(LOOKED),
        ..NoTunnel::from(error)
    }
}

fn carrier(secured: Secured) -> AnyCarrier {
    Box::new(secured)
}

/// What the handshake has proved of the client's certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// All: it is by our CA, valid now, for clients, and the client has its key. With the moment
    /// before it began, since the CAs may change while it goes on.
    Handshake(Instant),
    /// Only that the client has its key, if it has shown one at all.
    OfKeyOnly,
}

/// What comes of opening a tunnel, at the latest when there has been time enough.
pub(super) async fn in_time(
    opened: impl Future<Output = Result<Opened, NoTunnel>>,
) -> Result<Opened, NoTunnel> {
    or(opened, async {
        Timer::after(OPENING_DEADLINE).await;
        Err(TunnelError::TimedOut("opening the tunnel").into())
    })
    .await
}

/// The session, or what is to be done about it that there is none.
pub(super) fn begin<S: Cut + Send + 'static>(
    cloud: Arc<Cloud>,
    opened: Result<Opened, NoTunnel>,
    peer: SocketAddr,
    place: Place<S>,
) {
    match opened {
        Ok(Opened {
            tunnel,
            registered,
            outbox,
            certificate,
            credential,
            trusted,
            terms,
            roaming,
        }) => {
            let descriptor = place.into_descriptor();
            let (shared, generation) = (cloud.clone(), registered.generation);
            info!(
                "session {generation} of node {} from {peer} begins{}",
                registered.node,
                if roaming.is_some() { ", over QUIC" } else { "" }
            );
            cloud.nodes.begun(&cloud, &registered, &outbox, terms);
            cloud.spawn(settle(
                cloud.clone(),
                (certificate, credential, trusted),
                registered.node.clone(),
                outbox.clone(),
            ));
            cloud.spawn(async move {
                session::run(shared, tunnel, registered, outbox, terms, roaming).await;
                drop(descriptor);
            });
        }
        Err(none) => no_tunnel(&cloud, peer.ip(), none),
    }
}

/// Why there is no tunnel, and what was done about that already.
pub(super) struct NoTunnel {
    pub(super) error: TunnelError,
    strike: Option<Strike>,
    /// A label for counters where the error alone does not tell.
    reason: Option<&'static str>,
}

impl From<TunnelError> for NoTunnel {
    fn from(error: TunnelError) -> NoTunnel {
        NoTunnel {
            error,
            strike: None,
            reason: None,
        }
    }
}

fn no_tunnel(cloud: &Cloud, address: IpAddr, none: NoTunnel) {
    let NoTunnel {
        error,
        strike,
        reason,
    } = none;
    cloud.metrics.refused_tunnel(&error, reason);
    // Who looks at the port or its certificate has done nothing wrong, nor who comes when all is full.
    let logged = match error {
        _ if reason == Some(LOOKED) => false,
        TunnelError::Lost(_) => false,
        TunnelError::Refused { status: 503, .. } if strike.is_none() => true,
        _ => strike.unwrap_or_else(|| cloud.strike(address)).logged,
    };
    match error {
        TunnelError::Refused { status, said, .. } if logged => {
            warn!("a tunnel from {address} is refused ({status}): {said}");
        }
        other if logged => warn!("no tunnel from {address}: {other}"),
        other => debug!("no tunnel from {address}: {other}"),
    }
}

/// Tells an edge for which there is no place when to come again.
async fn turn_away(acceptor: &TlsAcceptor, stream: TcpStream) {
    let told = async {
        let Ok(secured) = tunnel::accept(acceptor, stream).await else {
            return;
        };
        if let Ok(upgrade) = Upgrade::read(carrier(secured), Vec::new()).await {
            let said = "too many connections at the moment: come again in some seconds";
            upgrade.refuse(503, said, Some(RETRY_WHEN_FULL)).await;
        }
    };
    or(told, async {
        Timer::after(TURNING_AWAY).await;
    })
    .await;
}

/// What was learned by the tunnel is written down, beside the session: a disk that is slow must not
/// keep a device waiting. What was refused meanwhile ends the session.
pub(super) async fn settle(
    cloud: Arc<Cloud>,
    (certificate, credential, trusted): (Certificate, Credential, Option<Vec<Sha256Hash>>),
    node: NodeName,
    outbox: Outbox,
) {
    if !cloud.authority.trusts(&credential) {
        return outbox.end(Ending::CaRetired);
    }
    if certificate.subject().is_legacy_edge() {
        return;
    }
    let trusted = trusted.as_deref();
    match cloud.authority.settle(&certificate, &node, trusted).await {
        Ok(()) => {}
        Err(authority::Refusal::Revoked(_)) => outbox.end(Ending::Revoked),
        Err(authority::Refusal::Superseded) => outbox.end(Ending::KeyReplaced),
        Err(error) => warn!("which key node {node} uses is not written down: {error}"),
    }
}

pub(super) struct Opened {
    tunnel: Tunnel,
    registered: Registered,
    outbox: Outbox,
    certificate: Certificate,
    credential: Credential,
    trusted: Option<Vec<Sha256Hash>>,
    terms: Option<Terms>,
    /// The connection, if the edge may change its address.
    roaming: Option<Arc<dyn Line>>,
}

/// Judges who asks, and begins a session or answers with the refusal.
pub(super) async fn open(
    cloud: &Arc<Cloud>,
    upgrade: Upgrade,
    peer: SocketAddr,
    proof: Proof,
) -> Result<Opened, NoTunnel> {
    let (promise, certificate, credential) = match admit(cloud, &upgrade, proof).await {
        Ok(admitted) => admitted,
        Err(refusal) => return Err(refuse(cloud, peer.ip(), upgrade, refusal).await),
    };
    let trusted = upgrade.head.trusted.clone();
    let terms = upgrade.head.terms.map(Terms::granted);
    let line: Arc<dyn Line> = upgrade.line().into();
    if let Some(terms) = terms {
        line.give_up_after(terms.patience());
    }
    let transport = line.transport();
    let roaming = (transport == Transport::Quic).then_some(line);
    let tunnel = upgrade
        .accept(
            cloud.clock.now(),
            cloud.settings.max_message,
            &cloud.budget,
            &rotation::cas(cloud),
            terms,
        )
        .await?;
    let outbox = Outbox::within(cloud.outboxes.clone());
    let facts = SessionFacts {
        since: cloud.clock.now(),
        peer,
        serial: certificate.serial(),
        follows: trusted.is_some(),
        terms,
        transport,
        roaming: roaming.clone(),
    };
    // Only now, with the new tunnel up, an older session of the node ends.
    let registered = promise.begin(facts, credential.clone(), outbox.clone());
    Ok(Opened {
        tunnel,
        registered,
        outbox,
        certificate,
        credential,
        trusted,
        terms,
        roaming,
    })
}

/// Answers with the refusal, or with 429 or 503 when too many fail.
async fn refuse(cloud: &Cloud, address: IpAddr, upgrade: Upgrade, refusal: Refusal) -> NoTunnel {
    let strike = (refusal.status < 500).then(|| cloud.strike(address));
    let limit = strike.and_then(|strike| strike.limit);
    if let Some(limit) = limit {
        cloud.metrics.limited(limit);
    }
    let too_many = "too many requests failed: come again later";
    let (status, said, retry_after) = match limit {
        None => (refusal.status, &refusal.said[..], refusal.retry_after),
        Some(Limit::Source) => (429, too_many, Some(RETRY_AFTER)),
        Some(Limit::All) => (503, too_many, Some(RETRY_AFTER)),
    };
    NoTunnel {
        error: upgrade.refuse(status, said, retry_after).await,
        strike,
        reason: refusal.reason.filter(|_| limit.is_none()),
    }
}

/// Why a tunnel may not be.
struct Refusal {
    status: u16,
    said: String,
    retry_after: Option<u16>,
    reason: Option<&'static str>,
}

/// Whether this tunnel may be: the certificate decides who it is, and everything else must agree
/// with it.
async fn admit(
    cloud: &Cloud,
    upgrade: &Upgrade,
    proof: Proof,
) -> Result<(Promise, Certificate, Credential), Refusal> {
    let refuse = |status, text: &str| {
        Err(Refusal {
            status,
            said: text.to_owned(),
            retry_after: None,
            reason: None,
        })
    };
    let certificate = upgrade.peer_certificate();
    let certificate = certificate.map(|der| Certificate::from_der(&der));
    let certificate = match certificate {
        None => return refuse(401, "a tunnel needs the client certificate of its node"),
        Some(Err(_)) => return refuse(403, "the client certificate can't be read"),
        Some(Ok(certificate)) => certificate,
    };
    let (authority, begun) = (&cloud.authority, Instant::now());
    let chain = match proof {
        Proof::Handshake(begun) => authority.credential(&certificate, begun),
        Proof::OfKeyOnly => authority
            .check_chain(&certificate, cloud.clock.now())
            .and_then(|()| authority.credential(&certificate, begun)),
    };
    let credential = match chain {
        Ok(credential) => credential,
        Err(refusal) => return refuse(401, &refusal.to_string()),
    };
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
                && cloud.legacy.bind(&certificate.serial(), &claimed)
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
    let counts = match subject.node_name() {
        Some(_) => {
            let hold = cloud.authority.hold(&certificate, &claimed).await;
            hold.map(drop)
        }
        None => cloud.authority.hold_without_name(&claimed).await,
    };
    if let Err(refusal) = counts {
        return Err(Refusal {
            status: refusal.status(),
            said: format!("node {claimed}: {refusal}"),
            retry_after: None,
            reason: Some(refusal.reason()),
        });
    }
    match cloud.registry.promise(&claimed) {
        Ok(promise) => Ok((promise, certificate, credential)),
        Err(Refused::Full { limit }) => Err(Refusal {
            status: 503,
            said: format!("{limit} nodes are connected, which is the limit: raise nodeLimit"),
            retry_after: Some(RETRY_AFTER),
            reason: None,
        }),
        // Another cloudcore may be there in a moment, and edges know how long to wait.
        Err(Refused::Stopping) => refuse(503, "the cloud stops: come again later"),
    }
}

/// Of a path of the form `/<project>/<node>/events`; other paths name no node.
pub fn node_in_path(path: &str) -> Option<&str> {
    let path = path.split('?').next()?;
    match path.trim_matches('/').split('/').collect::<Vec<_>>()[..] {
        [_project, node, "events"] => Some(node),
        _ => None,
    }
}

/// The label of connections that have seen the hub's certificate, and wanted no more.
const LOOKED: &str = "looked";

/// For TCP, TLS and the upgrade together.
const OPENING_DEADLINE: Duration = Duration::from_secs(10);

/// For saying that there is no place.
const TURNING_AWAY: Duration = Duration::from_secs(3);
/// Seconds after which there may be one.
const RETRY_WHEN_FULL: u16 = 5;

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
