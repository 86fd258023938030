//! One blob as it comes: gone on with where a connection broke, and what its digest says at the end.

use std::io::{self, Read};

use ureq::BodyReader;
use ureq::http::HeaderMap;

use super::client::{Ask, Client, broken, wait_for};
use super::digest::Hasher;
use super::error::RegistryError;
use super::manifest::Descriptor;
use super::progress::Progress;
use super::reference::Reference;
use crate::system::paced::Pace;

/// The bytes of a blob. Its end is only reached when size and digest are right.
pub struct Blob<'a> {
    client: &'a Client,
    reference: &'a Reference,
    descriptor: &'a Descriptor,
    /// For errors.
    what: String,
    progress: &'a mut dyn Progress,
    hasher: Option<Hasher>,
    at: u64,
    body: Option<BodyReader<'static>>,
    /// How often it broke since something came.
    broken: u32,
    /// Where it was when it broke.
    broke_at: u64,
    /// Why a `read` failed, which io::Error can't say.
    fault: Option<RegistryError>,
}

impl<'a> Blob<'a> {
    pub fn open(
        client: &'a Client,
        reference: &'a Reference,
        descriptor: &'a Descriptor,
        what: String,
        progress: &'a mut dyn Progress,
    ) -> Blob<'a> {
        Blob::resume(
            client,
            reference,
            descriptor,
            what,
            progress,
            Hasher::default(),
            0,
        )
    }

    /// From byte `at` on; `hasher` has seen what comes before.
    pub fn resume(
        client: &'a Client,
        reference: &'a Reference,
        descriptor: &'a Descriptor,
        what: String,
        progress: &'a mut dyn Progress,
        hasher: Hasher,
        at: u64,
    ) -> Blob<'a> {
        Blob {
            client,
            reference,
            descriptor,
            what,
            progress,
            hasher: Some(hasher),
            at,
            body: None,
            broken: 0,
            broke_at: at,
            fault: None,
        }
    }

    /// The next bytes; none at the end.
    pub fn next(&mut self, buffer: &mut [u8]) -> Result<usize, RegistryError> {
        loop {
            let left = self.descriptor.size - self.at.min(self.descriptor.size);
            if left == 0 {
                return self.finish().map(|()| 0);
            }
            let room = buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            if room == 0 {
                return Ok(0);
            }
            let body = match &mut self.body {
                Some(body) => body,
                None => match self.connect()? {
                    Ok(body) => self.body.insert(body),
                    Err(cause) => {
                        self.broke(cause)?;
                        continue;
                    }
                },
            };
            match body.read(&mut buffer[..room]) {
                Ok(0) => self.broke("the connection ended too early".to_owned())?,
                Ok(count) => {
                    self.at += count as u64;
                    if let Some(hasher) = &mut self.hasher {
                        hasher.update(&buffer[..count]);
                    }
                    self.progress.at(self.at);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.broke(broken(&error))?,
            }
        }
    }

    /// Reads what is left, for its digest.
    pub fn drain(&mut self) -> Result<(), RegistryError> {
        let mut chunk = vec![0; CHUNK];
        while self.next(&mut chunk)? > 0 {}
        Ok(())
    }

    /// Why a `read` has failed, when it was not for what was read.
    pub fn fault(&mut self) -> Option<RegistryError> {
        self.fault.take()
    }

    fn finish(&mut self) -> Result<(), RegistryError> {
        self.body = None;
        let Some(hasher) = self.hasher.take() else {
            return Ok(());
        };
        let found = hasher.finish();
        match found == self.descriptor.digest {
            true => Ok(()),
            false => Err(RegistryError::Digest {
                what: self.what.clone(),
                expected: self.descriptor.digest,
                found,
            }),
        }
    }

    fn broke(&mut self, cause: String) -> Result<(), RegistryError> {
        self.body = None;
        if self.at >= self.broke_at + STEP {
            self.broken = 0;
        }
        self.broke_at = self.at;
        self.broken += 1;
        let error = RegistryError::Unreachable {
            server: self.reference.endpoint().to_string(),
            cause: format!("{}: {cause}", self.what),
        };
        if self.broken >= TRIES {
            return Err(error);
        }
        log::info!("{error}; it goes on at byte {}", self.at);
        wait_for(self.client.options.pause * 2_u32.pow(self.broken - 1));
        Ok(())
    }

    /// What is left of the blob, or why it broke before there was any of it.
    fn connect(&self) -> Result<Result<BodyReader<'static>, String>, RegistryError> {
        let ask = Ask {
            accept: "*/*",
            from: self.at,
            pace: Pace::Steady(self.client.options.patience),
        };
        let path = format!("/blobs/{}", self.descriptor.digest);
        let reply = self.client.get(self.reference, &path, ask)?;
        let strange = |what: String| RegistryError::Strange {
            server: reply.server.clone(),
            what,
        };
        let size = self.descriptor.size;
        let skip = match reply.status {
            206 => {
                let start = range_start(&reply.headers, size);
                if start != Some(self.at) {
                    return Err(strange(
                        "it sends another part than was asked for".to_owned(),
                    ));
                }
                0
            }
            // It knows no ranges: what is there already comes once more.
            _ => {
                let length = header(&reply.headers, "content-length");
                if let Some(length) = length.filter(|length| *length != size.to_string()) {
                    let length: String = length.chars().take(20).collect();
                    let what = &self.what;
                    return Err(strange(format!(
                        "{what} comes with {length} bytes instead of {size}"
                    )));
                }
                self.at
            }
        };
        let mut body = reply.body.into_reader();
        let skipped = io::copy(&mut body.by_ref().take(skip), &mut io::sink());
        Ok(match skipped {
            Ok(skipped) if skipped == skip => Ok(body),
            Ok(_) => Err("the connection ended too early".to_owned()),
            Err(error) => Err(broken(&error)),
        })
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.next(buffer).map_err(|error| {
            let told = io::Error::other(error.to_string());
            self.fault = Some(error);
            told
        })
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Where the part begins that an answer holds; none when it is no part of so many bytes.
fn range_start(headers: &HeaderMap, size: u64) -> Option<u64> {
    let range = header(headers, "content-range")?.strip_prefix("bytes ")?;
    let (range, total) = range.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let whole = total == "*" || total.parse() == Ok(size);
    let to_the_end = end.parse::<u64>().ok()?.checked_add(1) == Some(size);
    (whole && to_the_end).then(|| start.parse().ok())?
}

/// How often one place of a blob is tried.
const TRIES: u32 = 5;
/// Bytes after which a broken connection counts as the first one again.
const STEP: u64 = 256 * 1024;
const CHUNK: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::http::HeaderValue;

    #[test]
    fn ranges_are_what_was_asked_for_or_none() {
        let start = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("content-range", HeaderValue::from_static(text));
            range_start(&headers, 100)
        };
        assert_eq!(start("bytes 7-99/100"), Some(7));
        assert_eq!(start("bytes 7-99/*"), Some(7));
        for bad in [
            "",
            "7-99/100",
            "bytes 7-98/100",
            "bytes 7-99/101",
            "bytes */100",
            "bytes 7-18446744073709551615/100",
        ] {
            assert_eq!(start(bad), None, "{bad}");
        }
    }
}
