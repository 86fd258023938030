//! What a session keeps of the certificate that it was opened with, so that it can be judged again when
//! keys or CAs have changed.

use std::time::Instant;

use super::holder::judge_key;
use super::{Authority, Refusal};
use crate::pki::PkiError;
use crate::pki::certificate::Certificate;
use crate::pki::hash::Sha256Hash;
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;

/// The little of a certificate that decides whether it counts; each session has one.
#[derive(Clone, Debug)]
pub struct Credential {
    /// None: it names no node, and only a revocation makes an end of it.
    key: Option<Sha256Hash>,
    begins: Timestamp,
    /// Which one has issued it.
    ca: Certificate,
}

impl Credential {
    pub fn new(certificate: &Certificate, ca: &Certificate) -> Credential {
        let named = certificate.subject().node_name().is_some();
        Credential {
            key: named.then(|| certificate.spki_hash()),
            begins: certificate.not_before(),
            ca: ca.clone(),
        }
    }
}

impl Authority {
    /// Of a certificate that was found to be by a CA of ours; the look at that began at this moment.
    pub fn credential(
        &self,
        certificate: &Certificate,
        judged: Instant,
    ) -> Result<Credential, Refusal> {
        let standing = self.standing();
        let ca = standing.issuer_of(certificate, judged);
        let ca = ca.ok_or(Refusal::Certificate(PkiError::UnknownCa))?;
        Ok(Credential::new(certificate, ca))
    }

    /// Whether the CA is still one of ours.
    pub fn trusts(&self, credential: &Credential) -> bool {
        self.standing().trusted.contains(&credential.ca)
    }

    /// Whether the key still counts for the node; the CA is not looked at.
    pub async fn stands(&self, credential: &Credential, node: &NodeName) -> Result<(), Refusal> {
        let Some(key) = credential.key else {
            return self.hold_without_name(node).await;
        };
        let record = self.store.node(node).await.map_err(Refusal::Store)?;
        let revoked = self.store.revoked(node).await.map_err(Refusal::Store)?;
        judge_key(record.as_ref(), revoked, (key, credential.begins)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::rotation::{Step, Wish};
    use crate::authority::testing::{Cloud, PLAIN};
    use crate::authority::{By, IssueRequest};
    use crate::pki::certificate::Subject;
    use crate::pki::csr;
    use crate::pki::key::PrivateKey;
    use crate::store::testing::name;

    fn joined(cloud: &Cloud) -> Certificate {
        let key = PrivateKey::generate().unwrap();
        let request = IssueRequest {
            csr: &csr::create(&key, &Subject::node(&name("a"))).unwrap(),
            node: &name("a"),
            usages: None,
            by: By::Token(&PLAIN),
        };
        let issued = smol::block_on(cloud.authority.issue(&request));
        issued.unwrap().certificate
    }

    /// Which CA it is by, of one that was judged from this moment on.
    fn issuer(cloud: &Cloud, certificate: &Certificate, judged: Instant) -> Option<Sha256Hash> {
        let credential = cloud.authority.credential(certificate, judged);
        credential.ok().map(|it| it.ca.hash())
    }

    #[test]
    fn the_issuer_is_known_whatever_happens_while_a_connection_is_opened() {
        let cloud = Cloud::new(|_| ());
        let rotate = |step| {
            let wish = Wish {
                step: Some(step),
                force: true,
                dry_run: false,
            };
            smol::block_on(cloud.authority.rotate(wish)).unwrap();
        };
        let (old, by_old) = (cloud.authority.ca().hash(), joined(&cloud));
        let early = Instant::now();
        assert_eq!(issuer(&cloud, &by_old, early), Some(old));
        rotate(Step::Prepare);
        rotate(Step::Switch);
        let (by_new, during) = (joined(&cloud), Instant::now());
        let new = cloud.authority.standing().signer().hash();
        assert_ne!(new, old);
        for (certificate, ca) in [(&by_old, old), (&by_new, new)] {
            assert_eq!(issuer(&cloud, certificate, during), Some(ca));
        }
        let held = cloud.authority.credential(&by_old, during).unwrap();
        assert!(cloud.authority.trusts(&held));
        rotate(Step::Announce);
        rotate(Step::Finish);
        assert!(!cloud.authority.trusts(&held));
        // Its handshake began when the old one counted, and ended when that was over.
        for judged in [early, during] {
            assert_eq!(issuer(&cloud, &by_old, judged), None);
            assert_eq!(issuer(&cloud, &by_new, judged), Some(new));
        }
        assert_eq!(issuer(&cloud, &by_new, Instant::now()), Some(new));
    }
}
