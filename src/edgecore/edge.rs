//! What the parts of a running edgecore share: settings, clock, disk, state, identity.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::channel::{Receiver, Sender, bounded};
use smol::future::FutureExt;
use smol::{LocalExecutor, Timer};

use super::clouds::Clouds;
use super::identity::Identity;
use super::jobs::Jobs;
use super::meta::Meta;
use super::node;
use super::pushes::{Push, Pushes};
use super::requests::Requests;
use super::roaming::Roaming;
use super::settings::Settings;
use super::state::State;
use super::token::TokenSource;
use crate::config::edge::network::CloudAt;
use crate::pki::PkiError;
use crate::pki::hash::Sha256Hash;
use crate::pki::key::PrivateKey;
use crate::protocol::enrollment::{CertificateApi, EnrollError};
use crate::protocol::message::Message;
use crate::protocol::terms::Terms;
use crate::protocol::token::JoinToken;
use crate::protocol::trust::CloudCas;
use crate::system::blocking::{self, Blocked, Kind};
use crate::system::files::FileError;
use crate::system::host::Host;
use crate::system::names::Endpoint;
use crate::system::network::NetError;
use crate::system::way::{Peer, Reached};

/// Where the answer to an order goes: the new serial, or why there is none.
pub type Asked = Sender<Result<String, String>>;

/// One edgecore with one configuration.
pub struct Edge {
    pub host: Host,
    pub settings: Settings,
    pub state: State,
    pub tokens: TokenSource,
    pub executor: Rc<LocalExecutor<'static>>,
    /// Set while the device has one.
    pub identity: RefCell<Option<Identity>>,
    /// The token that the cloud refused last.
    pub refused: RefCell<Option<JoinToken>>,
    /// A token that nothing came of, and until when the identity that is there is given another
    /// chance: one of the two may be of a cloud that is gone.
    pub postponed: RefCell<Option<(JoinToken, Instant)>>,
    /// The key that a certificate was asked for, and did not come: see `pending`.
    pub pending: RefCell<Option<PrivateKey>>,
    /// Tells the hub that the identity changed.
    pub renewed: Signal,
    /// The cloud has said what time it is, so that a renewal may be due.
    pub time_told: Signal,
    /// What the cloud last said of its CAs, and a wake-up for who follows.
    pub cas: RefCell<Option<CloudCas>>,
    pub changed: Signal,
    /// Somebody asks for a renewal now; the answer goes through the sender.
    pub renew: (Sender<Asked>, Receiver<Asked>),
    /// Wakes whatever waits: a token or the network may have changed.
    pub hurry: Signal,
    /// Somebody asks to read the configuration again.
    pub reload: Signal,
    /// How many session tasks run, and a wake-up when one ends.
    pub sessions: Cell<usize>,
    pub session_ended: Signal,
    pub session_began: Signal,
    pub clouds: Clouds,
    /// What was agreed with the cloud of the newest session; nothing with one of KubeEdge.
    pub terms: Cell<Option<Terms>>,
    /// What is asked of the cloud, and who waits for the answers.
    pub requests: Rc<Requests>,
    /// What the cloud sends without having been asked, on its way to who stores it.
    pub pushes: Pushes,
    /// What the cloud has this node do.
    pub jobs: Jobs,
    /// What the cloud said, kept.
    pub meta: Meta,
    /// The device's Node, as the cloud has it.
    pub node: node::News,
    /// The address from which the present session starts, or the last one did; and a wake-up when it
    /// becomes another.
    pub address: Cell<Option<IpAddr>>,
    pub address_changed: Signal,
    pub roaming: Roaming,
    last_good: RefCell<Vec<SocketAddr>>,
    /// From where the last connection started.
    start: Cell<Option<IpAddr>>,
}

/// A wake-up that is kept until it is read; many become one.
#[derive(Clone)]
pub struct Signal(Sender<()>, Receiver<()>);

/// Why a request to the cloud failed, from the wire up.
#[derive(Debug)]
pub enum Failure {
    Network(NetError),
    Api(EnrollError),
    Pki(PkiError),
    Identity(super::identity::IdentityError),
    /// The certificate that came is not the one asked for.
    WrongCertificate(&'static str),
    /// The cloud names a CA for which none that is trusted here vouches.
    NotVouched(Sha256Hash),
    Blocked(Blocked),
    Disk(FileError),
    /// Of several clouds none helped.
    Each(Vec<Failure>),
}

impl Failure {
    /// Whether waiting may help without anybody doing anything.
    pub fn retryable(&self) -> bool {
        match self {
            Failure::Api(e) => e.retryable(),
            Failure::Each(failures) => failures.iter().any(Failure::retryable),
            _ => true,
        }
    }

