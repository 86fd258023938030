//! `ctl confirm`: a person at the device agrees to the upgrade that the cloud has sent.

use argh::{ArgsInfo, FromArgs};

use super::client::Client;
use crate::keadm::{Command, Group, out};
use crate::system::args::{self, Spec};
use crate::system::host::Host;
use crate::system::{console, exit};

pub static CONFIRM: Command = Command {
    name: "ctl confirm",
    group: Group::Edge,
    summary: "agree to an upgrade that the cloud has sent",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// agree to an upgrade
#[derive(FromArgs, ArgsInfo)]
struct Flags {}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    match Client::of(host).and_then(|client| client.post(PATH, "")) {
        Ok(said) => {
            console::line(&said);
            exit::OK
        }
        Err(fault) => {
            let form = out::Format::Text;
            out::fail(SPEC.name, &fault, given.verbosity, form, fault.code())
        }
    }
}

static SPEC: Spec = Spec {
    name: "kubeedge ctl confirm",
    about: "Agrees to the upgrade job that the cloud has sent and that waits for a person (its \
            requireConfirmation is true). The edgecore that runs here is told; its API must be \
            switched on (modules.metaManager.metaServer.enable), and only root may agree.",
    examples: &["kubeedge ctl confirm"],
    spellings: &[],
    ignored: &[],
};

const PATH: &str = "/api/v1/taskupgrade/confirm-upgrade";
