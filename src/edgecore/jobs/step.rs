//! One step of a job: what is done here, and what the supervisor is asked for.

use std::time::{Duration, Instant};

use serde_json::json;
use smol::Timer;

use super::asked;
use super::errand::{Asked, Errand, Outcome, Standing};
use crate::edgecore::edge::Edge;
use crate::protocol::jobs::{Action, CheckItem, Image, Order, Work};
use crate::system::build;
use crate::system::facts::usage::{self, Left};

/// What a look at the supervisor shows.
pub enum Look {
    Runs,
    /// Nothing runs, and no end was told: so it is while a new executable is on trial.
    Unknown,
    /// It has come to no end, and will not: the power was cut.
    Lost,
    Over(Done),
}

/// What a step needs to know.
pub struct Step<'a> {
    pub edge: &'a Edge,
    pub order: &'a Order,
    /// The version that the job began with.
    pub from: &'a str,
}

/// What came of it, and what else a report says.
pub type Done = (Result<(), String>, String);

impl Step<'_> {
    /// What the supervisor has to do for it; none for what is done here.
    pub fn errand(&self, action: Action) -> Option<Errand> {
        match (action, &self.order.work) {
            (Action::BackUp, _) => Some(Errand::BackUp),
            (Action::Upgrade, Work::Upgrade(upgrade)) => Some(Errand::Upgrade {
                version: upgrade.version.clone(),
                image: upgrade.image.clone(),
                digest: upgrade.digest.clone(),
                patience: upgrade.timeout.map(each_start),
            }),
            (Action::Update, Work::Config(wishes)) => Some(Errand::Config(wishes.clone())),
            // What failed has brought the old version back itself, as it should; else it is brought back now.
            (Action::RollBack, _) if !self.is_as_before() => Some(Errand::RollBack),
            _ => None,
        }
    }

    /// Does what needs nobody else.
    pub async fn here(&self, action: Action) -> Done {
        let done = match (action, &self.order.work) {
            (Action::Init | Action::Check, _) => self.check().await,
            (Action::Pull, Work::PrePull(images)) => {
                return pulled(images, self.order.address.is_stepwise());
            }
            (Action::RollBack, _) => return (Ok(()), self.versions(self.from, self.from)),
            _ => Ok(()),
        };
        (done, String::new())
    }

    /// Has the supervisor begin.
    pub async fn begin(&self, errand: Errand) -> Result<(), String> {
        match Asked::Run(errand).line() {
            Some(line) => asked(self.edge, line).await,
            None => Err(TOO_LONG.to_owned()),
        }
    }

    /// How the supervisor is getting on.
    pub async fn look(&self, action: Action) -> Look {
        let line = Asked::Look.line().unwrap_or_default();
        let answer = asked(self.edge, line).await.err().unwrap_or_default();
        let outcome = match Standing::read(&answer) {
            Some(Standing::Over(outcome)) if is_of(&outcome, action) => outcome,
            Some(Standing::Runs) => return Look::Runs,
            // What is known is of an earlier step: this one was not even begun.
            Some(Standing::Lost | Standing::Over(_)) => return Look::Lost,
            _ => return Look::Unknown,
        };
        let done = match outcome.failed.clone() {
            None => Ok(()),
            Some(why) => Err(why),
        };
        Look::Over((done, self.extend(action, &outcome)))
    }

    fn extend(&self, action: Action, outcome: &Outcome) -> String {
        let Work::Upgrade(upgrade) = &self.order.work else {
            return String::new();
        };
        match (action, &outcome.failed) {
            (_, Some(_)) => String::new(),
            (Action::BackUp, None) => {
                let from = if outcome.to.is_empty() {
                    self.from
                } else {
                    &outcome.to
                };
                self.versions(from, upgrade.version.as_str())
            }
            _ => self.versions(&outcome.from, &outcome.to),
        }
    }

    fn versions(&self, from: &str, to: &str) -> String {
        match self.order.work {
            Work::Upgrade(_) => format!("{from},{to}"),
            _ => String::new(),
        }
    }

    fn is_as_before(&self) -> bool {
        self.from == format!("v{}", build::VERSION)
    }

    async fn check(&self) -> Result<(), String> {
        for item in &self.order.checks {
            let (name, used) = match item {
                CheckItem::Cpu => ("cpu", cpu().await),
                CheckItem::Memory => ("memory", used(usage::memory())),
                CheckItem::Disk => {
                    let folder = self.edge.settings.state.folder.clone();
                    let room = self.edge.off_thread(move || usage::room(&folder)).await;
                    ("disk", used(room.ok().flatten().map(|room| room.bytes)))
                }
            };
            // A machine that does not tell is not held up by that.
            if let Some(used) = used.filter(|used| *used > MOST) {
                return Err(format!(
                    "current {name} usage is {used:.2}, which exceeds the maximum allowed usage {MOST:.2}"
                ));
            }
        }
        let errand = match &self.order.work {
            Work::Check | Work::PrePull(_) => return Ok(()),
            Work::Upgrade(_) => self.errand(Action::Upgrade),
            Work::Config(_) => self.errand(Action::Update),
        };
        let line = errand.and_then(|errand| Asked::May(errand).line());
        asked(self.edge, line.ok_or(TOO_LONG)?).await
    }
}

