//! In the place of `cluster` where this program is built without it.

use std::fmt;

use crate::authority::tokens::TokenKey;
use crate::store::{Store, StoreError};
use crate::system::host::Host;

/// There is none.
pub enum Cluster {}

impl Cluster {
    pub fn open(_: &Host, _: &str) -> Result<Cluster, NoCluster> {
        Err(NoCluster)
    }

    pub fn by_default(_: &Host) -> Result<Option<Cluster>, NoCluster> {
        Ok(None)
    }

    pub fn store(&self) -> &dyn Store {
        match *self {}
    }

    pub fn shared_token(&self, _: &TokenKey, _: &Host) -> Result<Option<String>, StoreError> {
        match *self {}
    }

    pub fn snapshot(&self) -> Result<(), StoreError> {
        match *self {}
    }
}

#[derive(Debug)]
pub struct NoCluster;

impl fmt::Display for NoCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this program is built without support for Kubernetes: use one that has it")
    }
}

impl std::error::Error for NoCluster {}
