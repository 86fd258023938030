//! `edgecore --probe`: whether this executable, with the identity and the configuration that are there,
//! is let in by the cloud; nothing that runs notices it.
//!
//! A second tunnel of the same node would take the place of the first. So this goes as far as the hub's
//! answer to a request that asks for no tunnel: by then both sides have accepted each other's certificate.

use std::fmt;
use std::time::Duration;

use smol::Timer;
use smol::future::or;
use smol::io::{AsyncReadExt, AsyncWriteExt};

use super::identity::{Identity, IdentityError};
use super::settings::{Settings, SettingsError, Source};
use super::timekeeping;
use crate::config::edge::network::CloudAt;
use crate::pki::PkiError;
use crate::pki::tls::{self, Presented};
use crate::system::host::Host;
use crate::system::network::NetError;
use crate::system::{console, exit};
use crate::tunnel::websocket::secure;
use crate::tunnel::{AnyCarrier, NODE_ID_HEADER, PROJECT_ID_HEADER, TunnelError};

/// Prints what came of it; returns the exit code.
pub fn run(host: &Host, source: &Source) -> u8 {
    match probe(host, source) {
        Ok((cloud, status)) => {
            console::line(&format!(
                "{cloud} lets this device in (it answers {status})"
            ));
            exit::OK
        }
        Err(error) => {
            console::complain("edgecore", &error.to_string());
            error.code()
        }
    }
}

fn probe(host: &Host, source: &Source) -> Result<(String, u16), ProbeError> {
    let settings = Settings::load(host, source).map_err(ProbeError::Settings)?;
    let identity = Identity::load(&host.files, &settings.place, &settings.node)
        .map_err(ProbeError::Identity)?;
    timekeeping::ground(&host.clock, &identity);
    let mut last = None;
    for cloud in &settings.clouds {
        let late = async {
            Timer::after(PATIENCE).await;
            Err(ProbeError::Tunnel(TunnelError::TimedOut("the probe")))
        };
        match smol::block_on(or(ask(host, &settings, &identity, cloud), late)) {
            Ok(status) => return Ok((cloud.hub.to_string(), status)),
            Err(error) => last = Some(error),
        }
    }
    // There is at least one cloud.
    Err(last.unwrap_or(ProbeError::Tunnel(TunnelError::TimedOut("the probe"))))
}

async fn ask(
    host: &Host,
    settings: &Settings,
    identity: &Identity,
    cloud: &CloudAt,
) -> Result<u16, ProbeError> {
    let presented = Presented::default();
    let shown = Some((&identity.certificate, &identity.key));
    let config = tls::client_observed(&identity.trusted(), shown, &host.clock, &presented)
        .map_err(ProbeError::Pki)?;
    let reached = settings.way.connect(&cloud.hub, &[]).await;
    let stream = reached.map_err(ProbeError::Network)?.stream;
    let secured = secure(stream, config, &cloud.hub, &presented).await;
    let mut carrier = secured.map_err(ProbeError::Tunnel)?;
    let request = format!(
        "GET /{project}/{node}/events HTTP/1.1\r\nHost: {hub}\r\n{NODE_ID_HEADER}: {node}\r\n\
         {PROJECT_ID_HEADER}: {project}\r\nConnection: close\r\n\r\n",
        project = settings.project,
        node = settings.node,
        hub = cloud.hub
    );
    match answer(&mut carrier, request.as_bytes()).await {
        // Only who shows no good certificate, or is not wanted, gets these.
        Ok(status @ (401 | 403)) => Err(ProbeError::Denied(status)),
        Ok(status) => Ok(status),
        Err(error) => Err(ProbeError::Tunnel(TunnelError::Lost(error))),
    }
}

/// The status of the answer; with TLS 1.3 a certificate that is refused shows only here.
async fn answer(carrier: &mut AnyCarrier, request: &[u8]) -> std::io::Result<u16> {
    carrier.write_all(request).await?;
    carrier.flush().await?;
    let mut head = [0; STATUS_LINE];
    carrier.read_exact(&mut head).await?;
    status(&head).ok_or_else(|| std::io::Error::other("what answers speaks no HTTP"))
}

/// `HTTP/1.1 400`
fn status(head: &[u8; STATUS_LINE]) -> Option<u16> {
    let text = std::str::from_utf8(head).ok()?;
    text.strip_prefix("HTTP/1.")?.get(2..)?.parse().ok()
}

enum ProbeError {
    Settings(SettingsError),
    Identity(IdentityError),
    Pki(PkiError),
    Network(NetError),
    Tunnel(TunnelError),
    Denied(u16),
}

impl ProbeError {
    fn code(&self) -> u8 {
        match self {
            ProbeError::Settings(_) => exit::CONFIG,
            ProbeError::Identity(_) | ProbeError::Pki(_) => exit::FAILURE,
            ProbeError::Network(_) => exit::UNAVAILABLE,
            ProbeError::Tunnel(error) if error.is_denial() => exit::DENIED,
            ProbeError::Tunnel(_) => exit::UNAVAILABLE,
            ProbeError::Denied(_) => exit::DENIED,
        }
    }
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeError::Settings(error) => error.fmt(f),
            ProbeError::Identity(error) => error.fmt(f),
            ProbeError::Pki(error) => error.fmt(f),
            ProbeError::Network(error) => write!(f, "{error:#}"),
            ProbeError::Tunnel(error) => error.fmt(f),
            ProbeError::Denied(status) => write!(
                f,
                "the cloud does not let this device in ({status}): see its log"
            ),
        }
    }
}

/// For each cloud.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes.
const STATUS_LINE: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        assert_eq!(status(b"HTTP/1.1 400"), Some(400));
        assert_eq!(status(b"HTTP/1.0 101"), Some(101));
        for bad in [b"HTTP/2 400 x", b"SSH-2.0-drop", b"HTTP/1.1 4\xff0"] {
            assert_eq!(status(bad), None);
        }
    }
}
