//! Files from a web server, over HTTPS alone: small ones whole, large ones with what came before kept.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use ureq::Agent;
use ureq::http::HeaderValue;

use super::error::UpgradeError;
use crate::pki::foreign::{self, MAX_BUNDLE};
use crate::pki::tls::{self, Presented};
use crate::system::cause;
use crate::system::console;
use crate::system::files::Appender;
use crate::system::host::Host;
use crate::system::https::{self, Nowhere, Pinned};
use crate::system::names::Endpoint;
use crate::system::proxy::Proxy;
use crate::system::uplink::Uplink;
use crate::system::way::Way;

/// How web servers are reached from here.
pub struct Web {
    way: Way,
    tls: Arc<ClientConfig>,
}

/// `https://host:port/path`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    endpoint: Endpoint,
    /// With its slash.
    path: String,
}

impl Web {
    /// Trusts the authorities of `ca`, or else the system's; goes through `proxy`, or else the one that
    /// the environment names.
    pub fn new(host: &Host, ca: Option<&Path>, proxy: Option<&str>) -> Result<Web, UpgradeError> {
        let text = match ca {
            Some(path) => host.files.read(path, MAX_BUNDLE)?,
            None => foreign::of_this_machine(&host.files)
                .ok_or_else(|| {
                    UpgradeError::Url("this system trusts no authority: give --ca-file".to_owned())
                })?
                .to_vec(),
        };
        let refuse = |why: String| UpgradeError::Url(why);
        let tls = foreign::authorities(&text)
            .and_then(|roots| foreign::client(roots, None, &host.clock, &Presented::default()))
            .map_err(|error| refuse(error.to_string()))?;
        let proxy = match proxy {
            Some(text) => Some(
                text.parse()
                    .map_err(|error| refuse(format!("--proxy: {error}")))?,
            ),
            None => Proxy::from_environment(|name| std::env::var(name).ok())
                .map_err(|error| refuse(error.to_string()))?,
        };
        Ok(Web {
            way: Way {
                uplink: Uplink::default(),
                proxy,
            },
            tls,
        })
    }

