//! Makes certificates: a CA in KubeEdge's form, and what it signs (docs/protocol.md).

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{CertificateParams, CustomExtension, DnType, DnValue};
use ring::rand::{SecureRandom, SystemRandom};
use time::OffsetDateTime;

use super::PkiError;
use super::certificate::{Certificate, Subject, parse};
use super::der::{BIT_STRING, BOOLEAN, IMPLICIT, OCTET_STRING, OID, SEQUENCE, tagged};
use super::hash::Sha256Hash;
use super::key::{Curve, PrivateKey};
use super::x509::{self, CLIENT_AUTH, IA5_STRING, PRINTABLE_STRING, SERVER_AUTH, UTF8_STRING};
use crate::system::clock::Timestamp;

/// A new CA with a new key, as KubeEdge makes it: `CN=KubeEdge`, serial 1024, 36,400 days from
/// `now` (in whole seconds).
pub fn new_ca(now: Timestamp) -> Result<(Certificate, PrivateKey), PkiError> {
    ca(&kubeedge(None), CA_SERIAL, CA_LIFETIME, now)
}

/// A new CA with a new key, with this common name alone.
pub fn new_ca_called(
    name: &str,
    lifetime: Duration,
    now: Timestamp,
) -> Result<(Certificate, PrivateKey), PkiError> {
    let subject = Subject {
        common_name: Some(name.to_owned()),
        ..Subject::default()
    };
    ca(&subject, random_serial()?, lifetime, now)
}

fn ca(
    subject: &Subject,
    serial: u64,
    lifetime: Duration,
    now: Timestamp,
) -> Result<(Certificate, PrivateKey), PkiError> {
    let key = PrivateKey::generate()?;
    let mut params = validity(now, now.plus(lifetime))?;
    params.serial_number = Some(serial.into());
    params.distinguished_name = subject.to_rcgen();
    params.custom_extensions = authority_extensions(&key_id(key.spki())?);
    let certificate = params.self_signed(&key).map_err(refused)?;
    Ok((Certificate::from_der(certificate.der())?, key))
}

/// A CA with its key, ready to sign.
pub struct Issuer {
    certificate: Certificate,
    signer: rcgen::Issuer<'static, PrivateKey>,
}

