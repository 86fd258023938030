//! Compares what we make with what Go made, and asks openssl.

use super::*;
use crate::pki::chain;
use crate::pki::der::Reader;
use std::path::PathBuf;
use std::process::Command;

const GO_CA: &[u8] = include_bytes!("../../../tests/vectors/token-ca/ca.der");
const GO_KEY: &[u8] = include_bytes!("../../../tests/vectors/token-ca/cakey.der");
const GO_SERVING: &[u8] = include_bytes!("../../../tests/vectors/token-ca/cloudcore.der");
const GO_SERVING_KEY: &[u8] = include_bytes!("../../../tests/vectors/token-ca/cloudcorekey.der");
const GO_NODE: &[u8] = include_bytes!("../../../tests/vectors/https-cases/01-ok-token.resp.bin");

fn go_issuer() -> Issuer {
    let key = PrivateKey::from_der(GO_KEY).unwrap();
    Issuer::new(Certificate::from_der(GO_CA).unwrap(), key).unwrap()
}

/// The part that is signed, with zeros in place of what is random.
fn signed_part(der: &[u8], random: &[&[u8]]) -> Vec<u8> {
    let mut outer = Reader::whole(der, SEQUENCE).unwrap();
    let mut part = outer.raw(SEQUENCE).unwrap().to_vec();
    for bytes in random {
        let at = part.windows(bytes.len()).position(|w| w == *bytes).unwrap();
        part[at..at + bytes.len()].fill(0);
    }
    part
}

fn serial(certificate: &Certificate) -> Vec<u8> {
    parse(certificate.der()).unwrap().serial.to_vec()
}

/// As long as those of the recordings; one in 128 is shorter.
fn with_long_serial(make: impl Fn() -> Result<Certificate, PkiError>) -> Certificate {
    let mut made = std::iter::repeat_with(|| make().unwrap());
    made.find(|certificate| serial(certificate).len() == 8)
        .unwrap()
}

#[test]
fn a_new_ca_has_the_bytes_of_go() {
    let go = Certificate::from_der(GO_CA).unwrap();
    let (ours, key) = new_ca(go.not_before().plus(Duration::from_millis(900))).unwrap();
    let plain = |ca: &Certificate| signed_part(ca.der(), &[&ca.spki()[26..], ca.key_id().unwrap()]);
    assert_eq!(plain(&ours), plain(&go));
    assert_eq!(ours.spki(), key.spki());
    assert_ne!(ours.key_id(), go.key_id());
}

#[test]
fn a_client_certificate_has_the_bytes_of_go() {
    let body = GO_NODE.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let go = Certificate::from_der(&GO_NODE[body..]).unwrap();
    let (from, until) = (go.not_before(), go.not_after());
    let issuer = go_issuer();
    let ours = with_long_serial(|| issuer.client(go.spki(), &go.subject(), from, until));
    let plain = |c: &Certificate| signed_part(c.der(), &[&serial(c)]);
    assert_eq!(plain(&ours), plain(&go));
    chain::verify_client(&ours, &[issuer.certificate().clone()], from).unwrap();
}

#[test]
fn a_server_certificate_has_the_bytes_of_go() {
    let go = Certificate::from_der(GO_SERVING).unwrap();
    let key = PrivateKey::from_der(GO_SERVING_KEY).unwrap();
    let dns = [String::new(), "localhost".to_owned()];
    let (from, until) = (go.not_before(), go.not_after());
    let issuer = go_issuer();
    let ours = with_long_serial(|| issuer.server(&key, &dns, go.ip_addresses(), from, until));
    let plain = |c: &Certificate| signed_part(c.der(), &[&serial(c)]);
    assert_eq!(plain(&ours), plain(&go));
}

#[test]
fn any_ca_may_be_taken_over_but_only_with_its_key() {
    let (ca, key) = new_ca(Timestamp::from_unix(1_800_000_000)).unwrap();
    let other = PrivateKey::generate().unwrap();
    assert!(matches!(
        Issuer::new(ca.clone(), other),
        Err(PkiError::KeyMismatch)
    ));
    let issuer = Issuer::new(ca.clone(), key.clone()).unwrap();
    let leaf = issuer
        .client(key.spki(), &ca.subject(), ca.not_before(), ca.not_after())
        .unwrap();
    assert!(matches!(Issuer::new(leaf, key), Err(PkiError::NotCa)));
}

#[test]
fn what_no_certificate_can_hold() {
    let issuer = go_issuer();
    let key = PrivateKey::generate().unwrap();
    let now = Timestamp::from_unix(1_800_000_000);
    let client = |from, until| issuer.client(key.spki(), &kubeedge(None), from, until);
    let early = Timestamp::from_unix(i64::MIN);
    for (from, until) in [(now, now.minus(Duration::from_secs(1))), (early, now)] {
        assert!(matches!(client(from, until), Err(PkiError::Validity)));
    }
    client(now, Timestamp::from_unix(i64::MAX)).unwrap();
    let server = |name: &str| issuer.server(&key, &[name.to_owned()], &[], now, now);
    for bad in ["a b", "ä", &"a".repeat(254)] {
        assert!(matches!(server(bad), Err(PkiError::Name(_))), "{bad}");
    }
    let many: Vec<String> = (0..99).map(|n| format!("host-{n}.example")).collect();
    let large = issuer.server(&key, &many, &["::1".parse().unwrap()], now, now);
    assert_eq!(large.unwrap().dns_names(), many);
    let rsa = issuer.client(b"\x30\x0d", &kubeedge(None), now, now);
    assert!(matches!(rsa, Err(PkiError::KeyKind)));
}

