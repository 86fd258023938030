//! What answers carry: an object, or why there is none. Both sides: the cloud writes them, the edge reads.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::message::Message;
use super::object::{NoObject, Object};

/// An error of the API as Kubernetes words it (`metav1.Status`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Status {
    #[serde(default)]
    metadata: Empty,
    #[serde(default)]
    status: String,
    #[serde(default)]
    pub message: String,
    /// One of Kubernetes' words, such as `NotFound`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    details: Option<Box<Details>>,
    /// As an HTTP status.
    #[serde(default)]
    pub code: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
struct Empty {}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
struct Details {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    group: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    causes: Vec<Cause>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
struct Cause {
    reason: String,
    message: String,
    field: String,
}

/// What a status is about: `lease` in `coordination.k8s.io`.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    pub group: &'a str,
    /// As the API writes it in its errors: `nodes`, `configmaps`.
    pub plural: &'a str,
    pub name: &'a str,
}

/// Why an answer has no object.
#[derive(Debug)]
pub enum Refusal {
    /// The API of the cluster refused, or the cloud in its name.
    Api(Status),
    /// The cloud said so in plain words, as clouds do for what is no error of the API.
    Said(String),
    /// Neither an object nor an error that says anything.
    Nothing,
    /// Not in the form that such answers have.
    Form(NoObject),
}

impl Status {
    pub fn not_found(about: About<'_>) -> Status {
        let what = format!("{} {:?} not found", about.qualified(), about.name);
        Status::of(404, "NotFound", what, about)
    }

    pub fn already_exists(about: About<'_>) -> Status {
        let what = format!("{} {:?} already exists", about.qualified(), about.name);
        Status::of(409, "AlreadyExists", what, about)
    }

    /// The version that the change was made from is not the current one.
    pub fn conflict(about: About<'_>) -> Status {
        let what = format!(
            "Operation cannot be fulfilled on {} {:?}: the object has been modified; please apply \
             your changes to the latest version and try again",
            about.qualified(),
            about.name
        );
        Status::of(409, "Conflict", what, about)
    }

    /// The field holds what it can't hold: why, as `Invalid value: "": must not be empty`.
    pub fn invalid(about: About<'_>, field: &str, why: &str) -> Status {
        let what = format!(
            "{} {:?} is invalid: {field}: {why}",
            about.qualified(),
            about.name
        );
        let mut status = Status::of(422, "Invalid", what, about);
        if let Some(details) = &mut status.details {
            details.causes.push(Cause {
                reason: "FieldValueInvalid".to_owned(),
                message: why.to_owned(),
                field: field.to_owned(),
            });
        }
        status
    }

    pub fn bad_request(why: &str) -> Status {
        Status {
            status: FAILURE.to_owned(),
            message: why.to_owned(),
            reason: "BadRequest".to_owned(),
            code: 400,
            ..Status::default()
        }
    }

    pub fn forbidden(about: About<'_>, why: &str) -> Status {
        let what = format!("{} {:?} is forbidden: {why}", about.qualified(), about.name);
        Status::of(403, "Forbidden", what, about)
    }

    /// The cloud can't do it at the moment.
    pub fn internal(why: &str) -> Status {
        Status {
            status: FAILURE.to_owned(),
            message: format!("Internal error occurred: {why}"),
            reason: "InternalError".to_owned(),
            code: 500,
            ..Status::default()
        }
    }

    /// There is no room for what is to be kept; `why` says what to do.
    pub fn full(why: &str) -> Status {
        Status {
            status: FAILURE.to_owned(),
            message: why.to_owned(),
            reason: "InsufficientStorage".to_owned(),
            code: 507,
            ..Status::default()
        }
    }

    /// What a cluster has answered, in its words.
    pub fn of_cluster(code: u16, reason: &str, message: &str, details: Option<&Value>) -> Status {
        let read = |details: &Value| Details::deserialize(details).ok();
        Status {
            status: FAILURE.to_owned(),
            message: message.to_owned(),
            reason: reason.to_owned(),
            details: details.and_then(read).map(Box::new),
            code,
            ..Status::default()
        }
    }

    /// More was asked for than is done at a time.
    pub fn too_many() -> Status {
        Status {
            status: FAILURE.to_owned(),
            message: "too many requests at a time: try again later".to_owned(),
            reason: "TooManyRequests".to_owned(),
            code: 429,
            ..Status::default()
        }
    }

