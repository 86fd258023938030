//! A CA makes way for another, in steps that each outlive a power cut and may be repeated.
//!
//! Prepare: the next CA is made, and the present one vouches for its key by a cross certificate.
//! Switch: the next one signs; the cloud shows the cross certificate behind its own, by which
//! devices that know the old CA alone go on. Announce: new tokens and `/ca.crt` name the next one.
//! Finish: the old one counts no more. Devices of ours follow at each step by themselves.

use std::fmt;
use std::str::FromStr;

use log::warn;

use super::{Authority, AuthorityError, BACKDATE, DAY, holder};
use crate::pki::PkiError;
use crate::pki::certificate::Certificate;
use crate::pki::chain;
use crate::pki::hash::Sha256Hash;
use crate::pki::issue::{Issuer, new_ca};
use crate::pki::key::PrivateKey;
use crate::store::{KeyPair, Phase, Rotation, Store};
use crate::system::clock::Timestamp;
use crate::system::counted::counted;
use crate::system::names::NodeName;

/// One step of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Prepare,
    Switch,
    Announce,
    Finish,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// None: the next one.
    pub step: Option<Step>,
    /// Finish though some devices have not followed.
    pub force: bool,
    /// Only say what would happen.
    pub dry_run: bool,
}

/// What became of a wish.
#[derive(Debug)]
pub struct Outcome {
    pub step: Step,
    /// Something was changed.
    pub done: bool,
    /// It had been done before.
    pub already: bool,
    /// How things stand now; in a dry run, as if nothing had been done.
    pub view: View,
    /// Devices that it has cut off.
    pub left: Vec<Behind>,
}

/// A step that may be in the store, and by which this cloudcore does not go in all.
pub(super) struct Begun {
    step: Step,
    left: Vec<Behind>,
}

/// How a rotation stands, or the CA outside of any.
#[derive(Debug)]
pub struct View {
    pub phase: Option<Phase>,
    pub ca: Certificate,
    pub next: Option<Certificate>,
    /// Devices with a certificate that counts and is in time.
    pub nodes: usize,
    /// Those that have not followed.
    pub behind: Vec<Behind>,
}

/// A device that has not followed.
#[derive(Debug)]
pub struct Behind {
    pub node: NodeName,
    /// It knows the next CA.
    pub trusts: bool,
    /// It has a certificate of the next CA.
    pub renewed: bool,
    /// The end of its certificate, with which it drops out of this list.
    pub until: Timestamp,
}

/// Why a step was not done.
#[derive(Debug)]
pub enum RotationError {
    Authority(AuthorityError),
    /// These devices would lose their cloud.
    Behind(Vec<Behind>),
    /// The step was begun and did not come to its end.
    Half {
        step: Step,
        /// It is in the store.
        is_done: bool,
        cause: AuthorityError,
        left: Vec<Behind>,
    },
    /// There is no CA to rotate.
    NoCa,
    /// Another step comes first.
    Order {
        wanted: Step,
        first: Step,
    },
    /// The CA can't vouch for another one.
    Unfit(PkiError),
}

impl Authority {
    /// Does a step, and goes by it at once. One that did not come to its end is the next one until it has.
    pub async fn rotate(&self, wish: Wish) -> Result<Outcome, RotationError> {
        let mut begun = self.rotating.lock().await;
        let is_named = wish.step.is_some();
        let step = wish.step.or(begun.as_ref().map(|it| it.step));
        let wish = Wish { step, ..wish };
        let mut done = rotate(&*self.store, wish, self.clock.now()).await;
        if let Ok(outcome) = &mut done
            && let Err(cause) = self.reload().await
        {
            if !outcome.done && begun.is_none() {
                return Err(cause.into());
            }
            done = Err(RotationError::Half {
                step: outcome.step,
                is_done: true,
                cause,
                left: std::mem::take(&mut outcome.left),
            });
        }
        match &mut done {
            Ok(outcome) if !wish.dry_run => {
                if let Some(before) = begun.take() {
                    // Whoever waits for the end of it has not been told yet. If only now it was done at all, those
                    // who have not followed are others by now.
                    if !outcome.done || before.step != outcome.step {
                        outcome.left.extend(before.left);
                    }
                    (outcome.done, outcome.already) = (true, false);
                }
            }
            Err(RotationError::Half { step, left, .. }) => {
                let mut left = std::mem::take(left);
                left.extend(begun.take().into_iter().flat_map(|it| it.left));
                *begun = Some(Begun { step: *step, left });
            }
            // Another replica has gone on since.
            Err(RotationError::Order { .. }) if !is_named => *begun = None,
            _ => {}
        }
        done
    }

