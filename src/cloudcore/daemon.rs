//! A running cloudcore from its start to its end.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_rustls::TlsAcceptor;
use log::{error, info, warn};
use serde::{Deserialize, Serialize};
use smol::channel::Receiver;
use smol::future::{FutureExt, or};
use smol::{Executor, Timer};

use super::cloud::{Cloud, Standing, Stop, Stopper};
use super::cluster::{Cluster, NoCluster};
use super::listener::{BindError, Bound, Listener};
use super::outbox::Ending;
use super::prepare::{self, Prepared, State};
use super::settings::Settings;
use super::{door, hub, prometheus, quic, single};
use crate::authority::{Authority, AuthorityError};
use crate::pki::PkiError;
use crate::pki::tls::{self, ClientAuth};
use crate::store::StoreError;
use crate::system::blocking;
use crate::system::cause;
use crate::system::exit;
use crate::system::files::FileError;
use crate::system::host::Host;
use crate::system::log::attend;
use crate::system::signals::{Request, Signals};
use crate::system::{limits, notify, threads};
use crate::tunnel;

/// Runs until it is asked to stop. `started` is called once all is served.
pub fn run(
    host: &Host,
    settings: Settings,
    orders: Orders,
    started: impl FnOnce(&Ports),
) -> Result<(), DaemonError> {
    let open_files = limits::raise_open_files();
    blocking::set_limit(BLOCKING_THREADS);
    let prepared = Prepared::new(host, &settings)?;
    let confinement = match (&orders, settings.sandbox) {
        (Orders::Signals, true) => prepare::confine(host, &prepared.state),
        (Orders::Signals, false) => {
            warn!("the sandbox is switched off: cloudcore keeps all its rights");
            vec!["off".to_owned()]
        }
        (Orders::Channel(_), _) => Vec::new(),
    };
    let executor = Arc::new(Executor::new());
    let serve = async {
        let inbox = Inbox::new(orders).map_err(DaemonError::Signals)?;
        executor.spawn(attend().boxed()).detach();
        let standing = Standing {
            open_files,
            confinement,
        };
        serve(
            &executor, host, settings, prepared, standing, inbox, started,
        )
        .await
    };
    threads::run(&executor, "cloudcore", threads::parallelism(), serve)
}

/// Who tells a running cloudcore what to do.
pub enum Orders {
    /// Somebody in the same process, which is not confined; closing the channel is a request to
    /// stop.
    Channel(Receiver<Request>),
    /// The init system: the process is cloudcore's own, and gives up what it does not need.
    Signals,
}

/// Where orders arrive.
enum Inbox {
    Channel(Receiver<Request>),
    Signals(Signals),
}

impl Inbox {
    /// Signals start a thread, so not before the process is confined.
    fn new(orders: Orders) -> io::Result<Inbox> {
        Ok(match orders {
            Orders::Channel(channel) => Inbox::Channel(channel),
            Orders::Signals => Inbox::Signals(Signals::new()?),
        })
    }

    async fn next(&mut self) -> Request {
        match self {
            Inbox::Channel(channel) => channel.recv().await.unwrap_or(Request::Stop),
            Inbox::Signals(signals) => signals.next().await,
        }
    }
}

/// Where a cloudcore really listens.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Ports {
    pub v: u32,
    pub pid: u32,
    /// Where certificates are: the one port, when there is no other.
    pub https: u16,
    pub hub: Option<u16>,
    pub single: Option<u16>,
    /// UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quic: Option<u16>,
    pub metrics: Option<u16>,
}

/// Why cloudcore could not start.
#[derive(Debug)]
pub enum DaemonError {
    Authority(AuthorityError),
    Bind(BindError),
    Cluster(NoCluster),
    File(FileError),
    Pki(PkiError),
    /// The socket is there, and can't be served.
    Quic(io::Error),
    /// Signals can't be caught, and a daemon that can't be stopped is none.
    Signals(io::Error),
    Store(StoreError),
}

impl DaemonError {
    pub fn exit_code(&self) -> u8 {
        match self {
            DaemonError::Bind(error) if error.source.kind() == io::ErrorKind::PermissionDenied => {
                exit::DENIED
            }
            DaemonError::Bind(_) => exit::UNAVAILABLE,
            DaemonError::File(error) | DaemonError::Authority(AuthorityError::File(error))
                if error.is_denied() =>
            {
                exit::DENIED
            }
            DaemonError::Store(StoreError::Io(error))
            | DaemonError::Authority(AuthorityError::Store(StoreError::Io(error)))
                if error.is_denied() =>
            {
                exit::DENIED
            }
            DaemonError::Authority(error) if error.is_retryable() => exit::TRY_AGAIN,
            DaemonError::Store(error) if error.is_retryable() => exit::TRY_AGAIN,
            DaemonError::Authority(_) | DaemonError::Cluster(_) | DaemonError::Store(_) => {
                exit::CONFIG
            }
            DaemonError::File(_)
            | DaemonError::Pki(_)
            | DaemonError::Quic(_)
            | DaemonError::Signals(_) => exit::FAILURE,
        }
    }
}

