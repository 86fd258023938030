//! The running edgecore: one executor thread, the sockets, the signals, and the edge's life.

use std::net::TcpListener;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use smol::LocalExecutor;
use smol::future::{or, pending};

use super::api::{Api, token};
use super::confinement;
use super::control::{Bound, Sockets};
use super::deliver;
use super::edge::{Edge, pause};
use super::jobs;
use super::life::live;
use super::meta;
use super::parent::{self, Order, Parent};
use super::roaming;
use super::settings::{Settings, Source};
use super::state::State;
use super::watchdog;
use crate::protocol::control::{EDGE_SOCKET, EDGE_STATUS_SOCKET, EdgeState};
use crate::protocol::local::KUBECONFIG;
use crate::system::blocking::{self, Kind};
use crate::system::host::Host;
use crate::system::log::attend;
use crate::system::notify;
use crate::system::randomness;
use crate::system::signals::{Request, Signals};
use crate::system::{cause, exit};

/// Runs until SIGTERM or SIGINT, or until the parent is gone; returns the exit code. Only for who
/// holds edgecore's lock, or whose parent does.
pub fn run(host: &Host, source: &Source, parent: Option<Parent>, sandbox: bool) -> u8 {
    let settings = match Settings::load(host, source) {
        Ok(settings) => settings,
        Err(error) => {
            log::error!("{error}");
            return exit::CONFIG;
        }
    };
    let (status, orders) = (host.root.at(EDGE_STATUS_SOCKET), host.root.at(EDGE_SOCKET));
    let sockets = match Bound::new(&host.files, &status, &orders) {
        Ok(sockets) => sockets,
        Err(error) => {
            log::error!("{error}");
            return exit::FAILURE;
        }
    };
    // A device without this is better than none.
    let listener = listen(host, &settings).unwrap_or_else(|error| {
        log::error!("no API for programs on this device: {error}");
        None
    });
    let start = Start {
        listener,
        confinement: confinement::enter(host, &settings, parent.as_ref(), sandbox),
        sockets,
        settings,
        parent,
    };
    let executor = Rc::new(LocalExecutor::new());
    // On the heap, as its parts below: what moves by value is copied with each step outwards, and a stack that has
    // once grown stays in memory.
    let serving = Box::pin(serve(host, start, source, &executor));
    smol::block_on(executor.run(serving))
}

type Listening = (TcpListener, Option<String>);

/// What a hub begins with.
struct Start {
    settings: Settings,
    sockets: Bound,
    /// Of the API, with its token if there is one.
    listener: Option<Listening>,
    parent: Option<Parent>,
    confinement: Vec<String>,
}

/// Binds what programs on the device ask at, if they may, and makes the file that lets root's be shown Secrets.
fn listen(host: &Host, settings: &Settings) -> Result<Option<Listening>, String> {
    let Some(address) = settings.meta.server else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).map_err(|error| {
        format!(
            "cannot listen on {address}: {}: see which program does",
            cause::of(&error)
        )
    })?;
    let bound = listener.local_addr().unwrap_or(address).to_string();
    let path = host.root.at(KUBECONFIG);
    let token = token::prepare(&host.files, &path, &bound, randomness::is_there());
    let token = token.map_err(|error| error.to_string())?;
    if token.is_none() {
        log::warn!("no randomness yet for the API's token: Secrets are shown to nobody until then");
    }
    Ok(Some((listener, token)))
}

/// What every edge of this process answers at.
struct Open {
    sockets: Sockets,
    api: Option<Api>,
    /// The API's token could not be made yet.
    lacks_token: bool,
}

/// Hands what was bound to the executor, and listens for signals.
fn open(sockets: Bound, listener: Option<Listening>) -> Result<(Open, Signals), u8> {
    let lacks_token = matches!(listener, Some((_, None)));
    let api = listener.and_then(|(listener, token)| {
        let api = Api::new(listener, token.as_deref().unwrap_or_default());
        api.inspect_err(|error| log::error!("no API for programs on this device: {error}"))
            .ok()
    });
    let sockets = Sockets::new(sockets).map_err(|error| {
        log::error!("cannot listen on the local sockets: {error}");
        exit::FAILURE
    })?;
    let signals = Signals::new().map_err(|error| {
        log::error!("cannot listen for signals: {error}");
        exit::FAILURE
    })?;
    let open = Open {
        sockets,
        api,
        lacks_token,
    };
    Ok((open, signals))
}

