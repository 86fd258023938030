//! Names of nodes, hosts and endpoints, checked once at the door.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a node: an RFC 1123 subdomain, as Kubernetes wants it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

impl NodeName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<NodeName, NameError> {
        NodeName::try_from(text.to_owned())
    }
}

impl TryFrom<String> for NodeName {
    type Error = NameError;

    fn try_from(text: String) -> Result<NodeName, NameError> {
        check_lengths(&text)?;
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        if let Some(bad) = text.chars().find(|c| !allowed(*c)) {
            return Err(NameError::Character(bad));
        }
        if text
            .split('.')
            .any(|label| label.starts_with('-') || label.ends_with('-'))
        {
            return Err(NameError::Hyphen);
        }
        Ok(NodeName(text))
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> String {
        name.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A machine to talk to: an address, or a name that DNS must resolve. Names are kept in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    Ip(IpAddr),
    Name(String),
}

impl FromStr for Host {
    type Err = NameError;

    /// Takes IPv6 addresses with and without brackets.
    fn from_str(text: &str) -> Result<Host, NameError> {
        if text.contains("://") {
            return Err(NameError::Scheme);
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|t| t.strip_suffix(']'))
            .unwrap_or(text);
        if bare.contains(':') || bare.len() != text.len() {
            let address = bare.parse::<Ipv6Addr>().map_err(|_| NameError::Ipv6)?;
            return Ok(Host::Ip(IpAddr::V6(address)));
        }
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Host::Ip(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.is_empty() {
            return Err(NameError::NoHost);
        }
        check_lengths(&name)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if let Some(bad) = name.chars().find(|c| !allowed(*c)) {
            return Err(NameError::Character(bad));
        }
        // 300.1.1.1 or 10.0.1 are addresses with a fault, never names.
        let last = name.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NameError::Ipv4);
        }
        Ok(Host::Name(name))
    }
}

impl fmt::Display for Host {
    /// An IPv6 address without brackets; `Endpoint` adds them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Ip(address) => address.fmt(f),
            Host::Name(name) => f.write_str(name),
        }
    }
}

/// A host and a TCP port: `cloud.example:10000`, `192.0.2.1:10000`, `[2001:db8::1]:10000`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    pub host: Host,
    pub port: u16,
}

impl Endpoint {
    pub fn new(host: Host, port: u16) -> Endpoint {
        Endpoint { host, port }
    }

    /// As `FromStr`, but the port may be missing; a bare IPv6 address is taken whole.
    pub fn parse_with_default_port(text: &str, port: u16) -> Result<Endpoint, NameError> {
        let (host, given) = split(text)?;
        let port = given.map_or(Ok(port), parse_port)?;
        Ok(Endpoint {
            host: host.parse()?,
            port,
        })
    }
}

impl FromStr for Endpoint {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Endpoint, NameError> {
        let (host, port) = split(text)?;
        let host = host.parse()?;
        let port = parse_port(port.ok_or(NameError::NoPort)?)?;
        Ok(Endpoint { host, port })
    }
}

impl TryFrom<String> for Endpoint {
    type Error = NameError;

    fn try_from(text: String) -> Result<Endpoint, NameError> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> String {
        endpoint.to_string()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

/// What is wrong with a name, and what a right one looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    Character(char),
    /// An address of nothing.
    NoHost,
    Empty,
    EmptyLabel,
    Hyphen,
    Ipv4,
    Ipv6,
    NoPort,
    Port,
    Scheme,
    TooLong,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameError::Character(bad) => {
                return write!(
                    f,
                    "the name contains {bad:?}: use a-z (lower case), 0-9, '-' and '.' only"
                );
            }
            NameError::NoHost => {
                "the address is empty: give a name or an IP address, such as cloud.example"
            }
            NameError::Empty => "the name is empty: give one, such as edge-1",
            NameError::EmptyLabel => {
                "the name has two dots in a row, or one at an end: remove the extra dot"
            }
            NameError::Hyphen => {
                "a part of the name begins or ends with '-': begin and end with a letter or a digit"
            }
            NameError::Ipv4 => "not a valid IPv4 address: write four numbers, such as 192.0.2.1",
            NameError::Ipv6 => {
                "not a valid IPv6 address: write it as [2001:db8::1]:PORT, without a zone"
            }
            NameError::NoPort => "the port is missing: write HOST:PORT",
            NameError::Port => "the port is not a number from 1 to 65535: write HOST:PORT",
            NameError::Scheme => {
                "the address begins with a scheme: write HOST:PORT, without https://"
            }
            NameError::TooLong => {
                "the name is too long: at most 253 characters, and 63 between two dots"
            }
        })
    }
}