async fn serve(
    executor: &Arc<Executor<'static>>,
    host: &Host,
    mut settings: Settings,
    prepared: Prepared,
    standing: Standing,
    mut orders: Inbox,
    started: impl FnOnce(&Ports),
) -> Result<(), DaemonError> {
    let listen = |bound: Bound| bound.listen().map_err(DaemonError::Bind);
    let ports = prepared.ports;
    let monitor = prepared.monitor.map(listen).transpose()?;
    let state = match prepared.state {
        State::Here(here) => Some((*here, None)),
        State::There(found) => {
            let cluster = found.connect(host, quic::spawner(executor));
            let cluster = cluster.map_err(DaemonError::Cluster)?;
            let opened = wait(&cluster, host, &settings, monitor.as_ref(), &mut orders).await?;
            opened.map(|authority| {
                let nodes = cluster.nodes(&settings, settings.outward());
                ((authority, nodes), Some(cluster))
            })
        }
    };
    let Some(((authority, nodes), cluster)) = state else {
        info!("cloudcore stops");
        return Ok(());
    };
    let config = |clients| {
        let config = tls::server(&authority.serving(), clients, &host.clock);
        config.map_err(DaemonError::Pki)
    };
    let anyone = TlsAcceptor::from(config(ClientAuth::Optional)?);
    let edges = config(ClientAuth::Required(authority.trust()))?;
    let spawn = quic::spawner(executor);
    let datagrams = prepared.quic.map(|socket| {
        let hub = tunnel::quic::Hub::new(socket, &edges, spawn);
        hub.map_err(DaemonError::Quic)
    });
    let datagrams = datagrams.transpose()?;

    let https = prepared.https.map(listen).transpose()?;
    let single = prepared.single.map(listen).transpose()?;
    let hub = prepared.hub.map(listen).transpose()?;
    let admin = prepared.admin;
    settings.https = https.as_ref().map(Listener::address);
    settings.single = single.as_ref().map(Listener::address);
    settings.hub = hub.as_ref().map(Listener::address);

    let open_files = standing.open_files;
    let (stop, stopper) = Stop::new();
    let cloud = Cloud::new(
        executor,
        &host.clock,
        (authority, nodes, cluster),
        settings,
        standing,
        stop,
    );
    tell_room(&cloud, open_files);
    cloud.nodes.start(&cloud);
    if let Some(cluster) = &cloud.cluster {
        cluster.start(&cloud);
    }
    if let Some(single) = single {
        cloud.spawn(single::serve(cloud.clone(), single, anyone.clone()));
    }
    if let Some(https) = https {
        cloud.spawn(door::serve(cloud.clone(), https, anyone));
    }
    if let Some(hub) = hub {
        cloud.spawn(hub::serve(cloud.clone(), hub, edges.into()));
    }
    if let Some(datagrams) = datagrams {
        cloud.spawn(quic::serve(cloud.clone(), datagrams));
    }
    if let Some(monitor) = monitor {
        cloud.spawn(prometheus::serve(cloud.clone(), monitor));
    }
    if let Some(admin) = admin {
        cloud.spawn(admin.serve(cloud.clone()));
    }
    cloud.spawn(keep_fresh(cloud.clone()));
    cloud.spawn(show_life(cloud.clone()));

    info!("cloudcore serves: {}", ports.sentence());
    notify::ready();
    started(&ports);
    follow(&cloud, orders).await;
    notify::stopping();
    drain(cloud, stopper).await;
    Ok(())
}

/// The authority, once the cluster gives it; none when we are asked to stop before. Whoever wants to
/// know is told that we live, and what we wait for.
async fn wait(
    cluster: &Cluster,
    host: &Host,
    settings: &Settings,
    monitor: Option<&Listener>,
    orders: &mut Inbox,
) -> Result<Option<Authority>, DaemonError> {
    let why = Mutex::new("cloudcore starts".to_owned());
    let opened = async {
        let opened = cluster.open(host, settings, &why).await;
        opened.map(Some).map_err(DaemonError::Authority)
    };
    let told = async {
        match monitor {
            Some(monitor) => prometheus::serve_waiting(monitor, &why).await,
            None => std::future::pending().await,
        }
    };
    let stopped = async {
        while orders.next().await == Request::Reload {}
        Ok(None)
    };
    or(opened, or(stopped, told)).await
}

/// What the limit on open files allows.
fn tell_room(cloud: &Cloud, open_files: u64) {
    let (sessions, wanted) = (cloud.registry.limit(), cloud.settings.node_limit);
    info!(
        "{open_files} open files allowed: room for {sessions} sessions, {} connections to the hub \
         before they are sessions, {} for certificates",
        cloud.hub_places.total(),
        cloud.api_places.total()
    );
    if sessions < wanted {
        warn!(
            "nodeLimit is {wanted}, but {open_files} open files are enough for {sessions} nodes: \
             raise the limit on open files (LimitNOFILE, ulimit -n)"
        );
    }
}

