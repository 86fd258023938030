//! `cloudcore ctl apply`: objects from a file, to nodes or to a label.

use std::io::Read;
use std::path::Path;

use argh::{ArgsInfo, FromArgs};

use super::documents::{self, MAX_INPUT};
use super::{OrderError, PATIENCE, check, said};
use crate::cloudcore::nodes::is_reserved;
use crate::protocol::control::{CLOUD_SOCKET, Client, CloudOp, ControlError, Reply, Request};
use crate::system::args::{self, Command, Spec};
use crate::system::host::Host;
use crate::system::{console, exit};

pub static COMMAND: Command = Command {
    summary: "give objects to nodes",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

fn run(arguments: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, arguments) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    let fail = |error: OrderError| args::fail(SPEC.name, &error, given.verbosity, error.code());
    if let Err(error) = check(&flags.node, flags.selector.as_deref()) {
        return fail(error);
    }
    let read = read(host, &flags.file).and_then(|text| documents::read(&text, &flags.file));
    let objects = match read {
        Ok(objects) => objects,
        Err(error) => return fail(error),
    };
    if let Some(label) = flags.selector.as_deref().and_then(doubtful)
        && objects.iter().any(|object| object["kind"] == "Secret")
    {
        let sentence = format!(
            "any node may give itself the label {label:?}, and with it a Secret: name nodes, or use \
             a label below node-restriction.kubernetes.io/ (`cloudcore ctl label`)"
        );
        console::complain(SPEC.name, &sentence);
    }
    let mut code = exit::OK;
    for object in objects {
        match apply(host, &flags, &object) {
            Ok(message) => _ = console::line(&message),
            // One that is refused does not keep the others from their nodes.
            Err(error @ OrderError::Refused(_)) => code = fail(error),
            Err(error) => return fail(error),
        }
    }
    code
}

/// The label of a selector, if nodes give it to themselves.
fn doubtful(selector: &str) -> Option<&str> {
    let (key, _) = selector.split_once('=')?;
    (!is_reserved(key)).then_some(key)
}

fn apply(host: &Host, flags: &Flags, object: &serde_json::Value) -> Result<String, OrderError> {
    let request = Request {
        names: flags.node.clone(),
        selector: flags.selector.clone(),
        namespace: flags.namespace.clone(),
        ..Request::new(CloudOp::ObjectApply)
    };
    let body = object.to_string();
    let socket = host.root.at(CLOUD_SOCKET);
    let client = Client::ask_with(&socket, &request, body.as_bytes(), PATIENCE);
    let reply = client.and_then(|mut client| client.line::<Reply>());
    let silent = || ControlError::Io(std::io::ErrorKind::TimedOut.into());
    let reply = reply.and_then(|reply| reply.ok_or_else(silent));
    said(reply.map_err(OrderError::Control)?)
}

/// A file, or standard input for `-`.
fn read(host: &Host, name: &str) -> Result<String, OrderError> {
    let bytes = match name {
        "-" => {
            let mut bytes = Vec::new();
            let mut input = std::io::stdin().lock().take(MAX_INPUT as u64 + 1);
            let read = input.read_to_end(&mut bytes);
            read.map_err(|error| OrderError::Input(format!("standard input: {error}")))?;
            bytes
        }
        path => {
            let bytes = host.files.read(Path::new(path), MAX_INPUT);
            bytes.map_err(|error| OrderError::Input(error.to_string()))?
        }
    };
    if bytes.len() > MAX_INPUT {
        let sentence = format!("{name} has more than {MAX_INPUT} bytes: give it in parts");
        return Err(OrderError::Input(sentence));
    }
    String::from_utf8(bytes).map_err(|_| OrderError::Input(format!("{name} is not UTF-8 text")))
}

/// give objects to nodes
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// YAML or JSON, with one object or many; -: standard input
    #[argh(option, short = 'f', long = "file", arg_name = "file")]
    file: String,
    /// a node that shall have them
    #[argh(option, arg_name = "name")]
    node: Vec<String>,
    /// a label, as key=value, of the nodes that shall have them, those too that come later
    #[argh(option, short = 'l', arg_name = "label")]
    selector: Option<String>,
    /// where objects go that name no namespace; default: default
    #[argh(option, short = 'n', arg_name = "namespace")]
    namespace: Option<String>,
}

static SPEC: Spec = Spec {
    name: "cloudcore ctl apply",
    about: "Makes or changes ConfigMaps, Secrets, Pods, Devices and DeviceModels, and hands them to \
            nodes: at once, and after every reconnect. Who shall have an object is remembered: \
            without --node and --selector it stays as it was. A Pod or a Device belongs to one node.",
    examples: &[
        "cloudcore ctl apply -f config.yaml --node router-17",
        "cloudcore ctl apply -f config.yaml --selector role=router",
        "kubectl get configmap app -o json | cloudcore ctl apply -f - --node router-17",
    ],
    spellings: &[],
    ignored: &[],
};
