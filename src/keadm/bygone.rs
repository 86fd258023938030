//! `deprecated` and `beta`: names that KubeEdge's keadm has, and what to use instead.

use argh::{ArgsInfo, FromArgs};

use super::{Command, Group};
use crate::system::args::{self, Spec};
use crate::system::exit;

pub static INIT: Command = Command {
    name: "deprecated init",
    group: Group::Cloud,
    summary: "says what to use instead",
    spec: &OF_INIT,
    info: Flags::get_args_info,
    run: |args, _| run(&OF_INIT, args),
};

pub static JOIN: Command = Command {
    name: "deprecated join",
    group: Group::Edge,
    summary: "says what to use instead",
    spec: &OF_JOIN,
    info: Flags::get_args_info,
    run: |args, _| run(&OF_JOIN, args),
};

pub static RESET: Command = Command {
    name: "deprecated reset",
    group: Group::Anywhere,
    summary: "says what to use instead",
    spec: &OF_RESET,
    info: Flags::get_args_info,
    run: |args, _| run(&OF_RESET, args),
};

pub static BETA: Command = Command {
    name: "beta",
    group: Group::Anywhere,
    summary: "says that there is nothing in it",
    spec: &OF_BETA,
    info: Flags::get_args_info,
    run: |args, _| run(&OF_BETA, args),
};

/// none
#[derive(FromArgs, ArgsInfo)]
struct Flags {}

/// Whatever flags there are, they are another program's.
fn run(spec: &Spec, args: &[String]) -> u8 {
    let asks_help = |arg: &String| arg == "--help" || arg == "-h";
    if args.iter().any(asks_help) {
        return match args::enter::<Flags>(spec, &["--help".to_owned()]) {
            Ok(_) => exit::OK,
            Err(code) => code,
        };
    }
    args::decline(spec)
}

static OF_INIT: Spec = Spec {
    name: "kubeedge deprecated init",
    about: "This way to install a cloud, from an archive out of the web, is not here: use `kubeedge \
            cloudcore` on a machine of its own, or `kubeedge init` on a cluster.",
    examples: &["kubeedge deprecated init"],
    spellings: &[],
    ignored: &[],
};

static OF_JOIN: Spec = Spec {
    name: "kubeedge deprecated join",
    about: "This way to join, with an archive out of the web, is not here: use `kubeedge join`, \
            which takes the same flags and installs this very file.",
    examples: &["kubeedge deprecated join"],
    spellings: &[],
    ignored: &[],
};

static OF_RESET: Spec = Spec {
    name: "kubeedge deprecated reset",
    about: "This way to reset, which removes more than it has made, is not here: use `kubeedge reset \
            edge` on a device, or `kubeedge reset cloud` for a cluster.",
    examples: &["kubeedge deprecated reset"],
    spellings: &[],
    ignored: &[],
};

static OF_BETA: Spec = Spec {
    name: "kubeedge beta",
    about: "There are no commands on trial; `kubeedge help` shows all there are.",
    examples: &["kubeedge beta"],
    spellings: &[],
    ignored: &[],
};