    /// Whether another cloud may do better.
    pub fn is_of_one_cloud(&self) -> bool {
        match self {
            Failure::Network(_) => true,
            Failure::Api(error) => !matches!(
                error,
                EnrollError::Denied { .. } | EnrollError::NameTaken { .. }
            ),
            _ => false,
        }
    }

    /// A single one stands for itself.
    pub fn each(mut failures: Vec<Failure>) -> Failure {
        match failures.len() {
            1 => failures.remove(0),
            _ => Failure::Each(failures),
        }
    }

    /// When the cloud wants to be asked again, if it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Api(e) => e.retry_after(),
            _ => None,
        }
    }
}

impl Edge {
    pub fn new(
        host: Host,
        settings: Settings,
        state: State,
        executor: Rc<LocalExecutor<'static>>,
    ) -> Self {
        let tokens = TokenSource {
            host: host.clone(),
            bootstrap: settings.bootstrap.clone(),
            config: settings.config.clone(),
        };
        let meta = Meta::new(&host.files, &settings.state);
        Edge {
            clouds: Clouds::new(&settings.clouds),
            host,
            settings,
            state,
            tokens,
            executor,
            identity: RefCell::new(None),
            refused: RefCell::new(None),
            postponed: RefCell::new(None),
            pending: RefCell::new(None),
            renewed: Signal::new(),
            time_told: Signal::new(),
            cas: RefCell::new(None),
            changed: Signal::new(),
            renew: bounded(4),
            hurry: Signal::new(),
            reload: Signal::new(),
            sessions: Cell::new(0),
            session_ended: Signal::new(),
            terms: Cell::new(None),
            session_began: Signal::new(),
            requests: Rc::default(),
            pushes: Pushes::default(),
            jobs: Jobs::default(),
            meta,
            node: node::News::new(),
            address: Cell::new(None),
            address_changed: Signal::new(),
            roaming: Roaming::default(),
            last_good: RefCell::default(),
            start: Cell::new(None),
        }
    }

    /// Makes an identity the current one and tells who must know.
    pub fn adopt(&self, identity: Identity) {
        let next = self
            .settings
            .rotate
            .then(|| super::rotate::due(&identity, &self.settings.node));
        super::timekeeping::ground(&self.host.clock, &identity);
        self.state.certificate(identity.facts(), next);
        *self.identity.borrow_mut() = Some(identity);
        self.renewed.raise();
    }

    /// Whether a token is not to be tried now, while there is an identity.
    pub fn is_set_aside(&self, token: &JoinToken) -> bool {
        let postponed = self.postponed.borrow();
        let waits = |(it, until): &(JoinToken, Instant)| it == token && Instant::now() < *until;
        self.refused.borrow().as_ref() == Some(token) || postponed.as_ref().is_some_and(waits)
    }

    /// Somebody may have put things in order: what was set aside is tried again.
    pub fn set_nothing_aside(&self) {
        self.refused.replace(None);
        self.postponed.replace(None);
    }

    /// The cloud has said which CAs it has.
    pub fn heard(&self, cas: CloudCas) {
        self.cas.replace(Some(cas));
        self.changed.raise();
    }

    /// Puts what the cloud sent unasked in line, as soon as there is room.
    pub async fn pushed(&self, message: Message, acks: &Sender<Message>) {
        let push = Push {
            message,
            acks: acks.clone(),
        };
        self.pushes.add(push).await;
    }

    /// The cloud renews the node's Lease as long as the session lives.
    pub fn lease_is_kept(&self) -> bool {
        self.terms.get().is_some_and(|terms| terms.lease)
    }

    /// A connection to the hub of a cloud. When names fail, the address that last held a session
    /// serves.
    pub async fn reach(&self, cloud: &CloudAt) -> Result<Reached, NetError> {
        let known = self.known(cloud);
        let reached = self.settings.way.connect(&cloud.hub, &known).await?;
        let start = reached.stream.local_addr().ok();
        self.start.set(start.map(|address| address.ip()));
        Ok(reached)
    }

    /// The addresses of this cloud's endpoint that connections from here can have, for datagrams.
    pub async fn addresses(
        &self,
        cloud: &CloudAt,
        endpoint: &Endpoint,
    ) -> Result<Vec<SocketAddr>, NetError> {
        let (way, known) = (&self.settings.way, self.known(cloud));
        let mut addresses = way.addresses(endpoint, &known).await?;
        addresses.retain(|address| way.uplink.may_reach(address));
        Ok(addresses)
    }

    /// A session with this cloud is up.
    pub fn remember(&self, cloud: &CloudAt, peer: &Peer) {
        self.clouds.served(cloud);
        if self.start.get() != self.address.replace(self.start.get()) {
            self.address_changed.raise();
        }
        *self.last_good.borrow_mut() = match peer {
            Peer::Direct(address) => vec![*address],
            Peer::Through { .. } => Vec::new(),
        };
    }

