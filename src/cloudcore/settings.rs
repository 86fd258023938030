//! What a cloudcore goes by: its file, changed by its command line.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::authority::{self, PairFiles};
use crate::config::ConfigError;
use crate::config::cloud::{CloudConfig, LegacyCertificates};
use crate::store::file;
use crate::system::files::{FileError, Files};
use crate::system::network;

/// All that is set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The certificate port; none when the file turns it off and another one serves certificates.
    pub https: Option<SocketAddr>,
    /// One port for certificates and tunnels.
    pub single: Option<SocketAddr>,
    /// The tunnel port; none when the file turns it off.
    pub hub: Option<SocketAddr>,
    /// The tunnel port for QUIC, where the file turns it on.
    pub quic: Option<SocketAddr>,
    pub metrics: Option<SocketAddr>,
    /// A session from which nothing comes for so long is dead.
    pub keepalive: Duration,
    pub node_limit: usize,
    /// Bytes of one message from an edge.
    pub max_message: usize,
    /// Bytes of partly received messages, for all tunnels together.
    pub partial_budget: usize,
    pub authority: authority::Options,
    pub store: file::Options,
    /// Which cluster has the state: a kubeconfig, or one of the words of `cluster`; none: that of
    /// the pod, if this is one.
    pub kube_config: Option<String>,
    /// Where its API server is, in the place of what the kubeconfig says.
    pub master: Option<String>,
    /// How long the shared token on a cluster lives at least.
    pub token_refresh: Duration,
    pub impersonate_nodes: bool,
    pub object_sync: bool,
    /// On a cluster, its jobs are given to nodes.
    pub jobs: bool,
    /// The address or name to tell people that devices dial, if the file says one.
    pub dialled: Option<String>,
    /// Where to write the ports that are really used.
    pub ports_file: Option<PathBuf>,
    /// Whether a process of its own gives up what it does not need.
    pub sandbox: bool,
}

/// What the command line changes.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub listen: Option<IpAddr>,
    pub https_port: Option<u16>,
    pub hub_port: Option<u16>,
    pub single_port: Option<u16>,
    pub metrics_port: Option<u16>,
    pub edge_cert_lifetime: Option<Duration>,
    pub protect_names: bool,
    pub renew_after_expiry: Option<Duration>,
    pub allow_volatile_ca: bool,
    pub ports_file: Option<PathBuf>,
    pub object_sync: bool,
    pub no_sandbox: bool,
    pub kube_config: Option<String>,
}

/// Why there are no settings.
#[derive(Debug)]
pub enum SettingsError {
    Config(ConfigError),
    File(FileError),
    NotText(PathBuf),
}

impl Settings {
    /// Reads `path`; with `optional`, a file that is not there stands for the defaults.
    /// The second part is what the operator should know about the file.
    pub fn load(
        files: &Files,
        path: &Path,
        optional: bool,
        overrides: &Overrides,
    ) -> Result<(Settings, Vec<String>), SettingsError> {
        let bytes = match files.read(path, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(error) if optional && error.is_not_found() => Vec::new(),
            Err(error) => return Err(SettingsError::File(error)),
        };
        let text = String::from_utf8(bytes).map_err(|_| SettingsError::NotText(path.to_owned()))?;
        let name = path.display().to_string();
        let (config, warnings) = CloudConfig::load(&text, &name).map_err(SettingsError::Config)?;
        Ok((Settings::new(config, overrides), warnings))
    }

    /// Under which Nodes are told to have us.
    pub fn outward(&self) -> String {
        let advertised = self.authority.advertised.first().cloned();
        advertised.unwrap_or_else(|| network::outward_address().to_string())
    }

