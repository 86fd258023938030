//! A way to a cluster for daemons: a few connections that are kept, and one for each watch, over
//! hyper.

mod connection;
mod watch;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::Response;
use hyper::body::Incoming;
use smol::Timer;
use smol::future::or;
use smol::lock::{Semaphore, SemaphoreGuard};

use self::connection::{Sender, message, raw};
use super::access::{Access, Login};
use super::exchange::{self, Carrier, Carrying, Fault, Raw};
use super::login::{Holder, Shown, Tls};
use super::{Answer, Api, CallError, Calling, Events, Request};
use crate::system::blocking::{self, Kind};
use crate::system::clock::Clock;
use crate::system::uplink::Uplink;
use crate::system::way::Way;

/// Work that goes on beside: a connection, until it ends.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
/// Starts it, on the executor of whoever has it.
pub type Spawn = Arc<dyn Fn(Task) + Send + Sync>;

/// Clones share the connections.
#[derive(Clone)]
pub struct Pooled(Arc<Inner>);

struct Inner {
    holder: Arc<Holder>,
    way: Way,
    spawn: Spawn,
    /// Held by the one that reads what is shown.
    showing: smol::lock::Mutex<()>,
    idle: Mutex<Vec<Idle>>,
    places: Semaphore,
    /// Calls that have no place yet.
    waiting: AtomicUsize,
    watches: Arc<Semaphore>,
}

/// A connection that waits for the next request.
struct Idle {
    sender: Sender,
    tls: Arc<Tls>,
    since: Instant,
}

impl Pooled {
    /// Refuses credential plugins: a daemon that has given its rights up starts no programs.
    pub fn new(access: Access, clock: &Clock, spawn: Spawn) -> Result<Pooled, CallError> {
        if matches!(access.login, Login::Program(_)) {
            return Err(CallError::Credentials(format!(
                "{} names a credential plugin (exec), and a daemon starts no programs: give it a \
                 token file, a certificate or a service account",
                access.source
            )));
        }
        let way = Way {
            uplink: Uplink::default(),
            proxy: access.proxy.clone(),
        };
        Ok(Pooled(Arc::new(Inner {
            holder: Arc::new(Holder::new(access, clock)),
            way,
            spawn,
            showing: smol::lock::Mutex::new(()),
            idle: Mutex::default(),
            places: Semaphore::new(CONNECTIONS),
            waiting: AtomicUsize::new(0),
            watches: Arc::new(Semaphore::new(WATCHES)),
        })))
    }

    pub fn access(&self) -> &Access {
        &self.0.holder.access
    }
}

impl Inner {
    async fn once(
        &self,
        request: &Request,
        shown: &Shown,
        sent: &AtomicBool,
    ) -> Result<Raw, Fault> {
        let _place = self.place().await?;
        let access = &*self.holder.access;
        let presented = &shown.tls.presented;
        let mut unsent = message(request, shown, access)?;
        while let Some(mut sender) = self.kept(&shown.tls) {
            // One that the other side has ended meanwhile takes nothing.
            if sender.ready().await.is_err() {
                continue;
            }
            sent.store(true, Ordering::Relaxed);
            match sender.try_send_request(unsent).await {
                Ok(response) => return self.finish(response, sender, shown).await,
                Err(mut failed) => match failed.take_message() {
                    Some(message) => unsent = message,
                    // It had ended when the request was on its way: that is no fault of the cluster.
                    None if request.is_repeatable() => unsent = message(request, shown, access)?,
                    None => return Err(connection::fault(failed.error(), presented)),
                },
            }
            sent.store(false, Ordering::Relaxed);
        }
        let mut sender = self.connect(&shown.tls).await?;
        sent.store(true, Ordering::Relaxed);
        match sender.send_request(unsent).await {
            Ok(response) => self.finish(response, sender, shown).await,
            Err(error) => Err(connection::fault(&error, presented)),
        }
    }

    async fn finish(
        &self,
        response: Response<Incoming>,
        sender: Sender,
        shown: &Shown,
    ) -> Result<Raw, Fault> {
        let raw = raw(response, exchange::MAX_BODY, &shown.tls.presented).await?;
        let mut idle = self.idle();
        if !sender.is_closed() && idle.len() < CONNECTIONS {
            idle.push(Idle {
                sender,
                tls: shown.tls.clone(),
                since: Instant::now(),
            });
        }
        Ok(raw)
    }