#[test]
fn openssl_agrees() {
    let folder = Folder::new();
    let now = Timestamp::from_unix(1_800_000_000);
    let (ca, key) = new_ca(now).unwrap();
    let issuer = Issuer::new(ca.clone(), key).unwrap();
    let key = PrivateKey::generate().unwrap();
    let until = now.plus(Duration::from_secs(3600));
    let subject = Subject::node(&"edge-1".parse().unwrap());
    let client = issuer.client(key.spki(), &subject, now, until).unwrap();
    let ips = ["192.0.2.1".parse().unwrap()];
    let server = issuer.server(&key, &[], &ips, now, until).unwrap();
    let ca = folder.write("ca.pem", &ca.to_pem());
    let verify = |name, certificate: &Certificate, more: &[&str]| {
        let file = folder.write(name, &certificate.to_pem());
        openssl(
            &[
                &[
                    "verify",
                    "-x509_strict",
                    "-attime",
                    "1800000100",
                    "-CAfile",
                    &ca,
                ],
                more,
                &[&file],
            ]
            .concat(),
        )
    };
    verify("client.pem", &client, &["-purpose", "sslclient"]).unwrap();
    verify(
        "server.pem",
        &server,
        &["-purpose", "sslserver", "-verify_ip", "192.0.2.1"],
    )
    .unwrap();
    verify("server.pem", &server, &["-purpose", "sslclient"]).unwrap_err();
    let pem = folder.write("key.pem", &key.to_sec1_pem());
    openssl(&["ec", "-in", &pem, "-check", "-noout"]).unwrap();
    let pkcs8 = openssl(&["pkcs8", "-topk8", "-nocrypt", "-in", &pem]).unwrap();
    assert_eq!(PrivateKey::from_pem(&pkcs8).unwrap().spki(), key.spki());
    let csr = crate::pki::csr::create(&key, &subject).unwrap();
    let csr = folder.write(
        "csr.pem",
        &crate::pki::pem::encode("CERTIFICATE REQUEST", &csr),
    );
    let text = openssl(&["req", "-in", &csr, "-verify", "-noout", "-subject"]).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("system:node:edge-1"), "{text}");
}

/// The output, or what openssl says is wrong.
fn openssl(args: &[&str]) -> Result<Vec<u8>, String> {
    let output = Command::new("openssl").args(args).output().unwrap();
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let name = format!("kubeedge-issue-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    #[allow(clippy::disallowed_methods)] // Throw-away files of a test.
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Who knows the old CA alone can verify what the new one signs, by the cross certificate, for as
/// long as the old one lasts; and nobody else's cross certificate does.
#[test]
fn an_authority_vouches_for_another() {
    let now = Timestamp::from_unix(1_800_000_000);
    let year = Duration::from_secs(365 * 86_400);
    let made = |at| {
        let (ca, key) = new_ca(at).unwrap();
        (ca.clone(), Issuer::new(ca, key).unwrap())
    };
    let ((old, old_issuer), (new, new_issuer), (_, other)) = (made(now), made(now), made(now));
    let cross = old_issuer.cross(&new, now.plus(year)).unwrap();
    assert_eq!(cross.spki(), new.spki());
    assert_eq!(cross.subject(), new.subject());
    assert_eq!(cross.key_id(), new.key_id());
    assert!(cross.is_ca() && cross.hash() != new.hash());
    let later = now.plus(2 * year);
    chain::verify_authority(&cross, &old, later).unwrap();
    chain::verify_authority(&new, &new, later).unwrap();
    for (ca, by) in [(&cross, &new), (&new, &old), (&old, &new)] {
        let refused = chain::verify_authority(ca, by, later);
        assert!(matches!(refused, Err(PkiError::UnknownCa)), "{refused:?}");
    }
    let early = chain::verify_authority(&cross, &old, now);
    assert!(matches!(early, Err(PkiError::NotYetValid { .. })));
    let ended = chain::verify_authority(&cross, &old, old.not_after().plus(year));
    assert!(matches!(ended, Err(PkiError::Expired { .. })));

    let key = PrivateKey::generate().unwrap();
    let leaf = new_issuer
        .server(&key, &[], &[], now, later.plus(year))
        .unwrap();
    let through = |shown: &[Certificate]| {
        chain::verify_server_through(&leaf, shown, std::slice::from_ref(&old), later)
    };
    through(std::slice::from_ref(&cross)).unwrap();
    let foreign = other.cross(&new, now).unwrap();
    for shown in [
        &[][..],
        std::slice::from_ref(&new),
        std::slice::from_ref(&foreign),
    ] {
        assert!(matches!(through(shown), Err(PkiError::UnknownCa)));
    }
    through(&[foreign, cross.clone()]).unwrap();
    let not_ca = old_issuer.cross(&leaf, now);
    assert!(matches!(not_ca, Err(PkiError::NotCa)));
    // A client certificate does not make an authority, though the authority signed it.
    let client = old_issuer
        .client(new.spki(), &new.subject(), now, later)
        .unwrap();
    let refused = chain::verify_authority(&client, &old, later);
    assert!(matches!(refused, Err(PkiError::NotCa)));
}
