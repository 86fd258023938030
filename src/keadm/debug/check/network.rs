//! The way to each cloud: names, proxy, every endpoint by every protocol, the size of packets.

use std::fs;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};
use smol::Timer;
use smol::future::or;
use smol::net::TcpStream;

use super::look::Look;
use super::ping;
use crate::config::edge::network::{CloudAt, ProxyChoice};
use crate::keadm::join::preflight::{ANSWER, reach, shake_hands};
use crate::pki::tls::{self, Presented};
use crate::protocol::enrollment::CertificateApi;
use crate::system::names::{Endpoint, Host};
use crate::system::network::{self as net};
use crate::system::way::Way;
use crate::tunnel::quic;

pub fn proxy(look: &mut Look<'_>) {
    let way = match &look.way {
        Ok(way) => way.clone(),
        Err(error) => {
            let remedy = error.clone();
            return look.failed("proxy", "can't be told", remedy);
        }
    };
    let Some(proxy) = &way.proxy else {
        return look.good("proxy", "none".to_owned());
    };
    let straight = Way {
        proxy: None,
        ..way.clone()
    };
    let begun = Instant::now();
    let reached = smol::block_on(straight.connect(&proxy.endpoint, &[]));
    let url = proxy.url();
    match reached {
        Ok(_) => look.good(&url, took(begun)),
        Err(error) => look.failed(&url, "no way to it", error.to_string()),
    }
    let of_shell = matches!(&look.config, Ok((config, _)) if config.hub.network.proxy == ProxyChoice::Environment);
    if of_shell {
        let remedy = "HTTPS_PROXY of this shell need not be edgecore's: write the proxy down with \
                      `kubeedge join --proxy`";
        look.warning(&url, "of this environment".to_owned(), remedy);
    }
}

pub fn dns(look: &mut Look<'_>) {
    let mut names: Vec<Host> = Vec::new();
    let dialled = look
        .clouds
        .iter()
        .flat_map(|cloud| [&cloud.hub.host, &cloud.api.host]);
    for host in dialled.chain(&look.wish.domain) {
        if matches!(host, Host::Name(_)) && !names.contains(host) {
            names.push(host.clone());
        }
    }
    if names.is_empty() {
        return look.good("names", "none is needed".to_owned());
    }
    // What a proxy is told, the proxy looks up.
    let has_proxy = matches!(&look.way, Ok(way) if way.proxy.is_some());
    for name in names {
        let shown = name.to_string();
        let begun = Instant::now();
        let asked = look
            .wish
            .dns
            .filter(|_| look.wish.domain.as_ref() == Some(&name));
        let found = match asked {
            Some(server) => ping::resolve(server, &shown),
            None => smol::block_on(net::resolve(&name, 0, LOOKUP))
                .map(|found| {
                    let found = found.iter().map(|it| it.ip().to_string());
                    found.collect::<Vec<_>>().join(", ")
                })
                .map_err(|error| error.to_string()),
        };
        match found {
            Ok(found) => look.good(&shown, format!("{found}, {}", took(begun))),
            Err(error) if has_proxy => look.warning(&shown, "not found here".to_owned(), &error),
            Err(error) => {
                let servers = servers(look);
                look.failed(&shown, "not found", format!("{error} ({servers})"));
            }
        }
    }
}

fn servers(look: &Look<'_>) -> String {
    let text = fs::read_to_string(look.host.root.at("/etc/resolv.conf")).unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver"));
    match lines.map(str::trim).collect::<Vec<_>>() {
        found if found.is_empty() => "there is none in /etc/resolv.conf".to_owned(),
        found => format!("those in /etc/resolv.conf are {}", found.join(", ")),
    }
}

pub fn network(look: &mut Look<'_>) {
    let way = look.way.clone().unwrap_or_default();
    if let Some(address) = look.wish.ping {
        let what = format!("ping {address}");
        match ping::ping(address) {
            Ok(time) => look.good(&what, format!("{} ms", time.as_millis())),
            Err(fault) => look.failed(&what, "no answer", fault),
        }
    }
    if let Some(hub) = &look.wish.hub {
        return websocket(look, &way, hub);
    }
    if look.clouds.is_empty() {
        let remedy = "without edgecore.yaml no cloud is known: name one with --cloud-hub-server";
        return look.warning("cloud", "none is known".to_owned(), remedy);
    }
    if let Some(identity) = &look.identity {
        let until = Some(identity.certificate.not_after());
        look.host.clock.ground(identity.ca.not_before(), until);
    }
    for cloud in look.clouds.clone() {
        certificates(look, &way, &cloud);
        websocket(look, &way, &cloud.hub);
        datagrams(look, &way, &cloud);
    }
}

/// The certificate API: asked as edgecore asks it, with this device's certificate.
fn certificates(look: &mut Look<'_>, way: &Way, cloud: &CloudAt) {
    let what = format!("certificates {}", cloud.api);
    let begun = Instant::now();
    let (Some(own), Some(device)) = (&look.identity, &look.device) else {
        let reached = smol::block_on(reach("the certificate API", &cloud.api, way));
        return match reached {
            Ok(_) => look.good(&what, format!("{}, not asked: no identity", took(begun))),
            Err(error) => look.failed(&what, "no way", error.to_string()),
        };
    };
    let api = CertificateApi {
        endpoint: cloud.api.clone(),
        way: way.clone(),
        known: Vec::new(),
        deadline: ANSWER,
        clock: look.host.clock.clone(),
    };
    let shown = Some((&own.certificate, &own.key));
    match api.check_node(std::slice::from_ref(&own.ca), shown, &device.node) {
        Ok(_) => look.good(&what, took(begun)),
        Err(error) => look.failed(&what, "no good answer", error.to_string()),
    }
}

