//! Everything that would make a join fail later, found before anything is changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use smol::Timer;
use smol::future::or;
use smol::net::TcpStream;

use super::draft::Draft;
use super::error::JoinError;
use super::install::Installation;
use super::present::{Identity, Present};
use super::progress::Progress;
use super::wish::{HUB_PORT, Wish};
use crate::config::edge::network::CloudAt;
use crate::pki::certificate::Certificate;
use crate::pki::tls::{self, Presented};
use crate::protocol::enrollment::{CertificateApi, EnrollError, NodeCheck};
use crate::protocol::token::JoinToken;
use crate::system::clock::Timestamp;
use crate::system::facts;
use crate::system::host::Host;
use crate::system::names::Endpoint;
use crate::system::randomness;
use crate::system::root::Root;
use crate::system::way::Way;
use crate::tunnel::Guarded;

/// By what the cloud's CA is known.
pub enum Trust<'a> {
    /// The token pins it.
    Token(&'a JoinToken),
    /// The device has it since an earlier join.
    Identity(&'a Identity),
}

/// The devices' side: folders and space. Gives what is worth knowing, a sentence each.
pub fn device(
    host: &Host,
    draft: &Draft,
    installation: &Installation,
) -> Result<Vec<String>, JoinError> {
    let root = &host.root;
    let mut folders = folders(root);
    let device = &draft.device;
    let files = [&device.key, &device.certificate, &device.ca, &draft.path];
    folders.extend(
        files
            .into_iter()
            .filter_map(|path| path.parent())
            .map(Path::to_owned),
    );
    folders.extend(installation.folder_to_write().map(Path::to_owned));
    for folder in &folders {
        facts::check_writable(folder).map_err(|source| JoinError::ReadOnly {
            path: folder.clone(),
            source,
        })?;
    }
    let state = device.key.parent().unwrap_or(Path::new("/"));
    let mut needs = vec![(state, STATE_SPACE)];
    if let Some(folder) = installation.folder_to_write() {
        needs.push((folder, installation.size + STATE_SPACE));
    }
    for (path, needed) in needs {
        let free = facts::free_space(path).unwrap_or(u64::MAX);
        if free < needed {
            let path = path.to_owned();
            return Err(JoinError::Space { path, needed, free });
        }
    }
    let mut notes = Vec::new();
    if facts::is_tmpfs(state) {
        notes.push(format!(
            "{} is in memory only: the certificate is gone after the next boot",
            state.display()
        ));
    }
    Ok(notes)
}

/// Where the certificate API is, if the hub's port serves it as well. Only a port that is none of
/// KubeEdge's own is worth the question.
pub fn one_port(host: &Host, wish: &Wish, draft: &Draft) -> Option<Endpoint> {
    if wish.certport.is_some() || wish.hub.port == HUB_PORT {
        return None;
    }
    let asked = api_at(host, draft, &wish.hub);
    asked.answers().then(|| wish.hub.clone())
}

/// Waits until the system has randomness: without it no connection comes about, and the cloud would
/// seem not to answer.
pub fn randomness(wish: &Wish, progress: &Progress) -> Result<(), JoinError> {
    let lacking = || progress.tell("the system has no randomness yet: waiting for it");
    let there = async {
        randomness::wait(lacking).await;
        Ok(())
    };
    let late = async {
        Timer::after(wish.timeout).await;
        Err(JoinError::NoRandomness(wish.timeout))
    };
    smol::block_on(or(there, late))
}

/// The cloud's side: the ports, its CA, its certificates, the node's name. Of several places one
/// must be as it should be; gives what is wrong with the others.
pub fn cloud(
    host: &Host,
    wish: &Wish,
    draft: &Draft,
    present: &Present,
    trust: &Trust<'_>,
) -> Result<Vec<String>, JoinError> {
    let (mut notes, mut good, mut failed) = (Vec::new(), false, None::<JoinError>);
    for at in &draft.clouds {
        match one_cloud(host, wish, draft, present, trust, at) {
            Ok(found) => {
                notes.extend(found);
                good = true;
            }
            // Every place of the cloud says the same of the name.
            Err(error @ JoinError::NameTaken { .. }) => return Err(error),
            Err(error) => {
                notes.push(format!("{} is of no use now: {error}", at.hub));
                // One that only wants to be asked later is worth more than one that is broken.
                failed = match failed {
                    Some(first) if error.wait().is_none() || first.wait().is_some() => Some(first),
                    _ => Some(error),
                };
            }
        }
    }
    match failed {
        Some(error) if !good => Err(error),
        _ => Ok(notes),
    }
}

fn api_at(host: &Host, draft: &Draft, endpoint: &Endpoint) -> CertificateApi {
    CertificateApi {
        endpoint: endpoint.clone(),
        way: draft.way.clone(),
        known: Vec::new(),
        deadline: ANSWER,
        clock: host.clock.clone(),
    }
}

fn one_cloud(
    host: &Host,
    wish: &Wish,
    draft: &Draft,
    present: &Present,
    trust: &Trust<'_>,
    CloudAt { hub, api }: &CloudAt,
) -> Result<Vec<String>, JoinError> {
    let api = api_at(host, draft, api);
    let ca = trust.ca(&api)?;
    host.clock.ground(ca.not_before(), trust.until());
    let tunnel = smol::block_on(reach("the hub", hub, &draft.way))?;
    // This brings the cloud's time, if the clock here is wrong.
    let mut notes = name(wish, draft, present, &api, &ca)?;
    let presented = Presented::default();
    let trusted = std::slice::from_ref(&ca);
    let config = tls::client_observed(trusted, None, &host.clock, &presented)?;
    smol::block_on(shake_hands(tunnel, config, hub, &presented))?;
    if let Some(shown) = host.clock.shows_wrongly() {
        notes.push(format!(
            "the clock here says {shown} and the cloud's {}: certificates are judged by the cloud's, \
             see which is wrong and set it",
            host.clock.now()
        ));
    }
    Ok(notes)
}

/// Where the token, or the certificate, is over by the clock here, asks the cloud for the time. That it
/// gives none shows later.
pub fn time(host: &Host, draft: &Draft, trust: &Trust<'_>) {
    host.clock.ground(Timestamp::from_unix(0), trust.until());
    if !host.clock.is_in_doubt() {
        return;
    }
    let asked = |cloud: &CloudAt| {
        let api = api_at(host, draft, &cloud.api);
        let ca = trust.ca(&api)?;
        host.clock.ground(ca.not_before(), trust.until());
        Ok::<_, JoinError>(api.ask_time(&ca)?)
    };
    for cloud in &draft.clouds {
        match asked(cloud) {
            Ok(_) => return,
            Err(error) => log::info!("the cloud was asked what time it is: {error}"),
        }
    }
}

impl Trust<'_> {
    fn ca(&self, api: &CertificateApi) -> Result<Certificate, JoinError> {
        Ok(match self {
            Trust::Token(token) => api.fetch_ca(token)?,
            Trust::Identity(identity) => identity.ca.clone(),
        })
    }

    /// A clock that shows a later time may be wrong.
    fn until(&self) -> Option<Timestamp> {
        match self {
            Trust::Token(token) => token.expires(),
            Trust::Identity(identity) => Some(identity.certificate.not_after()),
        }
    }
}

