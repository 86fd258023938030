//! `ctl edit`: devices are changed on the cloud; a sentence says how.

use argh::{ArgsInfo, FromArgs};

use crate::keadm::{Command, Group};
use crate::protocol::local::Sort;
use crate::protocol::resource::Kind;
use crate::system::args::{self, Spec};
use crate::system::host::Host;
use crate::system::{console, exit};

pub static COMMAND: Command = Command {
    name: "ctl edit",
    group: Group::Edge,
    summary: "says where a device is changed: on the cloud",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// as KubeEdge's
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// device
    #[argh(positional)]
    kind: String,
    /// which
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

/// No editor is started for what could not be kept: the next word of the cloud would undo it.
fn run(args: &[String], _host: &Host) -> u8 {
    let Flags {
        kind,
        name,
        namespace,
    } = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given.flags,
        Err(code) => return code,
    };
    if Sort::named(&kind).is_none_or(|sort| sort.kind != Kind::Device) {
        let sentence = format!("{kind:?} is nothing that can be edited: say device and its name");
        console::complain(SPEC.name, &sentence);
        return exit::USAGE;
    }
    console::complain(
        SPEC.name,
        &format!(
            "the cloud alone says what is desired of a device, and this edgecore's API only reads: change it \
             there, with `kubectl edit device {name} -n {namespace}` or `cloudcore ctl apply -f FILE`, and see \
             here with `kubeedge ctl get device {name} -n {namespace} -o yaml` what has come"
        ),
    );
    exit::FAILURE
}

static SPEC: Spec = Spec {
    name: "kubeedge ctl edit",
    about: "Says where a device is changed. KubeEdge's edgecore takes a changed device at its API; this \
            one has no device twin, and its API only reads, so that the device is changed on the cloud. \
            Exit code: 1; 64 it is no device.",
    examples: &["kubeedge ctl edit device thermometer -n shop"],
    spellings: &[],
    ignored: &[],
};