impl Issuer {
    /// Any CA will do, ours or one taken over, as long as the key is its own.
    pub fn new(certificate: Certificate, key: PrivateKey) -> Result<Issuer, PkiError> {
        if !certificate.is_ca() {
            return Err(PkiError::NotCa);
        }
        if certificate.spki() != key.spki() {
            return Err(PkiError::KeyMismatch);
        }
        let parsed = parse(certificate.der())?;
        let mut params = CertificateParams::default();
        params.distinguished_name = copy_name(&certificate)?;
        let issuer = Issuer {
            signer: rcgen::Issuer::new(params, key),
            certificate: certificate.clone(),
        };
        // Go looks an issuer up by the bytes of its name: make sure that ours are the same.
        let (from, until) = (certificate.not_before(), certificate.not_after());
        let trial = issuer.client(certificate.spki(), &kubeedge(None), from, until)?;
        if parse(trial.der())?.issuer != parsed.subject {
            return Err(unusable_name(&certificate));
        }
        Ok(issuer)
    }

    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// A client certificate: exactly this key, subject and validity, and nothing that could serve
    /// as a server or a CA. Times are cut to whole seconds.
    pub fn client(
        &self,
        spki: &[u8],
        subject: &Subject,
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Result<Certificate, PkiError> {
        let mut params = validity(not_before, not_after)?;
        params.distinguished_name = subject.to_rcgen();
        params.custom_extensions = self.leaf_extensions(CLIENT_AUTH);
        self.sign(params, spki)
    }

    /// A server certificate for these names and addresses; empty names are left out.
    pub fn server(
        &self,
        key: &PrivateKey,
        dns: &[String],
        ips: &[IpAddr],
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Result<Certificate, PkiError> {
        let mut params = validity(not_before, not_after)?;
        params.distinguished_name = kubeedge(Some("KubeEdge")).to_rcgen();
        params.custom_extensions = self.leaf_extensions(SERVER_AUTH);
        params
            .custom_extensions
            .extend(alternative_names(dns, ips)?);
        self.sign(params, key.spki())
    }

    /// A certificate by which this CA vouches for another, until either ends: who knows this one
    /// alone can verify what the other one signs.
    pub fn cross(&self, other: &Certificate, now: Timestamp) -> Result<Certificate, PkiError> {
        if !other.is_ca() {
            return Err(PkiError::NotCa);
        }
        let begin = now.max(self.certificate.not_before());
        let end = other.not_after().min(self.certificate.not_after());
        let mut params = validity(begin, end)?;
        params.distinguished_name = copy_name(other)?;
        let id = other.key_id().map(<[u8]>::to_vec);
        let id = id.map_or_else(|| key_id(other.spki()), Ok)?;
        params.custom_extensions = authority_extensions(&id);
        // Both have the same name as a rule: without it OpenSSL takes this for self-signed.
        let own = self.certificate.key_id().map(<[u8]>::to_vec);
        let own = own.map_or_else(|| key_id(self.certificate.spki()), Ok)?;
        params.custom_extensions.push(by_key(&own));
        self.sign(params, other.spki())
    }

    fn leaf_extensions(&self, usage: &[u8]) -> Vec<CustomExtension> {
        let mut extensions = vec![
            key_usage([5, SIGNATURE | ENCIPHERMENT]),
            extended_key_usage(&[usage]),
        ];
        if let Some(id) = self.certificate.key_id() {
            extensions.push(by_key(id));
        }
        extensions
    }

    fn sign(&self, mut params: CertificateParams, spki: &[u8]) -> Result<Certificate, PkiError> {
        params.serial_number = Some(random_serial()?.into());
        let (curve, point) = Curve::of_spki(spki)?;
        let certificate = params
            .signed_by(&PublicKey { curve, point }, &self.signer)
            .map_err(refused)?;
        Certificate::from_der(certificate.der())
    }
}

struct PublicKey<'a> {
    curve: Curve,
    point: &'a [u8],
}

impl rcgen::PublicKeyData for PublicKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.curve.rcgen_algorithm()
    }
}

/// Parameters with these times and nothing else.
fn validity(not_before: Timestamp, not_after: Timestamp) -> Result<CertificateParams, PkiError> {
    let time = |at: Timestamp| {
        OffsetDateTime::from_unix_timestamp(at.unix())
            .ok()
            .filter(|time| time.year() >= 1950)
            .ok_or(PkiError::Validity)
    };
    if not_after < not_before {
        return Err(PkiError::Validity);
    }
    let mut params = CertificateParams::default();
    params.not_before = time(not_before)?;
    params.not_after = time(not_after)?;
    Ok(params)
}

fn kubeedge(organization: Option<&str>) -> Subject {
    Subject {
        organization: organization.map(str::to_owned),
        common_name: Some("KubeEdge".to_owned()),
        ..Subject::default()
    }
}

fn authority_extensions(id: &[u8]) -> Vec<CustomExtension> {
    vec![
        key_usage([2, SIGNATURE | ENCIPHERMENT | CERTIFICATES]),
        extended_key_usage(&[SERVER_AUTH, CLIENT_AUTH]),
        extension(19, true, tagged(SEQUENCE, &[&[BOOLEAN, 1, 0xff]])),
        extension(14, false, tagged(OCTET_STRING, &[id])),
    ]
}

/// The method is free, as long as it is the CA's own; see RFC 7093.
fn key_id(spki: &[u8]) -> Result<Vec<u8>, PkiError> {
    let (_, point) = Curve::of_spki(spki)?;
    Ok(Sha256Hash::of(point).as_bytes()[..20].to_vec())
}

/// The AuthorityKeyIdentifier.
fn by_key(id: &[u8]) -> CustomExtension {
    let id = tagged(IMPLICIT, &[id]);
    extension(35, false, tagged(SEQUENCE, &[&id]))
}

