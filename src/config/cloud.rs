//! cloudcore.yaml: what cloudcore uses of it, and the files that it prints.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::read::{MAX_INT, Reader, SECONDS};
use super::{ConfigError, duration};
use crate::system::yaml::Document;
use crate::system::yaml::emit;

/// The part of cloudcore.yaml that is used. What else the file holds stays there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudConfig {
    pub hub: CloudHub,
    /// `commonConfig.monitorServer.bindAddress`: metrics; an empty text turns them off.
    pub monitor: Option<SocketAddr>,
    /// `kubeAPIConfig.kubeConfig`: the cluster that has the state; none says nothing of one.
    pub kube_config: Option<String>,
    /// `kubeAPIConfig.master`: where the API server is, in the place of what that file says.
    pub master: Option<String>,
    /// `modules.taskManager.enable`: on a cluster, its jobs are given to nodes.
    pub jobs: bool,
}

/// `modules.cloudHub`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudHub {
    pub enable: bool,
    /// Sessions at the same time.
    pub node_limit: u32,
    /// A session that sends nothing for so long is closed.
    pub keepalive_interval: Duration,
    /// `tokenRefreshDuration`, in hours in the file.
    pub token_refresh: Duration,
    /// The life of a certificate of an edge: `edgeCertLifetime`, or else `edgeCertSigningDuration`
    /// days.
    pub edge_cert_lifetime: Duration,
    pub advertise_address: Vec<IpAddr>,
    pub dns_names: Vec<String>,
    pub tls_ca_file: PathBuf,
    pub tls_ca_key_file: PathBuf,
    pub tls_cert_file: PathBuf,
    pub tls_private_key_file: PathBuf,
    pub websocket: Listener,
    pub https: Listener,
    /// `singlePort`, a key of ours: a port for certificates and tunnels alike.
    pub single_port: Option<u16>,
    /// The tunnel over QUIC, of our own edges.
    pub quic: Listener,
    /// `authorization.enable`, kept for what reads it; each node sees only its own objects anyway.
    pub authorization: bool,
    /// `legacyCertificates`, a key of ours.
    pub legacy_certificates: LegacyCertificates,
    /// `protectNames`, a key of ours: a token does not give a name to a second key.
    pub protect_names: bool,
    /// `sandbox`, a key of ours: cloudcore gives up the rights that it does not need.
    pub sandbox: bool,
    /// `renewAfterExpiry`, a key of ours: how long after its end a certificate may be renewed.
    pub renew_after_expiry: Option<Duration>,
    /// `partialMessageBudget`, a key of ours: bytes held for messages that have come in part.
    pub partial_message_budget: u64,
    /// `maxMessageSize`, a key of ours, in bytes.
    pub max_message_size: u64,
    /// `impersonateNodes`, a key of ours: on a cluster, what nodes ask is asked in their names.
    pub impersonate_nodes: bool,
    /// `objectSync`, a key of ours: on a cluster, what nodes acknowledge is recorded there.
    pub object_sync: bool,
}

/// Where a server listens. Port 0 takes any free port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    pub enable: bool,
    pub address: IpAddr,
    pub port: u16,
}

impl Listener {
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// What an edge may do with the certificate of an old cloud, which names no node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LegacyCertificates {
    /// `false`: nothing.
    #[default]
    Refused,
    /// `rotate`: get a certificate that names its node.
    Rotate,
    /// `full`: connect as well.
    Full,
}

impl CloudConfig {
    /// Reads the text of a file; `file` is its name for errors and warnings. What is missing has
    /// its default.
    pub fn load(text: &str, file: &str) -> Result<(CloudConfig, Vec<String>), ConfigError> {
        let document = Document::parse(text, file)?;
        let reader = Reader {
            document: &document,
            file,
        };
        let warnings = reader.head(KIND, VERSION)?;
        reader.sections(SECTIONS)?;
        let mut config = CloudConfig::default();
        reader.read(
            "commonConfig.monitorServer.bindAddress",
            "an address and a port, like 127.0.0.1:9091",
            &mut config.monitor,
            bind_address,
        )?;
        for (key, into) in [
            ("kubeAPIConfig.kubeConfig", &mut config.kube_config),
            ("kubeAPIConfig.master", &mut config.master),
        ] {
            let mut text = String::new();
            reader.text(key, &mut text)?;
            *into = Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        }
        reader.flag("modules.taskManager.enable", &mut config.jobs)?;
        config.hub.read(&reader)?;
        Ok((config, warnings))
    }

