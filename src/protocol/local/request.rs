//! What a request asks for: its path and its query, read once, at the door.

use super::{SORTS, Sort, TOKEN_PATH};
use crate::protocol::resource::ObjectPath;
use crate::protocol::selector::{BadSelector, Selection};

/// What is asked.
#[derive(Debug)]
pub enum Ask {
    Health,
    Version,
    /// `/api`: the versions of the first group.
    Core,
    /// `/apis`
    Groups,
    /// `/apis/<group>`
    Group(&'static str),
    /// `/api/v1`, `/apis/<group>/<version>`: what there is in it.
    Resources(&'static str),
    Get(&'static Sort, ObjectPath),
    List(List),
}

/// What a program may have done, by POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// A Pod, `namespace/name`, is held no longer.
    UnholdPod,
    /// None of a node's Pods is held any longer.
    UnholdNode,
    /// The upgrade that waits for a person's word.
    ConfirmUpgrade,
}

/// Some of the objects of a type.
#[derive(Debug)]
pub struct List {
    pub sort: &'static Sort,
    pub namespace: Option<String>,
    pub selection: Selection,
    /// What happens to them, instead of what they are.
    pub watch: Option<Watch>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// After which version; empty: all there are, and then what happens.
    pub since: String,
    pub bookmarks: bool,
    /// For how many seconds.
    pub seconds: Option<u32>,
}

/// A request, with the token that its path may begin with.
#[derive(Debug)]
pub struct Asked {
    pub token: Option<String>,
    pub ask: Ask,
}

/// Why it asks for nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Unasked {
    NotFound,
    Selector(BadSelector),
    Query,
}

impl From<BadSelector> for Unasked {
    fn from(error: BadSelector) -> Self {
        Unasked::Selector(error)
    }
}

/// Reads the path and the query of a request.
pub fn read(path: &str, query: &str) -> Result<Asked, Unasked> {
    if path.len() + query.len() > MAX_TARGET {
        return Err(Unasked::Query);
    }
    let (token, parts) = parts(path)?;
    Ok(Asked {
        token,
        ask: ask(&parts, query)?,
    })
}

/// Reads the path of a request that is to have something done, with the token that it may begin with.
pub fn order(path: &str) -> Result<(Option<String>, Order), Unasked> {
    if path.len() > MAX_TARGET {
        return Err(Unasked::Query);
    }
    let (token, parts) = parts(path)?;
    let named = ORDERS.iter().find(|(path, _)| *path == parts.join("/"));
    let (_, order) = named.ok_or(Unasked::NotFound)?;
    Ok((token, *order))
}

fn parts(path: &str) -> Result<(Option<String>, Vec<&str>), Unasked> {
    let path = path.strip_prefix('/').ok_or(Unasked::NotFound)?;
    let mut parts: Vec<&str> = path.split('/').take(MAX_PARTS).collect();
    if parts.last() == Some(&"") {
        parts.pop();
    }
    let mut token = None;
    if let [TOKEN_PATH, given, ..] = parts[..] {
        token = Some(given.to_owned());
        parts.drain(..2);
    }
    Ok((token, parts))
}

fn ask(parts: &[&str], query: &str) -> Result<Ask, Unasked> {
    match parts {
        ["healthz" | "livez" | "readyz", ..] => Ok(Ask::Health),
        ["version"] => Ok(Ask::Version),
        ["api"] => Ok(Ask::Core),
        ["api", version, rest @ ..] => within("", version, rest, query),
        ["apis"] => Ok(Ask::Groups),
        ["apis", group] => {
            let found = SORTS
                .iter()
                .find(|sort| !sort.group.is_empty() && sort.group == *group);
            found
                .map(|sort| Ask::Group(sort.group))
                .ok_or(Unasked::NotFound)
        }
        ["apis", group, version, rest @ ..] if !group.is_empty() => {
            within(group, version, rest, query)
        }
        _ => Err(Unasked::NotFound),
    }
}

fn within(group: &str, version: &str, rest: &[&str], query: &str) -> Result<Ask, Unasked> {
    let of_group = || {
        let of_group = move |sort: &&Sort| sort.group == group && sort.version == version;
        SORTS.iter().filter(of_group)
    };
    let (namespace, plural, name) = match rest {
        [] => {
            let found = of_group().next().ok_or(Unasked::NotFound)?;
            return Ok(Ask::Resources(found.group));
        }
        [plural] => (None, plural, None),
        ["namespaces", namespace, plural] => (Some(*namespace), plural, None),
        ["namespaces", namespace, plural, name] => (Some(*namespace), plural, Some(*name)),
        [plural, name] => (None, plural, Some(*name)),
        _ => return Err(Unasked::NotFound),
    };
    let sort = of_group().find(|sort| sort.plural == *plural);
    let sort = sort.ok_or(Unasked::NotFound)?;
    let of_cluster = sort.kind.is_of_cluster();
    match (namespace, name) {
        (Some(_), _) if of_cluster => Err(Unasked::NotFound),
        (None, Some(_)) if !of_cluster => Err(Unasked::NotFound),
        (namespace, Some(name)) => {
            let path = ObjectPath::new(namespace.unwrap_or("null"), sort.kind, name);
            Ok(Ask::Get(sort, path.map_err(|_| Unasked::NotFound)?))
        }
        (namespace, None) => list(sort, namespace, query).map(Ask::List),
    }
}

fn list(sort: &'static Sort, namespace: Option<&str>, query: &str) -> Result<List, Unasked> {
    let mut selection = Selection::default();
    let (mut watch, mut is_watch) = (Watch::default(), false);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value).ok_or(Unasked::Query)?;
        let is_true = matches!(value.as_str(), "true" | "1");
        match key {
            "watch" => is_watch = is_true,
            "resourceVersion" => watch.since = value,
            "allowWatchBookmarks" => watch.bookmarks = is_true,
            "timeoutSeconds" => watch.seconds = Some(value.parse().map_err(|_| Unasked::Query)?),
            "labelSelector" => selection.add_labels(&value)?,
            "fieldSelector" => selection.add_fields(&value)?,
            // All at once is what a client gets that asks for a part.
            _ => {}
        }
    }
    Ok(List {
        sort,
        namespace: namespace.map(str::to_owned),
        selection,
        watch: is_watch.then_some(watch),
    })
}

