//! Looks at the device again and again, and tells the cloud what is new; and now and then that all is as before.

use std::time::{Duration, Instant};

use serde_json::Value;
use smol::future::or;

use super::Node;
use super::conditions::Usage;
use super::patch::{changes, is_empty, with_heartbeats};
use super::talk::{About, Failed};
use crate::edgecore::backoff::Backoff;
use crate::edgecore::edge::pause;
use crate::system::facts::usage;

impl Node<'_> {
    /// Returns when the cloud has the Node no more.
    pub(super) async fn report(&self) {
        let edge = self.edge;
        let mut backoff = Backoff::new(self.pace.look, self.pace.retry.1.max(self.pace.look));
        loop {
            self.look().await;
            let mut wait = self.pace.look;
            match self.tell().await {
                Ok(true) => {
                    backoff.reset();
                    self.well();
                }
                Ok(false) => {}
                Err(failed) if failed.is_not_found() => return self.forget(),
                Err(failed) => {
                    let sentence = format!("the node can't be reported: {failed}");
                    edge.state.node_problem(&sentence, true);
                    wait = wait.max(backoff.next());
                }
            }
            let asked = or(edge.address_changed.wait(), edge.node.told.wait());
            or(pause(wait), asked).await;
            self.hear();
        }
    }

    /// Tells what is new, if anything is; true when it was told.
    async fn tell(&self) -> Result<bool, Failed> {
        let (wanted, now) = (self.wanted(), self.now());
        let labels = !self.no_labels.get();
        let patch = match &*self.known.borrow() {
            Some(known) => changes(&known.value, &wanted, labels, now),
            None => changes(&Value::Null, &wanted, labels, now),
        };
        let every = match self.edge.lease_is_kept() {
            true => SELDOM.max(self.pace.report),
            false => self.pace.report,
        };
        let due = self.reported.get().is_none_or(|at| at.elapsed() >= every);
        // What a cloud does not take up, or others keep undoing, is not told more often than
        // everything else.
        let is_news = !is_empty(&patch) && patch != *self.said.borrow();
        if !due && !is_news {
            return Ok(false);
        }
        let told = with_heartbeats(patch.clone(), &wanted, now).to_string();
        let answer = self
            .ask("patch", About::Patch, &told, self.pace.patience)
            .await;
        let answer = match answer {
            // A cluster may be strict about what a node says of itself.
            Err(failed) if !patch["metadata"].is_null() && is_about_content(&failed) => {
                let mut rest = patch.clone();
                if let Some(parts) = rest.as_object_mut() {
                    parts.remove("metadata");
                }
                let told = with_heartbeats(rest, &wanted, now).to_string();
                let answer = self
                    .ask("patch", About::Patch, &told, self.pace.patience)
                    .await;
                if answer.is_ok() {
                    log::warn!("this cloud lets a node not change its labels: {failed}");
                    self.no_labels.set(true);
                }
                answer
            }
            answer => answer,
        };
        let object = answer?;
        self.said.replace(patch);
        self.reported.set(Some(Instant::now()));
        self.learn(&object);
        Ok(true)
    }

    /// Takes what the cloud has said of the Node meanwhile, unless it is older than what is known, be it of a Node
    /// that was deleted: versions grow over all that a cloud has.
    fn hear(&self) {
        let Some(object) = self.edge.node.object.take() else {
            return;
        };
        let meta = object.meta();
        let is_old = self.known.borrow().as_ref().is_some_and(|known| {
            let numbers = (meta.resource_version.parse::<u64>(), known.version.parse());
            matches!(numbers, (Ok(new), Ok(old)) if new < old)
        });
        if !is_old {
            self.learn(&object);
        }
    }

    /// Looks at the device: memory and processes each time, the disk once a minute, since that may
    /// have to wait for it.
    pub(super) async fn look(&self) {
        let now = Instant::now();
        let seen = self.room.get();
        if seen.is_none_or(|(at, _)| now.duration_since(at) >= DISK) {
            let root = self.settings.root.clone();
            let room = self.edge.off_thread(move || usage::room(&root)).await;
            self.room.set(Some((now, room.ok().flatten())));
        }
        let usage = Usage {
            memory: usage::memory(),
            room: self.room.get().and_then(|(_, room)| room),
            pids: usage::pids(),
        };
        let mut pressures = self.pressures.borrow_mut();
        pressures.see(&usage, &self.settings.pressure, now);
    }
}

/// The same without what it is about may be taken.
fn is_about_content(failed: &Failed) -> bool {
    failed
        .status()
        .is_some_and(|status| matches!(status.code, 400 | 403 | 422))
}

const DISK: Duration = Duration::from_secs(60);
/// Between two reports of what stays the same to a cloud that sees by itself that the node is alive.
const SELDOM: Duration = Duration::from_secs(24 * 3_600);