/// The hub's certificate is judged; no session is begun, since it would end the one that there is.
fn websocket(look: &mut Look<'_>, way: &Way, hub: &Endpoint) {
    let what = format!("hub {hub}, WebSocket");
    let begun = Instant::now();
    let stream = match smol::block_on(reach("the hub", hub, way)) {
        Ok(stream) => stream,
        Err(error) => return look.failed(&what, "no way", error.to_string()),
    };
    look.links.extend(link(&stream));
    let Some(own) = &look.identity else {
        return look.good(&what, format!("{}, not judged: no identity", took(begun)));
    };
    let presented = Presented::default();
    let trusted = std::slice::from_ref(&own.ca);
    let config = tls::client_observed(trusted, None, &look.host.clock, &presented);
    let judged = config
        .map_err(|error| error.to_string())
        .and_then(|config| {
            let judged = smol::block_on(shake_hands(stream, config, hub, &presented));
            judged.map_err(|error| error.to_string())
        });
    match judged {
        Ok(()) => look.good(&what, took(begun)),
        Err(error) => look.failed(&what, "no good answer", error),
    }
}

/// From where a connection starts, and how much fits into a packet.
fn link(stream: &TcpStream) -> Option<(IpAddr, u32)> {
    let size = getsockopt(&stream.as_fd(), sockopt::TcpMaxSeg).ok()?;
    Some((stream.local_addr().ok()?.ip(), size))
}

/// QUIC, where it is wanted: a handshake with this device's certificate, and no session.
fn datagrams(look: &mut Look<'_>, way: &Way, cloud: &CloudAt) {
    let Ok((config, _)) = &look.config else {
        return;
    };
    let wanted = &config.hub.quic;
    if !wanted.enable {
        return;
    }
    let hub = match look.clouds.first() == Some(cloud) {
        true => wanted.server.clone(),
        false => Endpoint::new(cloud.hub.host.clone(), wanted.server.port),
    };
    let what = format!("hub {hub}, QUIC");
    let instead = "a WebSocket serves instead, or set modules.edgeHub.quic.enable: false";
    if !quic::OFFERED || way.proxy_for(&hub).is_some() {
        let found = match quic::OFFERED {
            true => "goes through no proxy",
            false => "not in this program",
        };
        return look.warning(&what, found.to_owned(), instead);
    }
    let Some(own) = &look.identity else {
        return;
    };
    let begun = Instant::now();
    let shown = Some((&own.certificate, &own.key));
    let config = tls::client(std::slice::from_ref(&own.ca), shown, &look.host.clock);
    let executor = Arc::new(smol::Executor::new());
    let tasks = executor.clone();
    let spawn: quic::Spawn = Arc::new(move |task| tasks.spawn(task).detach());
    let dial = async {
        let config = config.map_err(|error| error.to_string())?;
        let addresses = way
            .addresses(&hub, &[])
            .await
            .map_err(|error| error.to_string())?;
        let address = *addresses.first().ok_or("there is no address")?;
        let socket = way
            .uplink
            .datagrams(address)
            .map_err(|error| error.to_string())?;
        let to = (address, &hub.host);
        let dialled = quic::dial(socket, to, &config, ANSWER, spawn).await;
        dialled.map(drop).map_err(|error| error.to_string())
    };
    let late = async {
        Timer::after(LOOKUP).await;
        Err("no answer: let UDP through on the way".to_owned())
    };
    match smol::block_on(executor.run(or(dial, late))) {
        Ok(()) => look.good(&what, took(begun)),
        Err(error) => look.warning(
            &what,
            "no good answer".to_owned(),
            &format!("{error}; {instead}"),
        ),
    }
}

/// Of the cards that connections went through.
pub fn mtu(look: &mut Look<'_>) {
    let mut links = std::mem::take(&mut look.links);
    links.sort();
    links.dedup();
    if links.is_empty() {
        return look.good("packets", "unknown: no connection came about".to_owned());
    }
    for (address, segment) in links {
        let card = card_of(address).unwrap_or_default();
        let size = fs::read_to_string(format!("/sys/class/net/{card}/mtu")).unwrap_or_default();
        let size: Option<u32> = size.trim().parse().ok();
        let shown = size.map_or("unknown".to_owned(), |size| size.to_string());
        let found = format!("MTU {shown}, {segment} bytes of TCP at a time");
        let what = format!("{card} {address}");
        match size.is_some_and(|size| size < LEAST_MTU) || segment < LEAST_SEGMENT {
            true => look.warning(
                what.trim_start(),
                found,
                "less than 1280 bytes fit: IPv6 and QUIC want that much; raise the MTU of the card, \
                 the VPN or the modem",
            ),
            false => look.good(what.trim_start(), found),
        }
    }
}

fn card_of(address: IpAddr) -> Option<String> {
    let mut cards = nix::ifaddrs::getifaddrs().ok()?;
    let is_it = |card: &nix::ifaddrs::InterfaceAddress| {
        let own = card.address.as_ref()?;
        let v4 = own.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| own.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    let card = cards.find(|card| is_it(card) == Some(address))?;
    Some(card.interface_name)
}

fn took(since: Instant) -> String {
    format!("{} ms", since.elapsed().as_millis())
}

const LOOKUP: Duration = Duration::from_secs(5);
/// Bytes: what IPv6 asks of every link.
const LEAST_MTU: u32 = 1_280;
/// That without the headers of IPv6 and TCP with options.
const LEAST_SEGMENT: u32 = 1_200;
