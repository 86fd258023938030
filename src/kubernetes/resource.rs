//! The types of objects that we know by name, and the paths at which a cluster serves them.

use std::borrow::Cow;
use std::fmt;

/// A type of objects: `apps/v1` Deployments.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// Empty for the core API.
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    /// As in paths: lower-case and in the plural.
    pub plural: Cow<'static, str>,
    /// As in objects.
    pub kind: Cow<'static, str>,
    pub namespaced: bool,
}

impl Resource {
    const fn new(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
        namespaced: bool,
    ) -> Resource {
        Resource {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            plural: Cow::Borrowed(plural),
            kind: Cow::Borrowed(kind),
            namespaced,
        }
    }

    /// The type that objects with this apiVersion and kind are of, among those in this file.
    pub fn of(api_version: &str, kind: &str) -> Option<&'static Resource> {
        KNOWN
            .iter()
            .find(|known| known.kind == kind && known.api_version() == api_version)
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> Cow<'_, str> {
        match &*self.group {
            "" => Cow::Borrowed(&self.version),
            group => Cow::Owned(format!("{group}/{}", self.version)),
        }
    }

    /// Where all are, or those of a namespace.
    pub fn collection(&self, namespace: Option<&str>) -> String {
        let mut path = match &*self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        if let Some(namespace) = namespace.filter(|_| self.namespaced) {
            path.push_str("/namespaces/");
            path.push_str(&segment(namespace));
        }
        path.push('/');
        path.push_str(&self.plural);
        path
    }

    /// Where one is.
    pub fn path(&self, namespace: Option<&str>, name: &str) -> String {
        self.collection(namespace) + "/" + &segment(name)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.group {
            "" => f.write_str(&self.plural),
            group => write!(f, "{}.{group}", self.plural),
        }
    }
}

/// Whatever a name is, it stays one segment of a path.
fn segment(name: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    if name.bytes().all(plain) && !matches!(name, "." | "..") {
        return Cow::Borrowed(name);
    }
    let mut path = String::new();
    for byte in name.bytes() {
        match byte {
            byte if plain(byte) && byte != b'.' => path.push(char::from(byte)),
            byte => path.push_str(&format!("%{byte:02X}")),
        }
    }
    Cow::Owned(path)
}

macro_rules! resources {
    ($($name:ident = $group:literal $version:literal $plural:literal $kind:literal $namespaced:literal;)*) => {
        $(pub const $name: Resource = Resource::new($group, $version, $plural, $kind, $namespaced);)*
        const KNOWN: &[Resource] = &[$($name),*];
    };
}

resources! {
    NAMESPACES = "" "v1" "namespaces" "Namespace" false;
    NODES = "" "v1" "nodes" "Node" false;
    PODS = "" "v1" "pods" "Pod" true;
    CONFIG_MAPS = "" "v1" "configmaps" "ConfigMap" true;
    SECRETS = "" "v1" "secrets" "Secret" true;
    SERVICES = "" "v1" "services" "Service" true;
    SERVICE_ACCOUNTS = "" "v1" "serviceaccounts" "ServiceAccount" true;
    EVENTS = "" "v1" "events" "Event" true;
    PERSISTENT_VOLUMES = "" "v1" "persistentvolumes" "PersistentVolume" false;
    PERSISTENT_VOLUME_CLAIMS = "" "v1" "persistentvolumeclaims" "PersistentVolumeClaim" true;
    DEPLOYMENTS = "apps" "v1" "deployments" "Deployment" true;
    DAEMON_SETS = "apps" "v1" "daemonsets" "DaemonSet" true;
    LEASES = "coordination.k8s.io" "v1" "leases" "Lease" true;
    CLUSTER_ROLES = "rbac.authorization.k8s.io" "v1" "clusterroles" "ClusterRole" false;
    CLUSTER_ROLE_BINDINGS = "rbac.authorization.k8s.io" "v1" "clusterrolebindings" "ClusterRoleBinding" false;
    ROLES = "rbac.authorization.k8s.io" "v1" "roles" "Role" true;
    ROLE_BINDINGS = "rbac.authorization.k8s.io" "v1" "rolebindings" "RoleBinding" true;
    CUSTOM_RESOURCE_DEFINITIONS = "apiextensions.k8s.io" "v1" "customresourcedefinitions" "CustomResourceDefinition" false;
    VOLUME_ATTACHMENTS = "storage.k8s.io" "v1" "volumeattachments" "VolumeAttachment" false;
    CERTIFICATE_SIGNING_REQUESTS = "certificates.k8s.io" "v1" "certificatesigningrequests" "CertificateSigningRequest" false;
    SELF_SUBJECT_ACCESS_REVIEWS = "authorization.k8s.io" "v1" "selfsubjectaccessreviews" "SelfSubjectAccessReview" false;
    POD_DISRUPTION_BUDGETS = "policy" "v1" "poddisruptionbudgets" "PodDisruptionBudget" true;
    DEVICES = "devices.kubeedge.io" "v1beta1" "devices" "Device" true;
    DEVICE_MODELS = "devices.kubeedge.io" "v1beta1" "devicemodels" "DeviceModel" true;
    DEVICE_STATUSES = "devices.kubeedge.io" "v1beta1" "devicestatuses" "DeviceStatus" true;
    NODE_UPGRADE_JOBS = "operations.kubeedge.io" "v1alpha2" "nodeupgradejobs" "NodeUpgradeJob" false;
    CONFIG_UPDATE_JOBS = "operations.kubeedge.io" "v1alpha2" "configupdatejobs" "ConfigUpdateJob" false;
    IMAGE_PRE_PULL_JOBS = "operations.kubeedge.io" "v1alpha2" "imageprepulljobs" "ImagePrePullJob" false;
    OBJECT_SYNCS = "reliablesyncs.kubeedge.io" "v1alpha1" "objectsyncs" "ObjectSync" true;
    CLUSTER_OBJECT_SYNCS = "reliablesyncs.kubeedge.io" "v1alpha1" "clusterobjectsyncs" "ClusterObjectSync" false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        assert_eq!(NODES.path(None, "n1"), "/api/v1/nodes/n1");
        assert_eq!(
            SECRETS.collection(Some("kubeedge")),
            "/api/v1/namespaces/kubeedge/secrets"
        );
        assert_eq!(SECRETS.collection(None), "/api/v1/secrets");
        assert_eq!(
            LEASES.path(Some("kube-node-lease"), "n1"),
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1"
        );
        // What has no namespace is nowhere else for one.
        assert_eq!(NODES.path(Some("x"), "n1"), "/api/v1/nodes/n1");
    }

    #[test]
    fn a_name_stays_in_its_place() {
        assert_eq!(
            PODS.path(Some(".."), "../a?b=c#d"),
            "/api/v1/namespaces/%2E%2E/pods/%2E%2E%2Fa%3Fb%3Dc%23d"
        );
    }

    #[test]
    fn types_are_found_by_what_objects_say() {
        assert_eq!(Resource::of("v1", "Secret"), Some(&SECRETS));
        assert_eq!(Resource::of("apps/v1", "Deployment"), Some(&DEPLOYMENTS));
        assert_eq!(Resource::of("apps/v1", "Secret"), None);
        assert_eq!(DEPLOYMENTS.to_string(), "deployments.apps");
    }
}
