//! The pages of the certificate port: which path and method lead where.

use hyper::Method;

use super::metrics::Route;

/// What there is on this port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page<'a> {
    Authority,
    Bundle,
    Certificate,
    Health,
    Node(&'a str),
    Ready,
    /// Of the node that the body names.
    Report,
    /// Of the node that the path names.
    TaskReport(&'a str),
    Unknown,
}

impl Page<'_> {
    /// A trailing slash is tolerated.
    pub fn find(path: &str) -> Page<'_> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut parts = [""; 7];
        let mut count = 0;
        for part in path.split('/') {
            let Some(place) = parts.get_mut(count) else {
                return Page::Unknown;
            };
            *place = part;
            count += 1;
        }
        match parts[..count] {
            ["ca.crt"] => Page::Authority,
            ["ca-bundle"] => Page::Bundle,
            ["edge.crt"] => Page::Certificate,
            ["healthz"] => Page::Health,
            ["readyz"] => Page::Ready,
            ["nodeupgrade"] => Page::Report,
            ["node", name] if !name.is_empty() => Page::Node(name),
            ["task", _, "name", _, "node", name, "status"] => Page::TaskReport(name),
            _ => Page::Unknown,
        }
    }

    pub fn method(self) -> Method {
        match self {
            Page::Report | Page::TaskReport(_) => Method::POST,
            _ => Method::GET,
        }
    }

    pub fn allowed(self) -> &'static str {
        match self {
            Page::Report | Page::TaskReport(_) => "POST",
            _ => "GET",
        }
    }

    pub fn route(self) -> Route {
        match self {
            Page::Authority | Page::Bundle => Route::Ca,
            Page::Certificate => Route::Certificate,
            Page::Node(_) => Route::Node,
            Page::Report | Page::TaskReport(_) => Route::Report,
            Page::Health | Page::Ready | Page::Unknown => Route::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found_by_upstreams_paths() {
        let found = |path| Page::find(path);
        assert!(found("/ca.crt") == Page::Authority && found("/ca.crt/") == Page::Authority);
        assert!(found("/edge.crt") == Page::Certificate);
        assert!(found("/node/edge-1") == Page::Node("edge-1"));
        assert!(found("/task/upgrade/name/t/node/edge-1/status") == Page::TaskReport("edge-1"));
        assert!(found("/nodeupgrade") == Page::Report);
        for unknown in [
            "",
            "/",
            "//",
            "/node",
            "/node/",
            "/node/a/b",
            "//ca.crt",
            "/CA.crt",
        ] {
            assert!(found(unknown) == Page::Unknown, "{unknown}");
        }
        assert!(found("/task/a/name/b/node/c/status/d/e/f/g") == Page::Unknown);
    }
}
