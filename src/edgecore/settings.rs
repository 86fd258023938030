//! What edgecore takes from edgecore.yaml, as types, with the root prefix applied.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::identity::Place;
use super::storage::Storage;
use crate::config::edge::network::{CloudAt, WayError};
use crate::config::edge::{EdgeConfig, EdgeMeta, EdgeNode};
use crate::config::{self, ConfigError};
use crate::system::facts;
use crate::system::files::FileError;
use crate::system::host::Host;
use crate::system::names::{Endpoint, NameError, NodeName};
use crate::system::secret::Secret;
use crate::system::uplink::Uplink;
use crate::system::way::Way;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub node: NodeName,
    /// What the device says of itself as a node; the root prefix is applied.
    pub edged: EdgeNode,
    /// At least one; the first is the one that KubeEdge's edgecore would know.
    pub clouds: Vec<CloudAt>,
    /// Where the first cloud takes tunnels over QUIC, if those are wanted.
    pub quic: Option<Endpoint>,
    /// Where connections start, and through which proxy they go.
    pub way: Way,
    pub project: String,
    pub heartbeat: Duration,
    /// How often the edge says that it lives, to a cloud with which that can be agreed.
    pub keepalive: Duration,
    pub handshake_deadline: Duration,
    pub write_deadline: Duration,
    pub rotate: bool,
    pub place: Place,
    /// Whether the hub gives up what it does not need.
    pub sandbox: bool,
    pub config: PathBuf,
    pub bootstrap: PathBuf,
    /// Where what the cloud said is kept.
    pub state: Storage,
    /// What programs on the device get of it.
    pub meta: EdgeMeta,
    /// Whether the cloud may give jobs to this node.
    pub jobs: bool,
    /// Where user and password of a proxy are.
    pub credentials: PathBuf,
}

/// Where settings are from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The real path of the configuration.
    pub config: PathBuf,
    /// What the command line says, which wins over the file.
    pub uplink: Uplink,
    pub node_address: Option<IpAddr>,
    /// The folder for what the cloud said.
    pub state: Option<PathBuf>,
}

/// Why edgecore can't work with its configuration.
#[derive(Debug)]
pub enum SettingsError {
    File(FileError),
    Config(ConfigError),
    /// The file switches off what this program is.
    HubOff(PathBuf),
    /// Which way to go to the cloud can't be told.
    Way(WayError),
    /// Neither the file nor the host gives a name that a node can have.
    NoName(NameError),
}

/// Where upstream's keadm leaves the token for the first start.
pub const BOOTSTRAP: &str = "/etc/kubeedge/bootstrap-edgecore.conf";
pub const CONFIG: &str = "/etc/kubeedge/config/edgecore.yaml";

impl Settings {
    /// Reads the configuration file; a missing one is an error.
    pub fn load(host: &Host, source: &Source) -> Result<Self, SettingsError> {
        let Source {
            config: path,
            uplink,
            node_address,
            state,
        } = source;
        let bytes = host.files.read(path, config::MAX_FILE);
        // There may be a token in it.
        let bytes = Secret::new(bytes.map_err(SettingsError::File)?);
        let text = String::from_utf8_lossy(&bytes);
        let name = path.display().to_string();
        let (mut config, warnings) =
            EdgeConfig::load(&text, &name).map_err(SettingsError::Config)?;
        for warning in warnings {
            log::warn!("{warning}");
        }
        if !config.hub.enable {
            return Err(SettingsError::HubOff(path.to_owned()));
        }
        let own = &mut config.hub.network.uplink;
        own.address = uplink.address.or(own.address);
        own.interface = uplink.interface.clone().or(own.interface.take());
        config.node.address = node_address.or(config.node.address);
        Self::from_config(host, config, path, state.as_deref())
    }

    /// What `status` calls the cloud.
    pub fn cloud(&self) -> String {
        self.clouds[0].hub.to_string()
    }