/// Whether another key holds the node's name, as far as the cloud tells.
fn name(
    wish: &Wish,
    draft: &Draft,
    present: &Present,
    api: &CertificateApi,
    ca: &Certificate,
) -> Result<Vec<String>, JoinError> {
    let node = &draft.device.node;
    let own = present.identity.as_ref().filter(|identity| {
        let name = identity.certificate.subject().node_name();
        name.as_ref() == Some(node) && identity.trusts(&ca.hash())
    });
    let shown = own.map(|own| (&own.certificate, &own.key));
    let endpoint = api.endpoint.clone();
    match api.check_node(std::slice::from_ref(ca), shown, node)? {
        NodeCheck::Free => Ok(Vec::new()),
        NodeCheck::Unknown => Ok(vec![format!(
            "the cloud is too old to tell whether another device is called {node}"
        )]),
        // Upstream's cloud says so of every node it knows, this one included.
        NodeCheck::Taken if own.is_some() => Ok(Vec::new()),
        // The cloud may have signed a certificate that never arrived here.
        NodeCheck::Taken if present.resumed => Ok(vec![format!(
            "the cloud knows {node} already, as this device has begun to join before"
        )]),
        NodeCheck::Taken if wish.force => Ok(vec![format!(
            "another device was called {node}: this one takes its place"
        )]),
        NodeCheck::Taken => Err(JoinError::NameTaken {
            node: node.clone(),
            endpoint,
        }),
    }
}

