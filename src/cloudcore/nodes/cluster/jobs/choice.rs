//! Which nodes a job is for: by their names, by their labels, or both.

use serde_json::Value;

use super::super::super::kept::Kept;
use super::super::super::state::State;
use crate::cloudcore::jobs::Member;
use crate::protocol::jobs;
use crate::protocol::resource::Kind;
use crate::protocol::selector::Selection;
use crate::system::names::NodeName;
use crate::system::sorted::{SortedMap, SortedSet};

/// What a spec says of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    names: SortedSet<NodeName>,
    /// All of it must hold; empty: labels choose nobody.
    labels: Selection,
}

impl Choice {
    /// Reads `nodeNames` and `labelSelector`; the error is a sentence.
    pub fn read(spec: &Value) -> Result<Choice, String> {
        let names = list(spec.get("nodeNames")).map(|name| {
            let read = name.as_str().unwrap_or_default().parse::<NodeName>();
            read.map_err(|error| format!("nodeNames: {error}"))
        });
        let mut choice = Choice {
            names: names.collect::<Result<_, _>>()?,
            ..Choice::default()
        };
        if let Some(selector) = spec.get("labelSelector") {
            let read = choice.labels.add_selector(selector);
            read.map_err(|error| format!("labelSelector: {error}"))?;
        }
        match choice.names.is_empty() && choice.labels.is_all() {
            true => Err("nodeNames or labelSelector must say for which nodes it is".to_owned()),
            false => Ok(choice),
        }
    }

    /// Those that it is for, and those that can't have it, with why.
    pub fn of(&self, state: &State) -> SortedMap<NodeName, Member> {
        let named = |name: &NodeName| {
            let member = state.node(name).map_or_else(stranger, |kept| begin(kept));
            (name.clone(), member)
        };
        let mut chosen: Vec<_> = self.names.iter().map(named).collect();
        if self.labels.is_all() {
            return chosen.into_iter().collect();
        }
        let fit = |kept: &Kept| {
            let label = |key: &str| kept.facts.labels.get(key).map(String::as_str);
            self.labels.fits_labels(label)
        };
        for kept in state.all(Some(Kind::Node)).filter(|kept| fit(kept)) {
            if let Ok(name) = kept.path.name.parse::<NodeName>()
                && !self.names.contains(&name)
            {
                chosen.push((name, begin(kept)));
            }
        }
        chosen.into_iter().collect()
    }
}

fn begin(node: &Kept) -> Member {
    let object = node.object();
    let version = object.get("status").and_then(|it| it.get("nodeInfo"));
    let version = version.and_then(|it| it.get("kubeletVersion")?.as_str());
    let unfit = version.and_then(jobs::too_old);
    unfit.map_or_else(Member::default, Member::unfit)
}

fn stranger() -> Member {
    Member::unfit("the cluster has no edge of this name".to_owned())
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_says_nothing_does_not_mean_all() {
        for spec in [
            json!({}),
            json!({"nodeNames": [], "labelSelector": null}),
            json!({"labelSelector": {}}),
            json!({"labelSelector": {"matchLabels": {}}}),
            json!({"nodeNames": ["../x"]}),
            json!({"labelSelector": {"matchExpressions": [{"key": "x", "operator": "Gt"}]}}),
        ] {
            assert!(Choice::read(&spec).is_err(), "{spec}");
        }
    }
}
