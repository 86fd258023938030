//! Keys of old edgecore.yaml files brought to where they stand now: v1alpha1 (before KubeEdge 1.12), and
//! those that v1alpha2 had until 1.16. Comments and order stay.

use serde::Serialize;
use serde_json::{Value, json};

use super::edit::{get, remove, set};
use super::veil::Veil;
use super::{ConfigError, Segment, path};
use crate::system::secret::Secret;

/// A file in the present version, and what became of its keys.
#[derive(Debug)]
pub struct Migrated {
    pub text: Secret<String>,
    pub changes: Vec<Change>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    pub key: String,
    /// The key that has its value now; none when it means nothing any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why there is none, or what became of the value.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub why: &'static str,
}

/// Moves what has moved and takes out what means nothing. A file without any such key is not changed.
pub fn edge(text: &str) -> Result<Migrated, ConfigError> {
    let veil = Veil::over(text);
    let mut text = veil.text().to_owned();
    let mut changes = Vec::new();
    for (old, new, how) in MOVED {
        let from = in_edged(old);
        let Some(value) = get(&text, &from)? else {
            continue;
        };
        let to = in_edged(new);
        let key = super::show(&from);
        let value = how.of(&value);
        let (to_now, why) = match (value, get(&text, &to)?) {
            (_, Some(_)) => (None, "the new key is there already, and counts"),
            (None, _) => (None, "its value is none that the new key could have"),
            (Some(value), None) => {
                text = set(&text, &to, &value)?;
                (Some(super::show(&to)), "")
            }
        };
        text = remove(&text, &from)?;
        changes.push(Change {
            key,
            to: to_now,
            why,
        });
    }
    for (old, why) in GONE {
        let from = in_edged(old);
        if get(&text, &from)?.is_some() {
            text = remove(&text, &from)?;
            changes.push(Change {
                key: super::show(&from),
                to: None,
                why,
            });
        }
    }
    let version = path("apiVersion");
    if get(&text, &version)?.is_some_and(|it| it != VERSION) {
        text = set(&text, &version, &VERSION.into())?;
        changes.push(Change {
            key: "apiVersion".to_owned(),
            to: Some("apiVersion".to_owned()),
            why: "it is edgecore.config.kubeedge.io/v1alpha2 now",
        });
    }
    Ok(Migrated {
        text: veil.lift(&text),
        changes,
    })
}

fn in_edged(key: &str) -> Vec<Segment> {
    path(&format!("modules.edged.{key}"))
}

/// What becomes of a value on its way.
#[derive(Clone, Copy)]
enum How {
    Same,
    /// One text was, and a list is.
    Listed,
    /// Seconds as a number were, and text such as `10s` is.
    Seconds,
    /// Taints without the fields that no file may have.
    Taints,
}

impl How {
    fn of(self, value: &Value) -> Option<Value> {
        match (self, value) {
            (How::Same, value) => Some(value.clone()),
            (How::Listed, Value::String(text)) if text.is_empty() => Some(json!([])),
            (How::Listed, Value::String(text)) => {
                Some(text.split(',').map(|it| Value::from(it.trim())).collect())
            }
            (How::Listed, Value::Array(_)) => Some(value.clone()),
            (How::Seconds, Value::Number(seconds)) => {
                Some(format!("{}s", seconds.as_u64()?).into())
            }
            (How::Seconds, Value::String(_)) => Some(value.clone()),
            (How::Taints, Value::Array(taints)) => {
                let only = |taint: &Value| {
                    let mut kept = serde_json::Map::new();
                    for key in ["key", "value", "effect"] {
                        if let Some(value) = taint.get(key).filter(|it| it.is_string()) {
                            kept.insert(key.to_owned(), value.clone());
                        }
                    }
                    Value::Object(kept)
                };
                Some(taints.iter().map(only).collect())
            }
            (How::Listed | How::Seconds | How::Taints, _) => None,
        }
    }
}

