//! The names of what messages are about: parsed once at the door, malformed ones refused there.

use std::fmt;
use std::str::FromStr;

/// What a message is about (docs/protocol.md, "Resource names"), as it stands on the tunnel, which
/// is without the `node/<node>/` that clouds put in front inside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// `<namespace>/<type>/<name>`
    Object(ObjectPath),
    /// `<namespace>/<type>`: all of a type, as old edges name lists of states.
    List { namespace: Namespace, kind: Kind },
    /// `node`: an edge is alive.
    Keepalive,
    /// `k8s/ca.crt`
    KubernetesCa,
    /// `membership` and `membership/detail`: which devices belong to the node.
    Membership,
    /// `twin` and `twin/cloud_updated`: answers and news about devices.
    Twin,
    /// `device/<namespace>/<name>/twin/edge_updated`, `device/<namespace>/<name>/state/update`
    DeviceReport {
        namespace: Namespace,
        name: String,
        report: DeviceReport,
    },
    /// `operations.kubeedge.io/v1alpha2/<type>/<job>/node/<node>`, or with an older cloud
    /// `<upgrade|prepull>/<job>/node/<node>`, `task/<job>/node/<node>`.
    Job {
        family: JobFamily,
        job: String,
        node: String,
    },
    /// `/control/ping` and the like: the tunnel's own.
    Control,
}

/// Which object: its type, where it lives, and what it is called there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectPath {
    pub kind: Kind,
    pub namespace: Namespace,
    pub name: String,
}

/// A namespace, or none for what belongs to the whole cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(Option<String>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceReport {
    Twin,
    State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobFamily {
    NodeUpgrade,
    ImagePrePull,
    ConfigUpdate,
    /// Before v1.21.
    OldUpgrade,
    OldPrePull,
    OldReport,
}

/// Why a text names nothing that a message may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadResource {
    TooLong,
    /// No rule of ours has this many parts, or this first one.
    Shape,
    /// An unknown type.
    Kind,
    /// A part that is empty or has a character that names don't have.
    Name,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $word:literal,)*) => {
        /// The types that objects on the tunnel have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            pub const ALL: &[Kind] = &[$(Kind::$kind,)*];

            /// As resource names have it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Kind::$kind => $word,)*
                }
            }
        }
    };
}

kinds! {
    CertificateSigningRequest "certificatesigningrequest",
    ConfigMap "configmap",
    Device "device",
    DeviceModel "devicemodel",
    Event "event",
    Lease "lease",
    Node "node",
    /// A patch of a Node's status.
    NodePatch "nodepatch",
    /// A Node's status, as edges before v1.10 report it.
    NodeStatus "nodestatus",
    PersistentVolume "persistentvolume",
    PersistentVolumeClaim "persistentvolumeclaim",
    Pod "pod",
    PodList "podlist",
    /// A patch of a Pod's status.
    PodPatch "podpatch",
    /// States of Pods, as old edges report them.
    PodStatus "podstatus",
    Rule "rule",
    RuleEndpoint "ruleendpoint",
    RuleStatus "rulestatus",
    Secret "secret",
    /// Who may do what with the edge's API.
    ServiceAccountAccess "serviceaccountaccess",
    ServiceAccountToken "serviceaccounttoken",
    /// A request to a storage driver.
    Volume "volume",
    VolumeAttachment "volumeattachment",
}

impl Kind {
    /// Whether objects of this type belong to the cluster and to no namespace.
    pub fn is_of_cluster(self) -> bool {
        matches!(
            self,
            Kind::CertificateSigningRequest
                | Kind::Node
                | Kind::NodePatch
                | Kind::NodeStatus
                | Kind::PersistentVolume
                | Kind::VolumeAttachment
        )
    }
}

impl Namespace {
    /// Of what belongs to the whole cluster.
    pub const CLUSTER: Namespace = Namespace(None);

    /// The name; none for the whole cluster.
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl ObjectPath {
    /// An object in a namespace.
    pub fn new(namespace: &str, kind: Kind, name: &str) -> Result<ObjectPath, BadResource> {
        Ok(ObjectPath {
            kind,
            namespace: namespace_of(kind, namespace)?,
            name: checked(name)?.to_owned(),
        })
    }

    /// What belongs to no namespace; for names that were checked already, such as a node's.
    pub fn of_cluster(kind: Kind, name: &str) -> ObjectPath {
        ObjectPath {
            kind,
            namespace: Namespace::CLUSTER,
            name: name.to_owned(),
        }
    }
}

impl Resource {
    /// The object that is meant, if it is one.
    pub fn object(&self) -> Option<&ObjectPath> {
        match self {
            Resource::Object(path) => Some(path),
            _ => None,
        }
    }
}

impl FromStr for Resource {
    type Err = BadResource;

