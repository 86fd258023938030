//! Layers as they are unpacked: a piece at a time, each within its bound.

mod gzip;
mod zstd;

use std::fmt;
use std::io::{self, Read};

use super::manifest::Packed;
use super::tar::TarError;
use gzip::Gunzip;
use zstd::Unzstd;

/// What a layer holds, no more than a number of bytes of it.
pub struct Unpacker<R: Read> {
    kind: Kind<R>,
    limit: u64,
    left: u64,
}

enum Kind<R: Read> {
    Gzip(Box<Gunzip<R>>),
    Plain(R),
    Zstd(Box<Unzstd<R>>),
}

impl<R: Read> Unpacker<R> {
    pub fn new(packed: Packed, source: R, limit: u64) -> Unpacker<R> {
        let kind = match packed {
            Packed::Gzip => Kind::Gzip(Box::new(Gunzip::new(source))),
            Packed::Plain => Kind::Plain(source),
            Packed::Zstd => Kind::Zstd(Box::new(Unzstd::new(source))),
        };
        Unpacker {
            kind,
            limit,
            left: limit,
        }
    }
}

impl<R: Read> Read for Unpacker<R> {
    /// Errors hold an `UnpackError`, or are the source's own.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.kind {
            Kind::Gzip(source) => source.read(buffer)?,
            Kind::Plain(source) => source.read(buffer)?,
            Kind::Zstd(source) => source.read(buffer)?,
        };
        let Some(left) = self.left.checked_sub(count as u64) else {
            return Err(UnpackError::TooLong { limit: self.limit }.into());
        };
        self.left = left;
        Ok(count)
    }
}

/// Why a layer can't be unpacked; continues a sentence that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnpackError {
    Damaged(&'static str),
    Tar(TarError),
    /// A bomb, or something that is not for devices.
    TooLong {
        limit: u64,
    },
}

impl UnpackError {
    /// What an error of reading means; none when it is the source's.
    pub fn of(error: &io::Error) -> Option<UnpackError> {
        error.get_ref()?.downcast_ref().cloned()
    }
}

impl From<UnpackError> for io::Error {
    fn from(error: UnpackError) -> io::Error {
        io::Error::other(error)
    }
}

impl fmt::Display for UnpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnpackError::Damaged(why) => write!(f, "it is damaged ({why})"),
            UnpackError::Tar(error) => error.fmt(f),
            UnpackError::TooLong { limit } => {
                write!(f, "unpacked it has more than {limit} bytes")
            }
        }
    }
}

impl std::error::Error for UnpackError {}
