//! One request to a cluster: what is asked, of which path, in whose name.

use std::time::Duration;

use serde_json::{Value, json};

use super::Resource;

/// A request, ready to be sent as often as it takes.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    /// From the first slash on, escaped, without a query.
    pub path: String,
    /// Not escaped.
    pub query: Vec<(&'static str, String)>,
    pub body: Option<Body>,
    pub impersonation: Option<Impersonation>,
    /// For one try, from the connection to the last byte; for a watch, until it is open.
    pub timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Delete,
    Get,
    Patch,
    Post,
    Put,
}

/// What a request carries.
#[derive(Clone)]
pub struct Body {
    pub content_type: &'static str,
    pub bytes: Vec<u8>,
}

/// Who the cluster is to take us for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impersonation {
    pub user: String,
    pub groups: Vec<String>,
}

/// How a change to an object is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own, which knows lists by their keys.
    Strategic,
}

impl Request {
    /// A request of this path, for what has no name here.
    pub fn new(method: Method, path: impl Into<String>) -> Request {
        Request {
            method,
            path: path.into(),
            query: Vec::new(),
            body: None,
            impersonation: None,
            timeout: TIMEOUT,
        }
    }

    pub fn get(resource: &Resource, namespace: Option<&str>, name: &str) -> Request {
        Request::new(Method::Get, resource.path(namespace, name))
    }

    /// One page; `list::all` asks for all of them.
    pub fn list(resource: &Resource, namespace: Option<&str>) -> Request {
        Request::new(Method::Get, resource.collection(namespace)).with("limit", PAGE.to_string())
    }

    pub fn create(resource: &Resource, namespace: Option<&str>, object: &Value) -> Request {
        Request::new(Method::Post, resource.collection(namespace)).json("application/json", object)
    }

    /// Puts `object` in the place of the one of its name. It must have the version that it replaces.
    pub fn replace(
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        object: &Value,
    ) -> Request {
        Request::new(Method::Put, resource.path(namespace, name)).json("application/json", object)
    }

    pub fn patch(
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        patch: Patch,
        change: &Value,
    ) -> Request {
        Request::new(Method::Patch, resource.path(namespace, name)).json(patch.mime(), change)
    }

    /// Server-side apply, as the field manager `keadm`. Fields that others own are taken over.
    pub fn apply(
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        object: &Value,
    ) -> Request {
        // JSON is YAML too.
        Request::new(Method::Patch, resource.path(namespace, name))
            .json("application/apply-patch+yaml", object)
            .with("fieldManager", FIELD_MANAGER)
            .with("force", "true")
    }

    pub fn delete(resource: &Resource, namespace: Option<&str>, name: &str) -> Request {
        Request::new(Method::Delete, resource.path(namespace, name))
    }

    /// Changes since a version of the collection; `from` is one that a list or an event gave.
    pub fn watch(resource: &Resource, namespace: Option<&str>, from: &str) -> Request {
        Request::new(Method::Get, resource.collection(namespace))
            .with("watch", "true")
            .with("allowWatchBookmarks", "true")
            .with("resourceVersion", from)
            .with("timeoutSeconds", WATCH_SECONDS.to_string())
    }

    /// Of a part of the object: `status`, `token`.
    pub fn part(mut self, part: &str) -> Request {
        self.path.push('/');
        self.path.push_str(part);
        self
    }

    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Request {
        self.query.push((key, value.into()));
        self
    }

    pub fn within(mut self, timeout: Duration) -> Request {
        self.timeout = timeout;
        self
    }

    pub fn json(mut self, content_type: &'static str, value: &Value) -> Request {
        self.body = Some(Body {
            content_type,
            bytes: value.to_string().into_bytes(),
        });
        self
    }

    /// The body as it is.
    #[cfg(test)]
    pub fn carrying(mut self, content_type: &'static str, bytes: Vec<u8>) -> Request {
        self.body = Some(Body {
            content_type,
            bytes,
        });
        self
    }

    /// A deletion only of the object that has this uid.
    pub fn only_uid(self, uid: &str) -> Request {
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid},
        });
        self.json("application/json", &options)
    }

    /// In the name of a node of the cluster, so that the cluster judges what it may.
    pub fn as_node(mut self, name: &str) -> Request {
        self.impersonation = Some(Impersonation {
            user: format!("system:node:{name}"),
            groups: vec!["system:nodes".to_owned()],
        });
        self
    }

    /// Path and query, escaped.
    pub fn target(&self) -> String {
        let mut target = self.path.clone();
        for (position, (key, value)) in self.query.iter().enumerate() {
            target.push(if position == 0 { '?' } else { '&' });
            target.push_str(key);
            target.push('=');
            escape(value, &mut target);
        }
        target
    }

    /// Whether a second time would change nothing more, so that it can be sent again when nobody
    /// knows what became of the first.
    pub fn is_repeatable(&self) -> bool {
        self.method == Method::Get || self.query.iter().any(|(key, _)| *key == "fieldManager")
    }
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Delete => "DELETE",
            Method::Get => "GET",
            Method::Patch => "PATCH",
            Method::Post => "POST",
            Method::Put => "PUT",
        }
    }
}

impl Patch {
    pub fn mime(self) -> &'static str {
        match self {
            Patch::Json => "application/json-patch+json",
            Patch::Merge => "application/merge-patch+json",
            Patch::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

/// A body may be a Secret: only its size is shown.
impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {} bytes", self.content_type, self.bytes.len())
    }
}

fn escape(value: &str, into: &mut String) {
    for byte in value.bytes() {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => {
                into.push(char::from(byte));
            }
            byte => into.push_str(&format!("%{byte:02X}")),
        }
    }
}

const FIELD_MANAGER: &str = "keadm";
const TIMEOUT: Duration = Duration::from_secs(30);
/// Objects in one page of a list.
const PAGE: u32 = 500;
/// After which the cluster ends a watch, so that a line that is dead is not waited at for ever.
pub const WATCH_SECONDS: u64 = 300;

#[cfg(test)]
mod tests {
    use super::super::resource::{CONFIG_MAPS, NODES, SECRETS};
    use super::*;

    #[test]
    fn targets_are_escaped() {
        let list = Request::list(&NODES, None).with("labelSelector", "a/b=c d");
        assert_eq!(
            list.target(),
            "/api/v1/nodes?limit=500&labelSelector=a%2Fb%3Dc%20d"
        );
        let patch = Request::patch(&NODES, None, "n", Patch::Strategic, &json!({})).part("status");
        assert_eq!(patch.target(), "/api/v1/nodes/n/status");
    }

    #[test]
    fn only_what_does_no_harm_twice_is_repeatable() {
        let value = json!({});
        assert!(Request::get(&SECRETS, Some("a"), "b").is_repeatable());
        assert!(Request::apply(&CONFIG_MAPS, Some("a"), "b", &value).is_repeatable());
        assert!(!Request::create(&SECRETS, Some("a"), &value).is_repeatable());
    }

    #[test]
    fn a_body_is_not_shown() {
        let create = Request::create(&SECRETS, Some("a"), &json!({"data": {"key": "geheim"}}));
        assert!(!format!("{create:?}").contains("geheim"));
    }
}
