//! `cloudcore ctl label`: what nodes are, in words that selectors go by.

use std::slice;

use argh::{ArgsInfo, FromArgs};

use super::{OrderError, check, order, report, usage};
use crate::cloudcore::nodes::LabelChange;
use crate::protocol::control::{CloudOp, Request};
use crate::system::args::{self, Command, Spec};
use crate::system::host::Host;

pub static COMMAND: Command = Command {
    summary: "give labels to a node",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

fn run(arguments: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, arguments) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let done = label(host, given.flags);
    report(SPEC.name, done, given.verbosity)
}

fn label(host: &Host, flags: Flags) -> Result<String, OrderError> {
    check(slice::from_ref(&flags.node), None)?;
    if flags.change.is_empty() {
        return Err(usage("say which labels, as KEY=VALUE or KEY-"));
    }
    for change in &flags.change {
        change.parse::<LabelChange>().map_err(usage)?;
    }
    let request = Request {
        name: Some(flags.node),
        names: flags.change,
        ..Request::new(CloudOp::NodeLabel)
    };
    order(host, &request)
}

/// which labels a node gets or loses
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// its name
    #[argh(positional)]
    node: String,
    /// KEY=VALUE, or KEY- for taking the label away
    #[argh(positional, arg_name = "key=value")]
    change: Vec<String>,
}

static SPEC: Spec = Spec {
    name: "cloudcore ctl label",
    about: "Gives labels to a node, or takes them away; the node gets and loses what selectors hand it \
            by them. A label below node-restriction.kubernetes.io/ only you can give: any other one a \
            node may give itself, and take back.",
    examples: &[
        "cloudcore ctl label router-17 node-restriction.kubernetes.io/site=berlin",
        "cloudcore ctl label router-17 role=router site-",
    ],
    spellings: &[],
    ignored: &[],
};
