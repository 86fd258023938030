//! PEM: blocks of base64 between lines that say what they are.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{MAX_INPUT, PkiError};
use crate::system::secret::Secret;

/// One block: the words of its BEGIN line, and the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    pub label: String,
    /// Perhaps of a private key.
    pub der: Secret<Vec<u8>>,
}

/// All blocks of a file, in order. Text around them is skipped, as are header lines inside; a file
/// without any block gives none. At most `MAX_INPUT` bytes are read.
pub fn blocks(text: &[u8]) -> Result<Vec<Block>, PkiError> {
    if text.len() > MAX_INPUT {
        return Err(PkiError::TooLarge {
            what: "the PEM file",
        });
    }
    blocks_of_any(text)
}

/// As `blocks`, of a text that the caller has bounded.
pub(super) fn blocks_of_any(text: &[u8]) -> Result<Vec<Block>, PkiError> {
    let malformed = |why| PkiError::malformed("the PEM file", why);
    let mut found = Vec::new();
    let mut open: Option<(String, Zeroizing<Vec<u8>>)> = None;
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if let Some(label) = marker(line, b"-----BEGIN ") {
            if open.is_some() {
                return Err(malformed("a block has no END line"));
            }
            // It does not grow, which would leave a part of a key behind.
            open = Some((label, Zeroizing::new(Vec::with_capacity(text.len()))));
        } else if let Some(end) = marker(line, b"-----END ") {
            let (label, body) = open
                .take()
                .filter(|(label, _)| *label == end)
                .ok_or_else(|| malformed("an END line without its BEGIN line"))?;
            let der = STANDARD
                .decode(&*body)
                .map(Secret::new)
                .map_err(|_| malformed("a block is not base64"))?;
            found.push(Block { label, der });
        } else if let Some((_, body)) = &mut open
            && !line.contains(&b':')
        {
            body.extend_from_slice(line);
        }
    }
    match open {
        Some(_) => Err(malformed("a block has no END line")),
        None => Ok(found),
    }
}

/// The first block whose label passes; `what` names the thing in the error when there is none.
pub(super) fn first(
    text: &[u8],
    what: &'static str,
    wanted: impl Fn(&str) -> bool,
) -> Result<Block, PkiError> {
    blocks(text)?
        .into_iter()
        .find(|block| wanted(&block.label))
        .ok_or_else(|| PkiError::malformed(what, "the file holds no such PEM block"))
}

/// One block as text, 64 characters a line, ending in a line feed.
pub fn encode(label: &str, der: &[u8]) -> String {
    let body = Zeroizing::new(STANDARD.encode(der));
    let (begin, end) = (
        format!("-----BEGIN {label}-----\n"),
        format!("-----END {label}-----\n"),
    );
    let lines = body.len().div_ceil(LINE);
    // Of its whole size at once: see `Secret`.
    let mut text = String::with_capacity(begin.len() + body.len() + lines + end.len());
    text.push_str(&begin);
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, behind) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = behind;
    }
    text.push_str(&end);
    text
}

fn marker(line: &[u8], start: &[u8]) -> Option<String> {
    let label = line.strip_prefix(start)?.strip_suffix(b"-----")?;
    String::from_utf8(label.to_vec()).ok()
}

/// Characters.
const LINE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_around_and_blocks_behind() {
        let file = format!(
            "some words\r\n{}\nmore\n{}",
            encode("A B", b"one").replace('\n', "\r\n"),
            encode("C", &[7; 100])
        );
        let found = blocks(file.as_bytes()).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].label.as_str(), found[0].der.as_slice()),
            ("A B", b"one".as_slice())
        );
        assert_eq!(*found[1].der, [7; 100]);
        assert_eq!(
            *first(file.as_bytes(), "x", |l| l == "C").unwrap().der,
            [7; 100]
        );
        assert!(first(file.as_bytes(), "x", |l| l == "D").is_err());
        assert!(blocks(b"no block at all").unwrap().is_empty());
    }

    #[test]
    fn damage_is_named() {
        for bad in [
            "-----BEGIN A-----\nAAAA\n",
            "-----BEGIN A-----\nAAAA\n-----END B-----\n",
            "-----END A-----\n",
            "-----BEGIN A-----\nA*AA\n-----END A-----\n",
            "-----BEGIN A-----\n-----BEGIN A-----\n-----END A-----\n",
        ] {
            assert!(
                matches!(blocks(bad.as_bytes()), Err(PkiError::Malformed { .. })),
                "{bad}"
            );
        }
        let large = vec![b' '; MAX_INPUT + 1];
        assert!(matches!(blocks(&large), Err(PkiError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn round_trip(der in proptest::collection::vec(any::<u8>(), 0..500)) {
            let found = blocks(encode("X", &der).as_bytes()).unwrap();
            prop_assert_eq!(&*found[0].der, &der);
        }

        #[test]
        fn never_panics(text in "(-----(BEGIN|END) A-----|[A-Za-z0-9+/=]{0,8}|\n|:){0,12}") {
            let _ = blocks(text.as_bytes());
        }
    }
}
