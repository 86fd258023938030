//! What an operator says to a running cloudcore: the admin socket.

mod jobs;
mod objects;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use log::warn;
use serde::Serialize;
use smol::Timer;
use smol::future::or;
use smol::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use smol::net::unix::{UnixListener, UnixStream};

use super::cloud::Cloud;
use super::outbox::Ending;
use super::registry::Row;
use super::rotation;
use super::tokens;
use crate::authority;
use crate::protocol::control::{
    CertificateFacts, CloudStatus, HubSession, MAX_LINE, MAX_REVOKED, Reply, Request, RevokedNode,
    VERSION,
};
use crate::system::cause;
use crate::system::files::{FileError, Files};
use crate::system::names::{NameError, NodeName};
use crate::system::processes::Peer;
use crate::system::socket;

/// The socket, bound; gone from the file system when dropped.
pub struct AdminSocket {
    listener: std::os::unix::net::UnixListener,
    files: Files,
    path: PathBuf,
}

impl AdminSocket {
    /// Only for who holds the store's lock: a stale socket is removed.
    pub fn bind(files: &Files, path: &Path) -> Result<AdminSocket, FileError> {
        let listener = socket::listen(files, path, 0o600)?;
        Ok(AdminSocket {
            listener,
            files: files.clone(),
            path: path.to_owned(),
        })
    }

    /// Answers until cloudcore stops.
    pub async fn serve(self, cloud: Arc<Cloud>) {
        let listener = self.listener.try_clone().and_then(UnixListener::try_from);
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => return warn!("no orders can be taken: {}", cause::of(&error)),
        };
        let places = Arc::new(());
        loop {
            let accepted = or(async { Some(listener.accept().await) }, async {
                cloud.stop.wait().await;
                None
            });
            let stream = match accepted.await {
                None => return,
                Some(Ok((stream, _))) => stream,
                Some(Err(error)) => {
                    warn!("cannot accept on the admin socket: {}", cause::of(&error));
                    Timer::after(PAUSE).await;
                    continue;
                }
            };
            // A client beyond the bound is simply closed: it is local and may ask again.
            if Arc::strong_count(&places) > MAX_CLIENTS {
                continue;
            }
            let (shared, place) = (cloud.clone(), places.clone());
            cloud.spawn(async move {
                // A client that goes away early needs no answer.
                let _ = answer(&shared, stream).await;
                drop(place);
            });
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // Who comes next removes it otherwise.
        let _ = self.files.remove(&self.path);
    }
}

async fn answer(cloud: &Arc<Cloud>, mut stream: UnixStream) -> io::Result<()> {
    if !Peer::of(&stream).is_ok_and(|peer| peer.may_command_us()) {
        let denied = Reply::refused("only root and cloudcore's own user may give it orders");
        return send(&mut stream, &denied).await;
    }
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(512, stream.clone());
    in_time((&mut reader).take(MAX_LINE).read_line(&mut line)).await?;
    let request: Request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(error) => {
            let reply = Reply::refused(format!("not a request: {}", cause::of_json(&error)));
            return send(&mut stream, &reply).await;
        }
    };
    match request.op.as_str() {
        op if objects::OPERATIONS.contains(&op) => {
            objects::answer(cloud, &request, &mut reader, &mut stream).await
        }
        op if jobs::OPERATIONS.contains(&op) => {
            jobs::answer(cloud, &request, &mut reader, &mut stream).await
        }
        "add-san" => send(&mut stream, &add_names(cloud, &request.names).await).await,
        "gettoken" | "token-create" => {
            send(&mut stream, &tokens::create(cloud, &request).await).await
        }
        "token-delete" => send(&mut stream, &tokens::delete(cloud, &request).await).await,
        "token-list" => {
            for line in tokens::list(cloud).await {
                send(&mut stream, &line).await?;
            }
            Ok(())
        }
        "ca-rotate" => send(&mut stream, &rotation::order(cloud, &request).await).await,
        "ca-status" => send(&mut stream, &rotation::report(cloud).await).await,
        "revocations" => answer_all(&mut stream, revocations(cloud).await).await,
        "revoke" => answer_all(&mut stream, revoke(cloud, &request.names).await).await,
        "sessions" => {
            for session in sessions(cloud, &request.names) {
                send(&mut stream, &session).await?;
            }
            Ok(())
        }
        "status" => send(&mut stream, &status(cloud).await).await,
        other => {
            send(
                &mut stream,
                &Reply::refused(format!("unknown request {other:?}")),
            )
            .await
        }
    }
}

/// What of an order for more names its command sees by itself.
pub fn amiss(names: &[String]) -> Option<String> {
    let fits = (1..=MAX_NAMES).contains(&names.len());
    (!fits).then(|| format!("give between one and {MAX_NAMES} names or addresses"))
}

