//! The watches, one for each type whatever the number of nodes: all there is first, then what changes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use smol::Timer;
use smol::future::or;

use super::super::meta::Object;
use super::cache::{News, path_of};
use super::gate::LIST_PATIENCE;
use super::labels::EDGE;
use super::{Cluster, beside};
use crate::cloudcore::cloud::Cloud;
use crate::kubernetes::request::WATCH_SECONDS;
use crate::kubernetes::resource::{CONFIG_MAPS, DEVICE_MODELS, DEVICES, NODES, PODS, SECRETS};
use crate::kubernetes::{CallError, Event, EventKind, Events, Request, Resource, object};
use crate::protocol::resource::Kind;
use crate::system::cause;

/// A type that is watched.
pub struct Watched {
    pub resource: Resource,
    pub kind: Kind,
    /// What is asked for of it.
    select: Option<(&'static str, &'static str)>,
}

/// In the order in which they are needed: who is an edge, what it has, what that needs.
pub static WATCHED: &[Watched] = &[
    watched(NODES, Kind::Node, Some(("labelSelector", EDGE))),
    watched(PODS, Kind::Pod, Some(("fieldSelector", "spec.nodeName!="))),
    watched(DEVICES, Kind::Device, None),
    watched(CONFIG_MAPS, Kind::ConfigMap, None),
    watched(SECRETS, Kind::Secret, None),
    watched(DEVICE_MODELS, Kind::DeviceModel, None),
];

const fn watched(
    resource: Resource,
    kind: Kind,
    select: Option<(&'static str, &'static str)>,
) -> Watched {
    Watched {
        resource,
        kind,
        select,
    }
}

/// The first time one after the other, so that little is kept that is not needed; then each by itself.
pub async fn follow_all(cloud: Arc<Cloud>, cluster: Arc<Cluster>) {
    for watched in WATCHED {
        let from = first(&cloud, &cluster, watched).await;
        let (shared, cluster) = (cloud.clone(), cluster.clone());
        beside(&cloud, async move {
            follow(&shared, &cluster, watched, from).await;
        });
    }
    log::info!("what the cluster has for its edges is known");
}

/// A list that succeeds; none where this type is not to be had at the moment.
async fn first(cloud: &Arc<Cloud>, cluster: &Cluster, watched: &Watched) -> Option<String> {
    let mut pause = SHORT;
    loop {
        match list(cloud, cluster, watched).await {
            Ok(version) => return Some(version),
            Err(error) if error.is_not_found() || error.is_forbidden() => {
                log::warn!(
                    "{} are not told to edges: {error}; it is looked for again every {} min",
                    watched.resource,
                    LONG.as_secs() / 60
                );
                return None;
            }
            Err(error) => {
                cluster.complain(&error);
                Timer::after(pause.mul_f64(0.5 + fastrand::f64())).await;
                pause = (pause * 2).min(LONGEST);
            }
        }
    }
}

