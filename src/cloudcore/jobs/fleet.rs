//! One job for many nodes: who is next, who is done, and when it stops by itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::jobs::Report;
use crate::protocol::resource::JobFamily;
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;
use crate::system::sorted::SortedMap;

/// As it is kept in the store, and shown.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    pub name: String,
    pub kind: Kind,
    pub phase: Phase,
    /// Why it has stopped.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Nodes that may be at it at the same time.
    pub max_unavailable: usize,
    pub pause_on_failure: bool,
    /// For one node.
    pub timeout_seconds: u64,
    pub created: Timestamp,
    /// What nodes are told.
    pub spec: Value,
    pub nodes: SortedMap<NodeName, Member>,
}

/// What a job is made from, besides its name and its nodes: the body of an order for one.
#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    pub kind: Kind,
    pub max_unavailable: usize,
    pub pause_on_failure: bool,
    pub timeout_seconds: u64,
    pub spec: Value,
}

impl Wanted {
    pub fn job(
        self,
        name: String,
        created: Timestamp,
        nodes: SortedMap<NodeName, Member>,
    ) -> Fleet {
        Fleet {
            name,
            kind: self.kind,
            phase: Phase::Running,
            reason: String::new(),
            max_unavailable: self.max_unavailable,
            pause_on_failure: self.pause_on_failure,
            timeout_seconds: self.timeout_seconds,
            created,
            spec: self.spec,
            nodes,
        }
    }
}

/// In the words of objects.
#[allow(clippy::enum_variant_names)]
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum Kind {
    NodeUpgradeJob,
    ConfigUpdateJob,
    ImagePrePullJob,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum Phase {
    Running,
    /// A node has failed, and a person shall look at it.
    Paused,
    Cancelled,
    Completed,
}

/// A node's part.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    pub phase: Stand,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Report>,
    /// In this process, and over the present session.
    #[serde(skip)]
    pub sent: bool,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub enum Stand {
    #[default]
    Waiting,
    InProgress,
    Successful,
    Failure,
}

impl Kind {
    pub fn family(self) -> JobFamily {
        match self {
            Kind::NodeUpgradeJob => JobFamily::NodeUpgrade,
            Kind::ConfigUpdateJob => JobFamily::ConfigUpdate,
            Kind::ImagePrePullJob => JobFamily::ImagePrePull,
        }
    }
}

impl Fleet {
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Cancelled | Phase::Completed)
    }

    /// Nodes of this standing.
    pub fn count(&self, stand: Stand) -> usize {
        self.nodes.values().filter(|it| it.phase == stand).count()
    }

    /// Gives up on who takes too long and takes on who is next; returns who is to be told, and whether
    /// anything has changed. `there` are the nodes with a session.
    pub fn advance(
        &mut self,
        now: Timestamp,
        there: impl Fn(&NodeName) -> bool,
    ) -> (Vec<NodeName>, bool) {
        let (mut told, mut changed) = (Vec::new(), false);
        if self.is_over() {
            return (told, changed);
        }
        let patience = Duration::from_secs(self.timeout_seconds);
        for member in self.nodes.values_mut() {
            let late = member.since.is_some_and(|it| now.since(it) >= patience);
            if member.phase == Stand::InProgress && late {
                let seconds = self.timeout_seconds;
                let last = member.actions.last().map_or("nothing", |it| &it.action);
                let why = format!("no end within {seconds} s; the last it reported was {last}");
                member.fail(why);
                changed = true;
            }
        }
        changed |= self.stop_if_failed();
        let mut room = self
            .max_unavailable
            .saturating_sub(self.count(Stand::InProgress));
        let runs = self.phase == Phase::Running;
        for (node, member) in &mut self.nodes {
            let next = member.phase == Stand::Waiting && runs && room > 0 && there(node);
            if next {
                room -= 1;
                member.phase = Stand::InProgress;
                member.since = Some(now);
                changed = true;
            }
            // Once it has said something it has the job; a session that ended before has lost it.
            let lost = member.phase == Stand::InProgress && member.actions.is_empty();
            if lost && !member.sent && there(node) {
                member.sent = true;
                told.push(node.clone());
            }
        }
        if self.count(Stand::Waiting) + self.count(Stand::InProgress) == 0 {
            self.phase = Phase::Completed;
            changed = true;
        }
        (told, changed)
    }

    /// A node has reported a step; false when that is of no interest any more.
    pub fn hear(&mut self, node: &NodeName, report: Report) -> bool {
        let Some(member) = self.nodes.get_mut(node) else {
            return false;
        };
        // A node says it again when it does not know that it was heard.
        let is_new = !member.actions.contains(&report);
        let is_awaited = member.phase == Stand::InProgress && member.actions.len() < MAX_ACTIONS;
        if !is_new || !is_awaited {
            return false;
        }
        let (last, failed) = (report.action.clone(), !report.succ);
        let reason = report.reason.clone();
        member.actions.push(report);
        match (last.as_str(), failed) {
            // It is taken back now.
            ("Upgrade" | "Update", true) => member.reason = reason,
            ("Upgrade" | "Update" | "Pull", false) => member.phase = Stand::Successful,
            ("RollBack", false) => member.phase = Stand::Failure,
            (_, true) => member.fail(reason),
            _ => {}
        }
        true
    }

    /// The node has a new session.
    pub fn begun(&mut self, node: &NodeName) {
        if let Some(member) = self.nodes.get_mut(node) {
            member.sent = false;
        }
    }

    /// Goes on after a pause: with those that have not begun.
    pub fn resume(&mut self) -> Result<(), String> {
        match self.phase {
            Phase::Paused => {
                self.phase = Phase::Running;
                self.reason.clear();
                self.acknowledge();
                Ok(())
            }
            _ => Err(format!("job {} is not paused", self.name)),
        }
    }

    /// No other node begins. Those that have are not called back.
    pub fn cancel(&mut self) -> Result<(), String> {
        if self.is_over() {
            return Err(format!("job {} is over already", self.name));
        }
        self.phase = Phase::Cancelled;
        self.reason = "an operator has cancelled it".to_owned();
        Ok(())
    }

    fn stop_if_failed(&mut self) -> bool {
        let failed = self.nodes.iter();
        let failed = failed.filter(|(_, it)| it.phase == Stand::Failure && !it.seen());
        let failed: Vec<&str> = failed.map(|(node, _)| node.as_str()).collect();
        if !self.pause_on_failure || self.phase != Phase::Running || failed.is_empty() {
            return false;
        }
        let names: Vec<&str> = failed.iter().take(5).copied().collect();
        self.reason = format!("{} of its nodes failed: {}", failed.len(), names.join(", "));
        self.phase = Phase::Paused;
        true
    }

    /// A person has seen the failures that there are.
    fn acknowledge(&mut self) {
        for member in self.nodes.values_mut() {
            if member.phase == Stand::Failure {
                member.since = None;
            }
        }
    }
}

