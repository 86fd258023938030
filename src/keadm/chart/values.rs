//! The values of the chart, typed: what each component of the cloud side shall be.

use std::net::SocketAddr;

use serde_json::{Map, Value};

use super::reader::Keys;
use super::{ChartError, tree};

/// All of them, checked.
#[derive(Clone, Debug)]
pub struct Values {
    pub implementation: Implementation,
    pub cloud_core: Component,
    pub strategy: Map<String, Value>,
    pub require_authorization: bool,
    /// Of ours alone.
    pub monitor: SocketAddr,
    pub hub: Hub,
    pub stream: bool,
    pub dynamic_controller: bool,
    pub router: bool,
    pub task_manager: bool,
    pub service: Service,
    pub iptables_manager: Component,
    pub iptables_mode: &'static str,
    pub controller_manager: Component,
    pub admission: Component,
    pub admission_certificates: String,
    pub mosquitto: Component,
}

/// Which cloudcore an image holds: they need other rights and other files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    Go,
    Rust,
}

/// What all components have.
#[derive(Clone, Debug)]
pub struct Component {
    pub enable: bool,
    pub replicas: u64,
    pub host_network: bool,
    pub image: String,
    pub pull_policy: String,
    pub pull_secrets: Vec<String>,
    /// On the objects, and what selects the pods.
    pub labels: Map<String, Value>,
    pub annotations: Map<String, Value>,
    pub affinity: Map<String, Value>,
    pub tolerations: Vec<Value>,
    pub node_selector: Map<String, Value>,
    pub resources: Map<String, Value>,
    pub security_context: Map<String, Value>,
}

/// `cloudCore.modules.cloudHub`
#[derive(Clone, Debug)]
pub struct Hub {
    pub advertise_address: Vec<String>,
    pub dns_names: Vec<String>,
    pub node_limit: u64,
    pub websocket: Listener,
    pub quic: Listener,
    pub quic_streams: u64,
    pub https: Listener,
    /// Of ours alone.
    pub impersonate_nodes: bool,
    pub object_sync: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Listener {
    pub enable: bool,
    pub port: u64,
}

#[derive(Clone, Debug)]
pub struct Service {
    pub enable: bool,
    pub kind: &'static str,
    pub annotations: Map<String, Value>,
    /// Of the hub, QUIC, certificates, streams and tunnels.
    pub node_ports: [u64; 5],
}

impl Values {
    /// The defaults with what was given laid over them, as a tree. `own` are those that are otherwise for our own
    /// cloudcore.
    pub fn tree(defaults: &Value, own: &Value, given: &Value) -> Result<Value, ChartError> {
        let all = tree::complete(defaults, given);
        Ok(match implementation(&Keys::new(&all).at("cloudCore"))? {
            Implementation::Go => all,
            Implementation::Rust => {
                let mut base = defaults.clone();
                // Upstream's needs to be privileged; nothing of that is left.
                if let Some(cloud_core) = base.get_mut("cloudCore").and_then(Value::as_object_mut) {
                    cloud_core.insert("securityContext".to_owned(), Value::Object(Map::new()));
                    cloud_core["image"]["tag"] = env!("CARGO_PKG_VERSION").into();
                }
                tree::lay_over(&mut base, own);
                tree::complete(&base, given)
            }
        })
    }

    /// Reads the tree with all values.
    pub fn read(all: &Value) -> Result<Values, ChartError> {
        let keys = Keys::new(all);
        let core = keys.at("cloudCore");
        let cloud_core = Component::read(&core)?;
        let modules = core.at("modules");
        let iptables = keys.at("iptablesManager");
        let mut iptables_manager = Component::read(&iptables)?;
        if iptables.word("framework", &["legacy", "nft"])? == "nft" {
            iptables_manager.image = image(&iptables, "image.nftRepository")?;
        }
        Ok(Values {
            implementation: implementation(&core)?,
            strategy: core.map("strategy")?,
            require_authorization: core.flag("featureGates.requireAuthorization")?,
            monitor: monitor(&core, cloud_core.host_network)?,
            hub: Hub::read(&modules.at("cloudHub"))?,
            stream: modules.flag("cloudStream.enable")?,
            dynamic_controller: modules.flag("dynamicController.enable")?,
            router: modules.flag("router.enable")?,
            task_manager: modules.flag("taskManager.enable")?,
            service: Service::read(&core.at("service"))?,
            cloud_core,
            iptables_mode: iptables.word("mode", &["external", "internal"])?,
            iptables_manager,
            controller_manager: Component::read(&keys.at("controllerManager"))?,
            admission: Component::read(&keys.at("admission"))?,
            admission_certificates: keys.text("admission.certsSecretName")?,
            mosquitto: Component::read(&keys.at("mosquitto"))?,
        })
    }