/// Below `modules.edged`.
const MOVED: &[(&str, &str, How)] = &[
    ("labels", "nodeLabels", How::Same),
    ("interfaceName", "customInterfaceName", How::Same),
    (
        "maximumDeadContainersPerPod",
        "maxPerPodContainerCount",
        How::Same,
    ),
    (
        "taints",
        "tailoredKubeletConfig.registerWithTaints",
        How::Taints,
    ),
    (
        "registerNode",
        "tailoredKubeletConfig.registerNode",
        How::Same,
    ),
    (
        "nodeStatusUpdateFrequency",
        "tailoredKubeletConfig.nodeStatusUpdateFrequency",
        How::Seconds,
    ),
    (
        "remoteRuntimeEndpoint",
        "tailoredKubeletConfig.containerRuntimeEndpoint",
        How::Same,
    ),
    (
        "remoteImageEndpoint",
        "tailoredKubeletConfig.imageServiceEndpoint",
        How::Same,
    ),
    (
        "clusterDNS",
        "tailoredKubeletConfig.clusterDNS",
        How::Listed,
    ),
    (
        "clusterDomain",
        "tailoredKubeletConfig.clusterDomain",
        How::Same,
    ),
    (
        "cgroupDriver",
        "tailoredKubeletConfig.cgroupDriver",
        How::Same,
    ),
    ("cgroupRoot", "tailoredKubeletConfig.cgroupRoot", How::Same),
    (
        "cgroupsPerQOS",
        "tailoredKubeletConfig.cgroupsPerQOS",
        How::Same,
    ),
    (
        "imageGCHighThreshold",
        "tailoredKubeletConfig.imageGCHighThresholdPercent",
        How::Same,
    ),
    (
        "imageGCLowThreshold",
        "tailoredKubeletConfig.imageGCLowThresholdPercent",
        How::Same,
    ),
];

const GONE: &[(&str, &str)] = &[
    ("cniBinDir", NETWORKS),
    ("cniCacheDir", NETWORKS),
    ("cniCacheDirs", NETWORKS),
    ("cniConfDir", NETWORKS),
    ("containerRuntime", RUNTIME),
    (
        "devicePluginEnabled",
        "devices of containers are always looked for",
    ),
    ("dockerAddress", RUNTIME),
    ("edgedMemoryCapacity", "the memory is measured"),
    ("enableMetrics", "metrics have keys of their own"),
    (
        "gpuPluginEnabled",
        "devices of containers are always looked for",
    ),
    ("imagePullProgressDeadline", RUNTIME),
    ("masterServiceNamespace", "nothing reads it"),
    ("networkPluginMTU", NETWORKS),
    ("networkPluginName", NETWORKS),
    ("nonMasqueradeCIDR", NETWORKS),
    ("runtimeType", RUNTIME),
];

const NETWORKS: &str = "networks are the container runtime's own matter";
const RUNTIME: &str = "only runtimes with a CRI endpoint are spoken to";
const VERSION: &str = "edgecore.config.kubeedge.io/v1alpha2";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::audit::audit;
    use crate::config::edge::EdgeConfig;
    use crate::config::set::Kind;

    const OLD: &str = "\
# an old device
apiVersion: edgecore.config.kubeedge.io/v1alpha1
kind: EdgeCore
modules:
  edgeHub:
    # where the cloud is
    websocket: {enable: true, server: 192.0.2.1:10000}
  edged:
    labels: {site: north}  # for selectors
    taints:
    - {key: a, value: b, effect: NoSchedule, timeAdded: null}
    nodeStatusUpdateFrequency: 10
    clusterDNS: 10.96.0.10
    remoteRuntimeEndpoint: unix:///run/containerd/containerd.sock
    runtimeType: remote
    edgedMemoryCapacity: 7852396000
    hostnameOverride: north-1
";

    #[test]
    fn an_old_file_becomes_a_good_one() {
        let migrated = edge(OLD).unwrap();
        let text = migrated.text.as_str();
        for kept in [
            "# an old device",
            "# where the cloud is",
            "hostnameOverride: north-1",
        ] {
            assert!(text.contains(kept), "{text}");
        }
        let found = audit(text, "x", Kind::Edge).unwrap();
        assert_eq!(found, crate::config::audit::Findings::default(), "{text}");
        let (config, _) = EdgeConfig::load(text, "x").unwrap();
        assert_eq!(config.node_name.unwrap().as_str(), "north-1");
        let at = |key: &str| get(text, &in_edged(key)).unwrap();
        assert_eq!(at("nodeLabels"), Some(json!({"site": "north"})));
        let kubelet = at("tailoredKubeletConfig").unwrap();
        assert_eq!(kubelet["nodeStatusUpdateFrequency"], "10s");
        assert_eq!(kubelet["clusterDNS"], json!(["10.96.0.10"]));
        let taints = json!([{"key": "a", "value": "b", "effect": "NoSchedule"}]);
        assert_eq!(kubelet["registerWithTaints"], taints);
        assert_eq!(migrated.changes.len(), 8, "{:?}", migrated.changes);
        let again = edge(text).unwrap();
        assert!(again.changes.is_empty() && again.text == migrated.text);
    }

    #[test]
    fn what_is_there_already_counts() {
        let text = "modules: {edged: {labels: {a: b}, nodeLabels: {c: d}, clusterDNS: 7}}\n";
        let migrated = edge(text).unwrap();
        assert_eq!(
            get(&migrated.text, &in_edged("nodeLabels")).unwrap(),
            Some(json!({"c": "d"}))
        );
        assert!(
            migrated
                .changes
                .iter()
                .all(|it| it.to.is_none() && !it.why.is_empty())
        );
    }
}
