//! The way to the cloud as flags and environment say it, and what of that the device keeps: a
//! service has not the environment of whoever joins.

use serde_json::Value;

use super::draft::Editor;
use super::error::JoinError;
use super::wish::{ProxyWish, Wish};
use crate::config::ConfigError;
use crate::config::edge::network::{EdgeNetwork, ProxyChoice};
use crate::system::files::FileError;
use crate::system::host::Host;
use crate::system::names::Endpoint;
use crate::system::proxy::{Credentials, Proxy};
use crate::system::secret::Secret;
use crate::system::way::Way;

/// What becomes of the file with the proxy's user and password.
pub enum Keep {
    /// It stays as it is, or away.
    AsIs,
    New(Credentials),
    /// They were another proxy's.
    Nothing,
}

/// Puts into the file what the flags say, and the proxy of the environment, when the way to one of
/// these endpoints leads through it and the file does not say otherwise.
pub fn settle(
    file: &mut Editor,
    wish: &Wish,
    before: &EdgeNetwork,
    endpoints: &[Endpoint],
) -> Result<Keep, JoinError> {
    if let Some(address) = wish.uplink.address {
        file.put("modules.edgeHub.bindAddress", address.to_string())?;
    }
    if let Some(interface) = &wish.uplink.interface {
        file.put("modules.edgeHub.bindInterface", interface.to_string())?;
    }
    let proxy = match (&wish.proxy, &before.proxy) {
        (Some(ProxyWish::None), _) => {
            file.put(PROXY, "none")?;
            return Ok(Keep::AsIs);
        }
        (Some(ProxyWish::Use(proxy)), _) => proxy.clone(),
        (None, ProxyChoice::Environment) => match of_environment(endpoints)? {
            Some(proxy) => {
                let entries = proxy.bypass.entries().iter();
                let entries: Vec<Value> = entries.map(|entry| entry.as_str().into()).collect();
                file.put("modules.edgeHub.noProxy", entries)?;
                proxy
            }
            None => return Ok(Keep::AsIs),
        },
        (None, _) => return Ok(Keep::AsIs),
    };
    file.put(PROXY, proxy.url())?;
    let is_same = matches!(&before.proxy, ProxyChoice::Proxy(it) if it.endpoint == proxy.endpoint);
    Ok(match proxy.credentials {
        Some(credentials) => Keep::New(credentials),
        None if is_same => Keep::AsIs,
        None => Keep::Nothing,
    })
}

fn of_environment(endpoints: &[Endpoint]) -> Result<Option<Proxy>, JoinError> {
    let found = Proxy::from_environment(|name| std::env::var(name).ok());
    let found = found.map_err(|fault| JoinError::Flag {
        flag: "HTTPS_PROXY",
        fault: fault.to_string(),
    })?;
    let is_of_use = |proxy: &Proxy| {
        endpoints
            .iter()
            .any(|endpoint| !proxy.bypass.spares(endpoint))
    };
    Ok(found.filter(is_of_use))
}

impl Keep {
    /// The way that edgecore will go, before anything of it is written.
    pub fn way(&self, network: &EdgeNetwork, host: &Host) -> Result<Way, JoinError> {
        let way = network.way(host, |_| None);
        let mut way = way.map_err(|error| match error {
            crate::config::edge::network::WayError::File(error) => JoinError::File(error),
            other => JoinError::Config(ConfigError::Edit {
                key: PROXY.to_owned(),
                message: other.to_string(),
            }),
        })?;
        if let Some(proxy) = &mut way.proxy {
            match self {
                Keep::AsIs => {}
                Keep::New(credentials) => proxy.credentials = Some(credentials.clone()),
                Keep::Nothing => proxy.credentials = None,
            }
        }
        Ok(way)
    }

    /// Writes or removes the file; true when that changed something.
    pub fn carry_out(&self, network: &EdgeNetwork, host: &Host) -> Result<bool, FileError> {
        let path = host.root.at(&network.credentials_file);
        match self {
            _ if !self.is_change(network, host) => return Ok(false),
            Keep::AsIs => {}
            Keep::Nothing => drop(host.files.remove(&path)?),
            Keep::New(credentials) => {
                let text = Secret::<String>::concat(&[credentials.expose(), "\n"]);
                host.files.replace(&path, text.as_bytes(), 0o600)?;
            }
        }
        Ok(true)
    }

    /// Whether the file will be another one.
    pub fn is_change(&self, network: &EdgeNetwork, host: &Host) -> bool {
        let path = host.root.at(&network.credentials_file);
        match self {
            Keep::AsIs => false,
            Keep::Nothing => host.files.exists(&path),
            Keep::New(credentials) => {
                let there = host.files.read_secret(&path, MAX_CREDENTIALS);
                let there = there.ok().flatten();
                let there = there.as_ref().and_then(|bytes| bytes.text());
                there.map(str::trim) != Some(credentials.expose())
            }
        }
    }
}

const PROXY: &str = "modules.edgeHub.proxy";
/// Bytes.
const MAX_CREDENTIALS: usize = 4 * 1024;
