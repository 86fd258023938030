//! Typed access to the parts of a batch file, with errors that name file, line and key.

use serde_json::Value;

use super::error::BatchError;
use crate::system::yaml::{self, Document, Segment, scalar};

/// A value of the file, which may be missing, and where it stands.
pub struct Part<'a> {
    document: &'a Document,
    file: &'a str,
    path: Vec<Segment>,
    value: Option<&'a Value>,
}

impl<'a> Part<'a> {
    pub fn whole(document: &'a Document, file: &'a str) -> Part<'a> {
        Part {
            document,
            file,
            path: Vec::new(),
            value: Some(&document.value),
        }
    }

    pub fn get(&self, key: &str) -> Part<'a> {
        let value = self.value.and_then(Value::as_object);
        self.part(
            Segment::Key(key.to_owned()),
            value.and_then(|all| all.get(key)),
        )
    }

    /// Those of a list; none when it is missing.
    pub fn items(&self) -> Result<Vec<Part<'a>>, BatchError> {
        let Some(value) = self.value else {
            return Ok(Vec::new());
        };
        let all = value.as_array().ok_or_else(|| self.wrong("a list"))?;
        let items = all.iter().enumerate();
        let items = items.map(|(at, value)| self.part(Segment::Index(at), Some(value)));
        Ok(items.collect())
    }

    /// Names with their texts.
    pub fn pairs(&self) -> Result<Vec<(String, String)>, BatchError> {
        let Some(value) = self.value else {
            return Ok(Vec::new());
        };
        let all = value.as_object().ok_or_else(|| self.wrong("a map"))?;
        let pair = |key: &String| {
            let part = self.get(key);
            Ok((key.clone(), part.text()?.unwrap_or_default()))
        };
        all.keys().map(pair).collect()
    }

    /// None when it is missing or empty: KubeEdge's own template writes `url: ""`.
    pub fn text(&self) -> Result<Option<String>, BatchError> {
        match self.value {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(number @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(number.to_string())),
            Some(_) => Err(self.wrong("text")),
        }
    }

    pub fn needed(&self) -> Result<String, BatchError> {
        self.text()?
            .ok_or_else(|| self.error(&format!("{} is missing", self.name())))
    }

    pub fn flag(&self) -> Result<Option<bool>, BatchError> {
        let flag = |value| scalar::as_bool(value).ok_or_else(|| self.wrong("true or false"));
        self.value.map(flag).transpose()
    }

    /// From 0 to `most`.
    pub fn number(&self, most: u64) -> Result<Option<u64>, BatchError> {
        let number = |value: &Value| {
            let number = value.as_u64().filter(|number| *number <= most);
            number.ok_or_else(|| self.wrong(&format!("a whole number from 0 to {most}")))
        };
        self.value.map(number).transpose()
    }

    /// Whether it has these keys only: a misspelt one would do nothing, in silence.
    pub fn only(&self, keys: &[&str]) -> Result<(), BatchError> {
        let Some(value) = self.value else {
            return Ok(());
        };
        let all = value.as_object().ok_or_else(|| self.wrong("a map"))?;
        match all.keys().find(|key| !keys.contains(&key.as_str())) {
            Some(key) => {
                let part = self.get(key);
                let name = part.name();
                Err(part.error(&format!(
                    "nobody knows {name}: there are {}",
                    keys.join(", ")
                )))
            }
            None => Ok(()),
        }
    }

    pub fn error(&self, message: &str) -> BatchError {
        BatchError::Value {
            file: self.file.to_owned(),
            line: self.document.line(&self.path),
            message: message.to_owned(),
        }
    }

    /// As a person writes it: `nodes[0].ssh.ip`.
    pub fn name(&self) -> String {
        yaml::show(&self.path)
    }

    fn wrong(&self, expected: &str) -> BatchError {
        self.error(&format!("{} is {expected}", self.name()))
    }

    fn part(&self, segment: Segment, value: Option<&'a Value>) -> Part<'a> {
        let mut path = self.path.clone();
        path.push(segment);
        Part {
            document: self.document,
            file: self.file,
            path,
            value: value.filter(|value| !value.is_null()),
        }
    }
}
