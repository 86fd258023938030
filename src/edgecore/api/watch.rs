//! What happens to objects, told as it happens.

use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde_json::{Value, json};
use smol::Timer;
use smol::future::or;

use super::Desk;
use super::answer::{Answer, Gone, Pieces, made, refusal, status};
use super::objects::{chosen, is_meant, paths};
use crate::edgecore::meta::news::{Item, TooOld, What};
use crate::protocol::local::request::{List, Watch};

/// A place among those who watch, until it is dropped.
struct Place(Rc<Desk>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.watchers.update(|count| count.saturating_sub(1));
    }
}

pub fn watch(desk: &Rc<Desk>, mut list: List) -> Answer {
    let watch = list.watch.take().unwrap_or_default();
    if desk.watchers.get() >= MAX_WATCHERS {
        let message = "too many programs watch already: try again later";
        return refusal(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message);
    }
    let news = &desk.edge.meta.news;
    let start = match watch.since.as_str() {
        "" | "0" => Ok(None),
        version => news.since(version).map(Some),
    };
    let Ok(start) = start else {
        return refusal(StatusCode::GONE, "Expired", TOO_OLD);
    };
    desk.watchers.update(|count| count + 1);
    let place = Place(desk.clone());
    made(move |pieces| async move {
        let _ = tell(&place.0, &list, &watch, start, &pieces).await;
    })
}

async fn tell(
    desk: &Desk,
    list: &List,
    watch: &Watch,
    start: Option<u64>,
    pieces: &Pieces,
) -> Result<(), Gone> {
    let edge = &desk.edge;
    let news = &edge.meta.news;
    let changed = news.watch();
    let mut next = start.unwrap_or_else(|| news.now());
    if start.is_none() {
        for path in paths(edge, list) {
            if let Some(object) = chosen(edge, list, &path).await {
                pieces.send(event("ADDED", &object)).await?;
            }
        }
    }
    let seconds = watch
        .seconds
        .map_or(LONGEST, |seconds| Duration::from_secs(seconds.into()));
    let end = Instant::now() + seconds.min(LONGEST);
    let mut bookmark = Instant::now() + BETWEEN_BOOKMARKS;
    loop {
        match news.get(next) {
            Ok(Some(item)) => {
                next += 1;
                if is_meant(list, &item.path)
                    && let Some(line) = told(desk, list, &item).await
                {
                    pieces.send(line).await?;
                }
                continue;
            }
            Ok(None) => {}
            Err(TooOld) => {
                let status = status(StatusCode::GONE, "Expired", TOO_OLD);
                return pieces.send(event("ERROR", &status.to_string())).await;
            }
        }
        let now = Instant::now();
        if watch.bookmarks && now >= bookmark.min(end) {
            pieces.send(event("BOOKMARK", &marked(desk, list))).await?;
            bookmark = now + BETWEEN_BOOKMARKS;
        }
        if now >= end {
            return Ok(());
        }
        let due = if watch.bookmarks {
            bookmark.min(end)
        } else {
            end
        };
        let news = async {
            let _ = changed.recv().await;
        };
        or(news, async {
            Timer::at(due).await;
        })
        .await;
    }
}

/// The line for a change, as far as it can be told now: an object may have changed again or gone since.
async fn told(desk: &Desk, list: &List, item: &Item) -> Option<String> {
    let gone = || Some(event("DELETED", &last_known(list, item).to_string()));
    if item.what == What::Deleted {
        return gone();
    }
    let word = if item.what == What::Added {
        "ADDED"
    } else {
        "MODIFIED"
    };
    match chosen(&desk.edge, list, &item.path).await {
        Some(object) => Some(event(word, &object)),
        // Its deletion will be told, or it is no longer one of those that are meant.
        None if !list.selection.is_all() && item.what == What::Modified => gone(),
        None => None,
    }
}

fn last_known(list: &List, item: &Item) -> Value {
    let mut metadata =
        json!({"name": item.path.name, "uid": &*item.uid, "resourceVersion": &*item.version});
    if let Some(namespace) = item.path.namespace.as_str() {
        metadata["namespace"] = namespace.into();
    }
    json!({"kind": list.sort.object_kind, "apiVersion": list.sort.api_version(), "metadata": metadata})
}

fn marked(desk: &Desk, list: &List) -> String {
    json!({"kind": list.sort.object_kind, "apiVersion": list.sort.api_version(),
        "metadata": {"resourceVersion": desk.edge.meta.version()}})
    .to_string()
}

fn event(kind: &str, object: &str) -> String {
    // JSON has no line ends but between its parts, and there they mean nothing.
    let object = object.replace(['\n', '\r'], " ");
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

const MAX_WATCHERS: usize = 16;
const LONGEST: Duration = Duration::from_secs(3600);
const BETWEEN_BOOKMARKS: Duration = Duration::from_secs(60);
const TOO_OLD: &str = "what happened since that version is not known any more: list again";
