//! `gettoken`: prints a plain token, as KubeEdge's does.

use argh::{ArgsInfo, FromArgs};

use super::out::{self, Format, Report};
use super::token::{Cloud, Minted, lifetime};
use super::{Command, Group};
use crate::authority::tokens::Wish;
use crate::system::args::{self, Spec};
use crate::system::host::Host;
use crate::system::{console, exit};

pub static COMMAND: Command = Command {
    name: "gettoken",
    group: Group::Cloud,
    summary: "print a fresh token with which devices join",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what token to make
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// how long the token lets devices join, such as 24h or 1h30m; default: 24h
    #[argh(option, arg_name = "duration", default = "String::from(\"24h\")")]
    ttl: String,
    /// text (the token alone) or json (token and expires)
    #[argh(option, short = 'o', arg_name = "format", default = "Format::Text")]
    output: Format,
    /// the kubeconfig of the cluster that has the cloud, or in-cluster; default: this machine's cloud
    /// or, when it has none, the cluster that kubectl would use
    #[argh(option, arg_name = "file")]
    kube_config: Option<String>,
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    let outcome = lifetime(&flags.ttl).and_then(|ttl| {
        let cloud = Cloud::of(host, flags.kube_config.as_deref())?;
        let wish = Wish::plain(ttl);
        match &flags.kube_config {
            Some(_) => cloud.create(&wish),
            None => cloud.create_anywhere(&wish),
        }
    });
    match outcome {
        Ok(minted) => hand_out(&minted, flags.output),
        Err(error) => out::fail(
            SPEC.name,
            &error,
            given.verbosity,
            flags.output,
            error.code(),
        ),
    }
}

/// Prints the token on stdout and nothing else there, so that scripts can take it as it comes.
fn hand_out(minted: &Minted, format: Format) -> u8 {
    let text = match format {
        Format::Text => minted.text(),
        Format::Json => out::json(minted),
    };
    if !console::out(&text) {
        console::complain(SPEC.name, "nobody read the token: nothing was printed");
        return exit::FAILURE;
    }
    console::error(&format!("The token is good until {}.", minted.expires));
    exit::OK
}

static SPEC: Spec = Spec {
    name: "kubeedge gettoken",
    about: "Prints a fresh token with which devices can join this cloud. It is a secret: whoever \
            has it can join until it ends. Asks the cloudcore of this machine; when none runs, \
            uses its files; and when there are none, the cluster that kubectl would use. --kube-config \
            names one. Only the \
            token goes to stdout, its end to stderr.",
    examples: &[
        "kubeedge gettoken --ttl 1h > token",
        "kubeedge gettoken -o json",
        "kubeedge gettoken --kube-config ~/.kube/config",
    ],
    spellings: &[],
    ignored: &[],
};
