//! JSONPath as kubectl's `-o jsonpath=` takes it: text, paths, ranges, and filters by one comparison.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// `{range .items[*]}{.metadata.name}{"\n"}{end}`
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Path(Vec<Step>),
    Range(Vec<Step>, Vec<Piece>),
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    /// From the end, if negative.
    Index(i64),
    All,
    /// What has this; with a value: equal to it, or not.
    Filter(Vec<Step>, Option<(bool, Value)>),
}

/// The part that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPath(String);

impl FromStr for JsonPath {
    type Err = BadPath;

    fn from_str(text: &str) -> Result<JsonPath, BadPath> {
        // One path alone may come without braces.
        let bare = !text.contains('{');
        let text = if bare {
            format!("{{{text}}}")
        } else {
            text.to_owned()
        };
        pieces(&mut text.as_str(), 0).map(JsonPath)
    }
}

impl JsonPath {
    /// What it makes of a value; what is not there is nothing.
    pub fn of(&self, value: &Value) -> String {
        let mut text = String::new();
        print(&self.0, value, &mut text);
        text
    }
}

fn print(pieces: &[Piece], at: &Value, into: &mut String) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => into.push_str(text),
            Piece::Range(steps, inner) => {
                walk(steps, at)
                    .into_iter()
                    .for_each(|it| print(inner, it, into));
            }
            Piece::Path(steps) => {
                let shown = walk(steps, at).into_iter().map(|value| match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                });
                into.push_str(&shown.collect::<Vec<_>>().join(" "));
            }
        }
    }
}

fn walk<'v>(steps: &[Step], from: &'v Value) -> Vec<&'v Value> {
    let mut found = vec![from];
    for step in steps {
        found = found
            .into_iter()
            .flat_map(|value| next(step, value))
            .collect();
    }
    found
}

fn next<'v>(step: &Step, value: &'v Value) -> Vec<&'v Value> {
    let inner = || match value {
        Value::Array(items) => items.iter().collect::<Vec<_>>(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    };
    match step {
        Step::Key(key) => value.get(key).into_iter().collect(),
        Step::All => inner(),
        Step::Index(index) => {
            let length = value.as_array().map_or(0, Vec::len);
            let index = match usize::try_from(*index) {
                Ok(index) => Some(index),
                Err(_) => usize::try_from(index.unsigned_abs())
                    .ok()
                    .and_then(|it| length.checked_sub(it)),
            };
            index
                .and_then(|index| value.get(index))
                .into_iter()
                .collect()
        }
        Step::Filter(steps, wanted) => {
            let fits = |it: &&Value| {
                let found = walk(steps, it);
                match wanted {
                    None => !found.is_empty(),
                    Some((equal, value)) => found.contains(&value) == *equal,
                }
            };
            inner().into_iter().filter(fits).collect()
        }
    }
}

/// Up to `{end}`, or the end of the text at the top.
fn pieces(rest: &mut &str, depth: usize) -> Result<Vec<Piece>, BadPath> {
    let mut found = Vec::new();
    while let Some((text, inner)) = rest.split_once('{') {
        if !text.is_empty() {
            found.push(Piece::Text(text.to_owned()));
        }
        let end = end_of(inner, '}').ok_or_else(|| bad(inner))?;
        *rest = &inner[end + 1..];
        let body = inner[..end].trim();
        if body == "end" && depth > 0 {
            return Ok(found);
        }
        found.push(if let Some(path) = body.strip_prefix("range ") {
            if depth >= DEEPEST {
                return Err(bad(body));
            }
            Piece::Range(steps(path)?, pieces(rest, depth + 1)?)
        } else if let Some(text) = quoted(body) {
            Piece::Text(text)
        } else {
            Piece::Path(steps(body)?)
        });
    }
    if depth > 0 {
        return Err(bad("a range without {end}"));
    }
    if !rest.is_empty() {
        found.push(Piece::Text((*rest).to_owned()));
    }
    Ok(found)
}

fn steps(text: &str) -> Result<Vec<Step>, BadPath> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    rest = rest.strip_prefix(['$', '@']).unwrap_or(rest);
    if rest == "." {
        return Ok(found);
    }
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = end_of(inner, ']').ok_or_else(|| bad(text))?;
            found.push(bracket(inner[..end].trim()).ok_or_else(|| bad(text))?);
            rest = &inner[end + 1..];
            continue;
        }
        let word = match rest.strip_prefix('.') {
            Some(word) => word,
            None if found.is_empty() => rest,
            None => return Err(bad(text)),
        };
        // `\.` is a dot of the name.
        let is_end = |(at, c): (usize, char)| "[.".contains(c) && !word[..at].ends_with('\\');
        let end = word.char_indices().find(|it| is_end(*it));
        let end = end.map_or(word.len(), |(at, _)| at);
        let name = word[..end].replace("\\.", ".");
        rest = &word[end..];
        match name.as_str() {
            // `.[0]`
            "" if rest.starts_with('[') => {}
            "" => return Err(bad(text)),
            "*" => found.push(Step::All),
            _ => found.push(Step::Key(name)),
        }
    }
    Ok(found)
}

