//! The records of join tokens on disk: a file for each, and all of them in memory.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::warn;

use super::StoreError;
use super::keys::make_private;
use super::token::{MAX_TOKENS, Taken, TokenId, TokenRecord, TokenUse};
use crate::system::blocking::{self, Kind};
use crate::system::clock::Timestamp;
use crate::system::files::{Files, Lock};
use crate::system::sorted::SortedMap;

/// A folder of records; clones share what is known.
#[derive(Clone)]
pub struct TokenFolder(Arc<Shared>);

struct Shared {
    files: Files,
    folder: PathBuf,
    /// What is on disk. Never held while the disk is waited for, since the executor reads it.
    known: Mutex<SortedMap<TokenId, TokenRecord>>,
    /// Held from reading a record until its change is on disk. Waiting for it takes no thread.
    writing: Arc<smol::lock::Mutex<()>>,
    /// The store's, for as long as anything may still be written.
    _lock: Arc<Lock>,
}

impl TokenFolder {
    /// Reads what is there; blocks. A record that can't be read is left alone, and its token is
    /// refused like one that was deleted.
    pub fn open(files: &Files, folder: &Path, lock: &Arc<Lock>) -> Result<TokenFolder, StoreError> {
        make_private(files, folder)?;
        if let Err(error) = files.sweep(folder) {
            warn!("left-over files stay: {error}");
        }
        let mut known = Vec::new();
        for name in files.list(folder, MAX_FILES)? {
            match read(files, &folder.join(&name), &name)? {
                Some(record) => known.push((record.id.clone(), record)),
                None => warn!(
                    "{} is not the record of a token, which is refused: remove it",
                    folder.join(&name).display()
                ),
            }
        }
        Ok(TokenFolder(Arc::new(Shared {
            files: files.clone(),
            folder: folder.to_path_buf(),
            known: Mutex::new(known.into_iter().collect()),
            writing: Arc::default(),
            _lock: lock.clone(),
        })))
    }

    pub fn get(&self, id: &TokenId) -> Option<TokenRecord> {
        self.0.known().get(id).cloned()
    }

    pub fn all(&self) -> Vec<TokenRecord> {
        self.0.known().values().cloned().collect()
    }

    /// False when there is one of this id already.
    pub async fn create(&self, record: TokenRecord) -> Result<bool, StoreError> {
        self.on_disk(move |shared| {
            if shared.known().contains_key(&record.id) {
                return Ok(false);
            }
            if shared.known().len() >= MAX_TOKENS {
                return Err(StoreError::TooManyTokens { limit: MAX_TOKENS });
            }
            shared.write(record)?;
            Ok(true)
        })
        .await
    }

    /// False when there was none.
    pub async fn remove(&self, id: &TokenId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.on_disk(move |shared| shared.remove(&id)).await
    }

    pub async fn take(&self, id: &TokenId, wanted: TokenUse) -> Result<Taken, StoreError> {
        // Where nothing has to be written, the disk is not waited for.
        let judged = self.0.known().get(id).map(|record| record.judge(&wanted));
        match judged {
            None => return Ok(Taken::Unknown),
            Some(Taken::Counted) => {}
            Some(taken) => return Ok(taken),
        }
        let id = id.clone();
        self.on_disk(move |shared| {
            let Some(mut record) = shared.known().get(&id).cloned() else {
                return Ok(Taken::Unknown);
            };
            let taken = record.take(&wanted);
            if taken == Taken::Counted {
                shared.write(record)?;
            }
            Ok(taken)
        })
        .await
    }

    pub async fn give_back(&self, id: &TokenId, taken: TokenUse) -> Result<(), StoreError> {
        let id = id.clone();
        self.on_disk(move |shared| {
            let record = shared.known().get(&id).cloned();
            if let Some(mut record) = record
                && record.give_back(&taken)
            {
                shared.write(record)?;
            }
            Ok(())
        })
        .await
    }

    /// Forgets some of those that have expired by `now`; how many.
    pub async fn remove_expired(&self, now: Timestamp) -> Result<usize, StoreError> {
        let expired: Vec<TokenId> = {
            let known = self.0.known();
            let expired = known.values().filter(|record| record.expires <= now);
            expired.map(|it| it.id.clone()).take(AT_A_TIME).collect()
        };
        if expired.is_empty() {
            return Ok(0);
        }
        self.on_disk(move |shared| {
            let mut count = 0;
            for id in &expired {
                count += usize::from(shared.remove(id)?);
            }
            Ok(count)
        })
        .await
    }

    /// Runs `change` where blocking is allowed, one at a time. When the disk is too slow the
    /// caller gets `Busy`, and the change may still be made.
    async fn on_disk<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = self.0.clone();
        // It belongs to the work, not to who waits for it: that one may go away.
        let one_at_a_time = shared.writing.lock_arc().await;
        let work = move || {
            let changed = change(&shared);
            drop(one_at_a_time);
            changed
        };
        let done = blocking::run(Kind::Disk, DEADLINE, work).await;
        done.unwrap_or(Err(StoreError::Busy))
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, SortedMap<TokenId, TokenRecord>> {
        // A thread that died while it held the lock has left whole values behind.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What others see has been on disk before.
    fn write(&self, record: TokenRecord) -> Result<(), StoreError> {
        // Strings and numbers: there is nothing in it that JSON can't hold.
        let json = serde_json::to_string(&record).unwrap_or_default();
        let path = self.folder.join(record.id.as_str());
        self.files
            .replace(&path, format!("{json}\n").as_bytes(), 0o600)?;
        self.known().insert(record.id.clone(), record);
        Ok(())
    }

    /// Nobody may use the token from now on, even if the disk then fails: who asked is told so,
    /// and asks again.
    fn remove(&self, id: &TokenId) -> Result<bool, StoreError> {
        let known = self.known().remove(id).is_some();
        Ok(self.files.remove(&self.folder.join(id.as_str()))? || known)
    }
}

/// None when the file holds anything but the record whose name it has.
fn read(files: &Files, path: &Path, name: &str) -> Result<Option<TokenRecord>, StoreError> {
    let Ok(id) = name.parse::<TokenId>() else {
        return Ok(None);
    };
    let Some(bytes) = files.read_opt(path, MAX_BYTES)? else {
        return Ok(None);
    };
    let record = serde_json::from_slice::<TokenRecord>(&bytes).ok();
    Ok(record.filter(|record| record.id == id))
}

/// Names in the folder; what does not belong there may be among them.
const MAX_FILES: usize = 2 * MAX_TOKENS;

/// A use takes 400 bytes at most, and there are at most 1000.
const MAX_BYTES: usize = 1 << 20;

/// Expired records removed in one go, so that nobody waits long for it.
const AT_A_TIME: usize = 100;

/// How long a caller waits for the disk.
const DEADLINE: Duration = Duration::from_secs(30);

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
