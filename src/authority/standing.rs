//! Which CA does what now: one does all, and during a rotation two share the work.

use std::time::Instant;

use super::AuthorityError;
use super::tokens::TokenKey;
use crate::pki::certificate::Certificate;
use crate::pki::chain;
use crate::pki::hash::Sha256Hash;
use crate::pki::issue::Issuer;
use crate::store::{KeyPair, Phase, Rotation, Store};

/// The CAs at one moment of a rotation, or outside of any.
pub struct Standing {
    /// What tokens and `/ca.crt` name.
    pub announced: Certificate,
    /// Who signs.
    pub issuer: Issuer,
    /// Whose certificates of nodes count: the newest CA first.
    pub trusted: Vec<Certificate>,
    /// What the cloud shows behind its own certificate, for devices that know the old CA alone.
    pub shown: Vec<Certificate>,
    pub tokens: TokenKey,
    pub phase: Option<Phase>,
    /// By which the old CA vouches for the new one.
    pub cross: Option<Certificate>,
    /// Since when things stand so; none: since the start.
    pub since: Option<Instant>,
}

impl Standing {
    /// What the store says.
    pub async fn load(store: &dyn Store, ca: &KeyPair) -> Result<Standing, AuthorityError> {
        Standing::of(ca, store.load_rotation().await?)
    }

    fn of(ca: &KeyPair, rotation: Option<Rotation>) -> Result<Standing, AuthorityError> {
        let old = ca.certificate().clone();
        let Some(rotation) = rotation else {
            return Ok(Standing {
                issuer: Issuer::new(old.clone(), ca.key().clone())?,
                trusted: vec![old.clone()],
                shown: Vec::new(),
                tokens: TokenKey::new(&old, ca.key()),
                announced: old,
                phase: None,
                cross: None,
                since: None,
            });
        };
        let (next, phase) = (&rotation.next, rotation.phase);
        let new = next.certificate().clone();
        let signer = if phase >= Phase::Switched { next } else { ca };
        let named = if phase >= Phase::Announced { next } else { ca };
        let other = if phase >= Phase::Announced { ca } else { next };
        Ok(Standing {
            announced: named.certificate().clone(),
            issuer: Issuer::new(signer.certificate().clone(), signer.key().clone())?,
            trusted: vec![new, old],
            shown: match phase {
                Phase::Prepared => Vec::new(),
                Phase::Switched | Phase::Announced => vec![rotation.cross.clone()],
            },
            tokens: TokenKey::new(named.certificate(), named.key())
                .and_of(other.certificate(), other.key()),
            phase: Some(phase),
            cross: Some(rotation.cross),
            since: None,
        })
    }

    pub fn signer(&self) -> &Certificate {
        self.issuer.certificate()
    }

    /// The CA that is to come, while a rotation is under way.
    pub fn next(&self) -> Option<&Certificate> {
        self.phase.and(self.trusted.first())
    }

    /// The next CA, once it signs.
    pub fn next_signer(&self) -> Option<&Certificate> {
        self.next().filter(|next| *next == self.signer())
    }

    /// The hashes of all that are trusted, the newest first; and that of the one that signs.
    pub fn hashes(&self) -> (Vec<Sha256Hash>, Sha256Hash) {
        let all = self.trusted.iter().map(Certificate::hash).collect();
        (all, self.signer().hash())
    }

    /// The one with this hash.
    pub fn named(&self, hash: &Sha256Hash) -> Option<&Certificate> {
        self.trusted.iter().find(|ca| ca.hash() == *hash)
    }

    /// Which CA has issued this certificate of a node, whose chain was found good when things stood as
    /// they did at this moment or later. Where only one can have, no signature is verified again: a
    /// session should cost no more than it must when all come at once.
    pub fn issuer_of(&self, certificate: &Certificate, judged: Instant) -> Option<&Certificate> {
        match &self.trusted[..] {
            [only] if self.since.is_none_or(|since| since < judged) => Some(only),
            all => all.iter().find(|ca| {
                let ca = std::slice::from_ref(*ca);
                chain::verify_client(certificate, ca, certificate.not_before()).is_ok()
            }),
        }
    }

    /// All that a device needs to follow, in PEM: public, and verified by the device.
    pub fn bundle(&self) -> String {
        let all = self.trusted.iter().chain(&self.cross);
        all.map(Certificate::to_pem).collect()
    }
}
