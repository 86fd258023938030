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
use smol::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use smol::net::unix::{UnixListener, UnixStream};

use super::cloud::Cloud;
use super::nodes;
use super::outbox::Ending;
use super::registry::Row;
use super::rotation;
use super::tokens;
use crate::authority;
use crate::protocol::control::{
    CertificateFacts, CloudOp, CloudStatus, HubSession, MAX_BODY, MAX_LINE, MAX_REVOKED, Reply,
    Request, RevokedNode, VERSION,
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
    let Some(op) = CloudOp::named(&request.op) else {
        let unknown = Reply::refused(format!("unknown request {:?}", request.op));
        return send(&mut stream, &unknown).await;
    };
    carry_out(cloud, op, &request, &mut reader, &mut stream).await
}

/// Does what is asked and answers; a body that belongs to it is still to be read.
async fn carry_out(
    cloud: &Arc<Cloud>,
    op: CloudOp,
    request: &Request,
    reader: &mut (impl AsyncRead + Unpin),
    stream: &mut UnixStream,
) -> io::Result<()> {
    // Without an arm for the rest: a new operation must not be taken for one that is here.
    let done = match op {
        CloudOp::AddSan => return send(stream, &add_names(cloud, &request.names).await).await,
        CloudOp::GetToken | CloudOp::TokenCreate => {
            return send(stream, &tokens::create(cloud, request).await).await;
        }
        CloudOp::TokenDelete => return send(stream, &tokens::delete(cloud, request).await).await,
        CloudOp::TokenList => return send_all(stream, tokens::list(cloud).await).await,
        CloudOp::CaRotate => return send(stream, &rotation::order(cloud, request).await).await,
        CloudOp::CaStatus => return send(stream, &rotation::report(cloud).await).await,
        CloudOp::Revocations => return answer_all(stream, revocations(cloud).await).await,
        CloudOp::Revoke => return answer_all(stream, revoke(cloud, &request.names).await).await,
        CloudOp::Sessions => return send_all(stream, sessions(cloud, &request.names)).await,
        CloudOp::Status => return send(stream, &status(cloud).await).await,
        CloudOp::Nodes => return send_all(stream, nodes::rows(cloud)).await,
        CloudOp::ObjectGet => return objects::get(cloud, request, stream).await,
        CloudOp::ObjectApply => match body(request, reader).await? {
            Some(body) => objects::apply(cloud, request, &body).await,
            None => Err(format!("an object has at most {MAX_BODY} bytes of JSON")),
        },
        CloudOp::ObjectDelete => objects::delete(cloud, request).await,
        CloudOp::NodeDelete => objects::delete_node(cloud, request).await,
        CloudOp::NodeLabel => objects::label(cloud, request).await,
        CloudOp::Jobs => match cloud.nodes.jobs.store() {
            Ok(_) => return jobs::show(cloud, request, stream).await,
            Err(elsewhere) => Err(elsewhere.to_owned()),
        },
        CloudOp::JobCreate => match body(request, reader).await? {
            Some(body) => jobs::create(cloud, request, &body).await,
            None => Err("a job comes with its body".to_owned()),
        },
        CloudOp::JobResume => jobs::resume(cloud, request).await,
        CloudOp::JobCancel => jobs::cancel(cloud, request).await,
    };
    let reply = match done {
        Ok(message) => Reply::done(message),
        Err(error) => Reply::refused(error),
    };
    send(stream, &reply).await
}

/// What follows the line; `None` when there is none, or too much.
async fn body(
    request: &Request,
    reader: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<Vec<u8>>> {
    let Some(length) = request.body.filter(|length| *length <= MAX_BODY) else {
        return Ok(None);
    };
    // Not made for a length that is only claimed.
    let mut body = Vec::new();
    in_time(reader.take(length).read_to_end(&mut body)).await?;
    Ok(Some(body))
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
        Ok(lines) => send_all(stream, lines).await,
        Err(error) => send(stream, &Reply::refused(error)).await,
    }
}

async fn send_all<T: Serialize>(stream: &mut UnixStream, lines: Vec<T>) -> io::Result<()> {
    for line in lines {
        send(stream, &line).await?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloudcore::testing::Stage;
    use crate::system::scratch::Scratch;

    #[test]
    fn a_word_that_nobody_knows_is_refused_and_does_nothing() {
        let folder = Scratch::new();
        let stage = Stage::open(&folder, "serving");
        let peer = stage.connect("edge-1");
        for word in ["node-remove", "job-drop", "ca-undo", "Node-delete", ""] {
            let request = Request {
                op: word.to_owned(),
                name: Some("edge-1".to_owned()),
                ..Request::new(CloudOp::Status)
            };
            let said = smol::block_on(async {
                let (mut ours, theirs) = UnixStream::pair().unwrap();
                let mut line = serde_json::to_vec(&request).unwrap();
                line.push(b'\n');
                ours.write_all(&line).await.unwrap();
                answer(&stage.cloud, theirs).await.unwrap();
                let mut said = String::new();
                ours.read_to_string(&mut said).await.unwrap();
                said
            });
            let reply: Reply = serde_json::from_str(&said).unwrap();
            assert_eq!(reply.error, Some(format!("unknown request {word:?}")));
        }
        assert_eq!(stage.cloud.registry.sessions(), 1);
        drop(peer);
    }
}
