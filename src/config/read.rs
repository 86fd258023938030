//! Typed access to the keys of a document, with errors that name file, line and key.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

use super::{ConfigError, duration, path};
use crate::system::yaml::Document;
use crate::system::yaml::scalar;

/// Reads keys into places that hold the default already: a key that is missing, or null, leaves it.
pub(super) struct Reader<'a> {
    pub document: &'a Document,
    pub file: &'a str,
}

impl<'a> Reader<'a> {
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        let mut value = &self.document.value;
        for part in key.split('.') {
            value = value.as_object()?.get(part)?;
        }
        Some(value).filter(|value| !value.is_null())
    }

    pub fn error(&self, key: &str, message: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            file: self.file.to_owned(),
            line: self.document.line(&path(key)),
            key: key.to_owned(),
            message: message.into(),
        }
    }

    pub fn flag(&self, key: &str, into: &mut bool) -> Result<(), ConfigError> {
        self.read(key, "true or false", into, scalar::as_bool)
    }

    pub fn text(&self, key: &str, into: &mut String) -> Result<(), ConfigError> {
        self.read(key, "text", into, as_text)
    }

    pub fn file_path(&self, key: &str, into: &mut PathBuf) -> Result<(), ConfigError> {
        self.read(key, "an absolute path", into, |value| {
            as_text(value)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        })
    }

    pub fn whole<T: TryFrom<u64> + Into<u64> + Copy>(
        &self,
        key: &str,
        range: RangeInclusive<T>,
        into: &mut T,
    ) -> Result<(), ConfigError> {
        let (low, high) = (*range.start(), *range.end());
        let (low, high): (u64, u64) = (low.into(), high.into());
        let expected = format!("a whole number from {low} to {high}");
        self.read(key, &expected, into, |value| {
            let number = value.as_u64().filter(|n| (low..=high).contains(n))?;
            T::try_from(number).ok()
        })
    }

    /// A number of seconds, hours or days; 1 to 2,147,483,647 of them.
    pub fn time(
        &self,
        key: &str,
        unit: (&str, u64),
        into: &mut Duration,
    ) -> Result<(), ConfigError> {
        let (name, seconds) = unit;
        self.read(key, &format!("whole {name}"), into, |value| {
            let number = value.as_u64().filter(|n| (1..=MAX_INT).contains(n))?;
            Some(Duration::from_secs(number * seconds))
        })
    }

    /// A duration as text, longer than zero: `90s`, `24h`.
    pub fn duration(&self, key: &str) -> Result<Option<Duration>, ConfigError> {
        let mut found = None;
        let expected = "a duration longer than zero, like 90s or 24h";
        self.read(key, expected, &mut found, |value| {
            let duration = duration::parse(value.as_str()?).ok()?;
            (!duration.is_zero()).then_some(Some(duration))
        })?;
        Ok(found)
    }

    /// Anything with a parser of its own, whose error becomes the message.
    pub fn parsed<T: FromStr<Err: Display>>(
        &self,
        key: &str,
        into: &mut T,
    ) -> Result<(), ConfigError> {
        let mut text = String::new();
        self.text(key, &mut text)?;
        if self.get(key).is_some() {
            *into = text
                .parse()
                .map_err(|e| self.error(key, format!("{}: {e}", found(&Value::from(text)))))?;
        }
        Ok(())
    }

    /// A list of texts without its empty elements.
    pub fn list(&self, key: &str, into: &mut Vec<String>) -> Result<(), ConfigError> {
        self.read(key, "a list of texts", into, |value| {
            let texts: Option<Vec<_>> = value.as_array()?.iter().map(as_text).collect();
            let mut texts = texts?;
            texts.retain(|text| !text.is_empty());
            Some(texts)
        })
    }

    pub fn address(&self, key: &str, into: &mut IpAddr) -> Result<(), ConfigError> {
        self.read(key, "an IP address", into, |value| {
            value.as_str()?.parse().ok()
        })
    }

    pub fn read<T>(
        &self,
        key: &str,
        expected: &str,
        into: &mut T,
        convert: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<(), ConfigError> {
        if let Some(value) = self.get(key) {
            *into = convert(value).ok_or_else(|| {
                self.error(key, format!("expected {expected}, found {}", found(value)))
            })?;
        }
        Ok(())
    }

    /// Refuses a file whose parts are not mappings, or that is made for another program.
    pub fn head(&self, kind: &str, version: &str) -> Result<Vec<String>, ConfigError> {
        let value = &self.document.value;
        if !value.is_object() && !value.is_null() {
            return Err(ConfigError::Syntax {
                file: self.file.to_owned(),
                line: self.document.line(&[]),
                message: format!("expected keys and values, found {}", found(value)),
            });
        }
        let mut warnings = Vec::new();
        let mut found_kind = kind.to_owned();
        self.text("kind", &mut found_kind)?;
        if found_kind != kind {
            let message = format!("expected {kind}, found {found_kind}: this is another file");
            return Err(self.error("kind", message));
        }
        let mut found_version = version.to_owned();
        self.text("apiVersion", &mut found_version)?;
        if found_version != version {
            let line = self.document.line(&path("apiVersion"));
            warnings.push(format!(
                "{}:{line}: apiVersion: {found_version} is read as {version}",
                self.file
            ));
        }
        Ok(warnings)
    }

    /// Refuses anything but a mapping at these keys, so that no part is passed over in silence.
    pub fn sections(&self, keys: &[&str]) -> Result<(), ConfigError> {
        for key in keys {
            self.read(key, "keys and values", &mut (), |value| {
                value.is_object().then_some(())
            })?;
        }
        Ok(())
    }
}

/// A scalar as text: Go too takes `123` for the text of a key that wants text.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// How a value is named in an error: short, on one line.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "keys and values".to_owned(),
        Value::Null => "nothing".to_owned(),
        Value::String(text) if text.chars().count() > 60 => {
            let start: String = text.chars().take(60).collect();
            format!("{:?}", start + "…")
        }
        other => other.to_string(),
    }
}

pub(super) const SECONDS: (&str, u64) = ("seconds", 1);

/// The largest number that the Go programs hold in such keys.
pub(super) const MAX_INT: u64 = i32::MAX.unsigned_abs() as u64;
