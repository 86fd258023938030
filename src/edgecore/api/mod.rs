//! The API for programs on the device: what the cloud said, in the words of Kubernetes, and the few things it does for them.
//!
//! It listens on a loopback address, bound before the process gives up its rights. See docs/operating.md, "What the
//! cloud said".

mod answer;
mod discovery;
mod door;
mod objects;
mod orders;
pub mod token;
mod watch;

use std::cell::Cell;
use std::convert::Infallible;
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use smol::future::FutureExt;
use smol::net::TcpStream;
use smol::{Async, LocalExecutor, Timer};
use smol_hyper::rt::{FuturesIo, SmolTimer};

use super::edge::Edge;

/// The bound socket, and what opens the way to Secrets.
pub struct Api {
    listener: Async<TcpListener>,
    token: Rc<str>,
}

/// One life of the API: all that is needed to answer.
struct Desk {
    edge: Rc<Edge>,
    token: Rc<str>,
    watchers: Cell<usize>,
}

impl Api {
    pub fn new(listener: TcpListener, token: &str) -> std::io::Result<Api> {
        Ok(Api {
            listener: Async::new(listener)?,
            token: token.into(),
        })
    }

    /// Answers until it is dropped, and every connection ends with it.
    pub async fn serve(&self, edge: &Rc<Edge>) {
        let desk = Rc::new(Desk {
            edge: edge.clone(),
            token: self.token.clone(),
            watchers: Cell::new(0),
        });
        let connections = LocalExecutor::new();
        let places = Rc::new(());
        let accept = async {
            loop {
                let stream = match self.listener.accept().await {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        log::warn!("cannot accept on the API's socket: {error}");
                        Timer::after(AFTER_FAULT).await;
                        continue;
                    }
                };
                // A client beyond the bound is simply closed: it is local and may ask again.
                if Rc::strong_count(&places) > MAX_CLIENTS {
                    continue;
                }
                let (desk, place) = (desk.clone(), places.clone());
                let task = async move {
                    connection(&desk, stream.into()).await;
                    drop(place);
                };
                connections.spawn(task.boxed_local()).detach();
            }
        };
        connections.run(accept).await
    }
}

async fn connection(desk: &Rc<Desk>, stream: TcpStream) {
    let service = service_fn(|request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(door::answer(&desk, request).await) }
    });
    let served = Builder::new()
        .timer(SmolTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(FuturesIo::new(stream), service)
        .await;
    if let Err(error) = served {
        log::debug!("a connection to the API ended: {error}");
    }
}

/// Connections at a time.
const MAX_CLIENTS: usize = 32;
/// Bytes of a request's head.
const MAX_HEAD: usize = 16 * 1024;
/// From the moment a head is awaited until it is there: of a resting connection too.
const HEAD_DEADLINE: Duration = Duration::from_secs(60);
const AFTER_FAULT: Duration = Duration::from_secs(1);
