//! `--set`: wishes like `modules.edgeHub.heartbeat=30` read from text and carried out on a file.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

use super::types::{Type, Types};
use super::{ConfigError, Segment, edit};
use crate::system::yaml::Document;

/// Which file the keys are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Cloud,
    Edge,
}

/// One `path=value`. What the value means depends on the key, so it is text until it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub(super) names: Vec<Name>,
    pub(super) value: String,
    /// The path as it was written, for errors. The value may be a secret and is not kept here.
    item: String,
}

/// One part of a path: `taints`, `taints[2]`, `"kubernetes.io/zone"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub text: String,
    pub quoted: bool,
    pub indexes: Vec<usize>,
}

/// Reads the items of one `--set`, which commas outside of `"…"` and `{…}` separate.
///
/// Blanks outside of these mean nothing, empty items are passed over, the first `=` separates path
/// and value. The parts of a path are separated by dots; quotes keep a dot in a key.
pub fn parse_items(text: &str) -> Result<Vec<Assignment>, ConfigError> {
    let items = split(text).map_err(|message| refuse(&shortened(text), message))?;
    let items = items.iter().filter(|item| !item.is_empty());
    items.map(|item| assignment(item)).collect()
}

/// Carries out the wishes, in order, on the text of a file; everything else in it stays as it is.
///
/// Keys are those of the file, or the names of the fields in KubeEdge's Go source when the first
/// one begins with a capital letter. A value takes the type of its key. A key that KubeEdge does not know is refused:
/// it is a slip. Where KubeEdge lists no keys, any will do, and takes whatever the value looks like.
pub fn apply(text: &str, items: &[Assignment], kind: Kind) -> Result<String, ConfigError> {
    let types = Types::of(kind)?;
    let mut text = text.to_owned();
    for item in items {
        let document = Document::parse(&text, "")?;
        let refuse = |message: String| refuse(&item.item, message);
        let (path, target) = types
            .resolve(&item.names, &document.value)
            .map_err(refuse)?;
        let value = target.coerce(&item.value).map_err(refuse)?;
        if let Some(message) = types.stranger(&path, &value) {
            return Err(refuse(message));
        }
        let grown = grow(&text, &path, &value, &types).map_err(|e| refuse(e.to_string()))?;
        text = edit::set(&grown, &path, &value).map_err(|e| refuse(e.to_string()))?;
    }
    Ok(text)
}

/// Splits at the commas outside of quotes and braces, and drops the blanks there.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut parts = vec![String::new()];
    let (mut in_quotes, mut in_braces) = (false, false);
    for c in text.chars() {
        match c {
            '"' => in_quotes = !in_quotes,
            '{' if !in_quotes && in_braces => {
                return Err("braces cannot stand inside braces".to_owned());
            }
            '{' if !in_quotes => in_braces = true,
            '}' if !in_quotes && !in_braces => {
                return Err("a } has no { before it".to_owned());
            }
            '}' if !in_quotes => in_braces = false,
            _ => {}
        }
        let is_outside = !in_quotes && !in_braces;
        match parts.last_mut() {
            Some(_) if is_outside && c == ',' => parts.push(String::new()),
            Some(part) if !is_outside || !c.is_whitespace() => part.push(c),
            _ => {}
        }
    }
    if in_quotes {
        return Err("a quote is not closed".to_owned());
    }
    if in_braces {
        return Err("a { is not closed".to_owned());
    }
    Ok(parts)
}

/// The two sides of the first separator outside of quotes.
pub(super) fn split_once(text: &str, separator: char) -> Option<(&str, &str)> {
    let mut in_quotes = false;
    let (position, _) = text.char_indices().find(|(_, c)| {
        in_quotes ^= *c == '"';
        !in_quotes && *c == separator
    })?;
    Some((&text[..position], &text[position + separator.len_utf8()..]))
}

