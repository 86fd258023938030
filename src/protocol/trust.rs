//! Which CAs a cloud has, and which one an edge trusts: told with every tunnel, so that edges follow
//! a rotation by themselves.
//!
//! The cloud's word is a list of CA hashes, the newest first, with `;signs` behind the one that signs
//! now; an edge's is a list of the hashes that it trusts. Neither is believed: what an edge comes
//! to trust it verifies (docs/protocol.md, "When the CA changes").

use std::fmt;
use std::str::FromStr;

use crate::pki::hash::Sha256Hash;

/// Of the 101, by the cloud.
pub const CA_HEADER: &str = "kubeedge-ca";
/// Of the upgrade request, by the edge.
pub const TRUST_HEADER: &str = "kubeedge-trust";
/// The operation of the message that tells an edge of a change; its content is the cloud's word.
pub const CHANGE: &str = "ca";

/// The cloud's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudCas {
    /// The newest first; never empty.
    pub all: Vec<Sha256Hash>,
    /// One of them.
    pub signer: Sha256Hash,
}

impl CloudCas {
    pub fn newest(&self) -> &Sha256Hash {
        // `from_str` takes no empty list; one that was made empty names the signer alone.
        self.all.first().unwrap_or(&self.signer)
    }
}

impl fmt::Display for CloudCas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, hash) in self.all.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let signs = if *hash == self.signer { SIGNS } else { "" };
            write!(f, "{comma}{hash}{signs}")?;
        }
        Ok(())
    }
}

impl FromStr for CloudCas {
    type Err = NotUnderstood;

    fn from_str(text: &str) -> Result<CloudCas, NotUnderstood> {
        let (mut all, mut signer) = (Vec::new(), None);
        for item in text.split(',').map(str::trim) {
            let hash = item.strip_suffix(SIGNS);
            let parsed: Sha256Hash = hash.unwrap_or(item).parse().map_err(|_| NotUnderstood)?;
            if hash.is_some() && signer.replace(parsed).is_some() {
                return Err(NotUnderstood);
            }
            all.push(parsed);
        }
        if all.len() > MAX_CAS {
            return Err(NotUnderstood);
        }
        Ok(CloudCas {
            all,
            signer: signer.ok_or(NotUnderstood)?,
        })
    }
}

/// The edge's word.
pub fn trusted(hashes: &[Sha256Hash]) -> String {
    let texts: Vec<String> = hashes.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

/// What an edge says; anything else than hashes is left out.
pub fn read_trusted(text: &str) -> Vec<Sha256Hash> {
    let items = text.split(',').filter_map(|item| item.trim().parse().ok());
    items.take(MAX_CAS).collect()
}

/// The text is not a list of CAs of which one signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUnderstood;

impl fmt::Display for NotUnderstood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a list of CAs: is the cloud of another version?")
    }
}

impl std::error::Error for NotUnderstood {}

const SIGNS: &str = ";signs";
/// A rotation has two; more than a few are never read.
const MAX_CAS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clouds_word_round_trips_and_nothing_else_is_taken() {
        let [a, b] = [b"a", b"b"].map(|it| Sha256Hash::of(it));
        let word = CloudCas {
            all: vec![a, b],
            signer: b,
        };
        let text = word.to_string();
        assert_eq!(text, format!("{a}, {b};signs"));
        assert_eq!(text.parse(), Ok(word));
        let many = vec![a.to_string(); 9].join(",") + ";signs";
        for wrong in [
            "",
            ";signs",
            &a.to_string(),
            &format!("{a};signs,{b};signs"),
            &format!("{a};signs,"),
            &format!("{a};signs,x"),
            &many,
        ] {
            assert_eq!(wrong.parse::<CloudCas>(), Err(NotUnderstood), "{wrong}");
        }
        assert_eq!(read_trusted(&trusted(&[a, b])), [a, b]);
        assert_eq!(read_trusted(&format!("x, {b} ,")), [b]);
    }
}
