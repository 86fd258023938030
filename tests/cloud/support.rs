//! A cloudcore in this process with a recorded CA and a clock that the test sets, and a client
//! that speaks raw bytes over TLS.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kubeedge::cloudcore::{self, Orders, Overrides, Ports, Settings};
use kubeedge::config::cloud::CloudConfig;
use kubeedge::pki::certificate::{Certificate, Subject};
use kubeedge::pki::key::PrivateKey;
use kubeedge::pki::tls;
use kubeedge::protocol::control::{self, CLOUD_SOCKET, CloudOp, HubSession, Request};
use kubeedge::system::clock::{Clock, ManualClock, Timestamp};
use kubeedge::system::files::Files;
use kubeedge::system::host::Host;
use kubeedge::system::root::Root;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, Issuer,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivateSec1KeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A certificate with its key.
pub type Identity = (Certificate, PrivateKey);

/// The recorded bytes in `folder` of tests/vectors.
pub fn vectors(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(folder)
}

/// A cloudcore, stopped when dropped.
pub struct Cloud {
    pub ports: Ports,
    pub clock: Clock,
    pub time: ManualClock,
    pub ca: Identity,
    made: AtomicU32,
    root: PathBuf,
    orders: Option<smol::channel::Sender<kubeedge::system::signals::Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Cloud {
    /// `name` is the test's own; `generation` is where the CA's recording lies: "" or "v1.13".
    pub fn start(name: &str, generation: &str, yaml: &str, now: Timestamp) -> Cloud {
        Cloud::on(name, generation, yaml, now, None)
    }

    /// With one port for certificates and tunnels, and no other.
    pub fn start_on_one_port(name: &str, generation: &str, now: Timestamp) -> Cloud {
        let yaml = "modules: {cloudHub: {https: {enable: false}, websocket: {enable: false}}}";
        let cloud = Cloud::on(name, generation, yaml, now, Some(0));
        assert_eq!(cloud.ports.single, Some(cloud.ports.https));
        assert_eq!(cloud.ports.single, cloud.ports.hub);
        cloud
    }

    fn on(
        name: &str,
        generation: &str,
        yaml: &str,
        now: Timestamp,
        single_port: Option<u16>,
    ) -> Cloud {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&root);
        let recorded = vectors(generation).join("token-ca");
        let folder = root.join("etc/kubeedge/ca");
        fs::create_dir_all(&folder).unwrap();
        fs::copy(recorded.join("ca.pem"), folder.join("rootCA.crt")).unwrap();
        fs::copy(recorded.join("cakey.pem"), folder.join("rootCA.key")).unwrap();
        let ca = Certificate::from_pem(&fs::read(recorded.join("ca.pem")).unwrap()).unwrap();
        let key = PrivateKey::from_pem(&fs::read(recorded.join("cakey.pem")).unwrap()).unwrap();

        let (config, _) = CloudConfig::load(yaml, "the test").unwrap();
        let overrides = Overrides {
            listen: Some([127, 0, 0, 1].into()),
            https_port: single_port.is_none().then_some(0),
            hub_port: single_port.is_none().then_some(0),
            single_port,
            metrics_port: Some(0),
            allow_volatile_ca: true,
            ..Overrides::default()
        };
        let settings = Settings::new(config, &overrides);
        let (clock, time) = Clock::manual(now);
        let host = Host {
            root: Root::new(Some(root.clone())),
            files: Files::real(),
            clock: clock.clone(),
        };
        let (orders, asked) = smol::channel::bounded(1);
        let (started, ports) = mpsc::channel();
        let thread = thread::spawn(move || {
            let served = cloudcore::serve(&host, settings, Orders::Channel(asked), |ports| {
                started.send(ports.clone()).unwrap();
            });
            served.unwrap();
        });
        let ports = ports.recv().expect("cloudcore starts");
        Cloud {
            ports,
            clock,
            time,
            ca: (ca, key),
            made: AtomicU32::new(0),
            root,
            orders: Some(orders),
            thread: Some(thread),
        }
    }

