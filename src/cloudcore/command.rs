//! `cloudcore ctl`: what an operator says to the cloudcore that runs here about nodes and objects.

mod apply;
mod documents;
mod get;
mod jobs;
mod label;
mod nodes;
mod output;

use std::time::Duration;
use std::{fmt, slice};

use argh::{ArgsInfo, FromArgs};

use super::nodes::Selector;
use crate::protocol::control::{self, CLOUD_SOCKET, CloudOp, ControlError, Reply, Request};
use crate::protocol::resource::{Kind, ObjectPath};
use crate::system::args::{self, Command, Spec};
use crate::system::host::Host;
use crate::system::names::NodeName;
use crate::system::{console, exit};

/// All of them.
pub static COMMANDS: [&Command; 9] = [
    &nodes::COMMAND,
    &label::COMMAND,
    &apply::COMMAND,
    &get::COMMAND,
    &DELETION,
    &DELETION_OF_NODE,
    &jobs::UPGRADES,
    &jobs::CHANGES,
    &jobs::ALL,
];

static DELETION: Command = Command {
    summary: "delete an object",
    spec: &DELETE,
    info: DeleteFlags::get_args_info,
    run: delete,
};

static DELETION_OF_NODE: Command = Command {
    summary: "delete a node",
    spec: &DELETE_NODE,
    info: DeleteNodeFlags::get_args_info,
    run: delete_node,
};

/// Why an order was not carried out.
#[derive(Debug)]
enum OrderError {
    Control(ControlError),
    /// cloudcore says why.
    Refused(String),
    /// The command line asks for what there can't be.
    Usage(String),
    /// A file, or what is in it, in a sentence.
    Input(String),
}

impl OrderError {
    fn code(&self) -> u8 {
        match self {
            OrderError::Control(ControlError::NotRunning) => exit::UNAVAILABLE,
            OrderError::Control(ControlError::Denied(_)) => exit::DENIED,
            OrderError::Control(_) => exit::TRY_AGAIN,
            OrderError::Refused(_) => exit::FAILURE,
            OrderError::Usage(_) => exit::USAGE,
            OrderError::Input(_) => exit::CONFIG,
        }
    }
}

/// Prints what was done, or why not.
fn report(name: &str, done: Result<String, OrderError>, verbosity: Option<u8>) -> u8 {
    match done {
        Ok(message) => {
            console::line(&message);
            exit::OK
        }
        Err(error) => args::fail(name, &error, verbosity, error.code()),
    }
}

fn order(host: &Host, request: &Request) -> Result<String, OrderError> {
    let reply = control::call::<Reply>(&host.root.at(CLOUD_SOCKET), request, PATIENCE);
    said(reply.map_err(OrderError::Control)?)
}

fn said(reply: Reply) -> Result<String, OrderError> {
    match reply.error {
        Some(sentence) => Err(OrderError::Refused(sentence)),
        None => Ok(reply.message.unwrap_or_default()),
    }
}

fn usage(error: impl fmt::Display) -> OrderError {
    OrderError::Usage(error.to_string())
}

/// What cloudcore would refuse of these words.
fn check(nodes: &[String], selector: Option<&str>) -> Result<(), OrderError> {
    let mut names = nodes.iter().map(|name| name.parse::<NodeName>());
    names.try_for_each(|name| name.map(drop)).map_err(usage)?;
    let selector = selector.map(str::parse::<Selector>).transpose();
    selector.map(drop).map_err(usage)
}

/// A type as people write it: in one or many, short or whole, in any case.
fn kind(word: &str) -> Result<Kind, OrderError> {
    let plain = word.to_ascii_lowercase();
    let found = KINDS
        .iter()
        .find(|(words, _)| words.contains(&plain.as_str()));
    found.map(|(_, kind)| *kind).ok_or_else(|| {
        OrderError::Usage(format!(
            "{word:?} is none of configmap, secret, pod, device, devicemodel, node"
        ))
    })
}

fn delete(arguments: &[String], host: &Host) -> u8 {
    let given = match args::enter::<DeleteFlags>(&DELETE, arguments) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    let done = kind(&flags.kind).and_then(|kind| {
        let namespace = flags.namespace.as_deref().unwrap_or("default");
        ObjectPath::new(namespace, kind, &flags.name).map_err(usage)?;
        let request = Request {
            kind: Some(kind.to_string()),
            name: Some(flags.name),
            namespace: flags.namespace,
            force: flags.force,
            ..Request::new(CloudOp::ObjectDelete)
        };
        order(host, &request)
    });
    report(DELETE.name, done, given.verbosity)
}

fn delete_node(arguments: &[String], host: &Host) -> u8 {
    let given = match args::enter::<DeleteNodeFlags>(&DELETE_NODE, arguments) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let name = given.flags.name;
    let done = check(slice::from_ref(&name), None).and_then(|()| {
        let request = Request {
            name: Some(name),
            ..Request::new(CloudOp::NodeDelete)
        };
        order(host, &request)
    });
    report(DELETE_NODE.name, done, given.verbosity)
}

/// delete an object
#[derive(FromArgs, ArgsInfo)]
struct DeleteFlags {
    /// configmap, secret, pod, device or devicemodel
    #[argh(positional, arg_name = "type")]
    kind: String,
    /// its name
    #[argh(positional)]
    name: String,
    /// where it is; default: default
    #[argh(option, short = 'n', arg_name = "namespace")]
    namespace: Option<String>,
    /// delete a pod without waiting for its node to end it
    #[argh(switch)]
    force: bool,
}

/// delete a node
#[derive(FromArgs, ArgsInfo)]
struct DeleteNodeFlags {
    /// its name
    #[argh(positional)]
    name: String,
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OrderError::Control(ControlError::NotRunning) => {
                f.write_str("cloudcore does not run here: start it first")
            }
            OrderError::Control(error) => error.fmt(f),
            OrderError::Refused(sentence)
            | OrderError::Usage(sentence)
            | OrderError::Input(sentence) => f.write_str(sentence),
        }
    }
}

impl std::error::Error for OrderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OrderError::Control(error) => Some(error),
            _ => None,
        }
    }
}

static DELETE: Spec = Spec {
    name: "cloudcore ctl delete",
    about: "Deletes an object here and on every device that has it, now or when it comes back. A pod \
            is asked to end first. `cloudcore ctl delete node NAME` deletes a node.",
    examples: &[
        "cloudcore ctl delete configmap app-config",
        "cloudcore ctl delete pod web -n shop --force",
        "cloudcore ctl delete node router-17",
    ],
    spellings: &[],
    ignored: &[],
};

static DELETE_NODE: Spec = Spec {
    name: "cloudcore ctl delete node",
    about: "Deletes a node with its labels, and ends its session. The certificate of the device still \
            counts: when it comes back it registers anew, and gets again what was given to its name. \
            `keadm certs revoke NAME` keeps it out.",
    examples: &["cloudcore ctl delete node router-17"],
    spellings: &[],
    ignored: &[],
};

const KINDS: &[(&[&str], Kind)] = &[
    (&["configmap", "configmaps", "cm"], Kind::ConfigMap),
    (&["secret", "secrets"], Kind::Secret),
    (&["pod", "pods", "po"], Kind::Pod),
    (&["device", "devices"], Kind::Device),
    (&["devicemodel", "devicemodels"], Kind::DeviceModel),
    (&["node", "nodes", "no"], Kind::Node),
];

const PATIENCE: Duration = Duration::from_secs(40);
