//! edgecore.yaml as it shall be: what is there, merged with what the flags say.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::error::JoinError;
use super::network::{self, Keep};
use super::wish::Wish;
use crate::config::edge::network::CloudAt;
use crate::config::edge::{EdgeConfig, EdgeNetwork};
use crate::config::{self, ConfigError, MAX_FILE, Segment, edit, set};
use crate::keadm::device::{CONFIG, Device, DeviceError};
use crate::keadm::version::KUBEEDGE;
use crate::protocol::token::JoinToken;
use crate::protocol::transport::Transport;
use crate::system::facts;
use crate::system::files::FileError;
use crate::system::host::Host;
use crate::system::names::{Endpoint, NodeName};
use crate::system::way::Way;

/// The file, before and after, and what it says.
pub struct Draft {
    pub path: PathBuf,
    pub text: String,
    before: Option<String>,
    /// The node that the file named before.
    pub node_before: Option<NodeName>,
    /// The hub that the file named before.
    pub hub_before: Option<Endpoint>,
    pub device: Device,
    /// At least one; the first has the device's hub.
    pub clouds: Vec<CloudAt>,
    /// The way to the cloud, as it will be.
    pub way: Way,
    network: EdgeNetwork,
    keep: Keep,
    /// Whether the way is another one than before.
    pub is_new_way: bool,
    /// Old files may hold a token.
    pub token: Option<JoinToken>,
}

impl Draft {
    /// Reads the file and merges; writes nothing.
    ///
    /// `api` is where the certificate API is, if that was found out; else it is where the flags have it, or where
    /// the file has it for the same hub: an earlier join has found it there, and whose it is the token says.
    pub fn make(host: &Host, wish: &Wish, api: Option<&Endpoint>) -> Result<Draft, JoinError> {
        let path = host.root.at(CONFIG);
        let name = path.display().to_string();
        let found = host.files.read_opt(&path, MAX_FILE)?;
        let useless = |what| JoinError::Useless {
            path: path.clone(),
            what,
        };
        // What can't be read as text could not be put back as it was.
        let before = found.map(String::from_utf8).transpose();
        let before = before.map_err(|_| useless(NOT_TEXT))?;
        let before = before.filter(|text| !text.trim().is_empty());
        let (mut node_before, mut hub_before) = (None, None);
        let mut at = api.cloned().unwrap_or_else(|| wish.api());
        let mut network_before = EdgeNetwork::default();
        let merged = match &before {
            Some(text) => {
                // What is wrong already must be named by its own line.
                let (config, _) = EdgeConfig::load(text, &name)?;
                let is_free = api.is_none() && wish.certport.is_none();
                if is_free
                    && config.hub.websocket.server == wish.hub
                    && edit::get(text, &config::path(HTTP_SERVER))?.is_some_and(|it| it.is_string())
                {
                    at = config.hub.http_server.clone();
                }
                let merged = merge(text, wish, &at, &config)?;
                node_before = config.node_name;
                hub_before = Some(config.hub.websocket.server);
                network_before = config.hub.network;
                Ok(merged)
            }
            None => fresh(wish, &at),
        };
        let finished = merged.and_then(|text| {
            let mut file = Editor(text);
            let endpoints = [&[wish.hub.clone(), at], &wish.others[..]].concat();
            let keep = network::settle(&mut file, wish, &network_before, &endpoints)?;
            Ok((set::apply(&file.0, &wish.set, set::Kind::Edge)?, keep))
        });
        let (text, keep) = finished.map_err(|error| named(error, &name))?;
        let (config, _) = EdgeConfig::load(&text, &name)?;
        if !config.hub.enable {
            return Err(useless(HUB_OFF));
        }
        let token = config.hub.token.as_ref();
        Ok(Draft {
            token: token.and_then(|token| token.expose().parse().ok()),
            device: Device::of(host, &config)?,
            clouds: {
                let hub = &config.hub;
                let network = &hub.network;
                network.clouds(&hub.websocket.server, &hub.http_server)
            },
            way: keep.way(&config.hub.network, host)?,
            is_new_way: network_before != config.hub.network
                || keep.is_change(&config.hub.network, host),
            network: config.hub.network,
            keep,
            path,
            text,
            before,
            node_before,
            hub_before,
        })
    }

    /// Whether the file has to be written.
    pub fn is_change(&self) -> bool {
        self.before.as_ref() != Some(&self.text)
    }

    pub fn is_new(&self) -> bool {
        self.before.is_none()
    }

    /// Puts user and password of the proxy where only edgecore finds them; gives the file that was
    /// changed.
    pub fn write_credentials(&self, host: &Host) -> Result<Option<PathBuf>, FileError> {
        let is_changed = self.keep.carry_out(&self.network, host)?;
        Ok(is_changed.then(|| host.root.at(&self.network.credentials_file)))
    }

    pub fn write(&self, host: &Host) -> Result<(), FileError> {
        let mode = match host.files.mode(&self.path) {
            Err(error) if error.is_not_found() => 0o644,
            mode => mode?,
        };
        host.files.replace(&self.path, self.text.as_bytes(), mode)
    }
}