    /// Whether a program of its own leads connections to the streams.
    pub fn has_iptables_manager(&self) -> bool {
        self.iptables_manager.enable && self.iptables_mode == "external"
    }

    /// Whether the certificate of the stream is needed. Upstream's cloudcore mounts it in any case.
    pub fn has_stream_certificate(&self) -> bool {
        self.stream || self.implementation == Implementation::Go
    }
}

impl Component {
    fn read(keys: &Keys<'_>) -> Result<Component, ChartError> {
        let labels = keys.map("labels")?;
        if labels.is_empty() {
            return Err(keys.wrong("labels", "it may not be empty: the pods are found by them"));
        }
        Ok(Component {
            enable: keys.flag("enable")?,
            replicas: match keys.text("replicaCount")?.as_str() {
                "" => 1,
                _ => keys.number("replicaCount", 0..=1000)?,
            },
            host_network: keys.flag("hostNetWork")?,
            image: image(keys, "image.repository")?,
            pull_policy: keys
                .word("image.pullPolicy", &["IfNotPresent", "Always", "Never"])?
                .to_owned(),
            pull_secrets: keys.texts("image.pullSecrets")?,
            labels,
            annotations: keys.map("annotations")?,
            affinity: keys.map("affinity")?,
            tolerations: keys.list("tolerations")?,
            node_selector: keys.map("nodeSelector")?,
            resources: keys.map("resources")?,
            security_context: keys.map("securityContext")?,
        })
    }
}

impl Hub {
    fn read(keys: &Keys<'_>) -> Result<Hub, ChartError> {
        let listener = |name: &str| {
            let at = keys.at(name);
            Ok::<_, ChartError>(Listener {
                enable: at.flag("enable")?,
                port: at.port("port")?,
            })
        };
        let advertise_address = keys.texts("advertiseAddress")?;
        for address in &advertise_address {
            if address.parse::<std::net::IpAddr>().is_err() {
                let why = format!("\"{address}\" is no IP address: names belong into dnsNames");
                return Err(keys.wrong("advertiseAddress", why));
            }
        }
        Ok(Hub {
            advertise_address,
            dns_names: keys.texts("dnsNames")?,
            node_limit: keys.number("nodeLimit", 1..=1_000_000)?,
            websocket: listener("websocket")?,
            quic: listener("quic")?,
            quic_streams: keys.number("quic.maxIncomingStreams", 1..=1_000_000)?,
            https: listener("https")?,
            impersonate_nodes: keys.flag("impersonateNodes")?,
            object_sync: keys.flag("objectSync")?,
        })
    }
}

impl Service {
    fn read(keys: &Keys<'_>) -> Result<Service, ChartError> {
        let port = |name: &str| keys.port(name);
        Ok(Service {
            enable: keys.flag("enable")?,
            kind: keys.word("type", &["ClusterIP", "NodePort", "LoadBalancer"])?,
            annotations: keys.map("annotations")?,
            node_ports: [
                port("cloudhubNodePort")?,
                port("cloudhubQuicNodePort")?,
                port("cloudhubHttpsNodePort")?,
                port("cloudstreamNodePort")?,
                port("tunnelNodePort")?,
            ],
        })
    }
}

/// What is named, or what the name of the image says: ours is called kubeedge, as the executable is.
fn implementation(core: &Keys<'_>) -> Result<Implementation, ChartError> {
    let repository = core.text("image.repository")?;
    let ours = repository.rsplit('/').next() == Some("kubeedge");
    Ok(match core.word("implementation", &["", "go", "rust"])? {
        "rust" => Implementation::Rust,
        "go" => Implementation::Go,
        _ if ours => Implementation::Rust,
        _ => Implementation::Go,
    })
}

/// `repository:tag`; a tag that is a digest stands behind an @.
fn image(keys: &Keys<'_>, repository: &str) -> Result<String, ChartError> {
    let name = keys.text(repository)?;
    let tag = keys.text("image.tag")?;
    if name.is_empty() {
        return Err(keys.wrong(repository, "it names no image"));
    }
    Ok(match tag.as_str() {
        "" => name,
        tag if tag.starts_with("sha256:") => format!("{name}@{tag}"),
        tag => format!("{name}:{tag}"),
    })
}

/// On the machine's network the kubelet gets there over loopback, and nobody else shall.
fn monitor(core: &Keys<'_>, host_network: bool) -> Result<SocketAddr, ChartError> {
    let text = core.text("monitor.bindAddress")?;
    let text = match (text.as_str(), host_network) {
        ("", true) => "127.0.0.1:9091",
        ("", false) => "0.0.0.0:9091",
        (text, _) => text,
    };
    let why = "it is no address with a port, such as 0.0.0.0:9091";
    text.parse()
        .map_err(|_| core.wrong("monitor.bindAddress", why))
}

#[cfg(test)]
mod tests {
    use super::super::bundle::Bundle;
    use super::super::set;
    use super::*;
    use crate::keadm::version::KUBEEDGE;
    use serde_json::json;

