//! What has become of each device.

use serde::Serialize;

use super::plan::{Node, Plan};
use crate::keadm::out::Report;

/// One device.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    pub node: String,
    pub address: String,
    pub command: String,
    pub state: State,
    /// Why it failed.
    pub reason: Option<String>,
    pub seconds: u64,
    #[serde(skip)]
    pub fingerprint: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Done,
    Failed,
    /// The log says that it was done before.
    Skipped,
    /// It would be done.
    Planned,
}

/// All of them, in the order of the file.
#[derive(Serialize)]
pub struct Summary {
    pub good: bool,
    pub done: usize,
    pub failed: usize,
    pub skipped: usize,
    nodes: Vec<Outcome>,
}

impl Outcome {
    pub fn of(node: &Node, state: State, reason: Option<String>, seconds: u64) -> Outcome {
        Outcome {
            node: node.name.clone(),
            address: node.address(),
            command: node.command(),
            state,
            reason,
            seconds,
            fingerprint: node.fingerprint(),
        }
    }

    pub fn skipped(node: &Node) -> Outcome {
        Outcome::of(node, State::Skipped, None, 0)
    }

    pub fn planned(node: &Node) -> Outcome {
        Outcome::of(node, State::Planned, None, 0)
    }

    /// One line for people.
    pub fn line(&self) -> String {
        match (&self.reason, self.state) {
            (Some(reason), _) => {
                format!("{}: failed after {} s: {reason}", self.node, self.seconds)
            }
            (None, State::Done) => format!("{}: done in {} s", self.node, self.seconds),
            (None, state) => format!("{}: {}", self.node, state.word()),
        }
    }
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            State::Done => "done",
            State::Failed => "failed",
            State::Skipped => "skipped",
            State::Planned => "planned",
        }
    }
}

impl Summary {
    pub fn of(plan: &Plan, mut nodes: Vec<Outcome>) -> Summary {
        let place = |outcome: &Outcome| plan.nodes.iter().position(|it| it.name == outcome.node);
        nodes.sort_by_key(place);
        let count = |state| nodes.iter().filter(|it| it.state == state).count();
        Summary {
            good: count(State::Failed) == 0,
            done: count(State::Done),
            failed: count(State::Failed),
            skipped: count(State::Skipped),
            nodes,
        }
    }
}

impl Report for Summary {
    fn text(&self) -> String {
        let mut text = String::new();
        let width = self.nodes.iter().map(|it| it.node.len()).max().unwrap_or(0);
        for it in &self.nodes {
            let more = match (&it.reason, it.state) {
                (Some(reason), _) => reason.clone(),
                (None, State::Planned) => format!("{}: {}", it.address, it.command),
                (None, _) => it.address.clone(),
            };
            let (name, state) = (&it.node, it.state.word());
            text += &format!("{name:width$}  {state:7}  {more}\n");
        }
        let Summary {
            done,
            failed,
            skipped,
            ..
        } = self;
        text + &format!("{done} done, {failed} failed, {skipped} skipped.\n")
    }
}