    /// A small file; none when the server has no such one.
    pub fn small(&self, url: &Url) -> Result<Option<Vec<u8>>, UpgradeError> {
        let mut whole = Vec::new();
        let mut sink = |part: Part<'_>| {
            if let Part::Bytes(bytes) = part {
                whole.extend_from_slice(bytes);
            }
            match whole.len() > MAX_SMALL {
                true => Err(format!("it has more than {MAX_SMALL} bytes")),
                false => Ok(()),
            }
        };
        match self.get(url, &Rest::default(), &mut sink) {
            Ok(200) => Ok(Some(whole)),
            Ok(404 | 410) => Ok(None),
            Ok(status) => Err(failed(url, format!("the server says {status}"))),
            Err(why) => Err(failed(url, why)),
        }
    }

    /// Adds to `file` what is missing there, trying again where that may help; no more than `room` bytes in
    /// all. Whether what is there now came in more than one answer, which may have been about two files.
    ///
    /// `is_known` says that somebody can tell whether parts belong together; else only the server can.
    pub fn large(
        &self,
        url: &Url,
        file: &mut Appender,
        room: u64,
        is_known: bool,
    ) -> Result<bool, UpgradeError> {
        let limit = room.min(MAX_LARGE);
        let (mut tag, mut last) = (None, String::new());
        for attempt in 0..ATTEMPTS {
            if !is_known && tag.is_none() {
                file.truncate(0)?;
            }
            if attempt > 0 {
                console::error(&format!("{last}: going on at byte {}", file.len()));
            }
            let rest = Rest {
                from: file.len(),
                tag: tag.clone(),
            };
            let (mut told, mut is_over, mut is_joined) = (rest.from, false, rest.from > 0);
            let mut sink = |part: Part<'_>| match part {
                // The server begins at the beginning.
                Part::Whole(given) => {
                    (tag, is_joined) = (given, false);
                    file.truncate(0).map_err(|error| error.to_string())
                }
                Part::Length(length) => {
                    is_over = length > limit.saturating_sub(file.len());
                    if is_over { Err(String::new()) } else { Ok(()) }
                }
                Part::Bytes(bytes) => {
                    if bytes.len() as u64 > limit.saturating_sub(file.len()) {
                        is_over = true;
                        return Err(String::new());
                    }
                    file.append(bytes).map_err(|error| error.to_string())?;
                    if file.len() >= told + STEP {
                        told = file.len();
                        console::error(&format!("{} KiB have come", told / 1024));
                    }
                    Ok(())
                }
            };
            let got = self.get(url, &rest, &mut sink);
            file.sync()?;
            last = match got {
                Ok(200 | 206) => return Ok(is_joined),
                // There is nothing behind what is here: it is all there, or something else.
                Ok(416) => return Ok(is_joined),
                Ok(status @ (429 | 500..)) => format!("the server says {status}"),
                Ok(status) => return Err(failed(url, format!("the server says {status}"))),
                Err(_) if is_over => {
                    return Err(UpgradeError::TooLarge {
                        url: url.to_string(),
                        limit,
                    });
                }
                Err(why) => why,
            };
        }
        Err(failed(url, last))
    }

    /// The status, after redirects; the rest of a body goes to `sink`. The error is a sentence.
    fn get(
        &self,
        url: &Url,
        rest: &Rest,
        sink: &mut dyn FnMut(Part<'_>) -> Result<(), String>,
    ) -> Result<u16, String> {
        let mut url = url.clone();
        for _ in 0..REDIRECTS {
            match self.once(&url, rest, sink)? {
                Answer::Status(status) => return Ok(status),
                Answer::Elsewhere(next) => url = next,
            }
        }
        Err("it leads from one place to the next without end".to_owned())
    }

    fn once(
        &self,
        url: &Url,
        rest: &Rest,
        sink: &mut dyn FnMut(Part<'_>) -> Result<(), String>,
    ) -> Result<Answer, String> {
        let Rest { from, tag } = rest;
        let until = Instant::now() + PATIENCE;
        let reached = smol::block_on(self.way.connect(&url.endpoint, &[]));
        let stream = reached.map_err(|error| error.to_string())?.stream;
        let socket = https::blocking(stream).map_err(|error| cause::of(&error))?;
        let name = tls::server_name(&url.endpoint.host).map_err(|error| error.to_string())?;
        let connector = Pinned::new(self.tls.clone(), name, Box::new(()), socket, until);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .https_only(true)
            .max_idle_connections(0)
            .timeout_global(Some(PATIENCE))
            .build();
        let agent = Agent::with_parts(config, connector, Nowhere);
        let mut request = agent
            .get(url.to_string())
            .header("Accept-Encoding", "identity");
        if *from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
            if let Some(tag) = tag {
                request = request.header("If-Range", tag);
            }
        }
        let mut response = request.call().map_err(|error| sentence(error, url))?;
        let status = response.status().as_u16();
        let header = |name| response.headers().get(name).map(HeaderValue::as_bytes);
        if let (301 | 302 | 303 | 307 | 308, Some(location)) = (status, header("location")) {
            let location = String::from_utf8_lossy(location);
            return Ok(Answer::Elsewhere(url.joined(&location)?));
        }
        let goes_on = header("content-range")
            .is_some_and(|range| range.starts_with(format!("bytes {from}-").as_bytes()));
        // A weak one does not speak of bytes.
        let given = header("etag").filter(|given| given.starts_with(b"\"") && given.len() < 256);
        let given = given.and_then(|given| String::from_utf8(given.to_vec()).ok());
        match status {
            200 => sink(Part::Whole(given))?,
            206 if *from > 0 && goes_on => {}
            206 => return Err("the server sends another part than was asked for".to_owned()),
            _ => return Ok(Answer::Status(status)),
        }
        if let Some(length) = response.body().content_length() {
            sink(Part::Length(length))?;
        }
        let mut body = response.body_mut().as_reader();
        let mut chunk = vec![0; CHUNK];
        loop {
            match std::io::Read::read(&mut body, &mut chunk) {
                Ok(0) => return Ok(Answer::Status(status)),
                Ok(length) => sink(Part::Bytes(&chunk[..length]))?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(cause::of(&error)),
            }
        }
    }
}