    fn of(code: u16, reason: &str, message: String, about: About<'_>) -> Status {
        Status {
            status: FAILURE.to_owned(),
            message,
            reason: reason.to_owned(),
            details: Some(Box::new(Details {
                name: about.name.to_owned(),
                group: about.group.to_owned(),
                kind: about.plural.to_owned(),
                causes: Vec::new(),
            })),
            code,
            ..Status::default()
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.code == 404
    }

    /// Somebody else has changed it meanwhile. Not said of what exists already.
    pub fn is_conflict(&self) -> bool {
        self.code == 409 && self.reason != "AlreadyExists"
    }

    pub fn is_already_exists(&self) -> bool {
        self.reason == "AlreadyExists"
    }
}

impl About<'_> {
    fn qualified(&self) -> String {
        match self.group {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }
}

/// The form of answers to inserts, updates and patches: both keys are always there.
#[derive(Serialize)]
struct Both<'a> {
    #[serde(rename = "Object")]
    object: Option<&'a RawValue>,
    #[serde(rename = "Err")]
    error: Option<Wrapped<'a>>,
}

#[derive(Serialize)]
struct Wrapped<'a> {
    #[serde(rename = "ErrStatus")]
    status: &'a Status,
}

/// The content `{"Object": …, "Err": null}`.
pub fn granted(object: &RawValue) -> impl Serialize {
    Both {
        object: Some(object),
        error: None,
    }
}

/// The content `{"Object": null, "Err": {"ErrStatus": …}}`; with an object without anything in it where
/// clouds answer so.
pub fn refused<'a>(status: &'a Status, empty: Option<&'a RawValue>) -> impl Serialize + use<'a> {
    Both {
        object: empty,
        error: Some(Wrapped { status }),
    }
}

/// The content `{"ErrStatus": …}`, for answers that otherwise are the bare object.
pub fn refused_bare(status: &Status) -> impl Serialize + use<'_> {
    Wrapped { status }
}

/// Reads the answer to an insert, an update or a patch, and to the query of a lease.
pub fn object_of_both(answer: &Message) -> Result<Object, Refusal> {
    #[derive(Deserialize)]
    struct Seen {
        #[serde(rename = "Object", default)]
        object: Option<Box<RawValue>>,
        #[serde(rename = "Err", default)]
        error: Option<Box<RawValue>>,
    }
    let text = content(answer)?;
    let seen: Seen = serde_json::from_str(text).map_err(|e| Refusal::Form(NoObject::Json(e)))?;
    if let Some(error) = seen.error {
        return Err(refusal(error.get()));
    }
    // An error of another kind than the API's leaves `{}` for itself and an object with nothing in it.
    let object = Object::read(seen.object.ok_or(Refusal::Nothing)?);
    object.map_err(|error| match error {
        NoObject::NoName => Refusal::Nothing,
        error => Refusal::Form(error),
    })
}

/// Reads the answer to a query: the bare object.
pub fn bare_object(answer: &Message) -> Result<Object, Refusal> {
    let text = content(answer)?;
    if let Some(status) = status_in(text) {
        return Err(Refusal::Api(status));
    }
    let raw = RawValue::from_string(text.to_owned());
    let raw = raw.map_err(|error| Refusal::Form(NoObject::Json(error)))?;
    Object::read(raw).map_err(Refusal::Form)
}

/// The content, if the answer is none that only says why not.
fn content(answer: &Message) -> Result<&str, Refusal> {
    let text = answer.content.as_ref().map_or("null", |raw| raw.get());
    let plain = serde_json::from_str::<String>(text);
    match (answer.route.operation.as_str(), plain) {
        (_, Ok(said)) => Err(Refusal::Said(shortened(&said))),
        ("error", Err(_)) => Err(refusal(text)),
        (_, Err(_)) if text == "null" => Err(Refusal::Nothing),
        (_, Err(_)) => Ok(text),
    }
}

fn refusal(text: &str) -> Refusal {
    match status_in(text) {
        Some(status) => Refusal::Api(status),
        None => match serde_json::from_str::<String>(text) {
            Ok(said) => Refusal::Said(shortened(&said)),
            Err(_) => Refusal::Nothing,
        },
    }
}

fn status_in(text: &str) -> Option<Status> {
    #[derive(Deserialize)]
    struct Seen {
        #[serde(rename = "ErrStatus")]
        status: Status,
    }
    if !text.starts_with('{') {
        return None;
    }
    let seen: Seen = serde_json::from_str(text).ok()?;
    Some(Status {
        message: shortened(&seen.status.message),
        ..seen.status
    })
}

