//! What the operator wants, read from the flags before anything is looked at or done.

use std::fmt::Display;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use zeroize::Zeroizing;

use super::Flags;
use super::error::JoinError;
use crate::config::duration;
use crate::config::set::{self, Assignment};
use crate::protocol::token::JoinToken;
use crate::protocol::transport::Transport;
use crate::system::args;
use crate::system::host::Host;
use crate::system::names::{Endpoint, NodeName};
use crate::system::processes;
use crate::system::proxy::Proxy;
use crate::system::secret::Secret;
use crate::system::service::Choice;
use crate::system::uplink::Uplink;
use crate::tunnel::quic;

pub struct Wish {
    /// What is installed: this very file.
    pub program: PathBuf,
    pub hub: Endpoint,
    /// Further hubs of the same cloud.
    pub others: Vec<Endpoint>,
    /// `--certport`, when it is given; else join finds out.
    pub certport: Option<u16>,
    pub token: Option<JoinToken>,
    pub node: Option<NodeName>,
    /// Replace the node's labels, unless there are none.
    pub labels: Vec<(String, String)>,
    /// What the tunnel is to run on; else as it is.
    pub tunnel: Option<Transport>,
    pub cgroup_driver: Option<String>,
    pub runtime: Option<String>,
    pub set: Vec<Assignment>,
    pub proxy: Option<ProxyWish>,
    /// Where connections start.
    pub uplink: Uplink,
    pub init: Choice,
    pub timeout: Duration,
    pub force: bool,
    pub dry_run: bool,
    pub pre_run: Option<PathBuf>,
    pub post_run: Option<PathBuf>,
}

/// What `--proxy` says.
pub enum ProxyWish {
    None,
    Use(Proxy),
}

impl Wish {
    /// Reads the token too, from wherever it is.
    pub(super) fn read(host: &Host, flags: &Flags) -> Result<Wish, JoinError> {
        let (hub, others) = hubs(&flags.cloudcore_ipport)?;
        let tunnel = match flags.hub_protocol.as_str() {
            "" => None,
            "websocket" => Some(Transport::WebSocket),
            "quic" if quic::OFFERED => Some(Transport::Quic),
            "quic" => return Err(JoinError::NotOffered(NO_QUIC)),
            _ => return Err(refuse("--hub-protocol", "it is websocket or quic")),
        };
        let driver = given(&flags.cgroupdriver);
        if driver.is_some_and(|driver| !["cgroupfs", "systemd"].contains(&driver)) {
            return Err(refuse("--cgroupdriver", "it is cgroupfs or systemd"));
        }
        let mut wanted = Vec::new();
        for text in &flags.set {
            wanted.extend(set::parse_items(text)?);
        }
        Ok(Wish {
            program: processes::own_executable().map_err(JoinError::Executable)?,
            certport: port(&flags.certport)?,
            tunnel,
            hub,
            others,
            token: token(host, flags)?,
            node: parsed("--edgenode-name", &flags.edgenode_name)?,
            labels: labels(&flags.labels),
            cgroup_driver: driver.map(str::to_owned),
            runtime: given(&flags.remote_runtime_endpoint).map(str::to_owned),
            set: wanted,
            proxy: match given(&flags.proxy) {
                None => None,
                Some("none") => Some(ProxyWish::None),
                Some(url) => {
                    let proxy = url.parse().map_err(|fault| refuse("--proxy", fault))?;
                    Some(ProxyWish::Use(proxy))
                }
            },
            uplink: Uplink {
                address: parsed("--bind-address", &flags.bind_address)?,
                interface: parsed("--bind-interface", &flags.bind_interface)?,
            },
            init: flags.init,
            timeout: match given(&flags.timeout) {
                Some(text) => duration::flag(text).map_err(|fault| refuse("--timeout", fault))?,
                None => TIMEOUT,
            },
            force: flags.force,
            dry_run: flags.dry_run,
            pre_run: given(&flags.pre_run).map(PathBuf::from),
            post_run: given(&flags.post_run).map(PathBuf::from),
        })
    }

    /// Where the certificate API is, if nothing else is known.
    pub fn api(&self) -> Endpoint {
        Endpoint::new(self.hub.host.clone(), self.certport.unwrap_or(API_PORT))
    }
}

