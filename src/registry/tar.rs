//! Archives of tar as layers have them (ustar, pax, GNU's long names), read an entry at a time.

use std::fmt;
use std::io::{self, Read};

use super::unpack::UnpackError;

/// Reads entries in their order.
pub struct Archive<R> {
    source: R,
    /// Bytes of the present entry's content that were not read.
    left: u64,
    /// Bytes behind that content.
    padding: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From the top of the tree, without `.` and `..`; empty for the top itself.
    pub path: Vec<String>,
    pub kind: Kind,
    /// Bytes of content.
    pub size: u64,
    /// What a link leads to, as it is written.
    pub link: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File,
    HardLink,
    /// Devices, pipes, and what nobody knows.
    Other,
    SymLink,
}

impl<R: Read> Archive<R> {
    pub fn new(source: R) -> Archive<R> {
        Archive {
            source,
            left: 0,
            padding: 0,
        }
    }

    /// The next entry; none at the end. What was not read of the last one is skipped.
    pub fn entry(&mut self) -> io::Result<Option<Entry>> {
        let mut long = Long::default();
        // Each of these belongs to the entry behind it.
        for _ in 0..MAX_EXTRAS {
            self.skip()?;
            let Some(head) = self.head()? else {
                return Ok(None);
            };
            self.left = head.size;
            self.padding = head.size.next_multiple_of(BLOCK as u64) - head.size;
            match head.kind {
                b'x' => long.take_pax(&self.content()?)?,
                // Holds for all that follows; nobody puts names there.
                b'g' => {}
                b'L' => long.path = Some(text(&self.content()?)),
                b'K' => long.link = Some(text(&self.content()?)),
                _ => return self.begin(head, long).map(Some),
            }
        }
        Err(TarError::Head.into())
    }

    /// Some of the present entry's content; none at its end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.source.read(&mut buffer[..room])?;
        if count == 0 && room > 0 {
            return Err(TarError::Cut.into());
        }
        self.left -= count as u64;
        Ok(count)
    }

    fn begin(&mut self, head: Head, long: Long) -> io::Result<Entry> {
        if let Some(size) = long.size {
            self.left = size;
            self.padding = size.next_multiple_of(BLOCK as u64) - size;
        }
        let written = long.path.unwrap_or(head.path);
        let kind = match head.kind {
            b'0' | b'7' | 0 if written.ends_with('/') => Kind::Directory,
            b'0' | b'7' | 0 if !long.sparse => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::SymLink,
            b'5' => Kind::Directory,
            _ => Kind::Other,
        };
        // Old archives claim a size for what has no content.
        if matches!(kind, Kind::HardLink | Kind::SymLink | Kind::Directory) && long.size.is_none() {
            (self.left, self.padding) = match head.kind {
                b'1' | b'2' | b'5' => (0, 0),
                _ => (self.left, self.padding),
            };
        }
        let path = parts(&written).ok_or_else(|| TarError::Outside(short(&written)))?;
        Ok(Entry {
            path,
            kind,
            size: self.left,
            link: long.link.unwrap_or(head.link),
        })
    }

    /// A whole content that belongs to the next entry.
    fn content(&mut self) -> io::Result<Vec<u8>> {
        if self.left > MAX_EXTRA {
            return Err(TarError::Head.into());
        }
        let mut content = vec![0; usize::try_from(self.left).unwrap_or(0)];
        self.source.read_exact(&mut content).map_err(cut)?;
        self.left = 0;
        Ok(content)
    }

    fn skip(&mut self) -> io::Result<()> {
        let count = self.left.saturating_add(self.padding);
        let skipped = io::copy(&mut (&mut self.source).take(count), &mut io::sink())?;
        (self.left, self.padding) = (0, 0);
        match skipped == count {
            true => Ok(()),
            false => Err(TarError::Cut.into()),
        }
    }

    /// None at the end: a block of zeros, or no block.
    fn head(&mut self) -> io::Result<Option<Head>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(TarError::Cut.into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match block.iter().all(|byte| *byte == 0) {
            true => Ok(None),
            false => Head::read(&block).map(Some).map_err(io::Error::from),
        }
    }
}

struct Head {
    path: String,
    kind: u8,
    size: u64,
    link: String,
}

