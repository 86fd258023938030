//! One request and its answer, whatever carries them: what is said, when it is said again, and what
//! the answer means.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{AlertDescription, CertificateError};
use smol::Timer;

use super::login::Shown;
use super::{Answer, CallError, Impersonation, Request, Status};
use crate::pki::tls::Presented;
use crate::system::build;
use crate::system::cause;
use crate::system::network::NetError;
use crate::system::secret::Secret;

/// Something that carries one request to a cluster, and its answer back.
pub trait Carrier: Send + Sync {
    /// The cluster, for people.
    fn server(&self) -> String;

    fn show(&self) -> Carrying<'_, Arc<Shown>, CallError>;

    /// See `Holder::renew`.
    fn renew<'a>(&'a self, refused: &'a Arc<Shown>) -> Carrying<'a, Option<Arc<Shown>>, CallError>;

    /// One try, within `Request::timeout`.
    fn carry<'a>(&'a self, request: &'a Request, shown: Arc<Shown>) -> Carrying<'a, Raw, Fault>;
}

pub type Carrying<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// An answer as it came.
#[derive(Debug)]
pub struct Raw {
    pub status: u16,
    pub retry_after: Option<Duration>,
    pub warnings: Vec<String>,
    pub body: Vec<u8>,
}

/// Why one try gave no answer.
#[derive(Debug)]
pub enum Fault {
    /// After a part of the request was on its way.
    Broken(String),
    Busy,
    /// What we show can't be shown, or is refused by the handshake. A sentence.
    Credentials(String),
    /// Nothing of the request was sent.
    NotSent(String),
    Strange(String),
    TooLong {
        limit: usize,
    },
    Untrusted(String),
}

/// Sends a request until there is an answer that counts.
pub async fn call(carrier: &dyn Carrier, request: &Request) -> Result<Answer, CallError> {
    let end = Instant::now() + request.timeout * 2;
    let mut shown = carrier.show().await?;
    let mut renewed = false;
    let mut pause = FIRST_PAUSE;
    for tried in 1.. {
        let outcome = carrier.carry(request, shown.clone()).await;
        if let Ok(raw) = &outcome
            && raw.status == 401
            && !renewed
        {
            renewed = true;
            if let Some(other) = carrier.renew(&shown).await? {
                shown = other;
                continue;
            }
        }
        let wait = match &outcome {
            Ok(raw) => wait_after(raw, request, pause),
            Err(Fault::NotSent(_)) => Some(pause),
            Err(Fault::Broken(_)) if request.is_repeatable() => Some(pause),
            Err(_) => None,
        };
        let wait = wait.map(|wait| wait.mul_f64(1.0 + fastrand::f64() / 4.0));
        match wait {
            Some(wait) if tried < MAX_TRIES && Instant::now() + wait < end => {
                Timer::after(wait).await;
                pause *= 2;
            }
            _ => {
                return outcome
                    .map_err(|fault| fault.tell(carrier, request))
                    .and_then(judge);
            }
        }
    }
    // Not reached: the loop has no end of its own.
    Err(CallError::Busy)
}

/// How long to wait before this request is sent again; none when the answer counts.
fn wait_after(raw: &Raw, request: &Request, pause: Duration) -> Option<Duration> {
    let asked = raw.retry_after.map(|asked| asked.min(LONGEST_WAIT));
    let again = match raw.status {
        // It was not even looked at.
        429 => true,
        502..=504 => request.is_repeatable(),
        500.. => request.is_repeatable() && asked.is_some(),
        _ => false,
    };
    again.then(|| asked.unwrap_or(pause).max(pause))
}

fn judge(raw: Raw) -> Result<Answer, CallError> {
    match raw.status {
        200..=299 => Ok(Answer {
            status: raw.status,
            body: raw.body,
            warnings: raw.warnings,
        }),
        _ => Err(judge_refusal(raw)),
    }
}

