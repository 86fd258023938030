//! What edgecore takes from edgecore.yaml, as types, with the root prefix applied.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::identity::Place;
use crate::config::edge::EdgeConfig;
use crate::config::{self, ConfigError};
use crate::system::facts;
use crate::system::files::FileError;
use crate::system::host::Host;
use crate::system::names::{Endpoint, NameError, NodeName};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub node: NodeName,
    pub hub: Endpoint,
    pub api: Endpoint,
    pub project: String,
    pub heartbeat: Duration,
    pub handshake_deadline: Duration,
    pub write_deadline: Duration,
    pub rotate: bool,
    pub place: Place,
    /// Whether the hub gives up what it does not need.
    pub sandbox: bool,
    pub config: PathBuf,
    pub bootstrap: PathBuf,
}

/// Why edgecore can't work with its configuration.
#[derive(Debug)]
pub enum SettingsError {
    File(FileError),
    Config(ConfigError),
    /// The file switches off what this program is.
    HubOff(PathBuf),
    /// The file asks for a tunnel that is not spoken here.
    Quic(PathBuf),
    /// Neither the file nor the host gives a name that a node can have.
    NoName(NameError),
}

/// Where upstream's keadm leaves the token for the first start.
pub const BOOTSTRAP: &str = "/etc/kubeedge/bootstrap-edgecore.conf";
pub const CONFIG: &str = "/etc/kubeedge/config/edgecore.yaml";

impl Settings {
    /// Reads the configuration file at `path` (a real path); a missing file is an error.
    pub fn load(host: &Host, path: &Path) -> Result<Self, SettingsError> {
        let bytes = host
            .files
            .read(path, config::MAX_FILE)
            .map_err(SettingsError::File)?;
        let text = String::from_utf8_lossy(&bytes);
        let name = path.display().to_string();
        let (config, warnings) = EdgeConfig::load(&text, &name).map_err(SettingsError::Config)?;
        for warning in warnings {
            log::warn!("{warning}");
        }
        if !config.hub.enable {
            return Err(SettingsError::HubOff(path.to_owned()));
        }
        if config.hub.quic.enable {
            return Err(SettingsError::Quic(path.to_owned()));
        }
        Self::from_config(host, config, path)
    }

    fn from_config(host: &Host, config: EdgeConfig, path: &Path) -> Result<Self, SettingsError> {
        let hub = config.hub;
        let node = match config.node_name {
            Some(name) => name,
            None => facts::default_node_name().map_err(SettingsError::NoName)?,
        };
        Ok(Settings {
            node,
            hub: hub.websocket.server,
            api: hub.http_server,
            project: hub.project_id,
            heartbeat: hub.heartbeat,
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
        })
    }
}

impl Settings {
    /// The folders that edgecore changes files in while it runs; the configuration and the token
    /// lie elsewhere, and are its supervisor's to change.
    pub fn folders(&self) -> Vec<PathBuf> {
        let files = [&self.place.key, &self.place.certificate, &self.place.ca];
        let folders = files.into_iter().filter_map(|file| file.parent());
        let mut folders: Vec<PathBuf> = folders.map(Path::to_owned).collect();
        folders.dedup();
        folders
    }

    /// Whether a process that was confined for `former` can't work with these.
    pub fn needs_other_rights(&self, former: &Settings) -> bool {
        self.sandbox != former.sandbox || self.folders() != former.folders()
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
            SettingsError::Quic(path) => write!(
                f,
                "{} asks for a QUIC tunnel, which is not spoken here: \
                 set modules.edgeHub.websocket.enable to true and quic.enable to false",
                path.display()
            ),
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
            SettingsError::NoName(e) => Some(e),
            SettingsError::HubOff(_) | SettingsError::Quic(_) => None,
        }
    }
}
