//! Identity to fresher identity: a new key and certificate before the old one ends.

use std::time::Duration;

use sha2::{Digest, Sha256};
use smol::Timer;
use smol::future::or;

use super::backoff::Backoff;
use super::edge::{Asked, Edge, Failure};
use super::enroll::{accept, commit, new_key};
use super::identity::Identity;
use crate::pki::certificate::Subject;
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;

/// When this certificate is to be renewed: at 70–90 % of its life, the point fixed by the node's
/// name, so that devices that joined together do not renew together.
pub fn due(identity: &Identity, node: &NodeName) -> Timestamp {
    let (start, end) = (
        identity.certificate.not_before(),
        identity.certificate.not_after(),
    );
    let digest = Sha256::digest(node.as_str());
    let share = f64::from(u16::from_be_bytes([digest[0], digest[1]])) / f64::from(u16::MAX);
    start.plus(end.since(start).mul_f64(0.7 + 0.2 * share))
}

/// Renews for ever; each success makes the new identity the edge's.
pub async fn run(edge: &Edge) {
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_CAP);
    let mut early = None;
    loop {
        let asked = match early.take() {
            Some(asked) => Some(asked),
            None => wait_until_due(edge).await,
        };
        let outcome = renew(edge).await;
        match &outcome {
            Ok(identity) => {
                backoff.reset();
                log::info!(
                    "renewed the certificate: serial {}, until {}",
                    identity.certificate.serial(),
                    identity.certificate.not_after()
                );
                edge.adopt(identity.clone());
            }
            Err(failure) => edge.state.problem(failure, failure.retryable()),
        }
        let wait = match &outcome {
            Ok(_) => None,
            Err(failure) => Some(failure.retry_after()),
        };
        if let Some(asked) = asked {
            let said = outcome.map(|identity| identity.certificate.serial());
            // Whoever asked may have left.
            let _ = asked.try_send(said.map_err(|failure| failure.to_string()));
        }
        // Even a cloud that issues certificates which are due at once causes no storm.
        let pause = match wait {
            Some(wanted) => backoff.next_asked(wanted).min(patience(edge)),
            None => AFTER_SUCCESS,
        };
        let waited = async {
            Timer::after(pause).await;
            None
        };
        // Whoever asks may have put the cloud in order, and is not kept waiting.
        early = or(waited, async { edge.renew.1.recv().await.ok() }).await;
    }
}

/// Sleeps until the renewal is due, or until somebody asks for it.
///
/// Sleeps in short steps, since the wall clock may be set while the device runs.
async fn wait_until_due(edge: &Edge) -> Option<Asked> {
    let asked = async { edge.renew.1.recv().await.ok() };
    let timed = async {
        loop {
            let now = edge.host.clock.now();
            let point = match &*edge.identity.borrow() {
                Some(identity) if edge.settings.rotate => due(identity, &edge.settings.node),
                _ => now.plus(CLOCK_STEP),
            };
            if now >= point {
                return None;
            }
            Timer::after(point.since(now).min(CLOCK_STEP)).await;
        }
    };
    or(asked, timed).await
}

/// One renewal, now. When it returns, the new identity is on disk and not yet the edge's.
pub async fn renew(edge: &Edge) -> Result<Identity, Failure> {
    let present = edge.identity.borrow().clone();
    let present = present.ok_or(super::identity::IdentityError::Absent)?;
    let subject = Subject::node(&edge.settings.node);
    let (key, request) = edge.off_thread(move || new_key(&subject)).await??;
    let (old, node) = (present.clone(), edge.settings.node.clone());
    let certificate = edge
        .api(move |api| api.renew(&old.ca, (&old.certificate, &old.key), &node, &request))
        .await?;
    let identity = accept(edge, key, certificate, present.ca)?;
    commit(edge, &identity).await?;
    Ok(identity)
}

/// The longest pause that leaves several attempts before the certificate ends.
fn patience(edge: &Edge) -> Duration {
    let identity = edge.identity.borrow();
    let left = identity.as_ref().map(|identity| {
        identity
            .certificate
            .not_after()
            .since(edge.host.clock.now())
    });
    left.map_or(RETRY_CAP, |left| (left / 8).max(RETRY_FIRST))
}

const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_CAP: Duration = Duration::from_secs(300);
const AFTER_SUCCESS: Duration = Duration::from_secs(1);
const CLOCK_STEP: Duration = Duration::from_secs(60);
