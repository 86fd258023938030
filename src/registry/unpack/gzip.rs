//! gzip (RFC 1952) as a stream, one member behind the other.

use std::io::{self, Read};

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

use super::UnpackError;
use crate::system::crc32;

pub struct Gunzip<R> {
    source: R,
    input: Vec<u8>,
    /// What of `input` has not been used.
    begin: usize,
    end: usize,
    state: Box<InflateState>,
    place: Place,
    sum: u32,
    /// Of this member, as gzip counts: modulo 2^32.
    length: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first member: there has to be one.
    First,
    Body,
    /// Behind a member.
    Between,
    End,
}

impl<R: Read> Gunzip<R> {
    pub fn new(source: R) -> Gunzip<R> {
        Gunzip {
            source,
            input: vec![0; CHUNK],
            begin: 0,
            end: 0,
            state: InflateState::new_boxed(DataFormat::Raw),
            place: Place::First,
            sum: 0,
            length: 0,
        }
    }

    /// More input, when all has been used; false at its end.
    fn fill(&mut self) -> io::Result<bool> {
        while self.begin == self.end {
            match self.source.read(&mut self.input) {
                Ok(0) => return Ok(false),
                Ok(count) => (self.begin, self.end) = (0, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        if !self.fill()? {
            return Ok(None);
        }
        let byte = self.input[self.begin];
        self.begin += 1;
        Ok(Some(byte))
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte()?.ok_or(CUT)?;
        }
        Ok(bytes)
    }

    /// The head of a member; false when there is no more.
    fn head(&mut self) -> io::Result<bool> {
        let Some(first) = self.byte()? else {
            return match self.place {
                Place::Between => Ok(false),
                _ => Err(CUT.into()),
            };
        };
        let rest: [u8; 9] = self.bytes()?;
        if first != MAGIC[0] || rest[..2] != MAGIC[1..] {
            return Err(UnpackError::Damaged("it is no gzip").into());
        }
        let flags = rest[2];
        if flags & EXTRA != 0 {
            let length = u16::from_le_bytes(self.bytes()?);
            for _ in 0..length {
                self.bytes::<1>()?;
            }
        }
        for flag in [NAME, COMMENT] {
            if flags & flag != 0 {
                let mut length = 0;
                while self.bytes::<1>()? != [0] {
                    length += 1;
                    if length > MAX_WORDS {
                        return Err(UnpackError::Damaged("its head has no end").into());
                    }
                }
            }
        }
        if flags & HEAD_SUM != 0 {
            self.bytes::<2>()?;
        }
        self.state = InflateState::new_boxed(DataFormat::Raw);
        (self.sum, self.length) = (0, 0);
        Ok(true)
    }

    fn foot(&mut self) -> io::Result<()> {
        let sum = u32::from_le_bytes(self.bytes()?);
        let length = u32::from_le_bytes(self.bytes()?);
        match sum == self.sum && length == self.length {
            true => Ok(()),
            false => Err(UnpackError::Damaged("its checksum is wrong").into()),
        }
    }
}

impl<R: Read> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.place {
                Place::End => return Ok(0),
                Place::First | Place::Between => {
                    self.place = match self.head()? {
                        true => Place::Body,
                        false => Place::End,
                    };
                }
                Place::Body => {
                    let more = self.fill()?;
                    let input = &self.input[self.begin..self.end];
                    let done = inflate(&mut self.state, input, buffer, MZFlush::None);
                    self.begin += done.bytes_consumed;
                    let written = &buffer[..done.bytes_written];
                    self.sum = crc32::more(self.sum, written);
                    self.length = self.length.wrapping_add(written.len() as u32);
                    let count = written.len();
                    match done.status {
                        Ok(MZStatus::StreamEnd) => {
                            self.foot()?;
                            self.place = Place::Between;
                        }
                        Ok(_) | Err(MZError::Buf) if count > 0 || done.bytes_consumed > 0 => {}
                        Ok(_) | Err(MZError::Buf) if !more => return Err(CUT.into()),
                        _ => return Err(UnpackError::Damaged("its bytes are no deflate").into()),
                    }
                    if count > 0 {
                        return Ok(count);
                    }
                }
            }
        }
    }
}

const CUT: UnpackError = UnpackError::Damaged("its end is missing");
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const HEAD_SUM: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
/// Bytes of a name or a comment.
const MAX_WORDS: usize = 4096;
const CHUNK: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::deflate::compress_to_vec;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut packed = vec![31, 139, 8, NAME, 0, 0, 0, 0, 0, 255, b'a', 0];
        packed.extend(compress_to_vec(text, 6));
        packed.extend(crc32::more(0, text).to_le_bytes());
        packed.extend((text.len() as u32).to_le_bytes());
        packed
    }

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        Gunzip::new(bytes).read_to_end(&mut text).map(|_| text)
    }

    #[test]
    fn members_follow_each_other() {
        let text: Vec<u8> = (0..100_000_u32)
            .flat_map(|it| (it / 7).to_le_bytes())
            .collect();
        let bytes = [packed(&text), packed(b""), packed(b"end")].concat();
        assert!(unpacked(&bytes).unwrap() == [&text[..], b"end"].concat());
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_noticed() {
        let text = b"the same, the same, the same";
        let bytes = packed(text);
        for end in 0..bytes.len() {
            assert!(unpacked(&bytes[..end]).is_err(), "{end}");
        }
        for at in 12..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            let text_now = unpacked(&changed);
            // Some bits of a stream are padding.
            assert!(text_now.is_err() || text_now.unwrap() == text, "{at}");
        }
        assert!(unpacked(&[&bytes[..], b"more"].concat()).is_err());
    }
}
