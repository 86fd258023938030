//! Identity to fresher identity: a new key and certificate before the old one ends.

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use smol::Timer;
use smol::future::or;

use super::backoff::Backoff;
use super::edge::{Asked, Edge, Failure, pause};
use super::enroll::{accept, commit, new_key};
use super::follow;
use super::identity::Identity;
use super::timekeeping;
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
    let mut earliest = Instant::now();
    let mut early = None;
    let mut follower = follow::Follower::new();
    loop {
        let wake = match early.take() {
            Some(asked) => Wake::Asked(asked),
            None => or(changed(&mut follower, edge), due_or_asked(edge, earliest)).await,
        };
        let asked = match wake {
            // A clock that is years ahead makes every certificate look due.
            Wake::Due if !is_still_due(edge).await => continue,
            Wake::Due => None,
            Wake::Asked(asked) => Some(asked),
            Wake::Changed => {
                follower.step(edge).await;
                continue;
            }
        };
        let outcome = renew(edge).await;
        match &outcome {
            Ok(identity) => {
                backoff.reset();
                let certificate = &identity.certificate;
                let life = certificate.not_after().since(certificate.not_before());
                earliest = Instant::now() + (life / 8).min(LONGEST_SPACE);
                log::info!(
                    "renewed the certificate: serial {}, until {}",
                    identity.certificate.serial(),
                    identity.certificate.not_after()
                );
                edge.adopt(identity.clone());
            }
            Err(failure) => edge.state.not_renewed(failure, failure.retryable()),
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
        let waited = pause(match wait {
            Some(wanted) => backoff.next_asked(wanted).min(patience(edge)),
            None => AFTER_SUCCESS,
        });
        let waited = async {
            waited.await;
            None
        };
        // Whoever asks may have put the cloud in order, and is not kept waiting.
        early = or(waited, async { edge.renew.1.recv().await.ok() }).await;
    }
}

/// Why it is time to do something.
enum Wake {
    Due,
    /// Somebody asks for a renewal.
    Asked(Asked),
    /// The cloud's CA may have changed.
    Changed,
}

async fn changed(follower: &mut follow::Follower, edge: &Edge) -> Wake {
    follower.wait(edge).await;
    Wake::Changed
}

/// Sleeps until the renewal is due, or until somebody asks for it.
///
/// Sleeps in short steps, since the wall clock may be set while the device runs. Before `earliest`
/// nothing is due: even a cloud that issues certificates which are due at once, or a clock that nobody
/// corrects, causes no storm.
async fn due_or_asked(edge: &Edge, earliest: Instant) -> Wake {
    // The sender lives in `edge`: the channel is never closed.
    let asked = async { edge.renew.1.recv().await.map_or(Wake::Due, Wake::Asked) };
    let timed = async {
        let mut may_ask = Instant::now() + CLOCK_STEP;
        Timer::at(earliest).await;
        loop {
            // A cloud that does not say the time by itself is asked once the tunnel is up: a clock
            // that is behind would never find the certificate due.
            let clock = &edge.host.clock;
            if clock.word().is_none() && edge.sessions.get() > 0 && Instant::now() >= may_ask {
                may_ask = Instant::now() + ASK_AGAIN;
                ask(edge).await;
            }
            let left = time_left(edge).unwrap_or(CLOCK_STEP);
            if left.is_zero() {
                return Wake::Due;
            }
            or(pause(left.min(CLOCK_STEP)), edge.time_told.wait()).await;
        }
    };
    or(asked, timed).await
}

/// How long until the certificate is to be renewed; none when it is not, or there is none.
fn time_left(edge: &Edge) -> Option<Duration> {
    let identity = edge.identity.borrow();
    let identity = identity.as_ref().filter(|_| edge.settings.rotate)?;
    Some(due(identity, &edge.settings.node).since(edge.host.clock.now()))
}

/// Asks the cloud, unless it has said the time lately.
async fn is_still_due(edge: &Edge) -> bool {
    let age = edge.host.clock.word_age();
    if age.is_none_or(|age| age > FRESH) {
        ask(edge).await;
    }
    time_left(edge).is_some_and(|left| left.is_zero())
}

async fn ask(edge: &Edge) {
    let ca = edge.identity.borrow().as_ref().map(|it| it.ca.clone());
    if let Some(ca) = ca {
        timekeeping::ask(edge, &ca).await;
    }
}

/// One renewal, now. When it returns, the new identity is on disk and not yet the edge's.
pub async fn renew(edge: &Edge) -> Result<Identity, Failure> {
    let present = edge.identity.borrow().clone();
    let present = present.ok_or(super::identity::IdentityError::Absent)?;
    let subject = Subject::node(&edge.settings.node);
    let (key, request) = edge.off_thread(move || new_key(&subject)).await??;
    let (old, node) = (present.clone(), edge.settings.node.clone());
    let certificate = edge
        .api(move |api| {
            let own = (&old.certificate, &old.key);
            api.renew(&old.trusted(), own, &node, &request)
        })
        .await?;
    let trusted = present.trusted();
    let trusted = follow::issuers(edge, &certificate, trusted, Some(&present)).await?;
    let identity = accept(edge, key, certificate, trusted)?;
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
    // Once it has ended, a cloud may still renew it, but there is no hurry left.
    left.filter(|left| !left.is_zero())
        .map_or(RETRY_CAP, |left| (left / 8).max(RETRY_FIRST))
}

const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_CAP: Duration = Duration::from_secs(300);
const AFTER_SUCCESS: Duration = Duration::from_secs(1);
const CLOCK_STEP: Duration = Duration::from_secs(60);
/// Between questions for the time that had no answer.
const ASK_AGAIN: Duration = Duration::from_secs(3_600);
/// For so long after the cloud has said the time nothing is worth another question.
const FRESH: Duration = Duration::from_secs(600);
/// Of the pause between two renewals that fall due by themselves; else an eighth of a life.
const LONGEST_SPACE: Duration = Duration::from_secs(86_400);