    fn with(sets: &[&str]) -> Result<Values, ChartError> {
        let bundle = Bundle::open()?;
        let mut given = json!({});
        for item in sets {
            set::apply(&mut given, item)?;
        }
        let (defaults, own) = (
            bundle.read("values.yaml")?,
            bundle.read("values-rust.yaml")?,
        );
        Values::read(&Values::tree(&defaults, &own, &given)?)
    }

    #[test]
    fn the_defaults_are_those_of_this_version() {
        let values = with(&[]).unwrap();
        assert_eq!(
            values.cloud_core.image,
            format!("kubeedge/cloudcore:{KUBEEDGE}")
        );
        assert_eq!(
            values.admission.image,
            format!("kubeedge/admission:{KUBEEDGE}")
        );
        assert_eq!(values.implementation, Implementation::Go);
        assert!(
            values
                .cloud_core
                .security_context
                .contains_key("privileged")
        );
        assert!(!values.mosquitto.enable && values.iptables_manager.enable);
        let version = Bundle::open().unwrap().read("values.yaml").unwrap()["appVersion"].clone();
        assert_eq!(version, KUBEEDGE.trim_start_matches('v'));
    }

    #[test]
    fn our_own_image_gets_what_it_needs() {
        let values =
            with(&["cloudCore.image.repository=r:5/x/kubeedge,cloudCore.image.tag=0.1.0"]).unwrap();
        assert_eq!(values.implementation, Implementation::Rust);
        assert_eq!(values.cloud_core.image, "r:5/x/kubeedge:0.1.0");
        assert!(
            !values
                .cloud_core
                .security_context
                .contains_key("privileged")
        );
        assert!(!values.iptables_manager.enable && !values.stream);
        let untagged = with(&["cloudCore.image.repository=x/kubeedge"]).unwrap();
        assert_eq!(
            untagged.cloud_core.image,
            concat!("x/kubeedge:", env!("CARGO_PKG_VERSION"))
        );
        let other =
            with(&["cloudCore.image.repository=x/mine,cloudCore.implementation=rust"]).unwrap();
        assert_eq!(other.implementation, Implementation::Rust);
        let kept =
            with(&["cloudCore.implementation=rust,cloudCore.resources.limits.memory=2Gi"]).unwrap();
        assert_eq!(kept.cloud_core.resources["limits"]["memory"], "2Gi");
    }

    #[test]
    fn images_have_a_tag_or_a_digest() {
        let values =
            with(&["cloudCore.image.tag=sha256:00,iptablesManager.framework=nft"]).unwrap();
        assert_eq!(values.cloud_core.image, "kubeedge/cloudcore@sha256:00");
        let nft = format!("kubeedge/iptables-manager-nft:{KUBEEDGE}");
        assert_eq!(values.iptables_manager.image, nft);
    }

    #[test]
    fn values_that_do_not_fit_are_named() {
        for (item, part) in [
            (
                "cloudCore.replicaCount=many",
                "cloudCore.replicaCount: expected a whole number from 0",
            ),
            (
                "cloudCore.hostNetWork=7",
                "cloudCore.hostNetWork: expected true or false, not 7",
            ),
            (
                "cloudCore.modules.cloudHub.websocket.port=0",
                "websocket.port: expected a whole number from 1 to 65535, not 0",
            ),
            (
                "cloudCore.modules.cloudHub.advertiseAddress={cloud.example}",
                "names belong into dnsNames",
            ),
            (
                "cloudCore.service.type=Other",
                "cloudCore.service.type: expected ClusterIP or NodePort or LoadBalancer",
            ),
            (
                "cloudCore.image.repository=",
                "cloudCore.image.repository: it names no image",
            ),
            (
                "cloudCore.labels=null",
                "cloudCore.labels: it may not be empty",
            ),
            (
                "cloudCore.monitor.bindAddress=9091",
                "cloudCore.monitor.bindAddress: it is no address with a port",
            ),
            (
                "mosquitto.tolerations=x",
                "mosquitto.tolerations: expected a list",
            ),
        ] {
            let refusal = with(&[item]).expect_err(item).to_string();
            assert!(refusal.contains(part), "{item}: {refusal}");
        }
    }
}
