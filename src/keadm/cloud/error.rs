//! Why the cloud side on a cluster is not as it was wanted.

use std::fmt;

use crate::keadm::chart::ChartError;
use crate::kubernetes::CallError;
use crate::kubernetes::kubeconfig::ConfigError;
use crate::kubernetes::release::Unreadable;
use crate::system::exit;

#[derive(Debug)]
pub enum CloudError {
    /// It is there and works: another command changes it.
    AlreadyInstalled {
        revision: u64,
    },
    Call(CallError),
    Chart(ChartError),
    Config(ConfigError),
    /// Rights that are missing, as `create deployments.apps`.
    Denied(Vec<String>),
    /// Objects of others that stand where ours would go.
    Foreign(Vec<String>),
    /// It is being taken away.
    Leaving,
    /// What of it is not there after the reset.
    Left(Vec<String>),
    NotConfirmed,
    NotInstalled,
    /// What has not become ready, and why.
    NotReady {
        seconds: u64,
        reasons: Vec<String>,
    },
    /// A cluster that is too old.
    Old(String),
    /// Another command has changed the record meanwhile.
    Overtaken,
    Release(Unreadable),
    /// The upgrade has failed for this reason, and so has the way back.
    RollbackFailed {
        why: Box<CloudError>,
        then: Box<CloudError>,
    },
    /// The upgrade has failed for this reason, and what was before is there again.
    RolledBack {
        why: Box<CloudError>,
        to: u64,
    },
    /// A step of a change; what was there before.
    Step {
        what: String,
        why: CallError,
    },
    UnknownKind(String),
    /// Another command is at work on it.
    Upgrading,
}

impl CloudError {
    pub fn code(&self) -> u8 {
        match self {
            CloudError::Call(error) | CloudError::Step { why: error, .. } => of_call(error),
            CloudError::Chart(error) => error.code(),
            CloudError::Config(_) | CloudError::Old(_) => exit::CONFIG,
            CloudError::Denied(_) => exit::DENIED,
            CloudError::NotReady { .. } | CloudError::Overtaken => exit::TRY_AGAIN,
            _ => exit::FAILURE,
        }
    }
}

impl CloudError {
    /// What has happened, without what to do about it.
    pub fn brief(&self) -> String {
        match self {
            CloudError::NotReady { seconds, reasons } => {
                format!("not ready after {seconds} s: {}", reasons.join("; "))
            }
            other => other.to_string(),
        }
    }
}

fn of_call(error: &CallError) -> u8 {
    match error {
        CallError::Unreachable { .. } | CallError::Untrusted { .. } => exit::UNAVAILABLE,
        CallError::Credentials(_) => exit::DENIED,
        CallError::Refused(status) if matches!(status.code, 401 | 403) => exit::DENIED,
        error if error.is_retryable() => exit::TRY_AGAIN,
        _ => exit::FAILURE,
    }
}

impl fmt::Display for CloudError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloudError::AlreadyInstalled { revision } => write!(
                f,
                "the cloud side is installed already, as revision {revision}: change it with `keadm upgrade cloud`, \
                 take it away with `keadm reset cloud`"
            ),
            CloudError::Call(error) => error.fmt(f),
            CloudError::Chart(error) => error.fmt(f),
            CloudError::Config(error) => error.fmt(f),
            CloudError::Denied(missing) => write!(
                f,
                "the cluster does not allow you to {}: use a kubeconfig of an administrator",
                missing.join(", ")
            ),
            CloudError::Foreign(objects) => write!(
                f,
                "{} already there and not of the release: delete {}, or give {} to the release with the label \
                 app.kubernetes.io/managed-by=Helm and the annotations meta.helm.sh/release-name=cloudcore and \
                 meta.helm.sh/release-namespace=kubeedge",
                match objects.len() {
                    1 => format!("{} is", objects.concat()),
                    _ => format!("{} are", objects.join(", ")),
                },
                them(objects),
                them(objects),
            ),
            CloudError::Leaving => f.write_str(
                "a reset of the cloud side was begun and did not end: finish it with `keadm reset cloud`",
            ),
            CloudError::Left(objects) => write!(
                f,
                "{} still there: see what holds them with `kubectl get -o yaml`, and run the same command again",
                objects.join(", ")
            ),
            CloudError::NotConfirmed => {
                f.write_str("nothing was changed: answer y, or give --yes")
            }
            CloudError::NotInstalled => f.write_str(
                "the cluster has no cloud side that was installed by keadm or helm: install it with `keadm init`",
            ),
            CloudError::NotReady { .. } => write!(
                f,
                "{}: when that is mended, run the same command again, or look with `kubectl -n kubeedge describe pods`",
                self.brief()
            ),
            CloudError::Old(version) => write!(
                f,
                "the cluster runs Kubernetes {version}: 1.22 or later is needed"
            ),
            CloudError::Overtaken => f.write_str(
                "another command has changed the release at the same time: see what it did, then run this again",
            ),
            CloudError::Release(error) => error.fmt(f),
            CloudError::RollbackFailed { why, then } => write!(
                f,
                "{} (and what was before could not be put back: {then})",
                why.brief()
            ),
            CloudError::RolledBack { why, to } => write!(
                f,
                "{} (what revision {to} had was put back, so the cloud side is as it was before)",
                why.brief()
            ),
            CloudError::Step { what, why } => write!(f, "{what}: {why}"),
            CloudError::UnknownKind(kind) => write!(
                f,
                "the cluster has no objects of {kind}: is the API that brings them installed?"
            ),
            CloudError::Upgrading => f.write_str(
                "an upgrade of the cloud side was begun and did not end: finish it with `keadm upgrade cloud`",
            ),
        }
    }
}

fn them(objects: &[String]) -> &'static str {
    if objects.len() == 1 { "it" } else { "them" }
}

impl std::error::Error for CloudError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CloudError::Call(error) | CloudError::Step { why: error, .. } => Some(error),
            CloudError::Chart(error) => Some(error),
            CloudError::Config(error) => Some(error),
            CloudError::Release(error) => Some(error),
            CloudError::RolledBack { why, .. } | CloudError::RollbackFailed { why, .. } => {
                Some(why)
            }
            _ => None,
        }
    }
}

impl From<CallError> for CloudError {
    fn from(error: CallError) -> CloudError {
        CloudError::Call(error)
    }
}

impl From<ChartError> for CloudError {
    fn from(error: ChartError) -> CloudError {
        CloudError::Chart(error)
    }
}

impl From<ConfigError> for CloudError {
    fn from(error: ConfigError) -> CloudError {
        CloudError::Config(error)
    }
}

impl From<Unreadable> for CloudError {
    fn from(error: Unreadable) -> CloudError {
        CloudError::Release(error)
    }
}