async fn follow(
    cloud: &Arc<Cloud>,
    cluster: &Cluster,
    watched: &Watched,
    mut from: Option<String>,
) {
    let mut pause = SHORT;
    loop {
        let failed = match &from {
            Some(version) => {
                let mut version = version.clone();
                let watching = watch(cloud, cluster, watched, &mut version).await;
                from = Some(version);
                watching
            }
            None => match list(cloud, cluster, watched).await {
                Ok(version) => {
                    from = Some(version);
                    Ok(())
                }
                Err(error) => Err(error),
            },
        };
        let error = match failed {
            Ok(()) => {
                pause = SHORT;
                continue;
            }
            Err(error) => error,
        };
        if error.is_too_old() {
            from = None;
            continue;
        }
        if error.is_not_found() || error.is_forbidden() {
            from = None;
            Timer::after(LONG).await;
            continue;
        }
        cluster.complain(&error);
        Timer::after(pause.mul_f64(0.5 + fastrand::f64())).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// All objects of a type, page by page; the version they are of.
pub async fn list(
    cloud: &Arc<Cloud>,
    cluster: &Cluster,
    watched: &Watched,
) -> Result<String, CallError> {
    let mut told = HashSet::new();
    let (mut next, mut size) = (String::new(), PAGE);
    loop {
        let mut request = Request::list(&watched.resource, None);
        request.query.retain(|(key, _)| *key != "limit");
        request = request.with("limit", size.to_string());
        if let Some((key, value)) = watched.select {
            request = request.with(key, value);
        }
        if !next.is_empty() {
            request = request.with("continue", next.clone());
        }
        let answer = match cluster.call_within(request, LIST_PATIENCE).await {
            // Secrets and ConfigMaps may have a megabyte each.
            Err(CallError::TooLong { .. }) if size > 1 => {
                size = (size / 5).max(1);
                continue;
            }
            other => other?,
        };
        let page = read(&answer.body)?;
        let mut news = Vec::new();
        for item in page.items.unwrap_or_default() {
            let object = parsed(&item)?;
            told.extend(path_of(watched.kind, &object));
            news.push(cluster.told(cloud, |cache, state| {
                cache.put(state, &watched.resource, watched.kind, object)
            }));
        }
        for news in news {
            act(cloud, cluster, news);
        }
        if page.metadata.next.is_empty() {
            let version = page.metadata.version;
            let number = version.parse().unwrap_or(u64::MAX);
            let news = cluster.told(cloud, |cache, state| {
                cache.listed(state, watched.kind, &told, number)
            });
            act(cloud, cluster, news);
            return Ok(version);
        }
        next = page.metadata.next;
    }
}

#[derive(Deserialize)]
struct Page {
    metadata: PageMetadata,
    /// `null` where there are none.
    items: Option<Vec<Box<RawValue>>>,
}

#[derive(Deserialize)]
struct PageMetadata {
    #[serde(rename = "resourceVersion", default)]
    version: String,
    #[serde(rename = "continue", default)]
    next: String,
}

fn read(body: &[u8]) -> Result<Page, CallError> {
    serde_json::from_slice(body).map_err(|error| CallError::Strange(cause::of_json(&error)))
}

fn parsed(text: &RawValue) -> Result<Object, CallError> {
    serde_json::from_str(text.get()).map_err(|error| CallError::Strange(cause::of_json(&error)))
}

/// Until the watch ends; `version` is then the last one that was told.
async fn watch(
    cloud: &Arc<Cloud>,
    cluster: &Cluster,
    watched: &Watched,
    version: &mut String,
) -> Result<(), CallError> {
    let mut request = Request::watch(&watched.resource, None, version);
    if let Some((key, value)) = watched.select {
        request = request.with(key, value);
    }
    let mut events = cluster.api.watch(&request).await?;
    loop {
        let Some(event) = in_time(&mut *events).await? else {
            return Ok(());
        };
        let object = parsed(&event.object)?;
        let at = object::version(&object).to_owned();
        let news = cluster.told(cloud, |cache, state| match event.kind {
            EventKind::Added | EventKind::Modified => {
                cache.put(state, &watched.resource, watched.kind, object)
            }
            EventKind::Deleted => cache.delete(state, &watched.resource, watched.kind, object),
            EventKind::Bookmark => News::default(),
        });
        act(cloud, cluster, news);
        if !at.is_empty() {
            *version = at;
        }
    }
}

/// A line that is dead says nothing, not even that the watch is over.
async fn in_time(events: &mut dyn Events) -> Result<Option<Event>, CallError> {
    or(events.next(), async {
        Timer::after(Duration::from_secs(WATCH_SECONDS + 60)).await;
        Ok(None)
    })
    .await
}

/// Does what is to be done because of what was told.
pub fn act(cloud: &Arc<Cloud>, cluster: &Cluster, news: News) {
    super::super::deliver(cloud, news.pushes);
    for node in news.ended {
        log::info!("node {node} was deleted");
        cloud
            .registry
            .end(&node, crate::cloudcore::outbox::Ending::NodeDeleted);
    }
    if news.wanting || !news.adopted.is_empty() {
        cluster.ring(news.adopted);
    }
}

/// Objects in one page, to begin with.
const PAGE: usize = 500;
const SHORT: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// For what a cluster does not have, or does not show.
const LONG: Duration = Duration::from_secs(300);