/// The error that an answer without success is.
pub fn judge_refusal(raw: Raw) -> CallError {
    if raw.status < 400 {
        return CallError::Strange(format!("status {}", raw.status));
    }
    let mut read = Status::read(raw.status, &raw.body);
    if let (None, Some(asked)) = (read.retry_after(), raw.retry_after) {
        let seconds = serde_json::json!({"retryAfterSeconds": asked.as_secs()});
        read.details.get_or_insert(seconds);
    }
    CallError::Refused(Box::new(read))
}

impl Fault {
    /// The fault of a connection that could not be made.
    pub fn of_network(error: &NetError) -> Fault {
        Fault::NotSent(match error {
            // The house's own sentence is about a cloud.
            NetError::Connect { address, source } => {
                format!("cannot connect to {address}: {}", cause::of(source))
            }
            other => other.to_string(),
        })
    }

    /// The fault of TLS, before or after something was sent.
    pub fn of_tls(error: &rustls::Error, presented: &Presented, sent: bool) -> Fault {
        use rustls::Error;
        match error {
            Error::InvalidCertificate(error) => Fault::Untrusted(distrust(error, presented)),
            Error::InvalidMessage(_) if !sent => Fault::Untrusted("it speaks no TLS".to_owned()),
            Error::PeerIncompatible(error) => {
                Fault::Untrusted(format!("it offers no TLS that is safe ({error:?})"))
            }
            Error::AlertReceived(alert) if is_about_us(*alert) => Fault::Credentials(format!(
                "the cluster refuses our certificate ({alert:?}): renew the credentials of the \
                 kubeconfig"
            )),
            error if sent => Fault::Broken(error.to_string()),
            error => Fault::NotSent(format!("the TLS connection failed ({error})")),
        }
    }

    fn tell(self, carrier: &dyn Carrier, request: &Request) -> CallError {
        let server = carrier.server();
        match self {
            Fault::Broken(cause) if request.is_repeatable() => {
                CallError::Unreachable { server, cause }
            }
            Fault::Broken(cause) => CallError::Unknown { server, cause },
            Fault::Busy => CallError::Busy,
            Fault::Credentials(sentence) => CallError::Credentials(sentence),
            Fault::NotSent(cause) => CallError::Unreachable { server, cause },
            Fault::Strange(what) => CallError::Strange(what),
            Fault::TooLong { limit } => CallError::TooLong { limit },
            Fault::Untrusted(cause) => CallError::Untrusted { server, cause },
        }
    }

    /// The same for a watch that could not be opened, which is always repeatable.
    pub fn of_watch(self, server: String) -> CallError {
        match self {
            Fault::Broken(cause) | Fault::NotSent(cause) => {
                CallError::Unreachable { server, cause }
            }
            Fault::Busy => CallError::Busy,
            Fault::Credentials(sentence) => CallError::Credentials(sentence),
            Fault::Strange(what) => CallError::Strange(what),
            Fault::TooLong { limit } => CallError::TooLong { limit },
            Fault::Untrusted(cause) => CallError::Untrusted { server, cause },
        }
    }
}

/// The headers of a request, in the order in which they are sent. Values may be secrets.
pub fn headers<'a>(
    request: &'a Request,
    shown: &Shown,
    always: Option<&'a Impersonation>,
) -> Vec<(&'static str, Secret<String>)> {
    let mut headers = Vec::new();
    let mut add = |name, value: &str| headers.push((name, Secret::new(value.to_owned())));
    add("accept", "application/json");
    add("user-agent", &format!("kubeedge/{}", build::VERSION));
    if let Some(body) = &request.body {
        add("content-type", body.content_type);
    }
    if let Some(other) = request.impersonation.as_ref().or(always) {
        add("impersonate-user", &other.user);
        for group in &other.groups {
            add("impersonate-group", group);
        }
    }
    if let Some(authorization) = &shown.authorization {
        add("authorization", authorization);
    }
    headers
}