    fn from_str(text: &str) -> Result<Resource, BadResource> {
        if text.len() > MAX_LENGTH {
            return Err(BadResource::TooLong);
        }
        let mut parts = [""; MAX_PARTS];
        let mut count = 0;
        for part in text.split('/') {
            *parts.get_mut(count).ok_or(BadResource::Shape)? = part;
            count += 1;
        }
        match parts[..count] {
            ["node"] => Ok(Resource::Keepalive),
            ["k8s", "ca.crt"] => Ok(Resource::KubernetesCa),
            ["membership"] | ["membership", "detail"] => Ok(Resource::Membership),
            ["twin"] | ["twin", "cloud_updated"] => Ok(Resource::Twin),
            ["", "control", _] => Ok(Resource::Control),
            ["device", namespace, name, "twin", "edge_updated"] => {
                device(namespace, name, DeviceReport::Twin)
            }
            ["device", namespace, name, "state", "update"] => {
                device(namespace, name, DeviceReport::State)
            }
            [
                "operations.kubeedge.io",
                "v1alpha2",
                family,
                job,
                "node",
                node,
            ] => job_of(NEW_JOBS, family, job, node),
            [family, job, "node", node] => job_of(OLD_JOBS, family, job, node),
            [namespace, kind] => {
                let kind = kind.parse()?;
                Ok(Resource::List {
                    namespace: namespace_of(kind, namespace)?,
                    kind,
                })
            }
            [namespace, kind, name] => {
                ObjectPath::new(namespace, kind.parse()?, name).map(Resource::Object)
            }
            _ => Err(BadResource::Shape),
        }
    }
}

fn device(namespace: &str, name: &str, report: DeviceReport) -> Result<Resource, BadResource> {
    Ok(Resource::DeviceReport {
        namespace: namespace_of(Kind::Device, namespace)?,
        name: checked(name)?.to_owned(),
        report,
    })
}

fn job_of(
    families: &[(&str, JobFamily)],
    family: &str,
    job: &str,
    node: &str,
) -> Result<Resource, BadResource> {
    let found = families.iter().find(|(word, _)| *word == family);
    Ok(Resource::Job {
        family: found.ok_or(BadResource::Kind)?.1,
        job: checked(job)?.to_owned(),
        node: checked(node)?.to_owned(),
    })
}

/// Edges and clouds of v1.13 write `default` where nothing is in a namespace, newer ones `null`.
fn namespace_of(kind: Kind, text: &str) -> Result<Namespace, BadResource> {
    match (kind.is_of_cluster(), text) {
        (true, "null" | "default") => Ok(Namespace::CLUSTER),
        (true, _) => Err(BadResource::Name),
        // States of Pods of all namespaces come without any.
        (false, "" | "null") if kind == Kind::PodStatus => Ok(Namespace::CLUSTER),
        (false, "null") => Err(BadResource::Name),
        (false, _) if text.len() <= MAX_LABEL && !text.contains('.') => {
            Ok(Namespace(Some(checked(text)?.to_owned())))
        }
        (false, _) => Err(BadResource::Name),
    }
}

/// A DNS-1123 subdomain: lower-case letters, digits, `-` and `.`, no part of it empty or with a `-` at
/// its ends.
fn checked(name: &str) -> Result<&str, BadResource> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        let ends =
            bytes.first().is_some_and(|b| inner(*b)) && bytes.last().is_some_and(|b| inner(*b));
        ends && bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
    };
    match name.len() <= MAX_NAME && name.split('.').all(label) {
        true => Ok(name),
        false => Err(BadResource::Name),
    }
}

impl FromStr for Kind {
    type Err = BadResource;

    fn from_str(word: &str) -> Result<Kind, BadResource> {
        let found = Kind::ALL.iter().find(|kind| kind.as_str() == word);
        found.copied().ok_or(BadResource::Kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("null"))
    }
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.kind, self.name)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Object(path) => path.fmt(f),
            Resource::List { namespace, kind } => write!(f, "{namespace}/{kind}"),
            Resource::Keepalive => f.write_str("node"),
            Resource::KubernetesCa => f.write_str("k8s/ca.crt"),
            Resource::Membership => f.write_str("membership"),
            Resource::Twin => f.write_str("twin"),
            Resource::DeviceReport {
                namespace,
                name,
                report: DeviceReport::Twin,
            } => write!(f, "device/{namespace}/{name}/twin/edge_updated"),
            Resource::DeviceReport {
                namespace,
                name,
                report: DeviceReport::State,
            } => write!(f, "device/{namespace}/{name}/state/update"),
            Resource::Job { family, job, node } => {
                let new = NEW_JOBS.iter().find(|(_, of)| of == family);
                let old = OLD_JOBS.iter().find(|(_, of)| of == family);
                match (new, old) {
                    (Some((word, _)), _) => write!(
                        f,
                        "operations.kubeedge.io/v1alpha2/{word}/{job}/node/{node}"
                    ),
                    (None, Some((word, _))) => write!(f, "{word}/{job}/node/{node}"),
                    (None, None) => Ok(()),
                }
            }
            Resource::Control => f.write_str("/control/ping"),
        }
    }
}

