//! Two small questions over the network: an echo, and a name, of a server that is named.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::system::cause;

/// How long an echo took; the sentence says why there is none.
pub fn ping(address: IpAddr) -> Result<Duration, String> {
    let said = |errno: Errno| match errno {
        Errno::EACCES | Errno::EPERM => "this user may not ping: check as root".to_owned(),
        Errno::EAGAIN => "see that it is on, and that ICMP is let through".to_owned(),
        other => cause::of(&io::Error::from(other)),
    };
    echo(address).map_err(said)
}

fn echo(address: IpAddr) -> Result<Duration, Errno> {
    let (family, protocol, request, reply) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8, 0),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128, 129),
    };
    // What every user may have, where the system lets them; else what root may.
    let open = |kind| socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol);
    let (socket, is_raw) = match open(SockType::Datagram) {
        Ok(socket) => (socket, false),
        Err(_) => (open(SockType::Raw)?, true),
    };
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(1, 0))?;
    let mark: [u8; 4] = std::process::id().to_be_bytes();
    let mut packet = [request, 0, 0, 0, mark[2], mark[3], 0, 1];
    // Of ICMP for IPv6, and of datagrams, the kernel makes it.
    let sum = sum(&packet).to_be_bytes();
    packet[2..4].copy_from_slice(&sum);
    let begun = Instant::now();
    let to = SockaddrStorage::from(SocketAddr::new(address, 0));
    sendto(socket.as_raw_fd(), &packet, &to, MsgFlags::empty())?;
    let mut answer = [0; 128];
    while begun.elapsed() < PATIENCE {
        let length = match recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()) {
            Ok(length) => length,
            Err(Errno::EAGAIN | Errno::EINTR) => continue,
            Err(errno) => return Err(errno),
        };
        let head = match (is_raw, address.is_ipv4()) {
            (true, true) => usize::from(answer[0] & 15) * 4,
            _ => 0,
        };
        let icmp = answer[..length].get(head..).unwrap_or_default();
        let own = !is_raw || icmp.get(4..6) == Some(&mark[2..4]);
        if icmp.first() == Some(&reply) && own {
            return Ok(begun.elapsed());
        }
    }
    Err(Errno::EAGAIN)
}

/// RFC 1071.
fn sum(packet: &[u8; 8]) -> u16 {
    let words = packet
        .chunks(2)
        .map(|two| u32::from(two[0]) * 256 + u32::from(two[1]));
    let total: u32 = words.sum();
    !((total & 0xffff) + (total >> 16)) as u16
}

/// Asks this server for the addresses of a name; what it says in a few words.
pub fn resolve(server: IpAddr, name: &str) -> Result<String, String> {
    let asked = ask(server, name).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            format!("{server} does not answer: see that it is a DNS server")
        }
        _ => format!("{server} can't be asked: {}", cause::of(&error)),
    })?;
    match asked {
        (0, 0) => Err(format!("{server} knows no address of it: check the name")),
        (0, count) => Ok(format!("{count} answers of {server}")),
        (3, _) => Err(format!(
            "{server} says that there is no such name: check it"
        )),
        (code, _) => Err(format!(
            "{server} refuses to say (code {code}): ask another"
        )),
    }
}

/// The code of the answer, and how many records are in it (RFC 1035). Nothing else of it is read.
fn ask(server: IpAddr, name: &str) -> io::Result<(u8, u16)> {
    let from = match server {
        IpAddr::V4(_) => "0.0.0.0:0",
        IpAddr::V6(_) => "[::]:0",
    };
    let socket = UdpSocket::bind(from)?;
    socket.connect((server, DNS_PORT))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let id = fastrand::u16(..).to_be_bytes();
    let mut query = vec![id[0], id[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        // Names of hosts have labels of at most 63 bytes.
        query.push(label.len().min(63) as u8);
        query.extend(label.bytes().take(63));
    }
    // An address, of the Internet.
    query.extend([0, 0, 1, 0, 1]);
    socket.send(&query)?;
    let mut answer = [0; 512];
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let length = socket.recv(&mut answer)?;
        if length >= 12 && answer[..2] == id && answer[2] & 0x80 != 0 {
            return Ok((answer[3] & 15, u16::from_be_bytes([answer[6], answer[7]])));
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

const DNS_PORT: u16 = 53;
/// As KubeEdge's.
const PATIENCE: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_standard() {
        assert_eq!(sum(&[8, 0, 0, 0, 0x12, 0x34, 0, 1]), 0xe5ca);
        assert_eq!(sum(&[0xff; 8]), 0);
    }

    #[test]
    fn this_machine_answers_or_says_why_not() {
        match ping("127.0.0.1".parse().unwrap()) {
            Ok(time) => assert!(time < PATIENCE),
            Err(sentence) => assert!(sentence.contains("root"), "{sentence}"),
        }
    }

    #[test]
    fn who_is_no_dns_server_is_named() {
        let error = resolve("127.0.0.1".parse().unwrap(), "example.org");
        let said = error.unwrap_or_else(|error| error);
        assert!(said.contains("127.0.0.1"), "{said}");
    }
}
