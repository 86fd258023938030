//! What others change: replicas of ours and of Go, and people.

use std::time::Duration;

use log::{debug, error, info, warn};
use serde_json::value::RawValue;
use smol::Timer;
use smol::future::or;

use super::super::StoreError;
use super::cache::Touched;
use super::keys::CA;
use super::nodes::{REVOCATIONS_NAME, read_all};
use super::space::ROTATION;
use super::{KubernetesStore, LABEL, NAMESPACE};
use crate::kubernetes::object::{self, Object};
use crate::kubernetes::request::Request;
use crate::kubernetes::resource::{CONFIG_MAPS, SECRETS};
use crate::kubernetes::{CallError, Event, EventKind};

/// What a cloudcore has to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The CA or its rotation may have changed: go by what the store says.
    Ca,
    /// The keys of these nodes may not be what they were: judge their sessions again.
    Nodes(Touched),
}

/// Who hears the news. It is not to wait.
pub type Ear<'a> = &'a (dyn Fn(News) + Send + Sync);

impl KubernetesStore {
    /// Tells what others change, for ever. From the first answer on, what is known of nodes is read
    /// here, also while the cluster is away.
    pub async fn follow(&self, ear: Ear<'_>) {
        or(self.follow_nodes(ear), self.follow_ca(ear)).await;
    }

    /// Reads what is known of nodes once, for a command that asks about many.
    pub async fn snapshot(&self) -> Result<(), StoreError> {
        let (contents, _) = read_all(&self.space).await?;
        self.cache.fill(contents);
        Ok(())
    }

    async fn follow_nodes(&self, ear: Ear<'_>) {
        let mut failures = 0;
        loop {
            match self.follow_from_list(ear, &mut failures).await {
                error if is_too_old(&error) => debug!("nodes: {error}"),
                error if failures == 0 => warn!("what is known of nodes may be old: {error}"),
                error => debug!("what is known of nodes may be old: {error}"),
            }
            failures += 1;
            wait(backoff(failures)).await;
        }
    }

    /// Lists, and watches until that fails; why it did.
    async fn follow_from_list(&self, ear: Ear<'_>, failures: &mut u32) -> StoreError {
        let (contents, mut version) = match read_all(&self.space).await {
            Ok(read) => read,
            Err(error) => return error,
        };
        if *failures > 0 {
            info!("what is known of nodes is as the cluster has it again");
            *failures = 0;
        }
        self.cache.fill(contents);
        self.tell_touched(ear);
        loop {
            let watch = Request::watch(&CONFIG_MAPS, Some(NAMESPACE), &version);
            let watch = watch.with("labelSelector", LABEL);
            let mut events = match self.space.api.watch(&watch).await {
                Ok(events) => events,
                Err(error) => return error.into(),
            };
            loop {
                match events.next().await {
                    Ok(Some(event)) => match self.take(ear, &event) {
                        Some(newer) => version = newer,
                        None => return CallError::Strange("an event".to_owned()).into(),
                    },
                    // As it does every few minutes.
                    Ok(None) => break,
                    Err(error) => return error.into(),
                }
            }
            wait(BETWEEN_WATCHES).await;
        }
    }

    /// The version up to which all is known then.
    fn take(&self, ear: Ear<'_>, event: &Event) -> Option<String> {
        let object = read(&event.object)?;
        match event.kind {
            EventKind::Bookmark => {}
            EventKind::Added | EventKind::Modified => self.cache.put(&object),
            EventKind::Deleted => {
                if object::name(&object) == REVOCATIONS_NAME {
                    error!(
                        "the ConfigMap {NAMESPACE}/{REVOCATIONS_NAME} is deleted: no key is revoked \
                         any more, restore it if that is not what you want"
                    );
                }
                self.cache.forget(&object);
            }
        }
        self.tell_touched(ear);
        Some(object::version(&object).to_owned())
    }

    /// Always after it has become known: a session that was judged by what was known before is there
    /// by now, or is judged once more when it begins.
    fn tell_touched(&self, ear: Ear<'_>) {
        let touched = self.cache.touched();
        if !touched.is_empty() {
            ear(News::Nodes(touched));
        }
    }

    /// Looks often at first, when a Go cloudcore that started at the same time may have put another
    /// CA in the place of ours; then every minute, and at once when a rotation goes on.
    async fn follow_ca(&self, ear: Ear<'_>) {
        let mut known = None;
        let mut looks = FIRST_LOOKS.iter();
        loop {
            let pause = looks.next().copied().unwrap_or(LOOK);
            match self.ca_versions().await {
                Ok((versions, from)) => {
                    if known.as_ref() != Some(&versions) {
                        ear(News::Ca);
                        known = Some(versions);
                    }
                    or(wait(pause), self.rotation_changes(&from)).await;
                }
                Err(error) => {
                    debug!("the CA in the cluster can't be read now: {error}");
                    wait(pause.min(backoff(3))).await;
                }
            }
        }
    }

    /// Versions of the CA and of its rotation, and the one from which on changes of the latter are
    /// to be watched.
    async fn ca_versions(&self) -> Result<((String, String), String), StoreError> {
        let ca = self.space.get(&SECRETS, CA).await?;
        let version =
            |object: Option<&Object>| object.map(object::version).unwrap_or_default().to_owned();
        let (rotations, from) = self.space.list(&SECRETS, ROTATION).await?;
        let versions = (version(ca.as_ref()), version(rotations.first()));
        Ok((versions, from))
    }

    /// Returns when the rotation has changed; never, when it can't be watched.
    async fn rotation_changes(&self, from: &str) {
        let watch = Request::watch(&SECRETS, Some(NAMESPACE), from);
        let watch = watch.with("labelSelector", format!("{LABEL}={ROTATION}"));
        if let Ok(mut events) = self.space.api.watch(&watch).await {
            while let Ok(Some(event)) = events.next().await {
                if event.kind != EventKind::Bookmark {
                    return;
                }
            }
        }
        std::future::pending().await
    }
}

fn read(object: &RawValue) -> Option<Object> {
    serde_json::from_str(object.get()).ok()
}

/// Which is no trouble: a list tells what a watch can't any more.
fn is_too_old(error: &StoreError) -> bool {
    let StoreError::Cluster(fault) = error else {
        return false;
    };
    let said = fault.cause.downcast_ref::<CallError>();
    said.is_some_and(CallError::is_too_old)
}

fn backoff(failures: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(1 << failures.clamp(1, 6))
        .min(LONGEST_PAUSE)
}

/// Spread, so that replicas which lost the cluster together do not come back together.
async fn wait(pause: Duration) {
    Timer::after(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
}

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
const BETWEEN_WATCHES: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_secs(60);
const FIRST_LOOKS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
];