/// How long each of three starts may take, so that the cloud hears of the way back before it gives up.
fn each_start(timeout: u64) -> u64 {
    (timeout / 6).clamp(SHORTEST_START, LONGEST_START)
}

/// A report of something else, or one without a name, which is what an exit code says.
fn is_of(outcome: &Outcome, action: Action) -> bool {
    let event = match action {
        Action::BackUp => "Backup",
        Action::Upgrade => "Upgrade",
        Action::Update => "ConfigUpdate",
        _ => "Rollback",
    };
    outcome.event.is_empty() || outcome.event == event
}

/// As KubeEdge's clouds read it, those of v1alpha1 in words of their own.
fn pulled(images: &[Image], is_old: bool) -> Done {
    let why = NO_RUNTIME.to_owned();
    let each = images.iter().map(|image| match (image.as_str(), is_old) {
        (image, true) => json!({"image": image, "state": "Failed", "reason": why}),
        (image, false) => json!({"image": image, "status": "False", "reason": why}),
    });
    let each: Vec<_> = each.collect();
    (Err(why.clone()), json!(each).to_string())
}

/// In percent.
fn used(left: Option<Left>) -> Option<f64> {
    let left = left.filter(|it| it.total > 0)?;
    Some(100.0 - left.left as f64 * 100.0 / left.total as f64)
}

/// In percent, over a moment; none where the kernel does not tell.
async fn cpu() -> Option<f64> {
    let before = ticks()?;
    let start = Instant::now();
    Timer::at(start + MOMENT).await;
    let after = ticks()?;
    let all = after.1.checked_sub(before.1).filter(|all| *all > 0)?;
    let idle = after.0.saturating_sub(before.0);
    Some(100.0 - idle as f64 * 100.0 / all as f64)
}

/// Of all processors: idle, and in all.
fn ticks() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let numbers: Vec<u64> = line
        .split_whitespace()
        .filter_map(|it| it.parse().ok())
        .collect();
    Some((
        numbers.get(3)? + numbers.get(4)?,
        numbers.iter().take(8).sum(),
    ))
}

const NO_RUNTIME: &str = "there is no container runtime on this device: it pulls no images";
const TOO_LONG: &str = "the job changes too much at once: give it in parts";
/// Seconds. The longest is what an upgrade by hand gives.
const SHORTEST_START: u64 = 5;
const LONGEST_START: u64 = 300;
/// Percent.
const MOST: f64 = 80.0;
const MOMENT: Duration = Duration::from_millis(500);
