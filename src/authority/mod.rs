//! The certificate authority: the CA, the serving certificate, and what is signed for whom.

mod ca;
mod credential;
#[cfg(test)]
mod cuts;
mod error;
mod holder;
mod issue;
mod refusal;
pub mod rotation;
mod serving;
mod standing;

pub mod tokens;

#[cfg(test)]
pub mod testing;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use ca::{Imported, import_ca};
pub use credential::Credential;
pub use error::AuthorityError;
pub use holder::{Hold, Revocation, Revoked, revocations, revoke};
pub use issue::{By, IssueRequest, Issued};
pub use refusal::Refusal;
pub use serving::Names;
pub use standing::Standing;

use crate::pki::PkiError;
use crate::pki::certificate::Certificate;
use crate::pki::hash::Sha256Hash;
use crate::pki::tls::{ServingCell, TrustCell};
use crate::store::{KeyPair, Store, StoreError};
use crate::system::clock::Clock;
use crate::system::files::Files;
use crate::system::root::Root;

/// The CA of this cloud with all that it does. Share it in an `Arc`.
pub struct Authority {
    store: Arc<dyn Store>,
    clock: Clock,
    standing: Mutex<Arc<Standing>>,
    cell: Arc<ServingCell>,
    trust: Arc<TrustCell>,
    /// One step of a rotation at a time; the one that did not come to its end.
    rotating: smol::lock::Mutex<Option<rotation::Begun>>,
    /// What the operator wants in the serving certificate.
    names: Mutex<Names>,
    /// One renewal of the serving certificate at a time.
    renewal: smol::lock::Mutex<()>,
    lifetime: Duration,
    legacy: LegacyCertificates,
    protect_names: bool,
    renew_after_expiry: Option<Duration>,
}

/// What the operator decides.
#[derive(Clone, Debug)]
pub struct Options {
    /// Addresses and names under which devices reach this cloud (`advertiseAddress`).
    pub advertised: Vec<String>,
    /// More DNS names for the serving certificate (`dnsNames`).
    pub dns_names: Vec<String>,
    /// Of a device's certificate (`edgeCertSigningDuration`, there in days).
    pub lifetime: Duration,
    pub legacy: LegacyCertificates,
    /// A token does not get a name that another key holds.
    pub protect_names: bool,
    /// How long after its end a certificate may still be renewed, by the holder of its key.
    pub renew_after_expiry: Option<Duration>,
    /// The CA of a Go cloudcore, taken over when both files exist.
    pub ca_files: PairFiles,
    /// The serving pair of a Go cloudcore, taken over when it is by our CA and good enough.
    pub serving_files: PairFiles,
}

impl Default for Options {
    /// Upstream's defaults (docs/protocol.md).
    fn default() -> Options {
        Options {
            advertised: Vec::new(),
            dns_names: Vec::new(),
            lifetime: 365 * DAY,
            legacy: LegacyCertificates::Refused,
            protect_names: false,
            renew_after_expiry: None,
            ca_files: PairFiles::new("/etc/kubeedge/ca/rootCA.crt", "/etc/kubeedge/ca/rootCA.key"),
            serving_files: PairFiles::new(
                "/etc/kubeedge/certs/server.crt",
                "/etc/kubeedge/certs/server.key",
            ),
        }
    }
}

/// Where a certificate and its key lie, before the root prefix is put in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl PairFiles {
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> PairFiles {
        PairFiles {
            certificate: certificate.into(),
            key: key.into(),
        }
    }

    fn below(&self, root: &Root) -> PairFiles {
        PairFiles::new(root.at(&self.certificate), root.at(&self.key))
    }
}

/// What certificates of edges before KubeEdge 1.16 are good for: they name no node, so they prove
/// only that their holder is some node of this cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LegacyCertificates {
    #[default]
    Refused,
    /// They are exchanged for one that names the node, if its name is known here.
    Rotate,
    /// The name may be new here; and the hub lets such an edge connect.
    Full,
}

impl FromStr for LegacyCertificates {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<LegacyCertificates, AuthorityError> {
        match text {
            "false" | "" => Ok(LegacyCertificates::Refused),
            "rotate" => Ok(LegacyCertificates::Rotate),
            "full" => Ok(LegacyCertificates::Full),
            _ => Err(AuthorityError::LegacyWord(text.to_owned())),
        }
    }
}

/// What another replica has done to the CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// There is none any more; the one that was goes on.
    Gone,
    /// Another one took its place, and what was issued by the one before counts no more.
    Replaced {
        was: Sha256Hash,
        is: Sha256Hash,
    },
    /// A rotation went on.
    Rotated,
    Same,
}

impl Authority {
    /// Loads the CA, takes one over or makes one, in this order; and sees to the serving
    /// certificate.
    pub async fn open(
        store: Arc<dyn Store>,
        files: &Files,
        root: &Root,
        clock: &Clock,
        options: Options,
    ) -> Result<Authority, AuthorityError> {
        let pair = ca::open(&*store, files, &options.ca_files.below(root), clock).await?;
        let standing = Standing::load(&*store, &pair).await?;
        let wanted = Names::new(&options.advertised, &options.dns_names);
        let given = options.serving_files.below(root);
        let now = clock.now();
        let serving = serving::open(&*store, files, &given, &standing.issuer, &wanted, now).await?;
        let cell = ServingCell::new(serving.certificate(), serving.key(), &standing.shown)?;
        let trust = TrustCell::new(&standing.trusted)?;
        Ok(Authority {
            store,
            clock: clock.clone(),
            standing: Mutex::new(Arc::new(standing)),
            cell,
            trust,
            rotating: smol::lock::Mutex::default(),
            names: Mutex::new(wanted),
            renewal: smol::lock::Mutex::new(()),
            lifetime: options.lifetime,
            legacy: options.legacy,
            protect_names: options.protect_names,
            renew_after_expiry: options.renew_after_expiry,
        })
    }