/// What a peer says, fit for a line of a log.
fn shortened(said: &str) -> String {
    let plain = said.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(MAX_SAID).collect()
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Api(status) => {
                write!(f, "the cloud refuses: {} ({})", status.message, status.code)
            }
            Refusal::Said(text) => write!(f, "the cloud refuses: {text}"),
            Refusal::Nothing => f.write_str("the cloud failed, and does not say why"),
            Refusal::Form(error) => {
                write!(f, "the cloud's answer has not the form it should: {error}")
            }
        }
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Refusal::Form(error) => Some(error),
            _ => None,
        }
    }
}

const FAILURE: &str = "Failure";
const MAX_SAID: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::Route;
    use crate::system::clock::Timestamp;

    const LEASE: About<'_> = About {
        group: "coordination.k8s.io",
        plural: "lease",
        name: "edge-1",
    };

    fn answer(operation: &str, content: &str) -> Message {
        let route = Route {
            operation: operation.to_owned(),
            ..Route::default()
        };
        let raw = RawValue::from_string(content.to_owned()).unwrap();
        Message::new(Timestamp::from_unix(1), route, &raw)
    }

    fn status_of(refusal: Refusal) -> Status {
        match refusal {
            Refusal::Api(status) => status,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_missing_lease_is_said_in_recorded_words() {
        let recorded = r#"{"Object":null,"Err":{"ErrStatus":{"metadata":{},"status":"Failure","message":"lease.coordination.k8s.io \"edge-1\" not found","reason":"NotFound","details":{"name":"edge-1","group":"coordination.k8s.io","kind":"lease"},"code":404}}}"#;
        let ours = serde_json::to_string(&refused(&Status::not_found(LEASE), None)).unwrap();
        assert_eq!(ours, recorded);
        let read = object_of_both(&answer("response", recorded)).unwrap_err();
        assert!(status_of(read).is_not_found());
    }

    #[test]
    fn an_object_comes_through_as_it_is() {
        let object = r#"{"metadata":{"name":"a","generation":9007199254740993},"x":1.0}"#;
        let raw = RawValue::from_string(object.to_owned()).unwrap();
        let both = serde_json::to_string(&granted(&raw)).unwrap();
        assert_eq!(both, format!(r#"{{"Object":{object},"Err":null}}"#));
        assert_eq!(
            object_of_both(&answer("response", &both)).unwrap().text(),
            object
        );
        assert_eq!(
            bare_object(&answer("response", object)).unwrap().text(),
            object
        );
    }

    #[test]
    fn every_way_to_fail_is_told_apart() {
        let conflict = serde_json::to_string(&refused(&Status::conflict(LEASE), None)).unwrap();
        let taken = serde_json::to_string(&refused(&Status::already_exists(LEASE), None)).unwrap();
        assert!(
            status_of(object_of_both(&answer("response", &conflict)).unwrap_err()).is_conflict()
        );
        let taken = status_of(object_of_both(&answer("response", &taken)).unwrap_err());
        assert!(taken.is_already_exists() && !taken.is_conflict());
        let nothing = [
            r#"{"Object":null,"Err":null}"#,
            r#"{"Object":{"metadata":{"creationTimestamp":null}},"Err":{}}"#,
            r#"{"Object":{"metadata":{"creationTimestamp":null}},"Err":null}"#,
            r#"{"Object":null}"#,
            "null",
        ];
        for content in nothing {
            let refusal = object_of_both(&answer("response", content)).unwrap_err();
            assert!(matches!(refusal, Refusal::Nothing), "{content}: {refusal}");
        }
        for operation in ["response", "error"] {
            let refusal = object_of_both(&answer(operation, "\"no\\nway\"")).unwrap_err();
            assert!(matches!(refusal, Refusal::Said(ref said) if said == "no way"));
            let refusal = bare_object(&answer(operation, "\"no\"")).unwrap_err();
            assert!(matches!(refusal, Refusal::Said(_)));
        }
        for content in ["1", "[]", "true"] {
            let refusal = bare_object(&answer("response", content)).unwrap_err();
            assert!(matches!(refusal, Refusal::Form(_)), "{content}: {refusal}");
        }
    }

    #[test]
    fn a_missing_object_is_no_object() {
        let missing = r#"{"ErrStatus":{"metadata":{},"status":"Failure","message":"m","reason":"NotFound","code":404}}"#;
        assert!(status_of(bare_object(&answer("response", missing)).unwrap_err()).is_not_found());
        assert!(status_of(bare_object(&answer("error", missing)).unwrap_err()).is_not_found());
    }
}
