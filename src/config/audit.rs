//! Everything that is wrong with a configuration file: keys that nobody knows, values of another type,
//! and what the program that reads it would say.

use serde::Serialize;
use serde_json::Value;

use super::cloud::CloudConfig;
use super::edge::EdgeConfig;
use super::read::found;
use super::set::Kind;
use super::types::{Type, Types};
use super::veil::Veil;
use super::{ConfigError, Segment, show};
use crate::system::yaml::{Content, Document, Node, scalar};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// From 1.
    pub line: usize,
    /// Empty for the text as a whole.
    pub key: String,
    pub message: String,
}

/// What was found in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// In the order of lines.
    pub faults: Vec<Finding>,
    /// What the program that reads it would say, and go on.
    pub warnings: Vec<String>,
}

/// Looks through the text of a file; `file` is its name for warnings. Never holds a join token.
pub fn audit(text: &str, file: &str, kind: Kind) -> Result<Findings, ConfigError> {
    let veil = Veil::over(text);
    let document = match Document::parse(veil.text(), file) {
        Ok(document) => document,
        Err(error) => {
            return Ok(Findings {
                faults: vec![Finding {
                    line: error.line,
                    key: String::new(),
                    message: error.message,
                }],
                warnings: Vec::new(),
            });
        }
    };
    let types = Types::of(kind)?;
    let mut found = Findings::default();
    look(
        &document.root,
        types.top(),
        &mut Vec::new(),
        &mut found.faults,
    );
    let read = match kind {
        Kind::Edge => EdgeConfig::load(text, file).map(|(_, warnings)| warnings),
        Kind::Cloud => CloudConfig::load(text, file).map(|(_, warnings)| warnings),
    };
    match read {
        Ok(warnings) => found.warnings = warnings,
        Err(ConfigError::Value {
            line, key, message, ..
        }) => add(&mut found.faults, line, key, message),
        Err(ConfigError::Syntax { line, message, .. }) => {
            add(&mut found.faults, line, String::new(), message);
        }
        Err(other) => add(&mut found.faults, 1, String::new(), other.to_string()),
    }
    found.faults.sort_by_key(|fault| fault.line);
    Ok(found)
}

/// What two see is told once.
fn add(faults: &mut Vec<Finding>, line: usize, key: String, message: String) {
    let same = |fault: &Finding| fault.key == key && fault.line == line;
    if !faults.iter().any(same) {
        faults.push(Finding { line, key, message });
    }
}

fn look(node: &Node, known: Type<'_>, path: &mut Vec<Segment>, faults: &mut Vec<Finding>) {
    if let Some(message) = mismatch(node, known.expected()) {
        add(faults, node.line, show(path), message);
        return;
    }
    match &node.content {
        Content::Scalar(_) => {}
        Content::List(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(Segment::Index(index));
                look(item, known.element(0), path, faults);
                path.pop();
            }
        }
        // Nobody says what may stand there.
        Content::Map(_) if known.is_free() => {}
        Content::Map(entries) => {
            for entry in entries {
                path.push(Segment::Key(entry.key.clone()));
                match known.stranger(&entry.key) {
                    None => look(&entry.value, known.child(&entry.key), path, faults),
                    Some(message) => add(faults, entry.line, show(path), message),
                }
                path.pop();
            }
        }
    }
}

/// Why a value can't be one of the type of `expected`; none when it can.
fn mismatch(node: &Node, expected: Option<&Value>) -> Option<String> {
    let value = node.to_value();
    let (wanted, fits) = match expected? {
        Value::Null => return None,
        Value::Bool(_) => ("true or false", scalar::as_bool(&value).is_some()),
        Value::Number(number) if number.is_f64() => ("a number", value.is_number()),
        Value::Number(_) => (
            "a whole number",
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|it| it.fract() == 0.0),
        ),
        Value::String(_) => ("text", !value.is_array() && !value.is_object()),
        Value::Array(_) => ("a list", value.is_array()),
        Value::Object(_) => ("keys and values", value.is_object()),
    };
    (!fits && !value.is_null()).then(|| format!("expected {wanted}, found {}", found(&value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str, kind: Kind) -> Vec<(usize, String, String)> {
        let found = audit(text, "x.yaml", kind).unwrap();
        let faults = found.faults.into_iter();
        faults
            .map(|fault| (fault.line, fault.key, fault.message))
            .collect()
    }

    #[test]
    fn our_own_files_are_good() {
        for (text, kind) in [
            (EdgeConfig::default_yaml("h", "192.0.2.1"), Kind::Edge),
            (EdgeConfig::min_yaml("h", "192.0.2.1"), Kind::Edge),
            (CloudConfig::default_yaml("192.0.2.1"), Kind::Cloud),
            (CloudConfig::min_yaml("192.0.2.1"), Kind::Cloud),
        ] {
            assert_eq!(audit(&text, "x.yaml", kind).unwrap(), Findings::default());
        }
        let own = "modules:\n  edgeHub:\n    sandbox: false\n    proxy: http://a:1\n    servers: [a:1]\n  \
                   edged:\n    nodeLabels: {a.b/c: d, e: 1}\n    tailoredKubeletConfig:\n      \
                   registerWithTaints:\n      - {key: a, value: b, effect: NoSchedule}\n";
        assert_eq!(faults(own, Kind::Edge), []);
    }

    #[test]
    fn every_fault_has_its_line() {
        let text = "apiVersion: edgecore.config.kubeedge.io/v1alpha2\nkind: EdgeCore\nmodules:\n  edgehub: {}\n  \
                    edgeHub:\n    heartbeat: often\n    websocket: [a]\n    websockets:\n      a: b\n  \
                    metaManager:\n    metaServer:\n      enable: 7\n      serviceAccountIssuers:\n      - a: b\n";
        let found = faults(text, Kind::Edge);
        let told: Vec<(usize, &str, bool)> = found
            .iter()
            .map(|(line, key, message)| (*line, key.as_str(), message.contains("expected")))
            .collect();
        assert_eq!(
            told,
            [
                (4, "modules.edgehub", false),
                (6, "modules.edgeHub.heartbeat", true),
                (7, "modules.edgeHub.websocket", true),
                (8, "modules.edgeHub.websockets", false),
                (12, "modules.metaManager.metaServer.enable", true),
                (
                    14,
                    "modules.metaManager.metaServer.serviceAccountIssuers[0]",
                    true
                ),
            ],
            "{found:?}"
        );
        assert!(found[0].2.contains("did you mean edgeHub?"), "{found:?}");
    }

    #[test]
    fn what_is_no_yaml_or_another_file_is_a_fault_too() {
        assert_eq!(faults("a: [", Kind::Edge).len(), 1);
        assert_eq!(faults("- a\n", Kind::Edge)[0].0, 1);
        let other = faults("kind: CloudCore\n", Kind::Edge);
        assert!(other[0].2.contains("another file"), "{other:?}");
        let warned = audit(
            "apiVersion: edgecore.config.kubeedge.io/v1alpha1\n",
            "x",
            Kind::Edge,
        );
        assert_eq!(warned.unwrap().warnings.len(), 1);
    }
}
