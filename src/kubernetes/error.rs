//! Why a call to a cluster has not succeeded: what it answered, or what lies between.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// The refusal of a cluster, in its own words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Status {
    pub code: u16,
    /// One word: `NotFound`, `AlreadyExists`, `Conflict`, `Forbidden`, `Expired`, `Invalid` ….
    pub reason: String,
    pub message: String,
    pub details: Option<Value>,
}

/// Why there is no answer, or none that helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The cluster has refused.
    Refused(Box<Status>),
    /// There is no way to the cluster now.
    Unreachable { server: String, cause: String },
    /// Nobody knows whether it was done: the line broke, or the time was up, after it was sent.
    Unknown { server: String, cause: String },
    /// Who we are can't be shown: a certificate, a token, a program that fails. Says what to do.
    Credentials(String),
    /// The other end can't be trusted, or is no cluster.
    Untrusted { server: String, cause: String },
    /// More bytes than an answer may have.
    TooLong { limit: usize },
    /// An answer that can't be understood.
    Strange(String),
    /// Too many calls wait already.
    Busy,
}

impl Status {
    /// Reads the body of an answer with this status; what is not a Status is its text, shortened.
    pub fn read(code: u16, body: &[u8]) -> Status {
        let read = serde_json::from_slice::<Status>(body).ok();
        let said = read.filter(|status| !status.message.is_empty() || !status.reason.is_empty());
        let said = said.map(|status| Status {
            message: printable(&status.message, MAX_MESSAGE),
            reason: printable(&status.reason, MAX_REASON),
            ..status
        });
        let text = || {
            let text = String::from_utf8_lossy(body);
            let line = text.lines().next().unwrap_or_default().trim();
            Status {
                message: printable(line, MAX_TEXT),
                ..Status::default()
            }
        };
        Status {
            code,
            ..said.unwrap_or_else(text)
        }
    }

    /// How long the cluster asks to wait before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.details.as_ref()?.get("retryAfterSeconds")?.as_u64()?;
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }
}

impl CallError {
    pub fn status(&self) -> Option<&Status> {
        match self {
            CallError::Refused(status) => Some(status),
            _ => None,
        }
    }

    fn has_code(&self, code: u16) -> bool {
        self.status().is_some_and(|status| status.code == code)
    }

    pub fn is_not_found(&self) -> bool {
        self.has_code(404)
    }

    /// There is an object of this name already.
    pub fn is_taken(&self) -> bool {
        let status = self.status();
        status.is_some_and(|it| it.code == 409 && it.reason == "AlreadyExists")
    }

    /// The object has changed since it was read.
    pub fn is_conflict(&self) -> bool {
        let status = self.status();
        status.is_some_and(|it| it.code == 409 && it.reason != "AlreadyExists")
    }

    /// The version that a watch or a page begins at is forgotten: list again.
    pub fn is_too_old(&self) -> bool {
        self.has_code(410)
    }

    pub fn is_forbidden(&self) -> bool {
        self.has_code(403)
    }

    /// Whether the same request can succeed later without anybody's help.
    pub fn is_retryable(&self) -> bool {
        match self {
            CallError::Refused(status) => status.code == 429 || status.code >= 500,
            CallError::Unreachable { .. } | CallError::Unknown { .. } | CallError::Busy => true,
            CallError::Credentials(_)
            | CallError::Untrusted { .. }
            | CallError::TooLong { .. }
            | CallError::Strange(_) => false,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.message, &*self.reason) {
            ("", "") => write!(f, "status {}", self.code),
            ("", reason) => f.write_str(reason),
            (message, _) => f.write_str(message),
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Refused(status) => match status.code {
                401 => write!(
                    f,
                    "the cluster does not know who we are ({status}): renew the credentials of the \
                     kubeconfig"
                ),
                403 => write!(
                    f,
                    "the cluster does not allow it ({status}): ask for that right, or use another \
                     kubeconfig"
                ),
                429 | 500.. => write!(
                    f,
                    "the cluster can't answer now ({status}): try again later"
                ),
                _ => write!(f, "the cluster refuses: {status}"),
            },
            CallError::Unreachable { server, cause } => write!(
                f,
                "no way to the cluster at {server}: {cause}: see whether it runs and the kubeconfig \
                 names it"
            ),
            CallError::Unknown { server, cause } => write!(
                f,
                "no answer from the cluster at {server}: {cause}: it may have been done, look first"
            ),
            CallError::Credentials(sentence) => f.write_str(sentence),
            CallError::Untrusted { server, cause } => write!(
                f,
                "{server} can't be trusted as the cluster: {cause}: see whether the kubeconfig has \
                 its CA and its name"
            ),
            CallError::TooLong { limit } => write!(
                f,
                "the cluster's answer has more than {limit} bytes: ask for less at a time"
            ),
            CallError::Strange(what) => write!(
                f,
                "the answer of the cluster can't be understood ({what}): see whether the kubeconfig \
                 names a Kubernetes API server"
            ),
            CallError::Busy => f.write_str("too many calls to the cluster wait: try again later"),
        }
    }
}

impl std::error::Error for CallError {}

/// As one line that can be printed.
fn printable(text: &str, max: usize) -> String {
    let chars = text.chars().take(max);
    chars
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Characters of a Status' sentence and of its reason.
const MAX_MESSAGE: usize = 2000;
const MAX_REASON: usize = 64;
/// Characters of an answer that is no Status.
const MAX_TEXT: usize = 200;
