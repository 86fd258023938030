//! The local sockets of the edge: status for everybody, orders for root.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use smol::Timer;
use smol::channel::bounded;
use smol::future::or;
use smol::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use smol::net::unix::{UnixListener, UnixStream};

use super::edge::Edge;
use crate::protocol::control::{EdgeOp, MAX_LINE, Remembered, Reply, Request};
use crate::system::cause;
use crate::system::files::{FileError, Files};
use crate::system::log::remembered;
use crate::system::processes::Peer;
use crate::system::socket;

/// The two sockets, bound.
pub struct Sockets {
    status: UnixListener,
    orders: UnixListener,
}

/// The same before there is an executor.
pub struct Bound {
    status: std::os::unix::net::UnixListener,
    orders: std::os::unix::net::UnixListener,
}

impl Bound {
    /// Binds both. Only to be called by who holds edgecore's lock: a stale socket is removed.
    pub fn new(files: &Files, status: &Path, orders: &Path) -> Result<Self, FileError> {
        Ok(Bound {
            status: socket::listen(files, status, 0o666)?,
            orders: socket::listen(files, orders, 0o600)?,
        })
    }
}

impl Sockets {
    pub fn new(bound: Bound) -> std::io::Result<Self> {
        Ok(Sockets {
            status: bound.status.try_into()?,
            orders: bound.orders.try_into()?,
        })
    }

    /// Answers until the edge ends.
    pub async fn serve(&self, edge: &Rc<Edge>) {
        let status = accept(edge, &self.status, false);
        let orders = accept(edge, &self.orders, true);
        or(status, orders).await;
    }
}

async fn accept(edge: &Rc<Edge>, listener: &UnixListener, orders: bool) {
    let places = Rc::new(());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::warn!("cannot accept on a local socket: {error}");
                Timer::after(Duration::from_secs(1)).await;
                continue;
            }
        };
        // A client beyond the bound is simply closed: it is local and may ask again.
        if Rc::strong_count(&places) > MAX_CLIENTS {
            continue;
        }
        let (shared, place) = (edge.clone(), places.clone());
        edge.spawn(async move {
            // A client that goes away early needs no answer.
            let _ = answer(&shared, stream, orders).await;
            drop(place);
        });
    }
}

async fn answer(edge: &Rc<Edge>, stream: UnixStream, orders: bool) -> std::io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(512, stream.clone().take(MAX_LINE));
    let late = async {
        Timer::after(PATIENCE).await;
        Err(std::io::ErrorKind::TimedOut.into())
    };
    or(reader.read_line(&mut line), late).await?;
    let request: Request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(error) => {
            return send(
                stream,
                &Reply::refused(format!("not a request: {}", cause::of_json(&error))),
            )
            .await;
        }
    };
    let Some(op) = EdgeOp::named(&request.op) else {
        let unknown = Reply::refused(format!("unknown request {:?}", request.op));
        return send(stream, &unknown).await;
    };
    let reply = match op {
        EdgeOp::Status => return send(stream, &edge.state.snapshot()).await,
        EdgeOp::Watch => return watch(edge, stream).await,
        EdgeOp::Log | EdgeOp::Reload | EdgeOp::Renew if !orders => {
            Reply::refused("orders go to the other socket, edgecore.sock")
        }
        EdgeOp::Log | EdgeOp::Reload | EdgeOp::Renew if !allowed(&stream) => {
            Reply::refused("only root may give orders to edgecore")
        }
        EdgeOp::Log => match remembered() {
            Some(told) => return send(stream, &Remembered::of(told)).await,
            None => Reply::refused("this build remembers nothing"),
        },
        EdgeOp::Reload => {
            edge.reload.raise();
            Reply::done("edgecore reads its configuration and token again")
        }
        EdgeOp::Renew => renew(edge).await,
    };
    send(stream, &reply).await
}

/// A line now and at every change, until the client goes away.
async fn watch(edge: &Rc<Edge>, stream: UnixStream) -> std::io::Result<()> {
    let changes = edge.state.watch();
    loop {
        send(stream.clone(), &edge.state.snapshot()).await?;
        let mut probe = stream.clone();
        let gone = async {
            // The client has nothing more to say: any end of this read is its leaving.
            let mut byte = [0];
            let _ = probe.read(&mut byte).await;
            false
        };
        let changed = async { changes.recv().await.is_ok() };
        if !or(changed, gone).await {
            return Ok(());
        }
    }
}

async fn renew(edge: &Rc<Edge>) -> Reply {
    if edge.identity.borrow().is_none() {
        return Reply::refused("this device has no certificate yet: join it");
    }
    let (asked, answer) = bounded(1);
    if edge.renew.0.try_send(asked).is_err() {
        return Reply::refused("several renewals are asked for already: wait for them");
    }
    let answered = async {
        match answer.recv().await {
            Ok(Ok(serial)) => Reply::done(format!("renewed: the new serial is {serial}")),
            Ok(Err(why)) => Reply::refused(why),
            Err(_) => Reply::refused("edgecore stopped or lost its identity meanwhile"),
        }
    };
    let late = async {
        Timer::after(RENEWAL).await;
        Reply::refused("the renewal has not ended yet: see `keadm status` later")
    };
    or(answered, late).await
}

/// Root and the daemon's own user.
fn allowed(stream: &UnixStream) -> bool {
    Peer::of(stream).is_ok_and(|peer| peer.may_command_us())
}

async fn send(mut stream: UnixStream, reply: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    let late = async {
        Timer::after(PATIENCE).await;
        Err(std::io::ErrorKind::TimedOut.into())
    };
    or(stream.write_all(&line), late).await
}

const MAX_CLIENTS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(5);
const RENEWAL: Duration = Duration::from_secs(90);
