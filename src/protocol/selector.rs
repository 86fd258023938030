//! Selectors of labels and fields, in the words of kubectl and as objects of Kubernetes have them.

use std::fmt;

use serde_json::Value;

/// All requirements must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    holds: Holds,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Holds {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

/// A text that selects nothing that could be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadSelector {
    Syntax,
    /// The same of a LabelSelector.
    Expression,
    /// A field that objects can't be selected by here.
    Field,
    TooMany,
}

impl Selection {
    /// `a=b,c!=d,e in (f,g),h notin (i),j,!k`
    pub fn add_labels(&mut self, text: &str) -> Result<(), BadSelector> {
        for part in parts(text)? {
            self.labels.push(label(part)?);
        }
        self.bounded()
    }

    /// A LabelSelector: `matchLabels` and `matchExpressions`.
    pub fn add_selector(&mut self, selector: &Value) -> Result<(), BadSelector> {
        let labels = selector.get("matchLabels").and_then(Value::as_object);
        for (key, value) in labels.into_iter().flatten() {
            let value = value.as_str().ok_or(BadSelector::Expression)?;
            let holds = Holds::In(vec![value.to_owned()]);
            let found = requirement(key, holds).ok_or(BadSelector::Expression)?;
            self.labels.push(found);
        }
        let terms = selector.get("matchExpressions").and_then(Value::as_array);
        for term in terms.into_iter().flatten() {
            self.labels
                .push(expression(term).ok_or(BadSelector::Expression)?);
        }
        self.bounded()
    }

    /// `metadata.name=a,spec.nodeName!=b`
    pub fn add_fields(&mut self, text: &str) -> Result<(), BadSelector> {
        for part in parts(text)? {
            let requirement = comparison(part).ok_or(BadSelector::Syntax)?;
            if !FIELDS.contains(&requirement.key.as_str()) {
                return Err(BadSelector::Field);
            }
            self.fields.push(requirement);
        }
        self.bounded()
    }

    /// Whether every object is meant.
    pub fn is_all(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub fn fits(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let field = |it: &Requirement| {
            let found = it.key.split('.').fold(object, |value, key| &value[key]);
            it.is_met(Some(found.as_str().unwrap_or_default()))
        };
        self.fits_labels(|key| labels.get(key).and_then(Value::as_str))
            && self.fields.iter().all(field)
    }

    /// The same where only labels are asked for; `found` gives a label's value.
    pub fn fits_labels<'a>(&self, found: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.labels.iter().all(|it| it.is_met(found(&it.key)))
    }

    fn bounded(&self) -> Result<(), BadSelector> {
        match self.labels.len() + self.fields.len() > MAX_REQUIREMENTS {
            true => Err(BadSelector::TooMany),
            false => Ok(()),
        }
    }
}

impl Requirement {
    fn is_met(&self, found: Option<&str>) -> bool {
        let is_one =
            |values: &[String]| found.is_some_and(|it| values.iter().any(|value| value == it));
        match &self.holds {
            Holds::In(values) => is_one(values),
            Holds::NotIn(values) => !is_one(values),
            Holds::Exists => found.is_some(),
            Holds::Absent => found.is_none(),
        }
    }
}

