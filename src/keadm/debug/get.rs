//! `debug get`: what the cloud has told this device, as kubectl would show it, from the device's storage.

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value, json};

use super::fault::Fault;
use super::store::Store;
use crate::keadm::ctl::print::Print;
use crate::keadm::ctl::{client, table};
use crate::keadm::{Command, Group, out};
use crate::protocol::form::Form;
use crate::protocol::local::{SORTS, Sort};
use crate::protocol::selector::Selection;
use crate::system::args::{self, Spec};
use crate::system::host::Host;
use crate::system::{console, exit};

pub static COMMAND: Command = Command {
    name: "debug get",
    group: Group::Edge,
    summary: "show what the cloud has told, without edgecore",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what to show
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// all, pods, configmaps, secrets, nodes, devices, devicemodels, ...
    #[argh(positional)]
    kind: String,
    /// some of them; default: all
    #[argh(positional, arg_name = "name")]
    names: Vec<String>,
    /// of this namespace; default: default
    #[argh(
        option,
        short = 'n',
        arg_name = "name",
        default = "\"default\".to_owned()"
    )]
    namespace: String,
    /// of all namespaces
    #[argh(switch, short = 'A')]
    all_namespaces: bool,
    /// those with these labels, as a=b,c!=d,e in (f,g),!h
    #[argh(option, short = 'l', arg_name = "labels", default = "String::new()")]
    selector: String,
    /// text, wide, json, yaml, name or jsonpath=PATH; default: text
    #[argh(
        option,
        short = 'o',
        arg_name = "format",
        default = "Print::Form(Form::Text)"
    )]
    output: Print,
    /// the folder of edgecore's storage; default: /var/lib/kubeedge/edgecore/meta
    #[argh(option, short = 'p', arg_name = "folder")]
    edgedb_path: Option<String>,
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    match get(host, &flags) {
        Ok(text) => {
            console::out(&text);
            exit::OK
        }
        Err(fault) => {
            let (format, code) = (flags.output.of_failures(), fault.code());
            out::fail(SPEC.name, &fault, given.verbosity, format, code)
        }
    }
}

fn get(host: &Host, flags: &Flags) -> Result<String, Fault> {
    let wants_all = flags.kind == "all";
    let sorts: Vec<&Sort> = match Sort::named(&flags.kind) {
        Some(sort) => vec![sort],
        None if wants_all => SORTS.iter().collect(),
        // KubeEdge's has words for these; clouds send none to a device any more.
        None if NEVER.contains(&flags.kind.as_str()) => Vec::new(),
        None => {
            let known = SORTS.iter().map(|sort| sort.plural);
            return Err(Fault::Ask(client::Fault::Kind {
                given: flags.kind.clone(),
                known: ["all"].into_iter().chain(known).collect(),
            }));
        }
    };
    let mut selection = Selection::default();
    selection
        .add_labels(&flags.selector)
        .map_err(Fault::Selector)?;
    let store = Store::open(host, flags.edgedb_path.as_deref())?;
    let namespace = Some(flags.namespace.as_str()).filter(|_| !flags.all_namespaces);
    let mut all = Vec::new();
    for sort in sorts {
        let mut items = Vec::new();
        store.each(sort.kind, namespace, |object| {
            let name = table::name(&object);
            let is_named = flags.names.is_empty() || flags.names.contains(&name);
            if is_named && selection.fits(&object) {
                items.push(object);
            }
        })?;
        if !wants_all || !items.is_empty() {
            all.push((sort, items));
        }
    }
    let items = || all.iter().flat_map(|(_, items)| items);
    for name in &flags.names {
        if !items().any(|item| table::name(item) == *name) {
            let what = all.first().map_or("object", |(sort, _)| sort.kind.as_str());
            return Err(Fault::Missing(what, name.clone()));
        }
    }
    let whole = match (flags.names.len(), items().count()) {
        (1, 1) => items().next().cloned().unwrap_or(Value::Null),
        _ => list(items().cloned().collect()),
    };
    let is_text = matches!(flags.output, Print::Form(Form::Text) | Print::Wide);
    if all.is_empty() && is_text {
        return Ok(format!("the cloud has sent no {} here\n", flags.kind));
    }
    let text = flags
        .output
        .text(&all, &whole, flags.all_namespaces, host.clock.now());
    Ok(text)
}

/// As kubectl has it.
fn list(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})
}

const NEVER: &[&str] = &["svc", "service", "services", "ep", "endpoint", "endpoints"];

static SPEC: Spec = Spec {
    name: "kubeedge debug get",
    about: "Shows the objects that the cloud has sent to this device, from the device's own \
            storage: edgecore need not run, and its API need not be switched on. For root, \
            who is shown Secrets too.",
    examples: &[
        "kubeedge debug get pods -A -o wide",
        "kubeedge debug get configmap app -n shop -o yaml",
        "kubeedge debug get all -l app=web -o jsonpath={.items[*].metadata.name}",
    ],
    spellings: &[],
    ignored: &[],
};
