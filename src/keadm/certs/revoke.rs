//! `certs revoke`: refuses all keys of a node from now on, by the running cloudcore or in its files.

use std::fmt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;
use serde_json::Value;

use crate::authority;
use crate::keadm::cluster::{Cluster, NoCluster};
use crate::keadm::out::{self, Format, Report};
use crate::keadm::{Command, Group};
use crate::protocol::control::{
    CLOUD_SOCKET, Client, CloudOp, ControlError, MAX_REVOKED, Request, RevokedNode,
};
use crate::store::file::{FileStore, Options};
use crate::store::{Store, StoreError};
use crate::system::args::{self, Spec};
use crate::system::exit;
use crate::system::host::Host;
use crate::system::names::{NameError, NodeName};

pub static COMMAND: Command = Command {
    name: "certs revoke",
    group: Group::Cloud,
    summary: "refuse all keys of a node until it joins with a token",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// whose keys
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// the nodes whose keys shall be refused
    #[argh(positional, arg_name = "node")]
    nodes: Vec<String>,
    /// show what was revoked so far, and change nothing
    #[argh(switch)]
    list: bool,
    /// the kubeconfig of the cluster that has the cloud, or in-cluster; default: this machine's cloud
    #[argh(option, arg_name = "file")]
    kube_config: Option<String>,
    /// text or json; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Format::Text")]
    output: Format,
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let format = given.flags.output;
    let there = given.flags.kube_config.as_deref();
    let outcome = match wish(&given.flags.nodes, given.flags.list) {
        Ok(None) => reach(host, there, None).map(|lines| {
            out::show(&Listed::new(lines), format);
        }),
        Ok(Some(nodes)) => reach(host, there, Some(&nodes)).map(|lines| {
            out::show(&Outcome::new(lines, there.is_some()), format);
        }),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => exit::OK,
        Err(error) => out::fail(SPEC.name, &error, given.verbosity, format, error.code()),
    }
}

/// None: the list is asked for.
fn wish(nodes: &[String], list: bool) -> Result<Option<Vec<NodeName>>, RevokeError> {
    match (nodes.len(), list) {
        (0, true) => Ok(None),
        (1..=MAX_REVOKED, false) => {
            let parsed: Result<Vec<NodeName>, _> = nodes.iter().map(|name| name.parse()).collect();
            parsed.map(Some).map_err(RevokeError::Name)
        }
        _ => Err(RevokeError::Words),
    }
}

/// Asks cloudcore; when none runs, works on its files. Or works on what is in a cluster, where all
/// cloudcores follow.
fn reach(
    host: &Host,
    kube_config: Option<&str>,
    nodes: Option<&[NodeName]>,
) -> Result<Vec<RevokedNode>, RevokeError> {
    if let Some(file) = kube_config {
        let cluster = Cluster::open(host, file).map_err(RevokeError::Cluster)?;
        cluster.snapshot()?;
        return by(cluster.store(), host, nodes);
    }
    let end = Instant::now() + PATIENCE;
    loop {
        match ask(host, nodes) {
            Err(RevokeError::Control(ControlError::NotRunning)) => {}
            outcome => return outcome,
        }
        match in_files(host, nodes) {
            // A cloudcore that is about to start or to end has the lock and no socket.
            Err(RevokeError::Store(StoreError::Locked { .. })) if Instant::now() < end => {
                sleep(RETRY);
            }
            outcome => return outcome,
        }
    }
}

fn ask(host: &Host, nodes: Option<&[NodeName]>) -> Result<Vec<RevokedNode>, RevokeError> {
    let request = match nodes {
        None => Request::new(CloudOp::Revocations),
        Some(nodes) => Request {
            names: nodes.iter().map(ToString::to_string).collect(),
            ..Request::new(CloudOp::Revoke)
        },
    };
    let mut client = Client::ask(&host.root.at(CLOUD_SOCKET), &request, PATIENCE)?;
    let mut lines = Vec::new();
    while let Some(line) = client.line::<Value>()? {
        if let Some(error) = line["error"].as_str() {
            return Err(RevokeError::Refused(error.to_owned()));
        }
        lines.push(serde_json::from_value(line).map_err(ControlError::Unreadable)?);
    }
    // A cloudcore that died, or is too slow, must not look like one that did as asked.
    match nodes {
        Some(nodes) if nodes.len() != lines.len() => Err(RevokeError::Silent),
        _ => Ok(lines),
    }
}

fn in_files(host: &Host, nodes: Option<&[NodeName]>) -> Result<Vec<RevokedNode>, RevokeError> {
    // Opening the store would make its folders, on a machine that may have no cloud at all.
    if !FileStore::has_ca(&host.files, &host.root)? {
        return Err(RevokeError::NoCloud);
    }
    let store = FileStore::open(&host.files, &host.root, Options::default())?;
    by(&store, host, nodes)
}

fn by(
    store: &dyn Store,
    host: &Host,
    nodes: Option<&[NodeName]>,
) -> Result<Vec<RevokedNode>, RevokeError> {
    let now = host.clock.now();
    smol::block_on(async {
        let lines = match nodes {
            None => {
                let all = authority::revocations(store).await?.into_iter();
                all.map(|it| RevokedNode {
                    enrolled_since: it.enrolled_since,
                    ..RevokedNode::new(&it.node, it.at)
                })
                .collect()
            }
            Some(nodes) => {
                let all = authority::revoke(store, nodes, now).await?.into_iter();
                all.map(|it| RevokedNode {
                    known: it.known,
                    already: it.already,
                    ..RevokedNode::new(&it.node, it.at)
                })
                .collect()
            }
        };
        Ok(lines)
    })
}

