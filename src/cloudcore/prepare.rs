//! What cloudcore does before it gives up its rights and starts its threads: ports, store, CA.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::cluster::Found;
use super::ctl::AdminSocket;
use super::daemon::{DaemonError, Ports};
use super::listener::{Bound, bind_datagrams};
use super::nodes::Nodes;
use super::settings::Settings;
use crate::authority::Authority;
use crate::protocol::control::{CLOUD_SOCKET, VERSION};
use crate::store::StoreError;
use crate::store::file::{self, FileStore};
use crate::system::blocking;
use crate::system::host::Host;
use crate::system::processes;
use crate::system::sandbox::{self, Plan, User};
use crate::tunnel::quic;

/// Everything that needs rights, done.
pub struct Prepared {
    pub https: Option<Bound>,
    pub single: Option<Bound>,
    pub hub: Option<Bound>,
    pub quic: Option<UdpSocket>,
    pub monitor: Option<Bound>,
    /// None where there is no place for it, which only a cloudcore on a cluster can do without.
    pub admin: Option<AdminSocket>,
    pub state: State,
    pub ports: Ports,
}

/// Where the state is.
pub enum State {
    Here(Box<(Authority, Nodes)>),
    /// Nothing is sent there before the rights are gone.
    There(Box<Found>),
}

impl Prepared {
    /// Starts no thread: what a thread may do would stay with it.
    pub fn new(host: &Host, settings: &Settings) -> Result<Prepared, DaemonError> {
        let there = Found::find(host, settings).map_err(DaemonError::Cluster)?;
        let on_cluster = there.is_some();
        let state = match there {
            Some(found) => State::There(Box::new(found)),
            None => State::Here(Box::new(open_here(host, settings)?)),
        };
        let bind = |what, address| Bound::new(what, address).map_err(DaemonError::Bind);
        let https = settings.https.map(|address| bind("certificates", address));
        let https = https.transpose()?;
        let single = settings
            .single
            .map(|address| bind("certificates and tunnels", address));
        let single = single.transpose()?;
        let hub = settings.hub.map(|address| bind("tunnels", address));
        let hub = hub.transpose()?;
        let quic = settings.quic.filter(|_| {
            if !quic::OFFERED {
                log::warn!(
                    "this cloudcore was built without QUIC: modules.cloudHub.quic is ignored"
                );
            }
            quic::OFFERED
        });
        let quic = quic.map(|address| bind_datagrams("tunnels over QUIC", address));
        let quic = quic.transpose().map_err(DaemonError::Bind)?;
        let monitor = settings.metrics.and_then(|address| {
            let bound = Bound::new("metrics", address);
            bound
                .inspect_err(|error| log::warn!("nobody can read metrics: {error}"))
                .ok()
        });
        let admin = match AdminSocket::bind(&host.files, &host.root.at(CLOUD_SOCKET)) {
            Ok(admin) => Some(admin),
            Err(error) if on_cluster => {
                log::warn!("nobody can ask this cloudcore on its socket: {error}");
                None
            }
            Err(error) => return Err(DaemonError::File(error)),
        };
        let port = |bound: &Option<Bound>| bound.as_ref().map(|it| it.address().port());
        let ports = Ports {
            v: VERSION,
            pid: std::process::id(),
            https: port(&https).or(port(&single)).unwrap_or_default(),
            hub: port(&hub).or(port(&single)),
            single: port(&single),
            quic: quic.as_ref().and_then(|socket| {
                let address = socket.local_addr().ok()?;
                Some(address.port())
            }),
            metrics: port(&monitor),
        };
        let prepared = Prepared {
            https,
            single,
            hub,
            quic,
            monitor,
            admin,
            state,
            ports,
        };
        if let Some(path) = &settings.ports_file {
            let text = serde_json::to_string(&prepared.ports).unwrap_or_default() + "\n";
            let written = host.files.replace(path, text.as_bytes(), 0o644);
            written.map_err(DaemonError::File)?;
        }
        Ok(prepared)
    }
}

fn open_here(host: &Host, settings: &Settings) -> Result<(Authority, Nodes), DaemonError> {
    let store = Arc::new(open_store(host, settings)?);
    let options = settings.authority.clone();
    let nodes = Nodes::open(store.clone(), settings.outward());
    let nodes = blocking::on_this_thread(|| smol::future::block_on(nodes));
    let nodes = nodes.map_err(DaemonError::Store)?;
    let opened = Authority::open(store, &host.files, &host.root, &host.clock, options);
    let opened = blocking::on_this_thread(|| smol::future::block_on(opened));
    let authority = opened.map_err(DaemonError::Authority)?;
    Ok((authority, nodes))
}

/// A `gettoken` that runs at this moment holds the lock for some milliseconds; another cloudcore
/// holds it for good.
fn open_store(host: &Host, settings: &Settings) -> Result<FileStore, DaemonError> {
    let patience = Instant::now() + LOCK_PATIENCE;
    loop {
        match FileStore::open(&host.files, &host.root, settings.store) {
            // There is no event for the end of another process's lock.
            Err(StoreError::Locked { .. }) if Instant::now() < patience => sleep(LOCK_STEP),
            opened => return opened.map_err(DaemonError::Store),
        }
    }
}

/// Gives up what a prepared cloudcore does not need; returns what holds from now on.
pub fn confine(host: &Host, state: &State) -> Vec<String> {
    let (credentials, folders) = match state {
        State::There(found) => (found.reads(), Vec::new()),
        State::Here(_) => {
            let folders = file::FOLDERS.iter();
            let folders = folders.map(|path| host.root.at(path)).collect();
            (Vec::new(), folders)
        }
    };
    // Another user may not read them.
    let user = match credentials.is_empty() {
        true => own_user(host, &folders),
        false => None,
    };
    let socket = host.root.at(CLOUD_SOCKET);
    let mut plan = Plan {
        user,
        interfaces: false,
        reads: sandbox::system_reads(),
        writes: folders,
    };
    plan.reads
        .extend(["/etc", "/run"].map(|path| host.root.at(path)));
    plan.reads.extend(credentials);
    // Removed at the end.
    plan.writes.extend(socket.parent().map(Path::to_owned));
    let done = sandbox::confine(&plan);
    done.log();
    done.active
}

/// The user to become. Its folders are for nobody else, so they are given to it whole.
fn own_user(host: &Host, folders: &[PathBuf]) -> Option<User> {
    if !processes::is_root() {
        return None;
    }
    let user = User::find(&host.files, &host.root, USER);
    let mut given = folders.iter();
    match given.try_for_each(|folder| sandbox::give_folder(folder, user.as_ref())) {
        Ok(()) => user,
        Err(error) => {
            log::warn!("files can't change their owner ({error}): cloudcore stays root");
            None
        }
    }
}

const USER: &str = "cloudcore";
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_STEP: Duration = Duration::from_millis(50);
