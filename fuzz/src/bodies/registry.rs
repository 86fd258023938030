//! What registries answer, and what is in layers.

use std::io::Read;

use kubeedge::registry::challenge::{self, Challenge};
use kubeedge::registry::manifest::{self, Answer, Packed};
use kubeedge::registry::reference::Reference;
use kubeedge::registry::tar::Archive;
use kubeedge::registry::unpack::{UnpackError, Unpacker};

use super::assert_sentence;

/// The name of an image, a challenge, a kind of content, and a manifest, with a line end between.
pub fn registry(data: &[u8]) {
    let mut parts = data.splitn(4, |byte| *byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (name, header, kind, text) = (part(), part(), part(), part());
    match std::str::from_utf8(name).map(str::parse::<Reference>) {
        Ok(Ok(reference)) => {
            assert_eq!(reference.to_string().parse(), Ok(reference.clone()));
            // It becomes a part of a URL.
            let asked = format!("{}/{}", reference.repository(), reference.version());
            assert!(!asked.contains("..") || !asked.contains("/.."), "{asked}");
            assert!(
                asked
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"/._:-".contains(&b))
            );
        }
        Ok(Err(error)) => assert_sentence(&error.to_string()),
        Err(_) => {}
    }
    if let Some(Challenge::Bearer {
        realm,
        service,
        scope,
    }) = challenge::read([header].into_iter())
    {
        for text in [Some(realm), service, scope].into_iter().flatten() {
            assert!(
                !text.is_empty() && !text.contains(char::is_control),
                "{text:?}"
            );
        }
    }
    match manifest::read(text, std::str::from_utf8(kind).ok()) {
        Ok(Answer::Image(image)) => {
            assert!(image.layers.len() <= 256 && image.config.size <= 8 << 20);
        }
        Ok(Answer::Index(index)) => {
            let machine = "linux/arm/v7".parse().expect("a platform");
            if let Some((platform, _)) = manifest::choose(&index, &machine) {
                assert!(platform.suits(&machine).is_some());
                assert_eq!(platform.architecture, "arm");
            }
        }
        Err(error) => assert_sentence(&error.to_string()),
    }
}

/// A layer: the first byte says how it is packed.
pub fn layer(data: &[u8]) {
    let Some((first, packed)) = data.split_first() else {
        return;
    };
    let kind = match first % 3 {
        0 => Packed::Plain,
        1 => Packed::Gzip,
        _ => Packed::Zstd,
    };
    let mut archive = Archive::new(Unpacker::new(kind, Counted(packed), LIMIT));
    let mut chunk = [0; 1000];
    let mut read = 0;
    let end = loop {
        let entry = match archive.entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => return,
            Err(error) => break error,
        };
        for part in &entry.path {
            assert!(!part.is_empty() && part != "." && part != ".." && !part.contains('/'));
        }
        let fault = loop {
            match archive.read(&mut chunk) {
                Ok(0) => break None,
                Ok(count) => read += count as u64,
                Err(error) => break Some(error),
            }
        };
        assert!(read <= LIMIT, "more comes out than may");
        if let Some(fault) = fault {
            break fault;
        }
    };
    let error = UnpackError::of(&end).expect("the source has no errors of its own");
    assert_sentence(&error.to_string());
}

/// Gives a little at a time, as networks do.
struct Counted<'a>(&'a [u8]);

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let room = buffer.len().min(7);
        self.0.read(&mut buffer[..room])
    }
}

const LIMIT: u64 = 1 << 20;
