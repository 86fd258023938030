//! Labels that an operator gives to nodes. Those below one prefix no node can give itself.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::meta::{self, Object};
use super::node;
use super::state::Effects;
use crate::cloudcore::cloud::Cloud;
use crate::protocol::resource::Kind;
use crate::system::names::NodeName;

/// A label with its value, or one that goes: `KEY=VALUE`, `KEY-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelChange {
    key: String,
    value: Option<String>,
}

/// Whether only operators give this label: selectors may go by it though nodes can't be trusted.
/// Kubernetes reserves the same ones.
pub fn is_reserved(key: &str) -> bool {
    let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
    let parent = prefix.strip_suffix(RESERVED);
    parent.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Changes a node's labels; says in a sentence what came of it.
pub async fn label(
    cloud: &Cloud,
    node: &NodeName,
    changes: &[LabelChange],
) -> Result<String, String> {
    cloud.nodes.own()?;
    let labelled = cloud.nodes.change(cloud, None, |state, context| {
        let (_, effects) = node::altered(state, context, node, |object, _| {
            let labels = meta::child(meta::metadata(object), "labels");
            changes.iter().for_each(|change| change.make(labels));
            Ok(())
        })?;
        Ok((told(node, &effects), effects))
    });
    labelled.await.map_err(|status| status.message)
}

fn told(node: &NodeName, effects: &Effects) -> String {
    if effects.changes.is_empty() {
        return format!("node {node} unchanged");
    }
    let others = effects.pushes.iter();
    let others = others.filter(|(to, item, _)| to == node && item.path.kind != Kind::Node);
    let (lost, found): (Vec<_>, Vec<_>) = others.partition(|(_, item, _)| item.gone.is_some());
    let objects = |count: usize, word: &str| match count {
        0 => String::new(),
        1 => format!(", it {word} 1 object"),
        more => format!(", it {word} {more} objects"),
    };
    let (found, lost) = (objects(found.len(), "gets"), objects(lost.len(), "loses"));
    format!("node {node} labelled{found}{lost}")
}

impl LabelChange {
    fn make(&self, labels: &mut Object) {
        match &self.value {
            Some(value) => _ = labels.insert(self.key.clone(), Value::from(value.clone())),
            None => _ = labels.shift_remove(&self.key),
        }
    }
}

/// A text that changes no label.
#[derive(Debug)]
pub struct NoLabel(String);

impl FromStr for LabelChange {
    type Err = NoLabel;

    fn from_str(text: &str) -> Result<LabelChange, NoLabel> {
        let (key, value) = match (text.split_once('='), text.strip_suffix('-')) {
            (Some((key, value)), _) => (key, Some(value)),
            (None, Some(key)) => (key, None),
            (None, None) => return Err(NoLabel(shortened(text))),
        };
        let (prefix, name) = key.split_once('/').unwrap_or(("x", key));
        let fits = is_domain(prefix)
            && is_word(name)
            && value.is_none_or(|value| value.is_empty() || is_word(value));
        match fits {
            true => Ok(LabelChange {
                key: key.to_owned(),
                value: value.map(str::to_owned),
            }),
            false => Err(NoLabel(shortened(text))),
        }
    }
}

/// Letters and digits, between them `-`, `_` and `.`; as Kubernetes has it.
fn is_word(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= MAX_WORD
        && text.chars().all(inside)
        && ends(text.chars().next())
        && ends(text.chars().next_back())
}

fn is_domain(text: &str) -> bool {
    let small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let part = |part: &str| is_word(part) && part.chars().all(small);
    text.len() <= MAX_DOMAIN && text.split('.').all(part)
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_WORD).collect()
}

impl fmt::Display for NoLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.0;
        write!(
            f,
            "{text:?} is no change of a label: write KEY=VALUE, or KEY- to take it away"
        )
    }
}

impl std::error::Error for NoLabel {}

/// The prefix of what only operators give, and the end of such prefixes.
const RESERVED: &str = "node-restriction.kubernetes.io";

/// Bytes, as in Kubernetes.
const MAX_WORD: usize = 63;
const MAX_DOMAIN: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read_as_kubectl_has_them() {
        let read = |text: &str| text.parse::<LabelChange>().ok();
        let change = |key: &str, value: Option<&str>| {
            Some(LabelChange {
                key: key.to_owned(),
                value: value.map(str::to_owned),
            })
        };
        assert_eq!(read("role=router"), change("role", Some("router")));
        assert_eq!(read("role="), change("role", Some("")));
        assert_eq!(read("a.b/role-"), change("a.b/role", None));
        assert_eq!(read("a=b-c"), change("a", Some("b-c")));
        for text in [
            "", "-", "=", "=a", "role", "a b=c", "a=b-", "a=b=c", "/a=b", "A/a=b", "a/=b",
            "a/b/c=d", ".a=b", "a..b/c=d", "a=é",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read(&format!("a={}", "x".repeat(64))), None);
        let said = LabelChange::from_str("role").unwrap_err().to_string();
        assert!(said.contains("KEY=VALUE"), "{said}");
    }

    #[test]
    fn reserved_are_those_below_the_prefix_and_its_parts() {
        for key in [
            "node-restriction.kubernetes.io/role",
            "shop.node-restriction.kubernetes.io/role",
        ] {
            assert!(is_reserved(key), "{key}");
        }
        for key in [
            "role",
            "node-restriction.kubernetes.io",
            "xnode-restriction.kubernetes.io/role",
            "kubernetes.io/role",
        ] {
            assert!(!is_reserved(key), "{key}");
        }
    }
}
