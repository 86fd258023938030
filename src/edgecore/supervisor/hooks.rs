//! The hooks of delivered folders, one at a time, while the supervisor does everything else.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::edge::meta::Delivery;
use crate::edgecore::deliver::hand::{self, Due};
use crate::edgecore::deliver::hook::Hook;
use crate::edgecore::parent::NEWS;

/// Bounded by the folders of edgecore.yaml: each waits once at most.
#[derive(Default)]
pub struct Hooks {
    waiting: VecDeque<Delivery>,
    running: Option<(PathBuf, Hook)>,
}

impl Hooks {
    /// It will run: after what runs now, if that began before the change.
    pub fn want(&mut self, due: Due) {
        let Due { delivery, changed } = due;
        let runs = self.running.as_ref();
        let serves = !changed && runs.is_some_and(|(folder, _)| *folder == delivery.folder);
        self.waiting.retain(|it| it.folder != delivery.folder);
        if !serves {
            self.waiting.push_back(delivery);
        }
    }

    /// Ends what is over and starts what is next; lines for the hub.
    pub fn look(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let Some((folder, mut hook)) = self.running.take() else {
                let Some(next) = self.waiting.pop_front() else {
                    return lines;
                };
                match Hook::start(&next) {
                    Ok(hook) => self.running = Some((next.folder, hook)),
                    Err(why) => lines.push(line(&next.folder, &Err(why))),
                }
                continue;
            };
            match hook.look() {
                // Who waits for a later run of it is not told of this one.
                Some(outcome) if self.waiting.iter().all(|it| it.folder != folder) => {
                    lines.push(line(&folder, &outcome));
                }
                Some(_) => {}
                None => {
                    self.running = Some((folder, hook));
                    return lines;
                }
            }
        }
    }

    /// The process of the one that runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|(_, hook)| hook.pid())
    }

    /// How long until it must be looked again, if no child ends before.
    pub fn rest(&self) -> Duration {
        let running = self.running.as_ref();
        running.map_or(Duration::MAX, |(_, hook)| hook.left())
    }
}

fn line(folder: &std::path::Path, outcome: &Result<(), String>) -> String {
    format!("{NEWS}{}", hand::end(folder, outcome))
}
