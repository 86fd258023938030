//! A cloudcore on loopback, below a folder of its own.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kubeedge::pki::certificate::Certificate;
use kubeedge::protocol::control::{
    self, CLOUD_SOCKET, Client, CloudOp, HubSession, Reply, Request,
};
use kubeedge::protocol::enrollment::CertificateApi;
use kubeedge::protocol::token::JoinToken;
use kubeedge::system::clock::Clock;
use kubeedge::system::names::Endpoint;

use super::process::Process;
use super::{Folder, ONE_HEAP, until, write};

/// What cloudcore writes into its ports file.
#[derive(serde::Deserialize)]
pub struct Ports {
    pub https: u16,
    pub hub: u16,
}

pub struct Cloud {
    pub folder: Folder,
    pub ports: Ports,
    process: Process,
}

impl Cloud {
    pub fn start(executable: &Path) -> Cloud {
        Cloud::start_with(executable, "")
    }

    /// With a cloudcore.yaml of which all that is not named has its default.
    pub fn start_with(executable: &Path, config: &str) -> Cloud {
        let folder = Folder::new();
        write(&folder.at("/etc/kubeedge/config/cloudcore.yaml"), config);
        let (process, ports) = start(executable, &folder, ["0", "0"]);
        Cloud {
            folder,
            ports,
            process,
        }
    }

    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// The same cloud again, on the same ports.
    pub fn start_again(&mut self, executable: &Path) {
        let ports = [self.ports.https, self.ports.hub].map(|port| port.to_string());
        (self.process, self.ports) =
            start(executable, &self.folder, ports.each_ref().map(|it| &**it));
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// A fresh join token, and the CA that it pins.
    pub fn token(&self) -> (JoinToken, Certificate) {
        let socket = self.folder.at(CLOUD_SOCKET);
        let reply: Reply = control::call(&socket, &Request::new(CloudOp::GetToken), PATIENCE)
            .unwrap_or_else(|error| panic!("no token: {error}"));
        let token = reply
            .token
            .unwrap_or_else(|| panic!("no token: {:?}", reply.error));
        let token: JoinToken = token.parse().expect("a token of ours is readable");
        let ca = api(self.ports.https)
            .fetch_ca(&token)
            .unwrap_or_else(|error| panic!("no CA: {error}"));
        (token, ca)
    }

    /// What cloudcore knows of the session of a node.
    pub fn session(&self, node: &str) -> Option<HubSession> {
        let request = Request {
            names: vec![node.to_owned()],
            ..Request::new(CloudOp::Sessions)
        };
        let mut client = Client::ask(&self.folder.at(CLOUD_SOCKET), &request, PATIENCE).ok()?;
        client.line().ok()?
    }
}

/// What serves certificates on this port of this machine.
pub fn api(port: u16) -> CertificateApi {
    CertificateApi {
        endpoint: local(port),
        way: kubeedge::system::way::Way::default(),
        known: Vec::new(),
        deadline: PATIENCE,
        clock: Clock::system(),
    }
}

fn start(executable: &Path, folder: &Folder, [https, hub]: [&str; 2]) -> (Process, Ports) {
    let ports_file = folder.at("ports.json");
    let _ = std::fs::remove_file(&ports_file);
    let mut command = Command::new(executable);
    command
        .env("KUBEEDGE_ROOT", folder.path())
        .env(ONE_HEAP.0, ONE_HEAP.1)
        .env_remove("KUBEEDGE_LOG");
    command.args(["cloudcore", "--listen", "127.0.0.1", "--allow-volatile-ca"]);
    command.args([
        "--https-port",
        https,
        "--hub-port",
        hub,
        "--metrics-port",
        "0",
    ]);
    command.arg("--ports-file").arg(&ports_file);
    let mut process = Process::start(&mut command, &folder.at("cloudcore.log"));
    let ports = until("cloudcore", PATIENCE, || {
        process.must_run();
        serde_json::from_slice(&std::fs::read(&ports_file).ok()?).ok()
    });
    (process, ports)
}

pub fn local(port: u16) -> Endpoint {
    format!("127.0.0.1:{port}")
        .parse()
        .expect("this is an endpoint")
}

const PATIENCE: Duration = Duration::from_secs(30);
