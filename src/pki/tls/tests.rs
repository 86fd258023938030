//! Whole handshakes in memory, good and bad.

use super::testing::shake;
use super::*;
use crate::pki::certificate::Subject;
use crate::pki::chain;
use crate::pki::issue::{Issuer, new_ca};
use crate::system::clock::{ManualClock, Timestamp};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CertificateError, Error, HandshakeKind, ServerConnection,
    SupportedProtocolVersion,
};
use std::net::IpAddr;
use std::slice::from_ref;
use std::time::Duration;

const GO_CA: &[u8] = include_bytes!("../../../tests/vectors/token-ca/ca.der");
const GO_SERVING: &[u8] = include_bytes!("../../../tests/vectors/token-ca/cloudcore.der");
const GO_SERVING_KEY: &[u8] = include_bytes!("../../../tests/vectors/token-ca/cloudcorekey.der");

const DAY: Duration = Duration::from_secs(86_400);
const ADDRESS: &str = "192.0.2.1";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

#[test]
fn every_suite_has_ephemeral_keys_and_aead() {
    let suites = &provider().cipher_suites;
    assert!(!suites.is_empty());
    for suite in suites {
        let suite = suite.suite();
        let name = suite.as_str().unwrap();
        let fresh = ["TLS13_", "TLS_ECDHE_"]
            .iter()
            .any(|it| name.starts_with(it));
        let sealed = ["_GCM_", "_CHACHA20_POLY1305_"]
            .iter()
            .any(|it| name.contains(it));
        assert!(fresh && sealed, "{name}");
    }
}

/// A CA, a cloud at `ADDRESS` and `cloud.example`, a node, and the clock of both.
struct World {
    clock: Clock,
    hand: ManualClock,
    now: Timestamp,
    ca: Certificate,
    issuer: Issuer,
    cell: Arc<ServingCell>,
    node: (Certificate, PrivateKey),
}

impl World {
    fn new() -> World {
        let now = Timestamp::from_unix(1_800_000_000);
        let (clock, hand) = Clock::manual(now);
        let (ca, key) = new_ca(now).unwrap();
        let issuer = Issuer::new(ca.clone(), key).unwrap();
        let key = PrivateKey::generate().unwrap();
        let cell = ServingCell::new(&serving(&issuer, &key, now), &key, &[]).unwrap();
        let key = PrivateKey::generate().unwrap();
        let subject = Subject::node(&"edge-1".parse().unwrap());
        let node = issuer
            .client(key.spki(), &subject, now, now.plus(DAY))
            .unwrap();
        World {
            clock,
            hand,
            now,
            ca,
            issuer,
            cell,
            node: (node, key),
        }
    }

    fn server(&self, clients: ClientAuth) -> Arc<ServerConfig> {
        server(&self.cell, clients, &self.clock).unwrap()
    }

    fn required(&self) -> Arc<ServerConfig> {
        self.server(ClientAuth::Required(
            TrustCell::new(std::slice::from_ref(&self.ca)).unwrap(),
        ))
    }

    fn client(&self) -> Arc<ClientConfig> {
        client(
            from_ref(&self.ca),
            Some((&self.node.0, &self.node.1)),
            &self.clock,
        )
        .unwrap()
    }

    fn stranger(&self) -> Arc<ClientConfig> {
        client(from_ref(&self.ca), None, &self.clock).unwrap()
    }

    /// A client of one version that shows a certificate with a key of any owner.
    fn careless(
        &self,
        version: &'static SupportedProtocolVersion,
        certificate: &Certificate,
        key: &PrivateKey,
    ) -> Arc<ClientConfig> {
        let gate = ServerGate::new(None, Presented::default());
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(gate))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(unmatched(
                certificate,
                key,
            ))));
        Arc::new(config)
    }
}

fn serving(issuer: &Issuer, key: &PrivateKey, now: Timestamp) -> Certificate {
    let dns = ["cloud.example".to_owned()];
    let ips: [IpAddr; 2] = [ADDRESS.parse().unwrap(), "2001:db8::1".parse().unwrap()];
    issuer
        .server(key, &dns, &ips, now, now.plus(2 * DAY))
        .unwrap()
}

fn unmatched(certificate: &Certificate, key: &PrivateKey) -> CertifiedKey {
    CertifiedKey::new(
        vec![certificate.rustls_der().clone()],
        key.rustls_key().unwrap(),
    )
}

