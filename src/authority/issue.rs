//! What is signed for whom, and what is refused (docs/protocol.md, "Certificate API").

use std::time::Duration;

use log::warn;

use super::holder::{self, ATTEMPTS, Hold};
use super::tokens::{Claims, check_uses, wanted};
use super::{Authority, BACKDATE, LegacyCertificates, Refusal};
use crate::pki::PkiError;
use crate::pki::certificate::{Certificate, Subject};
use crate::pki::chain;
use crate::pki::csr::Csr;
use crate::pki::hash::Sha256Hash;
use crate::store::{Claim, NodeRecord, Recorded, StoreError};
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;

/// A request for a certificate, its token already checked.
#[derive(Clone, Copy, Debug)]
pub struct IssueRequest<'a> {
    /// The body: a certificate signing request in DER.
    pub csr: &'a [u8],
    /// The `NodeName` header. When it is missing or no name, answer `by.without_node_name()`.
    pub node: &'a NodeName,
    /// The `ExtKeyUsages` header as it came.
    pub usages: Option<&'a str>,
    pub by: By<'a>,
}

/// What the request's sender has shown.
#[derive(Clone, Copy, Debug)]
pub enum By<'a> {
    /// A token that `tokens::check` has found good, so far without a look at its record.
    Token(&'a Claims),
    /// A client certificate, so far only with the handshake's signature checked.
    Certificate(&'a Certificate),
}

impl By<'_> {
    /// The answer to a request that does not name a node.
    pub fn without_node_name(&self) -> Refusal {
        match self {
            By::Token(_) => Refusal::NodeName,
            By::Certificate(_) => Refusal::CertificateName,
        }
    }
}

/// A certificate that was signed, and recorded for its node.
#[derive(Clone, Debug)]
pub struct Issued {
    pub certificate: Certificate,
    pub key_hash: Sha256Hash,
    /// What was known of the node before.
    pub replaced: Option<NodeRecord>,
    /// How long ago the certificate that was renewed had ended.
    pub late: Option<Duration>,
}

impl Issued {
    /// Whether the name belonged to another key until now. After an enrolment by token that ends
    /// the old session; every renewal brings a new key.
    pub fn replaces_key(&self) -> bool {
        self.replaced
            .as_ref()
            .is_some_and(|old| old.key_hash != self.key_hash)
    }
}

impl Authority {
    /// Signs what may be signed, and records it before anybody sees it.
    ///
    /// The subject is always ours; of the request only the public key is used.
    pub async fn issue(&self, request: &IssueRequest<'_>) -> Result<Issued, Refusal> {
        let now = self.clock.now();
        let (token, late) = match request.by {
            By::Token(claims) => {
                let record = self.token_record(claims, Some(request.node)).await?;
                (record, None)
            }
            By::Certificate(certificate) => {
                let late = self.authorize_renewal(certificate, request.node, now);
                (None, late.await?)
            }
        };
        check_usages(request.usages)?;
        let csr = Csr::parse(request.csr).map_err(Refusal::Csr)?;
        check_subject(csr.subject(), request.node)?;
        let key_hash = Sha256Hash::of(csr.spki());
        let wanted = wanted(request.node, key_hash, now);
        if let Some(token) = &token {
            check_uses(token, &wanted)?;
        }
        let (held, revoked) = self.known(request.node).await?;
        self.may_have(request, &key_hash, held.as_ref(), revoked, late)?;
        let certificate = self.sign(&csr, request.node, now)?;
        // The token's use is taken first, and given back when nothing comes of it: so there is
        // never one too many.
        let grant = match &token {
            Some(token) => Some(self.take_use(token, wanted).await?),
            None => None,
        };
        let refusal = match self.enter(request, &certificate, late).await {
            Ok(replaced) => {
                return Ok(Issued {
                    certificate,
                    key_hash,
                    replaced,
                    late,
                });
            }
            Err(refusal) => refusal,
        };
        if let Some(grant) = grant {
            self.give_back(grant).await;
        }
        Err(refusal)
    }

    /// Writes down whose the certificate is, if it may be; gives what was known of the node before.
    async fn enter(
        &self,
        request: &IssueRequest<'_>,
        certificate: &Certificate,
        late: Option<Duration>,
    ) -> Result<Option<NodeRecord>, Refusal> {
        let key_hash = certificate.spki_hash();
        for _ in 0..ATTEMPTS {
            let (held, revoked) = self.known(request.node).await?;
            let previous = self.may_have(request, &key_hash, held.as_ref(), revoked, late)?;
            let standing = self.standing();
            let trusts = match request.by {
                By::Certificate(_) => held.as_ref().and_then(|held| held.trusts),
                // Whoever joins pins the CA that the token names.
                By::Token(claims) => claims.ca,
            };
            let next = standing.next().map(Certificate::hash);
            let record = NodeRecord {
                by: standing.next_signer().map(Certificate::hash),
                trusts: trusts.filter(|trusts| Some(*trusts) == next),
                ..holder::record(certificate, previous, held.as_ref(), revoked)
            };
            let claim = Claim::Of(held);
            match self.store.record_node(request.node, record, claim).await {
                Ok(Recorded::Stored(replaced)) => return Ok(replaced),
                // Something else was issued to this name meanwhile: judge again.
                Ok(Recorded::Changed) => {}
                Err(error) => return Err(Refusal::Store(error)),
            }
        }
        Err(Refusal::Store(StoreError::Busy))
    }

