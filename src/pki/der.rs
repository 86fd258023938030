//! The little DER that the libraries leave to us: keys, and the content of extensions.

/// The content of the DER value at the front, when it has this tag, and what is behind it.
pub(super) fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (len, rest) = match *der {
        [found, ..] if found != tag => return None,
        [_, len @ 0..=0x7f, ref rest @ ..] => (usize::from(len), rest),
        [_, 0x81, len, ref rest @ ..] => (usize::from(len), rest),
        [_, 0x82, high, low, ref rest @ ..] => (usize::from(high) << 8 | usize::from(low), rest),
        _ => return None,
    };
    rest.split_at_checked(len)
}

/// A DER value whose content is these parts.
pub(super) fn tagged(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut der = Vec::with_capacity(len + 10);
    der.push(tag);
    let digits = len.to_be_bytes();
    let digits = &digits[digits.iter().take_while(|byte| **byte == 0).count()..];
    if len >= 0x80 {
        der.push(0x80 | digits.len() as u8);
        der.extend_from_slice(digits);
    } else {
        der.push(len as u8);
    }
    parts.iter().for_each(|part| der.extend_from_slice(part));
    der
}

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
/// `[n]` around another value; add `n`.
pub(super) const EXPLICIT: u8 = 0xa0;
/// `[n]` in place of a simple value's own tag; add `n`.
pub(super) const IMPLICIT: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_every_form_round_trip() {
        for len in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff] {
            let content = vec![7; len];
            let der = tagged(SEQUENCE, &[&content, &[]]);
            assert_eq!(take(&der, SEQUENCE), Some((content.as_slice(), &[][..])));
            assert_eq!(take(&der, OID), None);
            assert_eq!(take(&der[..der.len() - 1], SEQUENCE), None);
        }
        assert_eq!(tagged(OID, &[&[0; 0x80]])[..3], [OID, 0x81, 0x80]);
    }
}
