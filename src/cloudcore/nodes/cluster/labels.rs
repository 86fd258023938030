//! Which labels a node may give itself on a cluster: those that the cluster itself leaves to nodes.

use serde_json::Value;

use super::super::meta::Object;

/// Whether a node gives this label itself. Kubernetes has the same rule for what lies below
/// `kubernetes.io` and `k8s.io`; beside it there are the roles of edges.
pub fn is_nodes_own(key: &str) -> bool {
    let Some((prefix, _)) = key.split_once('/') else {
        return true;
    };
    let below = |domain: &str| {
        let rest = prefix.strip_suffix(domain);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if !below("kubernetes.io") && !below("k8s.io") {
        return true;
    }
    ALLOWED.contains(&key)
        || EDGE_ROLES.contains(&key)
        || below("kubelet.kubernetes.io")
        || below("node.kubernetes.io")
}

/// Whether the cluster takes this label only from us: it refuses it to nodes.
pub fn is_given_by_us(key: &str) -> bool {
    EDGE_ROLES.contains(&key)
}

/// Of labels or annotations that a node sent, those that it may set: no directives, only words, and
/// `null` where it takes one away.
pub fn own_words(sent: Option<&Value>, labels: bool) -> Object {
    let sent = sent.and_then(Value::as_object).into_iter().flatten();
    let own = sent.filter(|(key, value)| {
        let word = value.is_string() || value.is_null();
        let free = if labels {
            is_nodes_own(key)
        } else {
            !OUR_ANNOTATIONS.contains(&key.as_str())
        };
        word && free && !key.starts_with('$')
    });
    own.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// By which nodes of edges are found.
pub const EDGE: &str = "node-role.kubernetes.io/edge";

const EDGE_ROLES: &[&str] = &[EDGE, "node-role.kubernetes.io/agent"];

/// Says which cloudcore has registered the node.
pub const CLOUDCORE: &str = "cloudcore";

const OUR_ANNOTATIONS: &[&str] = &[CLOUDCORE];

const ALLOWED: &[&str] = &[
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_gives_itself_no_role_but_that_of_an_edge() {
        for key in [
            "role",
            "example.org/role",
            "xkubernetes.io/role",
            "kubernetes.io/hostname",
            "node.kubernetes.io/x",
            "a.kubelet.kubernetes.io/x",
            EDGE,
        ] {
            assert!(is_nodes_own(key), "{key}");
        }
        for key in [
            "node-role.kubernetes.io/control-plane",
            "node-restriction.kubernetes.io/secret",
            "a.node-restriction.kubernetes.io/secret",
            "kubernetes.io/other",
            "k8s.io/x",
            "x.k8s.io/x",
        ] {
            assert!(!is_nodes_own(key), "{key}");
        }
        let sent = json!({"a": "b", "c": null, "d": 1, "$patch": "replace",
            "node-role.kubernetes.io/master": "", "cloudcore": "192.0.2.9"});
        let labels = json!({"a": "b", "c": null, "cloudcore": "192.0.2.9"});
        assert_eq!(Value::from(own_words(Some(&sent), true)), labels);
        let annotations = json!({"a": "b", "c": null, "node-role.kubernetes.io/master": ""});
        assert_eq!(Value::from(own_words(Some(&sent), false)), annotations);
        assert!(own_words(Some(&json!([1])), true).is_empty());
    }
}