    /// What tokens and `/ca.crt` name.
    pub fn ca(&self) -> Certificate {
        self.standing().announced.clone()
    }

    /// Which CA does what now.
    pub fn standing(&self) -> Arc<Standing> {
        let standing = self.standing.lock();
        standing.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes by what the store says of the CA and its rotation.
    async fn reload(&self) -> Result<(), AuthorityError> {
        let pair = self.store.load_ca().await?;
        let pair = pair.ok_or(StoreError::Busy)?;
        self.adopt(Standing::load(&*self.store, &pair).await?).await
    }

    /// All or nothing: what failed here is tried again by who compares the standing with the store.
    async fn adopt(&self, standing: Standing) -> Result<(), AuthorityError> {
        let _one_at_a_time = self.renewal.lock().await;
        let made = self.make_serving(&standing).await?;
        self.trust.set(&standing.trusted)?;
        // A handshake that began before was judged by the CAs of before.
        let since = Some(Instant::now());
        let standing = Arc::new(Standing { since, ..standing });
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing.clone();
        self.show(made.as_ref(), &standing)
    }

    /// Follows what another replica has done to the CA in the store that both share.
    pub async fn follow(&self) -> Result<Followed, AuthorityError> {
        let _one_at_a_time = self.rotating.lock().await;
        let before = self.standing();
        let Some(pair) = self.store.load_ca().await? else {
            return Ok(Followed::Gone);
        };
        if !pair.certificate().is_ca() {
            return Err(PkiError::NotCa.into());
        }
        let after = Standing::load(&*self.store, &pair).await?;
        if (after.phase, &after.trusted) == (before.phase, &before.trusted) {
            return Ok(Followed::Same);
        }
        let (was, is) = (before.announced.hash(), after.announced.hash());
        let known = before.trusted.contains(pair.certificate());
        self.adopt(after).await?;
        Ok(match known {
            true => Followed::Rotated,
            false => Followed::Replaced { was, is },
        })
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub fn legacy(&self) -> LegacyCertificates {
        self.legacy
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What the listeners serve with; it follows every renewal.
    pub fn serving(&self) -> Arc<ServingCell> {
        self.cell.clone()
    }

    /// Whose clients the listeners take; it follows every rotation.
    pub fn trust(&self) -> Arc<TrustCell> {
        self.trust.clone()
    }

    /// The serving certificate in use.
    pub fn serving_certificate(&self) -> Certificate {
        self.cell.certificate()
    }

    /// Makes a new serving certificate when an address or name is missing in the one in use, or
    /// less than 30 % of its life is left; true when it did. To be called every hour or so, and
    /// when addresses change.
    pub async fn refresh_serving(&self) -> Result<bool, AuthorityError> {
        let wanted = self.names().clone().with_local();
        let (signer, present) = (self.standing().signer().clone(), self.cell.certificate());
        if serving::fault(&present, &signer, &wanted, self.clock.now()).is_none() {
            return Ok(false);
        }
        self.serve().await
    }

    /// Sees to the serving certificate, and to what is shown behind it; true when it is a new one.
    async fn serve(&self) -> Result<bool, AuthorityError> {
        let _one_at_a_time = self.renewal.lock().await;
        let standing = self.standing();
        let made = self.make_serving(&standing).await?;
        self.show(made.as_ref(), &standing)?;
        Ok(made.is_some())
    }

    /// Makes and keeps a new serving pair, if the one in use does not do.
    async fn make_serving(&self, standing: &Standing) -> Result<Option<KeyPair>, AuthorityError> {
        let now = self.clock.now();
        let wanted = self.names().clone().with_local();
        let present = self.cell.certificate();
        if serving::fault(&present, standing.signer(), &wanted, now).is_none() {
            return Ok(None);
        }
        let pair = serving::make(&standing.issuer, &wanted, now)?;
        self.store.save_serving(&pair).await?;
        Ok(Some(pair))
    }

    fn show(&self, made: Option<&KeyPair>, standing: &Standing) -> Result<(), AuthorityError> {
        match made {
            Some(pair) => self
                .cell
                .set(pair.certificate(), pair.key(), &standing.shown)?,
            None => self.cell.show(&standing.shown),
        }
        Ok(())
    }

    /// Wants more addresses or names in the serving certificate, until the next start: what is to
    /// stay has to be in the configuration too.
    pub async fn add_names(&self, names: &[String]) -> Result<bool, AuthorityError> {
        self.names().add(names);
        self.refresh_serving().await
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long to wait for the disk.
const DISK_DEADLINE: Duration = Duration::from_secs(30);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Certificates begin this much before they are made, for devices whose clock lags.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
