//! What a watch of the cluster in memory sees of a change, and what a selector selects.

use serde_json::Value;

use super::super::EventKind;
use super::super::request::Request;

/// A change: the object before and after.
pub struct Past {
    pub namespace: String,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

/// A change as a watch tells it.
pub struct Change {
    pub kind: EventKind,
    pub object: Value,
}

impl Past {
    /// As a watch with these selectors sees it.
    pub fn seen(&self, select: &Select) -> Option<Change> {
        let before = self.before.as_ref().filter(|object| select.has(object));
        let after = self.after.as_ref().filter(|object| select.has(object));
        let (kind, object) = match (before, after) {
            (None, None) => return None,
            (None, Some(after)) => (EventKind::Added, after),
            (Some(_), Some(after)) => (EventKind::Modified, after),
            (Some(before), None) => (EventKind::Deleted, before),
        };
        let mut object = object.clone();
        if let (EventKind::Deleted, Some(after)) = (kind, &self.after) {
            object["metadata"]["resourceVersion"] = after["metadata"]["resourceVersion"].clone();
        }
        Some(Change { kind, object })
    }
}

/// `labelSelector` and `fieldSelector`: `a=b`, `a==b`, `a!=b`, `a`, `!a`, with commas between them.
pub struct Select {
    labels: Vec<String>,
    fields: Vec<String>,
}

impl Select {
    pub fn of(request: &Request) -> Select {
        let terms = |key| {
            let given = request.query.iter().find(|it| it.0 == key);
            let given = given.map(|it| it.1.as_str()).unwrap_or_default();
            let terms = given.split(',').filter(|term| !term.is_empty());
            terms.map(str::to_owned).collect()
        };
        Select {
            labels: terms("labelSelector"),
            fields: terms("fieldSelector"),
        }
    }

    pub fn has(&self, object: &Value) -> bool {
        let label = |key: &str| object["metadata"]["labels"].get(key);
        let field = |path: &str| {
            let pointer = format!("/{}", path.replace('.', "/"));
            object.pointer(&pointer)
        };
        let fits = |term: &str, at: &dyn Fn(&str) -> Option<String>| match term.split_once('=') {
            Some((key, value)) => match key.strip_suffix('!') {
                Some(key) => at(key).as_deref() != Some(value),
                None => at(key).unwrap_or_default() == value.trim_start_matches('='),
            },
            None => match term.strip_prefix('!') {
                Some(key) => at(key).is_none(),
                None => at(term).is_some(),
            },
        };
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        self.labels
            .iter()
            .all(|term| fits(term, &|key| text(label(key))))
            && self
                .fields
                .iter()
                .all(|term| fits(term, &|key| text(field(key))))
    }
}

impl Request {
    pub fn with_query_of(mut self, other: &Request) -> Request {
        self.query.clone_from(&other.query);
        self
    }
}
