//! What a Node that was there before lacks, and the device may not give it: its taints.

use serde_json::Value;

use super::Node;
use super::object::UNSCHEDULABLE;
use crate::config::edge::node::Taint;

impl Node<'_> {
    /// Says so when the Node in the cloud lacks a taint, as long as it does; true when it does. Only whoever
    /// makes a Node may give it taints.
    pub(super) fn complain_of_taints(&self) -> bool {
        let wanted = self.wanted();
        let known = self.known.borrow();
        let lacking = known.as_ref().map(|it| lacking(&it.value, &wanted.taints));
        let lacking = lacking.unwrap_or_default();
        let state = &self.edge.state;
        let status = state.snapshot();
        let told = status.registration.and_then(|it| it.problem);
        let told = told.map(|problem| problem.message);
        if lacking.is_empty() {
            // Somebody has done it meanwhile.
            if told.is_some_and(|message| message.contains(REMEDY)) {
                state.registration(|registration| registration.problem = None);
            }
            return false;
        }
        let taints: Vec<String> = lacking.iter().map(|taint| words(taint)).collect();
        let sentence = format!(
            "the node was in the cloud before this edgecore and lacks a taint, so that pods may be sent \
             here that can't run: {REMEDY} {} {}",
            wanted.name,
            taints.join(" ")
        );
        if told.as_ref() != Some(&sentence) {
            state.node_problem(&sentence, false);
        }
        true
    }
}

/// The cluster sets the one of a node that is not schedulable by itself.
fn lacking<'a>(node: &Value, wanted: &'a [Taint]) -> Vec<&'a Taint> {
    let has = node["spec"]["taints"].as_array();
    let has = has.map_or(&[][..], Vec::as_slice);
    let is_there = |taint: &Taint| {
        has.iter()
            .any(|it| it["key"] == *taint.key && it["effect"] == *taint.effect)
    };
    let wanted = wanted.iter().filter(|taint| taint.key != UNSCHEDULABLE);
    wanted.filter(|taint| !is_there(taint)).collect()
}

fn words(Taint { key, value, effect }: &Taint) -> String {
    match value.as_str() {
        "" => format!("{key}:{effect}"),
        value => format!("{key}={value}:{effect}"),
    }
}

const REMEDY: &str = "kubectl taint nodes";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_taint_is_known_by_its_key_and_effect() {
        let taint = |key: &str, value: &str, effect: &str| Taint {
            key: key.to_owned(),
            value: value.to_owned(),
            effect: effect.to_owned(),
        };
        let wanted = [
            taint("a", "", "NoSchedule"),
            taint("b", "1", "NoExecute"),
            taint(UNSCHEDULABLE, "", "NoSchedule"),
        ];
        let said = |node: Value| -> Vec<String> {
            let lacking = lacking(&node, &wanted);
            lacking.into_iter().map(words).collect()
        };
        assert_eq!(said(json!({})), ["a:NoSchedule", "b=1:NoExecute"]);
        let some = json!([{"key": "a", "effect": "NoExecute"}, {"key": "b", "value": "2", "effect": "NoExecute"}]);
        assert_eq!(said(json!({"spec": {"taints": some}})), ["a:NoSchedule"]);
        let all =
            json!([{"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "NoExecute"}]);
        assert_eq!(said(json!({"spec": {"taints": all}})), [""; 0]);
    }
}
