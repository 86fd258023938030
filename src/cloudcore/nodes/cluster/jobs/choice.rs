//! Which nodes a job is for: by their names, by their labels, or both.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::super::kept::Kept;
use super::super::super::state::State;
use crate::cloudcore::jobs::Member;
use crate::protocol::jobs;
use crate::protocol::resource::Kind;
use crate::system::names::NodeName;

/// What a spec says of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    names: BTreeSet<NodeName>,
    /// All must hold; none: labels choose nobody.
    labels: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    key: String,
    rule: Rule,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

impl Choice {
    /// Reads `nodeNames` and `labelSelector`; the error is a sentence.
    pub fn read(spec: &Value) -> Result<Choice, String> {
        let mut choice = Choice::default();
        for name in list(spec.get("nodeNames")) {
            let name = name.as_str().unwrap_or_default();
            let read = name.parse::<NodeName>();
            choice
                .names
                .insert(read.map_err(|error| format!("nodeNames: {error}"))?);
        }
        let selector = spec.get("labelSelector").filter(|it| !it.is_null());
        let labels = selector.and_then(|it| it.get("matchLabels"));
        for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            choice.labels.push(Term {
                key: key.clone(),
                rule: Rule::In(vec![value]),
            });
        }
        for term in list(selector.and_then(|it| it.get("matchExpressions"))) {
            choice.labels.push(Term::read(term)?);
        }
        match choice.names.is_empty() && choice.labels.is_empty() {
            true => Err("nodeNames or labelSelector must say for which nodes it is".to_owned()),
            false => Ok(choice),
        }
    }

    /// Those that it is for, and those that can't have it, with why.
    pub fn of(&self, state: &State) -> BTreeMap<NodeName, Member> {
        let mut chosen = BTreeMap::new();
        for name in &self.names {
            let member = state.node(name).map_or_else(stranger, |kept| begin(kept));
            chosen.insert(name.clone(), member);
        }
        if self.labels.is_empty() {
            return chosen;
        }
        let fit = |kept: &Kept| self.labels.iter().all(|term| term.fits(&kept.facts.labels));
        for kept in state.all(Some(Kind::Node)).filter(|kept| fit(kept)) {
            if let Ok(name) = kept.path.name.parse::<NodeName>() {
                chosen.entry(name).or_insert_with(|| begin(kept));
            }
        }
        chosen
    }
}

impl Term {
    fn read(term: &Value) -> Result<Term, String> {
        let word = |key: &str| term.get(key).and_then(Value::as_str).unwrap_or_default();
        let values = list(term.get("values")).map(|it| it.as_str().unwrap_or_default().to_owned());
        let rule = match word("operator") {
            "In" => Rule::In(values.collect()),
            "NotIn" => Rule::NotIn(values.collect()),
            "Exists" => Rule::Exists,
            "DoesNotExist" => Rule::DoesNotExist,
            other => {
                return Err(format!(
                    "labelSelector: {other:?} is no operator: there are In, NotIn, Exists, DoesNotExist"
                ));
            }
        };
        let key = word("key").to_owned();
        Ok(Term { key, rule })
    }

    fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match &self.rule {
            Rule::In(values) => value.is_some_and(|value| values.contains(value)),
            Rule::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Rule::Exists => value.is_some(),
            Rule::DoesNotExist => value.is_none(),
        }
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

    fn fits(selector: &Value, labels: &Value) -> bool {
        let choice = Choice::read(&json!({"labelSelector": selector})).unwrap();
        let labels: BTreeMap<String, String> = serde_json::from_value(labels.clone()).unwrap();
        choice.labels.iter().all(|term| term.fits(&labels))
    }

    #[test]
    fn labels_choose_as_in_kubernetes() {
        let (a, b, none) = (json!({"role": "a"}), json!({"role": "b"}), json!({}));
        let expression = |operator: &str, values: &[&str]| {
            let term = json!({"key": "role", "operator": operator, "values": values});
            json!({"matchExpressions": [term]})
        };
        for (selector, expected) in [
            (json!({"matchLabels": {"role": "a"}}), [true, false, false]),
            (expression("In", &["a", "c"]), [true, false, false]),
            (expression("NotIn", &["a", "c"]), [false, true, true]),
            (expression("Exists", &[]), [true, true, false]),
            (expression("DoesNotExist", &[]), [false, false, true]),
        ] {
            let found = [&a, &b, &none].map(|labels| fits(&selector, labels));
            assert_eq!(found, expected, "{selector}");
        }
    }

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