/// A server of one version that shows a certificate with a key of any owner.
fn careless_server(
    version: &'static SupportedProtocolVersion,
    certificate: &Certificate,
    key: &PrivateKey,
) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(unmatched(
            certificate,
            key,
        ))));
    Arc::new(config)
}

fn peer(connection: &ServerConnection) -> Option<Certificate> {
    peer_certificate(connection.peer_certificates()?)
}

#[test]
fn a_node_is_let_in_and_known() {
    let world = World::new();
    for host in [ADDRESS, "2001:db8::1", "cloud.example", "CLOUD.example"] {
        let (client, server) = shake(&world.client(), &world.required(), host).unwrap();
        assert_eq!(peer(&server), Some(world.node.0.clone()));
        assert_eq!(
            client.protocol_version(),
            Some(rustls::ProtocolVersion::TLSv1_3)
        );
    }
    for version in VERSIONS {
        let node = world.careless(version, &world.node.0, &world.node.1);
        let (client, _) = shake(&node, &world.required(), ADDRESS).unwrap();
        assert_eq!(client.protocol_version(), Some(version.version));
    }
}

#[test]
fn a_public_certificate_is_worth_nothing_without_its_key() {
    let world = World::new();
    let thief = PrivateKey::generate().unwrap();
    for version in VERSIONS {
        let client = world.careless(version, &world.node.0, &thief);
        for clients in [
            ClientAuth::Optional,
            ClientAuth::Required(TrustCell::new(std::slice::from_ref(&world.ca)).unwrap()),
        ] {
            let failure = shake(&client, &world.server(clients), ADDRESS).unwrap_err();
            assert_eq!(
                failure.server,
                Some(CertificateError::BadSignature.into()),
                "{version:?}"
            );
        }
        let server = careless_server(version, &world.cell.certificate(), &thief);
        for client in [world.client(), client_unverified(&world.clock).unwrap()] {
            let failure = shake(&client, &server, ADDRESS).unwrap_err();
            assert_eq!(failure.client, Some(CertificateError::BadSignature.into()));
        }
    }
}

#[test]
fn optional_lets_anyone_in_and_the_caller_judges() {
    let world = World::new();
    let optional = world.server(ClientAuth::Optional);
    let (_, server) = shake(&world.stranger(), &optional, ADDRESS).unwrap();
    assert_eq!(peer(&server), None);
    let foreign = World::new();
    for version in VERSIONS {
        let client = foreign.careless(version, &foreign.node.0, &foreign.node.1);
        let (_, server) = shake(&client, &optional, ADDRESS).unwrap();
        let peer = peer(&server).unwrap();
        let judge = |ca: &Certificate| chain::verify_client(&peer, from_ref(ca), world.now);
        judge(&foreign.ca).unwrap();
        assert!(matches!(judge(&world.ca), Err(PkiError::UnknownCa)));
    }
}

#[test]
fn required_tells_why_it_refuses() {
    let world = World::new();
    let refuse = |client: &Arc<ClientConfig>| {
        let failure = shake(client, &world.required(), ADDRESS).unwrap_err();
        let Some(Error::AlertReceived(alert)) = failure.client else {
            panic!("the client got no alert: {failure:?}");
        };
        (failure.server.unwrap(), alert)
    };
    let (error, alert) = refuse(&world.stranger());
    assert_eq!(error, Error::NoCertificatesPresented);
    assert_eq!(alert, AlertDescription::CertificateRequired);

    let foreign = World::new();
    let (error, alert) = refuse(&world.careless(&TLS13, &foreign.node.0, &foreign.node.1));
    assert_eq!(error, CertificateError::UnknownIssuer.into());
    assert_eq!(alert, AlertDescription::UnknownCA);

    let key = PrivateKey::generate().unwrap();
    let server = serving(&world.issuer, &key, world.now);
    let (_, alert) = refuse(&world.careless(&TLS13, &server, &key));
    assert_eq!(alert, AlertDescription::UnsupportedCertificate);

    world.hand.advance(DAY + DAY / 2);
    let (_, alert) = refuse(&world.careless(&TLS13, &world.node.0, &world.node.1));
    assert_eq!(alert, AlertDescription::CertificateExpired);
}

