//! `modules.edgeHub`: keys of ours for the way to the cloud.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::super::ConfigError;
use super::super::read::Reader;
use crate::system::bypass::Bypass;
use crate::system::files::{FileError, Files};
use crate::system::host::Host;
use crate::system::names::Endpoint;
use crate::system::proxy::{Credentials, Proxy};
use crate::system::uplink::{Interface, Uplink};
use crate::system::way::Way;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeNetwork {
    pub proxy: ProxyChoice,
    /// `noProxy`: what is dialled without the proxy.
    pub no_proxy: Bypass,
    /// `proxyCredentialsFile`: `user:password`, for nobody else to read.
    pub credentials_file: PathBuf,
    /// `bindAddress` and `bindInterface`
    pub uplink: Uplink,
    /// `servers`: hubs besides the one that KubeEdge's edgecore knows too.
    pub servers: Vec<Endpoint>,
    /// `profile`: what the line costs.
    pub profile: Profile,
}

/// Where a cloud is: its hub and its certificate API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudAt {
    pub hub: Endpoint,
    pub api: Endpoint,
}

/// `modules.edgeHub.profile`: how much may be sent to notice early that the other side is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    #[default]
    Standard,
    /// Every byte is paid for.
    Metered,
}

/// `modules.edgeHub.proxy`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyChoice {
    /// The key is missing or empty: `HTTPS_PROXY` and `NO_PROXY` say.
    Environment,
    /// `none`
    None,
    Proxy(Proxy),
}

impl Profile {
    /// Between two signs of life, where that can be agreed with the cloud.
    pub fn keepalive(self, heartbeat: Duration) -> Duration {
        match self {
            Profile::Standard => heartbeat.saturating_mul(2),
            Profile::Metered => heartbeat.max(METERED),
        }
    }
}

impl EdgeNetwork {
    pub(super) fn read(&mut self, reader: &Reader<'_>) -> Result<(), ConfigError> {
        let key = "modules.edgeHub.proxy";
        let mut text = String::new();
        reader.text(key, &mut text)?;
        self.proxy = match text.trim() {
            "" => ProxyChoice::Environment,
            "none" => ProxyChoice::None,
            url => {
                let proxy: Proxy = url.parse().map_err(|e| reader.error(key, format!("{e}")))?;
                if proxy.credentials.is_some() {
                    return Err(reader.error(key, PASSWORD));
                }
                ProxyChoice::Proxy(proxy)
            }
        };
        let mut entries: Vec<String> = Vec::new();
        reader.read(
            "modules.edgeHub.noProxy",
            "a list of texts, or a text with commas",
            &mut entries,
            |value| match value {
                Value::String(text) => Some(text.split(',').map(str::to_owned).collect()),
                Value::Array(items) => items
                    .iter()
                    .map(|item| item.as_str().map(str::to_owned))
                    .collect(),
                _ => None,
            },
        )?;
        self.no_proxy = Bypass::of(entries.iter().map(String::as_str));
        let key = "modules.edgeHub.servers";
        let mut servers = Vec::new();
        reader.list(key, &mut servers)?;
        if servers.len() > MAX_SERVERS {
            return Err(reader.error(key, format!("more than {MAX_SERVERS} servers")));
        }
        let servers = servers.iter().map(|text| {
            let parsed = text.parse::<Endpoint>();
            parsed.map_err(|error| reader.error(key, format!("{text:?}: {error}")))
        });
        self.servers = servers.collect::<Result<_, _>>()?;
        let key = "modules.edgeHub.profile";
        reader.read(
            key,
            "standard or metered",
            &mut self.profile,
            |value| match value.as_str()? {
                "" | "standard" => Some(Profile::Standard),
                "metered" => Some(Profile::Metered),
                _ => None,
            },
        )?;
        let key = "modules.edgeHub.proxyCredentialsFile";
        reader.file_path(key, &mut self.credentials_file)?;
        let key = "modules.edgeHub.bindAddress";
        reader.read(
            key,
            "an IP address",
            &mut self.uplink.address,
            |value| match value.as_str()? {
                "" => Some(None),
                text => text.parse::<IpAddr>().ok().map(Some),
            },
        )?;
        let key = "modules.edgeHub.bindInterface";
        let expected = "the name of an interface, such as eth0";
        reader.read(
            key,
            expected,
            &mut self.uplink.interface,
            |value| match value.as_str()? {
                "" => Some(None),
                text => text.parse::<Interface>().ok().map(Some),
            },
        )
    }

