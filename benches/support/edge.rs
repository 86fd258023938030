//! An edgecore with a configuration and a token, below a folder of its own.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kubeedge::config::edge::EdgeConfig;
use kubeedge::protocol::control::{
    self, Client, EDGE_SOCKET, EDGE_STATUS_SOCKET, EdgeOp, EdgeStatus, Reply, Request, SessionFacts,
};
use kubeedge::protocol::token::JoinToken;

use super::process::Process;
use super::{Folder, ONE_HEAP, until, write};

pub struct Edge {
    pub folder: Folder,
    process: Process,
}

impl Edge {
    /// Configured and started; returns at once.
    pub fn start(executable: &Path, node: &str, ports: [u16; 2], token: &JoinToken) -> Edge {
        let folder = Folder::new();
        configure(&folder, node, ports, token);
        let mut command = Command::new(executable);
        command
            .arg("edgecore")
            .env("KUBEEDGE_ROOT", folder.path())
            .env(ONE_HEAP.0, ONE_HEAP.1)
            .env_remove("KUBEEDGE_LOG");
        let process = Process::start(&mut command, &folder.at("edgecore.log"));
        Edge { folder, process }
    }

    /// The process that does the work.
    pub fn hub(&self) -> u32 {
        let socket = self.folder.at(EDGE_STATUS_SOCKET);
        let status: EdgeStatus = control::call(&socket, &Request::new(EdgeOp::Status), PATIENCE)
            .unwrap_or_else(|error| panic!("no status: {error}"));
        status.hub_pid.expect("there is a supervisor")
    }

    /// Both processes: the supervisor and the hub.
    pub fn pids(&self) -> [u32; 2] {
        [self.process.pid(), self.hub()]
    }

    /// Waits for a session later than `generation`; also when it was seen.
    pub fn session_after(&mut self, generation: u64) -> (SessionFacts, Instant) {
        let socket = self.folder.at(EDGE_STATUS_SOCKET);
        let mut watch = until("edgecore", PATIENCE, || {
            self.process.must_run();
            Client::ask(&socket, &Request::new(EdgeOp::Watch), PATIENCE).ok()
        });
        loop {
            let status: EdgeStatus = match watch.line() {
                Ok(Some(status)) => status,
                other => {
                    self.process.must_run();
                    panic!("no session within {PATIENCE:?}: {other:?}");
                }
            };
            match status.session {
                Some(session) if session.generation > generation => {
                    return (session, Instant::now());
                }
                _ => {}
            }
        }
    }

    /// Has the certificate renewed; returns when that is done, not when the tunnel has moved.
    pub fn renew(&self) {
        let socket = self.folder.at(EDGE_SOCKET);
        let reply: Reply = control::call(&socket, &Request::new(EdgeOp::Renew), PATIENCE)
            .unwrap_or_else(|error| panic!("no renewal: {error}"));
        assert!(reply.error.is_none(), "no renewal: {:?}", reply.error);
    }
}

/// What keadm join would write: edgecore.yaml, and the token beside it.
pub fn configure(folder: &Folder, node: &str, [https, hub]: [u16; 2], token: &JoinToken) {
    let yaml = EdgeConfig::min_yaml(node, "127.0.0.1");
    let yaml = yaml
        .replace("127.0.0.1:10002", &format!("127.0.0.1:{https}"))
        .replace("127.0.0.1:10000", &format!("127.0.0.1:{hub}"));
    assert!(
        yaml.contains(&format!("127.0.0.1:{hub}")),
        "the ports are not the default ones"
    );
    write(&folder.at("/etc/kubeedge/config/edgecore.yaml"), &yaml);
    write(
        &folder.at("/etc/kubeedge/bootstrap-edgecore.conf"),
        &token.secret_string(),
    );
}

const PATIENCE: Duration = Duration::from_secs(60);