/// `bits` is the content of a BIT STRING: how many are unused at the end, and the bits.
fn key_usage(bits: [u8; 2]) -> CustomExtension {
    extension(15, true, tagged(BIT_STRING, &[&bits]))
}

fn extended_key_usage(usages: &[&[u8]]) -> CustomExtension {
    let usages: Vec<u8> = usages
        .iter()
        .flat_map(|usage| tagged(OID, &[usage]))
        .collect();
    extension(37, false, tagged(SEQUENCE, &[&usages]))
}

fn alternative_names(dns: &[String], ips: &[IpAddr]) -> Result<Option<CustomExtension>, PkiError> {
    let mut names = Vec::new();
    for name in dns.iter().filter(|name| !name.is_empty()) {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"-._*".contains(&c);
        if name.len() > 253 || !name.bytes().all(allowed) {
            return Err(PkiError::Name(name.clone()));
        }
        names.extend(tagged(IMPLICIT + 2, &[name.as_bytes()]));
    }
    for address in ips {
        names.extend(match address {
            IpAddr::V4(address) => tagged(IMPLICIT + 7, &[&address.octets()]),
            IpAddr::V6(address) => tagged(IMPLICIT + 7, &[&address.octets()]),
        });
    }
    let some = !names.is_empty();
    Ok(some.then(|| extension(17, false, tagged(SEQUENCE, &[&names]))))
}

/// An extension of the arc id-ce (2.5.29).
fn extension(last: u64, critical: bool, content: Vec<u8>) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, last], content);
    extension.set_criticality(critical);
    extension
}

/// A CA's subject, with each value in its own string type.
fn copy_name(ca: &Certificate) -> Result<rcgen::DistinguishedName, PkiError> {
    let unusable = || unusable_name(ca);
    let mut copy = rcgen::DistinguishedName::new();
    for attribute in x509::attributes(parse(ca.der())?.subject).map_err(|_| unusable())? {
        let text = attribute.text.ok_or_else(unusable)?;
        let value = match attribute.tag {
            UTF8_STRING => DnValue::Utf8String(text.to_owned()),
            PRINTABLE_STRING => DnValue::PrintableString(text.try_into().map_err(|_| unusable())?),
            IA5_STRING => DnValue::Ia5String(text.try_into().map_err(|_| unusable())?),
            _ => return Err(unusable()),
        };
        copy.push(DnType::from_oid(&arcs(attribute.kind)), value);
    }
    Ok(copy)
}

fn unusable_name(ca: &Certificate) -> PkiError {
    PkiError::Name(ca.subject().common_name.unwrap_or_default())
}

/// The numbers of an object identifier. What overflows gives another identifier, which the
/// comparison with the CA's own name then refuses.
fn arcs(content: &[u8]) -> Vec<u64> {
    let mut arcs = Vec::new();
    let mut arc: u64 = 0;
    for byte in content {
        arc = arc << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (arc / 40).min(2);
                arcs.push(first);
                arc -= first * 40;
            }
            arcs.push(arc);
            arc = 0;
        }
    }
    arcs
}

/// From 1 up to 2^63 - 1: positive, and eight bytes at most.
fn random_serial() -> Result<u64, PkiError> {
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| PkiError::Random)?;
    Ok((u64::from_be_bytes(bytes) >> 1).max(1))
}

fn refused(error: rcgen::Error) -> PkiError {
    match error {
        rcgen::Error::RingUnspecified => PkiError::Random,
        error => PkiError::malformed("what shall be signed", error),
    }
}

const CA_SERIAL: u64 = 1024;
const CA_LIFETIME: Duration = Duration::from_secs(364 * 100 * 86_400);
/// Key usage bits.
const SIGNATURE: u8 = 0x80;
const ENCIPHERMENT: u8 = 0x20;
const CERTIFICATES: u8 = 0x04;
#[cfg(test)]
mod tests;
