//! A cloud whose state is in a cluster: for commands that are told of one by `--kube-config`.

use std::fmt;
use std::sync::Arc;

use crate::authority::tokens::TokenKey;
use crate::kubernetes::access::Access;
use crate::kubernetes::kubeconfig::{self, Choice, ConfigError};
use crate::kubernetes::plain::Plain;
use crate::store::kubernetes::KubernetesStore;
use crate::store::{Store, StoreError};
use crate::system::host::Host;

/// The state, and the way to it.
pub struct Cluster {
    store: KubernetesStore,
}

impl Cluster {
    /// Of this kubeconfig, or of the pod that this is run in.
    pub fn open(host: &Host, kube_config: &str) -> Result<Cluster, NoCluster> {
        let environment = |name: &str| std::env::var(name).ok();
        let access = match kube_config {
            IN_CLUSTER => kubeconfig::pod(host, &environment),
            file => {
                let choice = Choice {
                    kube_config: Some(file.into()),
                    context: None,
                };
                kubeconfig::find(&choice, host, &environment)
            }
        };
        Ok(Cluster::at(access.map_err(NoCluster)?, host))
    }

    /// As kubectl finds it; none when there is nothing to find.
    pub fn by_default(host: &Host) -> Result<Option<Cluster>, NoCluster> {
        let environment = |name: &str| std::env::var(name).ok();
        match kubeconfig::find(&Choice::default(), host, &environment) {
            Ok(access) => Ok(Some(Cluster::at(access, host))),
            Err(ConfigError::Nowhere { .. }) => Ok(None),
            Err(error) => Err(NoCluster(error)),
        }
    }

    fn at(access: Access, host: &Host) -> Cluster {
        let api = Arc::new(Plain::new(access, &host.clock));
        Cluster {
            store: KubernetesStore::new(api),
        }
    }

    pub fn store(&self) -> &dyn Store {
        &self.store
    }

    /// The token that the cloudcores there keep fresh, if it is one of this key and not about to end.
    pub fn shared_token(&self, key: &TokenKey, host: &Host) -> Result<Option<String>, StoreError> {
        let token = smol::block_on(self.store.shared_token())?;
        let now = host.clock.now();
        Ok(token.filter(|token| {
            let jwt = token.split_once('.').map(|(_, jwt)| jwt);
            jwt.is_some_and(|jwt| key.check(jwt, now).is_ok())
        }))
    }

    /// Reads what is known of nodes in one go.
    pub fn snapshot(&self) -> Result<(), StoreError> {
        smol::block_on(self.store.snapshot())
    }
}

/// What is written of the cluster can't be used.
#[derive(Debug)]
pub struct NoCluster(ConfigError);

impl fmt::Display for NoCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for NoCluster {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// In the place of a file: the service account of the pod.
const IN_CLUSTER: &str = "in-cluster";
