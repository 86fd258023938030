//! `tokensecret`: the token that a Go cloudcore keeps fresh for everybody, and we with it.

use super::super::{Corruption, StoreError};
use super::KubernetesStore;
use super::space::{ATTEMPTS, Wanted, corrupt, pause, secret};
use crate::kubernetes::object;
use crate::kubernetes::resource::SECRETS;

/// The shared token as it is, or as it was made.
#[derive(Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// It is good for long enough.
    Kept,
    Made,
}

impl KubernetesStore {
    /// The token, when there is the Secret. One without a token is an error, not an empty token.
    pub async fn shared_token(&self) -> Result<Option<String>, StoreError> {
        let Some(object) = self.space.get(&SECRETS, NAME).await? else {
            return Ok(None);
        };
        let token = secret(&object, KEY).and_then(|bytes| String::from_utf8(bytes).ok());
        let token = token.filter(|token| !token.trim().is_empty());
        let token = token.ok_or_else(|| corrupt(&SECRETS, NAME, Corruption::NoToken))?;
        Ok(Some(token.trim().to_owned()))
    }

    /// Puts a token there unless `is_good` says that the present one does; of many replicas that try at
    /// the same time one succeeds, and the others see its token.
    pub async fn refresh_shared_token(
        &self,
        is_good: &(dyn Fn(&str) -> bool + Sync),
        mint: &(dyn Fn() -> String + Sync),
    ) -> Result<Refreshed, StoreError> {
        for attempt in 0..ATTEMPTS {
            let held = self.space.get(&SECRETS, NAME).await?;
            let present = held.as_ref().and_then(|object| secret(object, KEY));
            let present = present.and_then(|bytes| String::from_utf8(bytes).ok());
            if present.is_some_and(|token| is_good(token.trim())) {
                return Ok(Refreshed::Kept);
            }
            let wanted = Wanted {
                resource: SECRETS,
                name: NAME,
                label: None,
                data: vec![(KEY, Some(mint().into_bytes()))],
            };
            let version = held.as_ref().map(object::version);
            if self.space.write(&wanted, version).await?.is_some() {
                return Ok(Refreshed::Made);
            }
            pause(attempt).await;
        }
        Err(StoreError::Contended)
    }
}

const NAME: &str = "tokensecret";
const KEY: &str = "tokendata";

#[cfg(test)]
#[path = "shared_token_tests.rs"]
mod tests;
