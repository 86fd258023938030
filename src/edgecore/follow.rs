//! Follows the cloud when it changes its CA, without joining again; and says what happened when it
//! has another one by accident.
//!
//! The cloud tells which CAs it has, the newest first, and which one signs. An edge fetches the
//! newest and trusts it if a CA that it trusts already vouches for it; gets a certificate of the one
//! that signs; and then forgets those that the cloud has no more. Each step is one commit of the
//! identity, so a power cut leaves the state before it or after it, and either goes on.

use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::{or, pending};

use super::backoff::Backoff;
use super::edge::{Edge, Failure};
use super::enroll::commit;
use super::identity::{Identity, IdentityError};
use super::rotate::renew;
use crate::pki::certificate::Certificate;
use crate::pki::chain;
use crate::pki::hash::Sha256Hash;
use crate::protocol::enrollment::EnrollError;
use crate::protocol::portal::Portal;
use crate::system::clock::Timestamp;

/// Follows step by step; what fails is tried again, less and less often.
pub struct Follower {
    backoff: Backoff,
    again: Option<Instant>,
}

impl Follower {
    pub fn new() -> Follower {
        Follower {
            backoff: Backoff::new(RETRY_FIRST, RETRY_CAP),
            again: None,
        }
    }

    /// Returns when the cloud has said something of its CAs, or a failed step is to be repeated.
    pub async fn wait(&mut self, edge: &Edge) {
        let again = async {
            match self.again {
                Some(at) => {
                    Timer::at(at).await;
                }
                None => pending().await,
            }
        };
        or(edge.changed.wait(), again).await;
    }

    /// The next step, if there is one to take.
    pub async fn step(&mut self, edge: &Edge) {
        self.again = None;
        match step(edge).await {
            Ok(Some(identity)) => {
                self.backoff.reset();
                edge.adopt(identity);
                // There may be more to do.
                self.again = Some(Instant::now() + NEXT_STEP);
            }
            Ok(None) => self.backoff.reset(),
            Err(failure) => {
                edge.state.problem(&failure, failure.retryable());
                let pause = self.backoff.next_asked(failure.retry_after());
                self.again = Some(Instant::now() + pause);
            }
        }
    }
}

/// Takes one step; `None` when all is as the cloud says. What it gives is on disk.
async fn step(edge: &Edge) -> Result<Option<Identity>, Failure> {
    let Some(cloud) = edge.cas.borrow().clone() else {
        return Ok(None);
    };
    let present = edge.identity.borrow().clone();
    let present = present.ok_or(IdentityError::Absent)?;
    if !present.trusts(cloud.newest()) {
        let trusted = vouched(edge, present.trusted(), Some(&present)).await?;
        let also = trusted.into_iter().filter(|ca| *ca != present.ca).collect();
        let followed = Identity { also, ..present };
        if !followed.trusts(cloud.newest()) {
            return Err(Failure::NotVouched(*cloud.newest()));
        }
        commit(edge, &followed).await?;
        log::info!(
            "the cloud has a new CA, {}, and is trusted by it too",
            cloud.newest()
        );
        return Ok(Some(followed));
    }
    if present.ca_hash() != cloud.signer && present.trusts(&cloud.signer) && edge.settings.rotate {
        let renewed = renew(edge).await?;
        if renewed.ca_hash() == cloud.signer {
            log::info!("this device has a certificate of the CA {}", cloud.signer);
            return Ok(Some(renewed));
        }
        // The cloud may be in the middle of a change; asking again at once would be a storm.
        edge.adopt(renewed);
        return Err(Failure::WrongCertificate("is by another CA than it says"));
    }
    let gone = |ca: &Certificate| !cloud.all.contains(&ca.hash());
    if present.ca_hash() == cloud.signer && present.also.iter().any(gone) {
        let also = present.also.iter().filter(|ca| !gone(ca)).cloned();
        let followed = Identity {
            also: also.collect(),
            ..present
        };
        commit(edge, &followed).await?;
        log::info!(
            "the CA before {} is trusted no more: the cloud has retired it",
            cloud.signer
        );
        return Ok(Some(followed));
    }
    Ok(None)
}

