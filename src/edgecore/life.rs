//! The life of an edge: obtain an identity, hold the tunnel, renew; and again with a new token.

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::or;

use super::backoff::Backoff;
use super::confinement::close_folders;
use super::edge::{Edge, Failure, pause};
use super::enroll::enroll;
use super::identity::{Identity, IdentityError, Place};
use super::timekeeping::{is_over, recall};
use super::{hub, node, pending, rotate};
use crate::protocol::control::EdgeState;
use crate::protocol::token::JoinToken;
use crate::system::files::FileError;
use crate::system::sorted::SortedSet;

/// Never ends by itself: there is no terminal state, only "needs a token".
pub async fn live(edge: &Rc<Edge>) {
    recall(edge).await;
    let mut offered = None;
    loop {
        let identity = match offered.take() {
            Some(token) => {
                let now = edge.host.clock.now();
                let present = edge.identity.borrow().clone();
                let instead = present.is_some_and(|identity| !identity.expired(now));
                match Box::pin(trade(edge, &token, instead)).await {
                    Some(identity) => identity,
                    None => Box::pin(obtain(edge)).await,
                }
            }
            None => Box::pin(obtain(edge)).await,
        };
        edge.adopt(identity);
        edge.state.enter(EdgeState::Connecting);
        // Each on the heap: together they would not fit a small stack.
        let tunnel = Box::pin(hub::run(edge));
        let (renewing, node) = (Box::pin(rotate::run(edge)), Box::pin(node::run(edge)));
        let besides = async {
            or(renewing, node).await;
            None
        };
        // These never end, so only a token that the hub asks for brings us here.
        offered = or(async { Some(tunnel.await) }, besides).await;
    }
}

/// The identity on disk, or a new one for the token, waiting as long as it takes.
pub(super) async fn obtain(edge: &Rc<Edge>) -> Identity {
    sweep(edge).await;
    loop {
        let loaded = load(edge).await;
        let token = find(edge).await;
        // A clock that is years ahead is no reason to spend a token.
        let over = match &loaded {
            Ok(identity) if token.is_some() => is_over(edge, identity).await,
            _ => false,
        };
        match (loaded, token) {
            (Ok(identity), None) => return identity,
            (Ok(identity), Some(token)) if !over && identity.trusts(token.ca_hash()) => {
                // A power cut came between the identity's commit and the token's end; or between the
                // cloud's signing for this token and the commit, and then the cloud refuses the
                // identity. The token is erased when a session shows which.
                return identity;
            }
            // Asking again at once would give the same answer, and the device can do without.
            (Ok(identity), Some(token)) if !over && edge.is_set_aside(&token) => {
                return identity;
            }
            (loaded, Some(token)) => {
                let instead = loaded.is_ok() && !over;
                if let Some(identity) = trade(edge, &token, instead).await {
                    return identity;
                }
                if instead {
                    continue;
                }
                wait_for_token(edge, Some(token)).await;
            }
            (Err(missing), None) => {
                edge.state.enter(EdgeState::NeedsToken);
                let retryable = matches!(missing, Failure::Identity(IdentityError::File(_)));
                edge.state.problem(&missing, retryable);
                wait_for_token(edge, None).await;
            }
        }
    }
}

/// Trades the token for an identity; `None` when the token itself is refused, or when nothing came of
/// it for a while and there is an identity that may serve `instead`.
async fn trade(edge: &Rc<Edge>, token: &JoinToken, instead: bool) -> Option<Identity> {
    let mut backoff = Backoff::tunnel();
    let mut tries = 0;
    let moved = edge.roaming.listen();
    edge.state.enter(EdgeState::Enrolling);
    loop {
        let asked = match enroll(edge, token).await {
            Ok(identity) => return Some(identity),
            Err(failure) => {
                edge.state.not_enrolled(&failure, failure.retryable());
                if !failure.retryable() {
                    edge.refused.replace(Some(token.clone()));
                    edge.state.enter(EdgeState::NeedsToken);
                    return None;
                }
                failure.retry_after()
            }
        };
        tries += 1;
        if instead && tries >= TRIES {
            let until = Instant::now() + asked.unwrap_or_default().max(TURN);
            edge.postponed.replace(Some((token.clone(), until)));
            return None;
        }
        let waited = pause(backoff.next_asked(asked));
        let moved = async {
            let _ = moved.recv().await;
        };
        or(waited, or(edge.hurry.wait(), moved)).await;
        // A person may have put a better token in place meanwhile.
        if find(edge).await.is_some_and(|other| other != *token) {
            return None;
        }
    }
}