    pub async fn ca_view(&self) -> Result<View, RotationError> {
        view(&*self.store, self.clock.now()).await
    }
}

/// Does a step in the store.
pub async fn rotate(
    store: &dyn Store,
    wish: Wish,
    now: Timestamp,
) -> Result<Outcome, RotationError> {
    let before = view(store, now).await?;
    let first = Step::after(before.phase);
    let step = wish.step.unwrap_or(first);
    let outcome = |done, already, view| Outcome {
        step,
        done,
        already,
        view,
        left: Vec::new(),
    };
    // Finishing what is not under way is what a repeated finish does.
    if step < first || (step == Step::Finish && before.phase.is_none()) {
        return Ok(outcome(false, true, before));
    }
    if step > first {
        return Err(RotationError::Order {
            wanted: step,
            first,
        });
    }
    if step == Step::Finish && !wish.force && !before.behind.is_empty() {
        return Err(RotationError::Behind(before.behind));
    }
    if wish.dry_run {
        if step == Step::Prepare {
            make(store, now).await?;
        }
        return Ok(outcome(false, false, before));
    }
    let rotation = store.load_rotation().await.map_err(AuthorityError::Store)?;
    // Devices of whom some have not followed are cut off with the CA that was.
    let left = match step {
        Step::Finish => before.behind,
        _ => Vec::new(),
    };
    let half = |is_done, cause: AuthorityError, left| RotationError::Half {
        step,
        is_done,
        cause,
        left,
    };
    let done = match (step, rotation) {
        (Step::Prepare, _) => {
            let rotation = make(store, now).await?;
            store.create_rotation(&rotation).await.map(drop)
        }
        (Step::Switch | Step::Announce, Some(rotation)) => {
            let phase = match step {
                Step::Switch => Phase::Switched,
                _ => Phase::Announced,
            };
            let advanced = Rotation { phase, ..rotation };
            store.advance_rotation(&advanced).await
        }
        (Step::Finish, _) => store.finish_rotation().await,
        (_, None) => {
            return Err(RotationError::Order {
                wanted: step,
                first: Step::Prepare,
            });
        }
    };
    if let Err(cause) = done {
        return Err(half(false, cause.into(), left));
    }
    let after = match view(store, now).await {
        Ok(after) => after,
        Err(RotationError::Authority(cause)) => return Err(half(true, cause, left)),
        Err(error) => return Err(error),
    };
    let (ca, next) = (&after.ca, after.next.as_ref().unwrap_or(&after.ca));
    warn!(
        "rotation of the CA {}: {step} is done, the next one is {}",
        ca.hash(),
        next.hash()
    );
    Ok(Outcome {
        left,
        ..outcome(true, false, after)
    })
}

/// How things stand.
pub async fn view(store: &dyn Store, now: Timestamp) -> Result<View, RotationError> {
    let ca = store.load_ca().await.map_err(AuthorityError::Store)?;
    let ca = ca.ok_or(RotationError::NoCa)?;
    let rotation = store.load_rotation().await.map_err(AuthorityError::Store)?;
    let next = rotation.as_ref().map(|it| it.next.certificate().clone());
    let hash = next.as_ref().map(Certificate::hash);
    let (mut nodes, mut behind) = (0, Vec::new());
    for (node, record) in store.nodes().await.map_err(AuthorityError::Store)? {
        let revoked = store.revoked(&node).await.map_err(AuthorityError::Store)?;
        if holder::in_force(Some(&record), revoked).is_none() || record.not_after <= now {
            continue;
        }
        nodes += 1;
        let is_next = |ca: Option<Sha256Hash>| hash.is_none() || ca == hash;
        // A certificate that no tunnel has shown may never have arrived.
        let shown = record.previous.is_none() || hash.is_none();
        let renewed = is_next(record.by) && shown;
        let trusts = is_next(record.trusts);
        if !(trusts && renewed) {
            behind.push(Behind {
                node,
                trusts,
                renewed,
                until: record.not_after,
            });
        }
    }
    Ok(View {
        phase: rotation.map(|rotation| rotation.phase),
        ca: ca.certificate().clone(),
        next,
        nodes,
        behind,
    })
}

