//! Keeps a tunnel to the hub: connects, reconnects, and moves over to a renewed identity.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use smol::Timer;
use smol::channel::Receiver;
use smol::future::{or, pending};

use super::backoff::Backoff;
use super::edge::{Edge, pause};
use super::follow::{self, Met};
use super::identity::{Identity, IdentityError};
use super::life::{tidy, token_comes, token_of_use};
use super::no_tunnel::NoTunnel;
use super::quic::{self, Tries};
use super::rhythm::{Leads, Rhythm};
use super::roaming::Ends;
use super::secured::{Secured, deadline};
use super::session::Session;
use super::timekeeping;
use crate::config::edge::network::CloudAt;
use crate::pki::certificate::Certificate;
use crate::pki::hash::Sha256Hash;
use crate::pki::tls::{self, Presented};
use crate::protocol::control::EdgeState;
use crate::protocol::enrollment::take_word;
use crate::protocol::terms::Terms;
use crate::protocol::token::JoinToken;
use crate::protocol::transport::Transport;
use crate::system::names::Endpoint;
use crate::system::way::{Peer, Reached};
use crate::tunnel::websocket::{TunnelRequest, secure, upgrade};
use crate::tunnel::{Connected, TunnelError};

/// Runs until the identity is of no more use and a token waits that may give a new one.
pub async fn run(edge: &Rc<Edge>) -> JoinToken {
    let mut keeper = Keeper {
        edge,
        backoff: Backoff::tunnel(),
        denied: Backoff::new(DENIED_FIRST, DENIED_CAP),
        refused: None,
        hasty: false,
        quic: Tries::default(),
        presented: Presented::default(),
        moved: edge.roaming.listen(),
    };
    let mut session = None;
    loop {
        session = match session {
            None => match keeper.connect().await {
                Ok(session) => Some(session),
                Err(token) => return token,
            },
            Some(session) => keeper.keep(session).await,
        };
    }
}

/// The connecting side of one edge: how long to wait before the next session.
struct Keeper<'a> {
    edge: &'a Rc<Edge>,
    backoff: Backoff,
    /// The same, while the hub refuses this very identity.
    denied: Backoff,
    /// When one of several hubs refused it first, since the last session.
    refused: Option<Instant>,
    /// The session replaced another one at a hub that may kill both: then reconnect at once.
    hasty: bool,
    /// What became of the tries to have the tunnel over QUIC.
    quic: Tries,
    /// The certificate that the hub showed last.
    presented: Presented,
    /// This device stands differently in its networks: then an attempt is worth making at once.
    moved: Receiver<()>,
}

