//! What a message of the cloud asks of the store, or why it asks nothing that can be done.

use std::fmt;

use serde_json::value::RawValue;

use super::index::Change;
use crate::protocol::message::Message;
use crate::protocol::object::Object;
use crate::protocol::resource::{BadResource, Kind, ObjectPath, Resource};

/// A message that is neither stored nor acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    Resource(BadResource),
    /// The content is no object of Kubernetes. What it is stays unsaid: it may be a secret.
    Content,
    Operation,
}

/// What to do with which object; none when the message is for another part of the device.
pub fn read(message: Message) -> Result<Option<(ObjectPath, Change)>, Bad> {
    let route = &message.route;
    if route.group != GROUP {
        return Ok(None);
    }
    let resource: Resource = route.resource.parse().map_err(Bad::Resource)?;
    let Resource::Object(path) = resource else {
        return Ok(None);
    };
    if !STORED.contains(&path.kind) {
        return Ok(None);
    }
    let change = match route.operation.as_str() {
        // An answer was given to who asked, and they want it stored; or it came too late for that.
        "response" => match (path.kind, object(message.content)) {
            (Kind::ConfigMap | Kind::Secret, Ok(object)) => Change::Put(object),
            _ => return Ok(None),
        },
        "insert" | "update" => Change::Put(object(message.content)?),
        // Some clouds send the last state, some only what it was, some nothing.
        "delete" => Change::Delete {
            uid: object(message.content).map_or(String::new(), |object| object.meta().uid.clone()),
        },
        _ => return Err(Bad::Operation),
    };
    Ok(Some((path, change)))
}

fn object(content: Option<Box<RawValue>>) -> Result<Object, Bad> {
    let object = Object::read(content.ok_or(Bad::Content)?);
    object.map_err(|_| Bad::Content)
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bad::Resource(error) => write!(f, "it is about {error}"),
            Bad::Content => f.write_str("its content is no object of Kubernetes"),
            Bad::Operation => f.write_str("it asks for something unknown"),
        }
    }
}

impl std::error::Error for Bad {}

/// What is kept for when the cloud is away.
pub const STORED: &[Kind] = &[
    Kind::ConfigMap,
    Kind::Device,
    Kind::DeviceModel,
    Kind::Node,
    Kind::PersistentVolume,
    Kind::PersistentVolumeClaim,
    Kind::Pod,
    Kind::Rule,
    Kind::RuleEndpoint,
    Kind::Secret,
    Kind::ServiceAccountAccess,
    Kind::VolumeAttachment,
];

const GROUP: &str = "resource";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protocol::message::Route;
    use crate::system::clock::Timestamp;

    fn message(
        group: &str,
        operation: &str,
        resource: &str,
        content: &serde_json::Value,
    ) -> Message {
        let route = Route {
            group: group.to_owned(),
            operation: operation.to_owned(),
            resource: resource.to_owned(),
            ..Route::default()
        };
        Message::new(Timestamp::from_unix(1), route, content)
    }

    #[test]
    fn objects_are_taken_and_all_else_is_not() {
        let object = json!({"metadata": {"name": "a", "namespace": "default", "uid": "u"}});
        let read = |group, operation, resource, content: &serde_json::Value| {
            super::read(message(group, operation, resource, content))
        };
        for operation in ["insert", "update"] {
            let (path, change) = read("resource", operation, "default/configmap/a", &object)
                .unwrap()
                .unwrap();
            assert_eq!(path.to_string(), "default/configmap/a");
            assert!(matches!(change, Change::Put(_)));
        }
        for (content, expected) in [(&object, "u"), (&json!(null), ""), (&json!("u"), "")] {
            let (_, change) = read("resource", "delete", "default/pod/a", content)
                .unwrap()
                .unwrap();
            assert!(matches!(change, Change::Delete { uid } if uid == expected));
        }
        let read_answer =
            |resource, content| read("resource", "response", resource, content).unwrap();
        assert!(read_answer("default/secret/a", &object).is_some());
        for (resource, content) in [
            ("default/secret/a", &json!({"ErrStatus": {"code": 404}})),
            ("default/secret/a", &json!("not found")),
            ("null/node/a", &object),
            ("default/pod/a", &json!("OK")),
        ] {
            assert!(read_answer(resource, content).is_none());
        }
        let elsewhere = [
            ("twin", "update", "membership"),
            ("resource", "update", "membership"),
            ("resource", "update", "default/lease/a"),
            ("resource", "update", "default/podlist"),
            ("user", "message", "any/topic"),
        ];
        for (group, operation, resource) in elsewhere {
            assert!(matches!(
                read(group, operation, resource, &object),
                Ok(None)
            ));
        }
        let bad = [
            ("update", "default/pod/A", &object, "no name"),
            ("update", "default/nothing/a", &object, "unknown type"),
            (
                "update",
                "default/pod/a",
                &json!("secret word"),
                "no object",
            ),
            ("insert", "default/pod/a", &json!(null), "no object"),
            ("insert", "default/pod/a", &json!({}), "no object"),
            ("destroy", "default/pod/a", &object, "something unknown"),
        ];
        for (operation, resource, content, expected) in bad {
            let error = read("resource", operation, resource, content).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