    async fn known(
        &self,
        node: &NodeName,
    ) -> Result<(Option<NodeRecord>, Option<Timestamp>), Refusal> {
        let held = self.store.node(node).await.map_err(Refusal::Store)?;
        let revoked = self.store.revoked(node).await.map_err(Refusal::Store)?;
        Ok((held, revoked))
    }

    /// Whether the name may get this key now; if so, the key that counts beside it for a while.
    fn may_have(
        &self,
        request: &IssueRequest<'_>,
        key_hash: &Sha256Hash,
        held: Option<&NodeRecord>,
        revoked: Option<Timestamp>,
        late: Option<Duration>,
    ) -> Result<Option<Sha256Hash>, Refusal> {
        match request.by {
            By::Certificate(certificate) if certificate.subject().is_legacy_edge() => Ok(None),
            By::Certificate(certificate) => {
                match (holder::judge(held, revoked, certificate), late) {
                    (Err(Refusal::Superseded) | Ok(Hold::First | Hold::Later), Some(_)) => {
                        Err(Refusal::LateKey)
                    }
                    (judged, _) => judged.map(|_| Some(certificate.spki_hash())),
                }
            }
            By::Token(_) => {
                let other = holder::in_force(held, revoked)
                    .filter(|held| !held.has(key_hash) && held.not_after > self.clock.now());
                match other {
                    Some(_) if self.protect_names => Err(Refusal::NameTaken),
                    _ => Ok(None),
                }
            }
        }
    }

    /// Whether `certificate` is by our CA, valid now, made for clients, and of exactly this name.
    pub(super) fn check_name(
        &self,
        certificate: &Certificate,
        node: &NodeName,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.check_chain(certificate, now)?;
        match certificate.subject().node_name() {
            Some(name) if name == *node => Ok(()),
            _ => Err(Refusal::CertificateName),
        }
    }

    /// As `authenticate`, with the operator's exceptions: for certificates that have ended,
    /// which gives how long ago, and for legacy ones.
    async fn authorize_renewal(
        &self,
        certificate: &Certificate,
        node: &NodeName,
        now: Timestamp,
    ) -> Result<Option<Duration>, Refusal> {
        if !certificate.subject().is_legacy_edge() {
            let refusal = match self.authenticate(certificate, node).await {
                Ok(_) => return Ok(None),
                Err(refusal) => refusal,
            };
            let end = certificate.not_after();
            let late = now.since(end);
            let expired = matches!(refusal, Refusal::Certificate(PkiError::Expired { .. }));
            if !expired || self.renew_after_expiry.is_none_or(|grace| late > grace) {
                return Err(refusal);
            }
            // In every other way it must be as good as one that is valid; and `issue` sees to it
            // that its key is still the node's.
            self.check_name(certificate, node, end)?;
            return Ok(Some(late));
        }
        self.check_chain(certificate, now)?;
        self.hold_without_name(node).await?;
        let allowed = match self.legacy {
            LegacyCertificates::Refused => false,
            LegacyCertificates::Rotate => self
                .store
                .node(node)
                .await
                .map_err(Refusal::Store)?
                .is_some(),
            LegacyCertificates::Full => true,
        };
        if !allowed {
            return Err(Refusal::Legacy);
        }
        let serial = certificate.serial();
        warn!("the legacy certificate {serial} is exchanged for one of node {node}");
        Ok(None)
    }

    fn check_chain(&self, certificate: &Certificate, now: Timestamp) -> Result<(), Refusal> {
        chain::verify_client(certificate, &self.standing().trusted, now)
            .map_err(Refusal::Certificate)
    }

    fn sign(&self, csr: &Csr, node: &NodeName, now: Timestamp) -> Result<Certificate, Refusal> {
        let standing = self.standing();
        let not_after = standing.signer().not_after();
        let end = now.plus(self.lifetime).min(not_after);
        if end <= now {
            return Err(Refusal::Signing(PkiError::Expired { not_after, now }));
        }
        // A certificate that is renewed at a share of its life must not be born past that point.
        let start = now.minus(BACKDATE.min(self.lifetime));
        standing
            .issuer
            .client(csr.spki(), &Subject::node(node), start, end)
            .map_err(Refusal::Signing)
    }
}

/// Go's numbers: 2 is clientAuth. More may be asked for; nothing else is given.
fn check_usages(header: Option<&str>) -> Result<(), Refusal> {
    let header = header.unwrap_or_default().trim();
    if header.is_empty() {
        return Ok(());
    }
    let usages: Vec<i64> = serde_json::from_str(header).map_err(|_| Refusal::Usages)?;
    if usages.contains(&CLIENT_AUTH) {
        Ok(())
    } else {
        Err(Refusal::Usages)
    }
}

/// The node's own subject, or the one that edges before 1.16 send all their life.
fn check_subject(subject: &Subject, node: &NodeName) -> Result<(), Refusal> {
    match subject.node_name() {
        Some(name) if name == *node => Ok(()),
        Some(_) => Err(Refusal::NodeName),
        None if subject.is_legacy_edge() => Ok(()),
        None => Err(Refusal::Subject),
    }
}

const CLIENT_AUTH: i64 = 2;

#[cfg(test)]
#[path = "issue_tests.rs"]
mod tests;
