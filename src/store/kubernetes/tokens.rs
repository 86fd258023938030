//! The records of join tokens: a Secret for each, its uses counted by who has seen its version.

use super::super::token::MAX_TOKENS;
use super::super::{StoreError, Taken, TokenId, TokenRecord, TokenUse};
use super::space::{ATTEMPTS, Space, TOKEN, Wanted, pause, secret};
use crate::kubernetes::object::{self, Object};
use crate::kubernetes::resource::SECRETS;
use crate::system::clock::Timestamp;

/// False when there is one of this id already.
pub async fn create(space: &Space, record: &TokenRecord) -> Result<bool, StoreError> {
    if space.list(&SECRETS, TOKEN).await?.0.len() >= MAX_TOKENS {
        return Err(StoreError::TooManyTokens { limit: MAX_TOKENS });
    }
    let name = name(&record.id);
    for attempt in 0..ATTEMPTS {
        if write(space, record, None).await? {
            return Ok(true);
        }
        if let Some(object) = space.get(&SECRETS, &name).await? {
            // Ours, when only the answer was lost.
            return Ok(readable(&object).as_ref() == Some(record));
        }
        pause(attempt).await;
    }
    Err(StoreError::Contended)
}

/// What is not the record of a token is none, and so its token is refused.
pub async fn get(space: &Space, id: &TokenId) -> Result<Option<TokenRecord>, StoreError> {
    let object = space.get(&SECRETS, &name(id)).await?;
    Ok(object.as_ref().and_then(readable))
}

/// In the order of their ids.
pub async fn all(space: &Space) -> Result<Vec<TokenRecord>, StoreError> {
    let (objects, _) = space.list(&SECRETS, TOKEN).await?;
    let mut records: Vec<_> = objects.iter().filter_map(readable).collect();
    records.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(records)
}

pub async fn remove(space: &Space, id: &TokenId) -> Result<bool, StoreError> {
    space.delete(&SECRETS, &name(id), None).await
}

pub async fn take(space: &Space, id: &TokenId, wanted: &TokenUse) -> Result<Taken, StoreError> {
    for attempt in 0..ATTEMPTS {
        let Some((mut record, object)) = held(space, id).await? else {
            return Ok(Taken::Unknown);
        };
        let taken = record.take(wanted);
        if taken != Taken::Counted || write(space, &record, Some(&object)).await? {
            return Ok(taken);
        }
        // When only the answer was lost, the next round finds the use, and it is not given back: one
        // too few is better than one too many.
        pause(attempt).await;
    }
    Err(StoreError::Contended)
}

pub async fn give_back(space: &Space, id: &TokenId, taken: &TokenUse) -> Result<(), StoreError> {
    for attempt in 0..ATTEMPTS {
        let Some((mut record, object)) = held(space, id).await? else {
            return Ok(());
        };
        if !record.give_back(taken) || write(space, &record, Some(&object)).await? {
            return Ok(());
        }
        pause(attempt).await;
    }
    Err(StoreError::Contended)
}

/// Only those that were seen to have expired: a new one of the same id stays.
pub async fn remove_expired(space: &Space, now: Timestamp) -> Result<usize, StoreError> {
    let (objects, _) = space.list(&SECRETS, TOKEN).await?;
    let expired = |object: &&Object| readable(object).is_some_and(|it| it.expires <= now);
    let mut removed = 0;
    for object in objects.iter().filter(expired).take(AT_A_TIME) {
        let (name, uid) = (object::name(object), object::uid(object));
        removed += usize::from(space.delete(&SECRETS, name, Some(uid)).await?);
    }
    Ok(removed)
}

/// Makes the record, or puts it in the place of exactly this one; false when that is not there.
async fn write(
    space: &Space,
    record: &TokenRecord,
    held: Option<&Object>,
) -> Result<bool, StoreError> {
    // Strings, numbers and lists of them: there is nothing in it that JSON can't hold.
    let json = serde_json::to_vec(record).unwrap_or_default();
    let wanted = Wanted {
        resource: SECRETS,
        name: &name(&record.id),
        label: Some(TOKEN),
        data: vec![
            (RECORD, Some(json)),
            (EXPIRES, Some(record.expires.to_string().into_bytes())),
        ],
    };
    let written = space.write(&wanted, held.map(object::version)).await?;
    Ok(written.is_some())
}

async fn held(space: &Space, id: &TokenId) -> Result<Option<(TokenRecord, Object)>, StoreError> {
    let object = space.get(&SECRETS, &name(id)).await?;
    Ok(object.and_then(|object| Some((readable(&object)?, object))))
}

fn readable(object: &Object) -> Option<TokenRecord> {
    let json = secret(object, RECORD)?;
    let record: TokenRecord = serde_json::from_slice(&json).ok()?;
    (name(&record.id) == object::name(object)).then_some(record)
}

fn name(id: &TokenId) -> String {
    format!("join-token-{id}")
}

const RECORD: &str = "record";
/// For people; what counts is the record.
const EXPIRES: &str = "expires";

/// Expired records removed in one go, so that nobody waits long for it.
const AT_A_TIME: usize = 100;