/// `a:10000,b:10000`: the first, and the others.
fn hubs(list: &str) -> Result<(Endpoint, Vec<Endpoint>), JoinError> {
    let parse = |text: &str| Endpoint::parse_with_default_port(text.trim(), HUB_PORT);
    let parsed = list.split(',').map(parse).collect::<Result<Vec<_>, _>>();
    let mut hubs = parsed.map_err(|fault| refuse("--cloudcore-ipport", fault))?;
    if hubs.len() > MAX_HUBS {
        return Err(refuse(
            "--cloudcore-ipport",
            format!("at most {MAX_HUBS} addresses"),
        ));
    }
    let first = hubs.remove(0);
    hubs.retain(|hub| *hub != first);
    Ok((first, hubs))
}

fn port(text: &str) -> Result<Option<u16>, JoinError> {
    let port = match given(text) {
        None => return Ok(None),
        Some(text) => text.parse().ok().filter(|port| *port != 0).map(Some),
    };
    port.ok_or_else(|| refuse("--certport", "it is a number from 1 to 65535"))
}

/// `a=b,c` twice or in one: the value behind the first `=`, else empty; without a key it is nothing.
fn labels(given: &[String]) -> Vec<(String, String)> {
    let items = given.iter().flat_map(|list| list.split(','));
    let pairs = items.map(|item| item.split_once('=').unwrap_or((item, "")));
    pairs
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn token(host: &Host, flags: &Flags) -> Result<Option<JoinToken>, JoinError> {
    match (given(&flags.token), given(&flags.token_file)) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(JoinError::Contradiction(TWO_TOKENS)),
        (Some("-"), None) | (None, Some("-")) => {
            // It does not grow, and so leaves no copy.
            let mut text = Zeroizing::new(Vec::with_capacity(MAX_TOKEN + 1));
            let stdin = std::io::stdin().lock();
            let read = stdin.take(MAX_TOKEN as u64).read_to_end(&mut text);
            read.map_err(JoinError::Stdin)?;
            Ok(Some(std::str::from_utf8(&text).unwrap_or("?").parse()?))
        }
        (Some(text), None) => Ok(Some(text.parse()?)),
        // A path that a person types is theirs: no root prefix.
        (None, Some(path)) => {
            let bytes = host.files.read(Path::new(path), MAX_TOKEN);
            let bytes = Secret::new(bytes.map_err(JoinError::TokenFile)?);
            Ok(Some(bytes.text().unwrap_or("?").parse()?))
        }
    }
}

fn parsed<T: FromStr<Err: Display>>(
    flag: &'static str,
    text: &str,
) -> Result<Option<T>, JoinError> {
    let value = given(text).map(str::parse).transpose();
    value.map_err(|fault| refuse(flag, fault))
}

/// An empty value is none: scripts write `--certport "$PORT"`.
fn given(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

fn refuse(flag: &'static str, fault: impl Display) -> JoinError {
    JoinError::Flag {
        flag,
        fault: args::plain(&fault.to_string(), flag).to_owned(),
    }
}

pub const HUB_PORT: u16 = 10_000;
pub const API_PORT: u16 = 10_002;
const MAX_HUBS: usize = 16;
const TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes.
const MAX_TOKEN: usize = 16 * 1024;
const NO_QUIC: &str =
    "--hub-protocol quic is not in this build: leave it out, the tunnel is a websocket";
const TWO_TOKENS: &str = "--token and --token-file are both given: give one";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_as_upstream_takes_them() {
        let items = ["a=b,c", "d=e=f", "=g,,h="].map(str::to_owned);
        let pairs = [("a", "b"), ("c", ""), ("d", "e=f"), ("h", "")];
        let expected = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(labels(&items), expected);
    }

    #[test]
    fn one_hub_or_several() {
        let shown = |list| {
            let (first, others) = hubs(list).ok()?;
            let others: Vec<String> = others.iter().map(Endpoint::to_string).collect();
            Some((first.to_string(), others.join(" ")))
        };
        let expected = |first: &str, others: &str| Some((first.to_owned(), others.to_owned()));
        assert_eq!(shown("a"), expected("a:10000", ""));
        assert_eq!(shown("[::1]:443"), expected("[::1]:443", ""));
        assert_eq!(
            shown("a:1, ::1,b,a:1"),
            expected("a:1", "[::1]:10000 b:10000")
        );
        assert_eq!(shown("a,,b"), None);
        assert_eq!(shown(&["a"; 17].join(",")), None);
    }

    #[test]
    fn ports() {
        assert_eq!(port("").ok(), Some(None));
        assert_eq!(port("443").ok(), Some(Some(443)));
        for wrong in ["0", "70000", "x", "-1"] {
            assert!(port(wrong).is_err(), "{wrong}");
        }
    }
}