impl Head {
    fn read(block: &[u8; BLOCK]) -> Result<Head, TarError> {
        let sum = number(&block[148..156]).ok_or(TarError::Head)?;
        let counted = block.iter().enumerate().map(|(at, byte)| match at {
            148..156 => u64::from(b' '),
            _ => u64::from(*byte),
        });
        if counted.sum::<u64>() != sum {
            return Err(TarError::Head);
        }
        let size = number(&block[124..136]).filter(|size| *size <= MAX_SIZE);
        let name = text(&block[..100]);
        let is_posix = &block[257..263] == b"ustar\0";
        let prefix = match is_posix {
            true => text(&block[345..500]),
            false => String::new(),
        };
        let path = match prefix.is_empty() {
            true => name,
            false => format!("{prefix}/{name}"),
        };
        Ok(Head {
            path,
            kind: block[156],
            size: size.ok_or(TarError::Head)?,
            link: text(&block[157..257]),
        })
    }
}

/// What stands in front of an entry because its head has no room for it.
#[derive(Default)]
struct Long {
    path: Option<String>,
    link: Option<String>,
    size: Option<u64>,
    sparse: bool,
}

impl Long {
    /// Records of pax: `LENGTH KEY=VALUE\n`.
    fn take_pax(&mut self, mut records: &[u8]) -> Result<(), TarError> {
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ');
            let space = space.filter(|space| *space <= 8).ok_or(TarError::Head)?;
            let length = std::str::from_utf8(&records[..space]).ok();
            let length: usize = length
                .and_then(|it| it.parse().ok())
                .ok_or(TarError::Head)?;
            let record = records.get(space + 1..length).ok_or(TarError::Head)?;
            let record = record.strip_suffix(b"\n").ok_or(TarError::Head)?;
            records = &records[length..];
            let equals = record.iter().position(|byte| *byte == b'=');
            let (key, value) = record.split_at(equals.ok_or(TarError::Head)?);
            let value = &value[1..];
            match key {
                b"path" => self.path = Some(text(value)),
                b"linkpath" => self.link = Some(text(value)),
                b"size" => {
                    let size = std::str::from_utf8(value)
                        .ok()
                        .and_then(|it| it.parse().ok());
                    let size = size.filter(|size| *size <= MAX_SIZE);
                    self.size = Some(size.ok_or(TarError::Head)?);
                }
                key if key.starts_with(b"GNU.sparse.") => self.sparse = true,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Octal digits, or GNU's binary for what is larger.
fn number(field: &[u8]) -> Option<u64> {
    if field.first()? & 0x80 != 0 {
        // The sum's field has room for the digits of 8 bytes alone: it is never written so.
        let (high, low) = field.split_last_chunk::<8>()?;
        let (mark, high) = high.split_first()?;
        let fits = *mark == 0x80 && high.iter().all(|byte| *byte == 0);
        return fits.then(|| u64::from_be_bytes(*low));
    }
    let text = std::str::from_utf8(field).ok()?;
    let digits = text.trim_matches(|c| c == ' ' || c == '\0');
    match digits.is_empty() {
        true => Some(0),
        false => u64::from_str_radix(digits, 8).ok(),
    }
}

/// Up to the first zero.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&field[..end.unwrap_or(field.len())]).into_owned()
}

/// The parts of a path; none when it leads out of the tree.
pub fn parts(path: &str) -> Option<Vec<String>> {
    let parts = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    let parts: Vec<String> = parts.map(str::to_owned).collect();
    (!parts.iter().any(|part| part == "..")).then_some(parts)
}

/// A path as it can be shown.
pub fn short(path: &str) -> String {
    let printable = path.chars().filter(|c| !c.is_control());
    printable.take(120).collect()
}

fn cut(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => TarError::Cut.into(),
        _ => error,
    }
}

/// What is wrong with an archive; continues a sentence that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TarError {
    Cut,
    Head,
    /// A link that leads out of the tree.
    Link(String),
    /// Something that has to be a file and is none.
    NoFile(String),
    /// A path that leads out of the tree.
    Outside(String),
}

impl From<TarError> for io::Error {
    fn from(error: TarError) -> io::Error {
        UnpackError::Tar(error).into()
    }
}

impl fmt::Display for TarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TarError::Cut => f.write_str("its archive ends in the middle"),
            TarError::Head => f.write_str("its archive is damaged, or no tar"),
            TarError::Link(path) => {
                write!(
                    f,
                    "the link {path:?} in it leads out of the image or in circles"
                )
            }
            TarError::NoFile(path) => write!(f, "{path:?} in it is no plain file"),
            TarError::Outside(path) => write!(f, "{path:?} in it leads out of the image"),
        }
    }
}

impl std::error::Error for TarError {}

pub const BLOCK: usize = 512;
/// Heads before an entry that belong to it.
const MAX_EXTRAS: usize = 16;
/// Bytes of one of them.
const MAX_EXTRA: u64 = 1024 * 1024;
/// Bytes of a file: far from where sums of sizes would overflow.
const MAX_SIZE: u64 = 1 << 50;

#[cfg(test)]
#[path = "tar_tests.rs"]
mod tests;
