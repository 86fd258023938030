//! In the place of `cluster` where this program is built without it: the state is in files.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use super::cloud::Cloud;
use super::nodes::Nodes;
use super::settings::Settings;
use crate::authority::{Authority, AuthorityError};
use crate::system::host::Host;

pub type Spawn = Arc<dyn Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync>;

/// There is none.
pub enum Found {}
pub enum Cluster {}

impl Found {
    pub fn find(_: &Host, settings: &Settings) -> Result<Option<Found>, NoCluster> {
        match settings.kube_config.as_deref() {
            None | Some("none") => Ok(None),
            Some(_) => Err(NoCluster),
        }
    }

    pub fn reads(&self) -> Vec<PathBuf> {
        match *self {}
    }

    pub fn connect(self, _: &Host, _: Spawn) -> Result<Arc<Cluster>, NoCluster> {
        match self {}
    }
}

impl Cluster {
    pub async fn open(
        &self,
        _: &Host,
        _: &Settings,
        _: &Mutex<String>,
    ) -> Result<Authority, AuthorityError> {
        match *self {}
    }

    pub fn nodes(&self, _: &Settings, _: String) -> Nodes {
        match *self {}
    }

    pub fn start(self: &Arc<Self>, _: &Arc<Cloud>) {
        match **self {}
    }

    pub async fn ready(&self) -> Result<(), String> {
        match *self {}
    }

    pub fn calls(&self) -> Vec<(&'static str, &'static str, u64)> {
        match *self {}
    }
}

#[derive(Debug)]
pub struct NoCluster;

impl fmt::Display for NoCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this program is built without support for Kubernetes: use one that has it, or keep \
             the state in files with --kube-config none",
        )
    }
}

impl std::error::Error for NoCluster {}