/// Does what is asked until that is to stop.
async fn follow(cloud: &Cloud, mut orders: Inbox) {
    while orders.next().await == Request::Reload {
        info!("asked to reload: addresses and the serving certificate are looked at");
        refresh(cloud).await;
    }
}

/// Stops accepting, finishes requests, and closes the sessions, not all at the same moment: the
/// edges would all come back at the same moment too.
async fn drain(cloud: Arc<Cloud>, stopper: Stopper) {
    info!("cloudcore stops");
    let late = Timer::after(STOP_DEADLINE);
    stopper.ask();
    let ended = async {
        let sessions = cloud.registry.close();
        let pause = SPREAD / u32::try_from(sessions.len()).unwrap_or(u32::MAX).max(1);
        let pause = pause.min(LONGEST_PAUSE);
        // The timer is not precise enough to wait between any two.
        let at_once = (TICK.as_micros() / pause.as_micros().max(1)).max(1) as usize;
        for some in sessions.chunks(at_once) {
            some.iter().for_each(|outbox| outbox.end(Ending::Stopping));
            Timer::after(pause.max(TICK)).await;
        }
        drop((cloud, sessions));
        stopper.all_gone().await;
        true
    };
    let in_time = or(ended, async {
        late.await;
        false
    });
    if !in_time.await {
        warn!("some connections did not end in time and are cut");
    }
}

/// Looks after the serving certificate: addresses come and go, and it ends one day.
async fn keep_fresh(cloud: Arc<Cloud>) {
    loop {
        let stopped = or(
            async {
                cloud.stop.wait().await;
                true
            },
            async {
                Timer::after(FRESHNESS).await;
                false
            },
        );
        if stopped.await {
            return;
        }
        refresh(&cloud).await;
    }
}

async fn refresh(cloud: &Cloud) {
    if let Err(error) = cloud.authority.refresh_serving().await {
        error!("the serving certificate stays as it is: {error}");
    }
}

/// Tells the init system that the executor still runs, when it wants to know.
async fn show_life(cloud: Arc<Cloud>) {
    let Some(interval) = notify::watchdog_interval() else {
        return;
    };
    loop {
        notify::alive();
        let stopped = or(
            async {
                cloud.stop.wait().await;
                true
            },
            async {
                Timer::after(interval).await;
                false
            },
        );
        if stopped.await {
            return;
        }
    }
}

impl Ports {
    fn sentence(&self) -> String {
        let port = |port: Option<u16>| port.map_or("off".to_owned(), |port| port.to_string());
        let (hub, metrics) = (port(self.hub), port(self.metrics));
        let both = self.single.map(|port| format!(", both on {port}"));
        let quic = self.quic.map(|port| format!(", over QUIC on UDP {port}"));
        format!(
            "certificates on port {}, tunnels on {hub}{}{}, metrics on {metrics}",
            self.https,
            quic.unwrap_or_default(),
            both.unwrap_or_default()
        )
    }
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DaemonError::Authority(error) => error.fmt(f),
            DaemonError::Bind(error) => error.fmt(f),
            DaemonError::Cluster(error) => error.fmt(f),
            DaemonError::File(error) => error.fmt(f),
            DaemonError::Pki(error) => error.fmt(f),
            DaemonError::Quic(error) => write!(
                f,
                "tunnels over QUIC can't be served: {}: set modules.cloudHub.quic.enable to false",
                cause::of(error)
            ),
            DaemonError::Signals(error) => write!(
                f,
                "signals can't be caught: {error}: start it from another program to see whether \
                 that is the cause"
            ),
            DaemonError::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DaemonError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(match self {
            DaemonError::Authority(error) => error,
            DaemonError::Bind(error) => error,
            DaemonError::Cluster(error) => error,
            DaemonError::File(error) => error,
            DaemonError::Pki(error) => error,
            DaemonError::Quic(error) => error,
            DaemonError::Signals(error) => error,
            DaemonError::Store(error) => error,
        })
    }
}

/// Disk and name lookups; most requests share one write.
const BLOCKING_THREADS: usize = 8;

const FRESHNESS: Duration = Duration::from_secs(60);

/// Over which the sessions are closed.
const SPREAD: Duration = Duration::from_millis(2500);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
const TICK: Duration = Duration::from_millis(5);

/// An init system is told 5 seconds.
const STOP_DEADLINE: Duration = Duration::from_millis(4500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_not_is_told_so_whichever_file_it_is() {
        let denied = || FileError::Io {
            action: "lock",
            path: "/x".into(),
            source: nix::errno::Errno::EACCES.into(),
        };
        for error in [
            DaemonError::File(denied()),
            DaemonError::Store(denied().into()),
            DaemonError::Authority(AuthorityError::File(denied())),
            DaemonError::Authority(AuthorityError::Store(denied().into())),
        ] {
            assert_eq!(error.exit_code(), exit::DENIED, "{error:?}");
        }
        assert_eq!(
            DaemonError::Store(StoreError::Busy).exit_code(),
            exit::TRY_AGAIN
        );
    }
}
