//! `ctl unhold-upgrade`: says that pods that wait for somebody's consent may be upgraded.

use argh::{ArgsInfo, FromArgs};

use super::client::{Client, Fault};
use crate::keadm::device::Device;
use crate::keadm::{Command, Group, out};
use crate::system::args::{self, Given, Spec};
use crate::system::host::Host;
use crate::system::{console, exit};

pub static POD: Command = Command {
    name: "ctl unhold-upgrade pod",
    group: Group::Edge,
    summary: "let a pod that is held be upgraded",
    spec: &OF_POD,
    info: OnePod::get_args_info,
    run: |args, host| {
        let body = |flags: &OnePod, _: &Host| Some(format!("{}/{}", flags.namespace, flags.name));
        run::<OnePod>(&OF_POD, "/api/v1/pods/unhold-upgrade", body, args, host)
    },
};

pub static NODE: Command = Command {
    name: "ctl unhold-upgrade node",
    group: Group::Edge,
    summary: "let all pods that are held be upgraded",
    spec: &OF_NODE,
    info: AllPods::get_args_info,
    run: |args, host| {
        let body = |flags: &AllPods, host: &Host| flags.name.clone().or_else(|| own(host));
        run::<AllPods>(&OF_NODE, "/api/v1/nodes/unhold-upgrade", body, args, host)
    },
};

/// which pod
#[derive(FromArgs, ArgsInfo)]
struct OnePod {
    /// the pod
    #[argh(positional)]
    name: String,
    /// of this namespace; default: default
    #[argh(
        option,
        short = 'n',
        arg_name = "name",
        default = "\"default\".to_owned()"
    )]
    namespace: String,
}

/// whose pods
#[derive(FromArgs, ArgsInfo)]
struct AllPods {
    /// the node; default: this one
    #[argh(positional)]
    name: Option<String>,
}

/// The name that this device has.
fn own(host: &Host) -> Option<String> {
    let device = Device::read(host, None).ok()?;
    Some(device.node.to_string())
}

fn run<T: FromArgs + ArgsInfo>(
    spec: &Spec,
    path: &str,
    body: impl Fn(&T, &Host) -> Option<String>,
    args: &[String],
    host: &Host,
) -> u8 {
    let given: Given<T> = match args::enter(spec, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let Some(body) = body(&given.flags, host) else {
        console::complain(
            spec.name,
            "the name of this node is not known: say which node",
        );
        return exit::CONFIG;
    };
    let said = Client::of(host).and_then(|client| client.post(path, &body));
    match said {
        Ok(sentence) => {
            console::line(&sentence);
            exit::OK
        }
        Err(fault) => {
            let code = Fault::code(&fault);
            out::fail(spec.name, &fault, given.verbosity, out::Format::Text, code)
        }
    }
}

static OF_POD: Spec = Spec {
    name: "kubeedge ctl unhold-upgrade pod",
    about: "Lets a pod be upgraded that its annotation edge.kubeedge.io/hold-upgrade holds back. \
            The edgecore that runs here is told; its API must be switched on. It runs no \
            containers, and says so. Exit code 1: there is no such pod, or it is not held.",
    examples: &["kubeedge ctl unhold-upgrade pod web -n shop"],
    spellings: &[],
    ignored: &[],
};

static OF_NODE: Spec = Spec {
    name: "kubeedge ctl unhold-upgrade node",
    about: "Lets all pods of this node be upgraded that their annotation \
            edge.kubeedge.io/hold-upgrade holds back. The edgecore that runs here is told; its \
            API must be switched on. It runs no containers, and says so.",
    examples: &["kubeedge ctl unhold-upgrade node"],
    spellings: &[],
    ignored: &[],
};
