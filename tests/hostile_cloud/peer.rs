//! Peers that do what they like, each from an address of its own: raw bytes over TCP or TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kubeedge::pki::certificate::Certificate;
use kubeedge::pki::key::PrivateKey;
use kubeedge::pki::tls;
use nix::sys::socket::sockopt::{RcvBuf, TcpMaxSeg};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivateSec1KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::common::LIMIT;

pub type Identity = (PrivateKey, Certificate);

/// What the peer got for what it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sees {
    /// An HTTP answer.
    Status(u16),
    /// The same, with a time to come again.
    Later(u16),
    /// A TLS alert.
    Alert(u8),
    /// The end of the connection, without a word.
    Closed,
    /// A WebSocket close frame.
    Farewell(u16),
    /// The tunnel goes on.
    Tunnel,
}

/// A connection from one of our own many addresses.
pub fn dial(from: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    connected(tcp()?, from, port)
}

/// One that takes little which nobody reads, as a slow line does: else the kernel takes megabytes.
pub fn dial_narrow(from: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    let fd = tcp()?;
    setsockopt(&fd, RcvBuf, &4096)?;
    setsockopt(&fd, TcpMaxSeg, &1400)?;
    connected(fd, from, port)
}

fn tcp() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Inet, SockType::Stream, flags, None)?)
}

fn connected(fd: OwnedFd, from: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    bind(
        fd.as_raw_fd(),
        &SockaddrIn::from(SocketAddrV4::new(from, 0)),
    )?;
    let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    connect(fd.as_raw_fd(), &SockaddrIn::from(to))?;
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What comes on a connection that speaks no TLS, to its end.
pub fn watch(stream: &mut TcpStream) -> Sees {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Err(error) if is_late(&error) => panic!("the connection does not end"),
        _ => {}
    }
    // An alert is a record of type 21 with two bytes; the second says what.
    match all[..] {
        [21, _, _, 0, 2, _, alert, ..] => Sees::Alert(alert),
        [] => Sees::Closed,
        _ => panic!("what is that: {all:?}"),
    }
}

/// A TLS connection of which every read and write has a limit.
pub struct Client(StreamOwned<ClientConnection, TcpStream>);

impl Client {
    pub fn dial(from: Ipv4Addr, port: u16, config: Arc<ClientConfig>) -> io::Result<Client> {
        Client::over(dial(from, port)?, config)
    }

    pub fn over(stream: TcpStream, config: Arc<ClientConfig>) -> io::Result<Client> {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Client(stream))
    }

    /// Sends, even if the other side answers and closes before all is sent.
    pub fn send(&mut self, bytes: &[u8]) {
        if self.0.write_all(bytes).is_ok() {
            let _ = self.0.flush();
        }
    }

    /// One HTTP answer: its head and its body.
    pub fn answer(&mut self) -> io::Result<(String, Vec<u8>)> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.byte()?);
        }
        let head = String::from_utf8(head).unwrap();
        let length = header(&head, "content-length").map_or(0, |text| text.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((head, body))
    }

    /// What an HTTP client sees: an answer, or how the connection ends.
    pub fn sees(&mut self) -> Sees {
        match self.answer() {
            Ok((head, _)) => status(&head),
            Err(error) => ending(&error),
        }
    }

    /// What comes on a tunnel that is not the pong we wait for.
    pub fn sees_on_tunnel(&mut self) -> Sees {
        self.send(&frame(PING, MARK));
        loop {
            match self.frame() {
                Ok((PONG, payload)) if payload == MARK => return Sees::Tunnel,
                Ok((CLOSE, payload)) => {
                    return Sees::Farewell(u16::from_be_bytes([payload[0], payload[1]]));
                }
                Ok(_) => {}
                Err(error) => return ending(&error),
            }
        }
    }

    /// The same without asking anything.
    pub fn sees_next(&mut self) -> Sees {
        match self.frame() {
            Ok((CLOSE, payload)) => Sees::Farewell(u16::from_be_bytes([payload[0], payload[1]])),
            Ok(other) => panic!("unexpected: {other:?}"),
            Err(error) => ending(&error),
        }
    }

    /// Sends these bytes about ten times a second until something comes.
    pub fn trickle(&mut self, bytes: &[u8]) -> Sees {
        let step = Duration::from_millis(100);
        self.0.sock.set_read_timeout(Some(step)).unwrap();
        let end = Instant::now() + LIMIT;
        loop {
            match self.frame() {
                Err(error) if is_late(&error) => assert!(Instant::now() < end, "it goes on"),
                Err(error) => return ending(&error),
                Ok((CLOSE, payload)) => {
                    return Sees::Farewell(u16::from_be_bytes([payload[0], payload[1]]));
                }
                Ok(other) => panic!("unexpected: {other:?}"),
            }
            self.send(bytes);
        }
    }

    /// Reads to the end, whatever comes.
    pub fn outlasts(&mut self) -> Sees {
        match self.0.read_to_end(&mut Vec::new()) {
            Ok(_) => Sees::Closed,
            Err(error) => ending(&error),
        }
    }

    fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let opcode = self.byte()? & 0x0f;
        let length = match self.byte()? {
            126 => usize::from(u16::from_be_bytes([self.byte()?, self.byte()?])),
            short => short.into(),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload)?;
        Ok((opcode, payload))
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.0.read_exact(&mut byte)?;
        Ok(byte[0])
    }
}

/// Takes any server, and shows this certificate, if any.
pub fn config(identity: Option<&Identity>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((key, certificate)) => {
            let chain = vec![CertificateDer::from(certificate.der().to_vec())];
            let key = PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(key.sec1_der()));
            let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
            // The key need not be the certificate's.
            let certified = Arc::new(rustls::sign::CertifiedKey::new(chain, key));
            let resolver = rustls::sign::SingleCertAndKey::from(certified);
            builder.with_client_cert_resolver(Arc::new(resolver))
        }
    };
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// How a connection has ended, by what reading from it says.
pub fn ending(error: &io::Error) -> Sees {
    assert!(!is_late(error), "the connection neither answers nor ends");
    let fault = error.get_ref().and_then(|inner| inner.downcast_ref());
    match fault {
        Some(rustls::Error::AlertReceived(alert)) => Sees::Alert((*alert).into()),
        _ => Sees::Closed,
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

pub fn status(head: &str) -> Sees {
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    match header(head, "retry-after") {
        Some(seconds) => {
            let seconds: u32 = seconds.parse().expect("seconds");
            assert!((1..=300).contains(&seconds), "{head}");
            Sees::Later(status)
        }
        None => Sees::Status(status),
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// A masked WebSocket frame, final, of at most 65,535 bytes.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match u8::try_from(payload.len()) {
        Ok(short) if short < 126 => bytes.push(0x80 | short),
        _ => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    // A mask of zeros leaves the payload as it is.
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
const PONG: u8 = 10;
const MARK: &[u8] = b"are you there";

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls::provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
