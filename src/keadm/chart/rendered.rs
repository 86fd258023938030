//! Objects in Helm's order, as a text with many documents, and the way back.

use serde_json::Value;

use super::{ChartError, RELEASE};
use crate::system::yaml::{Document, emit};

/// An object and the template that it comes from.
#[derive(Clone, Debug)]
pub struct Source {
    pub file: String,
    pub object: Value,
}

/// The objects of a release.
#[derive(Clone, Debug, Default)]
pub struct Rendered {
    pub sources: Vec<Source>,
}

impl Rendered {
    /// Sorted as Helm makes objects: what others need comes first.
    pub fn in_order(mut sources: Vec<Source>) -> Rendered {
        sources.sort_by_key(|source| place(&source.object));
        Rendered { sources }
    }

    pub fn objects(&self) -> impl DoubleEndedIterator<Item = &Value> {
        self.sources.iter().map(|source| &source.object)
    }

    /// As the record of a release has it.
    pub fn text(&self) -> String {
        let documents = self.sources.iter().map(|source| {
            let file = format!("{RELEASE}/templates/{}", source.file);
            document(&file, &source.object)
        });
        documents.collect()
    }

    /// The objects of such a text, whoever wrote it.
    pub fn parse(text: &str) -> Result<Rendered, ChartError> {
        let mut sources = Vec::new();
        for part in documents(text) {
            let object = Document::parse(&part, "the manifest of the release")?.value;
            if object.is_object() {
                sources.push(Source {
                    file: String::new(),
                    object,
                });
            }
        }
        Ok(Rendered { sources })
    }
}

/// One document, with a line that says where it is from.
pub fn document(source: &str, object: &Value) -> String {
    format!("---\n# Source: {source}\n{}", emit::readable(object))
}

/// The texts between the lines that separate documents.
pub fn documents(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for line in text.lines() {
        let separates = line.strip_prefix("---").is_some_and(|rest| {
            let rest = rest.trim_start();
            rest.is_empty() || rest.starts_with('#')
        });
        match (separates, parts.last_mut()) {
            (false, Some(part)) => {
                part.push_str(line);
                part.push('\n');
            }
            _ => parts.push(String::new()),
        }
    }
    parts
}

fn place(object: &Value) -> usize {
    let kind = object["kind"].as_str().unwrap_or_default();
    ORDER
        .iter()
        .position(|known| *known == kind)
        .unwrap_or(ORDER.len())
}

/// Those kinds that are made here, in Helm's order.
const ORDER: &[&str] = &[
    "Namespace",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicaSet",
    "Deployment",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_again() {
        let of = |kind: &str| Source {
            file: "a.yaml".to_owned(),
            object: json!({"kind": kind, "data": {"text": "--- x\n---\nand more\n"}}),
        };
        let rendered = Rendered::in_order(vec![of("Deployment"), of("Secret"), of("Other")]);
        let kinds: Vec<_> = rendered
            .objects()
            .map(|object| object["kind"].clone())
            .collect();
        assert_eq!(kinds, ["Secret", "Deployment", "Other"]);
        let text = rendered.text();
        assert!(text.starts_with("---\n# Source: cloudcore/templates/a.yaml\nkind: Secret\n"));
        let read = Rendered::parse(&text).unwrap();
        assert!(read.objects().eq(rendered.objects()));
    }

    #[test]
    fn texts_of_others_are_read() {
        let text = "# head\n---\n# Source: x\na: 1\n--- # note\n\n---\nb: |\n  ---\n  c\n";
        let objects: Vec<_> = Rendered::parse(text).unwrap().objects().cloned().collect();
        assert_eq!(objects, [json!({"a": 1}), json!({"b": "---\nc\n"})]);
        assert!(Rendered::parse("---\na: [\n").is_err());
    }
}