/// What stands between commas that are in no brackets.
fn parts(text: &str) -> Result<Vec<&str>, BadSelector> {
    let (mut parts, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, byte) in text.bytes().enumerate() {
        match (byte, inside) {
            (b'(', false) => inside = true,
            (b')', true) => inside = false,
            (b'(', true) | (b')', false) => return Err(BadSelector::Syntax),
            (b',', false) => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    match (inside, text.trim().is_empty()) {
        (true, _) => Err(BadSelector::Syntax),
        (_, true) => Ok(Vec::new()),
        _ => {
            parts.push(&text[start..]);
            Ok(parts)
        }
    }
}

fn label(part: &str) -> Result<Requirement, BadSelector> {
    let part = part.trim();
    if let Some(set) = part.strip_suffix(')') {
        let (head, values) = set.split_once('(').ok_or(BadSelector::Syntax)?;
        let mut words = head.split_whitespace();
        let (Some(key), Some(operator), None) = (words.next(), words.next(), words.next()) else {
            return Err(BadSelector::Syntax);
        };
        let values = values
            .split(',')
            .map(|value| value.trim().to_owned())
            .collect();
        let holds = match operator {
            "in" => Holds::In(values),
            "notin" => Holds::NotIn(values),
            _ => return Err(BadSelector::Syntax),
        };
        return requirement(key, holds).ok_or(BadSelector::Syntax);
    }
    let found = match (comparison(part), part.strip_prefix('!')) {
        (Some(found), _) => Some(found),
        (None, Some(key)) => requirement(key, Holds::Absent),
        (None, None) => requirement(part, Holds::Exists),
    };
    found.ok_or(BadSelector::Syntax)
}

fn expression(term: &Value) -> Option<Requirement> {
    let word = |key: &str| term.get(key).and_then(Value::as_str);
    let values = term.get("values").and_then(Value::as_array);
    let values = values.into_iter().flatten();
    let values = values
        .map(|it| it.as_str().map(str::to_owned))
        .collect::<Option<Vec<_>>>()?;
    let holds = match word("operator")? {
        "In" => Holds::In(values),
        "NotIn" => Holds::NotIn(values),
        "Exists" => Holds::Exists,
        "DoesNotExist" => Holds::Absent,
        _ => return None,
    };
    requirement(word("key")?, holds)
}

fn comparison(part: &str) -> Option<Requirement> {
    let (key, value) = part.split_once('=')?;
    let value = value.strip_prefix('=').unwrap_or(value).trim().to_owned();
    if value.contains(['=', '!', '(', ')']) {
        return None;
    }
    match key.strip_suffix('!') {
        Some(key) => requirement(key, Holds::NotIn(vec![value])),
        None => requirement(key, Holds::In(vec![value])),
    }
}

fn requirement(key: &str, holds: Holds) -> Option<Requirement> {
    let key = key.trim();
    let is_key = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let is_good = !key.is_empty() && key.len() <= MAX_KEY && key.chars().all(is_key);
    is_good.then(|| Requirement {
        key: key.to_owned(),
        holds,
    })
}

impl fmt::Display for BadSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadSelector::Syntax => f.write_str("a selector is like a=b,c!=d,e in (f,g),!h"),
            BadSelector::Expression => f.write_str(
                "a label selector has labels with their values, and expressions with In, NotIn, Exists, DoesNotExist",
            ),
            BadSelector::Field => write!(f, "objects are selected by {} only", FIELDS.join(", ")),
            BadSelector::TooMany => f.write_str("the selector has too many parts"),
        }
    }
}

impl std::error::Error for BadSelector {}

const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "spec.nodeName",
    "status.phase",
];
const MAX_REQUIREMENTS: usize = 32;
const MAX_KEY: usize = 317;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fits(labels: &str, fields: &str) -> Result<bool, BadSelector> {
        let object = json!({"metadata": {"name": "a", "labels": {"app": "web", "x/y": ""}},
            "spec": {"nodeName": "edge-1"}});
        let mut selection = Selection::default();
        selection.add_labels(labels)?;
        selection.add_fields(fields)?;
        Ok(selection.fits(&object))
    }

    #[test]
    fn labels_and_fields_select() {
        let yes = [
            "",
            "app=web",
            "app==web",
            "app = web",
            "app!=db",
            "other!=a",
            "app in (db, web)",
            "app notin (db)",
            "none notin (a)",
            "app",
            "!none",
            "x/y=",
            "app=web,x/y,!none",
        ];
        let no = [
            "app=db",
            "app!=web",
            "app in (db)",
            "app notin (web)",
            "none",
            "!app",
            "app=web,none",
        ];
        for (selectors, expected) in [(&yes[..], true), (&no[..], false)] {
            for selector in selectors {
                assert_eq!(fits(selector, ""), Ok(expected), "{selector}");
            }
        }
        assert_eq!(fits("", "metadata.name=a,spec.nodeName!=edge-2"), Ok(true));
        assert_eq!(fits("", "metadata.namespace="), Ok(true));
        assert_eq!(fits("", "metadata.name!=a"), Ok(false));
    }

    #[test]
    fn what_selects_nothing_is_refused() {
        for selector in [
            ",", "=a", "a=b=c", "a in b", "a in (b", "a in b)", "a or (b)", "a b", "!", "a((b))",
            "é", "!=a",
        ] {
            assert_eq!(fits(selector, ""), Err(BadSelector::Syntax), "{selector}");
        }
        assert_eq!(fits("", "data.key=a"), Err(BadSelector::Field));
        assert_eq!(fits("", "metadata.name"), Err(BadSelector::Syntax));
        let many = vec!["a"; MAX_REQUIREMENTS + 1].join(",");
        assert_eq!(fits(&many, ""), Err(BadSelector::TooMany));
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
            let mut selection = Selection::default();
            selection.add_selector(&selector).unwrap();
            let found = [&a, &b, &none]
                .map(|labels| selection.fits_labels(|key| labels.get(key).and_then(Value::as_str)));
            assert_eq!(found, expected, "{selector}");
        }
        for bad in [
            expression("Gt", &["1"]),
            json!({"matchLabels": {"role": 1}}),
            json!({"matchExpressions": [{"operator": "Exists"}]}),
        ] {
            let read = Selection::default().add_selector(&bad);
            assert_eq!(read, Err(BadSelector::Expression), "{bad}");
        }
    }
}