impl fmt::Display for BadResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadResource::TooLong => "the name of a resource that is too long",
            BadResource::Shape => "not the name of a resource",
            BadResource::Kind => "a resource of an unknown type",
            BadResource::Name => "a resource with a part that is no name",
        })
    }
}

impl std::error::Error for BadResource {}

const NEW_JOBS: &[(&str, JobFamily)] = &[
    ("nodeupgradejob", JobFamily::NodeUpgrade),
    ("imageprepulljob", JobFamily::ImagePrePull),
    ("configupdatejob", JobFamily::ConfigUpdate),
];

const OLD_JOBS: &[(&str, JobFamily)] = &[
    ("upgrade", JobFamily::OldUpgrade),
    ("prepull", JobFamily::OldPrePull),
    ("task", JobFamily::OldReport),
];

/// Kubernetes' limits: of a name, and of a namespace.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

const MAX_LENGTH: usize = 1024;
const MAX_PARTS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_recorded_conversations_are_read_and_written_back() {
        let names = [
            "node",
            "k8s/ca.crt",
            "membership",
            "twin",
            "null/node/edge-1",
            "null/nodepatch/edge-1",
            "kube-node-lease/lease/edge-1",
            "default/pod/app",
            "default/podpatch/app",
            "default/configmap/app-cm",
            "default/secret/app-secret",
            "default/event/app.18ba0b2c6e2d1a3f",
            "kube-system/configmap/kube-root-ca.crt",
            "null/persistentvolume/pv.1",
            "default/serviceaccounttoken/default",
            "default/serviceaccountaccess/default",
            "default/podlist",
            "default/device/sensor-1",
            "default/devicemodel/sensor-model",
            "device/default/sensor-1/twin/edge_updated",
            "device/default/sensor-1/state/update",
            "operations.kubeedge.io/v1alpha2/nodeupgradejob/upgrade-1/node/edge-1",
            "operations.kubeedge.io/v1alpha2/configupdatejob/c/node/edge-1",
            "upgrade/upgrade-1/node/edge-1",
            "task/upgrade-1/node/edge-1",
        ];
        for name in names {
            let read: Resource = name.parse().unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(read.to_string(), name);
        }
    }

    #[test]
    fn what_belongs_to_the_cluster_is_the_same_with_old_and_new_names() {
        let (old, new): (Resource, Resource) = (
            "default/node/edge-1".parse().unwrap(),
            "null/node/edge-1".parse().unwrap(),
        );
        assert_eq!(old, new);
        assert_eq!(new.object().unwrap().namespace.as_str(), None);
    }

    #[test]
    fn malformed_names_are_refused_at_the_door() {
        let long = format!("default/pod/{}", "a".repeat(254));
        let namespace = format!("{}/pod/a", "a".repeat(64));
        let bad = [
            "",
            "/",
            "/lease/edge-1",
            "kube-node-lease/lease/",
            "kube-node-lease//edge-1",
            "null/lease/edge-1",
            "some/node/edge-1",
            "default/pod",
            "default/nothing/a",
            "default/pod/a/b",
            "default/pod/A",
            "default/pod/-a",
            "default/pod/a..b",
            "default/pod/a\n",
            "default/pod/../../x",
            "a.b/pod/a",
            "device/default/x/twin/other",
            "operations.kubeedge.io/v1/nodeupgradejob/j/node/n",
            "other/j/node/n",
            "a/b/c/d/e/f/g",
            &long,
            &namespace,
        ];
        for name in bad {
            let read = name.parse::<Resource>();
            if name == "default/pod" {
                assert!(matches!(read, Ok(Resource::List { .. })));
            } else {
                assert!(read.is_err(), "{name:?}: {read:?}");
            }
        }
        assert_eq!(
            "a/".repeat(600).parse::<Resource>(),
            Err(BadResource::TooLong)
        );
    }

    #[test]
    fn all_types_have_different_words() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
        }
    }
}