async fn serve(
    host: &Host,
    start: Start,
    source: &Source,
    executor: &Rc<LocalExecutor<'static>>,
) -> u8 {
    let Start {
        mut settings,
        parent,
        ..
    } = start;
    let (open, mut signals) = match open(start.sockets, start.listener) {
        Ok(open) => open,
        Err(code) => return code,
    };
    let supervised = parent.is_some();
    if supervised {
        Parent::let_signals_come();
    }
    let state = State::new(
        &host.clock,
        settings.node.as_str(),
        &settings.cloud(),
        parent.as_ref().map(Parent::pid),
        start.confinement,
    );
    notify::ready();
    log::info!(
        "edgecore {} for node {}",
        env!("CARGO_PKG_VERSION"),
        settings.node
    );
    let orphaned = async {
        match &parent {
            Some(parent) => parent.gone().await,
            None => pending().await,
        }
    };
    let mut orphaned = pin!(orphaned);
    loop {
        let edge = Rc::new(Edge::new(
            host.clone(),
            settings.clone(),
            state.clone(),
            executor.clone(),
        ));
        state.belongs_to(settings.node.as_str(), &settings.cloud());
        state.keeps_objects_in(&settings.state.words());
        let orphaned = async {
            orphaned.as_mut().await;
            Next::Stop
        };
        let next = or(
            Box::pin(orders(&edge, &mut signals, source, supervised)),
            or(work(&edge, &open, supervised), orphaned),
        )
        .await;
        match next {
            Next::Stop => {
                state.enter(EdgeState::Stopping);
                notify::stopping();
                farewell(&edge).await;
                log::info!("edgecore stopped");
                return exit::OK;
            }
            Next::Again => {
                log::info!("what is wanted now needs rights that were given up: starting again");
                farewell(&edge).await;
                return exit::TRY_AGAIN;
            }
            Next::Restart(changed) => {
                log::info!("the configuration changed: connecting anew");
                farewell(&edge).await;
                settings = *changed;
            }
        }
    }
}

/// All that an edge does at once; over when one part of it is.
async fn work(edge: &Rc<Edge>, open: &Open, supervised: bool) -> Next {
    let living = Box::pin(begin(edge, open.lacks_token, supervised));
    let (sockets, api) = (
        Box::pin(open.sockets.serve(edge)),
        Box::pin(answer(open.api.as_ref(), edge)),
    );
    let (meta, deliver) = (Box::pin(meta::run(edge)), Box::pin(deliver::run(edge)));
    let local = or(or(sockets, api), or(meta, deliver));
    let local = or(local, Box::pin(jobs::run(edge)));
    let beside = or(
        attend(),
        or(Box::pin(roaming::watch(edge)), watchdog::tick()),
    );
    let others = async {
        or(local, beside).await;
        Next::Stop
    };
    or(living, others).await
}

/// Lives with the cloud, from when there is randomness on.
async fn begin(edge: &Rc<Edge>, lacks_token: bool, supervised: bool) -> Next {
    // No connection comes about without, and whoever tried would stand still.
    randomness::wait(|| edge.state.problem(&NO_RANDOMNESS, true)).await;
    if lacks_token && randomness::is_there() {
        // Only a new process can write it where root's programs look.
        match supervised {
            true => return Next::Again,
            false => log::warn!("Secrets are shown when edgecore starts again"),
        }
    }
    live(edge).await;
    Next::Stop
}

async fn answer(api: Option<&Api>, edge: &Rc<Edge>) {
    match api {
        Some(api) => api.serve(edge).await,
        None => pending().await,
    }
}

enum Next {
    /// As a new process, since this one has given up what it would need.
    Again,
    Stop,
    Restart(Box<Settings>),
}

/// Waits for a signal or an order that changes the course of things.
async fn orders(edge: &Edge, signals: &mut Signals, source: &Source, supervised: bool) -> Next {
    loop {
        let signal = async { Some(signals.next().await) };
        let reload = async {
            edge.reload.wait().await;
            None
        };
        match or(signal, reload).await {
            Some(Request::Stop) => return Next::Stop,
            Some(Request::Reload) | None => {}
        }
        // Somebody may have written it anew, for root alone. Whether this helped is seen now.
        let _ = blocking::run(Kind::Disk, READABLE, || parent::ask(Order::LetRead)).await;
        match Settings::load(&edge.host, source) {
            Ok(new) if !supervised && new.meta.server != edge.settings.meta.server => {
                log::warn!(
                    "the API for programs on this device changes when edgecore starts again"
                );
                return Next::Restart(Box::new(new));
            }
            Ok(new) if supervised && new.needs_other_rights(&edge.settings) => return Next::Again,
            Err(error) if supervised && error.is_denied() => return Next::Again,
            Ok(settings) if settings != edge.settings => return Next::Restart(Box::new(settings)),
            Ok(_) => edge.hurry.raise(),
            // The running edge is better than none: it goes on with what it had.
            Err(error) => edge.state.problem(&error, false),
        }
    }
}

/// Session tasks say goodbye to the hub when the life that held them is gone.
async fn farewell(edge: &Edge) {
    let gone = async {
        while edge.sessions.get() > 0 {
            edge.session_ended.wait().await;
        }
    };
    or(gone, pause(FAREWELL)).await;
}

const NO_RANDOMNESS: &str = "the system has no randomness yet: waiting for it";
/// For the supervisor's answer.
const READABLE: Duration = Duration::from_secs(5);
const FAREWELL: Duration = Duration::from_secs(3);
