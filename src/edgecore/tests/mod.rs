//! edgecore in this process: recorded bytes in both directions, and power cuts.

mod clocks;
mod compare;
mod cuts;
mod life;
pub(super) mod recorded;
mod replay;
mod server;
mod tunnels;

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use smol::LocalExecutor;
use smol::future::or;

use super::edge::Edge;
use super::identity::{Identity, Place};
use super::settings::Settings;
use super::state::State;
use super::storage::Storage;
use crate::config::edge::network::CloudAt;
use crate::config::edge::{EdgeMeta, EdgeNode};
use crate::pki::certificate::{Certificate, Subject};
use crate::pki::issue::Issuer;
use crate::pki::key::PrivateKey;
use crate::system::clock::{Clock, Timestamp};
use crate::system::files::Files;
use crate::system::host::Host;
use crate::system::names::NodeName;
use crate::system::root::Root;
use crate::system::scratch::Scratch;
use crate::system::way::Way;

/// An edge whose cloud is at `127.0.0.1:port`, both the certificate API and the hub.
pub(super) fn edge(folder: &Scratch, node: &str, port: u16, clock: &Clock) -> Rc<Edge> {
    edge_on(Files::real(), folder, node, port, clock)
}

fn edge_on(files: Files, folder: &Scratch, node: &str, port: u16, clock: &Clock) -> Rc<Edge> {
    edge_below(files, folder.path(), node, port, clock)
}

fn edge_below(files: Files, folder: &Path, node: &str, port: u16, clock: &Clock) -> Rc<Edge> {
    let root = Root::new(Some(folder.to_owned()));
    let at = |path: &str| root.at(path);
    let place = Place {
        key: at("/certs/server.key"),
        certificate: at("/certs/server.crt"),
        ca: at("/ca/rootCA.crt"),
    };
    let endpoint: crate::system::names::Endpoint = format!("127.0.0.1:{port}").parse().unwrap();
    let settings = Settings {
        node: node.parse().unwrap(),
        quic: None,
        clouds: vec![CloudAt {
            hub: endpoint.clone(),
            api: endpoint,
        }],
        edged: EdgeNode {
            enable: false,
            ..EdgeNode::default()
        },
        way: Way::default(),
        project: "e632aba927ea4ac2b575ec1603d56f10".to_owned(),
        heartbeat: Duration::from_secs(15),
        keepalive: Duration::from_secs(30),
        handshake_deadline: Duration::from_secs(30),
        write_deadline: Duration::from_secs(15),
        rotate: true,
        place,
        sandbox: false,
        config: at("/edgecore.yaml"),
        bootstrap: at("/bootstrap"),
        state: Storage {
            folder: at("/state"),
            limit: None,
        },
        meta: EdgeMeta::default(),
        jobs: true,
        credentials: at("/proxy-credentials"),
    };
    let host = Host {
        root,
        files,
        clock: clock.clone(),
    };
    let state = State::new(clock, node, "cloud", None, Vec::new());
    Rc::new(Edge::new(
        host,
        settings,
        state,
        Rc::new(LocalExecutor::new()),
    ))
}

/// Runs the edge's work to its end, which must come soon.
pub(super) fn run<T>(edge: &Edge, work: impl Future<Output = T>) -> T {
    let late = async {
        smol::Timer::after(Duration::from_secs(60)).await;
        panic!("this takes too long");
    };
    let executor = edge.executor.clone();
    smol::block_on(executor.run(or(work, late)))
}

/// A fresh identity by this CA.
fn identity(ca: &(Certificate, PrivateKey), node: &NodeName, from: Timestamp) -> Identity {
    let key = PrivateKey::generate().unwrap();
    let certificate = issue(ca, key.spki(), &Subject::node(node), from);
    Identity {
        key,
        certificate,
        ca: ca.0.clone(),
        also: Vec::new(),
    }
}

fn issue(
    ca: &(Certificate, PrivateKey),
    spki: &[u8],
    subject: &Subject,
    from: Timestamp,
) -> Certificate {
    let key = PrivateKey::from_der(ca.1.sec1_der()).unwrap();
    let issuer = Issuer::new(ca.0.clone(), key).unwrap();
    let until = from.plus(Duration::from_secs(365 * 86_400));
    issuer.client(spki, subject, from, until).unwrap()
}
