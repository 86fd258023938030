//! What the files of an edge device say: its name, its cloud, and where its identity lies.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::ConfigError;
use crate::config::edge::EdgeConfig;
use crate::system::facts;
use crate::system::files::FileError;
use crate::system::host::Host;
use crate::system::names::{Endpoint, NameError, NodeName};

/// The part of edgecore.yaml that is told of and looked after; paths have the root prefix.
#[derive(Clone, Debug)]
pub struct Device {
    pub node: NodeName,
    pub hub: Endpoint,
    pub key: PathBuf,
    pub certificate: PathBuf,
    pub ca: PathBuf,
    /// Where the cloud's objects are kept, if edgecore.yaml says.
    #[cfg(feature = "edge")]
    pub state: Option<PathBuf>,
}

/// Where edgecore looks for its configuration.
pub const CONFIG: &str = "/etc/kubeedge/config/edgecore.yaml";

impl Device {
    /// Reads the configuration; from `given`, else from where edgecore has it.
    pub fn read(host: &Host, given: Option<&str>) -> Result<Device, DeviceError> {
        let (config, _) = load(host, given)?;
        Device::of(host, &config)
    }

    /// The device that this configuration describes.
    pub fn of(host: &Host, config: &EdgeConfig) -> Result<Device, DeviceError> {
        let node = match &config.node_name {
            Some(name) => name.clone(),
            None => facts::default_node_name().map_err(DeviceError::Name)?,
        };
        let at = |path: &Path| host.root.at(path);
        Ok(Device {
            node,
            hub: config.hub.websocket.server.clone(),
            key: at(&config.hub.tls_private_key_file),
            certificate: at(&config.hub.tls_cert_file),
            ca: at(&config.hub.tls_ca_file),
            #[cfg(feature = "edge")]
            state: config.meta.state_dir.as_deref().map(at),
        })
    }
}

/// The configuration with its warnings; from `given`, else from where edgecore has it.
pub fn load(host: &Host, given: Option<&str>) -> Result<(EdgeConfig, Vec<String>), DeviceError> {
    // A path that a person types is theirs; the default lies below the root prefix.
    let path = given.map_or_else(|| host.root.at(CONFIG), PathBuf::from);
    let bytes = match host.files.read_opt(&path, MAX_BYTES) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err(DeviceError::Absent(path)),
        Err(error) => return Err(DeviceError::File(error)),
    };
    let text = String::from_utf8_lossy(&bytes);
    Ok(EdgeConfig::load(&text, &path.display().to_string())?)
}

/// Why nothing is known of the device.
#[derive(Debug)]
pub enum DeviceError {
    /// There is no configuration at this place.
    Absent(PathBuf),
    Config(ConfigError),
    File(FileError),
    /// The host's name is none that a node can have.
    Name(NameError),
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceError::Absent(path) => write!(
                f,
                "there is no {}: this device has not joined a cloud, see `kubeedge join --help`",
                path.display()
            ),
            DeviceError::Config(error) => error.fmt(f),
            DeviceError::File(error) => error.fmt(f),
            DeviceError::Name(error) => write!(
                f,
                "the host's name can't be the node's ({error}): set modules.edged.hostnameOverride"
            ),
        }
    }
}

impl std::error::Error for DeviceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DeviceError::Absent(_) => None,
            DeviceError::Config(error) => Some(error),
            DeviceError::File(error) => Some(error),
            DeviceError::Name(error) => Some(error),
        }
    }
}

impl From<ConfigError> for DeviceError {
    fn from(error: ConfigError) -> DeviceError {
        DeviceError::Config(error)
    }
}

/// Of a configuration file.
const MAX_BYTES: usize = 1 << 20;