impl Member {
    /// One that is not asked; no failure that stops the others.
    pub fn unfit(reason: String) -> Member {
        Member {
            phase: Stand::Failure,
            reason,
            ..Member::default()
        }
    }

    fn fail(&mut self, why: String) {
        self.phase = Stand::Failure;
        self.reason = match self.reason.is_empty() {
            true => why,
            false => format!("{}; {why}", self.reason),
        };
    }

    /// It does not stop the job any more.
    fn seen(&self) -> bool {
        self.since.is_none()
    }
}

/// More than any job has.
const MAX_ACTIONS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix(1_795_339_363);

    fn report(action: &str, succ: bool) -> Report {
        Report {
            action: action.to_owned(),
            succ,
            reason: if succ { "" } else { "bad flash" }.to_owned(),
            ..Report::default()
        }
    }

    fn fleet(count: usize, max_unavailable: usize, pause_on_failure: bool) -> Fleet {
        let node = |number| format!("edge-{number:02}").parse().unwrap();
        Fleet {
            name: "u".to_owned(),
            kind: Kind::NodeUpgradeJob,
            phase: Phase::Running,
            reason: String::new(),
            max_unavailable,
            pause_on_failure,
            timeout_seconds: 600,
            created: START,
            spec: Value::Null,
            nodes: (0..count)
                .map(|number| (node(number), Member::default()))
                .collect(),
        }
    }

    /// Three of fifty are bad: one refuses, one takes its upgrade back, one never comes again.
    fn answer(fleet: &mut Fleet, node: &NodeName) {
        let said: &[(&str, bool)] = match node.as_str() {
            "edge-07" => &[("Check", false)],
            "edge-20" => &[
                ("Check", true),
                ("BackUp", true),
                ("Upgrade", false),
                ("RollBack", true),
            ],
            "edge-33" => &[("Check", true), ("BackUp", true)],
            _ => &[("Check", true), ("BackUp", true), ("Upgrade", true)],
        };
        for (action, succ) in said {
            assert!(fleet.hear(node, report(action, *succ)));
        }
    }

    #[test]
    fn fifty_nodes_in_waves_with_three_bad_ones() {
        let mut fleet = fleet(50, 8, false);
        let (mut now, mut told) = (START, 0);
        while !fleet.is_over() {
            let (next, _) = fleet.advance(now, |_| true);
            assert!(fleet.count(Stand::InProgress) <= 8);
            told += next.len();
            for node in &next {
                answer(&mut fleet, node);
            }
            if next.is_empty() {
                // Only the silent one is left.
                now = now.plus(Duration::from_secs(600));
            }
            // As after a restart.
            fleet = serde_json::from_str(&serde_json::to_string(&fleet).unwrap()).unwrap();
        }
        assert_eq!((told, fleet.phase), (50, Phase::Completed));
        assert_eq!(fleet.count(Stand::Successful), 47);
        let reason = |name: &str| fleet.nodes[&name.parse().unwrap()].reason.clone();
        assert_eq!(reason("edge-07"), "bad flash");
        assert_eq!(reason("edge-20"), "bad flash");
        assert!(
            reason("edge-33").contains("the last it reported was BackUp"),
            "{}",
            reason("edge-33")
        );
    }

    #[test]
    fn a_failure_pauses_and_a_person_has_it_go_on() {
        let mut fleet = fleet(10, 2, true);
        let mut told = Vec::new();
        loop {
            let (next, _) = fleet.advance(START, |_| true);
            for node in &next {
                answer(&mut fleet, node);
            }
            told.extend(next);
            match fleet.phase {
                Phase::Paused => {
                    assert!(fleet.reason.contains("edge-07"), "{}", fleet.reason);
                    assert!(told.len() < 10);
                    fleet.resume().unwrap();
                    assert!(fleet.resume().is_err());
                }
                Phase::Completed => break,
                _ => {}
            }
        }
        assert_eq!((told.len(), fleet.count(Stand::Successful)), (10, 9));
        assert!(fleet.cancel().is_err());
    }

    #[test]
    fn what_a_node_says_again_counts_once() {
        let mut fleet = fleet(1, 1, true);
        let (told, _) = fleet.advance(START, |_| true);
        assert!(fleet.hear(&told[0], report("Check", true)));
        assert!(!fleet.hear(&told[0], report("Check", true)));
        assert!(fleet.hear(&told[0], report("Upgrade", false)));
        assert!(!fleet.hear(&told[0], report("Upgrade", false)));
        assert!(fleet.hear(&told[0], report("RollBack", true)));
        assert!(!fleet.hear(&told[0], report("RollBack", true)));
        assert_eq!(fleet.nodes[&told[0]].actions.len(), 3);
        assert_eq!(fleet.nodes[&told[0]].reason, "bad flash");
    }

    #[test]
    fn who_is_away_does_not_hold_up_the_others_and_a_lost_job_is_sent_again() {
        let mut fleet = fleet(3, 1, false);
        let away = |node: &NodeName| node.as_str() != "edge-00";
        let (told, _) = fleet.advance(START, away);
        assert_eq!(told[0].as_str(), "edge-01");
        assert!(fleet.advance(START, away).0.is_empty(), "it is told once");
        fleet.begun(&told[0]);
        assert_eq!(
            fleet.advance(START, away).0,
            told,
            "its session ended first"
        );
        fleet.hear(&told[0], report("Check", true));
        fleet.begun(&told[0]);
        assert!(fleet.advance(START, away).0.is_empty(), "it has the job");
        fleet.hear(&told[0], report("Upgrade", true));
        assert!(
            !fleet.hear(&told[0], report("Upgrade", false)),
            "it is over"
        );
        let (next, _) = fleet.advance(START, away);
        assert_eq!(next[0].as_str(), "edge-02");
        fleet.cancel().unwrap();
        assert!(fleet.advance(START, |_| true).0.is_empty());
    }
}
