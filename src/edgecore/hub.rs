//! Keeps a tunnel to the hub: connects, reconnects, and moves over to a renewed identity.

use std::rc::Rc;
use std::time::Duration;

use smol::Timer;
use smol::future::or;

use super::backoff::Backoff;
use super::edge::{Edge, pause};
use super::follow;
use super::identity::{Identity, IdentityError};
use super::life::{tidy, token_comes};
use super::no_tunnel::NoTunnel;
use super::rhythm::Rhythm;
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
use crate::system::network;
use crate::system::way::{Peer, Reached};
use crate::tunnel::websocket::{TunnelRequest, secure, upgrade};
use crate::tunnel::{Connected, Secured, TunnelError};

/// Runs until the identity is of no more use and a token waits that may give a new one.
pub async fn run(edge: &Rc<Edge>) -> JoinToken {
    let mut keeper = Keeper {
        edge,
        backoff: Backoff::tunnel(),
        denied: Backoff::new(DENIED_FIRST, DENIED_CAP),
        hasty: false,
        presented: Presented::default(),
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
    /// The session replaced another one at a hub that may kill both: then reconnect at once.
    hasty: bool,
    /// The certificate that the hub showed last.
    presented: Presented,
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
                    return Ok(session);
                }
                Err(error) => {
                    let expired = self.expired();
                    let met = match error.is_foreign() {
                        true => follow::met(self.edge).await,
                        false => None,
                    };
                    denied = error.is_denial();
                    useless = expired || denied;
                    foreign = met.is_some();
                    if let Some(token) = self.token(useless).await {
                        return Err(token);
                    }
                    if useless {
                        self.edge.state.enter(EdgeState::NeedsToken);
                    } else {
                        self.edge.state.enter(EdgeState::Connecting);
                    }
                    let mut sentence = match met {
                        Some(met) => self.changed(met),
                        None => error.sentence(expired),
                    };
                    if !expired && !foreign && self.seems_expired() {
                        let now = self.edge.host.clock.now();
                        sentence += &format!(
                            "; by the clock here, {now}, the certificate has ended, but the cloud could \
                             not be asked"
                        );
                    }
                    self.edge.state.problem(&sentence, !(useless || foreign));
                    error.retry_after()
                }
            };
            let length = match denied {
                true => self.denied.next_asked(wanted),
                false => self.backoff.next_asked(wanted),
            };
            let token = async {
                match useless || foreign {
                    true => token_comes(self.edge).await,
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
        };
        or(pause(length), asked).await;
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

    /// Stays with a session until it ends or the identity changes.
    async fn keep(&mut self, session: Session) -> Option<Session> {
        let ended = async { Some(session.ended().await) };
        let renewed = async {
            self.edge.renewed.wait().await;
            None
        };
        let Some(end) = or(ended, renewed).await else {
            return self.move_over(session).await;
        };
        if session.since.elapsed() >= STABLE {
            self.backoff.reset();
        }
        self.edge.state.disconnected();
        self.edge.state.problem(&end, true);
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
        let (identity, secured) = match self.secured(&cloud).await {
            Ok(secured) => secured,
            Err(error) => return self.stay(session, error).await,
        };
        if session.replace_safe {
            return match self.finish(&cloud, identity, secured).await {
                Ok(new) => {
                    session.replaced().await;
                    Some(new)
                }
                Err(error) => self.stay(session, error).await,
            };
        }
        // This hub may drop the newcomer together with the old tunnel, so the old one goes
        // first, at the last moment: when the new connection has come as far as TLS.
        session.stop().await;
        self.edge.state.disconnected();
        Timer::after(SETTLE).await;
        self.hasty = true;
        self.finish(&cloud, identity, secured).await.ok()
    }

    /// The new tunnel did not come up. The old identity is good for a while: stay, and try again.
    async fn stay(&mut self, session: Session, error: NoTunnel) -> Option<Session> {
        self.edge.state.problem(&error.sentence(false), true);
        let ended = async { Some(session.ended().await) };
        let wait = self.backoff.next_asked(error.retry_after());
        let pause = async {
            Timer::after(wait).await;
            None
        };
        if let Some(end) = or(ended, pause).await {
            self.edge.state.disconnected();
            self.edge.state.problem(&end, true);
            return None;
        }
        self.edge.renewed.raise();
        Some(session)
    }

    /// A session with the first cloud that gives one, beginning with the one that served last.
    async fn open(&mut self) -> Result<Session, NoTunnel> {
        let mut failures = Vec::new();
        for cloud in self.edge.clouds.in_turn() {
            let opened = match self.secured(&cloud).await {
                Ok((identity, secured)) => self.finish(&cloud, identity, secured).await,
                Err(error) => Err(error),
            };
            match opened {
                Err(error) if error.is_of_one_cloud() => failures.push(error),
                opened => return opened,
            }
        }
        Err(NoTunnel::each(failures))
    }

    /// From TLS to a session.
    async fn finish(
        &mut self,
        cloud: &CloudAt,
        identity: Identity,
        (secured, peer): (Secured, Peer),
    ) -> Result<Session, NoTunnel> {
        let edge = self.edge;
        let connection = secured.get_ref().0.stream().clone();
        let request = TunnelRequest {
            endpoint: cloud.hub.clone(),
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
        } = deadline(edge, "the hub's answer", upgrade(secured, &request)).await?;
        edge.remember(cloud, &peer);
        if let Some(date) = date {
            take_word(date, &self.presented, &identity.ca, &edge.host.clock);
            let shared = edge.clone();
            let kept = async move { timekeeping::keep(&shared).await };
            edge.executor.spawn(kept).detach();
        }
        if let Some(cas) = cas {
            edge.heard(cas);
        }
        let serial = identity.certificate.serial();
        let number = edge.state.connected(peer.to_string(), serial);
        log::info!("connected to {peer} as {} (session {number})", request.node);
        edge.executor
            .spawn(tidy(edge.clone(), identity.clone()))
            .detach();
        let through_proxy = matches!(peer, Peer::Through { .. });
        let rhythm = Rhythm::new(edge.settings.heartbeat, terms, through_proxy);
        if let Some(limit) = rhythm.unacknowledged {
            network::give_up_after(&connection, limit);
        }
        edge.terms.set(terms);
        Ok(Session::start(edge, tunnel, replace_safe, rhythm))
    }

    /// From nothing to TLS with the present identity.
    async fn secured(&self, cloud: &CloudAt) -> Result<(Identity, (Secured, Peer)), NoTunnel> {
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
        let Reached { stream, peer } = edge.reach(cloud).await?;
        let secured = secure(stream, config, &cloud.hub);
        let secured = deadline(edge, "the TLS handshake", secured).await?;
        Ok((identity, (secured, peer)))
    }

    /// A token that waits, when the identity is useless or the token is of another cloud: then
    /// somebody wants the device to move there.
    async fn token(&self, useless: bool) -> Option<JoinToken> {
        let tokens = self.edge.tokens.clone();
        let token = match self.edge.off_thread(move || tokens.find()).await {
            Ok(Ok(token)) => token?,
            Ok(Err(error)) => {
                self.edge.state.problem(&error, false);
                return None;
            }
            Err(_) => return None,
        };
        if self.edge.is_set_aside(&token) {
            return None;
        }
        let identity = self.edge.identity.borrow();
        let same = |identity: &Identity| identity.trusts(token.ca_hash());
        (useless || !identity.as_ref().is_some_and(same)).then_some(token)
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

async fn deadline<T>(
    edge: &Edge,
    step: &'static str,
    work: impl Future<Output = Result<T, TunnelError>>,
) -> Result<T, NoTunnel> {
    let late = async {
        Timer::after(edge.settings.handshake_deadline).await;
        Err(TunnelError::TimedOut(step))
    };
    Ok(or(work, late).await?)
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