async fn add_names(cloud: &Cloud, names: &[String]) -> Reply {
    if let Some(sentence) = amiss(names) {
        return Reply::refused(sentence);
    }
    if let Some(name) = authority::Names::unfit(names) {
        return Reply::refused(format!("{name:?} is no address and no DNS name"));
    }
    let stay = "put what shall stay into advertiseAddress or dnsNames of cloudcore.yaml";
    match cloud.authority.add_names(names).await {
        Ok(true) => Reply::done(format!("the serving certificate is made anew; {stay}")),
        Ok(false) => Reply::done("the serving certificate has these names already"),
        Err(error) => Reply::refused(error.to_string()),
    }
}

/// Revokes the keys of the nodes that are named, and ends their sessions.
async fn revoke(cloud: &Cloud, names: &[String]) -> Result<Vec<RevokedNode>, String> {
    if names.is_empty() || names.len() > MAX_REVOKED {
        return Err(format!("name between one and {MAX_REVOKED} nodes"));
    }
    let nodes: Result<Vec<NodeName>, _> = names.iter().map(|name| name.parse()).collect();
    let nodes = nodes.map_err(|error: NameError| error.to_string())?;
    let (store, now) = (cloud.authority.store(), cloud.clock.now());
    let revoked = authority::revoke(&**store, &nodes, now).await;
    let revoked = revoked.map_err(|error| error.to_string())?;
    let line = |revoked: authority::Revoked| {
        let session_ended = cloud.registry.end(&revoked.node, Ending::Revoked);
        if !revoked.already {
            cloud.metrics.keys_revoked.add();
            warn!("the keys of node {} are revoked", revoked.node);
        }
        RevokedNode {
            known: revoked.known,
            already: revoked.already,
            session_ended,
            ..RevokedNode::new(&revoked.node, revoked.at)
        }
    };
    Ok(revoked.into_iter().map(line).collect())
}

async fn revocations(cloud: &Cloud) -> Result<Vec<RevokedNode>, String> {
    let all = authority::revocations(&**cloud.authority.store()).await;
    let all = all.map_err(|error| error.to_string())?;
    let line = |revocation: authority::Revocation| RevokedNode {
        enrolled_since: revocation.enrolled_since,
        ..RevokedNode::new(&revocation.node, revocation.at)
    };
    Ok(all.into_iter().map(line).collect())
}

/// Of the nodes that are named, or of all.
fn sessions(cloud: &Cloud, names: &[String]) -> Vec<HubSession> {
    let nodes: Vec<NodeName> = names.iter().filter_map(|name| name.parse().ok()).collect();
    if nodes.is_empty() && !names.is_empty() {
        return Vec::new();
    }
    cloud
        .registry
        .rows(&nodes)
        .into_iter()
        .map(session)
        .collect()
}

fn session(row: Row) -> HubSession {
    let millis = |gap: Duration| u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
    HubSession {
        v: VERSION,
        node: row.node.to_string(),
        generation: row.generation,
        since: row.facts.since,
        peer: row.facts.at().to_string(),
        tunnel: row.facts.transport,
        serial: row.facts.serial,
        last_gap_ms: row.last_gap.map(millis),
    }
}

async fn status(cloud: &Cloud) -> CloudStatus {
    let ca = cloud.authority.ca();
    let serving = cloud.authority.serving_certificate();
    let names = serving.dns_names().iter().cloned();
    let (issued, refused) = cloud.metrics.certificates();
    CloudStatus {
        v: VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        since: cloud.started,
        sessions: cloud.registry.sessions(),
        node_limit: cloud.registry.limit(),
        known_nodes: cloud
            .authority
            .store()
            .nodes()
            .await
            .map_or(0, |nodes| nodes.len()),
        certificates_issued: issued,
        certificates_refused: refused,
        connections: cloud.descriptors.used(),
        connection_limit: cloud.descriptors.limit(),
        ca_hash: ca.hash().to_string(),
        ca_not_after: ca.not_after(),
        serving: CertificateFacts {
            serial: serving.serial(),
            not_before: serving.not_before(),
            not_after: serving.not_after(),
            ca_hash: ca.hash().to_string(),
        },
        serving_names: names
            .chain(serving.ip_addresses().iter().map(ToString::to_string))
            .collect(),
        sandbox: cloud.confinement.clone(),
        stopping: cloud.stop.is_asked(),
    }
}

/// A line for each, or one with an error.
async fn answer_all(
    stream: &mut UnixStream,
    lines: Result<Vec<RevokedNode>, String>,
) -> io::Result<()> {
    match lines {
        Ok(lines) => {
            for line in lines {
                send(stream, &line).await?;
            }
            Ok(())
        }
        Err(error) => send(stream, &Reply::refused(error)).await,
    }
}

async fn send(stream: &mut UnixStream, reply: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    in_time(stream.write_all(&line)).await
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    or(work, async {
        Timer::after(PATIENCE).await;
        Err(io::ErrorKind::TimedOut.into())
    })
    .await
}

const MAX_CLIENTS: usize = 16;
const MAX_NAMES: usize = 50;
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);