    fn from_config(
        host: &Host,
        config: EdgeConfig,
        path: &Path,
        state: Option<&Path>,
    ) -> Result<Self, SettingsError> {
        let hub = config.hub;
        let node = match config.node_name {
            Some(name) => name,
            None => facts::default_node_name().map_err(SettingsError::NoName)?,
        };
        Ok(Settings {
            node,
            quic: hub.quic.enable.then_some(hub.quic.server),
            edged: EdgeNode {
                root: host.root.at(&config.node.root),
                ..config.node
            },
            clouds: hub.network.clouds(&hub.websocket.server, &hub.http_server),
            way: hub
                .network
                .way(host, |name| std::env::var(name).ok())
                .map_err(SettingsError::Way)?,
            project: hub.project_id,
            heartbeat: hub.heartbeat,
            keepalive: hub.network.profile.keepalive(hub.heartbeat),
            handshake_deadline: hub.websocket.handshake_timeout,
            write_deadline: hub.websocket.write_deadline,
            rotate: hub.rotate_certificates,
            place: Place {
                key: host.root.at(&hub.tls_private_key_file),
                certificate: host.root.at(&hub.tls_cert_file),
                ca: host.root.at(&hub.tls_ca_file),
            },
            sandbox: hub.sandbox,
            config: path.to_owned(),
            bootstrap: host.root.at(BOOTSTRAP),
            state: Storage::choose(host, state, config.meta.state_dir.as_deref()),
            meta: config.meta,
            jobs: config.task_manager,
            credentials: host.root.at(&hub.network.credentials_file),
        })
    }
}

impl Settings {
    /// Where a cloud takes tunnels over QUIC, if those are wanted: those beside the first one at the
    /// same port.
    pub fn quic_at(&self, cloud: &CloudAt) -> Option<Endpoint> {
        let quic = self.quic.as_ref()?;
        Some(match *cloud == self.clouds[0] {
            true => quic.clone(),
            false => Endpoint::new(cloud.hub.host.clone(), quic.port),
        })
    }

    /// The folders that edgecore changes files in while it runs; the configuration and the token
    /// lie elsewhere, and are its supervisor's to change.
    pub fn folders(&self) -> Vec<PathBuf> {
        let files = [&self.place.key, &self.place.certificate, &self.place.ca];
        let folders = files.into_iter().filter_map(|file| file.parent());
        let mut folders: Vec<PathBuf> = folders.map(Path::to_owned).collect();
        folders.dedup();
        folders.push(self.state.folder.clone());
        folders
    }

    /// Whether a process that was confined for `former` can't work with these.
    pub fn needs_other_rights(&self, former: &Settings) -> bool {
        self.sandbox != former.sandbox
            || self.folders() != former.folders()
            || self.meta.server != former.meta.server
            || self.credentials != former.credentials
            || self.way.uplink.interface != former.way.uplink.interface
    }
}

impl SettingsError {
    /// Whether a process that has not given up its rights may be able to read what there is.
    pub fn is_denied(&self) -> bool {
        matches!(self, SettingsError::Way(WayError::File(error)) if error.is_denied())
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingsError::File(e) if e.is_not_found() => {
                write!(
                    f,
                    "{e}: join the device with `keadm join`, or write the file first"
                )
            }
            SettingsError::File(e) => write!(f, "{e}"),
            SettingsError::Config(e) => write!(f, "{e}"),
            SettingsError::Way(e) => write!(f, "{e}"),
            SettingsError::NoName(e) => {
                write!(
                    f,
                    "{e}: set modules.edged.hostnameOverride in edgecore.yaml"
                )
            }
            SettingsError::HubOff(path) => write!(
                f,
                "modules.edgeHub.enable is false in {}: set it to true, without it nothing runs here",
                path.display()
            ),
        }
    }
}

impl std::error::Error for SettingsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SettingsError::File(e) => Some(e),
            SettingsError::Config(e) => Some(e),
            SettingsError::Way(e) => Some(e),
            SettingsError::NoName(e) => Some(e),
            SettingsError::HubOff(_) => None,
        }
    }
}
