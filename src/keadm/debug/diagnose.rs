//! `debug diagnose`: why a node is not connected, an installation can't work, or a pod is not ready; the
//! likeliest reason first.

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;
use serde_json::Value;

use super::check::look::State;
use super::check::{Wish, check, endpoint};
use super::fault::Fault;
use super::store::Store;
use crate::keadm::ctl::table;
use crate::keadm::out::{self, Format, Report};
use crate::keadm::{Command, Group};
use crate::protocol::resource::Kind;
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
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reason {
    what: String,
    found: String,
    remedy: String,
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
        ("pod", Some(name), Ok(_)) => match pod(host, flags, name) {
            Ok(found) => found,
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
    amiss(host, &wish, OF_NODE)
}

/// What a check finds amiss, sorted by how often it is the reason.
fn amiss(host: &Host, wish: &Wish, likely: &[&str]) -> Diagnosis {
    let checked = check(host, wish, likely);
    let rows = checked.rows.iter();
    let mut rows: Vec<_> = rows.filter(|row| row.state == State::Failed).collect();
    let rank = |item: &str| likely.iter().position(|it| *it == item);
    rows.sort_by_key(|row| rank(row.item));
    let verdict = match checked.good {
        true => "nothing is wrong with what this device needs".to_owned(),
        false => format!("{} reasons, the likeliest first", rows.len()),
    };
    let reasons = rows.into_iter().map(|row| Reason {
        what: format!("{}: {}", row.item, row.what),
        found: row.found.clone(),
        remedy: row.remedy.clone().unwrap_or_default(),
    });
    Diagnosis {
        good: checked.good,
        verdict,
        reasons: reasons.collect(),
    }
}

/// What the pod itself says; then what keeps the node from hearing of changes.
fn pod(host: &Host, flags: &Flags, name: &str) -> Result<Diagnosis, Fault> {
    let mut found = None;
    let store = Store::open(host, None)?;
    store.each(Kind::Pod, Some(&flags.namespace), |object| {
        if table::name(&object) == name {
            found = Some(object);
        }
    })?;
    let pod = found.ok_or_else(|| Fault::Missing("pod", name.to_owned()))?;
    let word = |value: &Value, key: &str| value[key].as_str().unwrap_or("-").to_owned();
    let list = |pointer: &str| {
        pod.pointer(pointer)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let conditions = || list("/status/conditions");
    let ready = conditions().any(|it| it["type"] == "Ready" && it["status"] == "True");
    let phase = word(&pod["status"], "phase");
    let good = ready || phase == "Succeeded";
    let mut reasons = Vec::new();
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        reasons.push(Reason {
            what: "deletion".to_owned(),
            found: "somebody has asked to delete it".to_owned(),
            remedy:
                "it goes once the cloud has heard that it has ended: see that the node is connected"
                    .to_owned(),
        });
    }
    for container in list("/status/initContainerStatuses").chain(list("/status/containerStatuses"))
    {
        let states = container["state"].as_object().into_iter().flatten();
        for (state, about) in states.filter(|(state, _)| *state != "running") {
            reasons.push(Reason {
                what: format!("container {}", word(container, "name")),
                found: format!("{state}: {}", word(about, "reason")),
                remedy: word(about, "message"),
            });
        }
    }
    for condition in conditions().filter(|it| it["status"] != "True" && !good) {
        reasons.push(Reason {
            what: format!("condition {}", word(condition, "type")),
            found: word(condition, "reason"),
            remedy: match condition["reason"].as_str() {
                Some("NoRuntime") => RUNTIME.to_owned(),
                _ => word(condition, "message"),
            },
        });
    }
    if !good {
        reasons.extend(node(host, flags).reasons);
    }
    let verdict = match good {
        true => format!("pod {name} is as it should be ({phase})"),
        false => format!("pod {name} is not ready ({phase})"),
    };
    Ok(Diagnosis {
        good,
        verdict,
        reasons,
    })
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
        text
    }
}

/// In order of likelihood: a reason before what follows from it.
const OF_NODE: &[&str] = &[
    "config", "identity", "clock", "proxy", "dns", "network", "disk", "folders", "mem", "kernel",
    "init", "edgecore",
];
const OF_INSTALL: &[&str] = &[
    "folders", "disk", "mem", "kernel", "pid", "dns", "network", "cpu", "init",
];
const RUNTIME: &str = "this device runs no containers, so the Pod waits; its ConfigMaps and Secrets are kept: run \
                       what should run here as a service, or give the Pod to another node";

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
