//! Requests to a registry: connections, who we are, redirects, and when something is asked again.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::{CertificateError, ClientConfig};
use smol::Timer;
use ureq::http::{HeaderMap, HeaderValue, Response};
use ureq::{Agent, Body};

use super::challenge::{self, Challenge};
use super::error::RegistryError;
use super::reference::Reference;
use super::url::{Url, is_loopback};
use super::{Options, token};
use crate::pki::foreign;
use crate::pki::tls::{self, Presented};
use crate::system::https::{self, Nowhere, Pinned, Wiped};
use crate::system::paced::{Pace, Paced};
use crate::system::secret::Secret;
use crate::system::sorted::SortedMap;
use crate::system::way::Reached;
use crate::system::{build, cause};

/// Speaks to registries; keeps what it is given to show there, in memory only.
pub struct Client {
    pub options: Options,
    tls: Arc<ClientConfig>,
    /// What was last shown with success, by server and repository.
    shown: Mutex<SortedMap<String, Arc<Secret<String>>>>,
}

/// One answer, of which the body has not been read.
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Body,
    /// Who has answered, behind all redirects.
    pub server: String,
}

/// What is asked.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub accept: &'a str,
    /// The first byte that is wanted.
    pub from: u64,
    pub pace: Pace,
}

impl Client {
    pub fn new(options: Options) -> Result<Client, RegistryError> {
        let tls = trust(&options)?;
        Ok(Client {
            options,
            tls,
            shown: Mutex::default(),
        })
    }

    /// Asks an image's registry until there is an answer that counts: of 200, or 206 where a part
    /// was asked for.
    pub fn get(
        &self,
        reference: &Reference,
        path: &str,
        ask: Ask<'_>,
    ) -> Result<Reply, RegistryError> {
        let url = Url::of(reference, self.is_plain(reference), path);
        let mut pause = self.options.pause;
        for tried in 1.. {
            let outcome = self
                .get_once(reference, &url, ask)
                .and_then(|reply| self.judge(reference, reply));
            match outcome {
                Ok(reply) => return Ok(reply),
                Err(refusal) if !refusal.again || tried >= TRIES => return Err(*refusal.error),
                Err(refusal) => {
                    log::info!("{}; once more", refusal.error);
                    wait_for(refusal.after.unwrap_or(pause).max(pause));
                    pause *= 2;
                }
            }
        }
        // Not reached: the loop has no end of its own.
        Err(strange(&url, "nothing"))
    }

    /// Plain HTTP is for this machine itself, and for those who say so.
    fn is_plain(&self, reference: &Reference) -> bool {
        let local = is_loopback(&reference.endpoint().host) && self.options.ca.is_none();
        local || self.options.plain_http
    }

    fn get_once(&self, reference: &Reference, url: &Url, ask: Ask<'_>) -> Result<Reply, Refusal> {
        let key = format!("{}/{}", url.endpoint, reference.repository());
        let mut authorization = self.shown().get(&key).cloned();
        for again in [false, true] {
            let reply = self.follow(url, authorization.as_deref(), ask)?;
            if reply.status != 401 || again {
                if reply.status < 400
                    && let Some(authorization) = authorization
                {
                    self.shown().insert(key, authorization);
                }
                return Ok(reply);
            }
            let values = reply.headers.get_all("www-authenticate").into_iter();
            let Some(asked) = challenge::read(values.map(HeaderValue::as_bytes)) else {
                return Ok(reply);
            };
            self.shown().remove(&key);
            let login = self.options.credentials.of(reference);
            let shown = match (asked, login) {
                (Challenge::Basic, Some(login)) => login.header(),
                (Challenge::Basic, None) => return Ok(reply),
                (Challenge::Bearer { realm, service, .. }, login) => {
                    // What is asked for is ours to say: to pull from this repository, and no more.
                    token::fetch(self, reference, url, (&realm, service.as_deref()), login)?
                }
            };
            authorization = Some(Arc::new(shown));
        }
        Err(strange(url, "nothing").into())
    }

