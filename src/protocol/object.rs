//! Objects of Kubernetes as they travel: text that stays as it came, and the little that is read of it.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::system::cause;

/// An object, verbatim, with what is known of it.
#[derive(Clone, Debug)]
pub struct Object {
    text: Box<RawValue>,
    meta: Meta,
}

/// What is read of an object; the rest passes through unseen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    /// Empty for what belongs to the whole cluster.
    pub namespace: String,
    pub uid: String,
    /// To be compared for equality, and by clouds that know what they count; empty when unknown.
    pub resource_version: String,
    /// Somebody has asked to delete it, and it may still take its time.
    pub deleting: bool,
}

/// A content that is no object.
#[derive(Debug)]
pub enum NoObject {
    Json(serde_json::Error),
    /// Without a name it can neither be stored nor found again.
    NoName,
}

impl Object {
    /// Looks at the text of an object.
    pub fn read(text: Box<RawValue>) -> Result<Object, NoObject> {
        let meta = Meta::read(&text)?;
        Ok(Object { text, meta })
    }

    /// The JSON text, as it came.
    pub fn text(&self) -> &str {
        self.text.get()
    }

    pub fn raw(&self) -> &RawValue {
        &self.text
    }

    pub fn meta(&self) -> &Meta {
        &self.meta
    }
}

impl Meta {
    /// Reads what is known of the object in this text.
    pub fn read(text: &RawValue) -> Result<Meta, NoObject> {
        // serde would read a list as a struct's fields in order.
        if !text.get().starts_with('{') {
            let error = serde::de::Error::custom("an object is a JSON object");
            return Err(NoObject::Json(error));
        }
        let seen: Seen = serde_json::from_str(text.get()).map_err(NoObject::Json)?;
        let metadata = seen.metadata.unwrap_or_default();
        let name = metadata.name.unwrap_or_default();
        if name.is_empty() {
            return Err(NoObject::NoName);
        }
        Ok(Meta {
            api_version: seen.api_version.unwrap_or_default(),
            kind: seen.kind.unwrap_or_default(),
            name,
            namespace: metadata.namespace.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
        })
    }
}

/// Any of it may be missing or null.
#[derive(Deserialize)]
struct Seen {
    #[serde(rename = "apiVersion", default)]
    api_version: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    metadata: Option<SeenMetadata>,
}

#[derive(Default, Deserialize)]
struct SeenMetadata {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    uid: Option<String>,
    #[serde(rename = "resourceVersion", default)]
    resource_version: Option<String>,
    #[serde(rename = "deletionTimestamp", default)]
    deletion_timestamp: Option<serde::de::IgnoredAny>,
}

impl fmt::Display for NoObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoObject::Json(error) => {
                write!(f, "not an object of Kubernetes: {}", cause::of_json(error))
            }
            NoObject::NoName => f.write_str("an object without metadata.name"),
        }
    }
}

impl std::error::Error for NoObject {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            NoObject::Json(error) => Some(error),
            NoObject::NoName => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Object, NoObject> {
        Object::read(RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn the_text_stays_and_its_head_is_known() {
        let text = r#"{"kind":"Pod","apiVersion":"v1","x":1.50,"metadata":{"name":"a","namespace":"default",
            "uid":"u","resourceVersion":"12","generation":9007199254740993,
            "deletionTimestamp":"2026-11-22T08:02:53Z"},"spec":[[[]]]}"#;
        let object = read(text).unwrap();
        assert_eq!(object.text(), text);
        let meta = object.meta();
        assert_eq!((meta.kind.as_str(), meta.name.as_str()), ("Pod", "a"));
        assert_eq!(
            (meta.uid.as_str(), meta.resource_version.as_str()),
            ("u", "12")
        );
        assert!(meta.deleting);
    }

    #[test]
    fn null_and_absent_are_the_same() {
        let text = r#"{"metadata":{"name":"a","creationTimestamp":null,"deletionTimestamp":null,"uid":null}}"#;
        let meta = read(text).unwrap().meta().clone();
        assert_eq!(
            meta,
            Meta {
                name: "a".to_owned(),
                ..Meta::default()
            }
        );
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        for text in [
            "[]",
            "null",
            "\"OK\"",
            "[\"v1\",\"Pod\"]",
            "{\"metadata\":1}",
        ] {
            assert!(matches!(read(text), Err(NoObject::Json(_))), "{text}");
        }
        for text in ["{}", r#"{"metadata":{"name":""}}"#, r#"{"metadata":null}"#] {
            assert!(matches!(read(text), Err(NoObject::NoName)), "{text}");
        }
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = format!(
            r#"{{"metadata":{{"name":"a"}},"x":{}{}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert!(read(&deep).is_ok());
    }
}