/// The sentences of `Warning` headers: `299 - "text"`, several in one value, quotes escaped.
pub fn warnings<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut found = Vec::new();
    for value in values {
        let mut rest = String::from_utf8_lossy(value).into_owned();
        while let Some((sentence, behind)) = quoted(&rest) {
            if found.len() == MAX_WARNINGS {
                return found;
            }
            if !found.contains(&sentence) {
                found.push(sentence);
            }
            // The second quoted text of a warning is a date, which begins right behind it.
            rest = behind
                .find(',')
                .map_or_else(String::new, |at| behind[at + 1..].to_owned());
        }
    }
    found
}

/// The first quoted text, fit to be printed, and what is behind it.
fn quoted(text: &str) -> Option<(String, String)> {
    let begin = text.find('"')? + 1;
    let mut sentence = String::new();
    let mut chars = text[begin..].char_indices();
    while let Some((at, c)) = chars.next() {
        let c = match c {
            '"' => {
                let short: String = sentence.chars().take(MAX_WARNING).collect();
                return Some((short, text[begin + at + 1..].to_owned()));
            }
            '\\' => chars.next()?.1,
            c => c,
        };
        sentence.push(if c.is_control() { ' ' } else { c });
    }
    None
}

/// Why the certificate that the server showed is not good.
fn distrust(error: &CertificateError, presented: &Presented) -> String {
    let shown = presented.certificate();
    match error {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name: dial a name that it has, or set tls-server-name"
                .to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is by none of the CAs that are trusted".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => match shown {
            Some(shown) => format!("its certificate expired at {}", shown.not_after()),
            None => "its certificate has expired".to_owned(),
        },
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet by the clock here".to_owned()
        }
        other => format!("its certificate can't be accepted ({other})"),
    }
}

fn is_about_us(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::AccessDenied
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::UnknownCA
            | AlertDescription::UnsupportedCertificate
    )
}

/// The wait that a `Retry-After` header asks for, in seconds; dates are not read.
pub fn retry_after(value: &[u8]) -> Option<Duration> {
    let seconds: u64 = std::str::from_utf8(value).ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Bytes of an answer, which may be a page of a list.
pub const MAX_BODY: usize = 16 * 1024 * 1024;
const MAX_TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// However long a cluster asks to wait within one call.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Sentences of one answer, and characters of one.
const MAX_WARNINGS: usize = 16;
const MAX_WARNING: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_sentences() {
        let values: [&[u8]; 4] = [
            br#"299 - "v1 X is \"old\"", 299 kube "second" "Wed, 21 Oct 2015 07:28:00 GMT""#,
            b"299 - \"line\x01one\"",
            b"299 - \"never ends",
            b"\xff",
        ];
        let found = warnings(values.into_iter());
        assert_eq!(found, ["v1 X is \"old\"", "second", "line one"]);
        let many = b"1 - \"a\",".repeat(3);
        assert_eq!(warnings([many.as_slice()].into_iter()), ["a"]);
    }

    #[test]
    fn what_is_sent_again_can_not_have_been_done_twice() {
        use super::super::resource::SECRETS;
        let raw = |status, seconds: Option<u64>| Raw {
            status,
            retry_after: seconds.map(Duration::from_secs),
            warnings: Vec::new(),
            body: Vec::new(),
        };
        let get = Request::get(&SECRETS, Some("a"), "b");
        let create = Request::create(&SECRETS, Some("a"), &serde_json::json!({}));
        let pause = Duration::from_millis(100);
        let wait =
            |raw: &Raw, request: &Request| wait_after(raw, request, pause).map(|it| it.as_millis());
        for (status, seconds, of_get, of_create) in [
            (200, None, None, None),
            (404, Some(1), None, None),
            (429, None, Some(100), Some(100)),
            (429, Some(2), Some(2000), Some(2000)),
            (429, Some(86400), Some(30000), Some(30000)),
            (500, None, None, None),
            (500, Some(1), Some(1000), None),
            (503, None, Some(100), None),
            (504, Some(1), Some(1000), None),
        ] {
            let raw = raw(status, seconds);
            assert_eq!(wait(&raw, &get), of_get, "{status}");
            assert_eq!(wait(&raw, &create), of_create, "{status}");
        }
    }
}