    pub fn new(config: CloudConfig, overrides: &Overrides) -> Settings {
        let mut hub = config.hub;
        if let Some(address) = overrides.listen {
            hub.websocket.address = address;
        }
        let at = |mut address: SocketAddr, port: Option<u16>| {
            address.set_ip(overrides.listen.unwrap_or(address.ip()));
            address.set_port(port.unwrap_or(address.port()));
            address
        };
        let bytes = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let single = overrides.single_port.or(hub.single_port);
        let certificates = hub.https.enable || single.is_none() || overrides.https_port.is_some();
        let tunnels = hub.websocket.enable || overrides.hub_port.is_some();
        Settings {
            dialled: hub.dialled(),
            https: certificates.then(|| at(hub.https.socket(), overrides.https_port)),
            single: single.map(|port| at(hub.https.socket(), Some(port))),
            hub: tunnels.then(|| at(hub.websocket.socket(), overrides.hub_port)),
            quic: hub.quic.enable.then(|| at(hub.quic.socket(), None)),
            // Metrics are for this machine unless the file says otherwise.
            metrics: match (config.monitor, overrides.metrics_port) {
                (Some(address), Some(port)) => Some(SocketAddr::new(address.ip(), port)),
                (None, Some(port)) => Some(SocketAddr::from(([127, 0, 0, 1], port))),
                (monitor, None) => monitor,
            },
            keepalive: hub.keepalive_interval,
            node_limit: bytes(hub.node_limit.into()),
            max_message: bytes(hub.max_message_size),
            partial_budget: bytes(hub.partial_message_budget),
            authority: authority::Options {
                advertised: hub
                    .advertise_address
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                dns_names: hub.dns_names,
                lifetime: overrides
                    .edge_cert_lifetime
                    .unwrap_or(hub.edge_cert_lifetime),
                legacy: match hub.legacy_certificates {
                    LegacyCertificates::Refused => authority::LegacyCertificates::Refused,
                    LegacyCertificates::Rotate => authority::LegacyCertificates::Rotate,
                    LegacyCertificates::Full => authority::LegacyCertificates::Full,
                },
                protect_names: hub.protect_names || overrides.protect_names,
                renew_after_expiry: overrides
                    .renew_after_expiry
                    .or(hub.renew_after_expiry)
                    .filter(|grace| !grace.is_zero()),
                ca_files: PairFiles::new(hub.tls_ca_file, hub.tls_ca_key_file),
                serving_files: PairFiles::new(hub.tls_cert_file, hub.tls_private_key_file),
            },
            store: file::Options {
                allow_volatile: overrides.allow_volatile_ca,
            },
            kube_config: overrides.kube_config.clone().or(config.kube_config),
            master: config.master,
            token_refresh: hub.token_refresh,
            impersonate_nodes: hub.impersonate_nodes,
            object_sync: hub.object_sync || overrides.object_sync,
            jobs: config.jobs,
            ports_file: overrides.ports_file.clone(),
            sandbox: hub.sandbox && !overrides.no_sandbox,
        }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingsError::Config(error) => error.fmt(f),
            SettingsError::File(error) => error.fmt(f),
            SettingsError::NotText(path) => {
                write!(
                    f,
                    "{} is not UTF-8 text: check that it is the right file",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for SettingsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SettingsError::Config(error) => Some(error),
            SettingsError::File(error) => Some(error),
            SettingsError::NotText(_) => None,
        }
    }
}

/// Bytes of a configuration file.
const MAX_FILE: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scratch::Scratch;

    #[test]
    fn the_command_line_changes_the_file() {
        let text = "modules: {cloudHub: {nodeLimit: 7, https: {port: 1}, websocket: {port: 2}}}";
        let (config, _) = CloudConfig::load(text, "f").unwrap();
        let plain = Settings::new(config.clone(), &Overrides::default());
        assert_eq!(plain.https.unwrap().to_string(), "0.0.0.0:1");
        assert_eq!(plain.hub.unwrap().to_string(), "0.0.0.0:2");
        assert_eq!(plain.metrics.unwrap().to_string(), "127.0.0.1:9091");
        assert_eq!(plain.quic, None);
        assert_eq!(plain.node_limit, 7);
        let overrides = Overrides {
            listen: Some([127, 0, 0, 1].into()),
            https_port: Some(0),
            metrics_port: Some(3),
            protect_names: true,
            ..Overrides::default()
        };
        let changed = Settings::new(config, &overrides);
        assert_eq!(changed.https.unwrap().to_string(), "127.0.0.1:0");
        assert_eq!(changed.hub.unwrap().to_string(), "127.0.0.1:2");
        assert_eq!(changed.metrics.unwrap().to_string(), "127.0.0.1:3");
        assert!(changed.authority.protect_names);
    }

    #[test]
    fn one_port_may_be_the_only_one() {
        let text = "modules: {cloudHub: {singlePort: 443, https: {enable: false}, \
                    websocket: {enable: false}}}";
        let (config, _) = CloudConfig::load(text, "f").unwrap();
        let settings = Settings::new(config, &Overrides::default());
        assert_eq!(settings.single.unwrap().to_string(), "0.0.0.0:443");
        assert!(settings.https.is_none() && settings.hub.is_none());
        // Somewhere certificates must be.
        let text = "modules: {cloudHub: {https: {enable: false}}}";
        let (config, _) = CloudConfig::load(text, "f").unwrap();
        let settings = Settings::new(config, &Overrides::default());
        assert!(settings.https.is_some() && settings.single.is_none());
    }

    #[test]
    fn only_a_file_that_was_asked_for_must_be_there() {
        let folder = Scratch::new();
        let path = folder.path().join("cloudcore.yaml");
        let load = |optional| {
            Settings::load(&Files::real(), &path, optional, &Overrides::default()).map(drop)
        };
        assert!(load(true).is_ok());
        assert!(matches!(load(false), Err(SettingsError::File(_))));
        Files::real()
            .replace(&path, b"modules: {cloudHub: {nodeLimit: x}}", 0o644)
            .unwrap();
        let error = load(true).unwrap_err().to_string();
        assert!(error.contains("cloudcore.yaml:1"), "{error}");
    }
}