#[test]
fn a_client_names_what_is_wrong_with_the_server() {
    let world = World::new();
    let optional = world.server(ClientAuth::Optional);
    let presented = Presented::default();
    let config = client_observed(from_ref(&world.ca), None, &world.clock, &presented).unwrap();
    let fail = |host: &str| {
        let failure = shake(&config, &optional, host).unwrap_err();
        explain(&failure.client.unwrap(), host, None)
    };
    for host in ["192.0.2.9", "other.example"] {
        let text = fail(host);
        assert!(
            text.contains("valid for cloud.example, 192.0.2.1, 2001:db8::1 only"),
            "{text}"
        );
    }
    assert_eq!(presented.certificate(), Some(world.cell.certificate()));
    world.hand.advance(3 * DAY);
    assert!(fail(ADDRESS).contains("expired at"));
    world.hand.set(Timestamp::from_unix(0));
    assert!(fail(ADDRESS).contains("clock here says 1970-01-01T00:00:00Z"));
    world.hand.set(world.now);
    let foreign = World::new().server(ClientAuth::Optional);
    let failure = shake(&config, &foreign, ADDRESS).unwrap_err();
    assert_eq!(failure.client, Some(CertificateError::UnknownIssuer.into()));
    let unverified = client_unverified(&world.clock).unwrap();
    shake(&unverified, &foreign, "anything.example").unwrap();
}

#[test]
fn the_serving_certificate_changes_while_connections_go_on() {
    let world = World::new();
    let optional = world.server(ClientAuth::Optional);
    let client = world.stranger();
    let shown = || {
        let (client, _) = shake(&client, &optional, ADDRESS).unwrap();
        assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
        peer_certificate(client.peer_certificates().unwrap()).unwrap()
    };
    let old = shown();
    let key = PrivateKey::generate().unwrap();
    assert!(matches!(
        world.cell.set(&old, &key, &[]),
        Err(PkiError::KeyMismatch)
    ));
    assert_eq!(shown(), old);
    let new = serving(&world.issuer, &key, world.now);
    world.cell.set(&new, &key, &[]).unwrap();
    assert_eq!(shown(), new);
}

#[test]
fn a_cloud_of_go_is_accepted() {
    let ca = Certificate::from_der(GO_CA).unwrap();
    let certificate = Certificate::from_der(GO_SERVING).unwrap();
    let key = PrivateKey::from_der(GO_SERVING_KEY).unwrap();
    let (clock, _) = Clock::manual(ca.not_before().plus(DAY));
    let client = client(&[ca], None, &clock).unwrap();
    for version in VERSIONS {
        let server = careless_server(version, &certificate, &key);
        for host in ["127.0.0.1", "localhost"] {
            shake(&client, &server, host).unwrap();
        }
    }
}

/// What cloudcore makes by default: one DNS name of no length, and the address.
#[test]
fn an_empty_dns_name_does_not_spoil_the_certificate() {
    let (ca, ca_key) = new_ca(Timestamp::from_unix(1_800_000_000)).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = ca.subject().to_rcgen();
    let signer = rcgen::Issuer::new(params.clone(), ca_key);
    let names = b"\x30\x0d\x82\x00\x82\x03a.b\x87\x04\xc0\x00\x02\x01".to_vec();
    let names = [&names[..1], &[names.len() as u8 - 2], &names[2..]].concat();
    params.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(
        &[2, 5, 29, 17],
        names,
    )];
    let key = PrivateKey::generate().unwrap();
    let made = params.signed_by(&key, &signer).unwrap();
    let certificate = Certificate::from_der(made.der()).unwrap();
    assert_eq!(certificate.dns_names(), ["a.b"]);
    let (clock, _) = Clock::manual(ca.not_before());
    let client = client(&[ca], None, &clock).unwrap();
    for version in VERSIONS {
        let server = careless_server(version, &certificate, &key);
        for host in [ADDRESS, "a.b"] {
            shake(&client, &server, host).unwrap();
        }
        let failure = shake(&client, &server, "127.0.0.1").unwrap_err();
        let text = explain(&failure.client.unwrap(), "127.0.0.1", None);
        assert!(text.contains("valid for a.b, 192.0.2.1 only"), "{text}");
    }
}

#[test]
fn errors_come_through_io() {
    let error = io::Error::new(
        io::ErrorKind::InvalidData,
        Error::from(CertificateError::UnknownIssuer),
    );
    assert!(explain(tls_error(&error).unwrap(), "x", None).contains("terminates TLS"));
    assert!(tls_error(&io::Error::from(io::ErrorKind::TimedOut)).is_none());
}