    /// All clouds, each once. Where the first has one port for everything, so have the others; else
    /// their certificate APIs are at the same port as its.
    pub fn clouds(&self, hub: &Endpoint, api: &Endpoint) -> Vec<CloudAt> {
        let mut clouds = vec![CloudAt {
            hub: hub.clone(),
            api: api.clone(),
        }];
        for server in &self.servers {
            if clouds.iter().all(|cloud| cloud.hub != *server) {
                let port = if hub == api { server.port } else { api.port };
                clouds.push(CloudAt {
                    hub: server.clone(),
                    api: Endpoint::new(server.host.clone(), port),
                });
            }
        }
        clouds
    }

    /// The way that this configuration and this environment describe.
    pub fn way(
        &self,
        host: &Host,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Way, WayError> {
        let proxy = match &self.proxy {
            ProxyChoice::None => None,
            ProxyChoice::Environment => {
                Proxy::from_environment(environment).map_err(WayError::Environment)?
            }
            ProxyChoice::Proxy(proxy) => {
                let mut proxy = proxy.clone();
                proxy.bypass = self.no_proxy.clone();
                let path = host.root.at(&self.credentials_file);
                proxy.credentials = credentials(&host.files, &path).map_err(WayError::File)?;
                Some(proxy)
            }
        };
        Ok(Way {
            uplink: self.uplink.clone(),
            proxy,
        })
    }
}

/// A file that is not there holds no credentials.
fn credentials(files: &Files, path: &Path) -> Result<Option<Credentials>, FileError> {
    let Some(bytes) = files.read_secret(path, MAX_CREDENTIALS)? else {
        return Ok(None);
    };
    if files.mode(path).is_ok_and(|mode| mode & 0o007 != 0) {
        let path = path.display();
        log::warn!("{path} holds a password that others can read: chmod 600 {path}");
    }
    Ok(Credentials::from_text(&String::from_utf8_lossy(&bytes)))
}

impl Default for EdgeNetwork {
    fn default() -> EdgeNetwork {
        EdgeNetwork {
            proxy: ProxyChoice::Environment,
            no_proxy: Bypass::default(),
            credentials_file: CREDENTIALS.into(),
            uplink: Uplink::default(),
            profile: Profile::Standard,
            servers: Vec::new(),
        }
    }
}

/// Why it can't be told which way to go.
#[derive(Debug)]
pub enum WayError {
    Environment(crate::system::proxy::ProxyNameError),
    File(FileError),
}

impl std::fmt::Display for WayError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WayError::Environment(error) => write!(f, "HTTPS_PROXY: {error}"),
            WayError::File(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for WayError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WayError::Environment(error) => Some(error),
            WayError::File(error) => Some(error),
        }
    }
}

/// Where `user:password` of the proxy is kept.
pub const CREDENTIALS: &str = "/etc/kubeedge/proxy-credentials";
const MAX_SERVERS: usize = 16;
/// Bytes.
const MAX_CREDENTIALS: usize = 4 * 1024;
/// Of a line that is metered: a gone device is noticed after minutes.
const METERED: Duration = Duration::from_secs(300);
const PASSWORD: &str = "holds a password, which others may read here: put USER:PASSWORD into \
    /etc/kubeedge/proxy-credentials with mode 0600, and only http://HOST:PORT here";
