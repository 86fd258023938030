//! edgecore.yaml: what edgecore uses of it, and the files that it prints.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::system::files::with_end;
use crate::system::names::{Endpoint, Host, NameError, NodeName};

use super::read::{MAX_INT, Reader, SECONDS};
use super::veil::Veil;
use super::{ConfigError, Secret};
use crate::system::yaml::Document;
use crate::system::yaml::emit;

pub mod meta;
pub mod network;
pub mod node;

pub use meta::EdgeMeta;
pub use network::EdgeNetwork;
pub use node::EdgeNode;

/// The part of edgecore.yaml that is used. What else the file holds stays there: files are changed
/// by [`super::edit`], never written anew.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeConfig {
    pub hub: EdgeHub,
    /// `modules.edged`
    pub node: EdgeNode,
    /// `modules.edged.hostnameOverride`; without it the name of the host counts.
    pub node_name: Option<NodeName>,
    /// `database.dataSource`
    pub database: PathBuf,
    /// `modules.taskManager.enable`: jobs for the node from the cloud.
    pub task_manager: bool,
    /// `modules.taskManager.allowedImages`, a key of ours: beginnings of the images that a job may bring
    /// with their digest.
    pub job_images: Vec<String>,
    /// `modules.metaManager`
    pub meta: EdgeMeta,
}

/// `modules.edgeHub`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeHub {
    pub enable: bool,
    /// Between two keepalive messages.
    pub heartbeat: Duration,
    /// Messages to the cloud a second, on average. 0 is no limit.
    pub message_qps: u32,
    pub message_burst: u32,
    /// The first part of the path of the tunnel.
    pub project_id: String,
    pub tls_ca_file: PathBuf,
    pub tls_cert_file: PathBuf,
    pub tls_private_key_file: PathBuf,
    /// The certificate API. Without the key: the host of the tunnel, port 10002.
    pub http_server: Endpoint,
    pub token: Option<Secret>,
    pub rotate_certificates: bool,
    /// `sandbox`, a key of ours: edgecore gives up the rights that it does not need.
    pub sandbox: bool,
    pub websocket: EdgeWebsocket,
    pub quic: EdgeQuic,
    /// The way to the cloud: keys of ours.
    pub network: EdgeNetwork,
}

/// `modules.edgeHub.websocket`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeWebsocket {
    pub enable: bool,
    pub server: Endpoint,
    pub handshake_timeout: Duration,
    pub read_deadline: Duration,
    pub write_deadline: Duration,
}

/// `modules.edgeHub.quic`: tried first, with the other tunnel for networks that block UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeQuic {
    pub enable: bool,
    pub server: Endpoint,
}

impl EdgeConfig {
    /// Reads the text of a file; `file` is its name for errors and warnings. What is missing has
    /// its default.
    pub fn load(text: &str, file: &str) -> Result<(EdgeConfig, Vec<String>), ConfigError> {
        let veil = Veil::over(text);
        let document = Document::parse(veil.text(), file)?;
        let reader = Reader {
            document: &document,
            file,
        };
        let warnings = reader.head(KIND, VERSION)?;
        reader.sections(SECTIONS)?;
        let mut config = EdgeConfig::default();
        config.read(&reader)?;
        config.check(&reader)?;
        config.hub.token = config.hub.token.map(|token| token.lifted(&veil));
        Ok((config, warnings))
    }

    /// A file with every key and its default, for a node of this name and a cloud at this address.
    pub fn default_yaml(host: &str, ip: &str) -> String {
        fill(include_str!("edgecore-default.yaml"), host, ip)
    }

    /// A short file that works as it is.
    pub fn min_yaml(host: &str, ip: &str) -> String {
        fill(include_str!("edgecore-min.yaml"), host, ip)
    }

