//! The little DER that the libraries leave to us: keys, and the content of extensions.

/// The content of the DER value at the front, when it has this tag, and what is behind it.
pub(super) fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let mut reader = Reader(der);
    reader.content(tag).map(|content| (content, reader.0))
}

/// Values one after another. A read that finds something else takes nothing.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(der: &'a [u8]) -> Self {
        Reader(der)
    }

    /// Inside the one value that the bytes are.
    pub fn whole(der: &'a [u8], tag: u8) -> Option<Self> {
        let mut outer = Reader(der);
        let inside = outer.inside(tag)?;
        outer.end().map(|()| inside)
    }

    /// The next value's content, if it has this tag.
    pub fn content(&mut self, tag: u8) -> Option<&'a [u8]> {
        (self.0.first() == Some(&tag))
            .then(|| self.any())?
            .map(|(_, content)| content)
    }

    pub fn inside(&mut self, tag: u8) -> Option<Self> {
        self.content(tag).map(Reader)
    }

    /// The next value with its tag and length, if it has this tag.
    pub fn raw(&mut self, tag: u8) -> Option<&'a [u8]> {
        let before = self.0;
        self.content(tag)?;
        before.get(..before.len() - self.0.len())
    }

    /// The next value's tag and content. Lengths must be in their shortest form.
    pub fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, len, rest) = match *self.0 {
            [tag, len @ 0..=0x7f, ref rest @ ..] => (tag, usize::from(len), rest),
            [tag, 0x81, len @ 0x80..=0xff, ref rest @ ..] => (tag, usize::from(len), rest),
            [tag, 0x82, high @ 1..=0xff, low, ref rest @ ..] => {
                (tag, usize::from(high) << 8 | usize::from(low), rest)
            }
            _ => return None,
        };
        let (content, behind) = rest.split_at_checked(len)?;
        self.0 = behind;
        Some((tag, content))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing may be left.
    pub fn end(&self) -> Option<()> {
        self.is_empty().then_some(())
    }
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
pub(super) const SET: u8 = 0x31;
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