impl std::error::Error for NameError {}

fn check_lengths(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.split('.').any(str::is_empty) {
        return Err(NameError::EmptyLabel);
    }
    if name.len() > MAX_NAME || name.split('.').any(|label| label.len() > MAX_LABEL) {
        return Err(NameError::TooLong);
    }
    Ok(())
}

/// Host and port, the port only if there is one.
fn split(text: &str) -> Result<(&str, Option<&str>), NameError> {
    if text.contains("://") {
        return Err(NameError::Scheme);
    }
    if text.starts_with('[') {
        let end = text.find(']').ok_or(NameError::Ipv6)?;
        let (host, rest) = text.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(NameError::Port),
        };
    }
    match text.split_once(':') {
        // More than one colon and no brackets: an IPv6 address, whose end can't be told from a port.
        Some((_, rest)) if rest.contains(':') => Ok((text, None)),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

fn parse_port(text: &str) -> Result<u16, NameError> {
    // u16::from_str takes a leading '+'.
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NameError::Port);
    }
    text.parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or(NameError::Port)
}

/// RFC 1123, in characters.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names() {
        for good in ["a", "edge-1", "0", "pi.lab.example", &"a".repeat(63)] {
            assert_eq!(good.parse::<NodeName>().unwrap().as_str(), good);
        }
        for (bad, error) in [
            ("", NameError::Empty),
            ("Edge", NameError::Character('E')),
            ("a_b", NameError::Character('_')),
            ("a/b", NameError::Character('/')),
            ("a\n", NameError::Character('\n')),
            ("-a", NameError::Hyphen),
            ("a-.b", NameError::Hyphen),
            ("a..b", NameError::EmptyLabel),
            (".", NameError::EmptyLabel),
            ("a.", NameError::EmptyLabel),
            (&"a".repeat(64), NameError::TooLong),
            (&["ab"; 90].join("."), NameError::TooLong),
        ] {
            assert_eq!(bad.parse::<NodeName>().unwrap_err(), error, "{bad:?}");
        }
    }

    #[test]
    fn endpoints_round_trip() {
        for text in [
            "cloud.example:10000",
            "192.0.2.1:443",
            "[2001:db8::1]:10002",
            "[::1]:1",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!(
            "Cloud.Example.:5".parse::<Endpoint>().unwrap().to_string(),
            "cloud.example:5"
        );
    }

    #[test]
    fn endpoints_with_a_default_port() {
        for (text, shown) in [
            ("cloud", "cloud:10000"),
            ("cloud:1", "cloud:1"),
            ("2001:db8::1", "[2001:db8::1]:10000"),
            ("[2001:db8::1]", "[2001:db8::1]:10000"),
            ("[2001:db8::1]:2", "[2001:db8::1]:2"),
        ] {
            let endpoint = Endpoint::parse_with_default_port(text, 10_000).unwrap();
            assert_eq!(endpoint.to_string(), shown);
        }
    }

    #[test]
    fn endpoints_that_are_not() {
        for (text, error) in [
            ("cloud", NameError::NoPort),
            ("cloud:", NameError::Port),
            ("cloud:0", NameError::Port),
            ("cloud:+1", NameError::Port),
            ("cloud:65536", NameError::Port),
            (":1", NameError::NoHost),
            ("[::1]x:1", NameError::Port),
            ("[::1", NameError::Ipv6),
            ("[cloud]:1", NameError::Ipv6),
            ("[fe80::1%eth0]:1", NameError::Ipv6),
            ("300.1.1.1:1", NameError::Ipv4),
            ("https://cloud:1", NameError::Scheme),
            ("a b:1", NameError::Character(' ')),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn serde_checks_too() {
        assert!(serde_json::from_str::<NodeName>("\"Edge\"").is_err());
        let endpoint: Endpoint = serde_json::from_str("\"[::1]:7\"").unwrap();
        assert_eq!(serde_json::to_string(&endpoint).unwrap(), "\"[::1]:7\"");
    }
}