/// What was revoked now.
#[derive(Serialize)]
struct Outcome {
    revoked: Vec<Node>,
    /// In a cluster, whose cloudcores end the sessions.
    #[serde(skip)]
    there: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    node: String,
    at: String,
    known: bool,
    already: bool,
    session_ended: bool,
}

impl Outcome {
    fn new(lines: Vec<RevokedNode>, there: bool) -> Outcome {
        let node = |line: RevokedNode| Node {
            node: line.node,
            at: line.at.to_string(),
            known: line.known,
            already: line.already,
            session_ended: line.session_ended,
        };
        Outcome {
            revoked: lines.into_iter().map(node).collect(),
            there,
        }
    }
}

impl Report for Outcome {
    fn text(&self) -> String {
        let line = |it: &Node| {
            let what = match (it.already, it.known) {
                (true, _) => format!("was revoked at {} and got no key since", it.at),
                (false, true) => "its keys are refused from now on".to_owned(),
                (false, false) => "its keys are refused from now on; this cloud knows no \
                                   certificate of it, see that the name is right"
                    .to_owned(),
            };
            let session = if it.session_ended {
                "; its session was ended"
            } else {
                ""
            };
            format!("{}: {what}{session}.\n", it.node)
        };
        let lines: String = self.revoked.iter().map(line).collect();
        let there = match self.there {
            true => "The cloudcores of the cluster end their sessions.\n",
            false => "",
        };
        lines + there + "To come back, a node joins with a fresh token.\n"
    }
}

/// What was revoked so far.
#[derive(Serialize)]
struct Listed {
    revocations: Vec<Entry>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    node: String,
    at: String,
    enrolled_since: bool,
}

impl Listed {
    fn new(lines: Vec<RevokedNode>) -> Listed {
        let entry = |line: RevokedNode| Entry {
            node: line.node,
            at: line.at.to_string(),
            enrolled_since: line.enrolled_since,
        };
        Listed {
            revocations: lines.into_iter().map(entry).collect(),
        }
    }
}

impl Report for Listed {
    fn text(&self) -> String {
        if self.revocations.is_empty() {
            return "Nothing was revoked.\n".to_owned();
        }
        let row = |node: &str, at: &str, since: &str| format!("{node:<32} {at:<20} {since}\n");
        let rows = self.revocations.iter().map(|it| {
            let since = match it.enrolled_since {
                true => "joined again with a token",
                false => "refused",
            };
            row(&it.node, &it.at, since)
        });
        row("NODE", "REVOKED", "SINCE") + &rows.collect::<String>()
    }
}

/// Why nothing was revoked.
#[derive(Debug)]
pub enum RevokeError {
    /// No cluster can be reached by what is written of it.
    Cluster(NoCluster),
    Control(ControlError),
    Name(NameError),
    /// No cloud's files are here.
    NoCloud,
    /// What cloudcore said.
    Refused(String),
    /// cloudcore did not answer for all.
    Silent,
    Store(StoreError),
    Words,
}

impl RevokeError {
    fn code(&self) -> u8 {
        match self {
            RevokeError::Cluster(_) => exit::CONFIG,
            RevokeError::Control(ControlError::Denied(_)) => exit::DENIED,
            RevokeError::Control(_) | RevokeError::NoCloud => exit::UNAVAILABLE,
            RevokeError::Name(_) | RevokeError::Words => exit::USAGE,
            RevokeError::Silent => exit::TRY_AGAIN,
            RevokeError::Store(StoreError::Io(error)) if error.is_denied() => exit::DENIED,
            RevokeError::Store(StoreError::Cluster(fault)) if fault.denied => exit::DENIED,
            RevokeError::Store(error) if error.is_retryable() => exit::TRY_AGAIN,
            RevokeError::Refused(_) | RevokeError::Store(_) => exit::FAILURE,
        }
    }
}

impl fmt::Display for RevokeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RevokeError::Cluster(error) => error.fmt(f),
            RevokeError::Control(error) => error.fmt(f),
            RevokeError::Name(error) => error.fmt(f),
            RevokeError::NoCloud => f.write_str(
                "no cloudcore has run on this machine: run it where the cloud's files are, or name the \
                 cluster with --kube-config",
            ),
            RevokeError::Refused(why) => write!(f, "cloudcore revoked nothing: {why}"),
            RevokeError::Silent => {
                f.write_str("cloudcore did not answer for every node: run the same again")
            }
            RevokeError::Store(error) => error.fmt(f),
            RevokeError::Words => {
                write!(f, "name one to {MAX_REVOKED} nodes, or say --list alone")
            }
        }
    }
}

impl std::error::Error for RevokeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RevokeError::Cluster(error) => Some(error),
            RevokeError::Control(error) => Some(error),
            RevokeError::Name(error) => Some(error),
            RevokeError::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ControlError> for RevokeError {
    fn from(error: ControlError) -> RevokeError {
        RevokeError::Control(error)
    }
}

impl From<StoreError> for RevokeError {
    fn from(error: StoreError) -> RevokeError {
        RevokeError::Store(error)
    }
}

static SPEC: Spec = Spec {
    name: "kubeedge certs revoke",
    about: "Refuses every key that was issued to these nodes so far, at once: their sessions end, \
            and neither the hub nor the renewal takes their certificates any more. A node comes \
            back when it joins with a fresh token. For a device that is lost, stolen or sold. \
            Works through the cloudcore that runs here, else on its files; or with --kube-config on \
            what the cloudcores of a cluster share. --list shows what was \
            revoked. Exit code: 0 all are revoked; 64 no names; 69 there is no cloud here; 75 try \
            again; 77 not allowed; 78 the kubeconfig is wrong.",
    examples: &[
        "kubeedge certs revoke edge-7",
        "kubeedge certs revoke --list -o json",
    ],
    spellings: &[],
    ignored: &[],
};

const PATIENCE: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(50);
