//! `ctl`: questions to the edgecore that runs here. This file is `ctl get`: what the cloud has told this device.

pub mod absent;
pub(super) mod client;
#[cfg(feature = "upgrade")]
pub(super) mod confirm;
#[cfg(feature = "tools")]
pub mod describe;
mod jsonpath;
pub(super) mod print;
#[cfg(feature = "tools")]
mod sheet;
#[cfg(feature = "tools")]
mod sheets;
#[cfg(feature = "tools")]
mod sheets_pod;
pub(super) mod table;
pub mod unhold;

use argh::{ArgsInfo, FromArgs};
use serde_json::Value;

use super::{Command, Group, out};
use crate::protocol::form::Form;
use crate::protocol::local::{SORTS, Sort};
use crate::system::args::{self, Spec};
use crate::system::host::Host;
use crate::system::{console, exit};
use client::{Client, Fault};
use print::Print;

pub static GET: Command = Command {
    name: "ctl get",
    group: Group::Edge,
    summary: "show what the cloud has told this device",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what to show
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// pods, configmaps, secrets, nodes, devices, devicemodels, ...
    #[argh(positional)]
    kind: String,
    /// one of them; default: all
    #[argh(positional)]
    name: Option<String>,
    /// of this namespace; default: default
    #[argh(option, short = 'n', arg_name = "name")]
    namespace: Option<String>,
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
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    let failed = flags.output.of_failures();
    match get(host, &flags) {
        Ok(text) => {
            console::out(&text);
            exit::OK
        }
        Err(fault) => out::fail(SPEC.name, &fault, given.verbosity, failed, fault.code()),
    }
}

fn get(host: &Host, flags: &Flags) -> Result<String, Fault> {
    let sort = Sort::named(&flags.kind).ok_or_else(|| Fault::Kind {
        given: flags.kind.clone(),
        known: SORTS.iter().map(|sort| sort.plural).collect(),
    })?;
    if flags.all_namespaces && flags.name.is_some() && !sort.kind.is_of_cluster() {
        return Err(Fault::NameOfAll);
    }
    let namespace = flags.namespace.as_deref().unwrap_or("default");
    let namespace = Some(namespace).filter(|_| !flags.all_namespaces);
    let path = sort.path(namespace, flags.name.as_deref()) + &labels(&flags.selector);
    let answer = Client::of(host)?.get(&path)?;
    let items = match answer.get("items").and_then(Value::as_array) {
        Some(items) if flags.name.is_none() => items.clone(),
        _ => vec![answer.clone()],
    };
    let (all, now) = (flags.all_namespaces, host.clock.now());
    Ok(flags.output.text(&[(sort, items)], &answer, all, now))
}

/// The query that chooses by labels.
fn labels(selector: &str) -> String {
    if selector.is_empty() {
        return String::new();
    }
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let written = selector.bytes().map(|byte| match safe(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    format!("?labelSelector={}", written.collect::<String>())
}

static SPEC: Spec = Spec {
    name: "kubeedge ctl get",
    about: "Shows the objects that the cloud has sent to this device, also while the cloud is away. \
            The edgecore that runs here is asked; its API must be switched on \
            (modules.metaManager.metaServer.enable), and Secrets are shown to root only.",
    examples: &[
        "kubeedge ctl get pods -A",
        "kubeedge ctl get configmap app -n shop -o yaml",
        "kubeedge ctl get devices -o json",
        "kubeedge ctl get configmaps -A -l app=web",
    ],
    spellings: &[],
    ignored: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_written_for_a_query() {
        assert_eq!(labels(""), "");
        assert_eq!(
            labels("a=b,c in (d)"),
            "?labelSelector=a%3Db%2Cc%20in%20%28d%29"
        );
        assert_eq!(labels("é&"), "?labelSelector=%C3%A9%26");
    }
}