fn assignment(item: &str) -> Result<Assignment, ConfigError> {
    let Some((path, value)) = split_once(item, '=') else {
        let message = "there is no '=': write it as key=value";
        return Err(refuse(&shortened(item), message));
    };
    let names = names(path).map_err(|message| refuse(path, message))?;
    super::types::check_braces(value).map_err(|message| refuse(path, message))?;
    Ok(Assignment {
        names,
        value: value.to_owned(),
        item: path.to_owned(),
    })
}

fn names(path: &str) -> Result<Vec<Name>, String> {
    let mut rest = path.chars().peekable();
    let mut names = Vec::new();
    loop {
        let (text, quoted) = word(&mut rest)?;
        let mut indexes = Vec::new();
        while rest.next_if_eq(&'[').is_some() {
            indexes.push(index(&mut rest)?);
        }
        if text.is_empty() {
            return Err("a key is missing in the path".to_owned());
        }
        names.push(Name {
            text,
            quoted,
            indexes,
        });
        match rest.next() {
            None => return Ok(names),
            Some('.') => {}
            Some(other) => return Err(format!("{other:?} cannot stand there in a path")),
        }
    }
}

fn word(rest: &mut Peekable<Chars<'_>>) -> Result<(String, bool), String> {
    let mut text = String::new();
    if rest.next_if_eq(&'"').is_some() {
        for c in rest {
            match c {
                '"' => return Ok((text, true)),
                c => text.push(c),
            }
        }
        return Err("a quote is not closed".to_owned());
    }
    while let Some(c) = rest.next_if(|c| !".[]\"{}".contains(*c)) {
        text.push(c);
    }
    Ok((text, false))
}

/// The number and the closing bracket of `[2]`.
fn index(rest: &mut Peekable<Chars<'_>>) -> Result<usize, String> {
    let mut digits = String::new();
    while let Some(c) = rest.next_if(char::is_ascii_digit) {
        digits.push(c);
    }
    let index = digits.parse().ok().filter(|index| *index <= MAX_INDEX);
    match (index, rest.next()) {
        (Some(index), Some(']')) => Ok(index),
        _ => Err(format!(
            "between [ and ] must be a number from 0 to {MAX_INDEX}"
        )),
    }
}

/// Lengthens the lists of a path until the element that is to be set can be the next one.
///
/// A list that is not in the file has its default elements: they are written first.
fn grow(text: &str, path: &[Segment], value: &Value, types: &Types) -> Result<String, ConfigError> {
    let mut text = text.to_owned();
    for (depth, segment) in path.iter().enumerate() {
        let Segment::Index(index) = segment else {
            continue;
        };
        let list = &path[..depth];
        let mut present = edit::get(&text, list)?.filter(|value| !value.is_null());
        if present.is_none()
            && let Some(default) = types.default_list(list)
        {
            text = edit::set(&text, list, default)?;
            present = Some(default.clone());
        }
        let elements = match &present {
            Some(Value::Array(items)) => items.len(),
            Some(_) => return Ok(text),
            None => 0,
        };
        for missing in elements..*index {
            let zero = match path.get(depth + 1) {
                Some(Segment::Key(_)) => Value::Object(Default::default()),
                Some(Segment::Index(_)) => Value::Array(Vec::new()),
                None => Type::zero(value),
            };
            let element = [list, &[Segment::Index(missing)]].concat();
            text = edit::set(&text, &element, &zero)?;
        }
    }
    Ok(text)
}

fn refuse(item: &str, message: impl Into<String>) -> ConfigError {
    ConfigError::Set {
        item: item.to_owned(),
        message: message.into(),
    }
}

/// Enough of an item to find it again, too little to give a token away.
fn shortened(item: &str) -> String {
    let path = item.split(['=', ':']).next().unwrap_or(item);
    match path.char_indices().nth(32) {
        Some((end, _)) => format!("{}…", &path[..end]),
        None => path.to_owned(),
    }
}

const MAX_INDEX: usize = 255;

#[cfg(test)]
mod tests;