/// Returns when another token than this is there, when somebody asks, or after a while, since a cloud that
/// refused a token may have been in the middle of its own repair.
async fn wait_for_token(edge: &Rc<Edge>, tried: Option<JoinToken>) {
    let changed = async {
        loop {
            let found = find(edge).await;
            if found.is_some() && found != tried {
                return;
            }
            Timer::after(LOOK).await;
        }
    };
    let again = pause(AGAIN);
    or(changed, or(again, edge.hurry.wait())).await;
}

/// Removes what a power cut has left half written, by us or by a join: it holds a key or a token,
/// and room on the flash.
async fn sweep(edge: &Rc<Edge>) {
    let (files, settings) = (edge.host.files.clone(), edge.settings.clone());
    let sweep = move || {
        let Place {
            key,
            certificate,
            ca,
        } = &settings.place;
        let paths = [key, certificate, ca, &settings.bootstrap, &settings.config];
        let folders: SortedSet<&Path> =
            paths.into_iter().filter_map(|path| path.parent()).collect();
        folders
            .into_iter()
            .filter_map(|folder| files.sweep(folder).err())
            .collect()
    };
    let faults: Vec<FileError> = edge.off_thread(sweep).await.unwrap_or_default();
    for fault in faults {
        log::warn!("{fault}");
    }
}

async fn load(edge: &Rc<Edge>) -> Result<Identity, Failure> {
    let (host, place) = (edge.host.clone(), edge.settings.place.clone());
    let node = edge.settings.node.clone();
    let load = move || {
        close_folders(&host, &place);
        Identity::load(&host.files, &place, &node)
    };
    Ok(edge.off_thread(load).await??)
}

async fn find(edge: &Rc<Edge>) -> Option<JoinToken> {
    let tokens = edge.tokens.clone();
    match edge.off_thread(move || tokens.find()).await {
        Ok(Ok(token)) => token,
        Ok(Err(error)) => {
            edge.state.problem(&error, false);
            None
        }
        Err(failure) => {
            edge.state.problem(&failure, true);
            None
        }
    }
}

/// Erases a token of the cloud that has just taken this identity: it has done its work.
pub async fn tidy(edge: Rc<Edge>, identity: Identity) {
    pending::forget(&edge).await;
    let token = find(&edge).await;
    if token.is_none_or(|token| !identity.trusts(token.ca_hash())) {
        return;
    }
    let tokens = edge.tokens.clone();
    match edge.off_thread(move || tokens.erase()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => edge.state.problem(&error, true),
        Err(failure) => edge.state.problem(&failure, true),
    }
}

/// A token that waits, when the identity is useless or the token is of another cloud: then somebody wants the device
/// to move there.
pub async fn token_of_use(edge: &Rc<Edge>, useless: bool) -> Option<JoinToken> {
    let found = find(edge).await;
    let token = found.filter(|token| !edge.is_set_aside(token))?;
    let identity = edge.identity.borrow();
    let same = |identity: &Identity| identity.trusts(token.ca_hash());
    (useless || !identity.as_ref().is_some_and(same)).then_some(token)
}

/// Returns when there is one.
pub async fn token_comes(edge: &Rc<Edge>, useless: bool) {
    while token_of_use(edge, useless).await.is_none() {
        Timer::after(LOOK).await;
    }
}

/// How often the token's places are looked at while one is needed.
const LOOK: Duration = Duration::from_secs(5);
/// How often a token is tried before an identity that is there gets its turn, and for how long.
const TRIES: u32 = 4;
const TURN: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_secs(300);