    /// Goes where the registry sends us. What we show is for the registry alone.
    fn follow(
        &self,
        first: &Url,
        authorization: Option<&Secret<String>>,
        ask: Ask<'_>,
    ) -> Result<Reply, Refusal> {
        let mut url = first.clone();
        for _ in 0..=MAX_REDIRECTS {
            let shown = authorization.filter(|_| url.is_of(first));
            let response = self.exchange(&url, shown, ask)?;
            let status = response.status().as_u16();
            let location = response.headers().get("location");
            let location = location.and_then(|it| it.to_str().ok());
            match (status, location) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => {
                    let next = url.join(location);
                    let next = next.ok_or_else(|| strange(&url, "it sends us to no URL"))?;
                    if next.plain && !url.plain {
                        return Err(strange(&url, "it sends us from https to plain http").into());
                    }
                    url = next;
                }
                _ => {
                    let (parts, body) = response.into_parts();
                    return Ok(Reply {
                        status,
                        headers: parts.headers,
                        body,
                        server: url.endpoint.to_string(),
                    });
                }
            }
        }
        Err(strange(first, "it sends us around in circles").into())
    }

    /// One request and the head of its answer.
    pub(super) fn exchange(
        &self,
        url: &Url,
        authorization: Option<&Secret<String>>,
        ask: Ask<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let server = || url.endpoint.to_string();
        let reached = smol::block_on(self.options.way.connect(&url.endpoint, &[]));
        let reached = reached.map_err(|error| later(server(), error.to_string()))?;
        let Reached { stream, .. } = reached;
        let socket = https::blocking(stream).map_err(|error| later(server(), cause::of(&error)))?;
        let tls = match url.plain {
            true => None,
            false => {
                let name = tls::server_name(&url.endpoint.host);
                Some((self.tls.clone(), name.map_err(RegistryError::from)?))
            }
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .max_idle_connections(0)
            .user_agent(format!("kubeedge/{}", build::VERSION))
            .build();
        let connector = Pinned::paced(tls, Box::new(()), Paced::new(socket, ask.pace));
        let agent = Agent::with_parts(config, connector, Nowhere);
        let mut request = agent.get(url.text()).header("accept", ask.accept);
        if ask.from > 0 {
            request = request.header("range", format!("bytes={}-", ask.from));
        }
        if let Some(authorization) = authorization {
            request = request.header("authorization", Wiped(authorization));
        }
        request.call().map_err(|error| failed(&server(), error))
    }

    fn judge(&self, reference: &Reference, reply: Reply) -> Result<Reply, Refusal> {
        let status = reply.status;
        if matches!(status, 200 | 206) {
            return Ok(reply);
        }
        let after = reply.headers.get("retry-after").and_then(seconds);
        let server = reply.server.clone();
        let said = said(reply.body);
        Err(match status {
            404 => RegistryError::NotFound {
                image: reference.to_string(),
                said,
            }
            .into(),
            401 | 403 => RegistryError::Denied {
                server,
                status,
                given: self.options.credentials.of(reference).is_some(),
                said,
            }
            .into(),
            408 | 429 | 500.. => Refusal {
                after: after.map(|after| after.min(LONGEST_WAIT)),
                ..later(server, format!("{status} {said}").trim_end().to_owned())
            },
            _ => RegistryError::Strange {
                server,
                what: format!("{status} {said}").trim_end().to_owned(),
            }
            .into(),
        })
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, SortedMap<String, Arc<Secret<String>>>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why one try gave nothing.
pub struct Refusal {
    pub error: Box<RegistryError>,
    /// Whether it is worth another try.
    again: bool,
    /// How long the server asks to wait before.
    after: Option<Duration>,
}

impl From<RegistryError> for Refusal {
    fn from(error: RegistryError) -> Refusal {
        Refusal {
            error: Box::new(error),
            again: false,
            after: None,
        }
    }
}

/// Waits without doing anything else.
pub fn wait_for(time: Duration) {
    smol::block_on(async {
        Timer::after(time).await;
    });
}

/// The given authorities, besides those that this machine trusts.
fn trust(options: &Options) -> Result<Arc<ClientConfig>, RegistryError> {
    let system = foreign::of_this_machine(&options.files);
    let given = options.ca.as_deref().unwrap_or_default();
    // A file that holds no certificate is a mistake, which the system's own would hide.
    if options.ca.is_some() {
        foreign::authorities(given)?;
    }
    let mut all = given.to_vec();
    all.push(b'\n');
    all.extend_from_slice(system.as_deref().map_or(&[], Vec::as_slice));
    let presented = Presented::default();
    match foreign::authorities(&all) {
        Ok(roots) => Ok(foreign::client(roots, None, &options.clock, &presented)?),
        // Without a list nobody is trusted, which is said when somebody is met.
        Err(_) => Ok(tls::client(&[], None, &options.clock)?),
    }
}

pub fn later(server: String, cause: String) -> Refusal {
    Refusal {
        error: Box::new(RegistryError::Unreachable { server, cause }),
        again: true,
        after: None,
    }
}

fn strange(url: &Url, what: &str) -> RegistryError {
    RegistryError::Strange {
        server: url.endpoint.to_string(),
        what: what.to_owned(),
    }
}

/// What ureq's error means.
fn failed(server: &str, error: ureq::Error) -> Refusal {
    let ureq::Error::Io(io) = &error else {
        return match error {
            ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => {
                later(server.to_owned(), error.to_string())
            }
            other => RegistryError::Strange {
                server: server.to_owned(),
                what: other.to_string(),
            }
            .into(),
        };
    };
    if let Some(fault) = tls::tls_error(io) {
        return RegistryError::Untrusted {
            cause: distrust(fault, server),
        }
        .into();
    }
    later(server.to_owned(), broken(io))
}

/// Why a connection ended, in words.
pub fn broken(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "it answers too slowly, or not at all".to_owned(),
        _ => cause::of(error),
    }
}

fn distrust(fault: &rustls::Error, server: &str) -> String {
    use rustls::Error;
    match fault {
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => {
            format!(
                "the certificate of {server} is by none of the authorities that are trusted here: give \
                 the file of its CA (--ca-file)"
            )
        }
        Error::InvalidMessage(_) => format!(
            "{server} speaks no TLS: check the port; a registry without TLS has to be allowed \
             (--plain-http)"
        ),
        fault => tls::explain(fault, server, None),
    }
}

/// The messages of a registry's errors, or the beginning of what it says instead, as one line.
pub fn said(mut body: Body) -> String {
    let body = body.with_config().limit(MAX_SAID).read_to_vec();
    let body = body.unwrap_or_default();
    let told: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let text = match &told {
        Some(told) => {
            let first = &told["errors"][0];
            let words = [&first["message"], &first["code"], &told["details"]];
            let word = words.into_iter().find_map(|word| word.as_str());
            word.unwrap_or_default().to_owned()
        }
        // A page for people says nothing in one line.
        None if body.trim_ascii_start().starts_with(b"<") => String::new(),
        None => String::from_utf8_lossy(&body).into_owned(),
    };
    let line = text.chars().take(200);
    let line: String = line.map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.trim().to_owned()
}

fn seconds(value: &HeaderValue) -> Option<Duration> {
    let seconds: u64 = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

const TRIES: u32 = 4;
/// A registry, a store, a store nearby.
const MAX_REDIRECTS: usize = 5;
/// However long a registry asks to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Bytes of what a server says about an error.
const MAX_SAID: u64 = 16 * 1024;
