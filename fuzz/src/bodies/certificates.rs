//! Certificates, requests, keys and PEM files.

use kubeedge::pki::certificate::Certificate;
use kubeedge::pki::chain::{verify_client, verify_server};
use kubeedge::pki::csr::Csr;
use kubeedge::pki::key::PrivateKey;
use kubeedge::pki::minisign::{PublicKey, Signature};
use kubeedge::pki::pem as files;

use super::assert_sentence;

const CA: &[u8] = include_bytes!("../../../tests/vectors/token-ca/ca.der");
/// Whose private key nobody has.
const SIGNER: &str = "RWQxMjM0NTY3OAbl3dZuh+ODWSdVv+vQedkMZ+hvydeHZ/LmsB0VS5F2";
const NODE: &[u8] = include_bytes!("../../seeds/certificate/node");

/// Whatever is read from a certificate agrees with its bytes, and nobody but the CA makes one that is believed.
pub fn certificate(data: &[u8]) {
    if let Err(error) = Certificate::from_pem(data) {
        assert_sentence(&error.to_string());
    }
    let certificate = match Certificate::from_der(data) {
        Ok(certificate) => certificate,
        Err(error) => return assert_sentence(&error.to_string()),
    };
    assert_eq!(certificate.der(), data);
    assert!(
        Certificate::from_der(&[data, &[0]].concat()).is_err(),
        "a byte behind it"
    );
    assert!(
        Certificate::from_der(&data[..data.len() - 1]).is_err(),
        "a byte less"
    );
    let again = Certificate::from_pem(certificate.to_pem().as_bytes()).expect("own PEM");
    assert_eq!(again.der(), data);
    assert!(
        data.windows(certificate.spki().len())
            .any(|part| part == certificate.spki())
    );
    let subject = certificate.subject();
    if let Some(node) = subject.node_name() {
        assert_eq!(subject.common_name, Some(format!("system:node:{node}")));
        assert!(!subject.ambiguous && !subject.is_legacy_edge());
    }
    assert!(
        certificate
            .dns_names()
            .iter()
            .all(|name| !name.is_empty() && name.is_ascii())
    );
    // The recorded CA signed itself and one node, and no fuzzer has its key: what is believed says what these say.
    let recorded =
        [CA, NODE].map(|der| Certificate::from_der(der).expect("a recorded certificate"));
    let now = certificate.not_before();
    let authority = &recorded[..1];
    let is_believed = verify_client(&certificate, authority, now).is_ok()
        || verify_server(&certificate, authority, now).is_ok();
    let says_the_same = |known: &Certificate| {
        known.spki() == certificate.spki()
            && known.subject() == subject
            && known.serial() == certificate.serial()
            && known.not_after() == certificate.not_after()
            && known.is_ca() == certificate.is_ca()
    };
    assert!(
        !is_believed || recorded.iter().any(says_the_same),
        "a forged certificate"
    );
}

/// A request that is accepted was signed as it stands.
pub fn csr(data: &[u8]) {
    let csr = match Csr::parse(data) {
        Ok(csr) => csr,
        Err(error) => return assert_sentence(&error.to_string()),
    };
    assert!(
        data.windows(csr.spki().len())
            .any(|part| part == csr.spki())
    );
    assert!(
        Csr::parse(&[data, &[0]].concat()).is_err(),
        "a byte behind it"
    );
    assert!(Csr::parse(&data[..data.len() - 1]).is_err(), "a byte less");
    // The subject stands in what is signed: no change of it goes through.
    if let Some(name) = csr
        .subject()
        .common_name
        .as_deref()
        .filter(|name| !name.is_empty())
    {
        let at = data
            .windows(name.len())
            .position(|part| part == name.as_bytes());
        let mut changed = data.to_vec();
        changed[at.expect("the name stands in it")] ^= 1;
        assert!(Csr::parse(&changed).is_err(), "a changed name");
    }
    if let Some(node) = csr.subject().node_name() {
        assert!(!csr.subject().is_legacy_edge());
        assert_eq!(csr.subject().organization.as_deref(), Some("system:nodes"));
        assert!(!node.as_str().is_empty());
    }
}

/// A key that is read is the same key in every form that we write.
pub fn key(data: &[u8]) {
    let from_pem = PrivateKey::from_pem(data);
    let from_der = PrivateKey::from_der(data);
    for key in [from_pem, from_der] {
        match key {
            Ok(key) => {
                let again = PrivateKey::from_der(key.sec1_der()).expect("own DER");
                assert_eq!(again.spki(), key.spki());
                let again = PrivateKey::from_pem(key.to_sec1_pem().as_bytes()).expect("own PEM");
                assert_eq!(again.sec1_der(), key.sec1_der());
            }
            Err(error) => assert_sentence(&error.to_string()),
        }
    }
}

/// Every block that is read can be written and read again, alone and with all others.
pub fn pem(data: &[u8]) {
    let blocks = match files::blocks(data) {
        Ok(blocks) => blocks,
        Err(error) => return assert_sentence(&error.to_string()),
    };
    let held: usize = blocks
        .iter()
        .map(|block| block.der.len() + block.label.len())
        .sum();
    assert!(held <= data.len(), "more comes out than was put in");
    let written: String = blocks
        .iter()
        .map(|b| files::encode(&b.label, &b.der))
        .collect();
    let again = files::blocks(written.as_bytes()).expect("own PEM");
    assert!(again == blocks);
}

/// A signature, or a key, of an executable; what is read is no proof of anything yet.
pub fn minisign(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let key: PublicKey = SIGNER.parse().unwrap();
    match text.parse::<Signature>() {
        Ok(signature) => {
            assert!(text.contains(&signature.comment));
            assert!(key.verify(&b"kubeedge"[..], &signature).is_err());
        }
        Err(error) => assert_sentence(&error.to_string()),
    }
    if let Err(error) = text.parse::<PublicKey>() {
        assert_sentence(&error.to_string());
    }
}
