//! gzip (RFC 1952), whole texts at a time, each way within a bound.

use std::fmt;

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_with_limit};

use super::crc32;

/// Why bytes can't be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GzipError {
    /// They have more than so many bytes when unpacked.
    TooLong { limit: usize },
    /// Cut, changed, or no gzip at all.
    Damaged,
}

/// One member, as small as it gets, without a name and a time.
pub fn pack(text: &[u8]) -> Vec<u8> {
    let mut packed = vec![
        MAGIC[0],
        MAGIC[1],
        DEFLATE,
        0,
        0,
        0,
        0,
        0,
        SMALLEST,
        UNKNOWN_SYSTEM,
    ];
    packed.extend(compress_to_vec(text, LEVEL));
    packed.extend(crc32::more(0, text).to_le_bytes());
    // The length is kept modulo 2^32.
    packed.extend((text.len() as u32).to_le_bytes());
    packed
}

/// Whether bytes begin as gzip does.
pub fn is_packed(bytes: &[u8]) -> bool {
    bytes.starts_with(&[MAGIC[0], MAGIC[1], DEFLATE])
}

/// The text of the one member that `bytes` are; no more than `limit` bytes of it.
pub fn unpack(bytes: &[u8], limit: usize) -> Result<Vec<u8>, GzipError> {
    let body = after_head(bytes).ok_or(GzipError::Damaged)?;
    let (body, foot) = body.split_last_chunk::<FOOT>().ok_or(GzipError::Damaged)?;
    let text = inflate(body, limit)?;
    let sum = [foot[0], foot[1], foot[2], foot[3]];
    let length = [foot[4], foot[5], foot[6], foot[7]];
    let whole = crc32::more(0, &text) == u32::from_le_bytes(sum)
        && text.len() as u32 == u32::from_le_bytes(length);
    whole.then_some(text).ok_or(GzipError::Damaged)
}

/// What a bare deflate stream holds; no more than `limit` bytes of it.
pub fn inflate(bytes: &[u8], limit: usize) -> Result<Vec<u8>, GzipError> {
    decompress_to_vec_with_limit(bytes, limit).map_err(|error| match error.status {
        TINFLStatus::HasMoreOutput => GzipError::TooLong { limit },
        _ => GzipError::Damaged,
    })
}

/// What follows the head with its optional parts.
fn after_head(bytes: &[u8]) -> Option<&[u8]> {
    let (head, mut rest) = bytes.split_first_chunk::<HEAD>()?;
    if !is_packed(head) {
        return None;
    }
    let flags = head[3];
    if flags & EXTRA != 0 {
        let (length, more) = rest.split_first_chunk::<2>()?;
        rest = more.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for flag in [NAME, COMMENT] {
        if flags & flag != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = rest.get(end + 1..)?;
        }
    }
    if flags & HEAD_SUM != 0 {
        rest = rest.get(2..)?;
    }
    Some(rest)
}

impl fmt::Display for GzipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GzipError::TooLong { limit } => write!(f, "unpacked it has more than {limit} bytes"),
            GzipError::Damaged => f.write_str("it is cut or changed: its checksum is wrong"),
        }
    }
}

impl std::error::Error for GzipError {}

const MAGIC: [u8; 2] = [0x1f, 0x8b];
const DEFLATE: u8 = 8;
const SMALLEST: u8 = 2;
const UNKNOWN_SYSTEM: u8 = 255;
const LEVEL: u8 = 9;
const HEAD: usize = 10;
const FOOT: usize = 8;
const HEAD_SUM: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `printf 'hello\n' | gzip -9 --name`, of a file called `a`.
    const WITH_NAME: &[u8] = &[
        31, 139, 8, 8, 0, 0, 0, 0, 2, 3, b'a', 0, 203, 72, 205, 201, 201, 231, 2, 0, 32, 48, 58,
        54, 6, 0, 0, 0,
    ];

    #[test]
    fn a_file_of_gzip_is_read() {
        assert_eq!(unpack(WITH_NAME, 6), Ok(b"hello\n".to_vec()));
        assert_eq!(unpack(WITH_NAME, 5), Err(GzipError::TooLong { limit: 5 }));
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_noticed() {
        let packed = pack("the same, the same, the same".as_bytes());
        for end in 0..packed.len() {
            assert!(unpack(&packed[..end], 100).is_err(), "{end}");
        }
        // The first ten bytes are a head that says nothing of the text.
        for at in HEAD..packed.len() {
            let mut changed = packed.clone();
            changed[at] ^= 0x10;
            // Some bits of a stream are padding.
            let text = unpack(&changed, 100);
            assert!(text.is_err() || text == unpack(&packed, 100), "{at}");
        }
    }

    #[test]
    fn a_bomb_does_not_go_off() {
        let packed = pack(&vec![0; 10_000_000]);
        assert!(packed.len() < 20_000);
        assert_eq!(
            unpack(&packed, 1000),
            Err(GzipError::TooLong { limit: 1000 })
        );
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(text in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(unpack(&pack(&text), text.len()), Ok(text));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = bytes;
            if let Some(head) = bytes.first_chunk_mut::<3>() {
                *head = [0x1f, 0x8b, 8];
            }
            let _ = unpack(&bytes, 1000);
        }
    }
}