    /// A file with every key and its default, for a cloudcore that is dialled at this address.
    pub fn default_yaml(ip: &str) -> String {
        include_str!("cloudcore-default.yaml").replace("@IP@", &emit::text(ip))
    }

    /// A short file that works as it is.
    pub fn min_yaml(ip: &str) -> String {
        include_str!("cloudcore-min.yaml").replace("@IP@", &emit::text(ip))
    }
}

impl CloudHub {
    /// The address or name to tell people that devices dial; none when it is not set.
    pub fn dialled(&self) -> Option<String> {
        let said = |address: &IpAddr| (!address.is_unspecified()).then(|| address.to_string());
        let advertised = self.advertise_address.iter().find_map(said);
        let named = || self.dns_names.iter().find(|name| !name.is_empty()).cloned();
        advertised
            .or_else(named)
            .or_else(|| said(&self.websocket.address))
    }

    fn read(&mut self, reader: &Reader<'_>) -> Result<(), ConfigError> {
        reader.flag("modules.cloudHub.enable", &mut self.enable)?;
        let limits = 1..=MAX_INT as u32;
        reader.whole("modules.cloudHub.nodeLimit", limits, &mut self.node_limit)?;
        let (interval, refresh) = (&mut self.keepalive_interval, &mut self.token_refresh);
        reader.time("modules.cloudHub.keepaliveInterval", SECONDS, interval)?;
        reader.time("modules.cloudHub.tokenRefreshDuration", HOURS, refresh)?;
        let lifetime = &mut self.edge_cert_lifetime;
        reader.time("modules.cloudHub.edgeCertSigningDuration", DAYS, lifetime)?;
        if let Some(finer) = reader.duration("modules.cloudHub.edgeCertLifetime")? {
            self.edge_cert_lifetime = finer;
        }
        self.read_names(reader)?;
        for (key, into) in [
            ("tlsCAFile", &mut self.tls_ca_file),
            ("tlsCAKeyFile", &mut self.tls_ca_key_file),
            ("tlsCertFile", &mut self.tls_cert_file),
            ("tlsPrivateKeyFile", &mut self.tls_private_key_file),
        ] {
            reader.file_path(&format!("modules.cloudHub.{key}"), into)?;
        }
        listener(reader, "modules.cloudHub.websocket", &mut self.websocket)?;
        listener(reader, "modules.cloudHub.https", &mut self.https)?;
        listener(reader, "modules.cloudHub.quic", &mut self.quic)?;
        reader.flag(
            "modules.cloudHub.authorization.enable",
            &mut self.authorization,
        )?;
        self.read_ours(reader)
    }

    fn read_names(&mut self, reader: &Reader<'_>) -> Result<(), ConfigError> {
        let key = "modules.cloudHub.advertiseAddress";
        let mut addresses = Vec::new();
        reader.list(key, &mut addresses)?;
        self.advertise_address = addresses
            .iter()
            .map(|text| {
                text.parse().map_err(|_| {
                    let message = "is not an IP address: names go to modules.cloudHub.dnsNames";
                    reader.error(key, format!("{text:?} {message}"))
                })
            })
            .collect::<Result<_, _>>()?;
        reader.list("modules.cloudHub.dnsNames", &mut self.dns_names)
    }