    pub fn https(&self, identity: Option<&Identity>) -> io::Result<Client> {
        let config = self.client(identity, rustls::ALL_VERSIONS);
        Client::dial(self.ports.https, config)
    }

    pub fn https_with_tls12(&self, identity: Option<&Identity>) -> io::Result<Client> {
        let config = self.client(identity, &[&rustls::version::TLS12]);
        Client::dial(self.ports.https, config)
    }

    pub fn hub(&self, identity: Option<&Identity>) -> io::Result<Client> {
        let config = self.client(identity, rustls::ALL_VERSIONS);
        Client::dial(self.ports.hub.unwrap(), config)
    }

    /// The folder in which it lives.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The sessions, as an operator sees them.
    pub fn sessions(&self) -> Vec<HubSession> {
        let socket = self.root.join(&CLOUD_SOCKET[1..]);
        let mut client =
            control::Client::ask(&socket, &Request::new(CloudOp::Sessions), PATIENCE).unwrap();
        std::iter::from_fn(|| client.line().unwrap()).collect()
    }

    /// The lines of an answer of the admin socket.
    pub fn ask(&self, op: CloudOp, names: &[&str]) -> Vec<serde_json::Value> {
        let socket = self.root.join(&CLOUD_SOCKET[1..]);
        let request = Request {
            names: names.iter().map(ToString::to_string).collect(),
            ..Request::new(op)
        };
        let mut client = control::Client::ask(&socket, &request, PATIENCE).unwrap();
        std::iter::from_fn(|| client.line().unwrap()).collect()
    }

    /// Asks cloudcore to stop; it does so beside the test.
    pub fn stop(&mut self) {
        self.orders = None;
    }

    /// A certificate of a node, valid from a day ago until in a day. Each begins a second after the
    /// one before, so that it counts though cloudcore did not issue it.
    pub fn identity(&self, node: &str) -> Identity {
        let day = Duration::from_secs(24 * 60 * 60);
        let later = Duration::from_secs(self.made.fetch_add(1, Ordering::Relaxed).into());
        let now = self.clock.now();
        self.identity_until(node, now.minus(day).plus(later), now.plus(day))
    }

    pub fn identity_until(&self, node: &str, from: Timestamp, until: Timestamp) -> Identity {
        let key = PrivateKey::generate().unwrap();
        let issuer = kubeedge::pki::issue::Issuer::new(self.ca.0.clone(), self.ca.1.clone());
        let subject = Subject::node(&node.parse().unwrap());
        let made = issuer.unwrap().client(key.spki(), &subject, from, until);
        (made.unwrap(), key)
    }

    /// Shows a certificate and proves another key.
    pub fn https_showing(&self, shown: &Certificate, key: &PrivateKey) -> io::Result<Client> {
        let chain = vec![CertificateDer::from(shown.der().to_vec())];
        let key = PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(key.sec1_der().to_vec()));
        let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
        let certified = Arc::new(rustls::sign::CertifiedKey::new(chain, key));
        let mut config = ClientConfig::clone(&self.client(None, rustls::ALL_VERSIONS));
        let resolver = rustls::sign::SingleCertAndKey::from(certified);
        config.client_auth_cert_resolver = Arc::new(resolver);
        Client::dial(self.ports.https, Arc::new(config))
    }

    /// What Prometheus reads.
    fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports.metrics.unwrap())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// Waits until the page of metrics has all of these: a client may read its answer before it is
    /// counted.
    #[track_caller]
    pub fn counts(&self, lines: &[&str]) {
        let end = Instant::now() + PATIENCE;
        loop {
            let page = self.metrics();
            let Some(missing) = lines.iter().find(|line| !page.contains(**line)) else {
                return;
            };
            assert!(Instant::now() < end, "no {missing} in {page}");
            std::thread::yield_now();
        }
    }

    fn client(
        &self,
        identity: Option<&Identity>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(self.ca.0.der().to_vec()))
            .unwrap();
        let time = Arc::new(SetTime(self.clock.clone()));
        let builder = ClientConfig::builder_with_details(tls::provider(), time)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from(certificate.der().to_vec())];
                let key = PrivateSec1KeyDer::from(key.sec1_der().to_vec());
                builder
                    .with_client_auth_cert(chain, PrivateKeyDer::Sec1(key))
                    .unwrap()
            }
        })
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        drop(self.orders.take());
        let ended = self.thread.take().unwrap().join();
        if !thread::panicking() {
            ended.expect("cloudcore ends in order");
        }
    }
}

