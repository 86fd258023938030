//! The key that a certificate was asked for and did not come: the cloud may have counted the use of the
//! token, and gives a certificate for this key once more.
//!
//! In memory it is kept in any case. For a token whose uses are counted it is on disk before the cloud is
//! asked, since a power cut would else cost a use, perhaps the only one. From there it becomes the device's by a
//! rename, see `identity`, so that it is written once.

use super::edge::{Edge, Failure};
use super::identity::{Identity, IdentityError};
use crate::config::edge::pending;
use crate::pki::key::PrivateKey;
use crate::protocol::token::JoinToken;

/// The key to ask with again, if there is one.
pub async fn recall(edge: &Edge, token: &JoinToken) -> Result<Option<PrivateKey>, Failure> {
    let kept = edge.pending.borrow().clone();
    if kept.is_some() || !token.is_counted() {
        return Ok(kept);
    }
    let (files, place) = (edge.host.files.clone(), edge.settings.place.clone());
    let read = move || {
        let bytes = files.read_secret(&pending(&place.key), MAX_FILE).ok()??;
        let key = PrivateKey::from_pem(&bytes).ok()?;
        // A certificate did come for it, and a new identity is to have a new key.
        let present = Identity::read(&files, &place).ok();
        let served = present.is_some_and(|it| it.key.spki_hash() == key.spki_hash());
        Some(key).filter(|_| !served)
    };
    edge.off_thread(read).await
}

/// Before the cloud is asked.
pub async fn keep(edge: &Edge, token: &JoinToken, key: &PrivateKey) -> Result<(), Failure> {
    edge.pending.replace(Some(key.clone()));
    if !token.is_counted() {
        return Ok(());
    }
    let (files, place) = (edge.host.files.clone(), edge.settings.place.clone());
    let text = key.to_sec1_pem();
    let write = move || {
        let path = pending(&place.key);
        let there = files.read_secret(&path, MAX_FILE).ok().flatten();
        if there.is_some_and(|there| there.as_slice() == text.as_bytes()) {
            return Ok(());
        }
        place.make_folders(&files)?;
        files.replace(&path, text.as_bytes(), 0o600)
    };
    Ok(edge.off_thread(write).await?.map_err(IdentityError::File)?)
}

/// An identity is safe, or was taken by the hub.
pub async fn forget(edge: &Edge) {
    edge.pending.replace(None);
    let (files, path) = (edge.host.files.clone(), pending(&edge.settings.place.key));
    let remove = move || match files.exists(&path) {
        true => files.remove(&path).err(),
        false => None,
    };
    if let Ok(Some(error)) = edge.off_thread(remove).await {
        log::warn!("{error}");
    }
}

/// Many times what a key takes.
const MAX_FILE: usize = 4 * 1024;