impl Keeper<'_> {
    /// Tries until a session is up. A refused or expired identity is traded for a token, if any.
    async fn connect(&mut self) -> Result<Session, JoinToken> {
        loop {
            self.edge.renewed.clear();
            let (denied, useless, foreign);
            let mut opened = self.open().await;
            if let Err(error) = &opened
                && self.set_right(error).await
            {
                opened = self.open().await;
            }
            let wanted = match opened {
                Ok(session) => {
                    self.denied.reset();
                    self.refused = None;
                    // What was before this session says nothing about its end.
                    let _ = self.moved.try_recv();
                    return Ok(session);
                }
                Err(error) => {
                    let expired = self.expired();
                    let met = match error.is_foreign() {
                        true => follow::met(self.edge).await,
                        false => Met::Nobody,
                    };
                    denied = error.is_denial_by_now(&mut self.refused, Instant::now());
                    useless = expired || denied;
                    foreign = matches!(met, Met::Other(_));
                    if let Some(token) = token_of_use(self.edge, useless).await {
                        return Err(token);
                    }
                    if useless {
                        self.edge.state.enter(EdgeState::NeedsToken);
                    } else {
                        self.edge.state.enter(EdgeState::Connecting);
                    }
                    let mut sentence = match met {
                        Met::Other(met) => self.changed(met),
                        Met::Portal(portal) => TunnelError::Portal(portal).to_string(),
                        Met::Own => self.terminated(),
                        Met::Nobody => error.sentence(expired),
                    };
                    if let Some(why) = self.quic.why() {
                        sentence += &format!("; {why}");
                    }
                    if !expired && !foreign && self.seems_expired() {
                        let now = self.edge.host.clock.now();
                        sentence += &format!(
                            "; by the clock here, {now}, the certificate has ended, but the cloud could \
                             not be asked"
                        );
                    }
                    self.edge.state.no_tunnel(&sentence, !(useless || foreign));
                    error.retry_after()
                }
            };
            let length = match denied {
                true => self.denied.next_asked(wanted),
                false => self.backoff.next_asked(wanted),
            };
            let token = async {
                match useless || foreign {
                    true => token_comes(self.edge, useless).await,
                    false => std::future::pending().await,
                }
            };
            let waited = or(self.wait(length), token);
            or(waited, self.edge.renewed.wait()).await;
        }
    }

    /// Until it is time for another try, or somebody asks for one.
    async fn wait(&self, length: Duration) {
        let asked = async {
            self.edge.hurry.wait().await;
            // Whoever asks may have put the cloud in order.
            self.edge.set_nothing_aside();
            self.quic.forget();
        };
        let moved = async {
            // The sender lives in `edge`, so this does not end by itself.
            let _ = self.moved.recv().await;
        };
        or(pause(length), or(asked, moved)).await;
    }

    /// What a person should know who set up the cloud anew, or whose DNS leads astray.
    fn changed(&self, met: Sha256Hash) -> String {
        let identity = self.edge.identity.borrow();
        let pinned = identity.as_ref().map(|it| it.ca_hash().to_string());
        let pinned = pinned.unwrap_or_default();
        format!(
            "the cloud at {} has the CA {met} now, but this device belongs to the CA {pinned}: if \
             the cloud was set up anew, put its old CA back, or join with a token of the new cloud; \
             else see what answers there",
            self.edge.clouds.current().hub
        )
    }

    /// The cloud is the one that it was, and another certificate was shown than the cloud's.
    fn terminated(&self) -> String {
        let dialled = self.edge.clouds.current().hub.to_string();
        let shown = self.presented.certificate();
        TunnelError::Tls(tls::terminated(&dialled, shown.as_ref())).to_string()
    }

    /// Stays with a session until it ends or the identity changes.
    async fn keep(&mut self, session: Session) -> Option<Session> {
        let ended = async { Next::Ended(session.ended().await) };
        let renewed = async {
            self.edge.renewed.wait().await;
            Next::Renewed
        };
        let is_wanted = self.edge.settings.quic.is_some();
        let may_change = session.transport == Transport::WebSocket && session.replace_safe;
        let quic = async {
            if !(is_wanted && may_change) {
                return pending().await;
            }
            or(self.quic.due(), self.edge.hurry.wait()).await;
            self.quic.forget();
            Next::TryQuic
        };
        let end = match or(ended, or(renewed, quic)).await {
            Next::Ended(end) => end,
            Next::Renewed => return self.move_over(session).await,
            Next::TryQuic => return Some(self.try_quic(session).await),
        };
        if session.since.elapsed() >= STABLE {
            self.backoff.reset();
        }
        self.edge.state.session_lost(&end);
        let at_once = std::mem::take(&mut self.hasty) && session.since.elapsed() < KILLED_EARLY;
        if !at_once {
            let wait = self.backoff.next();
            self.wait(wait).await;
        }
        None
    }

    /// Opens a tunnel with the new identity, and only then ends the old one, where the hub allows.
    async fn move_over(&mut self, session: Session) -> Option<Session> {
        let cloud = self.edge.clouds.current();
        if session.replace_safe {
            return match self.open_at(&cloud).await {
                Ok(new) => {
                    session.replaced().await;
                    Some(new)
                }
                Err(error) => self.stay(session, error).await,
            };
        }
        let secured = match self.secured(&cloud).await {
            Ok(secured) => secured,
            Err(error) => return self.stay(session, error).await,
        };
        // This hub may drop the newcomer together with the old tunnel, so the old one goes
        // first, at the last moment: when the new connection has come as far as TLS.
        session.stop().await;
        self.edge.state.disconnected();
        Timer::after(SETTLE).await;
        self.hasty = true;
        self.finish(&cloud, secured).await.ok()
    }

    /// Moves over to a tunnel over QUIC, if UDP goes through by now.
    async fn try_quic(&mut self, session: Session) -> Session {
        let cloud = self.edge.clouds.current();
        let Some(endpoint) = self.quic.endpoint(self.edge, &cloud) else {
            return session;
        };
        let opened = match self.dialled(&cloud, &endpoint).await {
            Ok(secured) => self.finish(&cloud, secured).await,
            Err(error) => Err(error),
        };
        match opened {
            Ok(new) => {
                session.replaced().await;
                new
            }
            Err(error) => {
                self.quic.failed(&endpoint, &error.sentence(false));
                session
            }
        }
    }

    /// The new tunnel did not come up. The old identity is good for a while: stay, and try again.
    async fn stay(&mut self, session: Session, error: NoTunnel) -> Option<Session> {
        self.edge.state.no_tunnel(&error.sentence(false), true);
        let ended = async { Some(session.ended().await) };
        let wait = self.backoff.next_asked(error.retry_after());
        let pause = async {
            Timer::after(wait).await;
            None
        };
        if let Some(end) = or(ended, pause).await {
            self.edge.state.session_lost(&end);
            return None;
        }
        self.edge.renewed.raise();
        Some(session)
    }

    /// A session with the first cloud that gives one, beginning with the one that served last.
    async fn open(&mut self) -> Result<Session, NoTunnel> {
        let mut failures = Vec::new();
        for cloud in self.edge.clouds.in_turn() {
            match self.open_at(&cloud).await {
                Err(error) if error.is_of_one_cloud() => failures.push(error),
                opened => return opened,
            }
        }
        Err(NoTunnel::each(failures))
    }

    /// A session with this cloud: over QUIC, if that is wanted and comes up, else by a WebSocket. What a
    /// hub says of the request counts, however it is said.
    async fn open_at(&mut self, cloud: &CloudAt) -> Result<Session, NoTunnel> {
        if let Some(endpoint) = self.quic.endpoint(self.edge, cloud) {
            let opened = match self.dialled(cloud, &endpoint).await {
                Ok(secured) => self.finish(cloud, secured).await,
                Err(error) => Err(error),
            };
            match opened {
                Err(error) if !error.is_refusal() => {
                    self.quic.failed(&endpoint, &error.sentence(false));
                }
                opened => return opened,
            }
        }
        let secured = self.secured(cloud).await?;
        self.finish(cloud, secured).await
    }

    /// From the handshake to a session.
    async fn finish(&mut self, cloud: &CloudAt, secured: Secured) -> Result<Session, NoTunnel> {
        let edge = self.edge;
        let Secured {
            identity,
            carrier,
            peer,
            ends,
            endpoint,
        } = secured;
        let line = carrier.line();
        let request = TunnelRequest {
            endpoint,
            project: edge.settings.project.clone(),
            node: edge.settings.node.clone(),
            trusted: identity.trusted().iter().map(Certificate::hash).collect(),
            terms: Terms::offer(edge.settings.keepalive),
        };
        let Connected {
            tunnel,
            replace_safe,
            date,
            cas,
            terms,
        } = deadline(
            edge,
            ends,
            "the hub's answer",
            Box::pin(upgrade(carrier, &request)),
        )
        .await?;
        edge.remember(cloud, &peer);
        if let Some(date) = date {
            take_word(date, &self.presented, &identity.ca, &edge.host.clock);
            let shared = edge.clone();
            let kept = async move { timekeeping::keep(&shared).await };
            edge.spawn(kept);
        }
        if let Some(cas) = cas {
            edge.heard(cas);
        }
        let serial = identity.certificate.serial();
        let transport = line.transport();
        if transport == Transport::Quic {
            self.quic.worked();
        }
        let why = edge.settings.quic.as_ref().and_then(|_| self.quic.why());
        let at = (cloud.hub.to_string(), peer.to_string());
        let number = edge.state.connected(at, serial, transport, why);
        log::info!(
            "connected to {peer} as {} (session {number}, {transport})",
            request.node
        );
        edge.spawn(tidy(edge.clone(), identity.clone()));
        let leads = match peer {
            Peer::Through { .. } => Leads::ThroughProxy,
            Peer::Direct(_) if transport == Transport::Quic => Leads::OverQuic,
            Peer::Direct(_) => Leads::Straight,
        };
        let rhythm = Rhythm::new(edge.settings.heartbeat, terms, leads);
        if let Some(limit) = rhythm.unacknowledged {
            line.give_up_after(limit);
        }
        edge.terms.set(terms);
        Ok(Session::start(
            edge,
            (tunnel, line),
            ends,
            replace_safe,
            rhythm,
        ))
    }

    /// From nothing to TLS with the present identity.
    async fn secured(&self, cloud: &CloudAt) -> Result<Secured, NoTunnel> {
        let edge = self.edge;
        let (identity, config) = self.credentials()?;
        let Reached { stream, peer } = edge.reach(cloud).await?;
        let ends = Ends::of(&stream);
        // On the heap, since every level of futures above would hold a copy on the stack.
        let secured = Box::pin(secure(stream, config, &cloud.hub, &self.presented));
        Ok(Secured {
            identity,
            carrier: deadline(edge, ends, "the TLS handshake", secured).await?,
            peer,
            ends,
            endpoint: cloud.hub.clone(),
        })
    }

    /// The same over QUIC.
    async fn dialled(&self, cloud: &CloudAt, endpoint: &Endpoint) -> Result<Secured, NoTunnel> {
        let (identity, config) = self.credentials()?;
        let (carrier, peer) = quic::dial(self.edge, cloud, endpoint, &config).await?;
        Ok(Secured {
            identity,
            carrier,
            peer,
            ends: None,
            endpoint: endpoint.clone(),
        })
    }

    /// The present identity, and the TLS that shows it.
    fn credentials(&self) -> Result<(Identity, Arc<ClientConfig>), NoTunnel> {
        let edge = self.edge;
        let identity = edge.identity.borrow().clone();
        let identity = identity.ok_or(IdentityError::Absent)?;
        let own = (&identity.certificate, &identity.key);
        let config = tls::client_observed(
            &identity.trusted(),
            Some(own),
            &edge.host.clock,
            &self.presented,
        )?;
        Ok((identity, config))
    }

    /// The certificate is over by the clock here, and the cloud has said what time it is.
    fn expired(&self) -> bool {
        self.seems_expired() && self.edge.host.clock.word().is_some()
    }

    fn seems_expired(&self) -> bool {
        let now = self.edge.host.clock.now();
        let identity = self.edge.identity.borrow();
        identity.as_ref().is_some_and(|it| it.expired(now))
    }

    /// Where a wrong clock here may be the cause, asks the cloud for the time; true when it makes sense
    /// to try again at once.
    async fn set_right(&self, error: &NoTunnel) -> bool {
        let unsure = self.seems_expired() && self.edge.host.clock.word().is_none();
        let reached = error.is_from_a_hub();
        let worth_asking = error.is_about_time() || (unsure && reached);
        if !worth_asking {
            return false;
        }
        let identity = self.edge.identity.borrow().clone();
        match identity {
            Some(identity) => {
                timekeeping::ask(self.edge, &identity.ca).await && error.is_about_time()
            }
            None => false,
        }
    }
}

/// What happens to a session.
enum Next {
    Ended(TunnelError),
    Renewed,
    TryQuic,
}

/// A session that lasted this long makes the next retry quick again.
const STABLE: Duration = Duration::from_secs(30);
/// Between attempts with an identity that the hub refuses: only a token helps, or somebody there.
const DENIED_FIRST: Duration = Duration::from_millis(800);
const DENIED_CAP: Duration = Duration::from_secs(300);
/// What an older hub needs to forget the old session before it may see the new one.
const SETTLE: Duration = Duration::from_millis(100);
/// A replaced hub session that ends sooner than this was killed with its predecessor.
const KILLED_EARLY: Duration = Duration::from_secs(2);
