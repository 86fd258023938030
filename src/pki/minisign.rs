//! Signatures of files in the form of minisign: ed25519 over BLAKE2b of the file.

use std::fmt;
use std::io::Read;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};

use super::blake2b;

/// Who may sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    id: [u8; 8],
    key: [u8; 32],
}

/// One signature with its trusted comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    id: [u8; 8],
    signature: [u8; 64],
    /// Signed too; says what the signer wants to say.
    pub comment: String,
    global: [u8; 64],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinisignError {
    /// The text is no public key.
    Key,
    /// The text is no signature.
    Signature,
    /// It is over the file itself, which would have to be held in memory.
    Legacy,
    OtherKey,
    /// The file, or its comment, is not what was signed.
    Wrong,
    Unreadable,
}

impl PublicKey {
    /// Whether this key has signed what is read here.
    pub fn verify(&self, file: impl Read, signature: &Signature) -> Result<(), MinisignError> {
        if signature.id != self.id {
            return Err(MinisignError::OtherKey);
        }
        let digest = blake2b::of_all(file).map_err(|_| MinisignError::Unreadable)?;
        let key = UnparsedPublicKey::new(&ED25519, &self.key);
        key.verify(&digest, &signature.signature)
            .map_err(|_| MinisignError::Wrong)?;
        let both = [&signature.signature[..], signature.comment.as_bytes()].concat();
        key.verify(&both, &signature.global)
            .map_err(|_| MinisignError::Wrong)
    }
}

impl FromStr for PublicKey {
    type Err = MinisignError;

    /// The file that minisign writes, or its second line alone.
    fn from_str(text: &str) -> Result<PublicKey, MinisignError> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let line = lines.find(|line| !line.starts_with("untrusted comment:"));
        let bytes = decoded::<42>(line.unwrap_or_default()).ok_or(MinisignError::Key)?;
        let (head, rest) = bytes.split_at(2);
        let (id, key) = rest.split_at(8);
        match (head, id.try_into(), key.try_into()) {
            (b"Ed", Ok(id), Ok(key)) => Ok(PublicKey { id, key }),
            _ => Err(MinisignError::Key),
        }
    }
}

impl FromStr for Signature {
    type Err = MinisignError;

    fn from_str(text: &str) -> Result<Signature, MinisignError> {
        let mut lines = text.lines();
        let mut next = || lines.next().ok_or(MinisignError::Signature);
        next()?
            .strip_prefix("untrusted comment:")
            .ok_or(MinisignError::Signature)?;
        let bytes = decoded::<74>(next()?).ok_or(MinisignError::Signature)?;
        let comment = next()?.strip_prefix("trusted comment: ");
        let comment = comment.ok_or(MinisignError::Signature)?.to_owned();
        let global = decoded::<64>(next()?).ok_or(MinisignError::Signature)?;
        let (head, rest) = bytes.split_at(2);
        let (id, signature) = rest.split_at(8);
        match (head, id.try_into(), signature.try_into()) {
            (b"ED", Ok(id), Ok(signature)) => Ok(Signature {
                id,
                signature,
                comment,
                global,
            }),
            (b"Ed", ..) => Err(MinisignError::Legacy),
            _ => Err(MinisignError::Signature),
        }
    }
}

fn decoded<const N: usize>(line: &str) -> Option<[u8; N]> {
    STANDARD.decode(line.trim()).ok()?.try_into().ok()
}

impl fmt::Display for MinisignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MinisignError::Key => "it is no public key of minisign",
            MinisignError::Signature => "it is no signature of minisign",
            MinisignError::Legacy => "it is in minisign's old form: sign with minisign -S -H",
            MinisignError::OtherKey => {
                "another key than the one that is trusted here has signed it"
            }
            MinisignError::Wrong => "the file is not what was signed",
            MinisignError::Unreadable => "the file can't be read",
        })
    }
}

impl std::error::Error for MinisignError {}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    fn encoded(parts: &[&[u8]]) -> String {
        STANDARD.encode(parts.concat())
    }

    /// As minisign does it.
    fn signed(file: &[u8], comment: &str) -> (String, String) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let key = pair.public_key().as_ref().to_vec();
        let public = format!(
            "untrusted comment: minisign public key\n{}\n",
            encoded(&[b"Ed", b"12345678", &key])
        );
        let signature = pair.sign(&blake2b::of_all(file).unwrap());
        let global = pair.sign(&[signature.as_ref(), comment.as_bytes()].concat());
        let text = format!(
            "untrusted comment: x\n{}\ntrusted comment: {comment}\n{}\n",
            encoded(&[b"ED", b"12345678", signature.as_ref()]),
            encoded(&[global.as_ref()])
        );
        (public, text)
    }

    #[test]
    fn a_signature_is_good_for_one_file_and_one_comment() {
        let (public, text) = signed(b"program", "file:kubeedge");
        let key: PublicKey = public.parse().unwrap();
        let signature: Signature = text.parse().unwrap();
        assert_eq!(key.verify(&b"program"[..], &signature), Ok(()));
        assert_eq!(
            key.verify(&b"programm"[..], &signature),
            Err(MinisignError::Wrong)
        );
        let other: Signature = text.replace("file:k", "file:j").parse().unwrap();
        assert_eq!(
            key.verify(&b"program"[..], &other),
            Err(MinisignError::Wrong)
        );
        let line = public.lines().nth(1).unwrap();
        assert_eq!(line.parse(), Ok(key.clone()));
        let mut stranger = key;
        stranger.id = *b"87654321";
        assert_eq!(
            stranger.verify(&b"program"[..], &signature),
            Err(MinisignError::OtherKey)
        );
    }

    #[test]
    fn what_is_neither_is_refused() {
        let (public, text) = signed(b"x", "c");
        for bad in ["", "untrusted comment: x", "RWQ", &public[..60], &text] {
            assert_eq!(bad.parse::<PublicKey>(), Err(MinisignError::Key), "{bad}");
        }
        for bad in ["", &public, &text[..100]] {
            assert_eq!(
                bad.parse::<Signature>(),
                Err(MinisignError::Signature),
                "{bad}"
            );
        }
    }
}
