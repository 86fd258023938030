//! What a cluster has of a kind, followed for ever: a list, and a watch from there on, begun again
//! whenever one ends.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smol::Timer;

use super::object::{self, Object};
use super::{Api, CallError, EventKind, Request, Resource, list};

use crate::system::cause;

/// What is followed.
#[derive(Clone, Debug)]
pub struct Followed {
    pub resource: Resource,
    pub namespace: Option<String>,
    /// Selectors, for the list and the watch: `labelSelector`, `fieldSelector`.
    pub parameters: Vec<(&'static str, String)>,
    /// More objects are none that we could keep.
    pub limit: usize,
    /// The type may be one that the cluster does not have: then it is looked for again so seldom.
    pub seldom: Option<Duration>,
}

/// What has changed. To be told twice of the same does no harm.
#[derive(Debug)]
pub enum Change {
    /// These are all; whatever else was there before is gone.
    Reset(Vec<Object>),
    /// New, or other than before.
    Set(Object),
    /// As it was last.
    Gone(Object),
}

/// Whether what was told is what there is, for readiness and for people.
#[derive(Debug, Default)]
pub struct Standing(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    in_sync: bool,
    error: Option<CallError>,
}

impl Standing {
    /// False until all has been told once, and while the cluster can't be asked.
    pub fn is_in_sync(&self) -> bool {
        self.lock().in_sync
    }

    /// Why it is not.
    pub fn error(&self) -> Option<CallError> {
        self.lock().error.clone()
    }

    fn reached(&self, what: &Followed) {
        let mut state = self.lock();
        if state.error.take().is_some() {
            log::info!("the cluster's {} are followed again", what.resource);
        }
        state.in_sync = true;
    }

    fn lost(&self, what: &Followed, error: CallError) {
        let mut state = self.lock();
        if state.error.is_none() {
            log::warn!(
                "the cluster's {} can't be followed now: {error}",
                what.resource
            );
        }
        state.in_sync = false;
        state.error = Some(error);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Followed {
    pub fn new(resource: Resource, limit: usize) -> Followed {
        Followed {
            resource,
            namespace: None,
            parameters: Vec::new(),
            limit,
            seldom: None,
        }
    }

    /// Of a type that the cluster need not have, or need not show.
    pub fn perhaps(self, seldom: Duration) -> Followed {
        Followed {
            seldom: Some(seldom),
            ..self
        }
    }

    pub fn within(self, namespace: &str) -> Followed {
        Followed {
            namespace: Some(namespace.to_owned()),
            ..self
        }
    }

    /// One object alone.
    pub fn only(self, name: &str) -> Followed {
        self.with("fieldSelector", format!("metadata.name={name}"))
    }

    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Followed {
        self.parameters.push((key, value.into()));
        self
    }

    fn list(&self) -> Request {
        let mut request = Request::list(&self.resource, self.namespace.as_deref());
        request.query.extend(self.parameters.iter().cloned());
        request
    }

    fn watch(&self, from: &str) -> Request {
        let mut request = Request::watch(&self.resource, self.namespace.as_deref(), from);
        request.query.extend(self.parameters.iter().cloned());
        request
    }
}

/// Follows until it is dropped; `tell` hears every change in its order, and must not block.
pub async fn follow(
    api: &dyn Api,
    what: &Followed,
    standing: &Standing,
    tell: &mut (dyn FnMut(Change) + Send),
) -> Infallible {
    let mut pause = Pause::default();
    loop {
        let begun = Instant::now();
        let ended = match list::all(api, &what.list(), what.limit).await {
            Ok(listed) => {
                tell(Change::Reset(listed.items));
                standing.reached(what);
                watches(api, what, listed.version, (standing, &mut pause), tell).await
            }
            Err(error) => Err(error),
        };
        // What is forgotten at once would be asked for without end.
        match ended {
            Ok(()) if begun.elapsed() > FIRST_PAUSE => {}
            Ok(()) => pause.wait().await,
            Err(error) => {
                let absent = error.is_not_found();
                let seldom = what.seldom.filter(|_| absent || error.is_forbidden());
                match seldom.is_some() && absent {
                    // That is no fault.
                    true => tell(Change::Reset(Vec::new())),
                    false => standing.lost(what, error),
                }
                match seldom {
                    Some(seldom) => drop(Timer::after(jittered(seldom)).await),
                    None => pause.wait().await,
                }
            }
        }
    }
}

/// One watch after the other, until a list is needed: because the cluster has forgotten from where
/// to go on (then there is no error), or refuses, or says what nobody understands.
async fn watches(
    api: &dyn Api,
    what: &Followed,
    mut version: String,
    (standing, pause): (&Standing, &mut Pause),
    tell: &mut (dyn FnMut(Change) + Send),
) -> Result<(), CallError> {
    loop {
        let begun = Instant::now();
        let ended = one_watch(api, what, &mut version, (standing, &mut *pause), tell).await;
        match ended {
            // As every few minutes; but not every moment.
            Ok(()) if begun.elapsed() > FIRST_PAUSE => {}
            Ok(()) => pause.wait().await,
            Err(error) if error.is_too_old() => return Ok(()),
            Err(
                error @ (CallError::Unreachable { .. }
                | CallError::Unknown { .. }
                | CallError::Busy),
            ) => {
                standing.lost(what, error);
                pause.wait().await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn one_watch(
    api: &dyn Api,
    what: &Followed,
    version: &mut String,
    (standing, pause): (&Standing, &mut Pause),
    tell: &mut (dyn FnMut(Change) + Send),
) -> Result<(), CallError> {
    let request = what.watch(version);
    let mut events = api.watch(&request).await?;
    standing.reached(what);
    while let Some(event) = events.next().await? {
        let read: Result<Object, _> = serde_json::from_str(event.object.get());
        let object = read.map_err(|error| CallError::Strange(cause::of_json(&error)))?;
        let now = object::version(&object).to_owned();
        match event.kind {
            EventKind::Added | EventKind::Modified => tell(Change::Set(object)),
            EventKind::Deleted => tell(Change::Gone(object)),
            EventKind::Bookmark => {}
        }
        if !now.is_empty() {
            *version = now;
        }
        pause.reset();
    }
    Ok(())
}

/// Longer and longer waits, never all at the same time.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Pause {
        Pause(FIRST_PAUSE)
    }
}

impl Pause {
    async fn wait(&mut self) {
        let length = jittered(self.0);
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
        Timer::after(length).await;
    }

    fn reset(&mut self) {
        self.0 = FIRST_PAUSE;
    }
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