    fn read_ours(&mut self, reader: &Reader<'_>) -> Result<(), ConfigError> {
        reader.read(
            "modules.cloudHub.legacyCertificates",
            "false, rotate or full",
            &mut self.legacy_certificates,
            |value| match value {
                Value::Bool(false) => Some(LegacyCertificates::Refused),
                Value::String(word) => match word.as_str() {
                    "false" | "no" | "off" => Some(LegacyCertificates::Refused),
                    "rotate" => Some(LegacyCertificates::Rotate),
                    "full" => Some(LegacyCertificates::Full),
                    _ => None,
                },
                _ => None,
            },
        )?;
        reader.flag("modules.cloudHub.protectNames", &mut self.protect_names)?;
        reader.flag("modules.cloudHub.sandbox", &mut self.sandbox)?;
        let key = "modules.cloudHub.impersonateNodes";
        reader.flag(key, &mut self.impersonate_nodes)?;
        reader.flag("modules.cloudHub.objectSync", &mut self.object_sync)?;
        let key = "modules.cloudHub.singlePort";
        reader.read(key, "a port, such as 443", &mut self.single_port, |value| {
            u16::try_from(value.as_u64()?).ok().map(Some)
        })?;
        reader.read(
            "modules.cloudHub.renewAfterExpiry",
            "a duration like 30d or 12h, or 0 for never",
            &mut self.renew_after_expiry,
            |value| {
                let text = match value {
                    Value::Number(number) => number.to_string(),
                    other => other.as_str()?.to_owned(),
                };
                let grace = duration::parse_with_days(&text).ok()?;
                Some(Some(grace).filter(|grace| !grace.is_zero()))
            },
        )?;
        let key = "modules.cloudHub.maxMessageSize";
        reader.whole(key, 65_536..=1 << 30, &mut self.max_message_size)?;
        let key = "modules.cloudHub.partialMessageBudget";
        reader.whole(key, 65_536..=1 << 40, &mut self.partial_message_budget)?;
        if self.partial_message_budget < self.max_message_size {
            let message = format!(
                "must be at least modules.cloudHub.maxMessageSize, which is {}",
                self.max_message_size
            );
            return Err(reader.error(key, message));
        }
        Ok(())
    }
}

impl Default for CloudConfig {
    fn default() -> CloudConfig {
        CloudConfig {
            hub: CloudHub::default(),
            monitor: Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9091)),
            kube_config: None,
            master: None,
            jobs: false,
        }
    }
}

impl Default for CloudHub {
    fn default() -> CloudHub {
        let listener = |enable, port| Listener {
            enable,
            address: Ipv4Addr::UNSPECIFIED.into(),
            port,
        };
        CloudHub {
            enable: true,
            node_limit: 500,
            keepalive_interval: Duration::from_secs(30),
            token_refresh: Duration::from_secs(12 * HOURS.1),
            edge_cert_lifetime: Duration::from_secs(365 * DAYS.1),
            advertise_address: Vec::new(),
            dns_names: Vec::new(),
            tls_ca_file: "/etc/kubeedge/ca/rootCA.crt".into(),
            tls_ca_key_file: "/etc/kubeedge/ca/rootCA.key".into(),
            tls_cert_file: "/etc/kubeedge/certs/server.crt".into(),
            tls_private_key_file: "/etc/kubeedge/certs/server.key".into(),
            websocket: listener(true, 10_000),
            https: listener(true, 10_002),
            single_port: None,
            quic: listener(false, 10_001),
            authorization: false,
            legacy_certificates: LegacyCertificates::Refused,
            protect_names: false,
            sandbox: true,
            renew_after_expiry: None,
            partial_message_budget: 64 << 20,
            max_message_size: 8 << 20,
            impersonate_nodes: false,
            object_sync: false,
        }
    }
}

fn listener(reader: &Reader<'_>, key: &str, into: &mut Listener) -> Result<(), ConfigError> {
    reader.flag(&format!("{key}.enable"), &mut into.enable)?;
    reader.address(&format!("{key}.address"), &mut into.address)?;
    reader.whole(&format!("{key}.port"), 0..=u16::MAX, &mut into.port)
}

/// `127.0.0.1:9091`, `localhost:9091`, `:9091` (everywhere) or nothing at all.
fn bind_address(value: &Value) -> Option<Option<SocketAddr>> {
    let text = value.as_str()?;
    if text.is_empty() {
        return Some(None);
    }
    let (host, port) = text.rsplit_once(':')?;
    let address = match host {
        "" => Ipv4Addr::UNSPECIFIED,
        "localhost" => Ipv4Addr::LOCALHOST,
        _ => return text.parse().ok().map(Some),
    };
    let port = port.parse().ok()?;
    Some(Some(SocketAddr::new(address.into(), port)))
}

const DAYS: (&str, u64) = ("days", 86_400);
const HOURS: (&str, u64) = ("hours", 3_600);
const KIND: &str = "CloudCore";
const VERSION: &str = "cloudcore.config.kubeedge.io/v1alpha1";
const SECTIONS: &[&str] = &[
    "commonConfig",
    "commonConfig.monitorServer",
    "kubeAPIConfig",
    "modules",
    "modules.cloudHub",
    "modules.cloudHub.authorization",
    "modules.cloudHub.https",
    "modules.cloudHub.quic",
    "modules.cloudHub.websocket",
];

#[cfg(test)]
mod tests;
