//! The API that edgecore offers to programs on its device: where it is, what it knows, how it is asked.

pub mod file;
pub mod request;

use crate::protocol::resource::Kind;

/// Where it listens unless edgecore.yaml says otherwise; as KubeEdge's.
pub const ADDRESS: &str = "127.0.0.1:10550";
/// What a program needs to be shown Secrets, made anew at every start of the device.
pub const KUBECONFIG: &str = "/run/kubeedge/local.kubeconfig";
/// The first part of a path that is followed by the token, for programs that send none over plain HTTP.
pub const TOKEN_PATH: &str = "token";

/// A type of objects as Kubernetes names it.
#[derive(Debug, PartialEq, Eq)]
pub struct Sort {
    pub kind: Kind,
    /// Empty for the first one.
    pub group: &'static str,
    pub version: &'static str,
    /// As objects have it: `ConfigMap`.
    pub object_kind: &'static str,
    /// As paths have it: `configmaps`.
    pub plural: &'static str,
    pub short: Option<&'static str>,
}

impl Sort {
    pub fn of(kind: Kind) -> Option<&'static Sort> {
        SORTS.iter().find(|sort| sort.kind == kind)
    }

    /// By any word that people use for it.
    pub fn named(word: &str) -> Option<&'static Sort> {
        SORTS.iter().find(|sort| {
            let names = [sort.plural, sort.kind.as_str()];
            names.contains(&word) || sort.short == Some(word)
        })
    }

    /// `v1`, `devices.kubeedge.io/v1beta1`
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// The path of one object, of those of a namespace, or of all.
    pub fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let mut path = match self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        if let Some(namespace) = namespace.filter(|_| !self.kind.is_of_cluster()) {
            path += &format!("/namespaces/{namespace}");
        }
        path += &format!("/{}", self.plural);
        if let Some(name) = name {
            path += &format!("/{name}");
        }
        path
    }
}

const fn sort(
    kind: Kind,
    (group, version): (&'static str, &'static str),
    object_kind: &'static str,
    plural: &'static str,
    short: Option<&'static str>,
) -> Sort {
    Sort {
        kind,
        group,
        version,
        object_kind,
        plural,
        short,
    }
}

const CORE: (&str, &str) = ("", "v1");
const DEVICES: (&str, &str) = ("devices.kubeedge.io", "v1beta1");
const RULES: (&str, &str) = ("rules.kubeedge.io", "v1");
const POLICY: (&str, &str) = ("policy.kubeedge.io", "v1alpha1");
const STORAGE: (&str, &str) = ("storage.k8s.io", "v1");

/// All there are; those of a group together.
pub static SORTS: &[Sort] = &[
    sort(Kind::ConfigMap, CORE, "ConfigMap", "configmaps", Some("cm")),
    sort(Kind::Node, CORE, "Node", "nodes", Some("no")),
    sort(
        Kind::PersistentVolume,
        CORE,
        "PersistentVolume",
        "persistentvolumes",
        Some("pv"),
    ),
    sort(
        Kind::PersistentVolumeClaim,
        CORE,
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        Some("pvc"),
    ),
    sort(Kind::Pod, CORE, "Pod", "pods", Some("po")),
    sort(Kind::Secret, CORE, "Secret", "secrets", None),
    sort(Kind::Device, DEVICES, "Device", "devices", None),
    sort(
        Kind::DeviceModel,
        DEVICES,
        "DeviceModel",
        "devicemodels",
        None,
    ),
    sort(
        Kind::ServiceAccountAccess,
        POLICY,
        "ServiceAccountAccess",
        "serviceaccountaccesses",
        None,
    ),
    sort(Kind::Rule, RULES, "Rule", "rules", None),
    sort(
        Kind::RuleEndpoint,
        RULES,
        "RuleEndpoint",
        "ruleendpoints",
        None,
    ),
    sort(
        Kind::VolumeAttachment,
        STORAGE,
        "VolumeAttachment",
        "volumeattachments",
        None,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_their_words_and_paths() {
        for word in ["configmaps", "configmap", "cm"] {
            assert_eq!(Sort::named(word).unwrap().kind, Kind::ConfigMap);
        }
        assert_eq!(Sort::named("lease"), None);
        let [cm, node, device] =
            [Kind::ConfigMap, Kind::Node, Kind::Device].map(|kind| Sort::of(kind).unwrap());
        assert_eq!(
            cm.path(Some("a"), Some("b")),
            "/api/v1/namespaces/a/configmaps/b"
        );
        assert_eq!(cm.path(None, None), "/api/v1/configmaps");
        assert_eq!(node.path(Some("a"), Some("b")), "/api/v1/nodes/b");
        assert_eq!(
            device.path(Some("a"), None),
            "/apis/devices.kubeedge.io/v1beta1/namespaces/a/devices"
        );
    }
}
