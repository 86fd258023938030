//! The structure of certificates and certificate requests, as far as it is read here.
//!
//! Strict where a choice would mean two readings: lengths in their shortest form, no field or
//! extension twice, nothing behind the end. Whether a certificate may be believed is decided by
//! `chain`, with a library; these readers only tell what stands in it. A parser library was
//! measured at a tenth of the whole executable (docs/decisions.md).

use std::net::IpAddr;

use super::der::{
    BIT_STRING, BOOLEAN, EXPLICIT, IMPLICIT, INTEGER, OCTET_STRING, OID, Reader, SEQUENCE, SET,
};
use crate::system::clock::Timestamp;

/// A certificate, its parts still as DER.
pub(super) struct Parsed<'a> {
    /// What is signed.
    pub signed: &'a [u8],
    /// Content of the OBJECT IDENTIFIER of the signature's algorithm.
    pub algorithm: &'a [u8],
    pub signature: &'a [u8],
    /// Content of the INTEGER.
    pub serial: &'a [u8],
    /// The whole SEQUENCE, as the issuer's name is compared byte for byte.
    pub issuer: &'a [u8],
    pub subject: &'a [u8],
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// The whole SubjectPublicKeyInfo.
    pub spki: &'a [u8],
    pub extensions: Extensions,
}

/// The extensions that mean something here.
#[derive(Default)]
pub(super) struct Extensions {
    pub is_ca: bool,
    pub client_auth: bool,
    pub server_auth: bool,
    pub dns_names: Vec<String>,
    pub ip_addresses: Vec<IpAddr>,
    pub key_id: Option<Vec<u8>>,
}

/// A certificate request, its parts still as DER.
pub(super) struct Request<'a> {
    /// What is signed.
    pub info: &'a [u8],
    pub subject: &'a [u8],
    pub spki: &'a [u8],
    /// Content of the OBJECT IDENTIFIER.
    pub algorithm: &'a [u8],
    pub signature: &'a [u8],
}

/// One part of a distinguished name.
pub(super) struct Attribute<'a> {
    /// Content of the OBJECT IDENTIFIER.
    pub kind: &'a [u8],
    /// Which string type.
    pub tag: u8,
    /// `None` for string types that are not read here, and for what is not UTF-8.
    pub text: Option<&'a str>,
}

/// What was expected and not found.
pub(super) type Fault = &'static str;

/// Reads a certificate with nothing behind it.
pub(super) fn certificate(der: &[u8]) -> Result<Parsed<'_>, Fault> {
    let mut outer = Reader::whole(der, SEQUENCE).ok_or("no certificate, or more behind it")?;
    let signed = outer.raw(SEQUENCE).ok_or("no content")?;
    let mut algorithm = outer.inside(SEQUENCE).ok_or("no signature algorithm")?;
    let algorithm = algorithm.content(OID).ok_or("no signature algorithm")?;
    let signature = outer.content(BIT_STRING).ok_or("no signature")?;
    outer.end().ok_or("more behind the signature")?;
    // The first octet counts unused bits, of which a signature has none: another one is never good.
    let signature = signature.strip_prefix(&[0]).unwrap_or_default();

    let mut tbs = Reader::whole(signed, SEQUENCE).ok_or("no content")?;
    tbs.content(EXPLICIT);
    let serial = tbs.content(INTEGER).ok_or("no serial number")?;
    tbs.content(SEQUENCE).ok_or("no algorithm")?;
    let issuer = tbs.raw(SEQUENCE).ok_or("no issuer")?;
    let mut validity = tbs.inside(SEQUENCE).ok_or("no validity")?;
    let not_before = time(&mut validity).ok_or("no start of validity")?;
    let not_after = time(&mut validity).ok_or("no end of validity")?;
    validity.end().ok_or("more behind the validity")?;
    let subject = tbs.raw(SEQUENCE).ok_or("no subject")?;
    let spki = tbs.raw(SEQUENCE).ok_or("no public key")?;
    tbs.content(IMPLICIT + 1);
    tbs.content(IMPLICIT + 2);
    let mut extensions = Extensions::default();
    if let Some(mut list) = tbs.inside(EXPLICIT + 3) {
        let list = list.inside(SEQUENCE).ok_or("no list of extensions")?;
        extensions.read(list)?;
    }
    tbs.end().ok_or("more behind the extensions")?;
    Ok(Parsed {
        signed,
        algorithm,
        signature,
        serial,
        issuer,
        subject,
        not_before,
        not_after,
        spki,
        extensions,
    })
}