    async fn place(&self) -> Result<SemaphoreGuard<'_>, Fault> {
        if let Some(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let _waits = Waits::among(&self.waiting).ok_or(Fault::Busy)?;
        Ok(self.places.acquire().await)
    }

    /// A connection that can be used again, the last one first.
    fn kept(&self, tls: &Arc<Tls>) -> Option<Sender> {
        let mut idle = self.idle();
        idle.retain(|it| {
            let fresh = it.since.elapsed() < KEPT && Arc::ptr_eq(&it.tls, tls);
            fresh && !it.sender.is_closed()
        });
        idle.pop().map(|it| it.sender)
    }

    async fn connect(&self, tls: &Tls) -> Result<Sender, Fault> {
        let endpoint = &self.holder.access.server.endpoint;
        connection::open(&self.way, endpoint, tls, &self.spawn).await
    }

    async fn show(&self) -> Result<Arc<Shown>, CallError> {
        if let Some(shown) = self.holder.at_hand() {
            return Ok(shown);
        }
        // Many who find nothing at hand need one thread, not one each.
        let _alone = self.showing.lock().await;
        match self.holder.at_hand() {
            Some(shown) => Ok(shown),
            None => {
                let holder = self.holder.clone();
                on_a_thread(move || holder.show()).await
            }
        }
    }

    async fn renew(&self, refused: &Arc<Shown>) -> Result<Option<Arc<Shown>>, CallError> {
        let _alone = self.showing.lock().await;
        let (holder, refused) = (self.holder.clone(), refused.clone());
        on_a_thread(move || holder.renew(&refused)).await
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads files.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CallError> + Send + 'static,
) -> Result<T, CallError> {
    let done = blocking::run(Kind::Disk, DISK, work).await;
    done.unwrap_or_else(|blocked| {
        let sentence = format!("the credentials for the cluster can't be read: {blocked}");
        Err(CallError::Credentials(sentence))
    })
}

/// One of those that wait for a place, until it is dropped.
struct Waits<'a>(&'a AtomicUsize);

impl Waits<'_> {
    fn among(waiting: &AtomicUsize) -> Option<Waits<'_>> {
        let one = Waits(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITERS).then_some(one)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Api for Pooled {
    fn call<'a>(&'a self, request: &'a Request) -> Calling<'a, Answer> {
        Box::pin(exchange::call(&*self.0, request))
    }

    fn watch<'a>(&'a self, request: &'a Request) -> Calling<'a, Box<dyn Events>> {
        Box::pin(watch::open(&self.0, request))
    }
}

impl Carrier for Inner {
    fn server(&self) -> String {
        self.holder.access.server.to_string()
    }

    fn show(&self) -> Carrying<'_, Arc<Shown>, CallError> {
        Box::pin(Inner::show(self))
    }

    fn renew<'a>(&'a self, refused: &'a Arc<Shown>) -> Carrying<'a, Option<Arc<Shown>>, CallError> {
        Box::pin(Inner::renew(self, refused))
    }

    fn carry<'a>(&'a self, request: &'a Request, shown: Arc<Shown>) -> Carrying<'a, Raw, Fault> {
        Box::pin(async move {
            let sent = AtomicBool::new(false);
            or(self.once(request, &shown, &sent), async {
                Timer::after(request.timeout).await;
                let sentence = format!("nothing within {} s", request.timeout.as_secs_f32());
                Err(match sent.load(Ordering::Relaxed) {
                    true => Fault::Broken(sentence),
                    false => Fault::NotSent(sentence),
                })
            })
            .await
        })
    }
}

/// Connections for calls, at once and kept. An answer takes some 5 ms, and 20,000 nodes are 2,000 writes a second.
pub const CONNECTIONS: usize = 32;
/// Calls that wait for one of them.
pub const WAITERS: usize = 256;
/// Watches at once.
const WATCHES: usize = 64;
/// How long a connection is kept that nobody uses. Servers and what is before them keep it longer.
const KEPT: Duration = Duration::from_secs(30);
/// For reading what we show.
const DISK: Duration = Duration::from_secs(10);