#[derive(Debug)]
struct SetTime(Clock);

impl TimeProvider for SetTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().unix()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// A certificate of the same subject, validity and use as `model`, of `ca`, with a key of ours.
pub fn remake(model: &Certificate, ca: &Identity) -> Identity {
    let mut usages = Vec::new();
    if model.allows_client_auth() {
        usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    if model.allows_server_auth() {
        usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    remake_for(model, ca, &usages)
}

/// The same with another use.
pub fn remake_for(
    model: &Certificate,
    ca: &Identity,
    usages: &[ExtendedKeyUsagePurpose],
) -> Identity {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    let subject = model.subject();
    for (kind, value) in [
        (DnType::OrganizationName, subject.organization),
        (DnType::CommonName, subject.common_name),
    ] {
        if let Some(value) = value {
            name.push(kind, value);
        }
    }
    params.distinguished_name = name;
    let at = |time: Timestamp| time::OffsetDateTime::from_unix_timestamp(time.unix()).unwrap();
    (params.not_before, params.not_after) = (at(model.not_before()), at(model.not_after()));
    params.extended_key_usages = usages.to_vec();
    let mut issuer = CertificateParams::default();
    issuer.distinguished_name = DistinguishedName::new();
    let name = ca.0.subject().common_name.unwrap();
    // The bytes of the name must be those in the CA.
    let name = DnValue::PrintableString(name.try_into().unwrap());
    issuer.distinguished_name.push(DnType::CommonName, name);
    let key = PrivateKey::generate().unwrap();
    let made = params
        .signed_by(&key, &Issuer::new(issuer, ca.1.clone()))
        .unwrap();
    (Certificate::from_der(made.der()).unwrap(), key)
}

/// A TLS connection whose every read has a limit.
pub struct Client(StreamOwned<ClientConnection, TcpStream>);

impl Client {
    fn dial(port: u16, config: Arc<ClientConfig>) -> io::Result<Client> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
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

    /// Reads one HTTP answer.
    pub fn answer(&mut self, method: &str) -> io::Result<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.byte()?);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let answer = Answer {
            status,
            head,
            body: Vec::new(),
        };
        let length = match answer.header("content-length") {
            Some(length) if method != "HEAD" && status != 101 => length.parse().unwrap(),
            _ => 0,
        };
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok(Answer { body, ..answer })
    }

    /// One WebSocket frame: opcode and payload.
    pub fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let opcode = self.byte()? & 0x0f;
        let length = match self.byte()? {
            126 => u64::from(u16::from_be_bytes([self.byte()?, self.byte()?])),
            127 => {
                let mut length = [0; 8];
                self.0.read_exact(&mut length)?;
                u64::from_be_bytes(length)
            }
            short => short.into(),
        };
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload)?;
        Ok((opcode, payload))
    }

    /// Sends a masked WebSocket frame.
    pub fn send_frame(&mut self, opcode: u8, payload: &[u8]) {
        self.send(&frame(opcode, payload));
    }

    /// Whether the connection ends; what still comes is skipped.
    pub fn ends(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.0.read_exact(&mut byte)?;
        Ok(byte[0])
    }
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
    let mask = [1, 2, 3, 4];
    bytes.extend(mask);
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Longer than anything here takes, shorter than a test run may hang.
pub const PATIENCE: Duration = Duration::from_secs(60);
