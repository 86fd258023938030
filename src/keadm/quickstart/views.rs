//! The two sides of a tour: where each lives, and what each says of the tunnel.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::protocol::control::{
    self, CLOUD_SOCKET, Client, CloudOp, CloudStatus, ControlError, EDGE_STATUS_SOCKET, EdgeOp,
    EdgeStatus, HubSession, NodeRow, Reply, Request,
};
use crate::system::host::Host;
use crate::system::root::Root;

/// A machine of the tour: a root prefix of its own.
#[derive(Clone)]
pub struct Side {
    pub host: Host,
    pub root: PathBuf,
}

impl Side {
    pub fn new(host: &Host, folder: &Path, name: &str) -> Side {
        let root = folder.join(name);
        let host = Host {
            root: Root::new(Some(root.clone())),
            ..host.clone()
        };
        Side { host, root }
    }
}

/// What the edge says of itself.
pub fn edge(side: &Side) -> Result<EdgeStatus, Silence> {
    let socket = side.host.root.at(EDGE_STATUS_SOCKET);
    let answer = control::call(&socket, &Request::new(EdgeOp::Status), PATIENCE);
    answer.map_err(Silence::of("edgecore"))
}

/// What the cloud says of itself.
pub fn cloud(side: &Side) -> Result<CloudStatus, Silence> {
    let socket = side.host.root.at(CLOUD_SOCKET);
    let answer = control::call(&socket, &Request::new(CloudOp::Status), PATIENCE);
    answer.map_err(Silence::of("cloudcore"))
}

/// The session of a node, as the cloud's registry has it.
pub fn session(side: &Side, node: &str) -> Result<Option<HubSession>, Silence> {
    let mut request = Request::new(CloudOp::Sessions);
    request.names = vec![node.to_owned()];
    let asked = Client::ask(&side.host.root.at(CLOUD_SOCKET), &request, PATIENCE);
    let answer = asked.and_then(|mut client| client.line());
    answer.map_err(Silence::of("cloudcore"))
}

/// A node, as the cloud has it.
pub fn node(side: &Side, node: &str) -> Result<Option<NodeRow>, Silence> {
    let silence = || Silence::of("cloudcore");
    let asked = Client::ask(
        &side.host.root.at(CLOUD_SOCKET),
        &Request::new(CloudOp::Nodes),
        PATIENCE,
    );
    let mut client = asked.map_err(silence())?;
    while let Some(row) = client.line::<NodeRow>().map_err(silence())? {
        if row.node == node {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

/// Has the cloud hand an object to a node.
pub fn apply(side: &Side, object: &Value, node: &str) -> Result<Reply, Silence> {
    let request = Request {
        names: vec![node.to_owned()],
        ..Request::new(CloudOp::ObjectApply)
    };
    let body = object.to_string();
    let socket = side.host.root.at(CLOUD_SOCKET);
    let asked = Client::ask_with(&socket, &request, body.as_bytes(), PATIENCE);
    let answer = asked.and_then(|mut client| client.line());
    let silent = || ControlError::Io(std::io::ErrorKind::TimedOut.into());
    let answer = answer.and_then(|reply| reply.ok_or_else(silent));
    answer.map_err(Silence::of("cloudcore"))
}

/// Who gave no answer, and why.
#[derive(Debug)]
pub struct Silence {
    who: &'static str,
    why: ControlError,
}

impl Silence {
    fn of(who: &'static str) -> impl FnOnce(ControlError) -> Silence {
        move |why| Silence { who, why }
    }

    /// Nobody is there to answer.
    pub fn is_of_the_dead(&self) -> bool {
        matches!(self.why, ControlError::NotRunning)
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            ControlError::NotRunning => write!(f, "{} does not run", self.who),
            why => write!(f, "{} gives no answer: {why}", self.who),
        }
    }
}

impl std::error::Error for Silence {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.why)
    }
}

const PATIENCE: Duration = Duration::from_secs(3);
