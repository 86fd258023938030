//! What is dialled without a proxy: hosts, domains, networks, or everything.

use std::net::IpAddr;

use crate::system::names::{Endpoint, Host};

/// The entries of `NO_PROXY`, read as Go's programs read them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bypass {
    rules: Vec<Rule>,
    texts: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Everything,
    Address(IpAddr, Option<u16>),
    /// The address, and how many of its first bits count.
    Network(IpAddr, u32),
    Name {
        /// Without the dot in front.
        name: String,
        /// Only what is below the name.
        below: bool,
        port: Option<u16>,
    },
}

impl Bypass {
    /// `*`; an address or a network such as `10.0.0.0/8`; `example.org`, which means what is below it
    /// too, or `.example.org`, which means only that. A port may follow. What is none of it matches
    /// nothing.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a str>) -> Bypass {
        let entries = entries.into_iter().map(str::trim);
        let mut bypass = Bypass::default();
        for entry in entries.filter(|entry| !entry.is_empty()).take(MAX_ENTRIES) {
            bypass.texts.push(entry.to_owned());
            bypass.rules.push(rule(&entry.to_ascii_lowercase()));
        }
        bypass
    }

    /// The entries as they were written.
    pub fn entries(&self) -> &[String] {
        &self.texts
    }

    /// Whether this is dialled directly. Names are not looked up for it.
    pub fn spares(&self, endpoint: &Endpoint) -> bool {
        self.rules.iter().any(|rule| rule.spares(endpoint))
    }
}

impl Rule {
    fn spares(&self, endpoint: &Endpoint) -> bool {
        let same = |port: &Option<u16>| port.is_none_or(|port| port == endpoint.port);
        match (self, &endpoint.host) {
            (Rule::Everything, _) => true,
            (Rule::Address(address, port), Host::Ip(ip)) => {
                ip.to_canonical() == address.to_canonical() && same(port)
            }
            (Rule::Network(network, length), Host::Ip(ip)) => {
                contains(*network, *length, ip.to_canonical())
            }
            (Rule::Name { name, below, port }, Host::Name(host)) => {
                let inner = host.strip_suffix(name.as_str());
                let is_below = inner.is_some_and(|inner| inner.ends_with('.'));
                (is_below || !below && host == name) && same(port)
            }
            _ => false,
        }
    }
}

fn rule(entry: &str) -> Rule {
    if entry == "*" {
        return Rule::Everything;
    }
    let network = entry.split_once('/').and_then(|(address, length)| {
        let (address, length) = (address.parse().ok()?, length.parse().ok()?);
        (length <= bits(address)).then_some(Rule::Network(address, length))
    });
    if let Some(network) = network {
        return network;
    }
    if let Ok(address) = entry.parse() {
        return Rule::Address(address, None);
    }
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (entry, None),
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse() {
        return Rule::Address(address, port);
    }
    let host = host.strip_prefix('*').unwrap_or(host);
    let name = host.strip_prefix('.');
    Rule::Name {
        name: name.unwrap_or(host).trim_end_matches('.').to_owned(),
        below: name.is_some(),
        port,
    }
}

fn contains(network: IpAddr, length: u32, address: IpAddr) -> bool {
    let first = |value: u128, width: u32| value.checked_shr(width - length).unwrap_or(0);
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let (network, address) = (network.to_bits().into(), address.to_bits().into());
            first(network, 32) == first(address, 32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            first(network.to_bits(), 128) == first(address.to_bits(), 128)
        }
        _ => false,
    }
}

fn bits(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// More than anybody writes.
const MAX_ENTRIES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spared_and_what_is_not() {
        for (list, spared, not) in [
            ("*", &["a:1", "[::1]:1"][..], &[][..]),
            ("", &[], &["a:1"]),
            (
                "example.org",
                &["example.org:1", "a.example.org:2"],
                &["anexample.org:1", "org:1"],
            ),
            (".example.org", &["a.example.org:1"], &["example.org:1"]),
            ("*.example.org", &["a.b.example.org:1"], &["example.org:1"]),
            ("Example.ORG.", &["example.org:1"], &["example.com:1"]),
            ("example.org:443", &["example.org:443"], &["example.org:80"]),
            (
                "192.0.2.1",
                &["192.0.2.1:9", "[::ffff:192.0.2.1]:9"],
                &["192.0.2.2:9"],
            ),
            ("192.0.2.1:5", &["192.0.2.1:5"], &["192.0.2.1:6"]),
            (
                "10.0.0.0/8",
                &["10.255.0.1:1"],
                &["11.0.0.1:1", "ten.example:1", "[a::]:1"],
            ),
            ("0.0.0.0/0", &["203.0.113.9:1"], &["[::1]:1"]),
            (
                "2001:db8::/32",
                &["[2001:db8:1::1]:1"],
                &["[2001:db9::1]:1"],
            ),
            (
                "[2001:db8::1]:5",
                &["[2001:db8::1]:5"],
                &["[2001:db8::1]:6"],
            ),
            ("2001:db8::1", &["[2001:db8::1]:6"], &["[2001:db8::2]:6"]),
            (
                "10.0.0.0/33, /,a, 192.0.2.0/24",
                &["192.0.2.77:1", "a:2"],
                &["10.0.0.0:1"],
            ),
        ] {
            let bypass = Bypass::of(list.split(','));
            for endpoint in spared {
                assert!(
                    bypass.spares(&endpoint.parse().unwrap()),
                    "{list}: {endpoint}"
                );
            }
            for endpoint in not {
                assert!(
                    !bypass.spares(&endpoint.parse().unwrap()),
                    "{list}: {endpoint}"
                );
            }
        }
    }
}
