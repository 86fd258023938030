//! `ctl describe`: all of an object that a person may want to know, asked of the edgecore that runs here.

use argh::{ArgsInfo, FromArgs};
use serde_json::Value;

use super::client::{Client, Fault};
use super::{labels, sheets};
use crate::keadm::{Command, Group, out};
use crate::protocol::local::Sort;
use crate::protocol::resource::Kind;
use crate::system::args::{self, Ignored, Spec};
use crate::system::host::Host;
use crate::system::{console, exit};

pub static COMMAND: Command = Command {
    name: "ctl describe",
    group: Group::Edge,
    summary: "tell all about pods, devices, configmaps or nodes",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what to tell about
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// pods, devices, configmaps or nodes
    #[argh(positional)]
    kind: String,
    /// some of them; default: all
    #[argh(positional, arg_name = "name")]
    names: Vec<String>,
    /// of this namespace; default: default
    #[argh(option, short = 'n', arg_name = "name")]
    namespace: Option<String>,
    /// of all namespaces
    #[argh(switch, short = 'A')]
    all_namespaces: bool,
    /// those with these labels, as a=b,c!=d,e in (f,g),!h
    #[argh(option, short = 'l', arg_name = "labels", default = "String::new()")]
    selector: String,
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let failed = |fault: &Fault| {
        let (verbosity, format) = (given.verbosity, out::Format::Text);
        out::fail(SPEC.name, fault, verbosity, format, fault.code())
    };
    let found = match find(host, &given.flags) {
        Ok(found) => found,
        Err(fault) => return failed(&fault),
    };
    console::out(&text(&found, host));
    // What is there is told, whatever else is not.
    let codes = found.missing.iter().map(failed);
    codes.max().unwrap_or(exit::OK)
}

struct Found {
    sort: &'static Sort,
    items: Vec<Value>,
    missing: Vec<Fault>,
}

fn find(host: &Host, flags: &Flags) -> Result<Found, Fault> {
    let sort = Sort::named(&flags.kind).filter(|sort| KINDS.contains(&sort.kind));
    let sort = sort.ok_or_else(|| Fault::Kind {
        given: flags.kind.clone(),
        known: KINDS
            .iter()
            .filter_map(|kind| Sort::of(*kind))
            .map(|sort| sort.plural)
            .collect(),
    })?;
    if flags.all_namespaces && !flags.names.is_empty() && !sort.kind.is_of_cluster() {
        return Err(Fault::NameOfAll);
    }
    let namespace = flags.namespace.as_deref().unwrap_or("default");
    let namespace = Some(namespace).filter(|_| !flags.all_namespaces);
    let client = Client::of(host)?;
    let (mut items, mut missing) = (Vec::new(), Vec::new());
    if flags.names.is_empty() {
        let path = sort.path(namespace, None) + &labels(&flags.selector);
        let answer = client.get(&path)?;
        items = answer["items"].as_array().cloned().unwrap_or_default();
    }
    for name in &flags.names {
        match client.get(&sort.path(namespace, Some(name))) {
            Ok(item) => items.push(item),
            Err(fault @ Fault::Refused(404, _)) => missing.push(fault),
            Err(fault) => return Err(fault),
        }
    }
    Ok(Found {
        sort,
        items,
        missing,
    })
}

fn text(found: &Found, host: &Host) -> String {
    if found.items.is_empty() && found.missing.is_empty() {
        return format!("the cloud has sent no {} here\n", found.sort.plural);
    }
    let now = host.clock.now();
    let sheets = found
        .items
        .iter()
        .map(|item| sheets::of(found.sort.kind, item, now));
    sheets.collect::<Vec<_>>().join("\n\n")
}

const KINDS: &[Kind] = &[Kind::Pod, Kind::Device, Kind::ConfigMap, Kind::Node];

static SPEC: Spec = Spec {
    name: "kubeedge ctl describe",
    about: "Tells all about pods, devices, configmaps or nodes that the cloud has sent to this \
            device, as kubectl would. The edgecore that runs here is asked; its API must be \
            switched on (modules.metaManager.metaServer.enable). Exit code 1: one of the names \
            is not here.",
    examples: &[
        "kubeedge ctl describe pod web -n shop",
        "kubeedge ctl describe devices -A",
        "kubeedge ctl describe node",
    ],
    spellings: &[],
    ignored: &[&[
        Ignored {
            long: "show-events",
            short: None,
            value: false,
            why: "a device keeps no events",
        },
        Ignored {
            long: "chunk-size",
            short: None,
            value: true,
            why: "",
        },
    ]],
};