    fn read(&mut self, reader: &Reader<'_>) -> Result<(), ConfigError> {
        reader.file_path("database.dataSource", &mut self.database)?;
        reader.flag("modules.taskManager.enable", &mut self.task_manager)?;
        reader.list("modules.taskManager.allowedImages", &mut self.job_images)?;
        let mut name = String::new();
        reader.text("modules.edged.hostnameOverride", &mut name)?;
        if !name.is_empty() {
            let parsed = name.parse().map_err(|error: NameError| {
                reader.error(
                    "modules.edged.hostnameOverride",
                    format!("{name:?}: {error}"),
                )
            })?;
            self.node_name = Some(parsed);
        }
        self.meta.read(reader)?;
        self.node.read(reader)?;
        self.hub.read(reader)
    }

    fn check(&self, reader: &Reader<'_>) -> Result<(), ConfigError> {
        let hub = &self.hub;
        if hub.enable && !hub.websocket.enable && !hub.quic.enable {
            let message = "one of modules.edgeHub.websocket and modules.edgeHub.quic must have \
                           enable: true";
            return Err(reader.error("modules.edgeHub", message));
        }
        Ok(())
    }
}

impl EdgeHub {
    fn read(&mut self, reader: &Reader<'_>) -> Result<(), ConfigError> {
        reader.flag("modules.edgeHub.enable", &mut self.enable)?;
        reader.time("modules.edgeHub.heartbeat", SECONDS, &mut self.heartbeat)?;
        let limits = 0..=MAX_INT as u32;
        reader.whole(
            "modules.edgeHub.messageQPS",
            limits.clone(),
            &mut self.message_qps,
        )?;
        reader.whole(
            "modules.edgeHub.messageBurst",
            limits,
            &mut self.message_burst,
        )?;
        reader.read(
            "modules.edgeHub.projectID",
            "letters, digits, '-', '_' and '.'",
            &mut self.project_id,
            |value| {
                value
                    .as_str()
                    .filter(|id| is_path_part(id))
                    .map(str::to_owned)
            },
        )?;
        reader.file_path("modules.edgeHub.tlsCaFile", &mut self.tls_ca_file)?;
        reader.file_path("modules.edgeHub.tlsCertFile", &mut self.tls_cert_file)?;
        reader.file_path(
            "modules.edgeHub.tlsPrivateKeyFile",
            &mut self.tls_private_key_file,
        )?;
        reader.flag(
            "modules.edgeHub.rotateCertificates",
            &mut self.rotate_certificates,
        )?;
        reader.flag("modules.edgeHub.sandbox", &mut self.sandbox)?;
        self.token = token(reader)?;
        self.network.read(reader)?;
        self.websocket.read(reader)?;
        reader.flag("modules.edgeHub.quic.enable", &mut self.quic.enable)?;
        reader.parsed("modules.edgeHub.quic.server", &mut self.quic.server)?;
        // KubeEdge's edgecore has one of the two; here the other one serves when UDP is blocked.
        let only_quic = self.quic.enable && !self.websocket.enable;
        if only_quic && reader.get("modules.edgeHub.websocket.server").is_none() {
            self.websocket.server = Endpoint::new(self.quic.server.host.clone(), WEBSOCKET_PORT);
        }
        let tunnel = if only_quic {
            &self.quic.server
        } else {
            &self.websocket.server
        };
        let mut server = HttpsUrl(Endpoint::new(tunnel.host.clone(), HTTPS_PORT));
        reader.parsed("modules.edgeHub.httpServer", &mut server)?;
        self.http_server = server.0;
        Ok(())
    }
}

impl EdgeWebsocket {
    fn read(&mut self, reader: &Reader<'_>) -> Result<(), ConfigError> {
        reader.flag("modules.edgeHub.websocket.enable", &mut self.enable)?;
        reader.parsed("modules.edgeHub.websocket.server", &mut self.server)?;
        for (key, into) in [
            ("handshakeTimeout", &mut self.handshake_timeout),
            ("readDeadline", &mut self.read_deadline),
            ("writeDeadline", &mut self.write_deadline),
        ] {
            reader.time(&format!("modules.edgeHub.websocket.{key}"), SECONDS, into)?;
        }
        Ok(())
    }
}

impl Default for EdgeConfig {
    fn default() -> EdgeConfig {
        EdgeConfig {
            hub: EdgeHub::default(),
            node: EdgeNode::default(),
            node_name: None,
            database: "/var/lib/kubeedge/edgecore.db".into(),
            task_manager: false,
            job_images: Vec::new(),
            meta: EdgeMeta::default(),
        }
    }
}

