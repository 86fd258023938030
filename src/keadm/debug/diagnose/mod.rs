//! `debug diagnose`: why a node is not connected, an installation can't work, or a pod is not ready; the
//! likeliest reason first.

mod log;
mod pod;
mod rules;

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::check::look::State;
use super::check::{Wish, check, endpoint};
use super::store::Store;
use crate::keadm::out::{self, Format, Report};
use crate::keadm::{Command, Group};
use crate::protocol::local::SORTS;
use crate::system::args::{self, Spec};
use crate::system::host::Host;
use crate::system::names::Host as Name;
use crate::system::{console, exit};

pub static COMMAND: Command = Command {
    name: "debug diagnose",
    group: Group::Edge,
    summary: "tell why a node, an installation or a pod fails",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what to look into
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// node, install or pod
    #[argh(positional)]
    what: String,
    /// the pod
    #[argh(positional)]
    name: Option<String>,
    /// of this namespace; default: default
    #[argh(
        option,
        short = 'n',
        arg_name = "name",
        default = "\"default\".to_owned()"
    )]
    namespace: String,
    /// text or json; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Format::Text")]
    output: Format,
    /// edgecore's configuration; default: /etc/kubeedge/config/edgecore.yaml
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<String>,
    /// install: a name that must be found
    #[argh(option, short = 'd', arg_name = "name")]
    domain: Option<Name>,
    /// install: the DNS server to ask for it
    #[argh(option, short = 'D', arg_name = "address")]
    dns_ip: Option<std::net::IpAddr>,
    /// install: an address that must answer a ping
    #[argh(option, short = 'i', arg_name = "address")]
    ip: Option<std::net::IpAddr>,
    /// install: a hub to reach
    #[argh(option, short = 's', arg_name = "host:port")]
    cloud_hub_server: Option<String>,
}

/// What was found out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Diagnosis {
    good: bool,
    verdict: String,
    /// The likeliest first.
    reasons: Vec<Reason>,
    /// What edgecore has warned of besides, the latest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lately: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reason {
    /// Begins with the item that it belongs to.
    what: String,
    found: String,
    remedy: String,
}

impl Reason {
    fn item(&self) -> &str {
        self.what.split(':').next().unwrap_or_default()
    }
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = &given.flags;
    let hub = flags.cloud_hub_server.as_deref().map(endpoint).transpose();
    let found = match (flags.what.as_str(), &flags.name, hub) {
        (_, _, Err(error)) => {
            console::complain(SPEC.name, &format!("--cloud-hub-server: {error}"));
            return exit::USAGE;
        }
        ("node", None, Ok(_)) => node(host, flags),
        ("install", None, Ok(hub)) => {
            let wish = Wish {
                config: flags.config.clone(),
                domain: flags.domain.clone(),
                dns: flags.dns_ip,
                ping: flags.ip,
                hub,
            };
            amiss(host, &wish, OF_INSTALL)
        }
        ("pod", Some(name), Ok(_)) => match pod::pod(host, &flags.namespace, name) {
            Ok(found) if found.good => found,
            Ok(mut found) => {
                let node = node(host, flags);
                found.reasons.extend(node.reasons);
                found.lately = node.lately;
                found
            }
            Err(fault) => {
                let code = fault.code();
                return out::fail(SPEC.name, &fault, given.verbosity, flags.output, code);
            }
        },
        _ => {
            console::complain(SPEC.name, "say node, install, or pod and the name of one");
            return exit::USAGE;
        }
    };
    out::show(&found, flags.output);
    match found.good {
        true => exit::OK,
        false => exit::FAILURE,
    }
}

fn node(host: &Host, flags: &Flags) -> Diagnosis {
    let wish = Wish {
        config: flags.config.clone(),
        ..Wish::default()
    };
    let mut found = amiss(host, &wish, OF_NODE);
    store(host, &mut found);
    log::add(host, &mut found, rank(OF_NODE));
    found.verdict = verdict(found.reasons.len());
    found
}

/// What was kept of the cloud's words is whole.
fn store(host: &Host, found: &mut Diagnosis) {
    let damaged = || {
        let store = Store::open(host, None)?;
        SORTS
            .iter()
            .try_for_each(|sort| store.each(sort.kind, None, |_| ()))
    };
    // A user who may not look is told so by the checks.
    if let Err(fault) = damaged()
        && fault.code() == exit::FAILURE
    {
        found.good = false;
        found.reasons.push(Reason {
            what: "disk: what the cloud has sent".to_owned(),
            found: fault.to_string(),
            remedy: "look at dmesg for a storage that fails".to_owned(),
        });
    }
}

fn rank(likely: &[&str]) -> impl Fn(&str) -> usize {
    move |item| {
        likely
            .iter()
            .position(|it| *it == item)
            .unwrap_or(likely.len())
    }
}

fn verdict(reasons: usize) -> String {
    match reasons {
        0 => "nothing is wrong with what this device needs".to_owned(),
        1 => "one reason".to_owned(),
        _ => format!("{reasons} reasons, the likeliest first"),
    }
}

/// What a check finds amiss, sorted by how often it is the reason.
fn amiss(host: &Host, wish: &Wish, likely: &[&str]) -> Diagnosis {
    let checked = check(host, wish, likely);
    let rows = checked.rows.iter();
    let mut rows: Vec<_> = rows.filter(|row| row.state == State::Failed).collect();
    let rank = rank(likely);
    rows.sort_by_key(|row| rank(row.item));
    let verdict = verdict(rows.len());
    let reasons = rows.into_iter().map(|row| Reason {
        what: format!("{}: {}", row.item, row.what),
        found: row.found.clone(),
        remedy: row.remedy.clone().unwrap_or_default(),
    });
    Diagnosis {
        good: checked.good,
        verdict,
        reasons: reasons.collect(),
        lately: Vec::new(),
    }
}

impl Report for Diagnosis {
    fn text(&self) -> String {
        let mut text = format!("{}.\n", self.verdict);
        for (number, reason) in self.reasons.iter().enumerate() {
            let Reason {
                what,
                found,
                remedy,
            } = reason;
            let line = format!("\n{}. {what}: {found}\n", number + 1);
            text.push_str(&line);
            text.push_str(&args::wrap(&format!("   {remedy}"), 3));
        }
        if !self.lately.is_empty() {
            text.push_str("\nedgecore has warned lately:\n");
        }
        for line in &self.lately {
            text.push_str(&args::wrap(&format!("  {line}"), 4));
        }
        text
    }
}

/// In order of likelihood: a reason before what follows from it.
const OF_NODE: &[&str] = &[
    "config", "identity", "clock", "proxy", "dns", "network", "line", "disk", "folders", "mem",
    "pid", "kernel", "init", "edgecore", "node", "api", "messages",
];
const OF_INSTALL: &[&str] = &[
    "folders", "disk", "mem", "kernel", "pid", "dns", "network", "cpu", "init",
];
static SPEC: Spec = Spec {
    name: "kubeedge debug diagnose",
    about: "Tells why this node is not connected, why this device could not join, or why a pod \
            here is not ready: reasons from facts on the device, the likeliest first, each with \
            what to do. Exit code: 0 nothing is wrong; 1 something is; 69 nothing was ever stored.",
    examples: &[
        "kubeedge debug diagnose node",
        "kubeedge debug diagnose install -s cloud.example.org:10000",
        "kubeedge debug diagnose pod web -n shop",
    ],
    spellings: &[],
    ignored: &[],
};
