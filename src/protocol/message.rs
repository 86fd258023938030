//! The message that travels on the tunnel, in both directions: exact JSON shape, content verbatim.

use std::fmt;

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::system::cause;
use crate::system::clock::Timestamp;

/// One message (docs/protocol.md, "Messages"). Field order is the order on the wire.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Message {
    #[serde(default)]
    pub header: Header,
    #[serde(default)]
    pub route: Route,
    /// JSON text as it came: objects never pass through typed structs, so nothing is lost.
    #[serde(default)]
    pub content: Option<Box<RawValue>>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Header {
    #[serde(rename = "msg_id", default)]
    pub id: String,
    /// The id of the message that this one answers; empty when it answers none.
    #[serde(
        rename = "parent_msg_id",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub parent_id: String,
    /// Unix milliseconds.
    #[serde(default)]
    pub timestamp: i64,
    #[serde(
        rename = "resourceversion",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub resource_version: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sync: bool,
    #[serde(rename = "type", default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Route {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub destination: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub operation: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource: String,
}

/// A frame that is no message; it is counted and skipped, the tunnel goes on.
#[derive(Debug)]
pub struct Malformed(serde_json::Error);

impl Message {
    /// A new message with a fresh id.
    pub fn new(now: Timestamp, route: Route, content: &impl Serialize) -> Self {
        Message {
            header: Header {
                id: new_id(),
                timestamp: now.millis(),
                ..Header::default()
            },
            route,
            // Only maps with keys that are no strings fail to serialise, and no content has them.
            content: serde_json::value::to_raw_value(content).ok(),
        }
    }

    /// An answer to this message: same group and resource, this message as its parent.
    pub fn answer(&self, now: Timestamp, source: &str, operation: &str, text: &str) -> Self {
        let route = Route {
            source: source.to_owned(),
            destination: String::new(),
            group: self.route.group.clone(),
            operation: operation.to_owned(),
            resource: self.route.resource.clone(),
        };
        let mut message = Message::new(now, route, &text);
        message.header.parent_id = self.header.id.clone();
        message
    }

    /// What an edge asks or says about objects, in the name of KubeEdge's kubelet: clouds know no other.
    pub fn of_edged(
        now: Timestamp,
        operation: &str,
        resource: &str,
        content: &impl Serialize,
    ) -> Self {
        let route = Route {
            source: "edged".to_owned(),
            destination: String::new(),
            group: "meta".to_owned(),
            operation: operation.to_owned(),
            resource: resource.to_owned(),
        };
        Message::new(now, route, content)
    }

    /// What an edge sends at once and then every heartbeat.
    pub fn keepalive(now: Timestamp) -> Self {
        let route = Route {
            source: "websocket".to_owned(),
            destination: String::new(),
            group: "resource".to_owned(),
            operation: "keepalive".to_owned(),
            resource: "node".to_owned(),
        };
        Message::new(now, route, &"ping")
    }

    /// Reads the first JSON value of a frame; what stands behind it is ignored, as upstream does.
    pub fn from_json(frame: &[u8]) -> Result<Self, Malformed> {
        // serde would read a list as a struct's fields in order.
        if frame.trim_ascii_start().first() != Some(&b'{') {
            return Err(Malformed(serde::de::Error::custom(
                "a frame holds one JSON object",
            )));
        }
        let mut reader = serde_json::Deserializer::from_slice(frame);
        Message::deserialize(&mut reader).map_err(Malformed)
    }

    /// One line of JSON with its newline, as upstream's encoder writes it.
    pub fn to_json(&self) -> String {
        // A struct of strings and numbers always serialises.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }

    /// The content when it is a JSON string.
    pub fn text(&self) -> Option<String> {
        serde_json::from_str(self.content.as_ref()?.get()).ok()
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a tunnel message: {}", cause::of_json(&self.0))
    }
}

impl std::error::Error for Malformed {}

/// A random (version 4) UUID in its usual form.
pub fn new_id() -> String {
    let mut bytes = [0u8; 16];
    // An id only has to be unique within a session, so a failing generator is no reason to stop.
    if SystemRandom::new().fill(&mut bytes).is_err() {
        bytes =
            u128::from(COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed)).to_be_bytes();
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keepalive_has_upstreams_bytes() {
        let line = Message::keepalive(Timestamp::from_unix(1_795_339_363)).to_json();
        let (before, after) = line.split_once("\"msg_id\":\"").unwrap();
        assert_eq!(before, "{\"header\":{");
        assert_eq!(
            &after[36..],
            "\",\"timestamp\":1795339363000},\"route\":{\"source\":\"websocket\",\"group\":\"resource\",\
             \"operation\":\"keepalive\",\"resource\":\"node\"},\"content\":\"ping\"}\n"
        );
    }

    #[test]
    fn content_survives_to_the_letter() {
        let content = r#"{"z":9007199254740993,"a":1.50,"unknown":{"deep":[null,1e400]}}"#;
        let frame = format!(
            r#"{{"header":{{"msg_id":"1","timestamp":2}},"route":{{}},"content":{content}}}"#
        );
        let message = Message::from_json(frame.as_bytes()).unwrap();
        assert_eq!(message.content.as_ref().unwrap().get(), content);
        assert_eq!(message.to_json(), frame + "\n");
    }

    #[test]
    fn tolerates_what_upstream_tolerates_and_refuses_the_rest() {
        let good = [
            "{}",
            r#" {"header":{"msg_id":"x","new":1}} {"second":1}"#,
            r#"{"content":null}"#,
        ];
        for frame in good {
            assert!(Message::from_json(frame.as_bytes()).is_ok(), "{frame}");
        }
        let bad = [
            "",
            "x",
            "[]",
            "\"a\"",
            r#"{"header":{"timestamp":"1"}}"#,
            "{\"content\":\"\u{1}",
        ];
        for frame in bad {
            assert!(Message::from_json(frame.as_bytes()).is_err(), "{frame}");
        }
    }

    #[test]
    fn deep_content_neither_overflows_nor_is_lost() {
        let deep = format!(
            "{{\"content\":{}{}}}",
            "[".repeat(200_000),
            "]".repeat(200_000)
        );
        assert!(Message::from_json(deep.as_bytes()).is_ok());
    }

    #[test]
    fn an_answer_names_its_parent_and_keeps_the_resource() {
        let route = Route {
            resource: "a/b/c".into(),
            group: "meta".into(),
            ..Route::default()
        };
        let question = Message::new(Timestamp::from_unix(1), route, &serde_json::Value::Null);
        let answer = question.answer(Timestamp::from_unix(2), "cloudhub", "error", "no");
        assert_eq!(answer.header.parent_id, question.header.id);
        assert_eq!(answer.route.resource, "a/b/c");
        assert_eq!(answer.text().as_deref(), Some("no"));
        assert_eq!(question.to_json().matches("\"content\":null").count(), 1);
    }

    #[test]
    fn ids_are_version_4_uuids() {
        let id = new_id();
        assert_eq!(id.len(), 36);
        assert_eq!(id.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&id.as_bytes()[19]));
        assert_ne!(id, new_id());
    }
}