impl Default for EdgeHub {
    fn default() -> EdgeHub {
        EdgeHub {
            enable: true,
            heartbeat: Duration::from_secs(15),
            message_qps: 30,
            message_burst: 60,
            project_id: "e632aba927ea4ac2b575ec1603d56f10".to_owned(),
            tls_ca_file: "/etc/kubeedge/ca/rootCA.crt".into(),
            tls_cert_file: "/etc/kubeedge/certs/server.crt".into(),
            tls_private_key_file: "/etc/kubeedge/certs/server.key".into(),
            http_server: loopback(HTTPS_PORT),
            token: None,
            rotate_certificates: true,
            sandbox: true,
            websocket: EdgeWebsocket {
                enable: true,
                server: loopback(WEBSOCKET_PORT),
                handshake_timeout: Duration::from_secs(30),
                read_deadline: Duration::from_secs(15),
                write_deadline: Duration::from_secs(15),
            },
            quic: EdgeQuic {
                enable: false,
                server: loopback(10_001),
            },
            network: EdgeNetwork::default(),
        }
    }
}

/// `https://host:port`, with 443 for a missing port, as in any URL.
struct HttpsUrl(Endpoint);

impl FromStr for HttpsUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<HttpsUrl, UrlError> {
        let rest = text.strip_prefix("https://").ok_or(UrlError::Scheme)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(UrlError::Path);
        }
        Endpoint::parse_with_default_port(rest, 443)
            .map(HttpsUrl)
            .map_err(UrlError::Endpoint)
    }
}

enum UrlError {
    Endpoint(NameError),
    Path,
    Scheme,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UrlError::Endpoint(error) => error.fmt(f),
            UrlError::Path => f.write_str("only a host and a port may follow https://"),
            UrlError::Scheme => f.write_str("expected a URL like https://192.0.2.1:10002"),
        }
    }
}

/// Where a key that has no certificate yet waits to take the place of the one in use, and what belongs to it.
pub fn pending(path: &Path) -> PathBuf {
    with_end(path, ".pending")
}

/// The token of the file, whose text appears in no error.
fn token(reader: &Reader<'_>) -> Result<Option<Secret>, ConfigError> {
    let key = "modules.edgeHub.token";
    let Some(value) = reader.get(key) else {
        return Ok(None);
    };
    match value.as_str() {
        Some(text) => Ok(Some(text.trim())
            .filter(|text| !text.is_empty())
            .map(Secret::new)),
        None => Err(reader.error(key, "expected text: put the token in quotes")),
    }
}

fn loopback(port: u16) -> Endpoint {
    Endpoint::new(Host::Ip(Ipv4Addr::LOCALHOST.into()), port)
}

fn is_path_part(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !text.is_empty() && text.chars().all(allowed) && !matches!(text, "." | "..")
}

fn fill(template: &str, host: &str, ip: &str) -> String {
    let address = match ip.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => ip.to_owned(),
    };
    let mut text = template.replace("@HOST@", &emit::text(host));
    for port in ["10000", "10001"] {
        // An IPv6 address in brackets must be quoted where it stands alone.
        let server = emit::text(&format!("{address}:{port}"));
        text = text.replace(&format!(": @IP@:{port}"), &format!(": {server}"));
    }
    text.replace("@IP@", &address)
}

const WEBSOCKET_PORT: u16 = 10_000;
const HTTPS_PORT: u16 = 10_002;
const KIND: &str = "EdgeCore";
const VERSION: &str = "edgecore.config.kubeedge.io/v1alpha2";
const SECTIONS: &[&str] = &[
    "database",
    "modules",
    "modules.edgeHub",
    "modules.edgeHub.websocket",
    "modules.edgeHub.quic",
    "modules.edged",
    "modules.metaManager",
    "modules.metaManager.metaServer",
    "modules.edged.tailoredKubeletConfig",
    "modules.taskManager",
];

#[cfg(test)]
mod tests;
