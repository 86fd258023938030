//! cloudcore on a cluster: the way there, the state that replicas share, and what is done for it.

mod counted;
#[cfg(test)]
mod ended;
#[cfg(test)]
mod replicas;
mod tasks;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{info, warn};
use smol::Timer;
use smol::future::or;

use super::cloud::Cloud;
use super::nodes::{Nodes, cluster as objects};
use super::settings::Settings;
use crate::authority::{Authority, AuthorityError};
use crate::kubernetes::access::{Access, Login, Material, ServerError};
use crate::kubernetes::kubeconfig::{self, Choice, ConfigError};
use crate::kubernetes::pooled::Pooled;
use crate::kubernetes::{Api, CallError};
use crate::store::kubernetes::KubernetesStore;
use crate::store::{Store, StoreError};
use crate::system::facts;
use crate::system::host::Host;
use counted::Counted;

pub use crate::kubernetes::pooled::Spawn;

/// The way to a cluster, before anything is sent over it.
pub struct Found(Access);

/// A cluster that has the state. Tasks share it in an `Arc`.
pub struct Cluster {
    api: Arc<Counted>,
    store: Arc<KubernetesStore>,
    /// What the cluster said when it was asked last, so that not every question asks it.
    asked: Mutex<Option<(Instant, Result<(), String>)>>,
}

/// Why what is written of a cluster can't be used.
#[derive(Debug)]
pub enum NoCluster {
    Call(CallError),
    Config(ConfigError),
    Master { text: String, cause: ServerError },
}

impl Found {
    /// Which cluster has the state; none: files of this machine.
    pub fn find(host: &Host, settings: &Settings) -> Result<Option<Found>, NoCluster> {
        let environment = |name: &str| std::env::var(name).ok();
        let named = settings.kube_config.as_deref();
        let found = match named {
            Some(FILES) => return Ok(None),
            Some(IN_CLUSTER) => kubeconfig::pod(host, &environment),
            Some(file) => {
                let choice = Choice {
                    kube_config: Some(file.into()),
                    context: None,
                };
                kubeconfig::find(&choice, host, &environment)
            }
            None => match kubeconfig::pod(host, &environment) {
                Err(ConfigError::Nowhere { .. }) if settings.master.is_none() => return Ok(None),
                found => found,
            },
        };
        let mut access = found.map_err(NoCluster::Config)?;
        if let Some(text) = &settings.master {
            access.server = text.parse().map_err(|cause| NoCluster::Master {
                text: text.clone(),
                cause,
            })?;
        }
        info!("the state is in the cluster at {}", access.server);
        Ok(Some(Found(access)))
    }

    /// Files that are read again and again while it is used.
    pub fn reads(&self) -> Vec<PathBuf> {
        let access = &self.0;
        let pair = access.certificate.iter();
        let pair = pair.flat_map(|(certificate, key)| [certificate, key]);
        let files = access
            .authorities
            .iter()
            .chain(pair)
            .filter_map(|it| match it {
                Material::File(path) => Some(path),
                Material::Inline(_) => None,
            });
        let token = match &access.login {
            Login::TokenFile(path) => Some(path),
            _ => None,
        };
        // The folder, since such files are replaced, and are links in a pod.
        let folders = files.chain(token).filter_map(|path| path.parent());
        folders.map(PathBuf::from).collect()
    }

    pub fn connect(self, host: &Host, spawn: Spawn) -> Result<Arc<Cluster>, NoCluster> {
        let api = Pooled::new(self.0, &host.clock, spawn).map_err(NoCluster::Call)?;
        Ok(Cluster::at(Arc::new(api)))
    }
}

impl Cluster {
    fn at(api: Arc<dyn Api>) -> Arc<Cluster> {
        let api = Arc::new(Counted::new(api));
        let store = Arc::new(KubernetesStore::new(api.clone()));
        Arc::new(Cluster {
            api,
            store,
            asked: Mutex::default(),
        })
    }

    /// The authority, as soon as the cluster lets us: a Pod stays, and is not ready, until then.
    pub async fn open(
        &self,
        host: &Host,
        settings: &Settings,
        why: &Mutex<String>,
    ) -> Result<Authority, AuthorityError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let (store, options) = (self.store.clone(), settings.authority.clone());
            let opening = Authority::open(store, &host.files, &host.root, &host.clock, options);
            let error = match opening.await {
                Err(AuthorityError::Store(error)) if is_the_clusters(&error) => error.to_string(),
                outcome => return outcome,
            };
            {
                let mut why = why.lock().unwrap_or_else(PoisonError::into_inner);
                if *why != error {
                    warn!("cloudcore waits: {error}");
                }
                *why = error;
            }
            Timer::after(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Objects of nodes, which are the cluster's.
    pub fn nodes(&self, settings: &Settings, address: String) -> Nodes {
        let options = objects::Options {
            replica: facts::host_name(),
            impersonate: settings.impersonate_nodes,
            object_sync: settings.object_sync,
            jobs: settings.jobs,
        };
        Nodes::of(objects::Cluster::new(self.api.clone(), options), address)
    }

    /// Starts what goes on beside.
    pub fn start(self: &Arc<Self>, cloud: &Arc<Cloud>) {
        tasks::start(cloud, self);
    }

    /// Whether the cluster does what certificates need; the error is a sentence.
    pub async fn ready(&self) -> Result<(), String> {
        let known = self
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some((at, outcome)) = known
            && at.elapsed() < FRESH
        {
            return outcome;
        }
        let asked = async {
            self.store
                .load_ca()
                .await
                .map_err(|error| error.to_string())
        };
        let late = async {
            Timer::after(PATIENCE).await;
            Err("the cluster does not answer in time: see whether its API server runs".to_owned())
        };
        let outcome = match or(asked, late).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err("the Secret kubeedge/casecret is gone: restore it".to_owned()),
            Err(sentence) => Err(sentence),
        };
        let asked = Some((Instant::now(), outcome.clone()));
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        outcome
    }

    pub fn calls(&self) -> Vec<(&'static str, &'static str, u64)> {
        self.api.counts()
    }
}

/// What somebody may repair there, also who we are and what we may do.
fn is_the_clusters(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Cluster(_) | StoreError::Contended | StoreError::Corrupt { .. }
    )
}

impl fmt::Display for NoCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoCluster::Call(error) => error.fmt(f),
            NoCluster::Config(error) => write!(
                f,
                "{error}; cloudcore has its state in a cluster where kubeAPIConfig.kubeConfig or \
                 --kube-config says so: --kube-config none keeps it in files"
            ),
            NoCluster::Master { text, cause } => {
                write!(f, "kubeAPIConfig.master is {text:?}: {cause}")
            }
        }
    }
}

impl std::error::Error for NoCluster {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            NoCluster::Call(error) => Some(error),
            NoCluster::Config(error) => Some(error),
            NoCluster::Master { .. } => None,
        }
    }
}

/// In the place of a kubeconfig: the state is in files of this machine.
const FILES: &str = "none";
/// In the place of a kubeconfig: the service account of the pod.
const IN_CLUSTER: &str = "in-cluster";

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Of an answer, for those who ask whether we are ready.
const FRESH: Duration = Duration::from_secs(3);
/// Less than who asks that waits.
const PATIENCE: Duration = Duration::from_millis(800);
