//! SHA-256 digests, as they pin a CA in a join token and name keys.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// A SHA-256 digest; its text form is 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256Hash([u8; 32]);

impl Sha256Hash {
    pub fn of(bytes: &[u8]) -> Sha256Hash {
        Sha256Hash(Sha256::digest(bytes).into())
    }

    /// Of all that comes, however much.
    pub fn of_all(mut from: impl Read) -> io::Result<Sha256Hash> {
        let (mut digest, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
        loop {
            match from.read(&mut chunk) {
                Ok(0) => return Ok(Sha256Hash(digest.finalize().into())),
                Ok(length) => digest.update(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Sha256Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256Hash {
    type Err = HashError;

    /// Takes exactly what `Display` writes: upper case is refused, as KubeEdge does.
    fn from_str(text: &str) -> Result<Sha256Hash, HashError> {
        let bytes = text.as_bytes();
        if bytes.len() != 64 {
            return Err(HashError);
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(bytes.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Sha256Hash(digest))
    }
}

/// The text is not 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashError;

impl fmt::Display for HashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a SHA-256 hash: it has 64 digits, 0 to 9 and a to f, in lower case")
    }
}

impl std::error::Error for HashError {}

fn nibble(digit: u8) -> Result<u8, HashError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(HashError),
    }
}

/// Bytes at a time.
const CHUNK: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digest_round_trips() {
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Sha256Hash::of(b"abc").to_string(), text);
        assert_eq!(text.parse(), Ok(Sha256Hash::of(b"abc")));
        let long = vec![7; CHUNK * 2 + 5];
        assert_eq!(Sha256Hash::of_all(&*long).unwrap(), Sha256Hash::of(&long));
    }

    #[test]
    fn only_the_exact_form_is_read() {
        let text = Sha256Hash::of(b"").to_string();
        for bad in [
            "",
            &text[1..],
            &format!("{text}0"),
            &text.to_uppercase(),
            &format!(" {}", &text[1..]),
            &format!("é{}", &text[2..]),
        ] {
            assert_eq!(bad.parse::<Sha256Hash>(), Err(HashError), "{bad:?}");
        }
    }
}
