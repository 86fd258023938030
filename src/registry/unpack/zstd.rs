//! Zstandard (RFC 8878) as a stream, one frame behind the other, with a bound for what it keeps.

use std::io::{self, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::UnpackError;

pub struct Unzstd<R> {
    source: Peeking<R>,
    decoder: FrameDecoder,
    within: bool,
    /// Frames that were met, since each may be empty.
    met: u32,
}

impl<R: Read> Unzstd<R> {
    pub fn new(source: R) -> Unzstd<R> {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        Unzstd {
            source: Peeking {
                source,
                next: None,
                failed: None,
            },
            decoder,
            within: false,
            met: 0,
        }
    }

    /// Begins the next frame; false when there is none.
    fn head(&mut self) -> io::Result<bool> {
        loop {
            if self.source.is_at_end()? {
                return match self.met {
                    0 => Err(UnpackError::Damaged("its end is missing").into()),
                    _ => Ok(false),
                };
            }
            self.met += 1;
            if self.met > MAX_FRAMES {
                return Err(UnpackError::Damaged("it has too many frames").into());
            }
            let skip = match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => u64::from(length),
                Err(FrameDecoderError::WindowSizeTooBig { .. }) => {
                    let why = "its window is larger than 32 MiB";
                    return Err(UnpackError::Damaged(why).into());
                }
                Err(_) => return Err(self.fault()),
            };
            if io::copy(&mut (&mut self.source).take(skip), &mut io::sink())? < skip {
                return Err(UnpackError::Damaged("its end is missing").into());
            }
        }
    }

    /// The source's own fault, when it has one.
    fn fault(&mut self) -> io::Error {
        let failed = self.source.failed.take();
        failed.unwrap_or_else(|| UnpackError::Damaged("its bytes are no zstd").into())
    }
}

impl<R: Read> Read for Unzstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.within {
                if !self.head()? {
                    return Ok(0);
                }
                self.within = true;
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            }
            if self.decoder.is_finished() {
                self.within = false;
                continue;
            }
            let block = BlockDecodingStrategy::UptoBlocks(1);
            let done = self.decoder.decode_blocks(&mut self.source, block);
            if done.is_err() {
                return Err(self.fault());
            }
        }
    }
}

/// A source of which one byte can be looked at, and that keeps its error.
struct Peeking<R> {
    source: R,
    next: Option<u8>,
    failed: Option<io::Error>,
}

impl<R: Read> Peeking<R> {
    fn is_at_end(&mut self) -> io::Result<bool> {
        let mut byte = [0];
        while self.next.is_none() {
            match self.source.read(&mut byte) {
                Ok(0) => return Ok(true),
                Ok(_) => self.next = Some(byte[0]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

impl<R: Read> Read for Peeking<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let (Some(first), Some(byte)) = (buffer.first_mut(), self.next) {
            *first = byte;
            self.next = None;
            return Ok(1);
        }
        self.source.read(buffer).map_err(|error| {
            let kind = error.kind();
            self.failed = Some(error);
            kind.into()
        })
    }
}

/// Bytes that are kept of what was unpacked. Builders take 8 MiB, and 32 with their best level.
const MAX_WINDOW: u64 = 32 * 1024 * 1024;
const MAX_FRAMES: u32 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        Unzstd::new(bytes).read_to_end(&mut text).map(|_| text)
    }

    #[test]
    fn frames_follow_each_other() {
        let text: Vec<u8> = (0..100_000_u32)
            .flat_map(|it| (it / 7).to_le_bytes())
            .collect();
        let one = compress_to_vec(&text[..], CompressionLevel::Fastest);
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        let bytes = [&one[..], &skipped, &one].concat();
        assert!(unpacked(&bytes).unwrap() == [&text[..], &text].concat());
        for end in [0, 3, 10, one.len() / 2, one.len() - 1, one.len() + 5] {
            assert!(unpacked(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn a_window_has_a_bound() {
        // Window descriptor: 2^(10 + 16) bytes.
        let bytes = [0x28, 0xb5, 0x2f, 0xfd, 0, 16 << 3, 1, 0, 0];
        let error = unpacked(&bytes).unwrap_err();
        assert!(error.to_string().contains("32 MiB"), "{error}");
    }
}