fn bracket(text: &str) -> Option<Step> {
    if let Some(key) = quoted(text) {
        return Some(Step::Key(key));
    }
    if text == "*" {
        return Some(Step::All);
    }
    let Some(filter) = text.strip_prefix("?(") else {
        return text.parse().ok().map(Step::Index);
    };
    let filter = filter.strip_suffix(')')?;
    let (path, wanted) = match (filter.split_once("=="), filter.split_once("!=")) {
        (Some((path, value)), _) => (path, Some((true, value))),
        (None, Some((path, value))) => (path, Some((false, value))),
        (None, None) => (filter, None),
    };
    let wanted = match wanted {
        Some((equal, value)) => {
            let text = quoted(value.trim()).map(Value::String);
            Some((equal, text.or_else(|| serde_json::from_str(value).ok())?))
        }
        None => None,
    };
    // A filter in a filter means nothing that kubectl would know.
    let is_plain = !path.contains('?');
    let steps = steps(path).ok().filter(|_| is_plain)?;
    Some(Step::Filter(steps, wanted))
}

/// Where `end` stands outside of quotes.
fn end_of(text: &str, end: char) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, _) if c == end => return Some(at),
            (None, _) => {}
        }
    }
    None
}

fn quoted(text: &str) -> Option<String> {
    let inner = ['"', '\''].into_iter();
    let inner = inner
        .filter(|_| text.len() > 1)
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))?;
    let (mut plain, mut escaped) = (String::new(), false);
    for c in inner.chars() {
        let was_escaped = escaped;
        escaped = !was_escaped && c == '\\';
        match (was_escaped, c) {
            (false, '\\') => {}
            (true, 'n') => plain.push('\n'),
            (true, 't') => plain.push('\t'),
            _ => plain.push(c),
        }
    }
    Some(plain)
}

fn bad(part: &str) -> BadPath {
    BadPath(part.chars().take(60).collect())
}

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no JSONPath that is read here; one is like {{.items[*].metadata.name}}",
            self.0
        )
    }
}

impl std::error::Error for BadPath {}

const DEEPEST: usize = 8;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_as_kubectl_s() {
        let value = json!({"items": [
            {"metadata": {"name": "a", "labels": {"x.y/z": "1"}}, "on": true, "status": {"conditions":
                [{"type": "Ready", "status": "False"}, {"type": "Other", "status": "True"}]}},
            {"metadata": {"name": "b"}, "size": 5}]});
        for (path, expected) in [
            ("{.items[*].metadata.name}", "a b"),
            (".items[1].metadata.name", "b"),
            ("{.items[-1].metadata.name}", "b"),
            ("{.items[-3]}{.none.none}{$.items[9]}", ""),
            (
                "{range .items[*]}{.metadata.name}{\"\\t\"}{@.size}{'\\n'}{end}!",
                "a\t\nb\t5\n!",
            ),
            ("{.items[?(@.metadata.name==\"b\")].size}", "5"),
            ("{.items[?(@.size!=5)].metadata.name}", "a"),
            ("{.items[?(@.on)].metadata.name}", "a"),
            (
                "{.items[*].status.conditions[?(@.type==\"Ready\")].status}",
                "False",
            ),
            ("{.items[0].metadata.labels.x\\.y/z}", "1"),
            ("{.items[0].metadata.labels['x.y/z']}", "1"),
            ("{items[0].on}", "true"),
            ("name {.items[0].metadata.labels}", "name {\"x.y/z\":\"1\"}"),
            ("{.items.*.metadata.name}", "a b"),
            ("{\"}\"}", "}"),
        ] {
            let read: JsonPath = path.parse().unwrap();
            assert_eq!(read.of(&value), expected, "{path}");
        }
        let whole: JsonPath = "{.}".parse().unwrap();
        assert_eq!(whole.of(&value), value.to_string());
    }

    #[test]
    fn what_is_no_path_is_named() {
        let deep = "{range .a}".repeat(99);
        for text in [
            "{",
            "{.a",
            "{..a}",
            "{.a[}",
            "{.a[x]}",
            "{.a[?(@.b==)]}",
            "{.a[?@.b]}",
            "{range .a}{.b}",
            "{end}x{",
            "{.a]b}{",
            "{.a[0]b}",
            "{.a.}",
            &deep,
        ] {
            let error = text.parse::<JsonPath>();
            let error = error.expect_err(text).to_string();
            assert!(
                error.contains("is no JSONPath") && error.len() < 200,
                "{text}: {error}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[{}\\[\\].@$?()=!\"'\\\\a*0 é-]{0,40}") {
            if let Ok(path) = text.parse::<JsonPath>() {
                path.of(&json!({"a": [{"a": 1}, [0]]}));
            }
        }
    }
}