/// Without `%xx` and `+`.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Where orders go: as KubeEdge's.
const ORDERS: &[(&str, Order)] = &[
    ("api/v1/pods/unhold-upgrade", Order::UnholdPod),
    ("api/v1/nodes/unhold-upgrade", Order::UnholdNode),
    ("api/v1/taskupgrade/confirm-upgrade", Order::ConfirmUpgrade),
];
const MAX_TARGET: usize = 8 * 1024;
const MAX_PARTS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::resource::Kind;

    fn ask(target: &str) -> Result<Ask, Unasked> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        read(path, query).map(|asked| asked.ask)
    }

    #[test]
    fn paths_of_kubernetes_are_understood() {
        assert!(matches!(ask("/readyz"), Ok(Ask::Health)));
        assert!(matches!(ask("/apis/"), Ok(Ask::Groups)));
        assert!(matches!(ask("/api/v1"), Ok(Ask::Resources(""))));
        assert!(matches!(
            ask("/apis/rules.kubeedge.io"),
            Ok(Ask::Group("rules.kubeedge.io"))
        ));
        let get = |target: &str| match ask(target) {
            Ok(Ask::Get(_, path)) => path.to_string(),
            other => panic!("{target}: {other:?}"),
        };
        assert_eq!(get("/api/v1/namespaces/a/pods/b?pretty=true"), "a/pod/b");
        assert_eq!(get("/api/v1/nodes/edge-1"), "null/node/edge-1");
        let Ok(Ask::List(list)) = ask(
            "/apis/devices.kubeedge.io/v1beta1/namespaces/a/devices?watch=1&resourceVersion=7&\
             allowWatchBookmarks=true&timeoutSeconds=30&labelSelector=a%3Db&fieldSelector=metadata.name%3Dc",
        ) else {
            panic!("no list");
        };
        assert_eq!(
            (list.sort.kind, list.namespace.as_deref()),
            (Kind::Device, Some("a"))
        );
        let watch = Watch {
            since: "7".to_owned(),
            bookmarks: true,
            seconds: Some(30),
        };
        assert_eq!(list.watch, Some(watch));
        assert!(!list.selection.is_all());
        let asked = read("/token/word/api/v1/secrets", "").unwrap();
        assert_eq!(asked.token.as_deref(), Some("word"));
        assert!(matches!(asked.ask, Ask::List(_)));
    }

    #[test]
    fn orders_have_their_paths() {
        let order = |path: &str| super::order(path);
        assert_eq!(
            order("/api/v1/pods/unhold-upgrade"),
            Ok((None, Order::UnholdPod))
        );
        assert_eq!(
            order("/token/word/api/v1/nodes/unhold-upgrade/"),
            Ok((Some("word".to_owned()), Order::UnholdNode))
        );
        for path in [
            "",
            "/",
            "/api/v1/pods",
            "/api/v1/pods/x",
            "/api/v1/pods/unhold-upgrade/x",
        ] {
            assert_eq!(order(path), Err(Unasked::NotFound), "{path}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for target in [
            "",
            "/",
            "/api/v2",
            "/api/v1/leases",
            "/api/v1/pods/a",
            "/api/v1/namespaces/a/nodes",
            "/api/v1/namespaces/a/pods/b/log",
            "/api/v1/namespaces/A/pods/b",
            "/api/v1/namespaces/a/pods/..%2f",
            "/apis//v1/pods",
            "/apis/v1",
            "/openapi/v2",
            "api",
        ] {
            assert_eq!(ask(target).unwrap_err(), Unasked::NotFound, "{target}");
        }
        for query in ["timeoutSeconds=x", "labelSelector=%zz", "labelSelector=%e9"] {
            let target = format!("/api/v1/pods?{query}");
            assert_eq!(ask(&target).unwrap_err(), Unasked::Query, "{target}");
        }
        assert_eq!(
            ask(&format!("/api/{}", "x".repeat(9000))).unwrap_err(),
            Unasked::Query
        );
    }
}
