//! The CA, the one that is to come, and those that were: Secrets.

use std::sync::Arc;

use log::warn;

use super::super::{Corruption, KeyPair, Phase, Rotation, StoreError};
use super::space::{ATTEMPTS, OLD_CA, ROTATION, Space, Wanted, corrupt, pause, secret};
use crate::kubernetes::object::{self, Object};
use crate::kubernetes::resource::SECRETS;
use crate::pki::certificate::Certificate;
use crate::pki::key::PrivateKey;

pub async fn load(space: &Space) -> Result<Option<KeyPair>, StoreError> {
    let object = space.get(&SECRETS, CA).await?;
    object.map(|object| pair(&object, CA)).transpose()
}

/// Never in the place of another; what is read back is what counts, since a Go cloudcore that starts
/// at the same time overwrites.
pub async fn create(space: &Space, pair: &KeyPair) -> Result<KeyPair, StoreError> {
    let wanted = ca_secret(pair);
    for attempt in 0..ATTEMPTS {
        if let Some(stored) = load(space).await? {
            return Ok(stored);
        }
        space.write(&wanted, None).await?;
        pause(attempt).await;
    }
    Err(StoreError::Contended)
}

pub async fn replace(space: &Space, pair: &KeyPair) -> Result<(), StoreError> {
    let wanted = ca_secret(pair);
    for attempt in 0..ATTEMPTS {
        let held = space.get(&SECRETS, CA).await?;
        if let Some(held) = &held {
            let old = self::pair(held, CA)?;
            if old.certificate() == pair.certificate() {
                return Ok(());
            }
            keep(space, &old).await?;
        }
        let version = held.as_ref().map(object::version);
        if space.write(&wanted, version).await?.is_some() {
            return Ok(());
        }
        pause(attempt).await;
    }
    Err(StoreError::Contended)
}

/// Puts a copy of a CA aside, under a name that tells whose it is.
async fn keep(space: &Space, old: &KeyPair) -> Result<(), StoreError> {
    let hash = old.certificate().hash().to_string();
    let name = format!("{CA}-{}", &hash[..8]);
    for attempt in 0..ATTEMPTS {
        if space.get(&SECRETS, &name).await?.is_some() {
            return Ok(());
        }
        let wanted = Wanted {
            name: &name,
            label: Some(OLD_CA),
            ..ca_secret(old)
        };
        space.write(&wanted, None).await?;
        pause(attempt).await;
    }
    Err(StoreError::Contended)
}

/// One that has taken its place, but whose end was cut off, is none any more.
pub async fn load_rotation(space: &Space) -> Result<Option<Rotation>, StoreError> {
    let Some(object) = space.get(&SECRETS, NEXT).await? else {
        return Ok(None);
    };
    let rotation = rotation(&object)?;
    let ca = load(space).await?;
    if ca.is_some_and(|ca| ca.certificate() == rotation.next.certificate()) {
        space
            .delete(&SECRETS, NEXT, Some(object::uid(&object)))
            .await?;
        return Ok(None);
    }
    Ok(Some(rotation))
}

pub async fn create_rotation(space: &Space, made: &Rotation) -> Result<Rotation, StoreError> {
    let wanted = rotation_secret(made);
    for attempt in 0..ATTEMPTS {
        if let Some(stored) = load_rotation(space).await? {
            return Ok(stored);
        }
        space.write(&wanted, None).await?;
        pause(attempt).await;
    }
    Err(StoreError::Contended)
}

/// Goes on only: what another replica has done is not undone. A rotation that has ended meanwhile is
/// left at that.
pub async fn advance_rotation(space: &Space, to: &Rotation) -> Result<(), StoreError> {
    let wanted = rotation_secret(to);
    for attempt in 0..ATTEMPTS {
        let Some(object) = space.get(&SECRETS, NEXT).await? else {
            warn!("the rotation of the CA has ended: there is nothing to go on with");
            return Ok(());
        };
        let held = rotation(&object)?;
        let same = held.next.certificate() == to.next.certificate();
        if !same || held.phase >= to.phase {
            return Ok(());
        }
        let written = space.write(&wanted, Some(object::version(&object))).await?;
        if written.is_some() {
            return Ok(());
        }
        pause(attempt).await;
    }
    Err(StoreError::Contended)
}

pub async fn finish_rotation(space: &Space) -> Result<(), StoreError> {
    let Some(object) = space.get(&SECRETS, NEXT).await? else {
        return Ok(());
    };
    replace(space, &rotation(&object)?.next).await?;
    space
        .delete(&SECRETS, NEXT, Some(object::uid(&object)))
        .await?;
    Ok(())
}

/// As a Go cloudcore writes it: no label, DER, the key as SEC1.
fn ca_secret(pair: &KeyPair) -> Wanted<'static> {
    Wanted {
        resource: SECRETS,
        name: CA,
        label: None,
        data: vec![
            (CERTIFICATE, Some(pair.certificate().der().to_vec())),
            (KEY, Some(pair.key().sec1_der().to_vec())),
        ],
    }
}

fn rotation_secret(rotation: &Rotation) -> Wanted<'static> {
    let phase = rotation.phase.word().as_bytes().to_vec();
    Wanted {
        resource: SECRETS,
        name: NEXT,
        label: Some(ROTATION),
        data: vec![
            (PHASE, Some(phase)),
            (CROSS, Some(rotation.cross.der().to_vec())),
            (
                CERTIFICATE,
                Some(rotation.next.certificate().der().to_vec()),
            ),
            (KEY, Some(rotation.next.key().sec1_der().to_vec())),
        ],
    }
}

fn pair(object: &Object, name: &str) -> Result<KeyPair, StoreError> {
    let bad = |what| corrupt(&SECRETS, name, what);
    let unreadable = |error| bad(Corruption::Unreadable(Arc::new(error)));
    let key = secret(object, KEY).ok_or_else(|| bad(Corruption::KeyMissing))?;
    let certificate = secret(object, CERTIFICATE).ok_or_else(|| bad(Corruption::NoCertificate))?;
    let key = PrivateKey::from_der(&key).map_err(unreadable)?;
    let certificate = Certificate::from_der(&certificate).map_err(unreadable)?;
    KeyPair::new(certificate, key).ok_or_else(|| bad(Corruption::Mismatch))
}

fn rotation(object: &Object) -> Result<Rotation, StoreError> {
    let missing = || corrupt(&SECRETS, NEXT, Corruption::NoRotation);
    let phase =
        secret(object, PHASE).and_then(|word| Phase::from_word(str::from_utf8(&word).ok()?));
    let cross = secret(object, CROSS).ok_or_else(missing)?;
    let cross = Certificate::from_der(&cross);
    let unreadable = |error| corrupt(&SECRETS, NEXT, Corruption::Unreadable(Arc::new(error)));
    Ok(Rotation {
        next: pair(object, NEXT)?,
        cross: cross.map_err(unreadable)?,
        phase: phase.ok_or_else(missing)?,
    })
}

pub const CA: &str = "casecret";
/// The CA that is to come.
const NEXT: &str = "casecret-next";
const CERTIFICATE: &str = "cadata";
const KEY: &str = "cakeydata";
const CROSS: &str = "crossdata";
const PHASE: &str = "phase";