/// A file with every key, which Go's edgecore can use as well.
fn fresh(wish: &Wish, api: &Endpoint) -> Result<String, JoinError> {
    let node = match &wish.node {
        Some(node) => node.clone(),
        None => facts::default_node_name().map_err(DeviceError::Name)?,
    };
    let host = wish.hub.host.to_string();
    let mut file = Editor(EdgeConfig::default_yaml(node.as_str(), &host));
    file.put("edgecoreVersion", KUBEEDGE)?;
    file.connection(wish, api)?;
    let port = |port| Endpoint::new(wish.hub.host.clone(), port).to_string();
    file.put(QUIC_SERVER, port(QUIC_PORT))?;
    file.put(STREAM_SERVER, port(STREAM_PORT))?;
    file.node(wish)?;
    Ok(file.0)
}

/// The operator's file with what must be different; no key is added that is not needed.
fn merge(
    text: &str,
    wish: &Wish,
    api: &Endpoint,
    before: &EdgeConfig,
) -> Result<String, JoinError> {
    let mut file = Editor(text.to_owned());
    file.connection(wish, api)?;
    for (key, port) in [(QUIC_SERVER, QUIC_PORT), (STREAM_SERVER, STREAM_PORT)] {
        if edit::get(text, &config::path(key))?.is_some() {
            file.put(key, Endpoint::new(wish.hub.host.clone(), port).to_string())?;
        }
    }
    match (&wish.node, &before.node_name) {
        (Some(node), _) => file.put(NODE, node.as_str())?,
        // The name must not change when the host gets another one.
        (None, None) => {
            let node = facts::default_node_name().map_err(DeviceError::Name)?;
            file.put(NODE, node.as_str())?;
        }
        (None, Some(_)) => {}
    }
    file.node(wish)?;
    Ok(file.0)
}

/// The text while it is changed, key by key.
pub(super) struct Editor(String);

impl Editor {
    pub(super) fn put(&mut self, key: &str, value: impl Into<Value>) -> Result<(), ConfigError> {
        self.0 = edit::set(&self.0, &config::path(key), &value.into())?;
        Ok(())
    }

    fn connection(&mut self, wish: &Wish, api: &Endpoint) -> Result<(), ConfigError> {
        self.put(HTTP_SERVER, format!("https://{api}"))?;
        let servers = "modules.edgeHub.servers";
        let is_there = edit::get(&self.0, &config::path(servers))?.is_some();
        // The others of another cloud must not stay.
        if is_there || !wish.others.is_empty() {
            let others = wish.others.iter();
            let others: Vec<Value> = others.map(|hub| hub.to_string().into()).collect();
            self.put(servers, others)?;
        }
        self.put("modules.edgeHub.websocket.server", wish.hub.to_string())?;
        let (config, _) = EdgeConfig::load(&self.0, "")?;
        let quic = match wish.tunnel {
            Some(tunnel) => tunnel == Transport::Quic,
            None => config.hub.quic.enable,
        };
        // KubeEdge's edgecore wants one of the two, and for this one a WebSocket serves all the same
        // where UDP is blocked.
        if quic != config.hub.quic.enable {
            self.put("modules.edgeHub.quic.enable", quic)?;
            let server = Endpoint::new(wish.hub.host.clone(), QUIC_PORT);
            self.put(QUIC_SERVER, server.to_string())?;
        }
        if quic == config.hub.websocket.enable && wish.tunnel.is_some() || !quic {
            self.put("modules.edgeHub.websocket.enable", !quic)?;
        }
        Ok(())
    }

    fn node(&mut self, wish: &Wish) -> Result<(), ConfigError> {
        if let Some(driver) = &wish.cgroup_driver {
            self.put(&format!("{KUBELET}.cgroupDriver"), driver.as_str())?;
        }
        if let Some(runtime) = &wish.runtime {
            self.put(
                &format!("{KUBELET}.containerRuntimeEndpoint"),
                runtime.as_str(),
            )?;
            self.put(&format!("{KUBELET}.imageServiceEndpoint"), runtime.as_str())?;
        }
        if !wish.labels.is_empty() {
            let pairs = wish.labels.iter();
            let labels: Map<String, Value> = pairs
                .map(|(key, value)| (key.clone(), value.as_str().into()))
                .collect();
            let path: Vec<Segment> = config::path("modules.edged.nodeLabels");
            self.0 = edit::set(&self.0, &path, &Value::Object(labels))?;
        }
        Ok(())
    }
}

fn named(error: JoinError, file: &str) -> JoinError {
    match error {
        JoinError::Config(error) => JoinError::Config(error.in_file(file)),
        other => other,
    }
}

const HTTP_SERVER: &str = "modules.edgeHub.httpServer";
const NODE: &str = "modules.edged.hostnameOverride";
const KUBELET: &str = "modules.edged.tailoredKubeletConfig";
const QUIC_SERVER: &str = "modules.edgeHub.quic.server";
const STREAM_SERVER: &str = "modules.edgeStream.server";
const QUIC_PORT: u16 = 10_001;
const STREAM_PORT: u16 = 10_004;
const NOT_TEXT: &str = "the file is not UTF-8: write it anew, or move it away";
const HUB_OFF: &str =
    "modules.edgeHub.enable is false: set it to true, without it nothing runs here";