/// The next CA, of which it is certain that whoever knows the present one can verify it.
async fn make(store: &dyn Store, now: Timestamp) -> Result<Rotation, RotationError> {
    let ca = store.load_ca().await.map_err(AuthorityError::Store)?;
    let ca = ca.ok_or(RotationError::NoCa)?;
    let old = ca.certificate();
    // For devices whose clock lags, as with every certificate.
    let begin = now.minus(DAY);
    let made = || {
        let (certificate, key) = new_ca(begin)?;
        let issuer = Issuer::new(old.clone(), ca.key().clone())?;
        let cross = issuer.cross(&certificate, begin)?;
        chain::verify_authority(&cross, old, now)?;
        let next = Issuer::new(certificate.clone(), key.clone())?;
        let probe = PrivateKey::generate()?;
        let (from, until) = (now.minus(BACKDATE), now.plus(DAY));
        let probe = next.server(&probe, &[], &[], from, until)?;
        let shown = std::slice::from_ref(&cross);
        chain::verify_server_through(&probe, shown, std::slice::from_ref(old), now)?;
        let next = KeyPair::new(certificate, key).ok_or(PkiError::KeyMismatch)?;
        Ok(Rotation {
            next,
            cross,
            phase: Phase::Prepared,
        })
    };
    made().map_err(RotationError::Unfit)
}

impl Step {
    /// The one that comes next.
    pub fn after(phase: Option<Phase>) -> Step {
        match phase {
            None => Step::Prepare,
            Some(Phase::Prepared) => Step::Switch,
            Some(Phase::Switched) => Step::Announce,
            Some(Phase::Announced) => Step::Finish,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Prepare => "prepare",
            Step::Switch => "switch",
            Step::Announce => "announce",
            Step::Finish => "finish",
        })
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Step, String> {
        let all = [Step::Prepare, Step::Switch, Step::Announce, Step::Finish];
        let found = all.into_iter().find(|step| step.to_string() == text);
        found.ok_or_else(|| {
            format!("there is no step {text:?}: there are prepare, switch, announce and finish")
        })
    }
}

impl RotationError {
    /// Whether the same can succeed later without anybody's help.
    pub fn is_retryable(&self) -> bool {
        match self {
            RotationError::Authority(error) => error.is_retryable(),
            RotationError::Half { is_done, cause, .. } => *is_done || cause.is_retryable(),
            RotationError::Behind(_) => true,
            _ => false,
        }
    }
}

impl fmt::Display for RotationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RotationError::Authority(error) => error.fmt(f),
            RotationError::Behind(nodes) => {
                let shown: Vec<&str> = nodes
                    .iter()
                    .take(SHOWN)
                    .map(|it| it.node.as_str())
                    .collect();
                let more = if nodes.len() > SHOWN { ", …" } else { "" };
                write!(
                    f,
                    "{} did not follow yet ({}{more}) and would have to join again: see \
                     `cloudcore ca status`, wait for them, or use --force",
                    counted(nodes.len(), "device"),
                    shown.join(", ")
                )
            }
            RotationError::Half {
                step,
                is_done: true,
                cause,
                ..
            } => write!(
                f,
                "{step} is done, but cloudcore does not go by it in all yet ({cause}): say `cloudcore ca \
                 rotate {step}` again"
            ),
            RotationError::Half { step, cause, .. } => write!(
                f,
                "{step} may be done or not ({cause}): say `cloudcore ca rotate {step}` again"
            ),
            RotationError::NoCa => {
                f.write_str("this cloud has no CA yet: start cloudcore, it makes one")
            }
            RotationError::Order { wanted, first } => {
                write!(f, "before {wanted} comes {first}: do that first")
            }
            RotationError::Unfit(cause) => write!(
                f,
                "the present CA can't vouch for another one ({cause}): import the other one with \
                 `cloudcore ca import --force`, and have every device join again"
            ),
        }
    }
}

impl std::error::Error for RotationError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RotationError::Authority(error) => Some(error),
            RotationError::Half { cause, .. } => Some(cause),
            RotationError::Unfit(cause) => Some(cause),
            _ => None,
        }
    }
}

impl From<AuthorityError> for RotationError {
    fn from(error: AuthorityError) -> RotationError {
        RotationError::Authority(error)
    }
}

/// Names in one sentence.
const SHOWN: usize = 5;