    /// The addresses of one cloud are no addresses of another.
    fn known(&self, cloud: &CloudAt) -> Vec<SocketAddr> {
        match self.clouds.current() == *cloud {
            true => self.last_good.borrow().clone(),
            false => Vec::new(),
        }
    }

    /// Runs one request to the certificate API on a helper thread. A cloud that can't be reached, or
    /// is not what it should be, is left for the next one at once.
    pub async fn api<T: Send + 'static>(
        &self,
        request: impl Fn(&CertificateApi) -> Result<T, EnrollError> + Send + Sync + 'static,
    ) -> Result<T, Failure> {
        let request = Arc::new(request);
        let mut failures = Vec::new();
        for cloud in self.clouds.in_turn() {
            match self.ask(&cloud, request.clone()).await {
                Err(failure) if failure.is_of_one_cloud() => failures.push(failure),
                // What a cloud says of a request, another one of the same CA would say as well.
                asked => return asked,
            }
        }
        Err(Failure::each(failures))
    }

    async fn ask<T: Send + 'static>(
        &self,
        cloud: &CloudAt,
        request: Arc<impl Fn(&CertificateApi) -> Result<T, EnrollError> + Send + Sync + 'static>,
    ) -> Result<T, Failure> {
        let api = CertificateApi {
            endpoint: cloud.api.clone(),
            way: self.settings.way.clone(),
            known: self.known(cloud),
            deadline: API_DEADLINE,
            clock: self.host.clock.clone(),
        };
        let patience = API_DEADLINE + CONNECTING;
        blocking::run(Kind::Https, patience, move || request(&api))
            .await
            .map_err(Failure::Blocked)?
            .map_err(Failure::Api)
    }

    /// Runs a task beside the others.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        // In a box all are alike: the executor's part is compiled once.
        self.executor.spawn(task.boxed_local()).detach();
    }

    /// Runs disk or key work on a helper thread, so that neither can hold the executor.
    pub async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        blocking::run(Kind::Disk, DISK_DEADLINE, work)
            .await
            .map_err(Failure::Blocked)
    }
}

/// Waits, and nothing else.
pub async fn pause(length: Duration) {
    Timer::after(length).await;
}

impl Signal {
    pub fn new() -> Self {
        let (sender, receiver) = bounded(1);
        Signal(sender, receiver)
    }

    pub fn raise(&self) {
        // Full means that a wake-up is pending already.
        let _ = self.0.try_send(());
    }

    pub async fn wait(&self) {
        // Both ends live in `self`, so the channel is never closed.
        let _ = self.1.recv().await;
    }

    /// Forgets a pending wake-up.
    pub fn clear(&self) {
        let _ = self.1.try_recv();
    }
}

impl Default for Signal {
    fn default() -> Self {
        Signal::new()
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        Failure::Network(error)
    }
}

impl From<PkiError> for Failure {
    fn from(error: PkiError) -> Self {
        Failure::Pki(error)
    }
}

impl From<super::identity::IdentityError> for Failure {
    fn from(error: super::identity::IdentityError) -> Self {
        Failure::Identity(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Network(e) => write!(f, "{e:#}"),
            Failure::Api(e) => write!(f, "{e}"),
            Failure::Pki(e) => write!(f, "{e}"),
            Failure::Identity(e) => write!(f, "{e}"),
            Failure::WrongCertificate(what) => {
                write!(
                    f,
                    "the cloud sent a certificate that {what}: nothing was changed"
                )
            }
            Failure::NotVouched(hash) => write!(
                f,
                "the cloud names the CA {hash}, for which none that this device knows vouches: \
                 nothing was changed"
            ),
            Failure::Blocked(e) => write!(f, "{e}"),
            Failure::Disk(e) => write!(f, "{e}"),
            Failure::Each(failures) => {
                write!(f, "none of {} clouds helps: ", failures.len())?;
                for (index, failure) in failures.iter().enumerate() {
                    let between = if index > 0 { "; " } else { "" };
                    write!(f, "{between}{failure}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Failure::Network(e) => Some(e),
            Failure::Api(e) => Some(e),
            Failure::Pki(e) => Some(e),
            Failure::Identity(e) => Some(e),
            Failure::WrongCertificate(_) | Failure::NotVouched(_) => None,
            Failure::Blocked(e) => Some(e),
            Failure::Disk(e) => Some(e),
            Failure::Each(failures) => failures.last().map(|last| last as _),
        }
    }
}

/// What looking up, connecting and a proxy may take, and a little more.
const CONNECTING: Duration = Duration::from_secs(35);
const API_DEADLINE: Duration = Duration::from_secs(30);
const DISK_DEADLINE: Duration = Duration::from_secs(60);