/// Reads a certificate request with nothing behind it; its signature is not verified here.
pub(super) fn request(der: &[u8]) -> Result<Request<'_>, Fault> {
    let mut outer = Reader::whole(der, SEQUENCE).ok_or("no request, or more behind it")?;
    let info = outer.raw(SEQUENCE).ok_or("no content")?;
    let mut algorithm = outer.inside(SEQUENCE).ok_or("no signature algorithm")?;
    let algorithm = algorithm.content(OID).ok_or("no signature algorithm")?;
    let signature = outer.content(BIT_STRING).ok_or("no signature")?;
    outer.end().ok_or("more behind the signature")?;

    let mut inside = Reader::whole(info, SEQUENCE).ok_or("no content")?;
    inside.content(INTEGER).ok_or("no version")?;
    let subject = inside.raw(SEQUENCE).ok_or("no subject")?;
    let spki = inside.raw(SEQUENCE).ok_or("no public key")?;
    // What the request asks for besides is not looked at: the cloud decides.
    inside.content(EXPLICIT);
    inside.end().ok_or("more behind the attributes")?;
    // The first octet counts unused bits, of which a signature has none.
    let signature = signature
        .strip_prefix(&[0])
        .ok_or("a signature of odd bits")?;
    Ok(Request {
        info,
        subject,
        spki,
        algorithm,
        signature,
    })
}

/// The parts of a distinguished name, in order.
pub(super) fn attributes(name: &[u8]) -> Result<Vec<Attribute<'_>>, Fault> {
    let mut sets = Reader::whole(name, SEQUENCE).ok_or("no name")?;
    let mut found = Vec::new();
    while !sets.is_empty() {
        let mut set = sets.inside(SET).ok_or("a name of odd parts")?;
        while !set.is_empty() {
            let mut pair = set.inside(SEQUENCE).ok_or("a name of odd parts")?;
            let kind = pair.content(OID).ok_or("a part of a name without a kind")?;
            let (tag, value) = pair.any().ok_or("a part of a name without a value")?;
            pair.end().ok_or("a part of a name with two values")?;
            let is_text = matches!(tag, UTF8_STRING | PRINTABLE_STRING | IA5_STRING);
            let text = std::str::from_utf8(value).ok().filter(|_| is_text);
            found.push(Attribute { kind, tag, text });
        }
    }
    Ok(found)
}