pub async fn reach(
    what: &'static str,
    endpoint: &Endpoint,
    way: &Way,
) -> Result<TcpStream, JoinError> {
    let reached = way.connect(endpoint, &[]).await;
    let reached = reached.map_err(|source| JoinError::Unreachable {
        what,
        endpoint: endpoint.clone(),
        source,
    })?;
    Ok(reached.stream)
}

/// Judges the hub's certificate. No certificate is shown: that the hub then refuses is as it
/// should be.
pub async fn shake_hands(
    stream: TcpStream,
    config: Arc<ClientConfig>,
    endpoint: &Endpoint,
    presented: &Presented,
) -> Result<(), JoinError> {
    let name = tls::server_name(&endpoint.host)?;
    let handshake = async {
        let connector = futures_rustls::TlsConnector::from(config);
        let stream = Guarded::open(stream);
        Some(connector.connect(name, stream).into_fallible().await)
    };
    let late = async {
        Timer::after(ANSWER).await;
        None
    };
    let failed = |cause: String| JoinError::Hub {
        endpoint: endpoint.clone(),
        cause,
    };
    match or(handshake, late).await {
        Some(Ok(_)) => Ok(()),
        Some(Err((error, stream))) => match (stream.portal(endpoint), tls::tls_error(&error)) {
            (Some(portal), _) => Err(JoinError::Api(EnrollError::Portal {
                endpoint: endpoint.clone(),
                portal,
            })),
            (_, Some(rustls::Error::AlertReceived(_))) => Ok(()),
            (_, Some(fault)) => {
                let (shown, dialled) = (presented.certificate(), endpoint.to_string());
                // The certificate API was asked before, and has the right CA.
                Err(failed(match tls::is_unknown_issuer(fault) {
                    true => tls::terminated(&dialled, shown.as_ref()),
                    false => tls::explain(fault, &dialled, shown.as_ref()),
                }))
            }
            (_, None) => Err(failed(format!(
                "{error}: check that it is the hub's port, and what stands in between"
            ))),
        },
        None => Err(failed(format!(
            "no answer within {} s: check what listens there",
            ANSWER.as_secs()
        ))),
    }
}

/// What join writes to besides the places that the configuration names.
pub fn folders(root: &Root) -> Vec<PathBuf> {
    let own = ["/etc/kubeedge", "/run/kubeedge"].map(|folder| root.at(folder));
    own.into_iter().chain(of_var(root)).collect()
}

/// Those below `/var`, unless that is read-only: edgecore does without them then.
pub fn of_var(root: &Root) -> impl Iterator<Item = PathBuf> {
    let folders = ["/var/lib/kubeedge", "/var/log/kubeedge"].map(|folder| root.at(folder));
    let is_there = |folder: &PathBuf| !facts::is_read_only(folder);
    folders.into_iter().filter(is_there)
}

/// Bytes: certificates, configuration, and some room for the temporary files of both.
pub const STATE_SPACE: u64 = 256 * 1024;
/// For each question to the cloud.
pub const ANSWER: Duration = Duration::from_secs(15);