/// Which of these has issued the certificate.
pub fn issuer(certificate: &Certificate, trusted: &[Certificate]) -> Option<usize> {
    let inside = certificate.not_before();
    let by = |ca: &Certificate| {
        chain::verify_client(certificate, std::slice::from_ref(ca), inside).is_ok()
    };
    trusted.iter().position(by)
}

/// The CAs that are trusted, and more if it takes one more to judge this certificate: a cloud that
/// changes its CA may sign with one that this device has not met.
pub async fn issuers(
    edge: &Edge,
    certificate: &Certificate,
    trusted: Vec<Certificate>,
    own: Option<&Identity>,
) -> Result<Vec<Certificate>, Failure> {
    if issuer(certificate, &trusted).is_some() {
        return Ok(trusted);
    }
    match vouched(edge, trusted.clone(), own).await {
        Ok(more) => Ok(more),
        Err(failure) if !has_no_bundle(&failure) => Err(failure),
        Err(_) => Ok(trusted),
    }
}

/// A cloud of KubeEdge has nothing to say about its CA. Then the certificate is judged by what is known.
fn has_no_bundle(failure: &Failure) -> bool {
    match failure {
        Failure::Api(EnrollError::Status { status, .. }) => {
            (400..500).contains(status) && *status != 429
        }
        failure => !failure.retryable(),
    }
}

/// Fetches what the cloud has, and adds what one of `trusted` vouches for.
async fn vouched(
    edge: &Edge,
    mut trusted: Vec<Certificate>,
    own: Option<&Identity>,
) -> Result<Vec<Certificate>, Failure> {
    let (known, own) = (trusted.clone(), own.cloned());
    let bundle = edge
        .api(move |api| {
            let own = own.as_ref().map(|own| (&own.certificate, &own.key));
            api.bundle(&known, own)
        })
        .await?;
    let now = edge.host.clock.now();
    for ca in &bundle {
        if !trusted.contains(ca) && is_vouched_for(ca, &bundle, &trusted, now) {
            trusted.push(ca.clone());
        }
    }
    Ok(trusted)
}

/// Whether a CA that is trusted has signed for the key of this one, which has signed itself.
fn is_vouched_for(
    ca: &Certificate,
    bundle: &[Certificate],
    trusted: &[Certificate],
    now: Timestamp,
) -> bool {
    let vouches = |cross: &Certificate| {
        let same = cross.spki() == ca.spki() && cross.subject() == ca.subject();
        same && trusted
            .iter()
            .any(|by| chain::verify_authority(cross, by, now).is_ok())
    };
    chain::verify_authority(ca, ca, now).is_ok() && bundle.iter().any(vouches)
}

/// Whom a device meets where its cloud should be.
pub enum Met {
    /// A cloud with another CA.
    Other(Sha256Hash),
    /// A cloud with a CA that is trusted here.
    Own,
    Portal(Portal),
    /// Nobody who says anything of use.
    Nobody,
}

/// When the hub's certificate is by no CA that is trusted here: what the certificate API says, for
/// telling a person. Nobody vouches for it, and nothing is changed by it.
pub async fn met(edge: &Edge) -> Met {
    let ca = match edge.api(|api| api.meet_ca()).await {
        Ok(ca) => ca.hash(),
        Err(Failure::Api(EnrollError::Portal { portal, .. })) => return Met::Portal(portal),
        Err(_) => return Met::Nobody,
    };
    let identity = edge.identity.borrow();
    match identity.as_ref().is_some_and(|it| it.trusts(&ca)) {
        true => Met::Own,
        false => Met::Other(ca),
    }
}

const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_CAP: Duration = Duration::from_secs(300);
/// Lets the tunnel move over to what a step has brought, which tells the cloud of it.
const NEXT_STEP: Duration = Duration::from_secs(1);
