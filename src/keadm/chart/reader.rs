//! Reads typed values out of the tree of all values, and says which key holds something else.

use serde_json::{Map, Value};

use super::ChartError;

/// The tree with all values, or a part of it.
#[derive(Clone)]
pub struct Keys<'a> {
    value: Option<&'a Value>,
    path: String,
}

impl<'a> Keys<'a> {
    pub fn new(root: &'a Value) -> Keys<'a> {
        Keys {
            value: Some(root),
            path: String::new(),
        }
    }

    /// What is below this key, or below these with dots between them; nothing where nothing is.
    pub fn at(&self, path: &str) -> Keys<'a> {
        let value = path
            .split('.')
            .fold(self.value, |value, key| value?.get(key));
        Keys {
            value: value.filter(|value| !value.is_null()),
            path: match self.path.as_str() {
                "" => path.to_owned(),
                before => format!("{before}.{path}"),
            },
        }
    }

    /// A boolean, also when written as a text; false where nothing is.
    pub fn flag(&self, path: &str) -> Result<bool, ChartError> {
        let at = self.at(path);
        match at.value {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" || text.is_empty() => Ok(false),
            Some(other) => Err(at.not("true or false", other)),
        }
    }

    /// A whole number of this range, also when written as a text.
    pub fn number(
        &self,
        path: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, ChartError> {
        let at = self.at(path);
        let number = match at.value {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            _ => None,
        };
        let fits = number.filter(|number| range.contains(number));
        fits.ok_or_else(|| {
            let expected = format!("a whole number from {} to {}", range.start(), range.end());
            at.not(&expected, at.value.unwrap_or(&Value::Null))
        })
    }

    pub fn port(&self, path: &str) -> Result<u64, ChartError> {
        self.number(path, 1..=65_535)
    }

    /// A text, also when it looks like a number; empty where nothing is.
    pub fn text(&self, path: &str) -> Result<String, ChartError> {
        let at = self.at(path);
        match at.value {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.trim().to_owned()),
            Some(Value::Number(number)) => Ok(number.to_string()),
            Some(other) => Err(at.not("a text", other)),
        }
    }

    /// One of these words.
    pub fn word(
        &self,
        path: &str,
        known: &'static [&'static str],
    ) -> Result<&'static str, ChartError> {
        let text = self.text(path)?;
        let found = known.iter().find(|known| known.eq_ignore_ascii_case(&text));
        found.copied().ok_or_else(|| {
            let known = known.join(" or ");
            self.at(path).not(&known, &Value::String(text))
        })
    }

    /// A list of texts, without the empty ones.
    pub fn texts(&self, path: &str) -> Result<Vec<String>, ChartError> {
        let at = self.at(path);
        let list = match at.value {
            None => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(other) => return Err(at.not("a list", other)),
        };
        let mut texts = Vec::new();
        for item in list {
            match item {
                Value::Null => {}
                Value::String(text) if text.trim().is_empty() => {}
                Value::String(text) => texts.push(text.trim().to_owned()),
                other => return Err(at.not("a list of texts", other)),
            }
        }
        Ok(texts)
    }

    /// A mapping; an empty one where nothing is.
    pub fn map(&self, path: &str) -> Result<Map<String, Value>, ChartError> {
        let at = self.at(path);
        match at.value {
            None => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map.clone()),
            Some(other) => Err(at.not("a mapping", other)),
        }
    }

    /// A list; an empty one where nothing is.
    pub fn list(&self, path: &str) -> Result<Vec<Value>, ChartError> {
        let at = self.at(path);
        match at.value {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list.clone()),
            Some(other) => Err(at.not("a list", other)),
        }
    }

    pub fn wrong(&self, path: &str, why: impl Into<String>) -> ChartError {
        ChartError::Value {
            key: self.at(path).path,
            why: why.into(),
        }
    }

    fn not(&self, expected: &str, found: &Value) -> ChartError {
        let mut shown: String = found.to_string().chars().take(MAX_SHOWN).collect();
        if found.is_null() {
            shown = "nothing".to_owned();
        }
        ChartError::Value {
            key: self.path.clone(),
            why: format!("expected {expected}, not {shown}"),
        }
    }
}

/// Characters of a value in an error.
const MAX_SHOWN: usize = 60;