enum Answer {
    Status(u16),
    Elsewhere(Url),
}

enum Part<'a> {
    /// What comes begins at the beginning, and has this tag.
    Whole(Option<String>),
    /// So many bytes are to come.
    Length(u64),
    Bytes(&'a [u8]),
}

/// What of a file is asked for.
#[derive(Default)]
struct Rest {
    /// The first byte.
    from: u64,
    /// Of what came before, which must be of the same file.
    tag: Option<String>,
}

impl Url {
    /// None when it is no address of the web at all, but a file.
    pub fn read(text: &str) -> Option<Result<Url, UpgradeError>> {
        let (scheme, rest) = text.split_once("://")?;
        Some(match scheme.to_ascii_lowercase().as_str() {
            "https" => Url::after_scheme(rest).map_err(UpgradeError::Url),
            _ => Err(UpgradeError::Url(
                "only https:// addresses and files are taken".to_owned(),
            )),
        })
    }

    fn after_scheme(rest: &str) -> Result<Url, String> {
        let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if address.contains(['@', '?', '#']) || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("write it as https://HOST/PATH".to_owned());
        }
        Ok(Url {
            endpoint: Endpoint::parse_with_default_port(address, 443)
                .map_err(|error| error.to_string())?,
            path: if path.is_empty() { "/" } else { path }.to_owned(),
        })
    }

    /// Where a `Location` leads.
    fn joined(&self, location: &str) -> Result<Url, String> {
        match location.split_once("://") {
            Some(("https", rest)) => Url::after_scheme(rest),
            None if location.starts_with('/') && !location.starts_with("//") => Ok(Url {
                endpoint: self.endpoint.clone(),
                path: location.to_owned(),
            }),
            _ => Err(format!(
                "it leads to {location:.80}, which is no https:// address"
            )),
        }
    }

    /// The last part of the path, without a query.
    pub fn name(&self) -> &str {
        let path = self.path.split(['?', '#']).next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default()
    }

    /// Another file in the same place.
    pub fn beside(&self, name: &str) -> Url {
        let path = self.path.split(['?', '#']).next().unwrap_or_default();
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        Url {
            endpoint: self.endpoint.clone(),
            path: format!("{folder}/{name}"),
        }
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "https://{}{}", self.endpoint, self.path)
    }
}

fn failed(url: &Url, why: String) -> UpgradeError {
    UpgradeError::Download {
        url: url.to_string(),
        why,
    }
}

fn sentence(error: ureq::Error, url: &Url) -> String {
    match error {
        ureq::Error::Io(error) => match tls::tls_error(&error) {
            Some(fault) => tls::explain(fault, &url.endpoint.to_string(), None),
            None => cause::of(&error),
        },
        error => error.to_string(),
    }
}

const ATTEMPTS: usize = 5;
const REDIRECTS: usize = 6;
/// For one attempt.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Bytes.
const CHUNK: usize = 32 * 1024;
const STEP: u64 = 1 << 20;
const MAX_SMALL: usize = 64 * 1024;
const MAX_LARGE: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::read(text).unwrap().unwrap()
    }

    #[test]
    fn addresses() {
        let one = url("https://d.example/v1/kubeedge?x=1");
        assert_eq!((one.name(), one.endpoint.port), ("kubeedge", 443));
        assert_eq!(
            one.beside("SHA256SUMS").to_string(),
            "https://d.example:443/v1/SHA256SUMS"
        );
        assert_eq!(url("https://d.example").path, "/");
        assert_eq!(
            one.joined("/other").unwrap().to_string(),
            "https://d.example:443/other"
        );
        assert_eq!(one.joined("https://e.example/x").unwrap().name(), "x");
        for bad in ["http://e.example/x", "//e.example/x", "file:///etc"] {
            assert!(one.joined(bad).is_err(), "{bad}");
        }
        assert!(Url::read("/tmp/file").is_none());
        assert!(Url::read("http://d.example/x").unwrap().is_err());
        assert!(Url::read("https://u@d.example/x").unwrap().is_err());
        assert!(Url::read("https://d.example/a b").unwrap().is_err());
    }
}
