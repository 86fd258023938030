//! What becomes of a message from an edge: one table from type and operation to a handler.

use crate::protocol::message::Message;
use crate::system::clock::Timestamp;

/// The answer to a message, if it gets one.
pub fn dispatch(message: &Message, now: Timestamp) -> Option<Message> {
    let kind = kind(&message.route.resource);
    let operation = message.route.operation.as_str();
    let fits = |pattern: &str, word: &str| pattern == ANY || pattern == word;
    let row = TABLE
        .iter()
        .find(|row| fits(row.0, kind) && fits(row.1, operation));
    row.and_then(|(_, _, handler)| handler(message, now))
}

type Handler = fn(&Message, Timestamp) -> Option<Message>;

/// Type of the resource, operation, handler; the first row that fits counts (docs/protocol.md,
/// "Messages"). What fits none, such as an upload, is not answered.
const TABLE: &[(&str, &str, Handler)] = &[
    (ANY, "keepalive", silence),
    (ANY, "response", silence),
    (ANY, "error", silence),
    (ANY, "ping", acknowledge),
    (ANY, "pong", acknowledge),
    (ANY, "config", acknowledge),
    ("event", ANY, silence),
    (ANY, "query", unhandled),
    (ANY, "insert", unhandled),
    (ANY, "update", unhandled),
    (ANY, "patch", unhandled),
    (ANY, "delete", unhandled),
    (ANY, "get", unhandled),
];

/// Of `<namespace>/<type>/<name>`, or empty.
fn kind(resource: &str) -> &str {
    resource.split('/').nth(1).unwrap_or_default()
}

fn silence(_: &Message, _: Timestamp) -> Option<Message> {
    None
}

/// Control operations are answered in the name of whom they were sent to.
fn acknowledge(message: &Message, now: Timestamp) -> Option<Message> {
    Some(message.answer(now, &message.route.source, "response", "ack"))
}

/// An edge would wait a minute for what nobody here does: so it is told at once.
fn unhandled(message: &Message, now: Timestamp) -> Option<Message> {
    if !message.header.parent_id.is_empty() {
        return None;
    }
    let text = format!(
        "this cloud has nobody who handles {}",
        shown(&message.route.resource)
    );
    let mut answer = message.answer(now, SOURCE, "error", &text);
    // Edges look for answers in these two groups only, whatever group they asked in.
    let group = if message.route.group == "twin" {
        "twin"
    } else {
        "resource"
    };
    group.clone_into(&mut answer.route.group);
    Some(answer)
}

/// The resource, without what could make the sentence long or unreadable.
fn shown(resource: &str) -> String {
    resource
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_SHOWN)
        .collect()
}

const ANY: &str = "*";

/// The name of this part in what it sends.
const SOURCE: &str = "cloudhub";

const MAX_SHOWN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::Route;

    const NOW: Timestamp = Timestamp::from_unix(1_795_339_363);

    fn message(operation: &str, resource: &str) -> Message {
        let route = Route {
            source: "edged".to_owned(),
            group: "meta".to_owned(),
            operation: operation.to_owned(),
            resource: resource.to_owned(),
            ..Route::default()
        };
        Message::new(NOW, route, &serde_json::Value::Null)
    }

    #[test]
    fn requests_that_nobody_handles_get_an_error() {
        for operation in ["query", "insert", "update", "patch", "delete", "get"] {
            let request = message(operation, "null/node/edge-1");
            let answer = dispatch(&request, NOW).unwrap();
            assert_eq!(answer.route.operation, "error", "{operation}");
            assert_eq!(answer.header.parent_id, request.header.id);
            assert_eq!(answer.route.resource, "null/node/edge-1");
            assert_eq!(answer.route.group, "resource");
            assert_eq!(answer.route.source, "cloudhub");
            assert!(answer.text().unwrap().contains("null/node/edge-1"));
        }
    }

    #[test]
    fn twins_are_answered_among_themselves() {
        let mut request = message("get", "membership/detail");
        request.route.group = "twin".to_owned();
        assert_eq!(dispatch(&request, NOW).unwrap().route.group, "twin");
    }

    #[test]
    fn what_asks_for_nothing_is_never_answered() {
        let quiet = [
            ("keepalive", "node"),
            ("response", "default/pod/p"),
            ("error", "default/pod/p"),
            ("insert", "default/event/e"),
            ("upload", "x"),
            ("", ""),
            ("no-such-operation", "default/pod/p"),
        ];
        for (operation, resource) in quiet {
            assert!(
                dispatch(&message(operation, resource), NOW).is_none(),
                "{operation}"
            );
        }
        let mut answer = message("update", "default/pod/p");
        answer.header.parent_id = "1".to_owned();
        assert!(dispatch(&answer, NOW).is_none());
    }

    #[test]
    fn control_operations_are_acknowledged() {
        for operation in ["ping", "pong", "config"] {
            let control = message(operation, "/control/ping");
            let answer = dispatch(&control, NOW).unwrap();
            assert_eq!(answer.route.operation, "response");
            assert_eq!(answer.route.source, "edged");
            assert_eq!(answer.text().as_deref(), Some("ack"));
            assert_eq!(answer.header.parent_id, control.header.id);
        }
    }

    #[test]
    fn a_long_resource_makes_no_long_sentence() {
        let answer = dispatch(&message("query", &"x\n".repeat(10_000)), NOW).unwrap();
        assert!(answer.text().unwrap().len() < 300);
    }
}