impl Extensions {
    fn read(&mut self, mut list: Reader<'_>) -> Result<(), Fault> {
        let mut seen: Vec<&[u8]> = Vec::new();
        while !list.is_empty() {
            let mut extension = list.inside(SEQUENCE).ok_or("an odd extension")?;
            let kind = extension
                .content(OID)
                .ok_or("an extension without a kind")?;
            extension.content(BOOLEAN);
            let value = extension
                .content(OCTET_STRING)
                .ok_or("an extension without a value")?;
            extension.end().ok_or("an extension with two values")?;
            if seen.contains(&kind) {
                return Err("an extension that came twice");
            }
            seen.push(kind);
            match kind {
                b"\x55\x1d\x13" => self
                    .read_constraints(value)
                    .ok_or("odd basic constraints")?,
                b"\x55\x1d\x25" => self.read_usages(value).ok_or("odd extended key usages")?,
                b"\x55\x1d\x0e" => self.read_key_id(value).ok_or("an odd key identifier")?,
                b"\x55\x1d\x11" => self.read_names(value).ok_or("odd alternative names")?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_constraints(&mut self, value: &[u8]) -> Option<()> {
        let mut constraints = Reader::whole(value, SEQUENCE)?;
        self.is_ca = match constraints.content(BOOLEAN) {
            None => false,
            Some([0]) => false,
            Some([0xff]) => true,
            Some(_) => return None,
        };
        constraints.content(INTEGER);
        constraints.end()
    }

    fn read_usages(&mut self, value: &[u8]) -> Option<()> {
        let mut usages = Reader::whole(value, SEQUENCE)?;
        while !usages.is_empty() {
            match usages.content(OID)? {
                SERVER_AUTH => self.server_auth = true,
                CLIENT_AUTH => self.client_auth = true,
                _ => {}
            }
        }
        Some(())
    }

    fn read_key_id(&mut self, value: &[u8]) -> Option<()> {
        let mut id = Reader::new(value);
        self.key_id = Some(id.content(OCTET_STRING)?.to_vec());
        id.end()
    }

    fn read_names(&mut self, value: &[u8]) -> Option<()> {
        let mut names = Reader::whole(value, SEQUENCE)?;
        while !names.is_empty() {
            match names.any()? {
                // KubeEdge's clouds write an empty name by default; it names nothing.
                (DNS_NAME, b"") => {}
                (DNS_NAME, name) if name.is_ascii() => {
                    self.dns_names
                        .push(String::from_utf8_lossy(name).into_owned());
                }
                (IP_ADDRESS, octets) => self.ip_addresses.push(address(octets)?),
                (DNS_NAME, _) => return None,
                _ => {}
            }
        }
        Some(())
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from))
        .ok()
}

/// UTCTime or GeneralizedTime in the only form that certificates may have: whole seconds, UTC.
fn time(reader: &mut Reader<'_>) -> Option<Timestamp> {
    let (tag, digits) = reader.any()?;
    let digits = std::str::from_utf8(digits).ok()?.strip_suffix('Z')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let full = match (tag, digits.len()) {
        // RFC 5280: two digits from 50 on mean the last century.
        (UTC_TIME, 12) if digits >= "5" => format!("19{digits}"),
        (UTC_TIME, 12) => format!("20{digits}"),
        (GENERALIZED_TIME, 14) => digits.to_owned(),
        _ => return None,
    };
    let (date, clock) = full.split_at(8);
    let rfc3339 = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &date[..4],
        &date[4..6],
        &date[6..],
        &clock[..2],
        &clock[2..4],
        &clock[4..]
    );
    rfc3339.parse().ok()
}

pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const PRINTABLE_STRING: u8 = 0x13;
pub(super) const IA5_STRING: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const DNS_NAME: u8 = IMPLICIT + 2;
const IP_ADDRESS: u8 = IMPLICIT + 7;
/// Object identifiers of extended key usages, without tag and length.
pub(super) const SERVER_AUTH: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x03\x01";
pub(super) const CLIENT_AUTH: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x03\x02";

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &[u8] = include_bytes!("../../tests/vectors/token-ca/ca.der");

    #[test]
    fn every_cut_and_every_longer_text_is_refused() {
        assert!(certificate(CA).is_ok());
        for end in 0..CA.len() {
            assert!(certificate(&CA[..end]).is_err(), "cut at {end}");
        }
        assert!(certificate(&[CA, &[0]].concat()).is_err());
    }

    #[test]
    fn no_single_wrong_byte_breaks_the_reader() {
        for at in 0..CA.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = CA.to_vec();
                bytes[at] ^= flip;
                if let Ok(parsed) = certificate(&bytes) {
                    let _ = attributes(parsed.subject);
                }
            }
        }
    }

    #[test]
    fn times_of_both_kinds_are_read() {
        let read =
            |tag, text: &[u8]| time(&mut Reader::new(&super::super::der::tagged(tag, &[text])));
        let shown = |tag, text: &[u8]| read(tag, text).map(|t| t.to_string());
        assert_eq!(
            shown(UTC_TIME, b"261122080009Z").unwrap(),
            "2026-11-22T08:00:09Z"
        );
        assert_eq!(
            shown(UTC_TIME, b"500101000000Z").unwrap(),
            "1950-01-01T00:00:00Z"
        );
        assert_eq!(
            shown(GENERALIZED_TIME, b"21260721080009Z").unwrap(),
            "2126-07-21T08:00:09Z"
        );
        for bad in [
            "261122080009",
            "2611220800Z",
            "261322080009Z",
            "26112208000\u{0}Z",
            "Z",
            "",
        ] {
            assert_eq!(read(UTC_TIME, bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(read(GENERALIZED_TIME, b"21260721080009.5Z"), None);
    }
}
